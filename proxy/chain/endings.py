"""What the end of an operation does to registry, ledger and store, and how it is undone when the chain goes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from proxy.chain.outcome import Keeper, Outcome
from proxy.chain.settled import Settled
from proxy.errors import SessiongateError
from proxy.ledger.operations import AcceptedOperation, Ended, Mined
from proxy.ledger.reservation import NO_ROWS, Ledger, Reservation, RuleRows, is_on_chain
from proxy.session.counters import Counter, SessionKey
from proxy.session.known import KnownSession
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32

_LOG: Final = logging.getLogger(__name__)


class Endings:
    """Registry and ledger learn of an end at once and in one step, the store with them in one transaction.

    `clock` gives unix seconds. `seconds` is how long to wait for the store; what it does not take is kept here and
    handed over again. Outcomes are handed over in the order in which they came about, without giving way between
    that and the handing over: the store keeps none without those before it, so that no sum is on disk beside an
    operation in flight that it has counted already.
    """

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        keeper: Keeper,
        settled: Settled,
        clock: Callable[[], float],
        *,
        seconds: float,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._keeper = keeper
        self._settled = settled
        self._clock = clock
        self._seconds = seconds
        self._unkept: list[Outcome] = []

    async def mined(self, operation: AcceptedOperation, mined: Mined, rivals: Sequence[AcceptedOperation]) -> None:
        """The operation was mined: what it used is counted, once, and `rivals` for its nonce never will be."""
        reservation, now = operation.reservation, self._clock()
        counted = self._ledger.is_counted(mined.user_op_hash)
        added = self._registry.adds_charges(reservation.session, mined.block, counted=counted)
        sessions = self._registry.mined(
            mined.user_op_hash,
            success=mined.success,
            charges=reservation.charges,
            session=reservation.session,
            block=mined.block,
            counted=counted,
            now=now,
        )
        self._ledger.settle(mined.user_op_hash)
        counted_at, rules = self._ledger.conclude(reservation, now, success=mined.success)
        for rival in rivals:
            self._ledger.expire(rival.user_op_hash)
            sessions += self._registry.dropped(rival.user_op_hash, now)
        remembered = (
            Ended(operation=operation, ended_at=now, mined=mined, added=added, counted_at=counted_at),
            *(Ended(operation=rival, ended_at=now, mined=None) for rival in rivals),
        )
        await self._end(remembered, sessions, self._local_uses(reservation), rules)

    async def dropped(self, operation: AcceptedOperation) -> None:
        """The operation will not be mined, as far as anybody can tell: it holds nothing."""
        now = self._clock()
        self._ledger.expire(operation.user_op_hash)
        sessions = self._registry.dropped(operation.user_op_hash, now)
        await self._end((Ended(operation=operation, ended_at=now, mined=None),), sessions, {}, NO_ROWS)

    async def _end(
        self,
        remembered: tuple[Ended, ...],
        sessions: tuple[KnownSession, ...],
        uses: dict[Counter, int],
        rules: RuleRows,
    ) -> None:
        for each in remembered:
            self._settled.remember(each)
        ended = tuple(each.operation.user_op_hash for each in remembered)
        await self.keep(Outcome(sessions=sessions, declared_uses=uses, ended=ended, remembered=remembered, rules=rules))

    def undo(self, ended: Ended, *, readable: bool) -> Outcome:
        """What has ended is in flight again, and what it used is not used yet; `readable` sessions are to be read
        anew. Returns what is to be kept of that before anything else: nothing, when it is in flight already."""
        if self._settled.get(ended.operation.user_op_hash) is not ended:
            return Outcome()
        now = self._clock()
        back = self._settled.take_out(ended.operation.user_op_hash)
        sessions: dict[SessionKey, KnownSession] = {}
        uses: dict[Counter, int] = {}
        rules = NO_ROWS
        for each in back:
            operation = each.operation
            changed: tuple[KnownSession, ...] = ()
            if each.mined is not None:
                changed = self._registry.unmined(
                    operation.changes,
                    charges=operation.reservation.charges,
                    session=operation.reservation.session,
                    added=each.added,
                    readable=readable,
                    now=now,
                )
                if each.counted_at is not None:
                    rules = self._ledger.reopen(operation.reservation, each.counted_at, success=each.mined.success)
            self._ledger.restore(operation.reservation)
            changed += self._registry.expect(operation.changes, now, session=operation.reservation.session)
            sessions |= {known.key: known for known in changed}
            uses |= self._local_uses(operation.reservation)
        revived = tuple(each.operation for each in back)
        return Outcome(sessions=tuple(sessions.values()), declared_uses=uses, revived=revived, rules=rules)

    def _local_uses(self, reservation: Reservation) -> dict[Counter, int]:
        counters = (charge.counter for charge in reservation.charges)
        return {counter: self._registry.declared_uses(counter) for counter in counters if not is_on_chain(counter)}

    @property
    def is_behind(self) -> bool:
        """Whether there is something that the store has yet to take."""
        return bool(self._unkept)

    async def keep(self, outcome: Outcome) -> None:
        """Hand over to the store; what it does not take is kept for `keep_again`. Never raises for that."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._keeper.keep(outcome)
        except (SessiongateError, TimeoutError) as error:
            _LOG.error("what became of operations could not be kept, trying again: %s", str(error) or "too slow")
            self._unkept.append(outcome)

    async def keep_again(self, followed: Collection[Hash32]) -> None:
        """Keep what could not be kept before, as it stands now: later outcomes may be on disk already."""
        unkept, self._unkept = self._unkept, []
        for outcome in unkept:
            begun = outcome.begun
            await self.keep(
                Outcome(
                    sessions=tuple(self._registry.get(old.key) or old for old in outcome.sessions),
                    declared_uses={each: self._registry.declared_uses(each) for each in outcome.declared_uses},
                    begun=begun if begun is not None and begun.user_op_hash in followed else None,
                    answered=outcome.answered,
                    ended=tuple(each for each in outcome.ended if each not in followed),
                    remembered=tuple(each for each in outcome.remembered if self._is_remembered(each)),
                    revived=tuple(each for each in outcome.revived if each.user_op_hash in followed),
                    rules=self._ledger.rows_now(outcome.rules),
                    again=True,
                )
            )

    def _is_remembered(self, ended: Ended) -> bool:
        return self._settled.get(ended.operation.user_op_hash) is ended
