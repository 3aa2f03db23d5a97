"""What the chain decides about followed operations: mined although nobody says so, replaced, or taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import pytest

from proxy.chain.tracker import Patience, Tracker
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import Mined, Stage
from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.declared import DECLARED_POLICY
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32, print_bytes
from tests.chain.builders import Bundler, Clock, Shelf, a_receipt, accepted
from tests.chain.test_tracker import GRANTED, IN_FORCE, KEY, ONE_USE, SMART_SESSION, STATE, USES
from tests.session.builders import ACCOUNT


@dataclass
class Chain:
    """A witness made of tables; an exception is raised."""

    fates: dict[Hash32, Mined | Fate | Exception] = field(default_factory=dict)
    blocks: dict[int, Hash32] = field(default_factory=dict)
    asked: list[Hash32] = field(default_factory=list)

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32) -> Mined | Fate:
        self.asked.append(user_op_hash)
        fate = self.fates.get(user_op_hash, Fate.OPEN)
        if isinstance(fate, Exception):
            raise fate
        return fate

    async def used(self, slots: Collection[NonceSlot], block: int) -> frozenset[NonceSlot]:
        return frozenset()

    async def block_hash(self, number: int) -> Hash32 | None:
        return self.blocks.get(number)


@dataclass
class Scene:
    """A tracker with a node to ask; `reread` has the sessions that were read again."""

    registry: Registry = field(default_factory=Registry)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    shelf: Shelf = field(default_factory=Shelf)
    bundler: Bundler = field(default_factory=Bundler)
    chain: Chain | None = field(default_factory=Chain)
    clock: Clock = field(default_factory=Clock)
    reread: list[SessionKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry.put(IN_FORCE)
        self.tracker = Tracker(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.shelf,
            receipt=self.bundler.receipt,
            clock=self.clock,
            patience=Patience(questions=2, look_back=1.0),
            witness=self.chain,
            reread=self._read if self.chain is not None else None,
        )

    async def _read(self, key: SessionKey) -> None:
        self.reread.append(key)
        known = self.registry.get(key)
        assert known is not None
        self.registry.put(replace(known, state=STATE, block=300))

    async def accept(self, number: int, *charges: Charge, **of_operation: object) -> Hash32:
        operation = accepted(number, KEY, *charges, **of_operation)  # type: ignore[arg-type]  # passed through
        self.ledger.reserve(operation.reservation, lambda _: 0, 1_000.0)
        await self.tracker.hold(operation)
        await self.tracker.follow(operation)
        return operation.user_op_hash

    async def later(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.tracker._round()

    def mine(self, op: Hash32, *, block: int = 200, block_hash: int = 1) -> None:
        """Give it a receipt that names its block, which the chain has."""
        name = Hash32(block_hash.to_bytes(32, "big"))
        receipt = a_receipt(op, block=block)
        bundle = receipt["receipt"]
        assert isinstance(bundle, dict)
        bundle["blockHash"] = print_bytes(name)
        self.bundler.receipts[op] = receipt
        if self.chain is not None:
            self.chain.blocks[block] = name

    def used(self) -> int | None:
        """What the session has used; `None` when it has to be read."""
        known = self.registry.get(KEY)
        assert known is not None
        return None if known.state is None else known.state.used.get(USES, 0)

    @property
    def balance(self) -> tuple[int | None, int]:
        return self.used(), self.ledger.in_flight(USES)


# held before it is sent


async def test_what_is_held_is_on_disk_and_nothing_is_written_again_before_the_answer_goes_out() -> None:
    scene = Scene()
    operation = accepted(1, KEY, ONE_USE)
    scene.ledger.reserve(operation.reservation, lambda _: 0, 1_000.0)
    await scene.tracker.hold(operation)
    assert [outcome.begun for outcome in scene.shelf.kept] == [operation]
    await scene.tracker.follow(operation)
    assert scene.shelf.kept[-1].begun is None
    assert scene.shelf.kept[-1].answered == (operation.user_op_hash, Stage.ACCEPTED)


async def test_a_ledger_that_does_not_write_is_told_and_nothing_stays_held() -> None:
    scene = Scene()
    scene.shelf.broken = True
    operation = accepted(1, KEY, ONE_USE)
    scene.ledger.reserve(operation.reservation, lambda _: 0, 1_000.0)
    with pytest.raises(StateUnavailable):
        await scene.tracker.hold(operation)
    scene.tracker.let_go(operation.user_op_hash)
    assert scene.balance == (0, 0)


async def test_a_refused_operation_is_not_on_disk_any_more() -> None:
    scene = Scene()
    operation = accepted(1, KEY, ONE_USE)
    scene.ledger.reserve(operation.reservation, lambda _: 0, 1_000.0)
    await scene.tracker.hold(operation)
    scene.tracker.let_go(operation.user_op_hash)
    assert scene.shelf.kept[-1].ended == (operation.user_op_hash,)
    assert scene.balance == (0, 0)


async def test_an_answer_that_never_came_keeps_what_is_held_and_what_it_would_replace() -> None:
    scene = Scene()
    await scene.accept(1, ONE_USE, ONE_USE, nonce=5)
    replacement = accepted(2, KEY, ONE_USE, nonce=5)
    scene.ledger.reserve(replacement.reservation, lambda _: 0, 1_000.0)
    await scene.tracker.hold(replacement)
    await scene.tracker.follow(replacement, Stage.UNKNOWN)
    assert scene.balance == (0, 2)
    assert len(scene.tracker) == 2


async def test_an_operation_sent_again_after_it_was_mined_is_not_counted_again() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    scene.mine(op)
    await scene.later(1)
    await scene.accept(1, ONE_USE)
    await scene.later(20)
    assert scene.balance == (1, 0)
    assert len(scene.tracker) == 0


# what the chain says


async def test_an_operation_the_bundler_knows_nothing_of_is_found_on_the_chain() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    assert scene.chain is not None
    scene.chain.fates[op] = Mined(user_op_hash=op, success=False, block=200, block_hash=Hash32(b"\x01" * 32))
    await scene.later(1)
    assert scene.balance == (0, 1)  # the bundler is asked first, twice
    await scene.later(20)
    assert scene.balance == (1, 0)
    assert scene.reread == []


async def test_an_operation_whose_nonce_another_one_used_is_dropped_and_its_session_read() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    assert scene.chain is not None
    scene.chain.fates[op] = Fate.TAKEN
    await scene.later(1)
    await scene.later(20)
    assert scene.balance == (0, 0)
    assert scene.reread == [KEY]


@pytest.mark.parametrize("fate", [Fate.OPEN, StateUnavailable("the node")])
async def test_an_operation_nobody_can_tell_of_stays_in_flight_until_its_time_is_over(fate: Fate | Exception) -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    assert scene.chain is not None
    scene.chain.fates[op] = fate
    for _ in range(20):
        await scene.later(29)
    assert scene.balance == (0, 1)
    await scene.later(29)
    assert scene.balance == (0, 0)


async def test_an_operation_dropped_too_soon_counts_when_its_receipt_comes_after_all() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    await scene.later(700)
    assert scene.balance == (0, 0)
    assert await scene.tracker.observe(a_receipt(op))
    assert scene.balance == (1, 0)


# a chain that takes blocks back


async def test_a_block_that_is_gone_puts_its_operation_back_in_flight_and_the_session_is_read() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    scene.mine(op)
    await scene.later(1)
    assert scene.balance == (1, 0)
    assert scene.chain is not None
    scene.chain.blocks[200] = Hash32(b"\x99" * 32)
    scene.bundler.receipts.clear()
    await scene.later(2)
    assert scene.balance == (0, 1)
    assert scene.reread == [KEY]
    assert [each.user_op_hash for each in scene.shelf.kept[-1].revived] == [op]
    scene.mine(op, block=301, block_hash=2)
    await scene.later(20)
    assert scene.balance == (1, 0)


async def test_blocks_that_are_still_there_are_left_alone() -> None:
    scene = Scene()
    for number in (1, 2):
        scene.mine(await scene.accept(number, ONE_USE), block=200 + number, block_hash=number)
    await scene.later(1)
    await scene.later(2)
    assert scene.balance == (2, 0)
    assert scene.reread == []


async def test_only_operations_of_blocks_that_are_gone_come_back() -> None:
    scene = Scene()
    for number in (1, 2, 3):
        scene.mine(await scene.accept(number, ONE_USE), block=200 + number, block_hash=number)
    await scene.later(1)
    assert scene.chain is not None
    scene.chain.blocks[203] = Hash32(b"\x99" * 32)
    scene.bundler.receipts.clear()
    await scene.later(2)
    assert scene.ledger.in_flight(USES) == 1


async def test_a_block_that_is_gone_is_noticed_below_one_that_came_after_it() -> None:
    scene = Scene()
    scene.mine(await scene.accept(1, ONE_USE), block=201, block_hash=1)
    await scene.later(1)
    await scene.later(2)
    assert scene.chain is not None
    scene.bundler.receipts.clear()
    scene.mine(await scene.accept(2, ONE_USE), block=202, block_hash=2)
    scene.chain.blocks[201] = Hash32(b"\x99" * 32)
    await scene.later(0.6)  # the second one is seen before anybody looks back
    await scene.later(2)
    assert scene.ledger.in_flight(USES) == 1


async def test_what_was_found_below_a_block_is_not_asked_for_again_while_that_one_is_there() -> None:
    scene = Scene()
    asked: list[int] = []
    assert scene.chain is not None
    block_hash = scene.chain.block_hash

    async def count(number: int) -> Hash32 | None:
        asked.append(number)
        return await block_hash(number)

    scene.chain.block_hash = count  # type: ignore[method-assign]  # the same, and counts
    for number in (1, 2, 3):
        scene.mine(await scene.accept(number, ONE_USE), block=200 + number, block_hash=number)
    await scene.later(1)
    await scene.later(2)
    assert asked == [203, 202, 201]
    scene.mine(await scene.accept(4, ONE_USE), block=204, block_hash=4)
    await scene.later(2)  # looks back, then sees the fourth
    await scene.later(2)
    await scene.later(2)
    assert asked[3:] == [203, 204, 203, 204]
    assert scene.balance == (4, 0)


async def test_an_operation_that_lost_its_nonce_comes_back_with_the_one_that_took_it() -> None:
    scene = Scene()
    first = await scene.accept(1, ONE_USE, nonce=5)
    second = await scene.accept(2, ONE_USE, ONE_USE, nonce=5)
    scene.mine(second)
    await scene.later(1)
    assert scene.balance == (2, 0)
    assert scene.chain is not None
    scene.chain.blocks.clear()
    scene.bundler.receipts.clear()
    await scene.later(2)
    assert scene.balance == (0, 2)
    scene.mine(first, block=301, block_hash=2)
    await scene.later(20)
    assert scene.balance == (1, 0)


async def test_without_a_node_the_bundlers_receipt_tells_and_what_was_used_is_taken_off() -> None:
    scene = Scene(chain=None)
    op = await scene.accept(1, ONE_USE)
    scene.mine(op)
    await scene.later(1)
    await scene.later(20)
    assert scene.balance == (1, 0)
    scene.bundler.receipts.clear()
    await scene.later(20)
    assert scene.balance == (0, 1)


async def test_uses_that_are_counted_here_alone_are_taken_off_too() -> None:
    scene = Scene()
    local = Counter(SMART_SESSION, ACCOUNT, DECLARED_POLICY, Hash32(b"\xc0" * 32))
    op = await scene.accept(1, Charge(local, 2, 9))
    scene.mine(op)
    await scene.later(1)
    assert scene.registry.declared_uses(local) == 2
    assert scene.chain is not None
    scene.chain.blocks.clear()
    scene.bundler.receipts.clear()
    await scene.later(2)
    assert (scene.registry.declared_uses(local), scene.ledger.in_flight(local)) == (0, 2)
    assert scene.shelf.kept[-1].declared_uses == {local: 0}


async def test_a_node_that_cannot_say_brings_nothing_back() -> None:
    scene = Scene()
    scene.mine(await scene.accept(1, ONE_USE))
    await scene.later(1)

    async def fails(number: int) -> Hash32 | None:
        raise StateUnavailable("the node")

    assert scene.chain is not None
    scene.chain.block_hash = fails  # type: ignore[method-assign]  # no answer
    await scene.later(2)
    assert scene.balance == (1, 0)


# after a restart


async def test_what_a_restart_found_in_flight_is_asked_for_once_before_a_verdict_depends_on_it() -> None:
    scene = Scene()
    operations = [accepted(1, KEY, ONE_USE), accepted(2, KEY, ONE_USE)]
    scene.bundler.mine(operations[0].user_op_hash)
    scene.tracker.restore(operations)
    assert scene.balance == (0, 2)
    await asyncio.gather(scene.tracker.reconciled(KEY), scene.tracker.reconciled(KEY))
    assert scene.ledger.in_flight(USES) == 1
    assert scene.reread == [KEY]
    asked = len(scene.bundler.asked)
    await scene.tracker.reconciled(KEY)
    assert len(scene.bundler.asked) == asked == 2


async def test_a_bundler_and_a_node_that_say_nothing_after_a_restart_leave_all_in_flight() -> None:
    scene = Scene()
    operation = accepted(1, KEY, ONE_USE)
    scene.bundler.receipts[operation.user_op_hash] = OSError("gone")
    assert scene.chain is not None
    scene.chain.fates[operation.user_op_hash] = StateUnavailable("the node")
    scene.tracker.restore([operation])
    await scene.tracker.reconciled(KEY)
    assert scene.ledger.in_flight(USES) == 1
    assert len(scene.tracker) == 1


async def test_a_reorganisation_across_a_restart_is_noticed() -> None:
    before = Scene()
    op = await before.accept(1, ONE_USE)
    before.mine(op)
    await before.later(1)
    remembered = [each for outcome in before.shelf.kept for each in outcome.remembered]
    after = Scene(clock=before.clock)
    known = before.registry.get(KEY)
    assert known is not None
    after.registry.put(known)
    after.tracker.restore([], remembered)
    await after.later(2)
    assert after.balance == (0, 1)


async def test_a_grant_taken_back_is_not_in_force_before_it_is_read() -> None:
    scene = Scene()
    op = await scene.accept(1, on_success=(GRANTED,))
    scene.mine(op)
    await scene.later(1)

    async def unreadable(key: SessionKey) -> None:
        raise StateUnavailable("the node")

    scene.tracker._reread = unreadable
    assert scene.chain is not None
    scene.chain.blocks.clear()
    scene.bundler.receipts.clear()
    await scene.later(2)
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is None
