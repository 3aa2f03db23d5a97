"""Without a node: receipts are asked for, and that nobody answers ends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.settlement.ends import name_of
from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.polling import Polling
from proxy.chain.settlement.receipts import named_in, read_receipt, receipt_of_inclusion
from proxy.errors import UpstreamUnavailable
from proxy.ledger.operations import Cause, InFlight, Mined, Stage
from proxy.ledger.reservation import Grip
from proxy.session.counters import Charge, Counter
from proxy.session.declared import DECLARED_POLICY
from proxy.session.known import Status
from proxy.userop.primitives import Hash32, print_bytes
from tests.chain.builders import Bundler, Clock, a_receipt, accepted
from tests.chain.settlement.builders import (
    GRANTED,
    IN_FORCE,
    KEY,
    ONE_USE,
    REMOVED,
    STATE,
    USES,
    Chain,
    Scene,
    block,
    name,
)

LOCAL = Counter(KEY.module, KEY.account, DECLARED_POLICY, Hash32(b"\xd0" * 32))
NO_ANSWER = UpstreamUnavailable("timed out", may_have_been_sent=True)


def in_force(**parts: object) -> Scene:
    scene = Scene(**parts)  # type: ignore[arg-type]  # passed through
    scene.registry.put(IN_FORCE)
    return scene


async def test_a_mined_operation_moves_its_charges_from_flight_to_the_session() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    assert scene.balance == (0, 1)
    scene.bundler.mine(op)
    await scene.later(1)
    assert scene.balance == (1, 0)
    assert len(scene.settlement) == 0
    assert scene.causes == [Cause.MINED]


async def test_what_the_chain_counted_at_validation_stays_counted_when_the_execution_reverted() -> None:
    scene = in_force()
    scene.bundler.mine(await scene.accept(1, ONE_USE), success=False)
    await scene.later(1)
    assert scene.balance == (1, 0)


async def test_a_grant_is_in_force_once_mined_and_discarded_when_it_reverted() -> None:
    scene = Scene()
    scene.bundler.mine(await scene.accept(1, on_success=(GRANTED,)), success=False)
    await scene.later(1)
    assert scene.status() is Status.REMOVED
    scene.bundler.mine(await scene.accept(2, on_success=(GRANTED,)))
    await scene.later(1)
    assert scene.status() is Status.IN_FORCE


async def test_a_removal_revokes_when_mined_and_not_when_it_reverted() -> None:
    scene = in_force()
    scene.bundler.mine(await scene.accept(1, on_success=(REMOVED,)), success=False)
    await scene.later(1)
    assert scene.status() is Status.IN_FORCE
    scene.bundler.mine(await scene.accept(2, on_success=(REMOVED,)))
    await scene.later(1)
    assert scene.status() is Status.REMOVED


async def test_whichever_of_two_with_one_nonce_is_mined_the_other_is_over_by_that_evidence() -> None:
    scene = in_force()
    await scene.accept(1, replace(ONE_USE, amount=2), nonce=7)
    second = await scene.accept(2, ONE_USE, nonce=7)
    scene.bundler.mine(second, block_hash=block(200).hash)
    await scene.later(1)
    assert scene.balance == (1, 0)
    ends = {end.ended.operation.user_op_hash: end.ended for end in scene.told}
    assert ends[second].cause is Cause.MINED
    assert ends[name(1)].cause is Cause.NONCE_USED
    assert (ends[name(1)].evidence.by, ends[name(1)].evidence.block) == (second, 200)


@pytest.mark.parametrize("failure", [NO_ANSWER, OSError("reset"), RuntimeError("a bug")])
async def test_a_bundler_that_does_not_answer_ends_nothing_however_long(failure: Exception) -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.bundler.receipts[op] = failure
    for _ in range(100):
        await scene.later(60)
    assert scene.balance == (0, 1)
    assert scene.told == []
    scene.bundler.mine(op)
    await scene.later(60)
    assert scene.balance == (1, 0)


async def test_silence_counts_only_between_two_answers_that_there_is_none() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    await scene.later(15)
    scene.bundler.receipts[op] = NO_ANSWER
    for _ in range(60):
        await scene.later(15)
    del scene.bundler.receipts[op]
    await scene.later(15)
    assert scene.balance == (0, 1), "a quarter of an hour in which nobody answered"
    for _ in range(41):
        await scene.later(15)
    assert scene.causes == [Cause.UNMINED]
    assert scene.told[0].ended.evidence.silent_seconds is not None
    assert scene.told[0].ended.evidence.silent_seconds >= 600


async def silent_for_long(scene: Scene) -> None:
    for _ in range(42):
        await scene.later(15)


async def test_a_clock_that_jumps_ends_nothing_and_holds_nothing_up() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    await scene.later(1)
    scene.clock.now += 900
    await scene.later(1)
    assert (scene.balance, scene.told) == ((0, 1), [])
    scene.clock.now -= 86_400
    scene.bundler.mine(op)
    await scene.later(15)
    assert scene.balance == (1, 0)


@pytest.mark.parametrize(("grip", "left"), [(Grip.LOCAL, 1), (Grip.NONE, 0)])
async def test_what_is_unmined_for_long_lets_go_of_what_the_chain_enforces_and_of_rules_only_if_told_to(
    grip: Grip, left: int
) -> None:
    scene = in_force(patience=Patience(unmined_grip=grip))
    op = await scene.accept(1, ONE_USE, replace(ONE_USE, counter=LOCAL))
    await silent_for_long(scene)
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(LOCAL)) == (0, left)
    assert (scene.causes, scene.stage(op)) == ([Cause.UNMINED], Stage.UNMINED)
    assert ((accepted(1, KEY).name, Stage.UNMINED),) in [outcome.stages for outcome in scene.shelf.kept]
    await silent_for_long(scene)
    assert scene.causes == [Cause.UNMINED], "told once"


@pytest.mark.parametrize("grip", [Grip.LOCAL, Grip.NONE])
async def test_what_was_let_go_is_no_more_the_oldest_in_flight_and_is_counted_apart_after_a_restart_too(
    grip: Grip,
) -> None:
    scene = in_force(patience=Patience(unmined_grip=grip))
    op = await scene.accept(1, ONE_USE)
    await scene.later(15)
    assert (scene.settlement.oldest_seconds(), scene.settlement.flights.let_go_now) == (15, 0)
    await silent_for_long(scene)
    assert (scene.stage(op), scene.settlement.oldest_seconds(), scene.settlement.flights.let_go_now) == (
        Stage.UNMINED,
        0,
        1,
    )
    await scene.accept(2, ONE_USE)
    await scene.later(15)
    assert (scene.settlement.oldest_seconds() > 0, len(scene.settlement), scene.settlement.flights.let_go_now) == (
        True,
        2,
        1,
    )
    after = in_force(clock=Clock(scene.clock.now))
    after.settlement.restore([InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.UNMINED)])
    assert (after.settlement.oldest_seconds(), after.settlement.flights.let_go_now) == (0, 1)


async def test_what_was_let_go_and_is_sent_once_more_is_the_oldest_in_flight_again() -> None:
    scene = in_force()
    await scene.accept(1, ONE_USE)
    await silent_for_long(scene)
    assert (scene.settlement.oldest_seconds(), scene.settlement.flights.let_go_now) == (0, 1)
    await scene.accept(1, ONE_USE)
    await scene.later(15)
    assert (scene.settlement.oldest_seconds() >= 15, scene.settlement.flights.let_go_now) == (True, 0)


async def test_what_was_let_go_and_is_mined_after_all_is_counted_and_told() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE, replace(ONE_USE, counter=LOCAL))
    await silent_for_long(scene)
    scene.bundler.mine(op)
    await scene.later(61)
    assert scene.used() == 1
    assert scene.registry.declarations.uses(LOCAL) == 1
    assert scene.ledger.in_flight(LOCAL) == 0
    assert [(end.ended.cause, end.late) for end in scene.told] == [(Cause.UNMINED, False), (Cause.MINED, True)]


async def test_silence_is_kept_over_a_restart() -> None:
    scene = in_force()
    await scene.accept(1, ONE_USE)
    for _ in range(30):
        await scene.later(15)
    kept = [silence for outcome in scene.shelf.kept for silence in outcome.silences]
    assert [seconds // 60 for _, seconds in kept] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("down", [1.0, 86_400.0, -86_400.0])
async def test_silence_goes_on_after_a_restart_from_what_was_kept_whatever_the_time_of_day_is_then(down: float) -> None:
    before = in_force()
    await before.accept(1, ONE_USE)
    for _ in range(30):
        await before.later(15)
    kept = [seconds for outcome in before.shelf.kept for _, seconds in outcome.silences][-1]
    after = in_force(clock=Clock(before.clock.now + down), monotonic=Clock(2.0))
    flight = InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.ACCEPTED, silent_seconds=kept)
    after.settlement.restore([flight])
    after.lookout.restored([name(1)], [KEY])
    left = Patience().unmined_after - kept
    while after.monotonic.now < 2.0 + left:
        assert (after.balance, after.causes) == ((0, 1), [])
        await after.later(15)
    for _ in range(3):
        await after.later(15)
    assert (after.balance, after.causes) == ((0, 0), [Cause.UNMINED])


async def test_an_operation_whose_validity_is_over_ends_once_that_is_answered_after_its_end_and_not_before() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE, valid_until=1_100)
    scene.bundler.receipts[op] = NO_ANSWER
    await scene.later(159)
    await scene.later(15)
    assert scene.balance == (0, 1)
    del scene.bundler.receipts[op]
    await scene.later(15)
    assert (scene.balance, scene.causes) == ((0, 0), [Cause.EXPIRED])
    assert scene.told[0].ended.evidence.timestamp == 1_189


async def test_an_operation_in_its_validity_and_a_margin_is_held() -> None:
    scene = in_force()
    await scene.accept(1, ONE_USE, valid_until=1_100)
    await scene.later(160)
    assert scene.balance == (0, 1)


async def test_a_receipt_on_its_way_through_the_gate_ends_nothing_before_the_gate_has_asked_for_it_itself() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    for _ in range(12):
        await scene.later(15)
    asked = len(scene.bundler.asked)
    await scene.lookout.observe(a_receipt(name(9)))
    await scene.lookout.observe(a_receipt(op))  # of which the bundler knows nothing when it is asked
    assert (len(scene.bundler.asked), scene.balance) == (asked + 1, (0, 1))
    await scene.lookout.observe(scene.bundler.mine(op))
    assert (len(scene.bundler.asked), scene.balance) == (asked + 2, (1, 0))


async def test_a_receipt_on_its_way_costs_no_question_beyond_the_budget_and_does_not_wait_for_one_that_hangs() -> None:
    scene = in_force(patience=Patience(a_second=1, told=0.01))
    op = await scene.accept(1, ONE_USE)
    scene.bundler.hangs = asyncio.Event()
    await scene.lookout.observe(a_receipt(op))
    await scene.lookout.observe(a_receipt(op))
    assert scene.bundler.asked == [op]
    scene.bundler.hangs.set()
    await scene.lookout.polling.close()
    await scene.lookout.observe(scene.bundler.mine(op))
    assert (scene.bundler.asked, scene.balance) == ([op], (0, 1))


async def test_the_block_that_a_receipt_names_is_heard_of_by_who_judges_the_age_of_the_node() -> None:
    scene = in_force(chain=Chain())
    receipt = scene.bundler.mine(await scene.accept(1, ONE_USE))
    await scene.lookout.observe(receipt)
    await scene.later(90)  # nobody tells of blocks: the bundler is asked
    assert scene.named == [200, 200]


@pytest.mark.parametrize(
    "receipt", [{"userOpHash": print_bytes(name(2)), "success": True}, {"userOpHash": print_bytes(name(1))}, {}]
)
async def test_a_receipt_of_another_operation_or_one_that_cannot_be_read_is_no_answer(receipt: object) -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.bundler.receipts[op] = receipt
    for _ in range(60):
        await scene.later(15)
    assert (scene.balance, scene.told) == ((0, 1), [])


async def test_settle_now_asks_once_for_each_and_says_whether_anything_ended() -> None:
    scene = in_force()
    first, second = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE)
    assert not await scene.lookout.settle_now([first, second, name(9)])
    assert scene.bundler.asked == [first, second]
    scene.bundler.mine(second)
    assert await scene.lookout.settle_now(scene.registry.awaited(KEY))
    assert scene.balance == (1, 1)


async def test_uses_of_declared_sessions_are_kept_with_the_end_of_the_operation() -> None:
    scene = in_force()
    op = await scene.accept(1, replace(ONE_USE, counter=LOCAL))
    scene.bundler.mine(op)
    await scene.later(1)
    assert scene.shelf.kept[-1].declared_uses == {LOCAL: 1}
    assert scene.shelf.kept[-1].remembered[0].cause is Cause.MINED


async def test_what_could_not_be_kept_is_kept_later_as_it_then_stands() -> None:
    scene = in_force()
    first, second = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE)
    scene.shelf.broken = True
    scene.bundler.mine(first)
    await scene.later(1)
    assert scene.settlement.books.is_behind
    scene.shelf.broken = False
    scene.bundler.mine(second)
    await scene.later(1)
    assert not scene.settlement.books.is_behind
    kept = [outcome for outcome in scene.shelf.kept if outcome.remembered]
    assert {name for outcome in kept for name in outcome.ended} == {accepted(n, KEY).name for n in (1, 2)}
    assert kept[-1].again or kept[0].again


# a block that is gone, by the bundler's word


async def test_a_block_the_bundler_names_no_more_puts_its_operations_back_in_flight() -> None:
    scene = in_force()
    first, second = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE)
    scene.bundler.mine(first, block_hash=block(200).hash)
    scene.bundler.mine(second, block_hash=block(200).hash)
    await scene.later(1)
    assert scene.balance == (2, 0)
    del scene.bundler.receipts[first]
    del scene.bundler.receipts[second]
    await scene.later(5)
    assert scene.balance == (0, 2)
    assert {flight.operation.user_op_hash for flight in scene.shelf.kept[-1].revived} == {first, second}
    scene.bundler.mine(first, block=201, block_hash=block(201).hash)
    await scene.later(15)
    assert scene.balance == (1, 1)


async def test_a_block_that_cannot_be_asked_for_stays_and_is_asked_for_again() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    receipt = scene.bundler.mine(op, block_hash=block(200).hash)
    await scene.later(1)
    scene.bundler.receipts[op] = NO_ANSWER
    await scene.later(5)
    assert scene.balance == (1, 0)
    scene.bundler.receipts[op] = a_receipt(op, block=200, block_hash=block(200, branch=1).hash)
    await scene.later(5)
    assert scene.balance == (0, 1)
    scene.bundler.receipts[op] = receipt
    await scene.later(1)
    assert scene.balance == (1, 0)


async def test_a_bundler_is_asked_about_a_block_a_few_times_and_then_no_more() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.bundler.mine(op, block_hash=block(200).hash)
    for _ in range(200):
        await scene.later(15)
    assert len(scene.bundler.asked) == 1 + len(Patience().rechecks)


# a node that can be asked, though nobody follows its blocks


async def test_the_chain_tells_of_an_operation_that_the_bundler_knows_nothing_of() -> None:
    scene = in_force(chain=Chain())
    op = await scene.accept(1, ONE_USE)
    assert scene.chain is not None
    scene.chain.fates[op] = Mined(user_op_hash=op, success=True, block=300)
    for _ in range(3):
        await scene.later(5)
    assert scene.ledger.in_flight(USES) == 0
    assert scene.causes == [Cause.MINED]


@pytest.mark.parametrize("full_from", ["its first end", "its return"])
async def test_what_came_back_and_is_mined_again_counts_while_the_disk_is_full(full_from: str) -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.bundler.mine(op, block=200, block_hash=name(0xA))
    scene.shelf.broken = full_from == "its first end"
    await scene.later(1)
    assert scene.balance == (1, 0)
    scene.shelf.broken = True
    scene.bundler.mine(op, block=200, block_hash=name(0xB))
    await scene.later(5)  # the bundler is asked again about the block that it named: it is another one now
    await scene.later(15)
    assert scene.balance == (1, 0)
    assert [(end.ended.cause, end.ended.evidence.block_hash) for end in scene.told] == [
        (Cause.MINED, name(0xA)),
        (Cause.MINED, name(0xB)),
    ]


# restarts


async def test_after_a_restart_the_oldest_of_a_session_are_asked_for_once_before_a_verdict_depends_on_them() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.lookout.restored([op], [KEY])
    scene.bundler.mine(op)
    await asyncio.gather(scene.lookout.reconciled(KEY), scene.lookout.reconciled(KEY))
    assert scene.bundler.asked == [op]
    assert scene.balance == (1, 0)


async def test_after_a_restart_a_bundler_that_says_nothing_leaves_all_in_flight() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.bundler.receipts[op] = NO_ANSWER
    scene.lookout.restored([op], [KEY])
    await scene.lookout.reconciled(KEY)
    assert scene.balance == (0, 1)


async def test_with_a_node_the_first_verdict_after_a_restart_waits_for_one_reading_of_its_session() -> None:
    scene = in_force(chain=Chain())
    op = await scene.accept(1, ONE_USE)
    scene.lookout.restored([op], [KEY])
    await asyncio.gather(scene.lookout.reconciled(KEY), scene.lookout.reconciled(KEY))
    await scene.lookout.reconciled(KEY)
    assert (scene.for_clients, scene.reread, scene.bundler.asked) == ([KEY], [], [])


async def test_what_was_mined_and_forgotten_and_is_sent_again_in_doubt_is_not_counted_again() -> None:
    scene = in_force()
    op = await scene.accept(1, ONE_USE)
    scene.bundler.mine(op, block_hash=block(200).hash)
    await scene.later(1)
    scene.settlement.remembered.forget_old(scene.clock.now + 100_000)
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation, Stage.UNKNOWN)
    await scene.later(1)
    assert (scene.balance, len(scene.settlement), scene.causes) == ((1, 0), 0, [Cause.MINED])


async def test_where_no_block_tells_the_time_what_ended_long_ago_is_forgotten_as_others_end() -> None:
    scene, sent = in_force(), []
    for number in range(1, 41):
        sent.append(await scene.accept(number))
        scene.bundler.mine(sent[-1])
        await scene.later(scene.patience.final / 10)
    assert len(scene.settlement) == 0
    assert len(scene.settlement.remembered) < 15
    assert scene.settlement.remembered.mined(sent[0]) is None
    assert scene.settlement.remembered.mined(sent[-1]) is not None


# the questions themselves


@dataclass
class Listener:
    absent_for: list[tuple[Hash32, float]] = field(default_factory=list)

    async def found(self, mined: Mined) -> None:
        raise AssertionError(mined)

    async def absent(self, user_op_hash: Hash32, seconds: float, asked: int) -> None:
        self.absent_for.append((user_op_hash, seconds))


async def test_questions_keep_to_their_budget_and_say_how_late_they_are() -> None:
    clock, bundler, listener = Clock(0.0), Bundler(), Listener()
    patience = Patience(a_second=10.0, first=1.0, at_once=100)
    polling = Polling(bundler.receipt, listener, patience, clock)
    for number in range(1, 101):
        polling.begin(name(number), clock.now)
    clock.now = 1.0
    await asyncio.gather(*polling.ask_due())
    assert (polling.questions, polling.lag_seconds) == (10, 0.0)
    clock.now = 1.5
    await asyncio.gather(*polling.ask_due())
    assert (polling.questions, polling.lag_seconds) == (15, 0.5)
    assert polling.next_due() == pytest.approx(0.1)
    assert {asked for asked, _ in listener.absent_for} == {name(number) for number in range(1, 16)}


async def test_patience_grows_with_the_number_of_questions_up_to_its_longest() -> None:
    clock, bundler = Clock(0.0), Bundler()
    polling = Polling(bundler.receipt, Listener(), Patience(first=1.0, growth=2.0, longest=4.0), clock)
    polling.begin(name(1), clock.now)
    asked_at = []
    for _ in range(150):
        clock.now += 0.1
        asked_at += [round(clock.now) for _ in await asyncio.gather(*polling.ask_due())]
    assert asked_at == [1, 2, 4, 8, 12]


# reading receipts


def test_reads_what_a_receipt_says() -> None:
    bundle = {"blockNumber": "0xc8", "blockHash": print_bytes(name(3)), "transactionHash": print_bytes(name(4))}
    receipt = {"userOpHash": print_bytes(name(1)), "success": False, "actualGasCost": "0x10", "actualGasUsed": "0x2"}
    assert read_receipt({**receipt, "receipt": bundle}) == Mined(
        user_op_hash=name(1), success=False, block=200, block_hash=name(3), transaction=name(4), gas_cost=16, gas_used=2
    )
    assert read_receipt({**receipt, "actualGasCost": "much"}) == Mined(
        user_op_hash=name(1), success=False, block=None, gas_used=2
    )
    assert read_receipt({**receipt, "success": 1}) is None


def test_a_block_stands_for_a_receipt_of_success() -> None:
    found = receipt_of_inclusion({"blockNumber": "0x7", "blockHash": print_bytes(name(7))}, name(1))
    assert found is not None
    assert read_receipt(found) == Mined(user_op_hash=name(1), success=True, block=7, block_hash=name(7))
    assert receipt_of_inclusion({"blockNumber": None}, name(1)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=32).map(print_bytes),
    lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(["userOpHash", "success", "receipt", "actualGasCost", "actualGasUsed"])


@given(st.dictionaries(NAMES, JSON), st.dictionaries(st.sampled_from(["blockNumber", "blockHash"]), JSON))
def test_any_receipt_is_read_or_left(receipt: Mapping[str, object], bundle: Mapping[str, object]) -> None:
    mined = read_receipt({**receipt, "receipt": bundle})
    assert mined is None or mined.user_op_hash == named_in(receipt)


async def test_what_is_asked_late_for_want_of_a_budget_is_told_and_not_let_go() -> None:
    scene = in_force(patience=Patience(a_second=1.0, at_once=1, unmined_after=60.0))
    for number in range(1, 31):
        await scene.accept(number, replace(ONE_USE, limit=99))
    assert scene.lookout.receipts_lag_seconds == 0
    for _ in range(20):
        await scene.later(1)
    assert scene.lookout.receipts_lag_seconds > 10
    assert scene.balance == (0, 30)


async def test_nothing_is_late_while_blocks_tell() -> None:
    scene = in_force(chain=Chain())
    await scene.tell(9)
    await scene.accept(1, ONE_USE)
    scene.monotonic.now += 50
    assert scene.lookout.receipts_lag_seconds == 0
    scene.monotonic.now += 50
    assert scene.lookout.receipts_lag_seconds > 50


async def test_blocks_that_are_gone_are_all_looked_at_again_where_what_stood_there_could_not_be_read_back() -> None:
    scene = in_force()
    for number in (1, 2, 3):
        scene.bundler.mine(await scene.accept(number, ONE_USE), block_hash=block(200 + number).hash)
    await scene.later(1)
    assert scene.balance == (3, 0)
    scene.bundler.receipts.clear()
    scene.shelf.unreadable = True
    scene.settlement.books._unwritten.clear()
    await scene.later(5)
    assert scene.balance == (3, 0)
    scene.shelf.unreadable = False
    await scene.later(5)
    assert scene.balance == (0, 3)


async def test_a_claim_that_a_restart_found_over_comes_back_with_its_block_even_where_that_was_not_written_yet() -> (
    None
):
    scene, other = in_force(), KEY._replace(permission_id=Hash32(b"\x1e" * 32))
    op = await scene.accept(1, ONE_USE)
    scene.bundler.mine(op, block_hash=block(200).hash)
    await scene.later(1)
    (ended,) = [each for outcome in scene.shelf.kept for each in outcome.remembered]
    again = Scene(bundler=scene.bundler, shelf=scene.shelf)
    again.registry.put(replace(IN_FORCE, state=STATE))
    again.settlement.restore(
        [InFlight(operation=accepted(1, other, Charge(USES, 2, 3)), stage=Stage.FORWARDED)], [name_of(ended)]
    )
    again.shelf.kept[-1] = Outcome()  # the last note is still on its way
    again.lookout.restored([], [])
    del scene.bundler.receipts[op]
    await again.later(5)
    assert len(again.settlement.flights.get(op).claims) == 2  # type: ignore[union-attr]  # it is in flight again
