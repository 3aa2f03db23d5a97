"""The one settlement of a chain: what was sent is held until it is told what became of it, by who can know.

Nobody's silence ends anything: a question that failed is no answer. Registry and ledger learn of an end at once and in
one step, the store with them in one transaction, so that a restart neither forgets an operation nor counts it twice.
Blocks come in by `proxy.chain.settlement.taker`, receipts by `proxy.chain.settlement.lookout`; both use this door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from proxy.chain.settlement.books import Books
from proxy.chain.settlement.draft import End, OutcomeDraft
from proxy.chain.settlement.ends import Ends, grip_of
from proxy.chain.settlement.flights import LET_GO, Flight, Flights, as_sent
from proxy.chain.settlement.letting_go import LettingGo
from proxy.chain.settlement.outcome import Keeper, Outcome
from proxy.chain.settlement.pace import Pace
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.remembered import Remembered
from proxy.chain.settlement.slices import MOST_ENDS
from proxy.chain.settlement.taken_back import in_pieces, tell_of
from proxy.ledger.forgetting import in_parts
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, EndedName, Evidence, InFlight, Mined, Stage
from proxy.ledger.reservation import Ledger, NonceSlot, Reservation
from proxy.session.counters import HoldName, SessionKey
from proxy.session.known import KnownSession
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32


class Settlement:
    """`clock` gives unix seconds; `tell` hears of every end. What is old by that clock is forgotten as long as it
    `may_forget`.

    Whoever looks after it has those sessions read that `to_read` names and those operations proven by the chain that
    `to_prove` names, and hears by `on_begun` of what is in flight from now on; by `on_sent` of what was sent for the
    first time just now: how far that has come is noted down later (`Books.note_stages`). `on_back` is told
    what the chain took back.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        keeper: Keeper,
        clock: Callable[[], float],
        patience: Patience,
        tell: Callable[[End], None],
        may_forget: Callable[[], bool] = lambda: True,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._patience = patience
        self._tell = tell
        self.remembered = Remembered(patience.final, may_forget)
        self.flights = Flights(patience)
        grip = patience.unmined_grip
        self.ends = Ends(registry, ledger, self.remembered, self.flights, clock=clock, unmined_grip=grip)
        self.pace = Pace()
        self.awake = asyncio.Event()  # set when there is something for whoever looks after this
        self.books = Books(
            keeper, registry, ledger, self.remembered, self.flights, seconds=patience.store, on_behind=self.awake.set
        )
        self._unkept: set[HoldName] = set()  # held in memory alone
        self.known_seconds = 0.0  # for how long, altogether, the chain's blocks have told what became of operations
        self.to_read: dict[SessionKey, None] = {}
        self.unconfirmed: dict[SessionKey, None] = {}
        """In force as far as is known, from before the blocks that are followed: nothing is judged by that unread."""
        self.to_doubt: dict[SessionKey, None] = {}
        """Of those, what the disk does not have as unread yet: before it does no cursor outlives this."""
        self.to_prove: dict[Hash32, None] = {}
        self.unproven: set[Hash32] = set()  # of those, what no block that is told of from now on can show
        self.unproven_until: float | None = None
        """The most seconds that were known when any of these was sent: a restart proves all that were sent by then."""
        self.unseconded: dict[Hash32, Evidence] = {}
        """What one node showed to have used the nonces of operations, while another one has yet to say so."""
        self.on_begun: Callable[[Hash32, Stage], None] = lambda _user_op_hash, _stage: None
        self.on_sent: Callable[[Hash32], None] = lambda _user_op_hash: None
        self.on_back: Callable[[AcceptedOperation], None] = lambda _operation: None
        self.letting_go = LettingGo(
            self.flights,
            self.ends,
            self.books,
            clock=clock,
            patience=patience,
            unproven=self.unproven,
            begun=lambda user_op_hash, stage: self.on_begun(user_op_hash, stage),  # noqa: PLW0108  # set later
            close=self.close,
        )

    def __len__(self) -> int:
        """How many operations are in flight, or remembered because their nonce is unused."""
        return len(self.flights)

    def oldest_seconds(self) -> float:
        """For how long the oldest operation has been in flight of which nothing was let go; 0 when there is none."""
        first = self.flights.oldest_at
        return 0.0 if first is None else max(self._clock() - first, 0.0)

    # before and after an operation is sent

    def hold_now(self, operation: AcceptedOperation) -> bool:
        """Whether what the operation holds would outlive this process already; otherwise `hold` it."""
        if operation.known_at != self.known_seconds:
            operation = replace(operation, known_at=self.known_seconds)
        if self.remembered.mined(operation.user_op_hash) is not None or not self.books.begin_now(operation):
            return False
        self.flights.begin(operation, Stage.FORWARDED)
        return True

    async def hold(self, operation: AcceptedOperation) -> None:
        """Returns when what the operation holds would outlive this process: only then send it. What was mined is
        counted and holds nothing besides, however often it comes again; what the chain takes back holds again.

        Raises `StateUnavailable`; then, and when cancelled, `let_go` is due.
        """
        operation, name = replace(operation, known_at=self.known_seconds), operation.name
        if not self.remembered.is_mined(name):
            await self.books.begin(operation)
        if self.remembered.is_mined(name):
            self._ledger.expire(name)
            self.books.note(Outcome(ended=(name,)))
            return
        self.flights.begin(operation, Stage.FORWARDED)
        await self._end_beside_counted(operation.user_op_hash)

    async def send_to(self, slot: NonceSlot, bundler: str) -> None:
        """Returns when it is on disk that what competes for this nonce goes to the bundler of that mark, be it another
        one than when it was held: only then send it there. Raises `StateUnavailable`."""
        await self.books.move([each.name for each in self._ledger.held_in(slot)], bundler)

    def hold_unkept(self, operation: AcceptedOperation) -> None:
        """The operation is sent although that could not be kept: `follow` tries again."""
        if self.remembered.is_mined(operation.name):
            self._ledger.expire(operation.name)
            return
        self.flights.begin(replace(operation, known_at=self.known_seconds), Stage.FORWARDED)
        self._unkept.add(operation.name)

    def let_go(self, operation: AcceptedOperation) -> None:
        """The operation is not sent after all: one attempt less, and with the last one gone nothing is held."""
        self.refused(operation.reservation, None)

    def refused(self, reservation: Reservation, said: str | None) -> None:
        """The same; where it was sent, the bundler `said` that it does not take it."""
        name = reservation.name
        if self._ledger.release(name) is None:
            flight = self.flights.get(name.user_op_hash)
            if flight is not None and flight.stage in LET_GO:
                # it was sent once more, and is held no more than before
                self._ledger.loosen(name, grip_of(flight.stage, self._patience.unmined_grip))
            return
        self._unkept.discard(name)
        left = self.flights.leave(name)
        self.books.note(Outcome(ended=(name,)))
        if said is not None and left is not None:
            self._tell(self.ends.refused(left[0], Evidence(said=said)))

    async def follow(self, operation: AcceptedOperation, stage: Stage = Stage.ACCEPTED) -> None:
        """The bundler took this operation; or no answer came, and it may have. What it grants is pending.

        Returns when it is kept on disk, at once where `hold` has seen to that. A store that fails does not undo
        that: what could not be kept is tried again.
        """
        name = operation.name
        if self.follow_now(name, stage):
            return
        flight = self.flights.get(name.user_op_hash)
        is_held = flight is not None and name in flight.claims
        known = self.remembered.get(name)
        ended = known if self.remembered.is_mined(name) else self.remembered.mined(name.user_op_hash)
        ended = ended or (None if is_held else known)
        if ended is not None:
            # it ended before the answer came; or it was sent again after that, to a bundler that names it once more
            await self._over_before((name,), {ended.name: Evidence(block=ended.block, block_hash=ended.block_hash)})
            return
        self._ledger.accept(name, answered=stage is Stage.ACCEPTED)
        pending = self._registry.expect(operation.changes, self._clock(), name)
        if is_held and flight is not None:
            await self._answered(flight, name, stage, pending, known)
        else:
            operation = replace(operation, known_at=self.known_seconds)
            self._ledger.restore(operation.reservation)
            self.flights.begin(operation, stage)
            self._prove_if_in_doubt(name.user_op_hash, stage)
            self.on_begun(name.user_op_hash, stage)
            await self.books.keep(Outcome(sessions=pending, begun=operation, stages=((name, stage),)))

    def follow_now(self, name: HoldName, stage: Stage) -> bool:
        """The same of one that changes no session, if it is held as `hold_now` left it. Whether it was done."""
        flight = self.flights.get(name.user_op_hash)
        if flight is None or flight.stage is not Stage.FORWARDED or (operation := flight.claims.get(name)) is None:
            return False
        ended = self.remembered.get(name) or self.remembered.mined(name.user_op_hash)
        if ended is not None or operation.changes or (self._unkept and name in self._unkept):
            return False
        self._ledger.accept(name, answered=stage is Stage.ACCEPTED)
        self._registry.uses(name)
        flight.stage = stage
        self._prove_if_in_doubt(name.user_op_hash, stage)
        self.on_sent(name.user_op_hash)
        return True

    async def _answered(
        self, flight: Flight, name: HoldName, stage: Stage, pending: tuple[KnownSession, ...], known: EndedName | None
    ) -> None:
        """An answer came, or none, to what is held already, and of which an earlier end may be known."""
        if flight.stage in LET_GO:
            self._hold_again(name.user_op_hash, stage)
        elif stage is Stage.ACCEPTED or flight.stage is Stage.FORWARDED:
            flight.stage = stage
        if known is not None:
            self.to_prove[name.user_op_hash] = None  # its nonce was used before it was sent again
            self.awake.set()
        self._prove_if_in_doubt(name.user_op_hash, stage)
        self.on_begun(name.user_op_hash, flight.stage)
        if name in self._unkept:
            self._unkept.discard(name)
            stages = ((name, flight.stage),)
            await self.books.keep(Outcome(sessions=pending, begun=flight.claims[name], stages=stages))
        elif pending:
            self.books.note(Outcome(sessions=pending, stages=((name, flight.stage),)))
        else:
            self.books.advance(name, flight.stage)

    def _hold_again(self, user_op_hash: Hash32, stage: Stage) -> None:
        """An operation of which something may have been let go has come as far as this once more: all of it is held
        from now on."""
        flight = self.flights.get(user_op_hash)
        if flight is not None and flight.stage in LET_GO:
            self.flights.hold_again(flight, stage, self.known_seconds)

    def restore(self, flights: Iterable[InFlight], ended: Iterable[EndedName] = ()) -> None:
        """Take up what was there before a restart; to be called before the first request."""
        now = self._clock()
        for each in ended:
            self.remembered.remember(each)
        for flight in flights:
            operation, name = flight.operation, flight.operation.name
            mined = self.remembered.mined(operation.user_op_hash)
            if self.remembered.is_mined(name):
                # it was about to be sent again
                self.books.note(Outcome(ended=(name,)))
                continue
            self._ledger.restore(operation.reservation, grip_of(flight.stage, self._patience.unmined_grip))
            self.flights.begin(operation, as_sent(flight.stage), flight.silent_seconds)
            if flight.stage not in LET_GO:
                self._registry.expect(operation.changes, now, name)
                self._hold_again(operation.user_op_hash, flight.stage)  # it was let go under another claim before
            if mined is not None:
                # under another claim; this one comes back with the block that showed that
                draft, shown = OutcomeDraft(), Evidence(block=mined.block, block_hash=mined.block_hash)
                self.ends.end(draft, name, Cause.NONCE_USED, shown._replace(by=operation.user_op_hash))
                self.books.note(draft.outcome())
                continue
            self._prove_if_in_doubt(operation.user_op_hash, flight.stage)
            if self.unproven_until is not None and operation.known_at <= self.unproven_until:
                self.doubt_all((operation.user_op_hash,))
            self.on_begun(operation.user_op_hash, as_sent(flight.stage))

    def doubt_all(self, hashes: Iterable[Hash32]) -> None:
        """Those of them that are in flight may have been mined in blocks that nobody tells of."""
        for user_op_hash in hashes:
            if (flight := self.flights.get(user_op_hash)) is not None:
                self.unproven_until = max(flight.known_at, self.unproven_until or 0.0)
                self.unproven.add(user_op_hash)
                self.to_prove[user_op_hash] = None
        self.awake.set()

    def _prove_if_in_doubt(self, user_op_hash: Hash32, stage: Stage) -> None:
        """Nobody is known to have said that its nonce was unused when it was sent: no later block may show it."""
        if stage in (Stage.FORWARDED, Stage.UNKNOWN, Stage.RELEASED):
            self.to_prove[user_op_hash] = None
            self.awake.set()

    # what becomes known

    async def found(self, mined: Mined) -> None:
        """It was told that an operation was mined. Raises `StateUnavailable` when it cannot be read whether it was
        counted before: it may have been sent again long after that, in doubt."""
        flight = self.flights.get(mined.user_op_hash)
        if flight is None:
            return
        names = tuple(flight.claims)
        before = await self.books.recall(names)
        shown = {ended.name: ended.evidence for ended in before if ended.cause is Cause.MINED}
        if shown:
            await self._over_before(names, shown)
        elif self.flights.get(mined.user_op_hash) is flight:
            draft = OutcomeDraft()
            self.ends.mined(draft, flight.slot, mined)
            await self.close(draft)

    async def _end_beside_counted(self, user_op_hash: Hash32) -> None:
        """Where the operation was mined under another claim, this one comes back with the block that showed that."""
        flight, counted = self.flights.get(user_op_hash), self.remembered.mined(user_op_hash)
        if flight is not None and counted is not None:
            shown = {counted.name: Evidence(block=counted.block, block_hash=counted.block_hash)}
            await self._over_before(tuple(flight.claims), shown)

    async def _over_before(self, names: Iterable[HoldName], shown: Mapping[HoldName, Evidence]) -> None:
        """The operation had ended, under the names that are `shown`, before it was sent again: it holds nothing. Under
        another name it comes back with the block that showed that."""
        draft = OutcomeDraft()
        for name in names:
            if name in shown:
                self._ledger.expire(name)
                self._unkept.discard(name)
                self.flights.leave(name)
                self._registry.dropped(name, self._clock())
                self.books.note(Outcome(ended=(name,)))
            else:
                evidence = next(iter(shown.values()))
                self.ends.end(draft, name, Cause.NONCE_USED, evidence._replace(by=name.user_op_hash))
        await self.close(draft)

    async def nonce_used(self, user_op_hash: Hash32, evidence: Evidence) -> None:
        """The chain has shown that something else used the nonce. Of what competes for it each is to be proven: one of
        them may be what used it."""
        flight = self.flights.get(user_op_hash)
        if flight is None:
            return
        draft, evidence = OutcomeDraft(), self.unseconded.get(user_op_hash, evidence)
        for held in self._ledger.held_in(flight.slot):
            if held.user_op_hash != user_op_hash:
                self.to_prove[held.user_op_hash] = None
                self.awake.set()
                continue
            self.ends.end(draft, held.name, Cause.NONCE_USED, evidence)
            if held.session is not None:
                # nobody here knows what that other operation has used
                draft.to_read[held.session] = evidence.block or 0
        await self.close(draft)

    def used_before(self, slots: Iterable[NonceSlot]) -> None:
        """The nonces of these places were used in blocks that are settled: what is in flight there is to be proven.
        What those blocks showed of it may be forgotten, or be nothing."""
        for slot in slots:
            for held in self._ledger.held_in(slot):
                self.to_prove[held.user_op_hash] = None
                self.awake.set()

    async def enable_nonce_read(self, session: SessionKey, enable_nonce: int, evidence: Evidence) -> None:
        """The session was read with this enable nonce: grants under earlier ones cannot be mined any more, unless the
        reading had one of them in it."""
        names = self._ledger.grants_before(session, enable_nonce)
        if names:
            draft = OutcomeDraft()
            for name in names:
                self.ends.end(draft, name, Cause.GRANT_USED, evidence)
            await self.close(draft)

    async def bring_back(self, names: Collection[HoldName]) -> None:
        """What the chain has taken back is in flight again, piece by piece. Raises `StateUnavailable`."""
        revived: list[Hash32] = []
        try:
            for few in in_parts(tuple(names), MOST_ENDS):
                for piece in in_pieces(await self.books.recall(few)):
                    revived += await self._bring_back(piece)
        finally:
            tell_of(revived)

    async def _bring_back(self, back: Collection[Ended]) -> list[Hash32]:
        draft = OutcomeDraft()
        self.ends.undo(draft, back)
        for each in draft.revived:
            self.flights.begin(each.operation, as_sent(each.stage), each.silent_seconds)
            self.flights.came_back(each.operation.user_op_hash)
            self.on_back(each.operation)
            if each.stage not in LET_GO:
                self._hold_again(each.operation.user_op_hash, each.stage)  # it was let go under another claim since
            self.on_begun(each.operation.user_op_hash, as_sent(each.stage))
            self._prove_if_in_doubt(each.operation.user_op_hash, each.stage)
        # what a question to the chain had shown, and no event of a block, no later block may show
        asked = (ended for ended in back if ended.cause is Cause.NONCE_USED and ended.evidence.by is None)
        self.to_prove |= dict.fromkeys(ended.operation.user_op_hash for ended in asked)
        self.awake.set()
        await self.close(draft)
        for each in draft.revived:
            await self._end_beside_counted(each.operation.user_op_hash)
        return [each.operation.user_op_hash for each in draft.revived]

    async def close(self, draft: OutcomeDraft, outcome: Outcome | None = None) -> None:
        """Tell of what was gathered, have read what has to be, hand over the rest; `outcome`: that with its cursor."""
        outcome = draft.outcome() if outcome is None else outcome
        if not self.ends.readable and draft.to_read:
            outcome, draft.to_read = replace(outcome, doubts=()), {}  # nobody will ever read them
        for end in draft.told:
            self._tell(end)
        if draft.to_read or draft.unseconded:
            self.unseconded |= draft.unseconded
            self.to_prove |= dict.fromkeys(draft.unseconded)
            self.to_read |= dict.fromkeys(draft.to_read)
            self.awake.set()
        await self.books.keep(outcome)
