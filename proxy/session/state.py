"""What the chain stores for one session, as far as it is known here.

Knowledge may be partial. A session read from the chain by views has its lists (validator, policies, action ids),
but a policy's configuration, the paymaster flag (which no view tells) or the limit of a token stand here only once
they were asked for or seen being set; `enforce` names what is missing. Nothing here is ever changed: each `with_…`
gives a new state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.record import record
from proxy.session.counters import Charge, ConfigKey, Counter, SessionKey
from proxy.session.policies.contract_whitelist import AllowedTargets
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.policy import Initialised, PolicyConfig
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import action_config_id, erc1271_config_id, user_op_config_id

# the same few ids come back with every operation of a session, and each is two hashes away
_action_config_id: Final = lru_cache(maxsize=1 << 14)(action_config_id)
_user_op_config_id: Final = lru_cache(maxsize=1 << 13)(user_op_config_id)


class SessionStatus(StrEnum):
    """Whether the module takes the permission id."""

    NEVER_ENABLED = "never_enabled"
    ENABLED = "enabled"
    REMOVED = "removed"


class ToldAt(NamedTuple):
    """Where in the chain a declared module last said something of a session; ordered as the chain is."""

    block: int
    log_index: int


class ConfigId(NamedTuple):
    """Names one configuration of this session: the policy contract and the config id it is stored under."""

    policy: Address
    config_id: Hash32


class _Bindable:
    """Has a place beside its fields for what is made of them: it is no part of a state and goes with none that is made
    of one, unless handed on."""

    __slots__ = ("bound",)

    bound: object  # the session's `proxy.session.bound.BoundTerms`, once somebody has asked for them


@record(kw_only=True)
class SessionState(_Bindable):
    """One session. Lists are in the order the contract runs them; an action id is known even if its target is not.

    `permits_paymaster` and `enable_nonce` are `None` while unknown. A listed policy without an entry in `configs`
    is one whose configuration has not been read. `used` holds the counters of known configurations, in each policy's
    units; one that is not named stands at zero. `targets` names the (target, selector) behind an action id where a
    grant told. `told_at` is there for sessions of declared modules: what was said up to there is in the state.
    """

    key: SessionKey
    status: SessionStatus = SessionStatus.NEVER_ENABLED
    session_validator: Address | None = None
    session_validator_init_data: bytes = b""
    user_op_policies: tuple[Address, ...] = ()
    actions: Mapping[Hash32, tuple[Address, ...]] = field(default_factory=dict)
    erc1271_policies: tuple[Address, ...] = ()
    permits_paymaster: bool | None = None
    enable_nonce: int | None = None
    configs: Mapping[ConfigId, PolicyConfig] = field(default_factory=dict)
    used: Mapping[Counter, int] = field(default_factory=dict)
    targets: Mapping[Hash32, tuple[Address, Selector]] = field(default_factory=dict)
    told_at: ToldAt | None = None

    def __post_init__(self) -> None:
        self.bound = None

    @property
    def enabled(self) -> bool:
        """isPermissionEnabled."""
        return self.status is SessionStatus.ENABLED

    @property
    def user_op_config_id(self) -> Hash32:
        """The config id of this session's user-operation policies."""
        return _user_op_config_id(self.key.account, self.key.permission_id)

    @property
    def erc1271_config_id(self) -> Hash32:
        """The config id of this session's ERC-1271 policies."""
        return erc1271_config_id(self.key.account, self.key.permission_id)

    def action_config_id(self, action_id: Hash32) -> Hash32:
        """The config id of the policies of one action."""
        return _action_config_id(self.key.account, self.key.permission_id, action_id)

    def config_key(self, policy: Address, config_id: Hash32) -> ConfigKey:
        """Where the policy contract stores this session's configuration."""
        return ConfigKey(self.key.module, self.key.account, policy, config_id)

    def listed_configs(self) -> tuple[ConfigId, ...]:
        """Every configuration that user operations of this session can meet, known or not."""
        config_id = self.user_op_config_id
        listed = [ConfigId(policy, config_id) for policy in self.user_op_policies]
        for action_id, policies in self.actions.items():
            config_id = self.action_config_id(action_id)
            listed += [ConfigId(policy, config_id) for policy in policies]
        return tuple(listed)

    def with_policy_config(self, policy: Address, config_id: Hash32, initialised: Initialised) -> SessionState:
        """The same with one policy's configuration known, its counters replaced by those given."""
        key = self.config_key(policy, config_id)
        used = {counter: use for counter, use in self.used.items() if counter[:4] != key}
        used |= {Counter(*key, slot): use for slot, use in initialised.used.items() if use}
        configs = {**self.configs, ConfigId(policy, config_id): initialised.config}
        return replace(self, configs=configs, used=used)

    def with_token_limit(
        self, policy: Address, config_id: Hash32, token: Address, limit: int, used: int
    ) -> SessionState:
        """The same with the spending limit of one more token known; `used` is spent + approved, in base units."""
        config = self.configs.get(ConfigId(policy, config_id))
        known = config if isinstance(config, SpendingLimits) else SpendingLimits(complete=False)
        configs = {**self.configs, ConfigId(policy, config_id): known.with_token(token, limit)}
        counter = Counter(*self.config_key(policy, config_id), token)
        return replace(self, configs=configs, used={**self.used, counter: used})

    def with_target(self, policy: Address, config_id: Hash32, target: Address, allowed: bool) -> SessionState:
        """The same with one more answer of ContractWhitelistPolicy known."""
        config = self.configs.get(ConfigId(policy, config_id))
        known = config if isinstance(config, AllowedTargets) else AllowedTargets(frozenset(), complete=False)
        return replace(self, configs={**self.configs, ConfigId(policy, config_id): known.with_target(target, allowed)})

    def with_paymaster(self, permitted: bool) -> SessionState:
        """The same with the paymaster flag known."""
        return replace(self, permits_paymaster=permitted)

    def with_enable_nonce(self, nonce: int) -> SessionState:
        """The same with the enable nonce known (getNonce)."""
        return replace(self, enable_nonce=nonce)

    def with_validator(self, validator: Address, init_data: bytes) -> SessionState:
        """The same with the session validator known (getSessionValidatorAndConfig)."""
        return replace(self, session_validator=validator, session_validator_init_data=init_data)

    def with_charges(self, charges: Iterable[Charge]) -> SessionState:
        """The same after an operation: every charge has been counted."""
        used = dict(self.used)
        for charge in charges:
            used[charge.counter] = used.get(charge.counter, 0) + charge.amount
        return self._having_used(used)

    def without_charges(self, charges: Iterable[Charge]) -> SessionState:
        """The same as if an operation had never been: what it used is not used any more."""
        used = dict(self.used)
        for charge in charges:
            used[charge.counter] = max(used.get(charge.counter, 0) - charge.amount, 0)
        return self._having_used(used)

    def _having_used(self, used: Mapping[Counter, int]) -> SessionState:
        after = replace(self, used=used)
        after.bound = self.bound
        return after

    def without_policy_knowledge(self) -> SessionState:
        """The same lists with every configuration and counter forgotten, to be read again."""
        return replace(self, configs={}, used={})
