"""Any interleaving of sends, answers lost, receipts, replacements, readings, reorganisations, silence and crashes.

The model is a chain that counts, a bundler with one place for each nonce, and a disk that is full now and then and
loses what nobody waited for. What may be spent never passes the limit, neither the chain's nor those of two rules: one
adds up what is spent and gets back what reverts, one counts operations. When all is quiet, the gate knows what the
chain has counted, and every hold that is gone has its evidence.

An operation reverts or it does not, wherever it is mined: what succeeds only after a reorganisation spends what was
given back, and no gate can help that. The same operation comes under two sessions, grants rival for an enable nonce,
an owner uses up nonces past the gate, and clocks jump.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.chain import reader as reader_module
from proxy.chain.exact import ExactReading, Tokens
from proxy.chain.hydrate import Reading
from proxy.chain.reader import NodeReader
from proxy.chain.settlement.ends import End, name_of
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import Slice
from proxy.chain.settlement.taker import Taker
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Stage
from proxy.ledger.reservation import Basis, Held, NonceSlot, Reservation, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.counters import SessionKey
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32, print_bytes, print_uint
from tests.chain.builders import Clock
from tests.chain.settlement.evidence import evidence_is_there
from tests.properties.chain_model import (
    COUNT_LIMIT,
    KEYS,
    LIMIT,
    MONTH,
    NONCES,
    SPEND,
    SPEND_LIMIT,
    STATES,
    USES,
    Chain,
    Disk,
    Witness,
    amount_of,
    count_of,
    key_of_claim,
    operation_of,
)

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "150"))


class LedgerMachine(RuleBasedStateMachine):
    has_node: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(reader_module, "read_exactly", self._read_exactly)
        self.chain = Chain()
        self.pool: dict[NonceSlot, AcceptedOperation] = {}  # what the bundler has taken
        self.clock, self.monotonic = Clock(1_000.0), Clock(0.0)
        self.disk = Disk()
        self.bundler_silent = False
        self.numbers = 0
        self.sent: dict[tuple[Hash32, SessionKey], AcceptedOperation] = {}
        self.lag = 0
        self.told: list[End] = []
        self._begin()

    def teardown(self) -> None:
        self._settle_all()
        self.patch.undo()
        self.loop.close()

    def _begin(self) -> None:
        """A life of the gate, from what the disk has."""
        self.registry, self.rules = Registry(), RuleCounts()
        self.rules.restore(RuleRows(buckets=tuple(self.disk.buckets.values())))
        self.ledger = MemoryLedger(self.rules, sessions=self.registry)
        for known in self.disk.sessions.values():
            self.registry.put(known)
        patience = Patience(first=0.0, growth=1.0, rechecks=(1.0, 1e9), a_second=1e6)
        self.settlement = Settlement(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.disk,
            clock=self.clock,
            patience=patience,
            tell=self.told.append,
        )
        witness = Witness(self.chain)
        self.reader = NodeReader(
            None,  # type: ignore[arg-type]  # what would ask it is patched
            self.registry,
            self.disk.save_session,
            self.clock,
            ledger=self.ledger,
            witness=witness,
            look_back=self._catch_up,
        )
        self.taker = Taker(
            self.settlement,
            chain_id=KEYS[0].chain_id,
            registry=self.registry,
            clock=self.clock,
            monotonic=self.monotonic,
            patience=patience,
        )
        node = None
        if self.has_node:
            node = NodeWord(witness=witness, reread=self.reader.reread, taker=self.taker, catch_up=self._catch_up)
        self.lookout = Lookout(
            self.settlement,
            registry=self.registry,
            receipt=self._receipt,
            clock=self.clock,
            monotonic=self.monotonic,
            patience=patience,
            node=node,
        )
        self.taker.restore(self.disk.cursor, [self.disk.blocks[number] for number in sorted(self.disk.blocks)])
        flights = tuple(self.disk.in_flight.values())
        self.settlement.restore(flights, map(name_of, self.disk.ended.values()))
        self.lookout.restored(
            [each.operation.user_op_hash for each in flights],
            [key_of_claim(each.operation) for each in flights],
        )
        for key in KEYS:
            self.run(self.lookout.reconciled(key))
        self.run(self._catch_up())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # the node and the bundler, as they are asked

    async def _catch_up(self) -> None:
        """What follows the blocks: see `proxy.chain.blocks.follower`, in few words."""
        if self.chain.silent or not self.has_node:
            return
        head, taker = len(self.chain.blocks), self.taker
        cursor = taker.cursor
        if cursor is None:
            await taker.start_at(self.chain.name(head), 1_000)
            return
        on_chain = [block for block in (cursor, *taker.trail()) if block.number <= head]
        shared = next((block for block in on_chain if self.chain.name(block.number) == block), None)
        if shared is None:
            await taker.start_at(self.chain.name(head), 1_000)
            return
        if shared != cursor:
            if shared == on_chain[0]:
                return  # a node that is only behind
            try:
                await taker.undo(shared)
            except StateUnavailable:
                return
        for number in range(shared.number + 1, head + 1):
            last, parent = self.chain.name(number), taker.cursor
            await taker.settle(
                Slice(
                    chain_id=KEYS[0].chain_id,
                    first=number,
                    last=last,
                    parent=parent,
                    timestamp=1_000,
                    blocks=(last,),
                    events=tuple(self.chain.events(number)),
                )
            )

    async def _receipt(self, user_op_hash: Hash32) -> dict[str, object] | None:
        if self.bundler_silent:
            raise UpstreamUnavailable("no answer", may_have_been_sent=True)
        mined = self.chain.find(user_op_hash)
        if mined is None or mined.block is None or mined.block_hash is None:
            return None
        block = {"blockNumber": print_uint(mined.block), "blockHash": print_bytes(mined.block_hash)}
        return {"userOpHash": print_bytes(user_op_hash), "success": mined.success, "receipt": block}

    async def _read_exactly(
        self, _node: object, witness: Witness, key: SessionKey, held: Iterable[Reservation], _tokens: Tokens
    ) -> ExactReading:
        if self.chain.silent:
            raise StateUnavailable("no answer")
        slots = {each.slot for each in held}
        block = max(len(self.chain.blocks) - self.lag, 0)
        state = replace(STATES[key], used={USES[key]: self.chain.used(key, block)})
        reading = Reading(state, block, self.chain.name(block).hash)
        return ExactReading(reading, await witness.used(slots, block))

    async def _state(self, key: SessionKey) -> SessionState | None:
        known = self.registry.get(key)
        assert known is not None
        if known.state is not None:
            return known.state
        try:
            return await self.reader.session(key)
        except StateUnavailable:
            return None

    def _reserve(self, operation: AcceptedOperation) -> bool:
        """As admission does it: between the state and the reservation nothing gives way."""
        key = key_of_claim(operation)
        state = self.run(self._state(key))
        if state is None:
            return False
        basis = Basis(used=dict(state.used), revision=self.registry.revision(key))
        return isinstance(self.ledger.reserve(operation.reservation, basis, self.clock.now), Held)

    def _arrive(self, operation: AcceptedOperation, *, willing: bool = True) -> bool:
        """At the bundler: it takes one operation for each unused nonce, the latest."""
        if not willing or not self.chain.can_mine(operation):
            return False
        self.pool[operation.reservation.slot] = operation
        mined, pending = self.chain.mined(), self.pool.values()
        for key in KEYS:
            of_key = [amount_of(each) for each in pending if key_of_claim(each) == key]
            assert self.chain.used(key) + sum(of_key) <= LIMIT, "more may be spent than the limit"
            operations = [each for each in (*mined, *pending) if key_of_claim(each) == key]
            assert len(operations) <= COUNT_LIMIT
        assert self.chain.spent(mined) + self.chain.spent(pending) <= SPEND_LIMIT
        return True

    # what clients, owners and the bundler do

    @rule(
        nonce=st.integers(0, NONCES - 1),
        amount=st.integers(1, 5),
        reverts=st.booleans(),
        key=st.sampled_from(KEYS),
        grant=st.none() | st.integers(0, 1),
        fortune=st.sampled_from(
            ["taken", "taken", "refused", "answer lost", "never arrives", "crash before", "crash after"]
        ),
    )
    def send(self, *, nonce: int, amount: int, reverts: bool, key: SessionKey, grant: int | None, fortune: str) -> None:
        self.numbers += 1
        operation = operation_of(self.numbers, key, amount, nonce=nonce, at=self.clock.now, grant=grant)
        if reverts:
            self.chain.reverts.add(operation.user_op_hash)
        self._send(operation, fortune)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), fortune=st.sampled_from(["taken", "refused", "answer lost"]))
    def send_again(self, data: st.DataObject, fortune: str) -> None:
        self._send(self._one_sent(data), fortune)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), fortune=st.sampled_from(["taken", "refused", "answer lost", "crash after"]))
    def send_under_the_other_session(self, data: st.DataObject, fortune: str) -> None:
        """The hash does not cover the signature."""
        sent = self._one_sent(data)
        other = KEYS[1 - KEYS.index(key_of_claim(sent))]
        number = int.from_bytes(sent.user_op_hash, "big")
        nonce = sent.reservation.slot.nonce
        self._send(operation_of(number, other, amount_of(sent), nonce=nonce, at=self.clock.now), fortune)

    def _one_sent(self, data: st.DataObject) -> AcceptedOperation:
        index = data.draw(st.integers(0, len(self.sent) - 1))
        return list(self.sent.values())[index]

    def _send(self, operation: AcceptedOperation, fortune: str) -> None:
        if not self._reserve(operation):
            return
        try:
            self.run(self.settlement.hold(operation))
        except StateUnavailable:
            self.settlement.let_go(operation)
            return
        assert operation.name in self.disk.in_flight
        self.sent[operation.user_op_hash, key_of_claim(operation)] = operation
        if fortune == "crash before":
            self.crash(keeps_notes=False)
            return
        if fortune == "never arrives":
            self.run(self.settlement.follow(operation, Stage.UNKNOWN))
            return
        took = self._arrive(operation, willing=fortune != "refused")
        if fortune == "crash after":
            self.crash(keeps_notes=False)
        elif fortune == "answer lost":
            self.run(self.settlement.follow(operation, Stage.UNKNOWN))
        elif took:
            self.run(self.settlement.follow(operation))
        else:
            self.settlement.refused(operation.reservation, "refused")

    @rule(data=st.data())
    def mine(self, data: st.DataObject) -> None:
        slots = data.draw(st.sets(st.sampled_from(sorted(self.pool)))) if self.pool else set()
        self._mine(sorted(slots))

    def _mine(self, slots: Iterable[NonceSlot], burnt: Iterable[NonceSlot] = ()) -> None:
        mined: list[AcceptedOperation] = []
        grants = self.chain.grants_used()
        for slot in slots:
            operation = self.pool.pop(slot)
            grant = operation.reservation.grant
            turn = None if grant is None else (key_of_claim(operation), grant)
            if turn is None or turn not in grants:
                mined.append(operation)
                grants |= set() if turn is None else {turn}
        self.chain.add(mined, burnt)

    @rule(nonce=st.integers(0, NONCES - 1))
    def owner_uses_a_nonce(self, nonce: int) -> None:
        slot = operation_of(1, KEYS[0], 1, nonce=nonce, at=0.0).reservation.slot
        if slot not in self.chain.taken():
            self.pool.pop(slot, None)
            self._mine([], [slot])

    @precondition(lambda self: self.chain.blocks)
    @rule(depth=st.integers(1, 3), keeps=st.booleans())
    def reorganise(self, depth: int, keeps: bool) -> None:
        """Blocks go; the bundler takes their operations up again, and may have them in the next block."""
        gone = self.chain.blocks[-depth:]
        del self.chain.blocks[-depth:]
        for operation in (each for block in gone for each in block.mined):
            self.pool[operation.reservation.slot] = operation
        back = [slot for slot in sorted(self.pool) if self.chain.can_mine(self.pool[slot])][:2] if keeps else []
        self._mine(back)

    @rule(bundler=st.booleans(), node=st.booleans(), claims=st.booleans())
    def fall_silent(self, bundler: bool, node: bool, claims: bool) -> None:
        self.bundler_silent, self.chain.silent, self.chain.shows_claims = bundler, node, claims

    @rule(seconds=st.sampled_from([-86_400.0, -60.0, 900.0, 86_400.0]))
    def set_the_clock(self, seconds: float) -> None:
        self.clock.now = max(self.clock.now + seconds, 1.0)

    # what the gate does

    @rule(lag=st.integers(0, 2), key=st.sampled_from(KEYS))
    def read(self, lag: int, key: SessionKey) -> None:
        if not self.has_node:
            return
        self.lag = lag
        self.run(self._read(key))
        self.lag = 0

    async def _read(self, key: SessionKey) -> None:
        try:
            await self.reader.session(key)
        except StateUnavailable:
            return

    @rule(seconds=st.sampled_from([1.0, 30.0, 700.0]))
    def look(self, seconds: float) -> None:
        self.clock.now += seconds
        self.monotonic.now += seconds
        self.run(self._catch_up())
        self.run(self.lookout.round())

    @rule(full=st.booleans())
    def fill_the_disk(self, full: bool) -> None:
        self.disk.full = full

    @rule(keeps_notes=st.booleans())
    def crash(self, keeps_notes: bool) -> None:
        self.disk.crash(keeps_notes=keeps_notes)
        self._begin()

    @invariant()
    def what_is_in_flight_is_on_disk(self) -> None:
        in_flight = {each.name for key in KEYS for each in self.ledger.of_session(key)}
        # that the chain took one back may be owed: then the disk has how it had ended, and in which block
        owed = {each.operation.name for outcome in self.disk.owed for each in outcome.revived}
        assert in_flight <= self.disk.in_flight.keys() | (owed & self.disk.ended.keys())

    @invariant()
    def every_hold_that_is_gone_has_its_evidence(self) -> None:
        told, self.told[:] = list(self.told), []
        assert all(map(evidence_is_there, told))

    def _settle_all(self) -> None:
        """When all is quiet the gate and the chain agree, and what is left can be spent to the last unit."""
        self.disk.full = self.bundler_silent = self.chain.silent = False
        if self.disk.lost:
            self.crash(keeps_notes=True)
        self._mine([slot for slot in sorted(self.pool) if self.chain.can_mine(self.pool[slot])])
        for _ in range(self.chain.made - len(self.chain.blocks)):
            self.chain.add(())  # until it is as high as ever before: a node that went back may be one that is behind
        burnt = [operation_of(1, KEYS[0], 1, nonce=nonce, at=0.0).reservation.slot for nonce in range(NONCES)]
        self._mine([], [slot for slot in burnt if slot not in self.chain.taken()])
        for _ in range(4):
            self.look(30.0)
            if self.has_node:
                for key in KEYS:
                    self.run(self._read(key))
        if not self.has_node:
            self._give_up_what_never_arrived()
        for key in KEYS:
            self._agrees_on(key)
        assert not self.disk.in_flight or not self.has_node
        self._rules_agree()
        self._what_is_left_can_be_spent()

    def _give_up_what_never_arrived(self) -> None:
        """Without a node nobody tells of nonces: an operator lets go of what the bundler never had."""
        for user_op_hash, _ in self.sent:
            if self.chain.find(user_op_hash) is None:
                self.run(self.settlement.release(user_op_hash, "by the test"))

    def _agrees_on(self, key: SessionKey) -> None:
        state = self.run(self._state(key))
        assert state is not None
        used, truth = state.used.get(USES[key], 0), self.chain.used(key)
        # without a node nobody reads under which claim something was mined: every claim stays charged
        in_doubt = 0 if self.has_node else sum(map(amount_of, self._mined_beside(key)))
        assert truth <= used <= truth + in_doubt
        assert self.ledger.in_flight(USES[key]) == 0

    def _mined_beside(self, key: SessionKey) -> list[AcceptedOperation]:
        """What was mined under the other session, and had come under this one as well."""
        mined = [each for each in self.chain.mined() if key_of_claim(each) != key]
        return [each for each in mined if (each.user_op_hash, key) in self.sent]

    def _what_is_left_can_be_spent(self) -> None:
        for key in KEYS:
            state = self.run(self._state(key))
            assert state is not None
            left = LIMIT - state.used.get(USES[key], 0)
            self.numbers += 1
            over = operation_of(self.numbers, key, left + 1, nonce=NONCES + self.numbers, at=self.clock.now)
            bare = replace(over, reservation=replace(over.reservation, rule_charges=()))
            assert not self._reserve(bare)
            if left:
                exactly = operation_of(self.numbers, key, left, nonce=NONCES + self.numbers, at=self.clock.now)
                assert self._reserve(replace(exactly, reservation=replace(exactly.reservation, rule_charges=())))

    def _rules_agree(self) -> None:
        slot = operation_of(1, KEYS[0], 1, nonce=99, at=0.0).reservation.slot
        # what the clock put into the past or the future counts on all the same
        on_disk: dict[object, int] = {}
        for row in self.disk.buckets.values():
            on_disk[row.key] = on_disk.get(row.key, 0) + row.amount
        mined = self.chain.mined()
        assert on_disk.get(SPEND, 0) == self.chain.spent(mined)
        for key in KEYS:
            counted, truth = on_disk.get(count_of(key), 0), sum(key_of_claim(each) == key for each in mined)
            # of what was mined under a claim that nobody could read, every claim stays charged
            assert truth <= counted <= truth + len(self._mined_beside(key))
        counts = self.ledger.counts(slot, self.clock.now)
        assert counts.total(SPEND, MONTH) == self.chain.spent(mined)


class LedgerMachineWithoutNode(LedgerMachine):
    has_node = False


SETTINGS = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
LedgerMachine.TestCase.settings = SETTINGS
LedgerMachineWithoutNode.TestCase.settings = SETTINGS
TestLedger = LedgerMachine.TestCase
TestLedgerWithoutNode = LedgerMachineWithoutNode.TestCase
