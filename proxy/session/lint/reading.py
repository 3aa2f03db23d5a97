"""A session put into the form that reviews read: from the grant itself, or from what the chain is known to store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from proxy.session.counters import ConfigKey
from proxy.session.lint.findings import Part, Where
from proxy.session.lint.grant import Grant, ReadAction, ReadPolicy
from proxy.session.policies.policy import PolicyConfig, PolicyKind
from proxy.session.policies.sudo import Sudo, SudoPolicy
from proxy.session.revert import Revert
from proxy.session.state import ConfigId, SessionState
from proxy.session.transitions import Contracts
from proxy.userop.acts import ActionPoliciesEnabled, Erc1271PoliciesEnabled, UserOpPoliciesEnabled
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from proxy.userop.session_data import (
    ActionData,
    ERC7739Data,
    PolicyData,
    SessionData,
    action_config_id,
    action_id_of,
    erc1271_config_id,
    user_op_config_id,
)


def read_session(
    session: SessionData,
    account: Address | None,
    module: Address | None,
    contracts: Contracts,
    claim_policies: tuple[PolicyData, ...] = (),
) -> Grant:
    """The grant as it would stand after enableSessions on an account that has no such session yet."""
    reader = _GrantReader(session.permission_id, account, module, contracts)
    return Grant(
        account=account,
        module=module,
        actions=reader.actions(session.actions),
        user_op_policies=reader.user_op(session.user_op_policies),
        erc1271_policies=reader.erc1271(session.erc7739_policies),
        contexts=session.erc7739_policies.contexts,
        session_validator=session.session_validator,
        session_validator_init_data=session.session_validator_init_data,
        salt=session.salt,
        permits_paymaster=session.permit_erc4337_paymaster,
        claim_policies=claim_policies,
    )


Addition = UserOpPoliciesEnabled | ActionPoliciesEnabled | Erc1271PoliciesEnabled
"""What can be added to a session that stands already."""


def read_addition(addition: Addition, account: Address | None, contracts: Contracts) -> Grant:
    """What is added to a session, of which nothing else is known."""
    reader = _GrantReader(addition.permission_id, account, addition.module, contracts)
    grant = Grant(account=account, module=addition.module, is_whole=False)
    match addition:
        case UserOpPoliciesEnabled(policies=policies):
            return replace(grant, user_op_policies=reader.user_op(policies))
        case ActionPoliciesEnabled(actions=actions):
            return replace(grant, actions=reader.actions(actions))
        case Erc1271PoliciesEnabled(erc7739_policies=erc7739):
            return replace(grant, erc1271_policies=reader.erc1271(erc7739), contexts=erc7739.contexts)


@dataclass(frozen=True, slots=True)
class _GrantReader:
    permission_id: Hash32
    account: Address | None
    module: Address | None
    contracts: Contracts

    def user_op(self, policies: Sequence[PolicyData]) -> tuple[ReadPolicy, ...]:
        config_id = user_op_config_id(self._account, self.permission_id)
        places = [Where(Part.USER_OP_POLICIES, index) for index in range(len(policies))]
        return self._merged(zip(places, policies, strict=True), config_id, PolicyKind.USER_OP)

    def erc1271(self, erc7739: ERC7739Data) -> tuple[ReadPolicy, ...]:
        config_id = erc1271_config_id(self._account, self.permission_id)
        policies = erc7739.erc1271_policies
        places = [Where(Part.ERC1271_POLICIES, index) for index in range(len(policies))]
        return self._merged(zip(places, policies, strict=True), config_id, PolicyKind.ERC1271)

    def actions(self, actions: Sequence[ActionData]) -> tuple[ReadAction, ...]:
        entries: dict[Hash32, list[tuple[int, ActionData]]] = {}
        for index, action in enumerate(actions):
            entries.setdefault(action_id_of(action.target, action.selector), []).append((index, action))
        return tuple(self._action(action_id, found) for action_id, found in entries.items())

    def _action(self, action_id: Hash32, entries: Sequence[tuple[int, ActionData]]) -> ReadAction:
        first_index, first = entries[0]
        config_id = action_config_id(self._account, self.permission_id, action_id)
        given = (
            (Where(Part.ACTIONS, index, number), data)
            for index, action in entries
            for number, data in enumerate(action.policies)
        )
        return ReadAction(
            where=Where(Part.ACTIONS, first_index),
            action_id=action_id,
            target=first.target,
            selector=first.selector,
            policies=self._merged(given, config_id, PolicyKind.ACTION),
        )

    def _merged(
        self, given: Iterable[tuple[Where, PolicyData]], config_id: Hash32, kind: PolicyKind
    ) -> tuple[ReadPolicy, ...]:
        """A policy given twice keeps its place and the later configuration, unless that one is refused."""
        merged: dict[Address, ReadPolicy] = {}
        for where, data in given:
            read = self._policy(where, data, config_id, kind)
            if data.policy not in merged or merged[data.policy].revert is None:
                merged[data.policy] = read
        return tuple(merged.values())

    def _policy(self, where: Where, data: PolicyData, config_id: Hash32, kind: PolicyKind) -> ReadPolicy:
        contract = self.contracts.policies.get(data.policy)
        config: PolicyConfig | None = None
        revert: Revert | None = None
        if contract is None:
            revert = None if self.contracts.exists(data.policy) else Revert("UnsupportedPolicy", (data.policy,))
        elif not contract.supports(kind):
            revert = Revert("UnsupportedPolicy", (data.policy,))
        else:
            key = ConfigKey(self.module or ZERO_ADDRESS, self._account, data.policy, config_id)
            initialised = contract.policy.initialise(data.init_data, key)
            if isinstance(initialised, Revert):
                revert = initialised
            else:
                config = initialised.config
        return ReadPolicy(
            where=where,
            address=data.policy,
            contract=contract,
            config=config,
            revert=revert,
            init_data=data.init_data,
        )

    @property
    def _account(self) -> Address:
        # findings do not depend on it: it stands only in ids and in the arguments of reverts
        return self.account or ZERO_ADDRESS


def read_state(state: SessionState, contracts: Contracts) -> Grant:
    """What the chain is known to store for a session."""
    key = state.key
    user_op = [
        _stored(state, policy, state.user_op_config_id, Where(Part.USER_OP_POLICIES, index), contracts)
        for index, policy in enumerate(state.user_op_policies)
    ]
    erc1271 = [
        _stored(state, policy, state.erc1271_config_id, Where(Part.ERC1271_POLICIES, index), contracts)
        for index, policy in enumerate(state.erc1271_policies)
    ]
    actions = [
        _stored_action(state, action_id, policies, index, contracts)
        for index, (action_id, policies) in enumerate(state.actions.items())
    ]
    return Grant(
        account=key.account,
        module=key.module,
        actions=tuple(actions),
        user_op_policies=tuple(user_op),
        erc1271_policies=tuple(erc1271),
        session_validator=state.session_validator,
        session_validator_init_data=state.session_validator_init_data,
        permits_paymaster=state.permits_paymaster,
    )


def _stored_action(
    state: SessionState, action_id: Hash32, policies: Sequence[Address], index: int, contracts: Contracts
) -> ReadAction:
    target, selector = state.targets.get(action_id, (None, None))
    config_id = state.action_config_id(action_id)
    read = [
        _stored(state, policy, config_id, Where(Part.ACTIONS, index, number), contracts)
        for number, policy in enumerate(policies)
    ]
    return ReadAction(
        where=Where(Part.ACTIONS, index),
        action_id=action_id,
        target=target,
        selector=selector,
        policies=tuple(read),
    )


def _stored(state: SessionState, policy: Address, config_id: Hash32, where: Where, contracts: Contracts) -> ReadPolicy:
    contract = contracts.policies.get(policy)
    config = state.configs.get(ConfigId(policy, config_id))
    if contract is not None and isinstance(contract.policy, SudoPolicy):
        config = Sudo()  # there is nothing to read
    return ReadPolicy(where=where, address=policy, contract=contract, config=config)
