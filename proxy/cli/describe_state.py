"""What the chain stores for a session, as far as the gate knows it, ready to print."""

from __future__ import annotations

from dataclasses import replace

from proxy.cli.describe import Described, function_or_selector, plain
from proxy.session.addresses import VALIDATOR_KINDS, name_of_policy
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.policy import PolicyConfig
from proxy.session.remaining import name_of_slot
from proxy.session.state import ConfigId, SessionState
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed


def describe_state(state: SessionState) -> Described:
    """Status, validator, and every policy with its limits and what is used of them."""
    validator = state.session_validator
    kind = None if validator is None else VALIDATOR_KINDS.get(validator)
    return {
        "onChain": state.status.value,
        "validator": "not read yet" if validator is None else print_checksummed(validator),
        "validatorKind": None if kind is None else kind.value,
        "validatorInitData": print_bytes(state.session_validator_init_data),
        "permitsPaymaster": "not known" if state.permits_paymaster is None else state.permits_paymaster,
        "enableNonce": state.enable_nonce,
        "userOpPolicies": [
            _describe_policy(state, policy, state.user_op_config_id) for policy in state.user_op_policies
        ],
        "actions": [_describe_action(state, action_id, policies) for action_id, policies in state.actions.items()],
        "erc1271Policies": [
            _describe_policy(state, policy, state.erc1271_config_id) for policy in state.erc1271_policies
        ],
    }


def _describe_action(state: SessionState, action_id: Hash32, policies: tuple[Address, ...]) -> Described:
    described: Described = {"name": "action of unknown target", "actionId": print_bytes(action_id)}
    if (known := state.targets.get(action_id)) is not None:
        target, selector = known
        described |= {
            "name": function_or_selector(selector),
            "target": print_checksummed(target),
            "selector": print_bytes(selector),
        }
    config_id = state.action_config_id(action_id)
    return {**described, "policies": [_describe_policy(state, policy, config_id) for policy in policies]}


def _as_listed(config: PolicyConfig) -> PolicyConfig:
    """Without the tokens that were asked about and are not listed: no limit can be zero."""
    if not isinstance(config, SpendingLimits):
        return config
    return replace(config, limits={token: limit for token, limit in config.limits.items() if limit})


def _describe_policy(state: SessionState, policy: Address, config_id: Hash32) -> Described:
    config = state.configs.get(ConfigId(policy, config_id))
    key = state.config_key(policy, config_id)
    used = {counter.slot: use for counter, use in state.used.items() if counter[:4] == key}
    return {
        "name": name_of_policy(policy),
        "policy": print_checksummed(policy),
        "limits": "not read yet" if config is None else plain(_as_listed(config)),
        "used": {name_of_slot(slot): str(use) for slot, use in used.items()},
    }
