from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from proxy.errors import Code, Undecodable
from proxy.session import transitions
from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.counters import Charge, Counter
from proxy.session.enforce import enforce
from proxy.session.outcome import Accepted, NeedsFacts, Refused, Verdict
from proxy.session.revert import BARE, Revert
from proxy.session.signers import BAD_INIT_DATA, INVALID, TOO_SHORT, UNKNOWN, VALID, check_session_signature
from proxy.session.state import SessionState
from proxy.session.validity import UINT48_MAX
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import EXECUTE, EXECUTE_USER_OP, CallType, DecodingError, Execution
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import (
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    VALUE_SELECTOR,
    action_id_of,
)
from proxy.userop.signature import SessionEnvelope, SessionMode
from tests.session.builders import (
    ACCOUNT,
    APPROVE,
    FRIEND,
    NOW,
    OTHER_TOKEN,
    PAYMASTER,
    SPENDING,
    STRANGER,
    TOKEN,
    TRANSFER,
    USAGE,
    VALUE,
    action,
    approve,
    call,
    enabled,
    fallback,
    gas,
    judge,
    key_of,
    operation,
    session,
    spending,
    sudo,
    time_frame,
    transfer,
    usage,
    value_limit,
    with_key,
)
from tests.session.signers.keys import Key, owners_data

RELEASE = Address(bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98"))
BETA = Address(bytes.fromhex("0000000000E9E6E96Bcaa3c113187CdB7E38AED9"))


@pytest.mark.parametrize(
    ("validator", "sign", "call"),
    [
        (RELEASE, Key.sign_message, "account.sign({ hash: userOpHash })"),
        (BETA, Key.sign, "account.signMessage({ message: { raw: userOpHash } })"),
    ],
)
def test_a_signature_in_another_releases_form_is_refused_and_told_which_call_makes_the_right_one(
    validator: Address, sign: Callable[[Key, bytes], bytes], call: str
) -> None:
    key = Key(7)
    granted = replace(
        session(action(TOKEN, TRANSFER, sudo)),
        session_validator=validator,
        session_validator_init_data=owners_data(1, key.address),
    )
    state = enabled(granted)

    def judged(signature: bytes) -> Verdict:
        claimed = SessionEnvelope(mode=SessionMode.USE, permission_id=state.key.permission_id, signature=signature)
        return judge(state, transfer(1), envelope=claimed, options={"check_signature": check_session_signature})

    digest = operation(state, transfer(1)).user_op_hash
    other_form = refused(judged(sign(key, digest)))
    assert other_form.revert is None
    assert call in other_form.reason.remedy
    assert other_form.reason.wanted != other_form.reason.got
    assert other_form.reason.got is not None
    stranger = refused(judged(sign(Key(8), digest)))
    assert call in stranger.reason.remedy
    assert stranger.reason.got is None
    right = Key.sign if sign is Key.sign_message else Key.sign_message
    assert isinstance(judged(right(key, digest)), Accepted)


SIMPLE = enabled(session(action(TOKEN, TRANSFER, sudo)))


def accepted(verdict: Verdict) -> Accepted:
    assert isinstance(verdict, Accepted), verdict
    return verdict


def refused(verdict: Verdict) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


def error_of(verdict: Verdict) -> str | None:
    revert = refused(verdict).revert
    assert revert is not None
    return revert.error


def code_of(verdict: Verdict) -> Code:
    return refused(verdict).reason.code


# the session itself


def test_accepts_a_call_of_the_grant() -> None:
    verdict = accepted(judge(SIMPLE, transfer(5)))
    assert (verdict.valid_after, verdict.valid_until) == (0, UINT48_MAX)
    assert verdict.validation_data == UINT48_MAX << 160
    assert verdict.charges == ()
    assert verdict.notes == ()
    assert verdict.state == SIMPLE


def test_refuses_a_session_that_was_never_enabled() -> None:
    verdict = judge(SessionState(key=SIMPLE.key), transfer(5))
    assert code_of(verdict) is Code.SESSION_UNKNOWN
    assert error_of(verdict) == "InvalidPermissionId"


def test_refuses_a_removed_session_under_a_code_of_its_own() -> None:
    removed = transitions.remove_session(SIMPLE)
    assert isinstance(removed, SessionState)
    verdict = judge(removed, transfer(5))
    assert code_of(verdict) is Code.SESSION_REVOKED
    assert error_of(verdict) == "InvalidPermissionId"


def test_an_operation_of_another_session_account_or_module_is_a_broken_promise() -> None:
    other = enabled(session(action(TOKEN, TRANSFER, sudo), salt=9))
    strangers = (other, with_key(SIMPLE, account=STRANGER), with_key(SIMPLE, module=STRANGER))
    for state in strangers:
        with pytest.raises(ValueError, match="the operation"):
            enforce(operation(SIMPLE, transfer(5)), state, base_fee=0, in_flight=None, now=NOW)


# paymaster


def test_a_paymaster_needs_the_flag_and_a_user_operation_policy() -> None:
    granted = enabled(session(action(TOKEN, TRANSFER, sudo), user_op=[sudo], paymaster=True))
    assert accepted(judge(granted, transfer(5), paymaster=PAYMASTER))
    verdict = judge(granted.with_paymaster(False), transfer(5), paymaster=PAYMASTER)
    assert (code_of(verdict), error_of(verdict)) == (Code.SESSION_SCOPE, "PaymasterValidationNotEnabled")
    without = enabled(session(action(TOKEN, TRANSFER, sudo), paymaster=True))
    assert error_of(judge(without, transfer(5), paymaster=PAYMASTER)) == "NoPoliciesSet"
    assert accepted(judge(without, transfer(5)))


def test_a_single_byte_of_paymaster_data_is_a_paymaster() -> None:
    verdict = judge(SIMPLE, transfer(5), init_code=b"", paymaster_and_data=b"\x01")
    assert error_of(verdict) == "PaymasterValidationNotEnabled"
    assert accepted(judge(SIMPLE, transfer(5), init_code=b"", paymaster_and_data=b""))


def test_the_emissary_has_no_say_in_paymasters() -> None:
    emissary = next(address for address, kind in MODULE_KINDS.items() if kind is ModuleKind.EMISSARY)
    assert accepted(judge(with_key(SIMPLE, module=emissary), transfer(5), paymaster=PAYMASTER))


# the outer call


def test_refuses_call_data_without_a_selector() -> None:
    verdict = judge(SIMPLE, execution=Execution(None), call_data=b"\x01\x02\x03")
    assert (code_of(verdict), refused(verdict).revert) == (Code.UNDECODABLE, BARE)


@pytest.mark.parametrize("call_type", [CallType.SINGLE, CallType.BATCH, CallType.DELEGATECALL])
def test_refuses_try_mode_before_it_looks_at_the_call_type(call_type: CallType) -> None:
    execution = Execution(EXECUTE, call_type, 1, (transfer(5),))
    assert error_of(judge(SIMPLE, execution=execution)) == "UnsupportedExecutionType"


@pytest.mark.parametrize("call_type", [0x02, 0x7F, CallType.STATIC, CallType.DELEGATECALL])
def test_refuses_every_call_type_but_single_and_batch(call_type: int) -> None:
    verdict = judge(SIMPLE, execution=Execution(EXECUTE, call_type, 0))
    assert refused(verdict).revert == Revert("UnsupportedCallType", (bytes([call_type]),))


def test_the_older_module_names_delegatecall_an_execution_type() -> None:
    old = next(address for address, kind in MODULE_KINDS.items() if kind is ModuleKind.V1)
    execution = Execution(EXECUTE, CallType.DELEGATECALL, 0)
    assert error_of(judge(with_key(SIMPLE, module=old), execution=execution)) == "UnsupportedExecutionType"


def test_refuses_an_empty_batch() -> None:
    assert error_of(judge(SIMPLE, execution=Execution(EXECUTE, CallType.BATCH, 0))) == "NoExecutionsInBatch"


def test_refuses_the_execute_user_op_wrapper() -> None:
    data = EXECUTE_USER_OP + b"\x01"
    verdict = judge(SIMPLE, execution=Execution(EXECUTE_USER_OP), call_data=data)
    assert error_of(verdict) == "UnsupportedExecutionType"


def test_unreadable_call_data_is_told_apart_as_the_chain_does_and_after_the_policies() -> None:
    tight = enabled(session(action(TOKEN, TRANSFER, sudo), user_op=[usage(1)]))
    where = {"execution": Execution(EXECUTE, CallType.BATCH, 0), "call_data": EXECUTE + b"\x01" + bytes(31)}

    def unreadable(problem: Undecodable, state: SessionState = tight) -> Refused:
        return refused(judge(state, options={"unreadable": problem}, **where))

    assert unreadable(DecodingError("callData", "x")).revert == Revert("DecodingError")
    assert unreadable(Undecodable("callData", "x")).revert == BARE
    assert unreadable(Undecodable("callData", "x")).reason.code is Code.UNDECODABLE
    spent = tight.with_charges([Charge(Counter(*tight.config_key(USAGE, tight.user_op_config_id)), 1, 1)])
    assert unreadable(Undecodable("callData", "x"), spent).revert == Revert(
        "PolicyViolation", (tight.key.permission_id, USAGE)
    )
    where["call_data"] = EXECUTE + b"\x01\x01" + bytes(30)
    assert unreadable(Undecodable("callData", "x")).revert == Revert("UnsupportedExecutionType")


def test_call_data_other_than_execute_is_an_action_of_the_account_without_fallback() -> None:
    upgrade = Selector(bytes.fromhex("4f1ef286"))
    data = upgrade + bytes(64)
    where = {"execution": Execution(upgrade), "call_data": data}
    open_session = enabled(session(fallback(sudo)))
    assert error_of(judge(open_session, **where)) == "NoPoliciesSet"
    granted = enabled(session(action(ACCOUNT, upgrade, spending((ACCOUNT, 5)))))
    assert error_of(judge(granted, **where)) == "PolicyViolation"
    assert accepted(judge(enabled(session(action(ACCOUNT, upgrade, sudo))), **where))


# each call


def test_refuses_a_target_or_selector_outside_the_grant() -> None:
    for other in (transfer(5, token=OTHER_TOKEN), approve(5), call(TOKEN)):
        verdict = judge(SIMPLE, other)
        assert (code_of(verdict), error_of(verdict)) == (Code.SESSION_SCOPE, "NoPoliciesSet")


def test_calls_without_a_selector_share_the_value_action() -> None:
    state = enabled(session(action(FRIEND, VALUE_SELECTOR, value_limit(5))))
    for data in (b"", b"\x01\x02\x03", b"\xff\xff\xff\xff\x01"):
        assert accepted(judge(state, call(FRIEND, value=5, data=data)))
    assert error_of(judge(state, call(FRIEND, value=6))) == "PolicyViolation"


def test_refuses_a_nested_execute_of_the_account_and_no_other_call_to_itself() -> None:
    state = enabled(session(fallback(sudo)))
    nested = judge(state, call(ACCOUNT, data=EXECUTE + bytes(64)))
    assert (code_of(nested), error_of(nested)) == (Code.SESSION_SCOPE, "InvalidSelfCall")
    assert accepted(judge(state, call(ACCOUNT, data=b"\x01\x02\x03\x04")))
    assert accepted(judge(state, call(FRIEND, data=EXECUTE + bytes(64))))


def test_refuses_the_flag_target_whatever_the_data() -> None:
    state = enabled(session(fallback(sudo)))
    assert error_of(judge(state, call(FLAG_TARGET))) == "InvalidTarget"
    assert error_of(judge(state, call(FLAG_TARGET, data=b"\x00\x00\x00\x01"))) == "InvalidTarget"


def test_the_fallback_never_covers_the_session_module() -> None:
    to_module = call(SIMPLE.key.module, data=b"\x01\x02\x03\x04")
    assert error_of(judge(enabled(session(fallback(sudo))), to_module)) == "NoPoliciesSet"
    granted = enabled(session(action(FLAG_TARGET, SMART_SESSION_CALL_SELECTOR, sudo)))
    assert accepted(judge(granted, to_module))


def test_the_exact_action_decides_alone_and_the_fallback_counts_for_all_others() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 1))), fallback(usage(1))))
    assert error_of(judge(state, transfer(2))) == "PolicyViolation"
    assert accepted(judge(state, call(FRIEND)))
    assert error_of(judge(state, call(FRIEND), call(STRANGER))) == "PolicyViolation"


def test_an_action_without_policies_counts_as_not_configured() -> None:
    empty = session(action(TOKEN, TRANSFER))
    assert error_of(judge(enabled(empty), transfer(5))) == "NoPoliciesSet"
    assert accepted(judge(enabled(session(action(TOKEN, TRANSFER), fallback(sudo))), transfer(5)))


# policies, in order and carried along


def test_the_first_policy_that_refuses_is_named() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo, value_limit(1), spending((TOKEN, 1)))))
    assert refused(judge(state, transfer(2))).revert == Revert("PolicyViolation", (state.key.permission_id, SPENDING))
    both = judge(state, transfer(2, value=2))
    assert refused(both).revert == Revert("PolicyViolation", (state.key.permission_id, VALUE))


def test_a_reverting_policy_is_passed_on_with_its_first_word() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, time_frame(0))))
    revert = refused(judge(state, transfer(1))).revert
    assert revert is not None
    assert revert.error == "PolicyCheckReverted"
    assert revert.data[4:8] == bytes.fromhex("6d3a33ce")


@pytest.mark.parametrize(("amounts", "allowed"), [((40, 59), True), ((40, 60), True), ((40, 61), False)])
def test_what_one_call_spends_is_gone_for_the_next(amounts: tuple[int, int], allowed: bool) -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 100)))))
    verdict = judge(state, *[transfer(amount) for amount in amounts])
    assert isinstance(verdict, Accepted) is allowed


def test_charges_are_merged_per_counter_and_the_state_after_holds_them() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 100))), user_op=[usage(3)]))
    verdict = accepted(judge(state, transfer(40), transfer(60)))
    spent = Counter(*state.config_key(SPENDING, state.action_config_id(action_id_of(TOKEN, TRANSFER))), TOKEN)
    used = Counter(*state.config_key(USAGE, state.user_op_config_id))
    assert verdict.charges == (Charge(used, 1, 3), Charge(spent, 100, 100))
    assert verdict.state.used == {used: 1, spent: 100}
    assert error_of(judge(verdict.state, transfer(1))) == "PolicyViolation"


def test_a_refused_operation_counts_nothing() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, usage(1), spending((TOKEN, 5)))))
    assert code_of(judge(state, transfer(6))) is Code.LIMIT_EXCEEDED
    assert state.used == {}
    assert accepted(judge(state, transfer(5)))


def test_operations_in_flight_count_against_the_limit() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 100)))))
    assert accepted(judge(state, transfer(40), in_flight=lambda counter: 60))
    verdict = refused(judge(state, transfer(41), in_flight=lambda counter: 60))
    assert verdict.reason.code is Code.LIMIT_EXCEEDED
    assert verdict.reason.retryable
    assert verdict.reason.sentence.endswith("40 left of 100 in this session; 60 of it in flight")


def test_a_reason_points_at_the_call_of_a_batch() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 100)))))
    reason = refused(judge(state, transfer(1), transfer(2), transfer(150))).reason
    assert reason.call == 2
    assert reason.sentence == (
        "call 2: transfer of 150 of token 0x7070707070707070707070707070707070707070, 97 left of 100 in this session; "
        "3 used by earlier calls of this operation"
    )
    assert reason.policy == "ERC20SpendingLimitPolicy"
    assert refused(judge(state, transfer(150))).reason.sentence.startswith("transfer of 150")


def test_user_operation_policies_come_before_the_calls() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo), user_op=[gas(1, 1)]))
    assert error_of(judge(state, transfer(5, token=STRANGER))) == "PolicyViolation"


@pytest.mark.parametrize("faults", list(product([False, True], repeat=6)))
def test_the_first_reason_in_the_contracts_order_is_named_whatever_else_is_wrong(
    faults: tuple[bool, ...],
) -> None:
    no_paymaster, used_up, value_spent, token_spent, elsewhere, unsigned = faults
    granted = session(action(TOKEN, TRANSFER, value_limit(9), spending((TOKEN, 9))), user_op=[usage(9)], paymaster=True)
    state = enabled(granted).with_paymaster(not no_paymaster)
    spent = {USAGE: used_up, VALUE: value_spent, SPENDING: token_spent}
    verdict = judge(
        state,
        *(transfer(1), transfer(1, token=OTHER_TOKEN if elsewhere else TOKEN)),
        in_flight=lambda counter: 10 if spent[counter.policy] else 0,
        paymaster=PAYMASTER,
        options={"check_signature": lambda *_: INVALID if unsigned else VALID},
    )
    session_id = state.key.permission_id
    in_order = (
        Revert("PaymasterValidationNotEnabled", (session_id,)),
        *(Revert("PolicyViolation", (session_id, policy)) for policy in (USAGE, VALUE, SPENDING)),
        Revert("NoPoliciesSet", (session_id,)),
        None,
    )
    if not any(faults):
        assert accepted(verdict)
        return
    assert refused(verdict).revert == in_order[faults.index(True)]


def test_one_contract_counts_apart_for_the_operation_and_for_its_calls() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, usage(2)), user_op=[usage(1)]))
    assert accepted(judge(state, transfer(1), transfer(1)))
    assert error_of(judge(state, transfer(1), transfer(1), transfer(1))) == "PolicyViolation"


# signature


@pytest.mark.parametrize(
    ("verdict", "revert"), [(INVALID, None), (TOO_SHORT, Revert("InvalidSignature")), (BAD_INIT_DATA, BARE)]
)
def test_refuses_what_the_session_key_did_not_sign(verdict: object, revert: Revert | None) -> None:
    got = refused(judge(SIMPLE, transfer(5), options={"check_signature": lambda *_: verdict}))
    assert got.reason.code is Code.SESSION_SCOPE
    assert got.revert == revert


def test_policies_hide_a_bad_signature() -> None:
    got = judge(SIMPLE, approve(5), options={"check_signature": lambda *_: INVALID})
    assert error_of(got) == "NoPoliciesSet"


def test_asks_the_validator_of_the_session_about_hash_and_signature() -> None:
    asked = []

    def check(*subject: object) -> object:
        asked.append(subject)
        return UNKNOWN

    verdict = judge(SIMPLE, transfer(5), options={"check_signature": check})
    assert isinstance(verdict, NeedsFacts)
    decoded = operation(SIMPLE, transfer(5))
    assert asked == [(SIMPLE.session_validator, SIMPLE.session_validator_init_data, decoded.user_op_hash, b"\x01" * 65)]


# time


@pytest.mark.parametrize(
    ("now", "allowed"), [(NOW - 101, False), (NOW - 100, True), (NOW + 100, True), (NOW + 101, False)]
)
def test_refuses_outside_the_window_of_all_policies_together(now: int, allowed: bool) -> None:
    state = enabled(session(action(TOKEN, TRANSFER, time_frame(NOW + 100)), user_op=[time_frame(NOW + 999, NOW - 100)]))
    verdict = judge(state, transfer(5), now=now)
    assert isinstance(verdict, Accepted) is allowed
    if not allowed:
        assert code_of(verdict) is Code.SESSION_NOT_VALID_NOW
        assert refused(verdict).revert is None
        assert refused(verdict).reason.retryable is (now < NOW)


def test_the_first_second_depends_on_the_entry_point() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, time_frame(0, NOW))))
    assert accepted(judge(state, transfer(5)))
    verdict = judge(state, transfer(5), version=EntryPointVersion.V08)
    assert code_of(verdict) is Code.SESSION_NOT_VALID_NOW
    assert "valid from" in refused(verdict).reason.sentence


def test_without_a_clock_the_window_is_the_callers() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, time_frame(NOW - 1))))
    assert accepted(judge(state, transfer(5), now=None)).valid_until == NOW - 1


def test_a_window_in_block_numbers_is_noted_and_left_to_the_entry_point() -> None:
    flag = 1 << 47
    state = enabled(session(action(TOKEN, TRANSFER, time_frame(flag | 9, flag | 5))))
    assert accepted(judge(state, transfer(5), version=EntryPointVersion.V09)).notes
    assert code_of(judge(state, transfer(5))) is Code.SESSION_NOT_VALID_NOW


def test_every_refusal_says_what_to_do() -> None:
    strict = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 1)), usage(1), value_limit(1))))
    verdicts = [
        judge(replace(SIMPLE, status=SessionState(key=key_of(session())).status), transfer(1)),
        judge(strict, transfer(2)),
        judge(strict, approve(2)),
        judge(strict, call(FLAG_TARGET)),
        judge(strict, transfer(1), transfer(0)),
        judge(SIMPLE, call(TOKEN, data=APPROVE), paymaster=PAYMASTER),
    ]
    for verdict in verdicts:
        reason = refused(verdict).reason
        assert reason.sentence
        assert reason.remedy
