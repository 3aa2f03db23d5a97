from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.session import transitions
from proxy.session.addresses import POLICIES
from proxy.session.counters import Charge, Counter
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.revert import BARE, Revert
from proxy.session.state import ConfigId, SessionState, SessionStatus
from proxy.session.transitions import Contracts
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from proxy.userop.session_data import ERC7739Data, SessionData, action_id_of
from tests.session.builders import (
    APPROVE,
    FRIEND,
    GAS,
    OTHER_TOKEN,
    SPENDING,
    SUDO,
    TIME,
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    USAGE,
    VALUE,
    PolicyData,
    action,
    enabled,
    gas,
    key_of,
    session,
    spending,
    sudo,
    time_frame,
    usage,
    value_limit,
    with_key,
)

TRANSFERS, APPROVALS = action_id_of(TOKEN, TRANSFER), action_id_of(TOKEN, APPROVE)
GRANT = session(action(TOKEN, TRANSFER, usage(3)), user_op=[time_frame(9), usage(5), value_limit(7)])


def state_of(outcome: SessionState | Revert) -> SessionState:
    assert isinstance(outcome, SessionState), outcome
    return outcome


def revert_of(outcome: SessionState | Revert) -> str | None:
    assert isinstance(outcome, Revert), outcome
    return outcome.error


def test_enabling_stores_lists_flag_and_validator() -> None:
    state = enabled(GRANT)
    assert state.status is SessionStatus.ENABLED
    assert state.user_op_policies == (TIME, USAGE, VALUE)
    assert state.actions == {TRANSFERS: (USAGE,)}
    assert state.targets == {TRANSFERS: (TOKEN, TRANSFER)}
    assert state.permits_paymaster is False
    assert state.session_validator == GRANT.session_validator


def test_enabling_again_adds_what_is_named_resets_its_counters_and_keeps_the_rest() -> None:
    state = enabled(GRANT)
    action_counter = Counter(*state.config_key(USAGE, state.action_config_id(TRANSFERS)))
    user_op_counter = Counter(*state.config_key(USAGE, state.user_op_config_id))
    state = state.with_charges([Charge(action_counter, 2, 3), Charge(user_op_counter, 2, 5)])
    again = session(action(TOKEN, TRANSFER, usage(9)), action(TOKEN, APPROVE, sudo), paymaster=True)
    after = state_of(transitions.enable(state, again))
    assert after.user_op_policies == (TIME, USAGE, VALUE)
    assert after.actions == {TRANSFERS: (USAGE,), APPROVALS: (SUDO,)}
    assert after.permits_paymaster is True
    assert after.used == {user_op_counter: 2}
    assert after.configs[ConfigId(USAGE, state.action_config_id(TRANSFERS))] == UsageLimit(9)


def test_a_policy_listed_twice_stands_once_with_the_later_init_data() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, usage(3), sudo, usage(4))))
    assert state.actions == {TRANSFERS: (USAGE, SUDO)}
    assert state.configs[ConfigId(USAGE, state.action_config_id(TRANSFERS))] == UsageLimit(4)


@pytest.mark.parametrize(
    ("grant", "error"),
    [
        (session(action(ZERO_ADDRESS, TRANSFER, sudo)), "InvalidActionId"),
        (session(action(key_of(GRANT).module, TRANSFER, sudo)), "InvalidActionId"),
        (session(action(TOKEN, TRANSFER, gas(1, 1))), "UnsupportedPolicy"),
        (session(action(TOKEN, TRANSFER, sudo), user_op=[spending((TOKEN, 1))]), "UnsupportedPolicy"),
        (session(action(TOKEN, TRANSFER, PolicyData(ZERO_ADDRESS, b""))), "UnsupportedPolicy"),
        (session(action(TOKEN, TRANSFER, usage(0))), "PolicyNotInitialized"),
        (replace(session(action(TOKEN, TRANSFER, sudo)), session_validator=ZERO_ADDRESS), "InvalidISessionValidator"),
        (replace(session(action(TOKEN, TRANSFER, sudo)), session_validator=SUDO), None),
    ],
)
def test_refuses_grants_that_the_module_refuses(grant: SessionData, error: str | None) -> None:
    assert revert_of(transitions.enable(SessionState(key=key_of(grant)), grant)) == error


def test_an_unknown_policy_is_listed_without_a_configuration_unless_it_has_no_code() -> None:
    grant = session(action(TOKEN, TRANSFER, PolicyData(UNKNOWN_POLICY, b"\x01")))
    state = enabled(grant)
    assert state.actions == {TRANSFERS: (UNKNOWN_POLICY,)}
    assert state.configs == {}
    empty = Contracts(POLICIES, has_code=lambda address: False)
    assert revert_of(transitions.enable(SessionState(key=key_of(grant)), grant, empty)) == "UnsupportedPolicy"


def test_removal_empties_everything_but_the_nonce() -> None:
    state = state_of(transitions.remove_session(enabled(GRANT).with_enable_nonce(4)))
    assert state.status is SessionStatus.REMOVED
    assert state.enable_nonce == 4
    assert (state.user_op_policies, dict(state.actions), state.session_validator) == ((), {}, None)
    assert (state.configs, state.used) == ({}, {})


def test_removing_a_session_nobody_enabled_leaves_it_unknown() -> None:
    state = SessionState(key=key_of(GRANT))
    assert state_of(transitions.remove_session(state)).status is SessionStatus.NEVER_ENABLED
    zero = with_key(state, permission_id=Hash32(bytes(32)))
    assert revert_of(transitions.remove_session(zero)) == "InvalidSession"


def test_a_removed_session_can_be_enabled_afresh() -> None:
    state = enabled(GRANT)
    counter = Counter(*state.config_key(USAGE, state.user_op_config_id))
    removed = state_of(transitions.remove_session(state.with_charges([Charge(counter, 5, 5)])))
    again = state_of(transitions.enable(removed, GRANT))
    assert again.enabled
    assert counter not in again.used


def test_disabling_swaps_the_last_policy_into_the_gap() -> None:
    state = enabled(GRANT)
    assert state_of(transitions.disable_user_op_policies(state, [TIME])).user_op_policies == (VALUE, USAGE)
    assert state_of(transitions.disable_user_op_policies(state, [VALUE])).user_op_policies == (TIME, USAGE)
    assert state_of(transitions.disable_user_op_policies(state, [GAS])).user_op_policies == (TIME, USAGE, VALUE)


def test_disabling_one_policy_leaves_the_configurations_and_counters_of_the_others_alone() -> None:
    state = enabled(GRANT)
    config_id = state.user_op_config_id
    used, value = (Counter(*state.config_key(policy, config_id)) for policy in (USAGE, VALUE))
    state = state.with_charges([Charge(used, 4, 5), Charge(value, 6, 7)])
    after = state_of(transitions.disable_user_op_policies(state, [VALUE]))
    assert after.used == {used: 4}
    assert dict(after.configs) == {
        config: stored for config, stored in state.configs.items() if config != ConfigId(VALUE, config_id)
    }


def test_a_disabled_policy_that_is_enabled_again_starts_at_zero_and_stands_last() -> None:
    state = enabled(GRANT)
    counter = Counter(*state.config_key(USAGE, state.user_op_config_id))
    state = state.with_charges([Charge(counter, 5, 5)])
    state = state_of(transitions.disable_user_op_policies(state, [USAGE]))
    assert counter not in state.used
    state = state_of(transitions.enable_user_op_policies(state, [usage(1)]))
    assert state.user_op_policies == (TIME, VALUE, USAGE)


def test_the_last_policy_of_an_action_takes_the_action_with_it() -> None:
    grant = session(
        action(TOKEN, TRANSFER, usage(3), sudo), action(TOKEN, APPROVE, sudo), action(OTHER_TOKEN, APPROVE, sudo)
    )
    state = enabled(grant)
    other = action_id_of(OTHER_TOKEN, APPROVE)
    one_left = state_of(transitions.disable_action_policies(state, TRANSFERS, [USAGE]))
    assert one_left.actions[TRANSFERS] == (SUDO,)
    none_left = state_of(transitions.disable_action_policies(one_left, TRANSFERS, [SUDO]))
    assert tuple(none_left.actions) == (other, APPROVALS)
    assert tuple(state_of(transitions.disable_action_id(state, TRANSFERS)).actions) == (other, APPROVALS)
    assert TRANSFERS not in none_left.targets


def test_actions_can_be_added_to_a_live_session() -> None:
    state = state_of(transitions.enable_action_policies(enabled(GRANT), [action(TOKEN, APPROVE, sudo)]))
    assert state.actions == {TRANSFERS: (USAGE,), APPROVALS: (SUDO,)}
    refused = transitions.enable_action_policies(state, [action(ZERO_ADDRESS, APPROVE, sudo)])
    assert revert_of(refused) == "InvalidActionId"


def test_erc1271_policies_come_and_go_by_themselves() -> None:
    state = enabled(GRANT)
    state = state_of(transitions.enable_erc1271_policies(state, ERC7739Data((), (sudo, time_frame(9)))))
    assert state.erc1271_policies == (SUDO, TIME)
    assert state.user_op_policies == (TIME, USAGE, VALUE)
    assert state_of(transitions.disable_erc1271_policies(state, [SUDO])).erc1271_policies == (TIME,)
    refused = transitions.enable_erc1271_policies(state, ERC7739Data((), (usage(1),)))
    assert revert_of(refused) == "UnsupportedPolicy"


def test_the_paymaster_flag_can_be_set_and_unset() -> None:
    state = enabled(GRANT)
    assert state_of(transitions.set_permit_4337_paymaster(state, True)).permits_paymaster is True
    assert state_of(transitions.set_permit_4337_paymaster(state, False)).permits_paymaster is False


def test_revoking_the_enable_signature_moves_a_known_nonce() -> None:
    assert transitions.revoke_enable_signature(enabled(GRANT)).enable_nonce == 1
    unknown = SessionState(key=key_of(GRANT))
    assert transitions.revoke_enable_signature(unknown).enable_nonce is None


def test_live_edits_of_a_session_that_is_not_enabled_revert() -> None:
    state = SessionState(key=key_of(GRANT))
    edits = (
        transitions.enable_user_op_policies(state, [sudo]),
        transitions.disable_user_op_policies(state, [SUDO]),
        transitions.enable_action_policies(state, [action(TOKEN, APPROVE, sudo)]),
        transitions.disable_action_policies(state, TRANSFERS, [SUDO]),
        transitions.disable_action_id(state, TRANSFERS),
        transitions.enable_erc1271_policies(state, ERC7739Data()),
        transitions.disable_erc1271_policies(state, [SUDO]),
        transitions.set_permit_4337_paymaster(state, True),
    )
    assert {revert_of(edit) for edit in edits} == {"InvalidPermissionId"}


def test_a_failed_grant_changes_nothing() -> None:
    state = enabled(GRANT)
    refused = transitions.enable(state, session(action(FRIEND, TRANSFER, sudo), user_op=[PolicyData(VALUE, b"")]))
    assert refused == BARE
    assert state == enabled(GRANT)
    assert Address(SPENDING) not in state.user_op_policies
