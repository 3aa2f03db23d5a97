"""Operations that wait for long: has something used their nonce that no event tells of?

An account may burn a nonce (the entry point's `incrementNonce`), which no event shows. So the nonces of what has
waited for a while are looked at in a block that is settled: those of many operations at once, and more rarely the
longer they wait. What is found used is not believed at once: it is to be proven.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Final

from proxy.chain.settlement.due import DueHeap
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.taker import Taker
from proxy.chain.witness import Witness
from proxy.errors import StateUnavailable
from proxy.userop.primitives import Hash32

_LOG: Final = logging.getLogger(__name__)
_AT_A_TIME: Final = 256


class NonceLooks:
    """`monotonic` gives seconds that no change of the clock moves."""

    def __init__(
        self,
        settlement: Settlement,
        witness: Witness,
        taker: Taker,
        *,
        patience: Patience,
        monotonic: Callable[[], float],
    ) -> None:
        self._settlement = settlement
        self._witness = witness
        self._taker = taker
        self._patience = patience
        self._monotonic = monotonic
        self._since: dict[Hash32, float] = {}  # of what was looked at
        self._due: DueHeap[Hash32] = DueHeap()

    def begin(self, user_op_hash: Hash32, since: float) -> float:
        """It waits `since` then. When it is looked at first."""
        first = since + self._patience.nonce_first
        if user_op_hash not in self._due:
            self._due.put(user_op_hash, first)
        return first

    def forget(self, user_op_hash: Hash32) -> None:
        """It does not wait any more."""
        self._since.pop(user_op_hash, None)
        self._due.discard(user_op_hash)

    def first(self) -> float | None:
        """When the next look is due; `None` when none is."""
        return self._due.first()

    def is_due(self, now: float) -> bool:
        """Whether one is."""
        return self._due.is_due(now)

    async def look(self) -> None:
        """At what is due, a bounded number of operations at a time. Never raises."""
        now, cursor = self._monotonic(), self._taker.cursor
        slots = {}
        for user_op_hash in islice(self._due.pop_due(now), _AT_A_TIME):
            # of the many that end before they were looked at once nothing more is kept
            waited = now - self._since.setdefault(user_op_hash, now - self._patience.nonce_first)
            pause = min(max(waited, self._patience.nonce_first), self._patience.nonce_longest)
            self._due.put(user_op_hash, now + pause)
            if (flight := self._settlement.flights.get(user_op_hash)) is not None:
                slots[user_op_hash] = flight.slot
        if cursor is None or not slots:
            return
        try:
            used = await self._witness.used(frozenset(slots.values()), cursor)
        except StateUnavailable as error:
            _LOG.info("the nonces of %d operations that wait cannot be looked at: %s", len(slots), error)
            return
        self._settlement.to_prove |= dict.fromkeys(name for name, slot in slots.items() if slot in used)
