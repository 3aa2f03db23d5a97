from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.errors import Code
from proxy.session.facts import (
    AllowedTargetFact,
    BaseFeeFact,
    PaymasterFlagFact,
    PolicyCheckFact,
    PolicyConfigFact,
    SessionSignatureFact,
    SessionValidatorFact,
    TokenLimitFact,
)
from proxy.session.outcome import Accepted, NeedsFacts, Refused, Verdict
from proxy.session.policies.contract_whitelist import ContractWhitelistPolicy
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy
from proxy.session.policies.policy import PolicyKind
from proxy.session.policies.usage_limit import UsageLimitPolicy
from proxy.session.revert import OVERFLOW, Revert
from proxy.session.signers import INVALID, OWNABLE_FORMS, UNKNOWN, VALID
from proxy.session.state import SessionState
from proxy.session.validity import Window, pack
from proxy.userop.primitives import Address, print_checksummed
from proxy.userop.session_data import PolicyData, action_id_of
from tests.session.builders import (
    NOW,
    PAYMASTER,
    SPENDING,
    STRANGER,
    TARGETS,
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    USAGE,
    action,
    enabled,
    fallback,
    gas,
    judge,
    only,
    operation,
    session,
    spending,
    sudo,
    transfer,
    usage,
)

TRANSFERS = action_id_of(TOKEN, TRANSFER)
unknown = PolicyData(UNKNOWN_POLICY, b"")


def facts_of(verdict: Verdict) -> tuple[object, ...]:
    assert isinstance(verdict, NeedsFacts), verdict
    return verdict.facts


def accepted(verdict: Verdict) -> Accepted:
    assert isinstance(verdict, Accepted), verdict
    return verdict


def refused(verdict: Verdict) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


def as_read_from_chain(state: SessionState) -> SessionState:
    """What views tell of the session: lists, and neither configurations nor the paymaster flag."""
    return replace(state.without_policy_knowledge(), permits_paymaster=None, targets={})


# configurations that have not been read


def test_names_every_configuration_that_is_missing_at_once() -> None:
    state = as_read_from_chain(enabled(session(action(TOKEN, TRANSFER, usage(3), sudo), user_op=[usage(5)])))
    assert facts_of(judge(state, transfer(1), transfer(2))) == (
        PolicyConfigFact(USAGE, state.user_op_config_id),
        PolicyConfigFact(USAGE, state.action_config_id(TRANSFERS)),
    )


def test_asks_for_nothing_that_the_operation_does_not_meet() -> None:
    state = as_read_from_chain(enabled(session(action(TOKEN, TRANSFER, sudo), fallback(usage(1)))))
    assert accepted(judge(state, transfer(1)))


def test_judges_once_what_was_missing_is_known() -> None:
    state = as_read_from_chain(enabled(session(action(TOKEN, TRANSFER, usage(3)))))
    config_id = state.action_config_id(TRANSFERS)
    read = state.with_policy_config(USAGE, config_id, UsageLimitPolicy.from_getters(limit=3, used=2))
    assert accepted(judge(read, transfer(1)))
    assert refused(judge(read, transfer(1), transfer(1))).reason.code is Code.LIMIT_EXCEEDED


def test_asks_for_tokens_and_targets_one_by_one() -> None:
    grant = session(action(TOKEN, TRANSFER, spending((TOKEN, 9)), only(TOKEN)))
    state = as_read_from_chain(enabled(grant))
    config_id = state.action_config_id(TRANSFERS)
    state = state.with_policy_config(SPENDING, config_id, ERC20SpendingLimitPolicy.from_getters({}))
    state = state.with_policy_config(TARGETS, config_id, ContractWhitelistPolicy.from_getters({}))
    assert facts_of(judge(state, transfer(1))) == (
        TokenLimitFact(SPENDING, config_id, TOKEN),
        AllowedTargetFact(TARGETS, config_id, TOKEN),
    )
    state = state.with_token_limit(SPENDING, config_id, TOKEN, 9, 8).with_target(TARGETS, config_id, TOKEN, True)
    assert accepted(judge(state, transfer(1)))
    assert refused(judge(state, transfer(2))).reason.code is Code.LIMIT_EXCEEDED


def test_asks_for_the_base_fee() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo), user_op=[gas(10**9, 10**9)]))
    assert facts_of(judge(state, transfer(1), base_fee=None)) == (BaseFeeFact(),)
    assert accepted(judge(state, transfer(1), base_fee=0))


def test_asks_for_the_paymaster_flag_only_for_sponsored_operations() -> None:
    state = as_read_from_chain(enabled(session(action(TOKEN, TRANSFER, sudo), user_op=[sudo])))
    assert accepted(judge(state, transfer(1)))
    assert facts_of(judge(state, transfer(1), paymaster=PAYMASTER)) == (PaymasterFlagFact(),)
    assert accepted(judge(state.with_paymaster(True), transfer(1), paymaster=PAYMASTER))


def test_asks_for_the_session_validator() -> None:
    state = replace(enabled(session(action(TOKEN, TRANSFER, sudo))), session_validator=None)
    assert facts_of(judge(state, transfer(1))) == (SessionValidatorFact(),)


def test_nobody_is_asked_when_what_is_known_refuses_anyway() -> None:
    state = as_read_from_chain(enabled(session(action(TOKEN, TRANSFER, usage(3)))))
    outside = judge(state, transfer(1), transfer(1, token=STRANGER))
    assert refused(outside).reason.call == 1
    stranger = judge(state, transfer(1), options={"check_signature": lambda *_: INVALID})
    assert refused(stranger).reason.code is Code.SESSION_SCOPE
    sponsored = judge(state, transfer(1), paymaster=PAYMASTER)
    assert refused(sponsored).revert == Revert("NoPoliciesSet", (state.key.permission_id,))


# policy contracts that are not known


def state_with_unknown() -> SessionState:
    return enabled(session(action(TOKEN, TRANSFER, unknown), user_op=[unknown]))


def test_asks_the_chain_about_an_unknown_policy_and_never_takes_it_for_satisfied() -> None:
    state = state_with_unknown()
    assert facts_of(judge(state, transfer(1))) == (
        PolicyCheckFact(UNKNOWN_POLICY, state.user_op_config_id, PolicyKind.USER_OP),
        PolicyCheckFact(UNKNOWN_POLICY, state.action_config_id(TRANSFERS), PolicyKind.ACTION, transfer(1)),
    )


def answered(state: SessionState, answer: int | Revert) -> Verdict:
    asked = facts_of(judge(state, transfer(1)))
    return judge(state, transfer(1), options={"answers": dict.fromkeys(asked, answer)})


def test_takes_the_chains_word_for_an_unknown_policy() -> None:
    state = state_with_unknown()
    verdict = accepted(answered(state, 0))
    assert len(verdict.notes) == 1
    assert "has not seen what is in flight" in verdict.notes[0]
    assert accepted(answered(state, pack(NOW - 5, NOW + 5))).window == Window(NOW - 5, NOW + 5)
    assert refused(answered(state, 1)).revert == Revert("PolicyViolation", (state.key.permission_id, UNKNOWN_POLICY))
    reverted = refused(answered(state, OVERFLOW)).revert
    assert reverted is not None
    assert reverted.error == "PolicyCheckReverted"


def test_an_answer_about_one_call_says_nothing_about_another() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, unknown)))
    (asked,) = facts_of(judge(state, transfer(1)))
    verdict = judge(state, transfer(2), options={"answers": {asked: 0}})
    assert facts_of(verdict) == (replace(asked, call=transfer(2)),)  # type: ignore[type-var]  # a frozen dataclass


def test_lets_an_unknown_policy_pass_with_a_note_or_refuses_it_where_configured() -> None:
    state = state_with_unknown()
    verdict = accepted(judge(state, transfer(1), options={"unknown_policy": "alert"}))
    assert len(verdict.notes) == 1
    assert "was not checked" in verdict.notes[0]
    rejected = refused(judge(state, transfer(1), options={"unknown_policy": "reject"}))
    assert rejected.reason.code is Code.SESSION_SCOPE


# session validators that are not known


def unsure(*_: object) -> object:
    return UNKNOWN


@pytest.mark.parametrize(("answer", "kind"), [(VALID, Accepted), (INVALID, Refused), (UNKNOWN, NeedsFacts)])
def test_asks_the_chain_about_an_unknown_validator(answer: object, kind: type) -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo)))
    (asked,) = facts_of(judge(state, transfer(1), options={"check_signature": unsure}))
    decoded = operation(state, transfer(1))
    assert state.session_validator is not None
    assert asked == SessionSignatureFact(
        state.session_validator, state.session_validator_init_data, decoded.user_op_hash, b"\x01" * 65
    )
    verdict = judge(state, transfer(1), options={"check_signature": unsure, "answers": {asked: answer}})
    assert isinstance(verdict, kind)


def test_lets_an_unknown_validator_pass_with_a_note_or_refuses_it_where_configured() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo)))
    alert = judge(state, transfer(1), options={"check_signature": unsure, "unknown_validator": "alert"})
    assert "was not checked" in accepted(alert).notes[0]
    reject = judge(state, transfer(1), options={"check_signature": unsure, "unknown_validator": "reject"})
    assert refused(reject).reason.code is Code.SESSION_SCOPE


def test_of_a_published_validator_whose_form_was_not_measured_it_is_said_who_could_be_asked() -> None:
    oldest = Address(bytes.fromhex("2483DA3A338895199E5e538530213157e931Bf06"))
    state = enabled(replace(session(action(TOKEN, TRANSFER, sudo)), session_validator=oldest))
    reason = refused(
        judge(state, transfer(1), options={"check_signature": unsure, "unknown_validator": "reject"})
    ).reason
    assert "not known" not in reason.sentence
    assert "at the chain's node" in reason.sentence
    assert "published" not in reason.remedy
    for wanted in ("`node`", "`unknown_validator: ask`", *map(print_checksummed, OWNABLE_FORMS)):
        assert wanted in reason.remedy


def test_calls_a_published_validator_undecided_and_only_another_one_unknown() -> None:
    published = enabled(session(action(TOKEN, TRANSFER, sudo)))
    other = enabled(replace(session(action(TOKEN, TRANSFER, sudo)), session_validator=STRANGER))
    options = {"check_signature": unsure, "unknown_validator": "reject"}
    assert "cannot be told here" in refused(judge(published, transfer(1), options=options)).reason.sentence
    assert "is not known to this gate" in refused(judge(other, transfer(1), options=options)).reason.sentence
