"""Ops' rules beside the chain's verdict: one step judges by both and holds for both."""

from __future__ import annotations

import pytest

from proxy.admission import Purpose
from proxy.errors import Code
from proxy.judge.facts import Facts
from proxy.judge.reading import Arrival
from proxy.judge.verdict import Allow, Mode, Reject
from proxy.ledger.hindrance import Caps
from proxy.ledger.reservation import Bringer
from proxy.ledger.rule_use import RuleUseView
from proxy.session.freezes import Freeze
from proxy.userop.movement import MovementKind
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, Room, enabling, granting, lane
from tests.bypass_list.desk import (
    NEXUS_NONCE,
    OWNER_NONCE,
    STRANGERS_KEY,
    a_session,
    an_operation,
    batch,
    single,
    use,
)
from tests.judge.builders import judge_of
from tests.session.builders import ACCOUNT, FRIEND, NOW, STRANGER, TOKEN, TRANSFER, action, sudo, transfer, usage

TEN_TIMES = a_session(action(TOKEN, TRANSFER, usage(10)))
FEW = """
- {id: few, description: d, mode: %s, match: {session: true}, limit: {count: ops, max: 2, per: session, window: 1h}}
"""
NEVER = "- {id: never, description: Not on our watch., mode: %s, match: {session: true}}"


def operation(number: int, amount: int = 1) -> UserOperation:
    return use(TEN_TIMES, single(transfer(amount)), nonce=lane(number))


def room_with(rules: str, *, ceiling: Mode = Mode.ENFORCE) -> Room:
    return Room(TEN_TIMES, rules=judge_of(rules, ceiling=ceiling))


async def facts_seen(op: UserOperation, room: Room | None = None) -> Facts:
    judgement = await (room or Room(TEN_TIMES, TWICE)).judge(op)
    assert judgement.facts is not None
    return judgement.facts


async def test_an_enforcing_rule_refuses_what_the_chain_would_take_and_nothing_is_held() -> None:
    room = room_with(NEVER % "enforce")
    reason = await room.refusal(operation(1))
    assert (reason.code, reason.rule) == (Code.RULE_REJECTED, "never")
    assert len(room.ledger) == 0


@pytest.mark.parametrize("mode", ["shadow", "alert"])
async def test_a_rule_that_only_watches_lets_pass_and_is_recorded(mode: str) -> None:
    judgement = await room_with(NEVER % mode).allowed(operation(1))
    assert [(hit.rule.id, hit.mode.value) for hit in judgement.finding.hits] == [("never", mode)]
    assert judgement.reservation is not None


async def test_the_chains_refusal_comes_first_and_rules_of_its_verdict_are_heard_too() -> None:
    room = room_with(
        "- {id: strangers, description: d, mode: alert, match: {verdict: session_scope}}\n" + NEVER % "enforce"
    )
    judgement = await room.judge(use(TEN_TIMES, single(transfer(1)), key=STRANGERS_KEY))
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.SESSION_SCOPE
    assert [hit.rule.id for hit in judgement.finding.hits] == ["strangers"]


async def test_thirty_at_once_never_pass_a_limit_of_two() -> None:
    room = room_with(FEW % "enforce")
    judgements = await room.judge_all(operation(number) for number in range(5))
    assert [isinstance(each.verdict, Allow) for each in judgements].count(True) == 2
    assert len(room.ledger) == 2


async def test_the_same_operation_again_is_counted_once() -> None:
    room = room_with(FEW % "enforce")
    first = await room.allowed(operation(1))
    again = await room.allowed(operation(1))
    assert first.reservation == again.reservation
    await room.allowed(operation(2))
    assert (await room.refusal(operation(3))).rule == "few"


async def test_what_the_bundler_refused_is_not_counted() -> None:
    room = room_with(FEW % "enforce")
    for number in range(4):
        judgement = await room.allowed(operation(number))
        assert judgement.reservation is not None
        room.ledger.release(judgement.reservation.name)
    assert (await room.allowed(operation(9))).reservation is not None


async def test_a_preview_and_an_explanation_hold_nothing_and_hear_the_same_refusal() -> None:
    rules = (
        NEVER % "enforce"
        + "\n- {id: asks, description: d, mode: enforce, match: {preview: true}, when: len(op.calls) == 1}"
    )
    room = room_with(rules)
    assert (await room.refusal(operation(1), Purpose.EXPLAIN)).rule == "never"
    assert len(room.ledger) == 0


async def test_an_owners_operation_is_held_for_the_rules_that_count_it() -> None:
    room = room_with(
        """
        - id: owners
          description: d
          mode: enforce
          match: {session: false}
          limit: {count: ops, max: 1, per: account, window: 1h}
        """
    )
    first = await room.allowed(an_operation(single(transfer(1)), nonce=OWNER_NONCE, signature=b"\x01" * 65))
    assert first.reservation is not None
    second = await room.judge(an_operation(single(transfer(1)), nonce=OWNER_NONCE + 1, signature=b"\x01" * 65))
    assert isinstance(second.verdict, Reject)
    assert second.verdict.first.rule == "owners"


ALL_TARGETS = """
- {id: all, description: So much and no more., mode: enforce, limit: {count: ops, max: 3, per: %s, window: 1h}}
"""


def garbage(number: int, amount: int = 1) -> UserOperation:
    """Claims to be the owner's; nobody here can tell."""
    return an_operation(single(transfer(amount)), nonce=OWNER_NONCE + number, signature=b"\x01" * 65)


def from_peer(peer: str) -> Arrival:
    return Arrival(chain="soneium", client="dapp", method="eth_sendUserOperation", peer=peer)


@pytest.mark.parametrize("per", ["account", "chain", "target", "client"])
async def test_garbage_signatures_fill_no_limit_that_a_session_is_held_to(per: str) -> None:
    room = room_with(ALL_TARGETS % per)
    for number in range(3):
        await room.allowed(garbage(number), request=from_peer("10.6.6.6"))
    full = await room.refusal(garbage(9), request=from_peer("10.6.6.6"))
    assert (full.rule, full.wanted, full.got) == ("all", None, None)
    # neither the session nor an owner at another address hears of it
    await room.allowed(operation(1), request=from_peer("10.0.0.1"))
    await room.allowed(garbage(10), request=from_peer("10.0.0.1"))


async def test_what_the_bundler_took_counts_for_everybody() -> None:
    room = room_with(ALL_TARGETS % "account")
    for number in range(3):
        judgement = await room.allowed(garbage(number), request=from_peer("10.0.0.2"))
        assert judgement.reservation is not None
        room.ledger.accept(judgement.reservation.name)
    assert (await room.refusal(operation(1), request=from_peer("10.0.0.1"))).rule == "all"


async def test_what_no_bundler_answered_to_goes_on_counting_for_its_bringer_alone() -> None:
    room = room_with(ALL_TARGETS % "account")
    for number in range(3):
        judgement = await room.allowed(garbage(number), request=from_peer("10.6.6.6"))
        assert judgement.reservation is not None
        room.ledger.accept(judgement.reservation.name, answered=False)
    assert (await room.refusal(garbage(9), request=from_peer("10.6.6.6"))).rule == "all"
    await room.allowed(operation(1), request=from_peer("10.0.0.1"))


async def test_the_bundlers_refusal_ends_what_garbage_holds() -> None:
    room = room_with(ALL_TARGETS % "account")
    for number in range(9):
        judgement = await room.allowed(garbage(number), request=from_peer("10.6.6.6"))
        assert judgement.reservation is not None
        room.ledger.release(judgement.reservation.name)
    assert len(room.ledger) == 0


async def test_different_things_that_garbage_brings_are_counted_for_its_bringer_alone() -> None:
    room = room_with(
        "- {id: who, description: d, mode: enforce, limit: {distinct: recipient, max: 1, per: account, window: 1h}}"
    )
    await room.allowed(an_operation(single(transfer(1, to=FRIEND)), nonce=OWNER_NONCE, signature=b"\x01" * 65))
    await room.allowed(operation(1), request=from_peer("10.0.0.1"))


async def test_estimates_of_strangers_use_up_no_rate_that_a_session_is_held_to() -> None:
    room = room_with("- {id: pace, description: d, mode: enforce, rate: {max: 2, per: session, window: 1m}}")
    stub = b"\0" + TEN_TIMES.permission_id + b"\xff" * 65
    estimate = an_operation(single(transfer(1)), nonce=lane(3), signature=stub)
    for _ in range(2):
        await room.allowed(estimate, Purpose.PREVIEW, request=from_peer("10.6.6.6"))
    assert (await room.refusal(estimate, Purpose.PREVIEW, request=from_peer("10.6.6.6"))).rule == "pace"
    for number in range(2):
        await room.allowed(operation(number), request=from_peer("10.0.0.1"))
    assert (await room.refusal(operation(7), request=from_peer("10.0.0.1"))).rule == "pace"


async def test_what_waits_for_the_bundler_unsigned_is_bounded_and_takes_no_place_of_the_account() -> None:
    room = room_with(ALL_TARGETS % "account")
    room.ledger._caps = Caps(account=1, bringer=2)
    for number in range(2):
        await room.allowed(garbage(number), request=from_peer("10.6.6.6"))
    reason = await room.refusal(garbage(2), request=from_peer("10.6.6.6"))
    assert (reason.code, reason.retryable) == (Code.RATE_LIMITED, True)
    assert "one client and address" in reason.sentence
    await room.allowed(operation(1), request=from_peer("10.0.0.1"))


@pytest.mark.parametrize("ending", ["refused", "dropped"])
async def test_operations_of_invented_accounts_that_never_get_mined_leave_nothing_behind(ending: str) -> None:
    room = room_with(
        """
        - {id: uses, description: d, mode: enforce, limit: {count: ops, max: 5, per: account, window: 90d}}
        - {id: people, description: d, mode: alert, limit: {distinct: target, max: 5, per: account, window: 90d}}
        - {id: new, description: d, mode: alert, first_seen: {of: target, per: account}}
        - {id: costly, description: d, mode: alert, deviation: {of: gas, per: account, factor: 2, after: 3 ops}}
        - {id: row, description: d, mode: alert, streak: {of: reverted, length: 2, per: account}}
        - {id: turned-away, description: d, mode: alert, streak: {of: rejected, length: 2, per: account}}
        """
    )
    counts = room.ledger._rules
    for number in range(50):
        account = type(ACCOUNT)(number.to_bytes(20, "big"))
        op = an_operation(single(transfer(1)), nonce=OWNER_NONCE, signature=b"\x01" * 65, sender=account)
        judgement = await room.allowed(op)
        assert judgement.reservation is not None
        key = judgement.reservation.rule_charges[0].key
        assert counts.held.amount(key, RuleUseView(bringer=Bringer("", ""))) == 1
        assert counts.held.amount(key) == 0
        name = judgement.reservation.name
        if ending == "refused":
            room.ledger.release(name)
        else:
            room.ledger.accept(name)
            room.ledger.expire(name)
    assert (len(room.ledger), len(counts), counts.held.keys(), counts.held._brought) == (0, 0, set(), {})


async def test_a_row_of_refusals_is_counted_and_ends_with_one_that_goes_out() -> None:
    rule = """
    - id: probing
      description: d
      mode: alert
      match: {session: true, verdict: any}
      streak: {of: rejected, length: 2, per: session}
    """
    room = room_with(rule)
    bad = use(TEN_TIMES, single(transfer(1)), key=STRANGERS_KEY)
    assert [len((await room.judge(bad)).finding.hits) for _ in range(3)] == [0, 0, 1]
    await room.allowed(operation(1))
    assert len((await room.judge(bad)).finding.hits) == 0


async def test_a_stranger_makes_no_row_longer_that_refuses_the_session_and_its_own_key_does() -> None:
    rule = """
    - id: probing
      description: d
      mode: enforce
      match: {session: true, verdict: any}
      streak: {of: rejected, length: 2, per: session}
    """
    room = room_with(rule)
    for _ in range(5):
        await room.refusal(use(TEN_TIMES, single(transfer(1)), key=STRANGERS_KEY))
    await room.allowed(operation(1))
    for number in (2, 3):
        outside = use(TEN_TIMES, single(transfer(1, token=STRANGER)), nonce=lane(number))
        assert (await room.refusal(outside)).code is Code.SESSION_SCOPE
    assert (await room.refusal(operation(4))).rule == "probing"


async def test_a_set_that_is_swapped_is_in_force_with_the_next_judgement_and_counts_go_on() -> None:
    room = room_with(FEW % "shadow")
    for number in range(2):
        await room.allowed(operation(number))
    room.rules = judge_of(FEW % "enforce")
    assert (await room.refusal(operation(2))).rule == "few"
    room.rules = None
    await room.allowed(operation(3))


# what rules see


async def test_facts_tell_who_calls_what_and_what_moves() -> None:
    seen = await facts_seen(operation(3, amount=7))
    assert (seen.session, seen.mode, seen.verdict, seen.account) == (True, "use", "allow", ACCOUNT)
    (call,) = seen.calls
    assert (call.target, call.selector, call.value) == (TOKEN, TRANSFER, 0)
    (move,) = seen.moves
    assert (move.kind, move.token, move.amount, move.counterparty) == (MovementKind.SPEND, TOKEN, 7, FRIEND)
    assert (seen.gas, seen.max_cost) == (298_000, 298_000 * 2 * 10**9)
    assert (seen.paymaster, seen.factory, seen.eip7702, seen.call_type) == (None, None, False, "single")


async def test_facts_tell_how_full_the_limits_become_and_what_is_in_flight() -> None:
    room = Room(TWICE)
    first = await facts_seen(use(TWICE, single(transfer(1)), nonce=lane(1)), room)
    second = await facts_seen(use(TWICE, single(transfer(1)), nonce=lane(2)), room)
    assert [(each.limit_used_percent, each.lanes, each.replaces) for each in (first, second)] == [
        (50, 1, False),
        (100, 2, False),
    ]
    rival = await facts_seen(use(TWICE, single(transfer(2)), nonce=lane(1)), room)
    assert rival.replaces


async def test_facts_of_a_granting_operation_tell_what_a_reviewer_would_say() -> None:
    wide = a_session(action(TOKEN, TRANSFER, sudo))
    by_owner = await facts_seen(granting(wide))
    (grant,) = by_owner.grants
    assert (by_owner.session, by_owner.acts, grant.how, grant.permission_id) == (
        False,
        ("sessions_enabled",),
        "call",
        wide.permission_id,
    )
    assert {"sudo_action", "no_expiry", "token_uncapped"} & set(grant.findings)
    assert grant.valid_until is None
    by_envelope = await facts_seen(enabling(wide, single(transfer(1))))
    assert [(each.how, each.permission_id) for each in by_envelope.grants] == [("enable", wide.permission_id)]


async def test_an_operation_that_cannot_be_read_still_has_facts() -> None:
    broken = an_operation(batch(), nonce=NEXUS_NONCE, signature=b"\x07" + TWICE.permission_id)
    seen = await facts_seen(broken)
    assert (seen.verdict, seen.account, seen.session, seen.permission_id) == ("undecodable", ACCOUNT, True, None)


async def test_a_frozen_session_has_its_verdict_among_the_facts() -> None:
    room = Room(TWICE)
    room.registry.freezes.put(Freeze(permission_id=TWICE.permission_id, since=float(NOW)))
    assert (await facts_seen(use(TWICE, single(transfer(1))), room)).verdict == "session_revoked"
