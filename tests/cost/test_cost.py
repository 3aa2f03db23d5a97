"""No request costs much more than a good one of its size, counted in work that is the same on every machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import copy
from dataclasses import replace

import pytest

from proxy.admission import Judgement
from proxy.clients.licence import ANYBODY, Guest, Licence
from proxy.errors import Code
from proxy.judge.verdict import Allow, Reject
from proxy.session.known import Status
from proxy.userop.budget import MOST_COUNTS, UNITS, Budget
from proxy.userop.execution import Call
from proxy.userop.fastlz import inflate
from proxy.userop.primitives import Address
from proxy.userop.session_data import ActionData
from tests.admission.builders import Room, enabling, known, lane
from tests.bypass_list import desk
from tests.bypass_list.desk import STRANGERS_KEY, a_session, single, use
from tests.cost.bodies import NAMED, by_owner, execute, many_of, padded_use, submission
from tests.cost.counter import ANYTHING, FREE, LIMITED, Counter, PiecewiseLoop
from tests.cost.rule_sets import judge_of
from tests.cost.search import MOST, SIGNATURE
from tests.cost.units import WorkMeter, units_of
from tests.judge.builders import judge_of as judge_of_text
from tests.session.builders import (
    TOKEN,
    TRANSFER,
    rule,
    spending,
    sudo,
    transfer,
    uni_action,
    usage,
    value_limit,
    word,
)


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    there = Counter()
    there.serve(padded_use(0))  # imports and caches are nobody's work
    yield there
    there.close()


@pytest.mark.parametrize("name", NAMED)
def test_what_was_found_to_cost_much_costs_little(counter: Counter, name: str) -> None:
    body = NAMED[name]
    assert units_of(counter.prepare(body)) <= MOST * (SIGNATURE + units_of(counter.prepare(padded_use(len(body)))))


def test_the_yardstick_is_an_operation_that_goes_through(counter: Counter) -> None:
    for size in (0, 100_000):
        assert counter.serve(padded_use(size)) == [{"jsonrpc": "2.0", "id": 1, "result": "taken"}]


@pytest.mark.parametrize("grant", [FREE, LIMITED], ids=["sudo", "four policies"])
def test_a_batch_that_sdks_build_is_paid_for(counter: Counter, grant: object) -> None:
    calls = 100 if grant is FREE else 40
    (reply,) = counter.serve(submission(use(grant, execute(many_of(transfer(1), calls)))))  # type: ignore[arg-type]  # a session
    assert reply["result"] == "taken"


async def test_nothing_is_spent_on_an_operation_that_its_session_did_not_sign() -> None:
    forged = use(FREE, execute(many_of(transfer(1), 500)), key=STRANGERS_KEY)
    judgement = await Room(FREE).judge(forged)
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.SESSION_SCOPE
    assert "signature" in judgement.verdict.first.sentence
    assert judgement.operation is not None
    assert (judgement.operation.budget.left, judgement.operation.calls) == (UNITS, ())


def test_a_forged_operation_is_less_work_than_a_good_one(counter: Counter) -> None:
    forged = submission(use(FREE, execute(many_of(transfer(1), 500)), key=STRANGERS_KEY))
    assert units_of(counter.prepare(forged)) < units_of(counter.prepare(padded_use(len(forged))))


async def test_past_its_budget_an_operation_is_refused_with_the_reason() -> None:
    reason = await Room(FREE).refusal(use(FREE, execute(many_of(transfer(1), 2_000))))
    assert reason.code is Code.UNDECODABLE
    assert "describes more work than is done for one operation" in reason.sentence


async def test_policies_draw_from_the_same_budget() -> None:
    judgement = await Room(LIMITED).judge(use(LIMITED, execute(many_of(transfer(1), 400))))
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.UNDECODABLE
    assert judgement.operation is not None
    assert judgement.operation.budget.left < UNITS // 2


_ENDLESS = b"\x01" + b"\0A" * 30_000  # a grant by its first byte, in literal runs of one byte each


def test_what_an_owners_signature_may_hide_is_read_within_the_same_budget_as_its_calls(counter: Counter) -> None:
    calls, signature = execute(many_of(transfer(1), 500)), _ENDLESS
    both = submission(by_owner(calls, signature=signature))
    alone = submission(by_owner(single(transfer(1)), signature=signature))
    assert units_of(counter.prepare(both)) < 1.1 * units_of(counter.prepare(alone))


def test_a_claim_that_is_looked_at_first_for_the_sake_of_a_clients_licence_holds_the_loop_no_longer() -> None:
    grant = a_session(*(ActionData(TRANSFER, Address(word(n + 1)[12:]), (sudo,)) for n in range(8)))
    op = enabling(grant, single(transfer(1)))
    plain = inflate(op.signature[1:], Budget())
    body = submission(replace(op, signature=b"\x01" + b"".join(b"\0" + plain[n : n + 1] for n in range(len(plain)))))
    longest = []
    for guest in (ANYBODY, Guest("bound", Licence(permission_ids=frozenset({grant.permission_id})))):
        counter = Counter(guest=guest)
        (reply,) = counter.serve(body)
        assert reply["error"]["code"] == Code.SESSION_SCOPE  # all of it was read
        longest.append(counter.weigh(body).longest)
        counter.close()
    assert longest[1] < 1.1 * longest[0]


def test_to_find_the_nonce_that_a_grant_was_signed_for_it_is_read_once(counter: Counter) -> None:
    """No node is asked here, so that each nonce is tried."""
    grant = a_session(*(ActionData(TRANSFER, Address(word(n + 1)[12:]), (sudo,)) for n in range(60)))
    work = []
    for nonce in (0, 15):
        body = submission(enabling(grant, single(transfer(1)), enable_nonce=nonce))
        work.append(units_of(counter.prepare(body)))
    assert work[1] < 1.1 * work[0]


def test_a_grant_of_twice_as_many_actions_is_twice_the_work(counter: Counter) -> None:
    work = []
    for actions in (20, 40, 80):
        grant = a_session(*(ActionData(TRANSFER, Address(word(n + 1)[12:]), ()) for n in range(actions)))
        work.append(units_of(counter.prepare(submission(enabling(grant, single(transfer(1)))))))
    assert work[2] - work[1] < 2.2 * (work[1] - work[0])


async def test_the_signature_of_a_grant_is_unpacked_within_the_budget() -> None:
    grant = enabling(FREE, single(transfer(1)))
    reason = await Room().refusal(replace(grant, signature=_ENDLESS))
    assert reason.code is Code.UNDECODABLE
    assert "describes more work" in reason.sentence


_NESTED = "any(any(m.call == 0 and c.value > 5 ETH for m in op.moves) for c in op.calls)"


async def test_a_rule_that_an_operation_makes_too_dear_is_not_known_and_its_fail_decides() -> None:
    """Of a loop in a loop over 300 calls of 300 kinds nobody waits for the end."""
    calls = desk.batch(*(Call(Address(word(5_000 + number)[12:]), 1, b"") for number in range(300)))
    for fail, refused in (("closed", True), ("open", False)):
        rules = judge_of_text(f"- {{id: r, description: d, mode: enforce, fail: {fail}, when: '{_NESTED}'}}")
        judgement = await Room(ANYTHING, rules=rules).judge(use(ANYTHING, calls))
        assert isinstance(judgement.verdict, Reject) is refused
        assert judgement.finding.opened == (() if refused else ("r",))
        if isinstance(judgement.verdict, Reject):
            assert "takes more work than is done for one operation" in judgement.verdict.first.sentence


async def test_what_rules_take_of_one_call_is_theirs_however_many_there_are() -> None:
    many = "\n".join(
        f"- {{id: r{number}, description: d, mode: enforce, when: 'any(c.value > {number + 2} ETH for c in op.calls)'}}"
        for number in range(3_000)
    )
    judgement = await Room(ANYTHING, rules=judge_of_text(many)).judge(use(ANYTHING, single(transfer(1))))
    assert isinstance(judgement.verdict, Allow)


async def test_between_many_rules_others_are_let_on() -> None:
    many = "\n".join(f"- {{id: r{number}, description: d, when: value > {number} ETH}}" for number in range(2_000))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.ensure_future(others())
    await Room(ANYTHING, rules=judge_of_text(many)).judge(use(ANYTHING, single(transfer(1))))
    waiting.cancel()
    assert turns >= 15


def _limits(rules: int, mode: str, more: str = "") -> str:
    return "\n".join(
        f"- {{id: {mode}-{number}, description: d, mode: {mode}{more},"
        f" limit: {{count: ops, max: {number + 5}, per: session, window: 1h}}}}"
        for number in range(rules)
    )


async def test_of_more_counts_than_are_looked_up_for_one_operation_fail_decides() -> None:
    op = use(ANYTHING, single(transfer(1)))
    judgement = await Room(ANYTHING, rules=judge_of_text(_limits(MOST_COUNTS, "enforce"))).judge(op)
    assert isinstance(judgement.verdict, Allow)
    assert judgement.reservation is not None
    assert len(judgement.reservation.rule_charges) == MOST_COUNTS
    reason = await Room(ANYTHING, rules=judge_of_text(_limits(MOST_COUNTS + 1, "enforce"))).refusal(op)
    assert (reason.code, reason.rule) == (Code.RULE_REJECTED, f"enforce-{MOST_COUNTS}")
    judgement = await Room(ANYTHING, rules=judge_of_text(_limits(MOST_COUNTS + 40, "enforce", ", fail: open"))).judge(
        op
    )
    assert isinstance(judgement.verdict, Allow)
    assert judgement.finding.opened


async def test_what_enforces_is_counted_however_many_rules_before_it_only_watch() -> None:
    rules = judge_of_text(
        _limits(MOST_COUNTS + 40, "shadow") + "\n" + _limits(1, "enforce").replace("max: 5", "max: 1")
    )
    room = Room(ANYTHING, rules=rules)
    await room.allowed(use(ANYTHING, single(transfer(1))))
    assert (await room.refusal(use(ANYTHING, single(transfer(1)), nonce=lane(3)))).rule == "enforce-0"


async def test_rules_ask_what_is_in_flight_when_all_others_have_been_asked() -> None:
    """Two are judged at once; neither was in flight when the other's rules began to be asked."""
    many = "\n".join(f"- {{id: r{number}, description: d, when: value > {number} ETH}}" for number in range(500))
    lanes = "- {id: lanes, description: d, mode: enforce, match: {session: true}, when: op.lanes > 1}\n"
    room = Room(ANYTHING, rules=judge_of_text(lanes + many))
    first, second = await room.judge_all(use(ANYTHING, single(transfer(1)), nonce=lane(each)) for each in (3, 4))
    assert isinstance(first.verdict, Allow)
    assert isinstance(second.verdict, Reject)
    assert second.facts is not None
    assert second.facts.lanes == 2


def test_others_are_let_on_however_much_of_what_is_in_flight_changes_meanwhile() -> None:
    judge = judge_of("a loop over all calls", 500)
    longest = []
    for others in (0, 5):
        room, meter, loop = Room(ANYTHING, rules=judge), WorkMeter(), PiecewiseLoop()
        operations = [use(ANYTHING, single(transfer(1)), nonce=lane(each)) for each in range(1 + others)]
        loop.clock = lambda meter=meter: float(meter.counted)  # type: ignore[misc]  # bound to this one
        meter.run(lambda loop=loop, room=room, ops=operations: loop.run_until_complete(room.judge_all(ops)))  # type: ignore[misc]  # likewise
        longest.append(max(loop.taken))
        loop.close()
    assert longest[1] < 1.5 * longest[0]


def test_rules_that_change_faster_than_they_can_be_asked_hold_nobody_up() -> None:
    judge = judge_of("a loop over all calls", 500)
    longest, verdicts = [], []
    for changing in (False, True):
        room, meter, loop = Room(ANYTHING, rules=judge), WorkMeter(), PiecewiseLoop()
        loop.clock = lambda meter=meter: float(meter.counted)  # type: ignore[misc]  # bound to this one

        async def judged(room: Room = room, changing: bool = changing) -> Judgement:
            judging = asyncio.ensure_future(room.judge(use(ANYTHING, single(transfer(1)))))
            while not judging.done():
                if changing:
                    room.rules = copy(judge)  # another set of rules, that says the same
                await asyncio.sleep(0)
            return judging.result()

        meter.run(lambda loop=loop, judged=judged: verdicts.append(loop.run_until_complete(judged()).verdict))  # type: ignore[misc]  # likewise
        longest.append(max(loop.taken))
        loop.close()
    assert isinstance(verdicts[0], Allow)
    assert isinstance(verdicts[1], Reject)
    assert (verdicts[1].first.code, verdicts[1].first.retryable) == (Code.STATE_UNAVAILABLE, True)
    assert longest[1] < 1.5 * longest[0]


async def test_a_session_revoked_while_rules_were_asked_is_not_let_through() -> None:
    many = "\n".join(f"- {{id: r{number}, description: d, when: value > {number} ETH}}" for number in range(2_000))
    room = Room(ANYTHING, rules=judge_of_text(many))
    judging = asyncio.ensure_future(room.judge(use(ANYTHING, single(transfer(1)))))
    for _ in range(3):  # by now the session's verdict is there, and the rules are not through
        await asyncio.sleep(0)
    room.registry.put(replace(known(ANYTHING), status=Status.REMOVED))
    assert isinstance((await judging).verdict, Reject)


async def test_a_grant_that_takes_long_to_review_is_not_read_whole() -> None:
    wide = a_session(*(ActionData(TRANSFER, Address(word(n)[12:]), (sudo, usage(5))) for n in range(120)))
    reason = await Room().refusal(enabling(wide, single(transfer(1))))
    assert reason.code is Code.UNDECODABLE
    assert "describes more work" in reason.sentence


async def test_a_grant_of_fifteen_actions_under_four_policies_each_is_read() -> None:
    policies = (usage(5), spending((TOKEN, 9)), value_limit(9), uni_action(*[rule(4, 32, 9, limit=9)] * 2))
    wide = a_session(*(ActionData(TRANSFER, Address(word(n + 1)[12:]), policies) for n in range(15)))
    reason = await Room().refusal(enabling(wide, single(transfer(1))))
    assert reason.code is not Code.UNDECODABLE
