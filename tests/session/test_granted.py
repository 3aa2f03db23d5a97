"""What a declared module granted is enforced with whatever is in flight, as the terms of published policies are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.session import told
from proxy.session.changes import Changes, UsedPastGate
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.enforce import enforce
from proxy.session.granted import USES_SLOT, VALUE_SLOT, granted, is_granted, used_past_the_gate
from proxy.session.known import KnownSession, Source, Status
from proxy.session.outcome import Accepted, Refused
from proxy.session.overview import phase_of
from proxy.session.registry import Registry
from proxy.session.remaining import remaining
from proxy.session.state import SessionState, SessionStatus, ToldAt
from proxy.session.told import MOST_NAMES, names_at, take_back, tell
from proxy.userop.acts import SessionAct, SessionsCleared, Unreadable
from proxy.userop.budget import ITEM_BUDGET
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation, GrantedCall, GrantedTerms
from proxy.userop.declared_module import key_id
from proxy.userop.decode import decode_operation
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.primitives import Address, Hash32, Selector, print_checksummed
from tests.bypass_list.desk import STRANGERS_KEY, V07, an_operation, batch, single
from tests.session.builders import ACCOUNT, NOW, STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import CHAIN_ID, MODULES, PLAIN, name_of_key
from tests.session.signing import SESSION_KEY, nonce_at, signed

NAME = name_of_key(SESSION_KEY)
PAY = Call(TOKEN, 0, TRANSFER + bytes(64))


def grant(*calls: GrantedCall, **changes: Any) -> DeclaredGrant:
    fields: dict[str, Any] = {
        "module": PLAIN,
        "account": ACCOUNT,
        "permission_id": key_id(SESSION_KEY),
        "session_key": SESSION_KEY,
        "signer": MESSAGE_KEY,
        "calls": calls or (a_call(),),
    }
    return DeclaredGrant(**{**fields, **changes})


def a_call(target: Address = TOKEN, selector: Selector | None = TRANSFER, **terms: Any) -> GrantedCall:
    return GrantedCall(target=target, selector=selector, terms=GrantedTerms(**{"max_value": 0, **terms}))


def in_force(*calls: GrantedCall, **changes: Any) -> SessionState:
    return granted(SessionState(key=NAME), grant(*calls, **changes))


def verdict(
    state: SessionState,
    call_data: bytes,
    *,
    in_flight: Callable[[Counter], int] | None = None,
    now: int | None = NOW,
    **options: Any,
) -> Accepted | Refused:
    op = signed(an_operation(call_data, nonce=nonce_at(PLAIN)), MESSAGE_KEY, **options)
    operation = decode_operation(op, V07, CHAIN_ID, MODULES)
    if operation.claim is not None and operation.claim.envelope.permission_id != NAME.permission_id:
        envelope = operation.claim.envelope._replace(permission_id=NAME.permission_id)
        operation = replace(operation, claim=operation.claim._replace(envelope=envelope))
    answer = enforce(operation, state, base_fee=None, in_flight=in_flight, now=now, budget=operation.budget)
    assert isinstance(answer, Accepted | Refused)
    return answer


def refusal(state: SessionState, call_data: bytes, **options: Any) -> Code:
    answer = verdict(state, call_data, **options)
    assert isinstance(answer, Refused), answer
    return answer.reason.code


def test_what_was_granted_is_allowed() -> None:
    assert isinstance(verdict(in_force(), single(PAY)), Accepted)
    assert isinstance(verdict(in_force(), batch(PAY, PAY)), Accepted)


@pytest.mark.parametrize(
    "call",
    [
        replace(PAY, target=STRANGER),
        replace(PAY, data=bytes(68)),
        replace(PAY, data=b""),
        Call(ACCOUNT, 0, single(PAY)),
        replace(PAY, value=1),
    ],
)
def test_anything_else_is_outside_the_session(call: Call) -> None:
    assert refusal(in_force(), single(call)) is Code.SESSION_SCOPE
    assert refusal(in_force(), batch(PAY, call)) is Code.SESSION_SCOPE


@pytest.mark.parametrize("call_data", [single(PAY, mode=b"\xff"), single(PAY, mode=b"\0\1"), b"\x01\x02\x03\x04"])
def test_only_plain_executions_are_a_sessions(call_data: bytes) -> None:
    assert refusal(in_force(), call_data) is Code.SESSION_SCOPE


def test_an_account_never_calls_its_own_execute_whatever_was_granted() -> None:
    state = in_force(a_call(ACCOUNT, None))
    assert refusal(state, single(Call(ACCOUNT, 0, EXECUTE + bytes(64)))) is Code.SESSION_SCOPE


def test_a_stranger_learns_nothing_but_that_the_key_did_not_sign() -> None:
    answer = verdict(in_force(), single(replace(PAY, target=STRANGER)), key=STRANGERS_KEY)
    assert isinstance(answer, Refused)
    assert "not the session key's" in answer.reason.sentence


def test_a_key_that_signs_in_the_other_form_has_not_signed() -> None:
    assert refusal(in_force(signer=PLAIN_KEY), single(PAY)) is Code.SESSION_SCOPE


def test_every_function_of_a_target_may_be_granted() -> None:
    state = in_force(a_call(TOKEN, None))
    assert isinstance(verdict(state, single(replace(PAY, data=b"\x01\x02\x03\x04"))), Accepted)
    assert isinstance(verdict(state, single(replace(PAY, data=b""))), Accepted)
    assert refusal(state, single(replace(PAY, target=STRANGER))) is Code.SESSION_SCOPE


def test_the_more_exact_of_two_grants_holds() -> None:
    state = in_force(a_call(TOKEN, None, max_value=9), a_call(max_value=1))
    assert refusal(state, single(replace(PAY, value=2))) is Code.SESSION_SCOPE
    assert isinstance(verdict(state, single(replace(PAY, data=b"", value=2))), Accepted)


def test_a_call_without_data_is_one_of_the_zero_selector() -> None:
    state = in_force(a_call(TOKEN, Selector(bytes(4)), max_value=5))
    assert isinstance(verdict(state, single(Call(TOKEN, 5, b""))), Accepted)
    assert isinstance(verdict(state, single(Call(TOKEN, 5, b"\0\0"))), Accepted)
    assert refusal(state, single(Call(TOKEN, 6, b""))) is Code.SESSION_SCOPE
    assert refusal(state, single(Call(TOKEN, 0, b"\xff\xff\xff\xff"))) is Code.SESSION_SCOPE


@pytest.mark.parametrize(("now", "allowed"), [(NOW - 1, False), (NOW, True), (NOW + 5, True), (NOW + 6, False)])
def test_the_window_holds_to_the_second(now: int, allowed: bool) -> None:
    state = in_force(a_call(valid_after=NOW, valid_until=NOW + 5))
    assert isinstance(verdict(state, single(PAY), now=now), Accepted) is allowed


def test_of_several_calls_the_narrowest_window_holds() -> None:
    other = Call(STRANGER, 0, PAY.data)
    state = in_force(
        a_call(valid_until=NOW + 5), a_call(STRANGER, valid_after=NOW - 5), terms=GrantedTerms(valid_until=NOW)
    )
    answer = verdict(state, batch(PAY, other))
    assert isinstance(answer, Accepted)
    assert (answer.valid_after, answer.valid_until) == (NOW - 5, NOW)


def uses(
    state: SessionState, selector: Selector = TRANSFER, target: Address = TOKEN, slot: bytes = USES_SLOT
) -> Counter:
    action_id = next(each for each, named in state.targets.items() if named == (target, selector))
    return Counter(*state.config_key(next(iter(state.actions[action_id])), state.action_config_id(action_id)), slot)


def test_uses_count_mined_in_flight_and_earlier_calls_together() -> None:
    state = in_force(a_call(max_uses=3))
    counter = uses(state)
    answer = verdict(state, batch(PAY, PAY))
    assert isinstance(answer, Accepted)
    assert answer.charges == (Charge(counter, 2, 3),)
    once = state.with_charges([Charge(counter, 1, 3)])
    assert isinstance(verdict(once, single(PAY), in_flight=lambda each: int(each == counter)), Accepted)
    assert refusal(once, batch(PAY, PAY), in_flight=lambda each: int(each == counter)) is Code.LIMIT_EXCEEDED
    assert refusal(once, single(PAY), in_flight=lambda each: 2 * (each == counter)) is Code.LIMIT_EXCEEDED


def test_uses_of_operations_are_one_each_however_many_calls_there_are() -> None:
    other = Call(STRANGER, 0, PAY.data)
    whole = GrantedTerms(max_uses=2, per_operation=True)
    state = in_force(a_call(max_uses=2, per_operation=True), a_call(STRANGER), terms=whole)
    answer = verdict(state, batch(PAY, other, PAY, other))
    assert isinstance(answer, Accepted)
    assert [(charge.amount, charge.limit) for charge in answer.charges] == [(1, 2), (1, 2)]
    once = state.with_charges(answer.charges)
    assert once == used_past_the_gate(state, (PAY, other, PAY, other))
    assert isinstance(verdict(once, batch(PAY, PAY, PAY)), Accepted)
    assert refusal(once.with_charges(answer.charges), batch(other)) is Code.LIMIT_EXCEEDED
    assert refusal(once, batch(PAY), in_flight=lambda each: int(each == uses(state))) is Code.LIMIT_EXCEEDED


@given(st.lists(st.integers(1, 6), max_size=8), st.integers(0, 6), st.booleans())
def test_never_more_uses_are_allowed_than_were_granted(batches: list[int], most: int, per_operation: bool) -> None:
    state = in_force(a_call(max_uses=most, per_operation=per_operation))
    taken = 0
    for calls in batches:
        answer = verdict(state, batch(*[PAY] * calls))
        fits = taken + (1 if per_operation else calls) <= most
        assert isinstance(answer, Accepted) is fits
        if isinstance(answer, Accepted):
            state, taken = state.with_charges(answer.charges), taken + (1 if per_operation else calls)


def test_value_is_bounded_for_each_call_and_over_all_of_them() -> None:
    state = in_force(a_call(max_value=60, max_total=100))
    assert isinstance(verdict(state, single(replace(PAY, value=60))), Accepted)
    assert refusal(state, single(replace(PAY, value=61))) is Code.SESSION_SCOPE
    assert refusal(state, batch(replace(PAY, value=60), replace(PAY, value=41))) is Code.LIMIT_EXCEEDED
    counter = uses(state, slot=VALUE_SLOT)
    assert (
        refusal(state, single(replace(PAY, value=60)), in_flight=lambda each: 41 * (each == counter))
        is Code.LIMIT_EXCEEDED
    )
    assert isinstance(
        verdict(state, single(replace(PAY, value=60)), in_flight=lambda each: 40 * (each == counter)), Accepted
    )


def test_limits_over_all_calls_count_calls_of_every_kind() -> None:
    other = Call(STRANGER, 0, PAY.data)
    state = in_force(a_call(), a_call(STRANGER), terms=GrantedTerms(max_uses=2))
    assert isinstance(verdict(state, batch(PAY, other)), Accepted)
    assert refusal(state, batch(PAY, other, PAY)) is Code.LIMIT_EXCEEDED


def test_a_grant_again_counts_afresh_and_forgets_what_it_does_not_name() -> None:
    first = in_force(a_call(max_uses=1), a_call(STRANGER))
    used = first.with_charges([Charge(uses(first), 1, 1)])
    assert refusal(used, single(PAY)) is Code.LIMIT_EXCEEDED
    again = granted(used, grant(a_call(max_uses=1)))
    assert isinstance(verdict(again, single(PAY)), Accepted)
    assert refusal(again, single(replace(PAY, target=STRANGER))) is Code.SESSION_SCOPE


def test_a_grant_that_adds_leaves_what_was_there() -> None:
    first = in_force(a_call(max_uses=1))
    used = first.with_charges([Charge(uses(first), 1, 1)])
    more = granted(used, grant(a_call(STRANGER), adds=True))
    assert isinstance(verdict(more, single(replace(PAY, target=STRANGER))), Accepted)
    assert refusal(more, single(PAY)) is Code.LIMIT_EXCEEDED


def test_more_work_than_is_done_for_one_operation_is_refused() -> None:
    many = batch(*([PAY] * (ITEM_BUDGET - 10)))
    assert refusal(in_force(), many) is Code.UNDECODABLE


# what becomes of a session


def changes(*made: SessionAct | UsedPastGate | Unreadable, account: Address = ACCOUNT) -> Changes:
    return Changes(user_op_hash=Hash32(b"\x77" * 32), chain_id=CHAIN_ID, account=account, at_validation=made)


def revocation(**options: Any) -> DeclaredRevocation:
    return DeclaredRevocation(module=PLAIN, account=ACCOUNT, permission_id=NAME.permission_id, **options)


def test_a_session_told_of_is_in_force_until_it_is_told_to_be_over() -> None:
    registry = Registry()
    tell(registry, changes(grant()), ToldAt(7, 0), 1.0)
    known = registry.get(NAME)
    assert known is not None
    assert (known.status, known.source, known.block) == (Status.IN_FORCE, Source.EVENT, 7)
    tell(registry, changes(revocation()), ToldAt(8, 0), 2.0)
    assert registry.status_of(NAME) is Status.REMOVED
    tell(registry, changes(grant()), ToldAt(9, 0), 3.0)
    assert registry.status_of(NAME) is Status.IN_FORCE
    tell(registry, changes(SessionsCleared(PLAIN)), ToldAt(10, 0), 4.0)
    assert registry.status_of(NAME) is Status.REMOVED


def test_the_same_name_on_two_accounts_is_two_sessions() -> None:
    registry = Registry()
    tell(registry, changes(grant()), ToldAt(7, 0), 1.0)
    tell(registry, changes(grant(account=STRANGER), account=STRANGER), ToldAt(7, 0), 1.0)
    tell(registry, changes(replace(revocation(), account=STRANGER), account=STRANGER), ToldAt(8, 0), 2.0)
    assert registry.status_of(NAME) is Status.IN_FORCE
    assert registry.status_of(name_of_key(SESSION_KEY, STRANGER)) is Status.REMOVED


def test_a_revocation_of_a_part_leaves_the_rest() -> None:
    registry = Registry()
    tell(registry, changes(grant(a_call(), a_call(STRANGER), a_call(STRANGER, None))), ToldAt(7, 0), 1.0)
    tell(registry, changes(revocation(target=STRANGER)), ToldAt(8, 0), 2.0)
    known = registry.get(NAME)
    assert known is not None
    assert known.state is not None
    assert isinstance(verdict(known.state, single(PAY)), Accepted)
    assert refusal(known.state, single(replace(PAY, target=STRANGER))) is Code.SESSION_SCOPE
    tell(registry, changes(revocation(target=TOKEN, selector=Selector(b"\1\2\3\4"))), ToldAt(9, 0), 3.0)
    assert registry.status_of(NAME) is Status.IN_FORCE
    tell(registry, changes(revocation(target=TOKEN, selector=TRANSFER)), ToldAt(10, 0), 4.0)
    assert registry.status_of(NAME) is Status.REMOVED


def test_a_revocation_of_what_nobody_heard_of_is_known_too() -> None:
    registry = Registry()
    tell(registry, changes(revocation(target=TOKEN)), ToldAt(8, 0), 2.0)
    assert registry.status_of(NAME) is Status.REMOVED


def test_what_was_used_past_the_gate_counts() -> None:
    state = in_force(a_call(max_uses=3, max_value=None, max_total=10))
    used = used_past_the_gate(state, (replace(PAY, value=4), PAY, Call(STRANGER, 9, b"")))
    assert (used.used[uses(state)], used.used[uses(state, slot=VALUE_SLOT)]) == (2, 4)
    assert used_past_the_gate(SessionState(key=NAME), (PAY,)) == SessionState(key=NAME)


def test_a_removed_session_is_no_granted_one() -> None:
    assert not is_granted(replace(in_force(), status=SessionStatus.REMOVED))


def test_what_the_chain_takes_back_is_as_it_was_without_what_went_with_it() -> None:
    registry = Registry()
    tell(registry, changes(grant(a_call(max_uses=9))), ToldAt(7, 0), 1.0)
    known = registry.get(NAME)
    assert known is not None
    assert known.state is not None
    charge = Charge(uses(known.state), 2, 9)
    registry.put(replace(known, state=known.state.with_charges([charge])))
    ((key, before, _),) = tell(registry, changes(revocation()), ToldAt(8, 0), 2.0)
    restored = take_back(registry, key, before, [replace(charge, amount=1)], 3.0)
    assert restored.status is Status.IN_FORCE
    assert restored.state is not None
    assert restored.state.used == {charge.counter: 1}
    take_back(registry, key, None, (), 4.0)
    assert registry.status_of(NAME) is Status.REMOVED


def test_what_was_told_before_is_not_told_again() -> None:
    registry = Registry()
    tell(registry, changes(grant(a_call(max_uses=9))), ToldAt(7, 3), 1.0)
    known = registry.get(NAME)
    assert known is not None
    assert known.state is not None
    registry.put(replace(known, state=known.state.with_charges([Charge(uses(known.state), 2, 9)])))
    for place in (ToldAt(7, 3), ToldAt(7, 2), ToldAt(6, 9)):
        assert tell(registry, changes(grant(a_call(max_uses=9))), place, 2.0) == []
        assert tell(registry, changes(revocation()), place, 2.0) == []
    assert tell(registry, changes(revocation()), ToldAt(7, 4), 2.0)
    assert tell(registry, changes(grant()), ToldAt(7, 3), 2.0) == []
    assert registry.status_of(NAME) is Status.REMOVED


def test_past_so_many_sessions_nothing_is_learnt_of_accounts_that_nobody_heard_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(told, "MOST_TOLD", 2)
    registry = Registry()
    tell(registry, changes(grant()), ToldAt(1, 0), 1.0)
    for number in range(5):
        account = Address(number.to_bytes(20, "big"))
        tell(registry, changes(grant(account=account), account=account), ToldAt(2, number), 1.0)
    other = grant(permission_id=key_id(STRANGER), session_key=STRANGER)
    tell(registry, changes(other), ToldAt(3, 0), 1.0)
    assert registry.status_of(name_of_key(STRANGER)) is Status.IN_FORCE
    assert len(registry) == 3
    assert registry.status_of(NAME) is Status.IN_FORCE


def test_no_more_names_are_tried_than_a_few() -> None:
    registry = Registry()
    for number in range(MOST_NAMES + 4):
        key = Address(number.to_bytes(20, "big"))
        tell(registry, changes(grant(permission_id=key_id(key), session_key=key)), ToldAt(number, 0), float(number))
    names = names_at(registry, CHAIN_ID, PLAIN, ACCOUNT)
    assert len(names) == MOST_NAMES
    assert names[0] == key_id(Address((MOST_NAMES + 3).to_bytes(20, "big")))


STEPS = st.lists(st.sampled_from(["grant", "revoke", "clear", "use", "unreadable"]), max_size=12)


@given(STEPS)
def test_after_any_story_the_last_word_decides(steps: list[str]) -> None:
    registry = Registry()
    stands: Status | None = None
    for block, step in enumerate(steps):
        match step:
            case "grant":
                tell(registry, changes(grant()), ToldAt(block, 0), float(block))
                stands = Status.IN_FORCE
            case "revoke":
                tell(registry, changes(revocation()), ToldAt(block, 0), float(block))
                stands = Status.REMOVED
            case "clear":
                tell(registry, changes(SessionsCleared(PLAIN)), ToldAt(block, 0), float(block))
                stands = None if stands is None else Status.REMOVED
            case "use":
                tell(registry, changes(UsedPastGate(PLAIN, NAME.permission_id, (PAY,))), ToldAt(block, 0), float(block))
            case "unreadable":
                tell(registry, changes(Unreadable(PLAIN, TRANSFER, "it is not")), ToldAt(block, 0), float(block))
        assert registry.status_of(NAME) is stands


def test_a_known_session_of_another_module_is_not_touched() -> None:
    registry = Registry()
    elsewhere = SessionKey(CHAIN_ID, STRANGER, ACCOUNT, NAME.permission_id)
    registry.put(KnownSession(key=elsewhere, status=Status.IN_FORCE, source=Source.NODE, updated_at=0.0))
    tell(registry, changes(SessionsCleared(PLAIN)), ToldAt(1, 0), 1.0)
    assert registry.status_of(elsewhere) is Status.IN_FORCE


def test_what_is_left_and_until_when_is_told_in_views() -> None:
    state = in_force(
        a_call(max_uses=3, max_total=9, max_value=5, valid_until=NOW + 60),
        a_call(STRANGER, None),
        terms=GrantedTerms(max_uses=7),
    ).with_charges(())
    views = remaining(state.with_charges([Charge(uses(state), 1, 3)]), lambda counter: int(counter == uses(state)))
    whole, one, every = views
    assert [each["policy"] for each in views] == ["grant of the module"] * 3
    assert (whole["on"], [limit["of"] for limit in whole["limits"]]) == ("userOperation", ["uses"])
    assert (one["valuePerCall"], one["validUntil"], one["target"]) == ("0x5", NOW + 60, print_checksummed(TOKEN))
    assert [(limit["of"], limit["left"]) for limit in one["limits"]] == [("uses", "0x1"), ("value", "0x9")]
    assert (every["target"], every["limits"]) == (print_checksummed(STRANGER), [])
    known = KnownSession(
        key=NAME,
        status=Status.IN_FORCE,
        source=Source.EVENT,
        updated_at=0.0,
        state=in_force(a_call(valid_after=NOW, valid_until=NOW + 9)),
    )
    assert [phase_of(known, now).value for now in (NOW - 1, NOW, NOW + 10)] == ["upcoming", "in_force", "expired"]
