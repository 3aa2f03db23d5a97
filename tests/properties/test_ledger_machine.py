"""Any interleaving of sends, answers lost, receipts, replacements, readings, reorganisations, silence and crashes.

The model is a chain that counts, a bundler with one place for each nonce, and a disk that is full now and then and
loses what nobody waited for. What may be spent never passes the limit, neither the chain's nor those of two rules: one
adds up what is spent and gets back what reverts, one counts operations. When all is quiet, the gate knows what the
chain has counted, and every hold that is gone has its evidence.

An operation reverts or it does not, wherever it is mined: what succeeds only after a reorganisation spends what was
given back, and no gate can help that. The same operation comes under two sessions, and as a grant and as a use of one,
grants rival for an enable nonce, an owner uses up nonces past the gate and a session is used past it, validity ends,
operators let go of holds, every second answer of the node is that of a backend behind the other, and clocks jump while
the gate runs.

What was let go while its nonce is unused may be mined all the same: of that only what is still held for it counts
against the gate.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.chain import reader as reader_module
from proxy.chain.exact import ExactReading, Tokens
from proxy.chain.hydrate import Reading
from proxy.chain.reader import NodeReader
from proxy.chain.settlement.draft import End
from proxy.chain.settlement.ends import name_of
from proxy.chain.settlement.flights import LET_GO
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import Slice
from proxy.chain.settlement.taker import Taker
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.ledger.counting_time import CountingTime, KeptTime
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Cause, Stage
from proxy.ledger.reservation import Basis, Held, NonceSlot, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.counters import HoldName, SessionKey
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
    is_ruled,
    key_of_claim,
    operation_of,
)

FINAL = Patience().final - 60
"""In seconds: so old blocks stay."""
EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "0"))
"""For a search; without it the same examples are tried each time, so that who changes something else meets no luck."""


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
        self.kept_time: KeptTime | None = None
        self.disk = Disk()
        self.bundler_silent = False
        self.numbers = 0
        self.released: set[Hash32] = set()
        self.let_go: set[Hash32] = set()  # and not held anew since
        self.sent: dict[HoldName, AcceptedOperation] = {}
        self.unanswered: list[tuple[AcceptedOperation, bool]] = []  # each with whether the bundler took it
        self.astray = 0.0  # the time of day
        self.read_ahead: int | None = None  # so many blocks are taken in at a time
        self.told: list[End] = []
        self.unsent: set[HoldName] = set()  # since this was looked at last
        self._begin()

    def teardown(self) -> None:
        self._settle_all()
        self.patch.undo()
        self.loop.close()

    def _begin(self) -> None:
        """A life of the gate, from what the disk has."""
        self.counting = CountingTime(
            self.clock, self.monotonic, boot="this one", kept=self.kept_time, follows=self.has_node
        )
        self.registry, self.rules = Registry(), RuleCounts(self.counting.of)
        self.rules.restore(RuleRows(buckets=tuple(self.disk.buckets.values())))
        self.ledger = MemoryLedger(self.rules, sessions=self.registry)
        for known in self.disk.sessions.values():
            self.registry.put(known)
        # without a node only the bundler tells of blocks that are gone: it is asked as long as one may be
        rechecks = tuple(float(seconds) for seconds in range(1, 40_000, 30))
        patience = Patience(first=0.0, growth=1.0, rechecks=rechecks, a_second=1e6)
        self.settlement = Settlement(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.disk,
            clock=self.counting.now,
            patience=patience,
            tell=self.told.append,
            may_forget=lambda: self.counting.is_steady,
        )
        self.taker = Taker(
            self.settlement,
            chain_id=KEYS[0].chain_id,
            registry=self.registry,
            clock=self.counting.now,
            monotonic=self.monotonic,
            patience=patience,
        )
        witness = Witness(self.chain)
        self.reader = NodeReader(
            self.chain,  # type: ignore[arg-type]  # what else would ask it is patched
            self.registry,
            self.disk.save_session,
            self.clock,
            ledger=self.ledger,
            witness_at=lambda _: witness,
            look_back=self._catch_up,
            followed=self.taker,
            used_before=self.settlement.used_before,
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
        doubts = sorted(self.disk.doubts.values(), key=lambda each: each.block)
        blocks = [self.disk.blocks[number] for number in sorted(self.disk.blocks)]
        ended = [name_of(each) for each in self.disk.ended.values()]
        self.taker.restore(self.disk.cursor, blocks, doubts, ended)
        flights = tuple(self.disk.in_flight.values())
        self.settlement.restore(flights, map(name_of, self.disk.ended.values()))
        self.held = self._held()
        self.lookout.restored(
            [each.operation.user_op_hash for each in flights],
            [key_of_claim(each.operation) for each in flights],
            [each.key for each in doubts if not each.is_read],
        )
        for key in KEYS:
            self.run(self.lookout.reconciled(key))
        self.run(self._catch_up())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # the node and the bundler, as they are asked

    async def _catch_up(self) -> None:
        """What follows the blocks, as far as the disk tells what is asked of it: what failed is done again later."""
        with suppress(StateUnavailable):
            await self._follow()

    async def _follow(self) -> None:
        """See `proxy.chain.blocks.follower`, in few words."""
        if self.chain.silent or not self.has_node:
            return
        head, taker = self.chain.newest(), self.taker
        if head:
            self.counting.confirmed(self.chain.blocks[head - 1].timestamp)
        cursor = taker.cursor
        if cursor is None:
            await taker.start_at(self.chain.name(head), self.chain.time)
            return
        on_chain = [block for block in (cursor, *taker.trail()) if block.number <= head]
        if not on_chain:
            return  # far behind, or of a chain begun anew: that will show once it is as far
        shared = next((block for block in on_chain if self.chain.name(block.number) == block), None)
        if shared is None:
            await taker.start_at(self.chain.name(head), self.chain.time)
            return
        if shared != cursor:
            if shared == on_chain[0]:
                return  # a node that is only behind
            await taker.undo(shared)
        last_read = head if self.read_ahead is None else min(head, shared.number + self.read_ahead)
        for number in range(shared.number + 1, last_read + 1):
            last, parent = self.chain.name(number), taker.cursor
            await taker.settle(
                Slice(
                    chain_id=KEYS[0].chain_id,
                    first=number,
                    last=last,
                    parent=parent,
                    timestamp=self.chain.blocks[number - 1].timestamp,
                    blocks=(last,),
                    events=tuple(self.chain.events(number, self._is_ours)),
                )
            )

    def _is_ours(self, user_op_hash: Hash32) -> bool:
        is_in_flight = self.settlement.flights.get(user_op_hash) is not None
        return is_in_flight or self.settlement.remembered.mined(user_op_hash) is not None

    async def _receipt(self, user_op_hash: Hash32) -> dict[str, object] | None:
        if self.bundler_silent:
            raise UpstreamUnavailable("no answer", may_have_been_sent=True)
        mined = self.chain.find(user_op_hash)
        if mined is None or mined.block is None or mined.block_hash is None:
            return None
        block = {"blockNumber": print_uint(mined.block), "blockHash": print_bytes(mined.block_hash)}
        return {"userOpHash": print_bytes(user_op_hash), "success": mined.success, "receipt": block}

    async def _read_exactly(
        self, _node: object, witness: Witness, key: SessionKey, slots: Collection[NonceSlot], _tokens: Tokens
    ) -> ExactReading:
        if self.chain.silent:
            raise StateUnavailable("no answer")
        block = self.chain.name(self.chain.newest())
        state = replace(STATES[key], used={USES[key]: self.chain.used(key, block.number)})
        reading = Reading(state, block)
        parent = self.chain.header_of(block.number).parent
        return ExactReading(reading, await witness.used(slots, block), parent)

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
        for key in KEYS:
            of_key = [each for each in self._may_be_mined(LET_GO) if key_of_claim(each) == key]
            held = sum(map(amount_of, of_key))
            used = [each for each in self.chain.mined_here() if each.user_op_hash not in self.let_go]
            spent = sum(amount_of(each) for each in used if key_of_claim(each) == key)
            assert spent + held <= LIMIT, "more may be spent than the limit"
        counted = [*self.chain.mined_here(), *self._may_be_mined({Stage.RELEASED})]
        ruled = [each for each in counted if is_ruled(each) and each.user_op_hash not in self.released]
        for key in KEYS:
            assert len([each for each in ruled if key_of_claim(each) == key]) <= COUNT_LIMIT
        reverted = {each for each in self.chain.reverts if self._was_mined(each)}
        assert sum(amount_of(each) for each in ruled if each.user_op_hash not in reverted) <= SPEND_LIMIT
        return True

    def _was_mined(self, user_op_hash: Hash32) -> bool:
        """In the chain, or in blocks of it that are gone while the gate has not heard of that yet."""
        return self.chain.find(user_op_hash) is not None or self.settlement.remembered.mined(user_op_hash) is not None

    def _may_be_mined(self, without: Collection[Stage]) -> list[AcceptedOperation]:
        """Of what the bundler has, what is still valid and has not come to one of these stages."""
        flights = self.settlement.flights
        staged = ((each, flights.get(each.user_op_hash)) for each in self.pool.values() if self.chain.is_valid(each))
        return [each for each, flight in staged if flight is None or flight.stage not in without]

    # what clients, owners and the bundler do

    @rule(
        nonce=st.integers(0, NONCES - 1),
        amount=st.integers(1, 5),
        reverts=st.booleans(),
        key=st.sampled_from(KEYS),
        grant=st.none() | st.integers(0, 1),
        valid_for=st.none() | st.sampled_from([30, 500]),
        ruled=st.booleans(),
        fortune=st.sampled_from(
            ["taken", "taken", "refused", "answer lost", "never arrives", "hangs", "crash before", "crash after"]
        ),
    )
    def send(
        self,
        *,
        nonce: int,
        amount: int,
        reverts: bool,
        key: SessionKey,
        grant: int | None,
        valid_for: int | None,
        ruled: bool,
        fortune: str,
    ) -> None:
        self.numbers += 1
        until = None if valid_for is None else self.chain.time + valid_for
        operation = operation_of(
            self.numbers,
            key,
            amount,
            nonce=nonce,
            at=self.clock.now,
            grant=grant,
            valid_until=until,
            is_ruled=ruled,
        )
        if reverts:
            self.chain.reverts.add(operation.user_op_hash)
        self._send(operation, fortune)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), fortune=st.sampled_from(["taken", "refused", "answer lost", "hangs"]))
    def send_again(self, data: st.DataObject, fortune: str) -> None:
        self._send(self._one_sent(data), fortune)

    @precondition(lambda self: self.sent)
    @rule(
        data=st.data(),
        key=st.sampled_from(KEYS),
        grant=st.none() | st.integers(0, 1),
        fortune=st.sampled_from(["taken", "refused", "answer lost", "hangs", "crash after"]),
    )
    def send_under_another_claim(self, data: st.DataObject, key: SessionKey, grant: int | None, fortune: str) -> None:
        """The hash does not cover the signature: it comes under another session, or as a grant and as a use."""
        self.send_as(self._one_sent(data), key, grant, fortune)

    def send_as(self, sent: AcceptedOperation, key: SessionKey, grant: int | None, fortune: str) -> None:
        """An operation that was sent before, under this claim."""
        number = int.from_bytes(sent.user_op_hash, "big")
        reservation = sent.reservation
        operation = operation_of(
            number,
            key,
            amount_of(sent),
            nonce=reservation.slot.nonce,
            at=self.clock.now,
            grant=grant,
            valid_until=reservation.valid_until,
            is_ruled=is_ruled(sent),
        )
        self._send(operation, fortune)

    def _one_sent(self, data: st.DataObject) -> AcceptedOperation:
        newest = st.integers(0, min(len(self.sent), 3) - 1)  # the same one again and again is what goes wrong
        index = data.draw(newest | st.integers(0, len(self.sent) - 1))
        return list(self.sent.values())[-1 - index]

    def _send(self, operation: AcceptedOperation, fortune: str) -> None:
        if not self._reserve(operation):
            return
        try:
            self.run(self.settlement.hold(operation))
        except StateUnavailable:
            self.settlement.let_go(operation)
            self.unsent.add(operation.name)
            return
        is_counted = self.settlement.remembered.mined(operation.user_op_hash) is not None
        assert is_counted or operation.name in self.disk.in_flight
        self.sent[operation.name] = operation
        self.let_go.discard(operation.user_op_hash)
        if fortune == "crash before":
            self.crash(keeps_notes=False)
            return
        if fortune == "never arrives":
            self.run(self.settlement.follow(operation, Stage.UNKNOWN))
            return
        took = self._arrive(operation, willing=fortune != "refused")
        if fortune == "crash after":
            self.crash(keeps_notes=False)
        elif fortune == "hangs":
            self.unanswered.append((operation, took))
        else:
            self._answer(operation, took=took, lost=fortune == "answer lost")

    def _answer(self, operation: AcceptedOperation, *, took: bool, lost: bool) -> None:
        if lost:
            self.run(self.settlement.follow(operation, Stage.UNKNOWN))
        elif took:
            self.run(self.settlement.follow(operation))
        else:
            self.settlement.refused(operation.reservation, "refused")

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data(), lost=st.booleans())
    def an_answer_comes(self, data: st.DataObject, lost: bool) -> None:
        """To what was sent a while ago, and of which anything may have been heard since."""
        operation, took = self.unanswered.pop(data.draw(st.integers(0, len(self.unanswered) - 1)))
        self._answer(operation, took=took, lost=lost)

    @rule(data=st.data())
    def mine(self, data: st.DataObject) -> None:
        slots = data.draw(st.sets(st.sampled_from(sorted(self.pool)))) if self.pool else set()
        self._mine(sorted(slots))

    def _mine(self, slots: Iterable[NonceSlot], burnt: Iterable[NonceSlot] = ()) -> None:
        mined: list[AcceptedOperation] = []
        for slot in slots:
            operation = self.pool.pop(slot)
            if self.chain.can_mine(operation, mined):
                mined.append(operation)
        self.chain.add(mined, burnt)

    @rule(nonce=st.integers(0, NONCES - 1))
    def owner_uses_a_nonce(self, nonce: int) -> None:
        slot = operation_of(1, KEYS[0], 1, nonce=nonce, at=0.0).reservation.slot
        if slot not in self.chain.taken():
            self.pool.pop(slot, None)
            self._mine([], [slot])

    @rule(nonce=st.integers(0, NONCES - 1), amount=st.integers(1, 3), key=st.sampled_from(KEYS))
    def use_past_the_gate(self, nonce: int, amount: int, key: SessionKey) -> None:
        """By another bundler."""
        self.numbers += 1
        operation = operation_of(self.numbers, key, amount, nonce=nonce, at=0.0, is_ruled=False)
        if self.chain.can_mine(operation):
            self.pool.pop(operation.reservation.slot, None)
            self.chain.past.add(operation.user_op_hash)
            self.chain.add([operation])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def an_operator_lets_go(self, data: st.DataObject) -> None:
        user_op_hash = self._one_sent(data).user_op_hash
        if self.run(self.settlement.letting_go.release(user_op_hash, "by the test")):
            self.released.add(user_op_hash)

    @rule(
        nonces=st.lists(st.integers(0, NONCES - 1), min_size=2, max_size=2, unique=True),
        key=st.sampled_from(KEYS),
        grant=st.integers(0, 1),
        arrives=st.booleans(),
    )
    def a_grant_that_is_let_go_is_outrun_by_another(
        self, *, nonces: list[int], key: SessionKey, grant: int, arrives: bool
    ) -> None:
        """Both use one enable nonce, under two nonces: as long as all of the first is held, no other is."""
        first, second = (
            operation_of(self.numbers + each, key, 1, nonce=nonce, at=self.clock.now, grant=grant)
            for each, nonce in enumerate(nonces, 1)
        )
        self.numbers += 2
        self._send(first, "taken" if arrives else "never arrives")
        if self.run(self.settlement.letting_go.release(first.user_op_hash, "by the test")):
            self.released.add(first.user_op_hash)
        self._send(second, "taken")
        if second.reservation.slot in self.pool:
            self._mine([second.reservation.slot])
        self.look(1.0)

    @precondition(lambda self: self.chain.blocks)
    @rule(depth=st.integers(1, 3), keeps=st.booleans())
    def reorganise(self, depth: int, keeps: bool) -> None:
        """Blocks go, of those that are not final; the bundler takes their operations up again, and may have them in the
        next block."""
        gone = [block for block in self.chain.blocks[-depth:] if self.chain.time - block.timestamp < FINAL]
        del self.chain.blocks[len(self.chain.blocks) - len(gone) :]
        for operation in (each for block in gone for each in block.mined):
            if operation.user_op_hash not in self.chain.past:
                self.pool[operation.reservation.slot] = operation
        back = [slot for slot in sorted(self.pool) if self.chain.can_mine(self.pool[slot])][:2] if keeps else []
        self._mine(back)

    @rule(
        bundler=st.booleans(),
        node=st.booleans(),
        claims=st.booleans(),
        behind=st.integers(0, 2),
        read_ahead=st.sampled_from([None, 0, 1]),
    )
    def fall_silent(self, bundler: bool, node: bool, claims: bool, behind: int, read_ahead: int | None) -> None:
        self.bundler_silent, self.chain.silent, self.chain.shows_claims = bundler, node, claims
        self.chain.behind, self.read_ahead = behind, read_ahead

    @initialize(seconds=st.sampled_from([0.0, -1_000.0, 900.0, 40 * 86_400.0]))
    def start_first_by_a_clock_that_is_wrong(self, seconds: float) -> None:
        if self.has_node:  # without one there is nobody to tell
            self.set_the_clock(seconds)
            self._begin()

    @rule(seconds=st.sampled_from([0.0, -86_400.0, -60.0, 900.0, 86_400.0]))
    def set_the_clock(self, seconds: float) -> None:
        self.astray = seconds
        self._pass(0.0)

    def _pass(self, seconds: float) -> None:
        self.monotonic.now += seconds
        self.chain.time = 1_000 + int(self.monotonic.now)
        self.clock.now = max(1_000.0 + self.monotonic.now + self.astray, 1.0)

    # what the gate does

    @precondition(lambda self: self.has_node)
    @rule(key=st.sampled_from(KEYS))
    def read(self, key: SessionKey) -> None:
        self.run(self._read(key))

    async def _read(self, key: SessionKey) -> None:
        try:
            await self.reader.session(key)
        except StateUnavailable:
            return

    @rule(seconds=st.sampled_from([1.0, 30.0, 700.0]))
    def look(self, seconds: float) -> None:
        self._pass(seconds)
        self.run(self._catch_up())
        self.run(self.lookout.round())

    @rule()
    def ask_before_the_blocks_are_taken_in(self) -> None:
        """Of what is in doubt the chain is asked at its head."""
        self.run(self.lookout.round())

    @rule(
        nonce=st.integers(0, NONCES - 1),
        key=st.sampled_from(KEYS),
        ruled=st.booleans(),
        fortune=st.sampled_from(["taken", "answer lost", "hangs", "hangs", "crash after"]),
    )
    def come_again_once_it_is_mined_and_before_its_block_is_taken_in(
        self, *, nonce: int, key: SessionKey, ruled: bool, fortune: str
    ) -> None:
        self.numbers += 1
        operation = operation_of(self.numbers, key, 1, nonce=nonce, at=self.clock.now, is_ruled=ruled)
        self._send(operation, "answer lost")
        if operation.reservation.slot in self.pool:
            self._mine([operation.reservation.slot])
        self.ask_before_the_blocks_are_taken_in()
        self._send(operation, fortune)

    @rule(full=st.booleans())
    def fill_the_disk(self, full: bool) -> None:
        self.disk.full = full

    @rule(is_deaf=st.booleans())
    def ask_the_disk_in_vain(self, is_deaf: bool) -> None:
        """It tells nothing of what has ended, as a slow one: blocks that are gone are not taken back."""
        self.disk.is_deaf = is_deaf

    @rule(keeps_notes=st.booleans())
    def crash(self, keeps_notes: bool) -> None:
        self.disk.crash(keeps_notes=keeps_notes)
        self.kept_time = self.counting.kept or self.kept_time
        self.unanswered.clear()
        self._begin()

    def _held(self) -> set[HoldName]:
        return {each.name for key in KEYS for each in self.ledger.of_session(key)}

    @invariant()
    def what_is_in_flight_is_on_disk(self) -> None:
        in_flight = self._held()
        # that the chain took one back may be owed: then the disk has how it had ended, and in which block
        owed = {each.operation.name for outcome in self.disk.owed for each in outcome.revived}
        assert in_flight <= self.disk.in_flight.keys() | (owed & self.disk.ended.keys())

    @invariant()
    def every_hold_that_is_gone_has_its_evidence(self) -> None:
        told, self.told[:] = list(self.told), []
        assert all(map(evidence_is_there, told))
        held = self._held()
        silent = self.held - held - {end.ended.name for end in told} - self.unsent
        assert not {each for each in silent if not self.settlement.remembered.is_mined(each)}
        self.held, self.unsent = held, set()
        loosened = (end.ended for end in told if end.ended.cause in (Cause.RELEASED, Cause.UNMINED))
        self.let_go.update(ended.operation.user_op_hash for ended in loosened)

    def _settle_all(self) -> None:
        """When all is quiet the gate and the chain agree, and what is left can be spent to the last unit."""
        self.disk.full = self.disk.is_deaf = self.bundler_silent = self.chain.silent = False
        self.chain.behind, self.read_ahead = 0, None
        if self.disk.lost:
            self.crash(keeps_notes=True)
        while self.unanswered:
            operation, took = self.unanswered.pop()
            self._answer(operation, took=took, lost=True)
        self._mine([slot for slot in sorted(self.pool) if self.chain.can_mine(self.pool[slot])])
        for _ in range(self.chain.made - len(self.chain.blocks)):
            self.chain.add(())  # until it is as high as ever before: a node that went back may be one that is behind
        burnt = [operation_of(1, KEYS[0], 1, nonce=nonce, at=0.0).reservation.slot for nonce in range(NONCES)]
        self._mine([], [slot for slot in burnt if slot not in self.chain.taken()])
        for _ in range(4):
            self.look(30.0)
        if not self.has_node:
            self._give_up_what_never_arrived()
        for key in KEYS:
            if self.has_node:
                state = self.run(self._state(key))
                assert state is not None
                assert state.used.get(USES[key], 0) == self.chain.used(key)
                self.run(self._read(key))
            self._agrees_on(key)
        assert not self.disk.in_flight or not self.has_node
        self._rules_agree()
        self._what_is_left_can_be_spent()

    def _give_up_what_never_arrived(self) -> None:
        """Without a node nobody tells of nonces: an operator lets go of what the bundler never had."""
        for user_op_hash in dict.fromkeys(name.user_op_hash for name in self.sent):
            if self.chain.find(user_op_hash) is None:
                self.run(self.settlement.letting_go.release(user_op_hash, "by the test"))

    def _agrees_on(self, key: SessionKey) -> None:
        state = self.run(self._state(key))
        assert state is not None
        used, truth = state.used.get(USES[key], 0), self.chain.used(key)
        # without a node nobody reads under which claim something was mined: every claim stays charged
        in_doubt = 0 if self.has_node else sum(map(amount_of, self._mined_beside(key)))
        unseen = 0 if self.has_node else truth - self.chain.used_here(key)
        assert truth - unseen <= used <= truth + in_doubt
        assert self.ledger.in_flight(USES[key]) == 0

    def _mined_beside(self, key: SessionKey) -> list[AcceptedOperation]:
        """What was mined under the other session, and had come under this one as well."""
        mined = [each for each in self.chain.mined_here() if key_of_claim(each) != key]
        sent = {(name.user_op_hash, name.session) for name in self.sent}
        return [each for each in mined if (each.user_op_hash, key) in sent]

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
        mined = [each for each in self.chain.mined() if is_ruled(each)]
        assert on_disk.get(SPEND, 0) == self.chain.spent(mined)
        for key in KEYS:
            counted, truth = on_disk.get(count_of(key), 0), sum(key_of_claim(each) == key for each in mined)
            # of what was mined under a claim that nobody could read, every claim stays charged
            assert truth <= counted <= truth + len(list(filter(is_ruled, self._mined_beside(key))))
        counts = self.ledger.counts(slot, self.clock.now)
        assert counts.total(SPEND, MONTH) == self.chain.spent(mined)


class LedgerMachineWithoutNode(LedgerMachine):
    has_node = False


SETTINGS = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
LedgerMachine.TestCase.settings = SETTINGS
LedgerMachineWithoutNode.TestCase.settings = SETTINGS
TestLedger = LedgerMachine.TestCase
TestLedgerWithoutNode = LedgerMachineWithoutNode.TestCase
