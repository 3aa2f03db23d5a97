"""A session's policies made ready for its operations: what is the same for all of them is worked out once.

Each list of policies is bound to its config id, each policy of it to its contract, what the contract stores and the
name of its counters. It is kept with the state that it was made of, and handed on to the states that differ from it
in what was used only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

from proxy.session.addresses import PolicyContract
from proxy.session.counters import ConfigKey
from proxy.session.policies.policy import PASSED, Passed, PolicyConfig
from proxy.session.policies.sudo import SudoPolicy
from proxy.session.policies.time_frame import TimeFramePolicy
from proxy.session.state import ConfigId, SessionState
from proxy.session.transitions import Contracts
from proxy.session.validity import Window, window_of
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import FALLBACK_ACTION_ID, SMART_SESSION_CALL_ACTION_ID, action_id_of


class BoundPolicy(NamedTuple):
    """One policy of one list. `contract` is `None` where its behaviour is not known here, `config` where what it stores
    is not. `steady` is the window of one that passes whatever the operation is and whatever was used."""

    policy: Address
    contract: PolicyContract | None
    config: PolicyConfig | None
    key: ConfigKey
    steady: Window | None


class BoundList(NamedTuple):
    """The policies that judge one thing, in the order of the contract."""

    config_id: Hash32
    policies: tuple[BoundPolicy, ...]


_ALWAYS: Final = window_of(PASSED.validation_data)


class BoundTerms:
    """The lists of one session, each bound when it is asked for first."""

    __slots__ = ("_actions", "_calls", "_state", "_user_op", "contracts", "plans")

    def __init__(self, state: SessionState, contracts: Contracts) -> None:
        self.contracts = contracts
        # its own, which refers to nothing bound: a circle would wait for the garbage collector, one for each grant
        self._state = replace(state, used={})
        self._user_op: BoundList | None = None
        self._actions: dict[Hash32, BoundList] = {}
        self._calls: dict[tuple[Address, Selector], BoundList] = {}
        self.plans: dict[tuple[Address, Selector], Any] = {}
        """What `proxy.session.call_plan` makes of them, by target and function. Any: its own, which knows this room."""

    def of_user_op(self) -> BoundList:
        """What judges the operation as a whole."""
        bound, state = self._user_op, self._state
        if bound is None:
            bound = self._user_op = self._bind(state.user_op_config_id, state.user_op_policies)
        return bound

    def of_call(self, call: Call) -> BoundList | None:
        """What judges a call (PolicyLib.checkSingle7579Exec): its own action, or the fallback; `None` where there is
        neither."""
        target, selector = call.target, call.selector
        bound = self._calls.get((target, selector))
        if bound is not None:
            return bound
        if target == self._state.key.module:
            return self.of_action(SMART_SESSION_CALL_ACTION_ID)
        bound = self.of_action(action_id_of(target, selector))
        if bound is None:  # not remembered: a fallback stands for more calls than could be
            return self.of_action(FALLBACK_ACTION_ID)
        self._calls[target, selector] = bound
        return bound

    def of_action(self, action_id: Hash32) -> BoundList | None:
        """What judges an action; `None` of one that is not enabled."""
        bound = self._actions.get(action_id)
        if bound is None and (policies := self._state.actions.get(action_id)):
            bound = self._actions[action_id] = self._bind(self._state.action_config_id(action_id), policies)
        return bound

    def _bind(self, config_id: Hash32, policies: tuple[Address, ...]) -> BoundList:
        return BoundList(config_id, tuple(self._bind_policy(config_id, policy) for policy in policies))

    def _bind_policy(self, config_id: Hash32, policy: Address) -> BoundPolicy:
        contract = self.contracts.policies.get(policy)
        if contract is not None:
            policy = contract.address
        config = self._state.configs.get(ConfigId(policy, config_id))
        key = self._state.config_key(policy, config_id)
        return BoundPolicy(policy, contract, config, key, _steady(contract, config, key))


def bound_terms(state: SessionState, contracts: Contracts) -> BoundTerms:
    """The lists of a session, bound to these contracts."""
    bound = state.bound
    if not isinstance(bound, BoundTerms) or bound.contracts is not contracts:
        bound = state.bound = BoundTerms(state, contracts)
    return bound


def _steady(contract: PolicyContract | None, config: PolicyConfig | None, key: ConfigKey) -> Window | None:
    match None if contract is None else contract.policy:
        case SudoPolicy():
            return _ALWAYS
        case TimeFramePolicy() as policy if config is not None:
            outcome = policy.frame(config, key)
            return window_of(outcome.validation_data) if isinstance(outcome, Passed) else None
    return None
