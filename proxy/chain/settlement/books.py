"""What the settlement hands to the store, in the order in which it came about, and until the store has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from proxy.chain.settlement.flights import Flights
from proxy.chain.settlement.outcome import Keeper, Outcome, SettledUpTo
from proxy.chain.settlement.remembered import Remembered
from proxy.errors import SessiongateError, StateUnavailable
from proxy.ledger.operations import AcceptedOperation, Ended, Stage
from proxy.ledger.reservation import Ledger
from proxy.session.counters import HoldName
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32

_LOG: Final = logging.getLogger(__name__)


class Books:
    """Outcomes are handed over without giving way between that and what they tell of: the store keeps none without
    those before it, so that no sum is on disk beside an operation in flight that it has counted already.

    `seconds` is how long to wait for the store; what it does not take is kept here and handed over again, of which
    `on_behind` hears.
    """

    def __init__(
        self,
        keeper: Keeper,
        registry: Registry,
        ledger: Ledger,
        remembered: Remembered,
        flights: Flights,
        *,
        seconds: float,
        on_behind: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self.begin_now: Callable[[AcceptedOperation], bool] = keeper.begin_now
        """Whether this is on disk, without anybody having waited for it; otherwise `begin` it."""
        self.advance: Callable[[HoldName, Stage], None] = keeper.advance
        """An operation has come so far; this may be lost."""
        self._on_behind = on_behind
        self._registry = registry
        self._ledger = ledger
        self._remembered = remembered
        self._flights = flights
        self._seconds = seconds
        self._unkept: list[Outcome] = []
        self._unwritten: dict[HoldName, Ended] = {}
        self._revived: set[HoldName] = set()  # of which the store may still have that they have ended
        self._recalls: dict[object, set[HoldName]] = {}  # what came back since each that is under way was begun
        self._cursor: SettledUpTo | None = None

    @property
    def is_behind(self) -> bool:
        """Whether there is something that the store has yet to take."""
        return bool(self._unkept)

    async def begin(self, operation: AcceptedOperation) -> None:
        """Returns when this is on disk. Raises `StateUnavailable`."""
        await self._keeper.keep(Outcome(begun=operation))

    async def move(self, names: Sequence[HoldName], bundler: str) -> None:
        """Returns when it is on disk that these, as far as they are in flight, go to the bundler of that mark. Raises
        `StateUnavailable`."""
        claims = (self._flights.claim(name) for name in names)
        moved = tuple((each.name, bundler) for each in claims if each is not None and each.bundler != bundler)
        if moved:
            await self._keeper.keep(Outcome(moved=moved))
        for name, _ in moved:
            self._flights.move(name, bundler)

    def note(self, outcome: Outcome) -> None:
        """This may be lost; how operations ended by it is known here all the same."""
        self._hear(outcome)
        self._keeper.note(outcome)

    def note_stages(self, hashes: Iterable[Hash32]) -> None:
        """How far these have come, as far as they are in flight, under every claim. This may be lost."""
        flights = [flight for each in hashes if (flight := self._flights.get(each)) is not None]
        stages = tuple([(name, flight.stage) for flight in flights for name in flight.claims])
        if stages:
            self._keeper.note(Outcome(stages=stages))

    async def keep(self, outcome: Outcome) -> None:
        """Hand over to the store; what it does not take is kept for `keep_again`. Never raises for that."""
        if not outcome:
            return
        self._hear(outcome)
        if outcome.cursor is not None:
            self._cursor = outcome.cursor
        try:
            async with asyncio.timeout(self._seconds):
                await self._keeper.keep(outcome)
        except (SessiongateError, TimeoutError) as error:
            _LOG.error("what became of operations could not be kept, trying again: %s", str(error) or "too slow")
            self._unkept.append(outcome)
            self._on_behind()
        else:
            for ended in outcome.remembered:
                name = ended.operation.reservation.name
                if self._unwritten.get(name) is ended:
                    del self._unwritten[name]
            self._revived.difference_update(flight.operation.name for flight in outcome.revived)

    def _hear(self, outcome: Outcome) -> None:
        for flight in outcome.revived:
            self._unwritten.pop(flight.operation.name, None)
            self._revived.add(flight.operation.name)
            for since in self._recalls.values():
                since.add(flight.operation.name)
        names = [ended.operation.reservation.name for ended in outcome.remembered]
        self._unwritten.update(zip(names, outcome.remembered, strict=True))
        self._revived.difference_update(names)

    async def keep_again(self) -> None:
        """Keep what could not be kept before, as it stands now: later outcomes may be on disk already."""
        unkept, self._unkept = self._unkept, []
        for outcome in unkept:
            begun = outcome.begun
            await self.keep(
                Outcome(
                    sessions=tuple(self._registry.get(old.key) or old for old in outcome.sessions),
                    declared_uses={each: self._registry.declarations.uses(each) for each in outcome.declared_uses},
                    begun=begun if begun is not None and begun.name in self._flights else None,
                    stages=tuple((name, stage) for name, stage in outcome.stages if name in self._flights),
                    ended=tuple(each for each in outcome.ended if each not in self._flights),
                    remembered=tuple(each for each in outcome.remembered if self._is_remembered(each)),
                    revived=tuple(each for each in outcome.revived if each.operation.name in self._flights),
                    rules=self._ledger.rows_now(outcome.rules),
                    cursor=None if outcome.cursor is None else self._cursor,
                    blocks=outcome.blocks,
                    cut=outcome.cut,
                    doubts=outcome.doubts,
                    read=outcome.read,
                    again=True,
                )
            )

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        """How these operations ended. Raises `StateUnavailable`."""
        unwritten = {name: self._unwritten[name] for name in names if name in self._unwritten}
        wanted = [name for name in names if name not in unwritten and name not in self._revived]
        if not wanted:
            return tuple(unwritten.values())
        recall = object()
        back: set[HoldName] = set()
        self._recalls[recall] = back
        try:
            found = {ended.name: ended for ended in await self._keeper.recall(wanted)}
        finally:
            del self._recalls[recall]
        found |= unwritten
        for name in back:
            found.pop(name, None)  # what was read of it is of before
        found |= {name: self._unwritten[name] for name in names if name in self._unwritten}
        return tuple(found[name] for name in names if name in found)

    async def bundler_that_had(self, user_op_hash: Hash32) -> str:
        """The mark of the one that an operation went to which was mined lately; empty where nobody can tell."""
        mined = self._remembered.mined(user_op_hash)
        try:
            recalled = () if mined is None else await self.recall((mined.name,))
        except StateUnavailable:
            return ""
        return next((ended.operation.bundler for ended in recalled), "")

    def _is_remembered(self, ended: Ended) -> bool:
        known = self._remembered.get(ended.name)
        return known is not None and (known.ended_at, known.block) == (ended.ended_at, ended.evidence.block)
