"""Follows accepted operations to their end: mined, so that what they used and changed is counted, or dropped.

The bundler is asked for receipts (`eth_getUserOperationReceipt`) with patience that grows with the operation's age;
a receipt that a client fetches through the gate serves as well. The registry and the ledger learn of an end at once,
the store with them in one transaction, so that a restart neither forgets an operation nor counts it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from proxy.errors import InvalidParams, SessiongateError
from proxy.ledger.reservation import Ledger, Reservation
from proxy.session.changes import Changes
from proxy.session.counters import Counter
from proxy.session.declared import DECLARED_POLICY
from proxy.session.registry import KnownSession, Registry
from proxy.userop.primitives import Hash32, parse_hash, parse_uint, print_bytes

_LOG: Final = logging.getLogger(__name__)

Receipt = Mapping[str, object]
"""The `result` of `eth_getUserOperationReceipt` (ERC-7769)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedOperation:
    """An operation the bundler took, or may have taken: what it holds and what it will change once mined."""

    reservation: Reservation
    changes: Changes
    accepted_at: float  # unix seconds

    @property
    def user_op_hash(self) -> Hash32:
        """The operation's name everywhere."""
        return self.reservation.user_op_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became known at once, to be kept in one transaction."""

    sessions: tuple[KnownSession, ...] = ()
    declared_uses: Mapping[Counter, int] = field(default_factory=dict)
    begun: AcceptedOperation | None = None
    ended: tuple[Hash32, ...] = ()


class Keeper(Protocol):
    """Where outcomes outlive a restart."""

    async def keep(self, outcome: Outcome) -> None:
        """Returns when the outcome is on disk. Raises `StateUnavailable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """What a receipt says. `success` is that of the execution; validation has always succeeded."""

    user_op_hash: Hash32
    success: bool
    block: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often to ask for a receipt, in seconds."""

    first: float = 0.5  # between the first two questions about an operation
    longest: float = 15.0  # the interval grows up to this
    growth: float = 1.5
    give_up: float = 600.0  # no receipt for so long: the bundler has dropped it
    lag: float = 60.0  # after the end of its validity window an operation may still be waiting for its receipt
    timeout: float = 5.0  # for one question
    at_once: int = 8  # questions at a time


@dataclass(slots=True)
class _Followed:
    operation: AcceptedOperation
    due: float
    interval: float


class Tracker:
    """Follows the operations of one chain.

    `receipt` asks the bundler: the receipt, or `None` while there is none. `clock` gives unix seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        keeper: Keeper,
        receipt: Callable[[Hash32], Awaitable[Receipt | None]],
        clock: Callable[[], float],
        patience: Patience | None = None,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._keeper = keeper
        self._receipt = receipt
        self._clock = clock
        self._patience = patience or Patience()
        self._followed: dict[Hash32, _Followed] = {}
        self._unkept: list[Outcome] = []
        self._places = asyncio.Semaphore(self._patience.at_once)
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many operations are being followed."""
        return len(self._followed)

    async def follow(self, operation: AcceptedOperation) -> None:
        """The bundler took this operation. Returns when it is kept on disk: only then tell the client.

        Its reservation is accepted in the ledger, and what it grants is pending. A store that fails does not undo
        that: what could not be kept is tried again.
        """
        now = self._clock()
        self._ledger.accept(operation.user_op_hash)
        pending = self._registry.expect(operation.changes, now, session=operation.reservation.session)
        self._begin(operation, now)
        await self._keep(Outcome(sessions=pending, begun=operation))

    def restore(self, operations: Iterable[AcceptedOperation]) -> None:
        """Follow again what was in flight before a restart; to be called before the first request."""
        now = self._clock()
        for operation in operations:
            self._ledger.restore(operation.reservation)
            self._registry.expect(operation.changes, now, session=operation.reservation.session)
            self._begin(operation, now)

    async def observe(self, receipt: Receipt | None) -> bool:
        """A receipt went through the gate. Whether it ended an operation that was being followed."""
        mined = None if receipt is None else read_receipt(receipt)
        if mined is None or mined.user_op_hash not in self._followed:
            return False
        await self._end_mined(mined)
        return True

    async def settle_now(self, hashes: Sequence[Hash32]) -> bool:
        """Ask for the receipts of these operations now, once each. Whether any of them ended."""
        asked = [each for each in dict.fromkeys(hashes) if each in self._followed]
        ended = await asyncio.gather(*(self._ask(each) for each in asked[: self._patience.at_once]))
        return any(ended)

    async def run(self) -> None:
        """Follow until cancelled. No failure of the bundler, the store or a receipt ends it."""
        while True:
            try:
                await self._round()
            except Exception:
                _LOG.exception("the tracker's round failed; the next one follows")
            await self._sleep()

    async def _round(self) -> None:
        await self._keep_again()
        now = self._clock()
        due = [each for each, followed in self._followed.items() if followed.due <= now]
        await asyncio.gather(*(self._ask_or_give_up(each) for each in due))

    async def _sleep(self) -> None:
        """Until the next operation is due, or a new one comes."""
        self._wake.clear()
        wait = self._patience.longest
        if self._followed:
            wait = min(followed.due for followed in self._followed.values()) - self._clock()
        try:
            async with asyncio.timeout(min(max(wait, _SHORTEST_SLEEP), self._patience.longest)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _ask_or_give_up(self, user_op_hash: Hash32) -> None:
        if await self._ask(user_op_hash):
            return
        followed = self._followed.get(user_op_hash)
        if followed is None:
            return
        now = self._clock()
        followed.due = now + followed.interval
        followed.interval = min(followed.interval * self._patience.growth, self._patience.longest)
        if now >= self._deadline(followed.operation):
            await self._end_dropped(followed.operation, now)

    def _deadline(self, operation: AcceptedOperation) -> float:
        """When an operation without a receipt counts as dropped."""
        deadline = operation.accepted_at + self._patience.give_up
        valid_until = operation.reservation.valid_until
        return deadline if valid_until is None else min(deadline, valid_until + self._patience.lag)

    async def _ask(self, user_op_hash: Hash32) -> bool:
        """Whether a receipt came and ended the operation. Never raises."""
        try:
            async with self._places, asyncio.timeout(self._patience.timeout):
                receipt = await self._receipt(user_op_hash)
            if receipt is None:
                return False
            mined = read_receipt(receipt)
            if mined is None or mined.user_op_hash != user_op_hash:
                _LOG.warning("the bundler's receipt for %s cannot be read", print_bytes(user_op_hash))
                return False
            await self._end_mined(mined)
        except (TimeoutError, SessiongateError, OSError) as error:
            _LOG.info("no receipt for %s: %s", print_bytes(user_op_hash), type(error).__name__)
            return False
        except Exception:
            _LOG.exception("asking for the receipt of %s failed", print_bytes(user_op_hash))
            return False
        return True

    def _begin(self, operation: AcceptedOperation, now: float) -> None:
        first = self._patience.first
        self._followed.setdefault(operation.user_op_hash, _Followed(operation, now + first, first))
        self._wake.set()

    async def _end_mined(self, mined: Mined) -> None:
        followed = self._followed.pop(mined.user_op_hash, None)
        if followed is None:
            return
        reservation, now = followed.operation.reservation, self._clock()
        sessions = self._registry.mined(
            mined.user_op_hash,
            success=mined.success,
            charges=reservation.charges,
            session=reservation.session,
            block=mined.block,
            now=now,
        )
        self._ledger.settle(mined.user_op_hash)
        uses = {
            charge.counter: self._registry.declared_uses(charge.counter)
            for charge in reservation.charges
            if charge.counter.policy == DECLARED_POLICY
        }
        displaced, discarded = self._end_rivals(reservation, now)
        await self._keep(
            Outcome(sessions=(*sessions, *discarded), declared_uses=uses, ended=(mined.user_op_hash, *displaced))
        )

    def _end_rivals(self, mined: Reservation, now: float) -> tuple[list[Hash32], list[KnownSession]]:
        """Operations with the nonce of one that was mined can never be mined."""
        rivals = [
            each for each, followed in self._followed.items() if followed.operation.reservation.slot == mined.slot
        ]
        discarded: list[KnownSession] = []
        for rival in rivals:
            del self._followed[rival]
            self._ledger.expire(rival)
            discarded += self._registry.dropped(rival, now)
        return rivals, discarded

    async def _keep(self, outcome: Outcome) -> None:
        try:
            await self._keeper.keep(outcome)
        except SessiongateError as error:
            _LOG.error("what became of operations could not be kept, trying again: %s", error)
            self._unkept.append(outcome)

    async def _keep_again(self) -> None:
        """Keep what could not be kept before, as it stands now: later outcomes may be on disk already."""
        unkept, self._unkept = self._unkept, []
        for outcome in unkept:
            begun = outcome.begun
            await self._keep(
                Outcome(
                    sessions=tuple(self._registry.get(old.key) or old for old in outcome.sessions),
                    declared_uses={each: self._registry.declared_uses(each) for each in outcome.declared_uses},
                    begun=begun if begun is not None and begun.user_op_hash in self._followed else None,
                    ended=tuple(each for each in outcome.ended if each not in self._followed),
                )
            )

    async def _end_dropped(self, operation: AcceptedOperation, now: float) -> None:
        dropped = operation.user_op_hash
        self._followed.pop(dropped, None)
        self._ledger.expire(dropped)
        await self._keep(Outcome(sessions=self._registry.dropped(dropped, now), ended=(dropped,)))


_SHORTEST_SLEEP: Final = 0.05


def read_receipt(receipt: Receipt) -> Mined | None:
    """What a receipt says; `None` for one that cannot be read (and so ends nothing).

    `userOpHash` and `success` must be there; the block number is that of the bundle's receipt.
    """
    bundle = receipt.get("receipt")
    number = bundle.get("blockNumber") if isinstance(bundle, Mapping) else None
    success = receipt.get("success")
    if not isinstance(success, bool):
        return None
    try:
        return Mined(
            user_op_hash=parse_hash(receipt.get("userOpHash"), "userOpHash"),
            success=success,
            block=None if number is None else parse_uint(number, "receipt.blockNumber"),
        )
    except InvalidParams:
        return None
