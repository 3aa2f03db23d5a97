"""Accepted operations are followed to their end, whatever the bundler, the store and the clock do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.tracker import Mined, Patience, Tracker, read_receipt
from proxy.ledger.memory import MemoryLedger
from proxy.session.counters import Charge, Counter
from proxy.session.declared import DECLARED_POLICY
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.userop.acts import SessionRemoved, SessionsEnabled
from proxy.userop.primitives import Hash32
from tests.chain.builders import Bundler, Clock, Shelf, a_receipt, accepted
from tests.session.builders import (
    ACCOUNT,
    SMART_SESSION,
    TOKEN,
    TRANSFER,
    USAGE,
    action,
    enabled,
    key_of,
    session,
    usage,
)

GRANT = session(action(TOKEN, TRANSFER, usage(3)))
KEY = key_of(GRANT)
STATE = enabled(GRANT)
USES = Counter(SMART_SESSION, ACCOUNT, USAGE, STATE.action_config_id(next(iter(STATE.actions))))
ONE_USE = Charge(USES, 1, 3)
IN_FORCE = KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=1.0, state=STATE)
GRANTED = SessionsEnabled(SMART_SESSION, (GRANT,))
REMOVED = SessionRemoved(SMART_SESSION, KEY.permission_id)


@dataclass
class Scene:
    """A tracker and everything around it."""

    registry: Registry = field(default_factory=Registry)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    shelf: Shelf = field(default_factory=Shelf)
    bundler: Bundler = field(default_factory=Bundler)
    clock: Clock = field(default_factory=Clock)
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self.tracker = Tracker(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.shelf,
            receipt=self.bundler.receipt,
            clock=self.clock,
            patience=self.patience,
        )

    async def accept(self, number: int, *charges: Charge, **of_operation: object) -> Hash32:
        """Reserve, send and follow."""
        operation = accepted(number, KEY, *charges, **of_operation)  # type: ignore[arg-type]  # passed through
        self.ledger.reserve(operation.reservation, lambda _: 0, 1_000.0)
        await self.tracker.follow(operation)
        return operation.user_op_hash

    async def later(self, seconds: float) -> None:
        """Let time pass and the tracker make one round."""
        self.clock.now += seconds
        await self.tracker._round()

    def status(self) -> Status | None:
        known = self.registry.get(KEY)
        return None if known is None else known.status

    def used(self) -> int:
        known = self.registry.get(KEY)
        assert known is not None
        assert known.state is not None
        return known.state.used.get(USES, 0)


async def test_a_mined_operation_moves_its_charges_from_flight_to_the_session() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE)
    assert (scene.ledger.in_flight(USES), scene.used()) == (1, 0)
    scene.bundler.mine(op)
    await scene.later(1)
    assert (scene.ledger.in_flight(USES), scene.used()) == (0, 1)
    assert len(scene.tracker) == 0


async def test_what_the_chain_counted_at_validation_stays_counted_when_the_execution_reverted() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    scene.bundler.mine(await scene.accept(1, ONE_USE), success=False)
    await scene.later(1)
    assert (scene.ledger.in_flight(USES), scene.used()) == (0, 1)


async def test_a_grant_is_kept_as_pending_before_follow_returns_and_in_force_once_mined() -> None:
    scene = Scene()
    op = await scene.accept(1, on_success=(GRANTED,))
    (begun,) = scene.shelf.kept
    assert begun.begun is not None
    assert [session.status for session in begun.sessions] == [Status.PENDING]
    scene.bundler.mine(op)
    await scene.later(1)
    assert scene.status() is Status.IN_FORCE
    ended = scene.shelf.kept[-1]
    assert ended.ended == (op,)
    assert [session.status for session in ended.sessions] == [Status.IN_FORCE]


async def test_a_grant_that_reverted_is_discarded_and_a_removal_that_reverted_removes_nothing() -> None:
    scene = Scene()
    scene.bundler.mine(await scene.accept(1, on_success=(GRANTED,)), success=False)
    await scene.later(1)
    assert scene.status() is Status.REMOVED
    scene.registry.put(IN_FORCE)
    scene.bundler.mine(await scene.accept(2, on_success=(REMOVED,)), success=False)
    await scene.later(1)
    assert scene.status() is Status.IN_FORCE


async def test_a_removal_revokes_when_mined() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, on_success=(REMOVED,))
    await scene.later(1)
    assert scene.status() is Status.IN_FORCE
    scene.bundler.mine(op)
    await scene.later(100)
    assert scene.status() is Status.REMOVED


@pytest.mark.parametrize(("age", "in_flight"), [(599.0, 1), (600.0, 0)])
async def test_an_operation_without_receipt_is_dropped_after_its_time(age: float, in_flight: int) -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE)
    await scene.later(age)
    assert scene.ledger.in_flight(USES) == in_flight
    assert scene.used() == 0
    assert len(scene.tracker) == in_flight
    assert (op in scene.shelf.kept[-1].ended) is (in_flight == 0)


@pytest.mark.parametrize(("age", "followed"), [(89.0, 1), (90.0, 0)])
async def test_an_operation_whose_window_has_ended_is_dropped_earlier(age: float, followed: int) -> None:
    scene = Scene(patience=Patience(lag=60.0))
    await scene.accept(1, ONE_USE, valid_until=1_030)
    await scene.later(age)
    assert len(scene.tracker) == followed


async def test_a_receipt_that_comes_with_the_last_question_counts() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    scene.bundler.mine(await scene.accept(1, ONE_USE))
    await scene.later(10_000)
    assert scene.used() == 1


async def test_patience_grows_with_the_operations_age_up_to_its_longest() -> None:
    scene = Scene(patience=Patience(first=1.0, growth=2.0, longest=4.0))
    await scene.accept(1)
    asked = []
    for _ in range(16):
        await scene.later(1.0)
        asked.append(len(scene.bundler.asked))
    assert asked == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6]


async def test_a_receipt_seen_on_the_way_through_the_gate_ends_the_operation() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE)
    assert await scene.tracker.observe(a_receipt(op))
    assert scene.used() == 1
    assert not await scene.tracker.observe(a_receipt(op))
    assert scene.used() == 1
    assert scene.bundler.asked == []


async def test_a_receipt_that_is_none_foreign_or_unreadable_ends_nothing() -> None:
    scene = Scene()
    op = await scene.accept(1)
    for receipt in (None, {}, a_receipt(Hash32(b"\x99" * 32)), {**a_receipt(op), "success": "true"}):
        assert not await scene.tracker.observe(receipt)
    assert len(scene.tracker) == 1


async def test_a_bundler_that_answers_about_another_operation_ends_nothing() -> None:
    scene = Scene()
    op = await scene.accept(1)
    scene.bundler.receipts[op] = a_receipt(Hash32(b"\x99" * 32))
    await scene.later(1)
    assert len(scene.tracker) == 1


async def test_settle_now_asks_once_for_each_and_says_whether_anything_ended() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    first, second = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE)
    assert not await scene.tracker.settle_now([first, second, first, Hash32(b"\x99" * 32)])
    assert scene.bundler.asked == [first, second]
    scene.bundler.mine(second)
    assert await scene.tracker.settle_now([first, second])
    assert (scene.used(), scene.ledger.in_flight(USES)) == (1, 1)


async def test_what_a_session_awaits_can_be_settled_now_and_ends_its_use_in_flight() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    scene.bundler.mine(await scene.accept(1, ONE_USE))
    assert await scene.tracker.settle_now(scene.registry.awaited(KEY))
    assert (scene.used(), scene.ledger.in_flight(USES), scene.registry.awaited(KEY)) == (1, 0, ())


async def test_an_accepted_replacement_holds_alone_and_the_first_is_still_followed() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    await scene.accept(1, ONE_USE, nonce=5)
    await scene.accept(2, ONE_USE, ONE_USE, nonce=5)
    assert scene.ledger.in_flight(USES) == 2
    assert len(scene.tracker) == 2


@pytest.mark.parametrize(("mined", "used"), [(0, 1), (1, 2)])
async def test_whichever_of_two_with_one_nonce_is_mined_the_other_is_over(mined: int, used: int) -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    ops = [await scene.accept(1, ONE_USE, nonce=5), await scene.accept(2, ONE_USE, ONE_USE, nonce=5)]
    scene.bundler.mine(ops[mined])
    await scene.later(1)
    assert (scene.used(), scene.ledger.in_flight(USES), len(scene.tracker)) == (used, 0, 0)
    assert set(scene.shelf.kept[-1].ended) == set(ops)


async def test_a_grant_replaced_by_another_operation_is_not_pending_any_more() -> None:
    scene = Scene()
    await scene.accept(1, on_success=(GRANTED,), nonce=5)
    scene.bundler.mine(await scene.accept(2, nonce=5))
    await scene.later(1)
    assert scene.status() is Status.REMOVED
    assert [session.status for session in scene.shelf.kept[-1].sessions] == [Status.REMOVED]


@pytest.mark.parametrize("failure", [ValueError("odd"), OSError("gone"), TimeoutError()], ids=["bug", "gone", "slow"])
async def test_a_failing_bundler_holds_up_neither_the_others_nor_the_next_round(failure: Exception) -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    first, second = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE)
    scene.bundler.receipts[first] = failure
    scene.bundler.mine(second)
    await scene.later(1)
    assert (scene.used(), len(scene.tracker)) == (1, 1)
    scene.bundler.mine(first)
    await scene.later(20)
    assert (scene.used(), len(scene.tracker)) == (2, 0)


async def test_what_could_not_be_kept_is_kept_later_as_it_then_stands() -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    scene.shelf.broken = True
    first, second = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE)
    scene.bundler.mine(first)
    await scene.later(1)
    assert (scene.used(), scene.ledger.in_flight(USES)) == (1, 1)
    assert scene.shelf.kept == []
    scene.shelf.broken = False
    await scene.later(1)
    begun = [outcome.begun.user_op_hash for outcome in scene.shelf.kept if outcome.begun is not None]
    ended = [each for outcome in scene.shelf.kept for each in outcome.ended]
    assert (begun, ended) == ([second], [first])
    kept = [each for outcome in scene.shelf.kept for each in outcome.sessions]
    assert kept == [scene.registry.get(KEY)]
    await scene.later(0)
    assert len(scene.shelf.kept) == 3


async def test_uses_of_declared_sessions_are_kept_with_the_end_of_the_operation() -> None:
    scene = Scene()
    declared = Counter(SMART_SESSION, ACCOUNT, DECLARED_POLICY, Hash32(b"\xc0" * 32))
    op = await scene.accept(1, Charge(declared, 1, 9))
    scene.bundler.mine(op)
    await scene.later(1)
    kept = scene.shelf.kept[-1]
    assert (kept.declared_uses, kept.ended) == ({declared: 1}, (op,))


async def test_after_a_restart_operations_hold_and_end_as_before() -> None:
    before, after = Scene(), Scene()
    await before.accept(1, ONE_USE)
    await before.accept(2, on_success=(REMOVED,))
    after.registry.put(IN_FORCE)
    after.tracker.restore(outcome.begun for outcome in before.shelf.kept if outcome.begun is not None)
    assert after.ledger.in_flight(USES) == 1
    assert after.registry.removal_awaited(KEY)
    after.bundler.mine(Hash32((1).to_bytes(32, "big")))
    after.bundler.mine(Hash32((2).to_bytes(32, "big")))
    await after.later(1)
    assert (after.status(), after.ledger.in_flight(USES), len(after.tracker)) == (Status.REMOVED, 0, 0)


async def test_it_runs_until_cancelled_and_wakes_for_a_new_operation() -> None:
    scene = Scene(patience=Patience(first=0.0))
    scene.registry.put(IN_FORCE)
    running = asyncio.create_task(scene.tracker.run())
    await asyncio.sleep(0)
    scene.bundler.mine(Hash32((1).to_bytes(32, "big")))
    await scene.accept(1, ONE_USE)
    async with asyncio.timeout(5):
        await scene.shelf.ended.wait()
    assert scene.used() == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_round_that_fails_is_followed_by_another(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(patience=Patience(first=0.0))
    scene.registry.put(IN_FORCE)
    failures = 2

    async def fails() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("a fault of ours")
        scene.clock.now += 1
        await type(scene.tracker)._round(scene.tracker)

    scene.tracker._round = fails  # type: ignore[method-assign]  # fails twice
    scene.bundler.mine(await scene.accept(1, ONE_USE))
    running = asyncio.create_task(scene.tracker.run())
    async with asyncio.timeout(5):
        await scene.shelf.ended.wait()
    running.cancel()
    assert scene.used() == 1
    assert "the next one follows" in caplog.text


def test_reads_what_a_receipt_says() -> None:
    op = Hash32(b"\x01" * 32)
    assert read_receipt(a_receipt(op, block=7)) == Mined(user_op_hash=op, success=True, block=7)
    assert read_receipt({"userOpHash": "0x" + "01" * 32, "success": False}) == Mined(
        user_op_hash=op, success=False, block=None
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["userOpHash", "success", "receipt", "blockNumber"]), JSON | st.booleans()),
    st.dictionaries(st.sampled_from(["blockNumber"]), JSON),
)
def test_any_receipt_is_read_or_left(receipt: dict[str, object], bundle: dict[str, object]) -> None:
    for each in (receipt, {**receipt, "receipt": bundle}):
        mined = read_receipt(each)
        assert mined is None or isinstance(mined.success, bool)
