"""What a verdict rests on: known here, learnt from the node, or missing. Doubt is never let through."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy.admission.sources import Staleness
from proxy.errors import Code, StateUnavailable
from proxy.judge.verdict import Allow, Reject
from proxy.session.counters import Charge, Counter
from proxy.session.known import KnownSession, Source, Status
from proxy.session.outcome import Waived
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.primitives import Hash32
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import (
    TWICE,
    Room,
    enabling,
    key_of,
    known,
    lane,
)
from tests.bypass_list.desk import STRANGERS_KEY, a_session, single, use
from tests.session.builders import (
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    enabled,
    transfer,
    usage,
)

ONCE = single(transfer(1))
USE = use(TWICE, ONCE)
ON_CHAIN = {key_of(TWICE): enabled(TWICE)}
DOWN = {key_of(TWICE): StateUnavailable("the node does not answer")}
REMOVED = known(TWICE, status=Status.REMOVED, state=replace(enabled(TWICE), status=SessionStatus.REMOVED))


def used_up() -> SessionState:
    """The session after two uses."""
    state = enabled(TWICE)
    ((action_id, (policy,)),) = state.actions.items()
    counter = Counter(*state.config_key(policy, state.action_config_id(action_id)))
    return state.with_charges([Charge(counter, 2, 2)])


def pending(**changes: object) -> KnownSession:
    return KnownSession(
        key=key_of(TWICE),
        status=Status.PENDING,
        source=Source.GRANT,
        updated_at=0.0,
        granted_by=Hash32(b"\x09" * 32),
        **changes,  # type: ignore[arg-type]  # fields of the record
    )


# sessions nobody has heard of


async def test_an_unknown_session_is_refused_where_there_is_no_node() -> None:
    reason = await Room().refusal(USE)
    assert reason.code is Code.SESSION_UNKNOWN


async def test_an_unknown_session_that_the_chain_has_works_at_once() -> None:
    room = Room(sessions=ON_CHAIN)
    judgement = await room.allowed(USE)
    assert judgement.reservation is not None
    assert room.node.asked == [key_of(TWICE)]


async def test_a_session_that_the_chain_does_not_have_either_is_refused() -> None:
    assert (await Room(node=True).refusal(USE)).code is Code.SESSION_UNKNOWN


@pytest.mark.parametrize("setting", ["alert", "allow"])
async def test_an_unknown_session_passes_with_a_note_where_the_settings_say_so(setting: str) -> None:
    room = Room(unknown_session=setting)
    judgement = await room.allowed(USE)
    assert isinstance(judgement.verdict, Allow)
    assert "not known on chain" in judgement.verdict.notes[0]
    assert judgement.verdict.waived == ((Waived.SESSION,) if setting == "alert" else ())
    assert judgement.reservation is not None
    assert judgement.reservation.charges == ()


@pytest.mark.parametrize("setting", ["reject", "alert", "allow"])
async def test_what_a_known_session_may_not_do_is_refused_whatever_is_said_of_unknown_ones(setting: str) -> None:
    room = Room(TWICE, unknown_session=setting)
    assert (await room.refusal(use(TWICE, single(transfer(1, token=STRANGER))))).code is Code.SESSION_SCOPE


@pytest.mark.parametrize("setting", ["reject", "alert", "allow"])
async def test_a_removed_session_is_refused_whatever_is_said_of_unknown_ones(setting: str) -> None:
    room = Room(unknown_session=setting)
    room.registry.put(REMOVED)
    assert (await room.refusal(USE)).code is Code.SESSION_REVOKED


# the node is down


async def test_what_is_not_known_and_cannot_be_asked_is_doubt_however_often_it_comes() -> None:
    room = Room(sessions=DOWN)
    for _ in range(3):
        reason = await room.refusal(USE)
        assert reason.code is Code.STATE_UNAVAILABLE
        assert reason.retryable
    assert len(room.node.asked) == 1


@pytest.mark.parametrize("setting", ["alert", "allow"])
async def test_doubt_is_not_let_through_as_an_unknown_session(setting: str) -> None:
    assert (await Room(sessions=DOWN, unknown_session=setting).refusal(USE)).code is Code.STATE_UNAVAILABLE


async def test_known_sessions_are_judged_while_the_node_is_down() -> None:
    room = Room(TWICE, sessions=DOWN)
    await room.allowed(USE)
    assert (await room.refusal(use(TWICE, ONCE, key=STRANGERS_KEY, nonce=lane(1)))).code is Code.SESSION_SCOPE
    assert (await room.refusal(use(TWICE, ONCE, key=STRANGERS_KEY, nonce=lane(2)))).code is Code.SESSION_SCOPE
    assert room.node.asked == []  # who did not sign for the session makes nobody ask the node


async def test_a_node_that_came_back_is_asked_again_after_a_while() -> None:
    room = Room(sessions=DOWN)
    await room.refusal(USE)
    room.node.sessions = dict(ON_CHAIN)
    room.now += room.terms.fresh_seconds
    await room.allowed(USE)


async def test_a_reading_that_breaks_is_not_taken_for_a_session_that_is_not_there() -> None:
    room = Room(sessions={key_of(TWICE): ZeroDivisionError("a fault of ours")})
    with pytest.raises(ZeroDivisionError):
        await room.judge(USE)
    assert (await room.refusal(USE)).code is Code.STATE_UNAVAILABLE


# no refusal on old knowledge


async def test_a_session_enabled_again_outside_the_gate_works_at_once() -> None:
    room = Room(sessions=ON_CHAIN)
    room.registry.put(REMOVED)
    await room.allowed(USE)


async def test_a_limit_raised_outside_the_gate_holds_at_once() -> None:
    room = Room(sessions=ON_CHAIN)
    room.registry.put(known(TWICE, state=used_up()))
    await room.allowed(USE)


async def test_a_refusal_that_the_chain_confirms_stands() -> None:
    room = Room(sessions={key_of(TWICE): used_up()})
    room.registry.put(known(TWICE, state=used_up()))
    assert (await room.refusal(USE)).code is Code.LIMIT_EXCEEDED
    assert len(room.node.asked) == 1


async def test_before_a_reading_it_is_asked_what_became_of_operations_in_flight() -> None:
    room = Room(sessions=ON_CHAIN)
    await room.allowed(USE)
    assert room.settled == [()]


async def test_an_allowed_operation_costs_no_reading() -> None:
    room = Room(TWICE, sessions=ON_CHAIN)
    await room.allowed(USE)
    assert not room.node.asked


async def test_however_many_refusals_a_session_is_read_once_in_a_while() -> None:
    room = Room(node=True)
    room.registry.put(REMOVED)
    for number in range(20):
        await room.refusal(use(TWICE, ONCE, nonce=lane(number)))
    assert len(room.node.asked) == 1
    room.now += room.terms.fresh_seconds - 0.001
    await room.refusal(USE)
    assert len(room.node.asked) == 1
    room.now += 0.001
    await room.refusal(USE)
    assert len(room.node.asked) == 2


async def test_one_sessions_refusals_do_not_hold_up_the_reading_of_another() -> None:
    other = a_session(action(TOKEN, TRANSFER, usage(1)), salt=2)
    room = Room(sessions={key_of(other): enabled(other)})
    await room.refusal(USE)
    await room.allowed(use(other, ONCE))
    assert room.node.asked == [key_of(TWICE), key_of(other)]


async def test_first_uses_that_come_together_share_one_reading_and_are_all_judged_by_it() -> None:
    room = Room(sessions=ON_CHAIN)
    room.node.hold()
    judging = asyncio.gather(*(room.judge(use(TWICE, ONCE, nonce=lane(number))) for number in range(5)))
    await asyncio.sleep(0)
    room.node.release()
    verdicts = [each.verdict for each in await judging]
    assert [type(verdict) for verdict in verdicts].count(Allow) == 2
    assert {each.first.code for each in verdicts if isinstance(each, Reject)} == {Code.LIMIT_EXCEEDED}
    assert len(room.node.asked) == 1


async def test_a_caller_who_leaves_does_not_spoil_the_reading_for_the_others() -> None:
    room = Room(sessions=ON_CHAIN)
    room.node.hold()
    first, second = (asyncio.create_task(room.judge(use(TWICE, ONCE, nonce=lane(number)))) for number in range(2))
    await asyncio.sleep(0)
    first.cancel()
    room.node.release()
    assert isinstance((await second).verdict, Allow)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_failure_that_nobody_waits_for_is_remembered_all_the_same() -> None:
    room = Room(sessions=DOWN)
    room.node.hold()
    judging = asyncio.create_task(room.judge(USE))
    await asyncio.sleep(0)
    judging.cancel()
    room.node.release()
    with pytest.raises(asyncio.CancelledError):
        await judging
    assert (await room.refusal(USE)).code is Code.STATE_UNAVAILABLE
    assert len(room.node.asked) == 1


async def test_what_was_settled_while_a_reading_was_kept_counts() -> None:
    room = Room(sessions=ON_CHAIN)
    room.node.on_keeping = lambda: room.registry.put(known(TWICE, state=used_up()))
    assert (await room.refusal(USE)).code is Code.LIMIT_EXCEEDED


# pending


async def test_a_use_before_its_grant_is_mined_may_be_tried_again() -> None:
    room = Room()
    room.registry.put(pending())
    reason = await room.refusal(USE)
    assert (reason.code, reason.retryable) == (Code.SESSION_UNKNOWN, True)
    assert "09" * 32 in reason.sentence


async def test_a_grant_that_was_mined_a_moment_ago_is_noticed_when_it_is_used() -> None:
    room = Room()
    room.registry.put(pending())
    room.on_settling = lambda: room.registry.put(known(TWICE))
    await room.allowed(USE)


async def test_a_pending_session_that_the_chain_has_works_at_once() -> None:
    room = Room(sessions=ON_CHAIN)
    room.registry.put(pending())
    await room.allowed(USE)


async def test_a_pending_session_with_its_node_down_is_doubt() -> None:
    room = Room(sessions=DOWN)
    room.registry.put(pending())
    reason = await room.refusal(USE)
    assert (reason.code, reason.retryable) == (Code.STATE_UNAVAILABLE, True)


async def test_an_operation_that_brings_the_grant_does_not_wait_for_a_pending_one() -> None:
    room = Room()
    room.registry.put(pending())
    await room.allowed(enabling(TWICE, ONCE))


async def test_a_session_changed_beyond_what_can_be_read_is_doubt_without_a_node() -> None:
    room = Room()
    room.registry.put(replace(known(TWICE), state=None))
    reason = await room.refusal(USE)
    assert (reason.code, reason.retryable) == (Code.STATE_UNAVAILABLE, True)


async def test_a_session_changed_beyond_what_can_be_read_is_read_from_the_node() -> None:
    room = Room(sessions=ON_CHAIN)
    room.registry.put(replace(known(TWICE), state=None))
    await room.allowed(USE)


# what is known is too old

BLIND = Staleness("the chain's state: nothing was heard of it for 61 s", readable=False)
BEHIND = Staleness("the chain's state: its newest blocks are not read yet, 61 s behind", readable=True)


async def test_a_known_session_is_not_judged_by_what_is_too_old_to_know() -> None:
    room = Room(TWICE, sessions=DOWN)
    room.stale = BLIND
    reason = await room.refusal(USE)
    assert reason.code is Code.STATE_UNAVAILABLE
    assert "61 s" in reason.sentence
    assert reason.retryable


async def test_nor_is_a_session_read_from_a_node_that_stands_still() -> None:
    room = Room(sessions=ON_CHAIN)
    room.stale = BLIND
    assert (await room.refusal(USE)).code is Code.STATE_UNAVAILABLE
    assert room.node.asked == []


async def test_where_the_settings_say_so_old_knowledge_is_judged_by_and_told() -> None:
    room = Room(TWICE, sessions=DOWN, stale_state="open")
    room.stale = BLIND
    verdict = (await room.allowed(USE)).verdict
    assert isinstance(verdict, Allow)
    assert verdict.waived == (Waived.STATE,)
    assert any("61 s" in note for note in verdict.notes)


async def test_while_missed_blocks_are_read_a_session_is_judged_by_a_reading_of_its_own() -> None:
    room = Room(TWICE, sessions={})
    room.node.on_keeping = lambda: room.registry.put(REMOVED)
    room.stale = BEHIND
    assert (await room.refusal(USE)).code is Code.SESSION_REVOKED
    assert room.node.asked == [key_of(TWICE)]
    there = Room(TWICE, sessions=ON_CHAIN)
    there.stale = BEHIND
    await there.allowed(USE)
    assert there.node.asked == [key_of(TWICE)]


@pytest.mark.parametrize(("setting", "allowed"), [("closed", False), ("open", True)])
async def test_while_missed_blocks_are_read_and_the_node_fails_the_settings_say(setting: str, allowed: bool) -> None:
    room = Room(TWICE, sessions=DOWN, stale_state=setting)
    room.stale = BEHIND
    judgement = await room.judge(USE)
    assert isinstance(judgement.verdict, Allow) is allowed


async def test_a_session_that_is_not_there_is_asked_for_once_a_block() -> None:
    room = Room(sessions={})
    room.newest = 100
    for _ in range(4):
        await room.refusal(USE)
        room.now += room.terms.fresh_seconds
    assert len(room.node.asked) == 1
    room.newest = 101
    await room.refusal(USE)
    assert len(room.node.asked) == 2


@pytest.mark.parametrize(
    ("read_at", "newest", "retryable"), [(7, 8, True), (8, 8, False), (9, 8, False), (7, None, True)]
)
async def test_a_removal_is_final_only_by_a_reading_of_the_newest_block(
    read_at: int | None, newest: int | None, retryable: bool
) -> None:
    room = Room(node=True)
    room.newest = newest
    room.registry.put(replace(REMOVED, block=read_at))
    reason = await room.refusal(USE)
    assert (reason.code, reason.retryable) == (Code.SESSION_REVOKED, retryable)


async def test_who_has_no_node_calls_nothing_removed_but_as_far_as_it_saw() -> None:
    """Waiting does not help, so it is not to be sent again; somebody else may have granted the session again."""
    room = Room()
    room.registry.put(REMOVED)
    reason = await room.refusal(USE)
    assert (reason.code, reason.retryable) == (Code.SESSION_REVOKED, False)
    assert "no node to ask whether it was granted again elsewhere" in reason.sentence
    assert "through this gate" in reason.remedy


# ids that nobody has heard of


def random_use(number: int) -> UserOperation:
    return use(a_session(action(TOKEN, TRANSFER, usage(2)), salt=1_000 + number), ONCE, nonce=lane(number))


async def test_who_names_too_many_sessions_in_vain_hears_of_the_budget_and_known_sessions_stay_usable() -> None:
    room = Room(TWICE, sessions={})
    reasons = [await room.refusal(random_use(number)) for number in range(12)]
    assert [reason.code for reason in reasons[:10]] == [Code.SESSION_UNKNOWN] * 10
    assert {reason.code for reason in reasons[10:]} == {Code.RATE_LIMITED}
    assert "limits.absent_sessions" in reasons[-1].sentence
    assert len(room.node.asked) == 10
    await room.allowed(USE)
    room.now += 1
    assert (await room.refusal(random_use(20))).code is Code.SESSION_UNKNOWN


async def test_a_first_use_whose_turn_does_not_come_is_doubt() -> None:
    room = Room(sessions=ON_CHAIN)
    room.first._seconds = 0.01
    room.node.free.clear()
    waiting = [asyncio.create_task(room.refusal(random_use(number))) for number in range(4)]
    await asyncio.sleep(0)
    assert (await room.refusal(USE)).code is Code.STATE_UNAVAILABLE
    room.node.free.set()
    await asyncio.gather(*waiting)
