from __future__ import annotations

from proxy.session.counters import Charge, Counter
from proxy.session.policies.contract_whitelist import AllowedTargets
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.policy import Initialised
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.state import ConfigId, SessionState, SessionStatus
from proxy.userop.session_data import action_config_id, action_id_of, user_op_config_id
from tests.session.builders import (
    FRIEND,
    OTHER_TOKEN,
    OWNABLE,
    SPENDING,
    SUDO,
    TARGETS,
    TIME,
    TOKEN,
    TRANSFER,
    USAGE,
    action,
    enabled,
    key_of,
    only,
    session,
    spending,
    sudo,
    time_frame,
    usage,
)

GRANT = session(action(TOKEN, TRANSFER, usage(3)), user_op=[usage(5)])
TRANSFERS = action_id_of(TOKEN, TRANSFER)


def test_an_unheard_of_session_is_never_enabled_and_knows_nothing() -> None:
    state = SessionState(key=key_of(GRANT))
    assert state.status is SessionStatus.NEVER_ENABLED
    assert not state.enabled
    assert state.permits_paymaster is None
    assert state.enable_nonce is None


def test_names_the_configuration_of_every_list_apart() -> None:
    state = enabled(GRANT)
    account, permission_id = state.key.account, state.key.permission_id
    assert state.listed_configs() == (
        ConfigId(USAGE, user_op_config_id(account, permission_id)),
        ConfigId(USAGE, action_config_id(account, permission_id, TRANSFERS)),
    )


def test_charges_give_a_new_state_and_leave_the_old_one_alone() -> None:
    state = enabled(GRANT)
    counter = Counter(*state.config_key(USAGE, state.user_op_config_id))
    after = state.with_charges([Charge(counter, 2, 5), Charge(counter, 1, 5)])
    assert after.used[counter] == 3
    assert counter not in state.used
    assert after.with_charges([Charge(counter, 1, 5)]).used[counter] == 4


def test_a_configuration_read_again_replaces_its_counters_and_no_others() -> None:
    state = enabled(GRANT)
    own = Counter(*state.config_key(USAGE, state.user_op_config_id))
    other = Counter(*state.config_key(USAGE, state.action_config_id(TRANSFERS)))
    state = state.with_charges([Charge(own, 4, 5), Charge(other, 2, 3)])
    read = Initialised(UsageLimit(9), {b"": 1})
    after = state.with_policy_config(USAGE, state.user_op_config_id, read)
    assert after.configs[ConfigId(USAGE, state.user_op_config_id)] == UsageLimit(9)
    assert after.used == {own: 1, other: 2}


def test_tokens_become_known_one_by_one() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo)))
    config_id = state.action_config_id(TRANSFERS)
    state = state.with_token_limit(SPENDING, config_id, TOKEN, 100, 60)
    state = state.with_token_limit(SPENDING, config_id, OTHER_TOKEN, 0, 0)
    assert state.configs[ConfigId(SPENDING, config_id)] == SpendingLimits({TOKEN: 100, OTHER_TOKEN: 0}, complete=False)
    assert state.used[Counter(*state.config_key(SPENDING, config_id), TOKEN)] == 60


def test_a_complete_list_of_tokens_stays_complete() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 5)))))
    config_id = state.action_config_id(TRANSFERS)
    after = state.with_token_limit(SPENDING, config_id, TOKEN, 5, 1)
    assert after.configs[ConfigId(SPENDING, config_id)] == SpendingLimits({TOKEN: 5})


def test_targets_become_known_one_by_one() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo)))
    config_id = state.action_config_id(TRANSFERS)
    state = state.with_target(TARGETS, config_id, FRIEND, True).with_target(TARGETS, config_id, TOKEN, False)
    wanted = AllowedTargets(frozenset({FRIEND}), frozenset({TOKEN}), complete=False)
    assert state.configs[ConfigId(TARGETS, config_id)] == wanted
    complete = enabled(session(action(TOKEN, TRANSFER, only(TOKEN)))).with_target(TARGETS, config_id, FRIEND, True)
    assert isinstance(complete.configs[ConfigId(TARGETS, config_id)], AllowedTargets)


def test_single_facts_become_known() -> None:
    state = SessionState(key=key_of(GRANT)).with_paymaster(True).with_enable_nonce(7).with_validator(OWNABLE, b"\x01")
    assert state.permits_paymaster is True
    assert state.enable_nonce == 7
    assert (state.session_validator, state.session_validator_init_data) == (OWNABLE, b"\x01")


def test_policy_knowledge_can_be_dropped_and_the_lists_stay() -> None:
    state = enabled(session(action(TOKEN, TRANSFER, sudo), user_op=[time_frame(9)]))
    bare = state.without_policy_knowledge()
    assert bare.configs == {}
    assert bare.user_op_policies == (TIME,)
    assert bare.actions == {TRANSFERS: (SUDO,)}
