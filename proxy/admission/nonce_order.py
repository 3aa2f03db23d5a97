"""Operations that wait behind a gap: their nonce is not the next of its key, and what lies between is not in flight.

The entry point takes the nonces of a key one after the other, so that such an operation may be mined at any time later,
or never, and holds what it charges until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from proxy.admission.in_time import in_time
from proxy.errors import Code, Reason, StateUnavailable
from proxy.ledger.reservation import NonceSlot
from proxy.userop.nonce import nonce_key
from proxy.userop.primitives import Address

_made: Final = tuple.__new__
_LOG: Final = logging.getLogger(__name__)
_SEQUENCE: Final = (1 << 64) - 1
_MOST_KEYS: Final = 50_000
_LOOKED_BACK: Final = 16
"""So many nonces before one are looked for among those in flight: of a longer row only the end."""
_MOST_LOOKS: Final = 16

AskNext = Callable[[NonceSlot], Awaitable[int]]
"""The next unused nonce of a slot's sender and key. Raises `StateUnavailable`."""


_Lane = tuple[Address, Address, int]
"""Entry point, sender and nonce key."""


class _Known(NamedTuple):
    following: int  # the next unused nonce
    asked_at: int | None  # the newest block when the chain was asked; `None` where a block had told


class NonceOrder:
    """What is known of the nonces of one chain, bounded. `occupied` says whether an operation in a slot is in flight,
    `newest` gives the number of the newest block; `seconds` is how long an answer is waited for."""

    def __init__(
        self,
        ask: AskNext,
        occupied: Callable[[NonceSlot], bool],
        newest: Callable[[], int | None] = lambda: None,
        *,
        seconds: float = 5.0,
    ) -> None:
        self._seconds = seconds
        self._ask = ask
        self._occupied = occupied
        self._newest = newest
        self._known: OrderedDict[_Lane, _Known] = OrderedDict()
        self._looks: set[asyncio.Task[None]] = set()

    def used(self, slot: NonceSlot) -> None:
        """A block has told that this nonce was used."""
        _, entry_point, sender, nonce = slot  # `_lane` as it stands there: this is done for every operation
        lane = entry_point, sender, nonce >> 64
        known = self._known.get(lane)
        if known is None or known.following <= nonce:
            self._learn(lane, _made(_Known, (nonce + 1, None)))

    async def missing(self, slot: NonceSlot) -> int | None:
        """A nonce that has to be used before this one and is not in flight; `None` when there is none. Raises
        `StateUnavailable` when nobody can tell."""
        if not slot.nonce & _SEQUENCE:
            return None
        lane, newest = _lane(slot), self._newest()
        known = self._known.get(lane)
        if known is not None:
            missing = self._before(slot, known.following)
            if missing is None or (known.asked_at is not None and known.asked_at == newest):
                return missing
        async with in_time(self._seconds, "the next nonce of the sender's key: no answer"):
            following = await self._ask(slot)
        self._learn(lane, _Known(following, newest))
        return self._before(slot, following)

    def watch(self, slot: NonceSlot, told: Callable[[int], None]) -> None:
        """Look in the background, and tell of what is missing. Never waits, never raises; where too many looks are
        under way, or nobody can tell, nothing is told."""
        if not slot.nonce & _SEQUENCE or len(self._looks) >= _MOST_LOOKS:
            return
        known = self._known.get(_lane(slot))
        if known is not None and self._before(slot, known.following) is None:
            return
        task = asyncio.create_task(self._look(slot, told))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def drained(self) -> None:
        """Returns when no look is under way."""
        await asyncio.gather(*self._looks)

    async def close(self) -> None:
        """Stop looking."""
        tasks = tuple(self._looks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, slot: NonceSlot, told: Callable[[int], None]) -> None:
        try:
            missing = await self.missing(slot)
        except StateUnavailable as error:
            _LOG.info("whether nonce %#x waits behind a gap cannot be told: %s", slot.nonce, error)
        except Exception:  # nobody waits for this look: it must not end unheard
            _LOG.exception("looking for a gap before nonce %#x failed", slot.nonce)
        else:
            if missing is not None:
                told(missing)

    def _before(self, slot: NonceSlot, following: int) -> int | None:
        first = max(following, slot.nonce - _LOOKED_BACK)
        for nonce in range(slot.nonce - 1, first - 1, -1):
            if not self._occupied(slot._replace(nonce=nonce)):
                return nonce
        return None

    def _learn(self, lane: _Lane, known: _Known) -> None:
        self._known[lane] = known
        self._known.move_to_end(lane)
        if len(self._known) > _MOST_KEYS:
            self._known.popitem(last=False)


def waits_behind(missing: int) -> Reason:
    """The refusal in words."""
    key, sequence = nonce_key(missing), missing & _SEQUENCE
    return Reason(
        code=Code.RATE_LIMITED,
        sentence=f"the operation cannot be mined before nonce {sequence} of its key {key:#x} is used, and no operation"
        " with that nonce is in flight here",
        remedy="send that one first, or use a nonce key of its own for each operation",
        wanted=f"nonce {sequence} at most",
        retryable=True,
    )


def _lane(slot: NonceSlot) -> _Lane:
    _, entry_point, sender, nonce = slot
    return entry_point, sender, nonce_key(nonce)
