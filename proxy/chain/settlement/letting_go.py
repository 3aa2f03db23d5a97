"""What is let go of operations that nobody finds in the chain, while their nonces are unused: less is held, and what
becomes of them counts all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from proxy.chain.settlement.books import Books
from proxy.chain.settlement.draft import OutcomeDraft
from proxy.chain.settlement.ends import Ends
from proxy.chain.settlement.flights import LET_GO, Flights
from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.patience import Patience
from proxy.ledger.operations import Cause, Evidence, Stage
from proxy.ledger.reservation import Grip
from proxy.userop.primitives import Hash32

_SILENCE_KEPT: Final = 60.0
"""Seconds of silence between two notes of it."""


class LettingGo:
    """Of one settlement. `clock` gives unix seconds; `begun` hears of what goes on with less held, `close` takes what
    became known at once. Of what is `unproven` no end is told before the chain was asked."""

    def __init__(
        self,
        flights: Flights,
        ends: Ends,
        books: Books,
        *,
        clock: Callable[[], float],
        patience: Patience,
        unproven: Collection[Hash32],
        begun: Callable[[Hash32, Stage], None],
        close: Callable[[OutcomeDraft], Awaitable[None]],
    ) -> None:
        self._flights = flights
        self._ends = ends
        self._books = books
        self._clock = clock
        self._patience = patience
        self._unproven = unproven
        self._begun = begun
        self._close = close

    async def silent(self, user_op_hash: Hash32, seconds: float) -> bool:
        """It was answered that an operation is not there, and for so many more seconds. One whose validity is over by
        then has ended, without a node: with one its blocks say so, however long they take. For others, whether it is
        long enough for something to be let go (`unmined`)."""
        flight = self._flights.get(user_op_hash)
        if flight is None:
            return False
        before, now = flight.silent_seconds, self._clock()
        flight.silent_seconds += seconds
        if before // _SILENCE_KEPT != flight.silent_seconds // _SILENCE_KEPT:
            self._books.note(Outcome(silences=tuple((name, flight.silent_seconds) for name in flight.claims)))
        if not self._ends.readable and self._flights.is_over(flight, now) and user_op_hash not in self._unproven:
            draft = OutcomeDraft()
            self._ends.over(draft, flight, Evidence(timestamp=int(now), silent_seconds=flight.silent_seconds))
            await self._close(draft)
            return False
        return flight.silent_seconds >= self._patience.unmined_after and flight.stage not in LET_GO

    async def unmined(self, user_op_hash: Hash32, evidence: Evidence) -> None:
        """Those who can know have answered for long enough that it is not there: what the chain enforces itself is let
        go."""
        await self._loosen(user_op_hash, Cause.UNMINED, evidence, self._patience.unmined_grip)

    async def release(self, user_op_hash: Hash32, said: str) -> bool:
        """An operator lets go of all that an operation holds. Whether it held anything."""
        flight = self._flights.get(user_op_hash)
        if flight is None or flight.stage is Stage.RELEASED:
            return False
        await self._loosen(user_op_hash, Cause.RELEASED, Evidence(said=said), Grip.NONE)
        return True

    async def _loosen(self, user_op_hash: Hash32, cause: Cause, evidence: Evidence, grip: Grip) -> None:
        flight = self._flights.get(user_op_hash)
        if flight is None:
            return
        draft = OutcomeDraft()
        self._ends.loosen(draft, flight, cause, evidence, grip)
        self._flights.let_go(user_op_hash)
        self._begun(user_op_hash, flight.stage)
        await self._close(draft)
