"""Any interleaving of sends, answers lost, receipts, replacements, readings, reorganisations and crashes.

The model is a chain that counts, a bundler with one place for each nonce, and a disk that is full now and then and
loses what nobody waited for. What may be spent never passes the limit, neither the chain's nor those of two rules: one
adds up what is spent and gets back what reverts, one counts operations. When all is quiet, the gate knows what the
chain has counted.

An operation reverts or it does not, wherever it is mined: what succeeds only after a reorganisation spends what was
given back, and no gate can help that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.chain import reader as reader_module
from proxy.chain.exact import ExactReading, Tokens
from proxy.chain.hydrate import Reading
from proxy.chain.outcome import Outcome
from proxy.chain.reader import NodeReader
from proxy.chain.tracker import Patience, Tracker
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.judge.windows import BucketRow
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Ended, Mined, Stage
from proxy.ledger.reservation import Held, NonceSlot, Reservation, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32, print_bytes, print_uint
from tests.chain.builders import Clock, accepted
from tests.session.builders import SMART_SESSION, TOKEN, TRANSFER, USAGE, action, enabled, key_of, session, usage

LIMIT = 12
NONCES = 6
GRANT = session(action(TOKEN, TRANSFER, usage(LIMIT)))
KEY = key_of(GRANT)
STATE = enabled(GRANT)
USES = Counter(SMART_SESSION, KEY.account, USAGE, STATE.action_config_id(next(iter(STATE.actions))))
SPEND_LIMIT = 8
COUNT_LIMIT = 4
MONTH = Sliding(30 * 86_400)
SPEND = CountKey(b"s" * 16, b"")
COUNT = CountKey(b"c" * 16, KEY.permission_id)


def by_rules(operation: AcceptedOperation) -> AcceptedOperation:
    """What two rules count of it as well."""
    spend = WindowCharge(
        key=SPEND, window=MONTH, amount=amount_of(operation), limit=SPEND_LIMIT, binding=True, lasting=False
    )
    one = WindowCharge(key=COUNT, window=MONTH, amount=1, limit=COUNT_LIMIT, binding=True, lasting=True)
    return replace(operation, reservation=replace(operation.reservation, rule_charges=(spend, one)))


@dataclass(frozen=True)
class Block:
    hash: Hash32
    mined: tuple[AcceptedOperation, ...]


def amount_of(operation: AcceptedOperation) -> int:
    return operation.reservation.amounts()[USES]


@dataclass
class Chain:
    """Blocks from number 1 on; a nonce is used once."""

    blocks: list[Block] = field(default_factory=list)
    made: int = 0
    reverts: set[Hash32] = field(default_factory=set)  # wherever they are mined

    def spent(self, operations: Iterable[AcceptedOperation]) -> int:
        return sum(amount_of(each) for each in operations if each.user_op_hash not in self.reverts)

    def add(self, operations: Iterable[AcceptedOperation]) -> None:
        self.made += 1
        self.blocks.append(Block(Hash32(self.made.to_bytes(32, "big")), tuple(operations)))
        assert self.used() <= LIMIT

    def used(self, block: int | None = None) -> int:
        return sum(amount_of(each) for each in self.mined(block))

    def mined(self, block: int | None = None) -> list[AcceptedOperation]:
        return [each for made in self.blocks[:block] for each in made.mined]

    def find(self, user_op_hash: Hash32) -> Mined | None:
        for number, block in enumerate(self.blocks, 1):
            if any(each.user_op_hash == user_op_hash for each in block.mined):
                success = user_op_hash not in self.reverts
                return Mined(user_op_hash=user_op_hash, success=success, block=number, block_hash=block.hash)
        return None

    # as a witness

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32) -> Mined | Fate:
        if (mined := self.find(user_op_hash)) is not None:
            return mined
        return Fate.TAKEN if await self.used_slots({slot}, len(self.blocks)) else Fate.OPEN

    async def used_slots(self, slots: Collection[NonceSlot], block: int) -> frozenset[NonceSlot]:
        return frozenset(slots) & {each.reservation.slot for each in self.mined(block)}

    async def block_hash(self, number: int) -> Hash32 | None:
        return self.blocks[number - 1].hash if number <= len(self.blocks) else None


class Witness:
    def __init__(self, chain: Chain) -> None:
        self.fate = chain.fate
        self.used = chain.used_slots
        self.block_hash = chain.block_hash


@dataclass
class Disk:
    """What a restart finds. Notes are written when somebody waits for something later, or never. While it is `full`
    nothing is; what ends operations goes before whatever is written next, as `proxy.ledger.group_commit` has it."""

    sessions: dict[SessionKey, KnownSession] = field(default_factory=dict)
    in_flight: dict[Hash32, AcceptedOperation] = field(default_factory=dict)
    ended: dict[Hash32, Ended] = field(default_factory=dict)
    buckets: dict[tuple[CountKey, int], BucketRow] = field(default_factory=dict)
    notes: list[Outcome] = field(default_factory=list)
    full: bool = False
    owed: list[Outcome] = field(default_factory=list)
    lost: bool = False  # a note that nobody will hand over again

    async def keep(self, outcome: Outcome) -> None:
        if self.full and outcome.ends and not outcome.again:
            self.owed.append(outcome)
        self.flush()
        self._write(outcome)

    def note(self, outcome: Outcome) -> None:
        self.notes.append(outcome)

    async def save_session(self, known: KnownSession) -> None:
        self.flush()
        self.sessions[known.key] = known

    def flush(self) -> None:
        notes, self.notes = self.notes, []
        if self.full:
            self.lost |= bool(notes)
            raise StateUnavailable("the disk is full", fact="ledger")
        owed, self.owed = self.owed, []
        for outcome in (*owed, *notes):
            self._write(outcome)

    def _write(self, outcome: Outcome) -> None:
        if outcome.begun is not None:
            self.in_flight.setdefault(outcome.begun.user_op_hash, outcome.begun)
        self.sessions |= {known.key: known for known in outcome.sessions}
        for ended in outcome.remembered:
            if ended.operation.user_op_hash in self.in_flight:
                self.ended[ended.operation.user_op_hash] = ended
        for user_op_hash in outcome.ended:
            self.in_flight.pop(user_op_hash, None)
        for operation in outcome.revived:
            self.in_flight.setdefault(operation.user_op_hash, operation)
            self.ended.pop(operation.user_op_hash, None)
        self.buckets |= {(row.key, row.start): row for row in outcome.rules.buckets}


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(reader_module, "read_exactly", self._read_exactly)
        self.chain = Chain()
        self.pool: dict[NonceSlot, AcceptedOperation] = {}  # what the bundler has taken
        self.clock = Clock(1_000.0)
        self.disk = Disk(
            {KEY: KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=0.0, state=STATE)}
        )
        self.numbers = 0
        self.sent: dict[Hash32, AcceptedOperation] = {}
        self.lag = 0
        self._begin()

    def teardown(self) -> None:
        self._settle_all()
        self.patch.undo()
        self.loop.close()

    def _begin(self) -> None:
        """A life of the gate, from what the disk has."""
        self.registry, self.rules = Registry(), RuleCounts()
        self.rules.restore(RuleRows(buckets=tuple(self.disk.buckets.values())))
        self.ledger = MemoryLedger(self.rules)
        for known in self.disk.sessions.values():
            self.registry.put(known)
        witness = Witness(self.chain)
        self.reader = NodeReader(
            None,  # type: ignore[arg-type]  # what would ask it is patched
            self.registry,
            self.disk.save_session,
            self.clock,
            ledger=self.ledger,
            witness=witness,
            look_back=lambda: self.tracker.look_back(),  # noqa: PLW0108  # made below
        )
        self.tracker = Tracker(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.disk,
            receipt=self._receipt,
            clock=self.clock,
            patience=Patience(first=0.0, look_back=1e9),
            witness=witness,
            reread=self.reader.session,
        )
        self.tracker.restore(self.disk.in_flight.values(), self.disk.ended.values())
        self.run(self.tracker.reconciled(KEY))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _receipt(self, user_op_hash: Hash32) -> dict[str, object] | None:
        mined = self.chain.find(user_op_hash)
        if mined is None or mined.block is None or mined.block_hash is None:
            return None
        block = {"blockNumber": print_uint(mined.block), "blockHash": print_bytes(mined.block_hash)}
        return {"userOpHash": print_bytes(user_op_hash), "success": mined.success, "receipt": block}

    async def _read_exactly(
        self, _node: object, witness: Witness, _key: SessionKey, held: Iterable[Reservation], _tokens: Tokens
    ) -> ExactReading:
        slots = {each.slot for each in held}
        block = max(len(self.chain.blocks) - self.lag, 0)
        state = replace(STATE, used={USES: self.chain.used(block)})
        return ExactReading(Reading(state, block), await witness.used(slots, block))

    async def _state(self) -> SessionState | None:
        known = self.registry.get(KEY)
        assert known is not None
        if known.state is not None:
            return known.state
        try:
            return await self.reader.session(KEY)
        except StateUnavailable:
            return None

    def _reserve(self, operation: AcceptedOperation) -> bool:
        """As admission does it: between the state and the reservation nothing gives way."""
        state = self.run(self._state())
        if state is None:
            return False
        return isinstance(
            self.ledger.reserve(operation.reservation, lambda each: state.used.get(each, 0), self.clock.now), Held
        )

    def _arrive(self, operation: AcceptedOperation, *, willing: bool = True) -> bool:
        """At the bundler: it takes one operation for each unused nonce, the latest."""
        slot = operation.reservation.slot
        if not willing or any(each.reservation.slot == slot for each in self.chain.mined()):
            return False
        self.pool[slot] = operation
        committed = self.chain.used() + sum(amount_of(each) for each in self.pool.values())
        assert committed <= LIMIT, f"{committed} of {LIMIT} may be spent"
        mined, pending = self.chain.mined(), self.pool.values()
        assert self.chain.spent(mined) + self.chain.spent(pending) <= SPEND_LIMIT
        assert len(mined) + len(pending) <= COUNT_LIMIT
        return True

    # what clients and the bundler do

    @rule(
        nonce=st.integers(0, NONCES - 1),
        amount=st.integers(1, 5),
        reverts=st.booleans(),
        fortune=st.sampled_from(
            ["taken", "taken", "refused", "answer lost", "never arrives", "crash before", "crash after"]
        ),
    )
    def send(self, nonce: int, amount: int, reverts: bool, fortune: str) -> None:
        self.numbers += 1
        operation = by_rules(accepted(self.numbers, KEY, Charge(USES, amount, LIMIT), nonce=nonce, at=self.clock.now))
        if reverts:
            self.chain.reverts.add(operation.user_op_hash)
        self._send(operation, fortune)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), fortune=st.sampled_from(["taken", "refused", "answer lost"]))
    def send_again(self, data: st.DataObject, fortune: str) -> None:
        user_op_hash = data.draw(st.sampled_from(sorted(self.sent)))
        self._send(self.sent[user_op_hash], fortune)

    def _send(self, operation: AcceptedOperation, fortune: str) -> None:
        if not self._reserve(operation):
            return
        try:
            self.run(self.tracker.hold(operation))
        except StateUnavailable:
            self.tracker.let_go(operation.user_op_hash)
            return
        assert operation.user_op_hash in self.disk.in_flight
        self.sent[operation.user_op_hash] = operation
        if fortune == "crash before":
            self.crash(keeps_notes=False)
            return
        if fortune == "never arrives":
            self.run(self.tracker.follow(operation, Stage.UNKNOWN))
            return
        took = self._arrive(operation, willing=fortune != "refused")
        if fortune == "crash after":
            self.crash(keeps_notes=False)
        elif fortune == "answer lost":
            self.run(self.tracker.follow(operation, Stage.UNKNOWN))
        elif took:
            self.run(self.tracker.follow(operation))
        else:
            self.tracker.let_go(operation.user_op_hash)

    @rule(data=st.data())
    def mine(self, data: st.DataObject) -> None:
        slots = data.draw(st.sets(st.sampled_from(sorted(self.pool)))) if self.pool else set()
        self.chain.add([self.pool.pop(slot) for slot in sorted(slots)])

    @precondition(lambda self: self.chain.blocks)
    @rule(depth=st.integers(1, 3), keeps=st.booleans())
    def reorganise(self, depth: int, keeps: bool) -> None:
        """Blocks go; the bundler takes their operations up again, and may have them in the next block."""
        gone = self.chain.blocks[-depth:]
        del self.chain.blocks[-depth:]
        for operation in (each for block in gone for each in block.mined):
            self.pool[operation.reservation.slot] = operation
        back = [self.pool.pop(slot) for slot in sorted(self.pool)][:2] if keeps else []
        self.chain.add(back)

    # what the gate does

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def see_a_receipt(self, data: st.DataObject) -> None:
        user_op_hash = data.draw(st.sampled_from(sorted(self.sent)))
        self.run(self._observe(user_op_hash))

    async def _observe(self, user_op_hash: Hash32) -> None:
        await self.tracker.observe(await self._receipt(user_op_hash))

    @rule(lag=st.integers(0, 2))
    def read(self, lag: int) -> None:
        self.lag = lag
        self.run(self._read())
        self.lag = 0

    async def _read(self) -> None:
        try:
            await self.reader.session(KEY)
        except StateUnavailable:
            return

    @rule()
    def look(self) -> None:
        self.clock.now += 1.0
        self.run(self.tracker._round())

    @rule()
    def look_back(self) -> None:
        self.run(self.tracker.look_back())

    @rule(full=st.booleans())
    def fill_the_disk(self, full: bool) -> None:
        self.disk.full = full

    @rule(keeps_notes=st.booleans())
    def crash(self, keeps_notes: bool) -> None:
        if keeps_notes and not self.disk.full:
            self.disk.flush()
        self.disk.notes.clear()
        self.disk.owed.clear()
        self.disk.lost = False
        self._begin()

    @invariant()
    def what_is_in_flight_is_on_disk(self) -> None:
        in_flight = {each.user_op_hash for each in self.ledger.of_session(KEY)}
        # that the chain took one back may be owed: then the disk has how it had ended, and in which block
        owed = {each.user_op_hash for outcome in self.disk.owed for each in outcome.revived}
        assert in_flight <= self.disk.in_flight.keys() | (owed & self.disk.ended.keys())

    def _settle_all(self) -> None:
        """When all is quiet the gate and the chain agree, and what is left can be spent to the last unit."""
        self.disk.full = False
        if self.disk.lost:
            self.crash(keeps_notes=True)
        self.chain.add([self.pool.pop(slot) for slot in sorted(self.pool)])
        for _ in range(self.chain.made - len(self.chain.blocks)):
            self.chain.add(())  # until it is as high as ever before: a node that went back may be one that is behind
        self.run(self.tracker.look_back())
        self.run(self._read())
        for user_op_hash in self.sent:
            self.run(self._observe(user_op_hash))
        self.clock.now += 700.0  # what never arrived is given up
        self.run(self.tracker._round())
        state = self.run(self._state())
        assert state is not None
        assert state.used.get(USES, 0) == self.chain.used()
        assert self.ledger.in_flight(USES) == 0
        assert not self.disk.in_flight
        self._rules_agree()
        left = LIMIT - self.chain.used()
        self.numbers += 1
        over = accepted(self.numbers, KEY, Charge(USES, left + 1, LIMIT), nonce=NONCES, at=self.clock.now)
        assert not self._reserve(over)
        if left:
            exactly = accepted(self.numbers, KEY, Charge(USES, left, LIMIT), nonce=NONCES, at=self.clock.now)
            assert self._reserve(exactly)

    def _rules_agree(self) -> None:
        counts = self.ledger.counts(NonceSlot(0, KEY.module, KEY.account, 0), self.clock.now)
        mined = self.chain.mined()
        assert counts.total(SPEND, MONTH) == self.chain.spent(mined)
        assert counts.total(COUNT, MONTH) == len(mined)
        on_disk = {SPEND: 0, COUNT: 0}
        for row in self.disk.buckets.values():
            on_disk[row.key] += row.amount
        assert on_disk == {SPEND: self.chain.spent(mined), COUNT: len(mined)}


LedgerMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase
