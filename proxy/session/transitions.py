"""What the session module's own functions make of a session, one pure function each, named as the contract's.

Source: erc7579/smartsessions `SmartSessionBase.sol`, `ConfigLib.sol`. Each gives the state after, or the revert.
Lists are sets that remove by swapping the last entry into the gap, so order matters and is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from proxy.record import record
from proxy.session.addresses import MODULE_KINDS, POLICIES, VALIDATOR_DATA_BOUNDS, ModuleKind, PolicyContract
from proxy.session.policies.policy import PolicyKind
from proxy.session.revert import BARE, Revert
from proxy.session.state import ConfigId, SessionState, SessionStatus
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from proxy.userop.session_data import (
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    ActionData,
    ERC7739Data,
    PolicyData,
    SessionData,
    action_id_of,
)

_Item = TypeVar("_Item")


@record()
class Contracts:
    """The policy contracts whose behaviour is known, and which other addresses have code.

    `has_code` of `None` takes every unknown address for a contract: whether it is one is for the chain to say.
    """

    policies: Mapping[Address, PolicyContract]
    has_code: Callable[[Address], bool] | None = None

    def exists(self, address: Address) -> bool:
        """Whether an unknown address may be a policy."""
        return address != ZERO_ADDRESS and (self.has_code is None or self.has_code(address))


PUBLISHED = Contracts(POLICIES)
"""The contracts of the address book."""


def enable(state: SessionState, session: SessionData, contracts: Contracts = PUBLISHED) -> SessionState | Revert:
    """One session of enableSessions, and what an ENABLE envelope adds.

    Adds what is named and initialises it afresh (counters back to zero or to what the init data say), overwrites the
    paymaster flag, keeps everything that is not named. The emissary does the same by setConfig and its own ENABLE.
    """
    at_emissary = MODULE_KINDS.get(state.key.module) is ModuleKind.EMISSARY
    if at_emissary and permits_module_calls(session):
        return Revert("UnsafeFallbackNotAllowed")
    after = _enable_user_op(state, session.user_op_policies, contracts)
    if not isinstance(after, Revert):
        after = _enable_erc1271(after, session.erc7739_policies, contracts)
    if not isinstance(after, Revert):
        after = _enable_actions(after, session.actions, contracts)
    if isinstance(after, Revert):
        return after
    if (fault := _fault_of_validator(session.session_validator)) is not None:
        return fault
    if excess_of_validator_data(state.key.module, session) is not None:
        return BARE
    return replace(
        after,
        status=SessionStatus.ENABLED,
        permits_paymaster=session.permit_erc4337_paymaster,
        session_validator=session.session_validator,
        session_validator_init_data=session.session_validator_init_data,
        # there it is the account's, and any other of its sessions moves it on
        enable_nonce=None if at_emissary else after.enable_nonce,
    )


def excess_of_validator_data(module: Address, session: SessionData) -> tuple[int, int] | None:
    """Bytes of the session validator's init data and how many of them the module can store, if those are fewer."""
    bound, size = VALIDATOR_DATA_BOUNDS.get(module), len(session.session_validator_init_data)
    return (size, bound) if bound is not None and size > bound else None


def permits_module_calls(session: SessionData) -> bool:
    """Whether the session may call the session module itself, which the emissary does not grant (HashLibV2)."""
    return any(
        action.target == FLAG_TARGET and action.selector == SMART_SESSION_CALL_SELECTOR for action in session.actions
    )


def remove_session(state: SessionState) -> SessionState | Revert:
    """removeSession: lists and validator are emptied; the enable nonce stays. An unknown session stays unknown."""
    if state.key.permission_id == bytes(32):
        return Revert("InvalidSession", (state.key.permission_id,))
    return emptied(state)


def enable_user_op_policies(
    state: SessionState, policies: Sequence[PolicyData], contracts: Contracts = PUBLISHED
) -> SessionState | Revert:
    """enableUserOpPolicies on a live session."""
    return _not_live(state) or _enable_user_op(state, policies, contracts)


def disable_user_op_policies(state: SessionState, policies: Sequence[Address]) -> SessionState | Revert:
    """disableUserOpPolicies; an address that is not listed is passed over."""
    if (revert := _not_live(state)) is not None:
        return revert
    after = replace(state, user_op_policies=_removed_all(state.user_op_policies, policies))
    return _forgotten(after, [ConfigId(policy, state.user_op_config_id) for policy in policies])


def enable_action_policies(
    state: SessionState, actions: Sequence[ActionData], contracts: Contracts = PUBLISHED
) -> SessionState | Revert:
    """enableActionPolicies on a live session."""
    return _not_live(state) or _enable_actions(state, actions, contracts)


def disable_action_policies(
    state: SessionState, action_id: Hash32, policies: Sequence[Address]
) -> SessionState | Revert:
    """disableActionPolicies; an action that has none left is dropped."""
    if (revert := _not_live(state)) is not None:
        return revert
    left = _removed_all(state.actions.get(action_id, ()), policies)
    config_id = state.action_config_id(action_id)
    after = _forgotten(state, [ConfigId(policy, config_id) for policy in policies])
    if not left:
        return _without_action(after, action_id)
    return replace(after, actions={**after.actions, action_id: left})


def disable_action_id(state: SessionState, action_id: Hash32) -> SessionState | Revert:
    """disableActionId: the action and all its policies."""
    if (revert := _not_live(state)) is not None:
        return revert
    config_id = state.action_config_id(action_id)
    after = _forgotten(state, [ConfigId(policy, config_id) for policy in state.actions.get(action_id, ())])
    return _without_action(after, action_id)


def enable_erc1271_policies(
    state: SessionState, erc7739: ERC7739Data, contracts: Contracts = PUBLISHED
) -> SessionState | Revert:
    """enableERC1271Policies on a live session."""
    return _not_live(state) or _enable_erc1271(state, erc7739, contracts)


def disable_erc1271_policies(state: SessionState, policies: Sequence[Address]) -> SessionState | Revert:
    """disableERC1271Policies."""
    if (revert := _not_live(state)) is not None:
        return revert
    after = replace(state, erc1271_policies=_removed_all(state.erc1271_policies, policies))
    return _forgotten(after, [ConfigId(policy, state.erc1271_config_id) for policy in policies])


def set_permit_4337_paymaster(state: SessionState, permitted: bool) -> SessionState | Revert:
    """setPermit4337Paymaster on a live session."""
    return _not_live(state) or replace(state, permits_paymaster=permitted)


def revoke_enable_signature(state: SessionState) -> SessionState:
    """revokeEnableSignature: every enable signature made for the present nonce is void."""
    return replace(state, enable_nonce=None if state.enable_nonce is None else state.enable_nonce + 1)


def emptied(state: SessionState) -> SessionState:
    """What removal leaves: that the session was there, and its enable nonce."""
    status = SessionStatus.REMOVED if state.enabled else state.status
    return SessionState(
        key=state.key,
        status=status,
        enable_nonce=state.enable_nonce,
        permits_paymaster=state.permits_paymaster,
        told_at=state.told_at,
    )


def _not_live(state: SessionState) -> Revert | None:
    return None if state.enabled else Revert("InvalidPermissionId", (state.key.permission_id,))


def _fault_of_validator(validator: Address) -> Revert | None:
    if validator == ZERO_ADDRESS:
        return Revert("InvalidISessionValidator", (validator,))
    if validator in POLICIES:
        return BARE  # a contract, but none that answers as a validator
    return None


def _initialised(
    state: SessionState, data: PolicyData, config_id: Hash32, kind: PolicyKind, contracts: Contracts
) -> SessionState | Revert:
    """The policy is asked by ERC-165 whether it can be used so, and then stores its configuration."""
    contract = contracts.policies.get(data.policy)
    if contract is None:
        if contracts.exists(data.policy):
            return _forgotten(state, [ConfigId(data.policy, config_id)])
        return Revert("UnsupportedPolicy", (data.policy,))
    if not contract.supports(kind):
        return Revert("UnsupportedPolicy", (data.policy,))
    initialised = contract.policy.initialise(data.init_data, state.config_key(data.policy, config_id))
    if isinstance(initialised, Revert):
        return initialised
    return state.with_policy_config(data.policy, config_id, initialised)


def _enable_user_op(state: SessionState, policies: Sequence[PolicyData], contracts: Contracts) -> SessionState | Revert:
    listed, config_id = state.user_op_policies, state.user_op_config_id
    for data in policies:
        after = _initialised(state, data, config_id, PolicyKind.USER_OP, contracts)
        if isinstance(after, Revert):
            return after
        state, listed = after, _added(listed, data.policy)
    return replace(state, user_op_policies=listed)


def _enable_erc1271(state: SessionState, erc7739: ERC7739Data, contracts: Contracts) -> SessionState | Revert:
    listed, config_id = state.erc1271_policies, state.erc1271_config_id
    for data in erc7739.erc1271_policies:
        after = _initialised(state, data, config_id, PolicyKind.ERC1271, contracts)
        if isinstance(after, Revert):
            return after
        state, listed = after, _added(listed, data.policy)
    return replace(state, erc1271_policies=listed)


def _enable_actions(state: SessionState, actions: Sequence[ActionData], contracts: Contracts) -> SessionState | Revert:
    listed_by_action, targets = {**state.actions}, {**state.targets}
    for action in actions:
        if action.target in (ZERO_ADDRESS, state.key.module):
            return Revert("InvalidActionId")
        action_id = action_id_of(action.target, action.selector)
        listed, config_id = listed_by_action.get(action_id, ()), state.action_config_id(action_id)
        for data in action.policies:
            after = _initialised(state, data, config_id, PolicyKind.ACTION, contracts)
            if isinstance(after, Revert):
                return after
            state, listed = after, _added(listed, data.policy)
        listed_by_action[action_id], targets[action_id] = listed, (action.target, action.selector)
    return replace(state, actions=listed_by_action, targets=targets)


def _forgotten(state: SessionState, configs: Sequence[ConfigId]) -> SessionState:
    """The contract keeps a disabled policy's storage, but enabling it again starts afresh."""
    gone = {state.config_key(*config) for config in configs}
    return replace(
        state,
        configs={config: value for config, value in state.configs.items() if config not in configs},
        used={counter: use for counter, use in state.used.items() if counter[:4] not in gone},
    )


def _without_action(state: SessionState, action_id: Hash32) -> SessionState:
    order = _removed(tuple(state.actions), action_id)
    targets = {each: target for each, target in state.targets.items() if each != action_id}
    return replace(state, actions={each: state.actions[each] for each in order}, targets=targets)


def _added(listed: tuple[_Item, ...], item: _Item) -> tuple[_Item, ...]:
    return listed if item in listed else (*listed, item)


def _removed(listed: tuple[_Item, ...], item: _Item) -> tuple[_Item, ...]:
    """EnumerableSet.remove: the last entry takes the place of the one removed."""
    if item not in listed:
        return listed
    at, last = listed.index(item), listed[-1]
    return (*listed[:at], last, *listed[at + 1 : -1]) if at < len(listed) - 1 else listed[:-1]


def _removed_all(listed: tuple[Address, ...], items: Sequence[Address]) -> tuple[Address, ...]:
    for item in items:
        listed = _removed(listed, item)
    return listed
