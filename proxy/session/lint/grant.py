"""One reading of a session for all reviews, from the grant itself or from what the chain is known to store.

The two differ in what is known: a grant names contents, salt and init data, the chain knows what came of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from proxy.session.addresses import MODULE_KINDS, ModuleKind, PolicyContract
from proxy.session.lint.argument_bounds import Bounds, bounds_of_rules
from proxy.session.lint.findings import Where
from proxy.session.policies.arg import ArgPolicy, ArgRules
from proxy.session.policies.policy import PolicyConfig
from proxy.session.policies.universal_action import ActionRules, UniActionPolicy
from proxy.session.revert import Revert
from proxy.userop.primitives import Address, Hash32, Selector, print_bytes, print_checksummed
from proxy.userop.session_data import (
    FALLBACK_ACTION_ID,
    FALLBACK_SELECTOR,
    FLAG_TARGET,
    SMART_SESSION_CALL_ACTION_ID,
    SMART_SESSION_CALL_SELECTOR,
    VALUE_SELECTOR,
    ERC7739Context,
    PolicyData,
    action_id_of,
)

_C = TypeVar("_C", bound=PolicyConfig)

DUMMY_TARGET: Final = Address(bytes(18) + b"\x04\x20")
DUMMY_SELECTOR: Final = Selector(bytes.fromhex("69123456"))
"""The action that the Rhinestone SDK puts into every session with permissions (`smart-sessions/resolve.ts`): nothing
stands at this address, and the call only marks an operation."""
RULE_POLICIES: Final = (UniActionPolicy.name, ArgPolicy.name)
"""The contracts that hold rules on arguments."""
SPECIAL_SELECTORS: Final = frozenset({FALLBACK_SELECTOR, SMART_SESSION_CALL_SELECTOR})
"""What marks an action on the flag address as one of the special ones."""
_DUMMY_ACTION_ID: Final = action_id_of(DUMMY_TARGET, DUMMY_SELECTOR)


@dataclass(frozen=True, kw_only=True)  # no slots: what is worked out once is kept
class ReadPolicy:
    """One policy in one place. `revert` is what its initialisation ends in; `init_data` is known from grants only."""

    where: Where
    address: Address
    contract: PolicyContract | None
    config: PolicyConfig | None = None
    revert: Revert | None = None
    init_data: bytes | None = None

    @cached_property
    def bounds(self) -> Bounds | None:
        """What its rules on arguments make of them, where it has any; `None`: no call passes. Worked out once: several
        reviews ask, and an expression may be large."""
        return bounds_of_rules(self.config) if isinstance(self.config, ActionRules | ArgRules) else {}

    @property
    def is_unread(self) -> bool:
        """Whether the contract is known and what it stores is not."""
        return self.contract is not None and self.config is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAction:
    """One action as it will stand: entries that name the same target and selector are one action on chain."""

    where: Where
    action_id: Hash32
    target: Address | None
    selector: Selector | None
    policies: tuple[ReadPolicy, ...]

    @property
    def is_fallback(self) -> bool:
        """The action that stands in for every target and function not listed."""
        return self.action_id == FALLBACK_ACTION_ID

    @property
    def is_module_call(self) -> bool:
        """The action that lets a session call the session module."""
        return self.action_id == SMART_SESSION_CALL_ACTION_ID

    @property
    def is_dummy(self) -> bool:
        """The SDK's own action on a target that does not exist."""
        return self.action_id == _DUMMY_ACTION_ID

    @property
    def is_unreachable(self) -> bool:
        """An action on the address that only marks special actions, to which no call may go."""
        return self.target == FLAG_TARGET and self.selector not in SPECIAL_SELECTORS

    @property
    def moves_value_only(self) -> bool:
        """An action on calls without a function."""
        return self.selector == VALUE_SELECTOR

    def __str__(self) -> str:
        """What may be called, for sentences."""
        if self.is_fallback:
            return "every target and function not listed otherwise"
        if self.is_module_call:
            return "the session module"
        if self.target is None or self.selector is None:
            return f"the target behind action {print_bytes(self.action_id)}"
        if self.moves_value_only:
            return f"a plain transfer to {print_checksummed(self.target)}"
        return f"{print_bytes(self.selector)} of {print_checksummed(self.target)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A session under review. What is `None` is not known; `module` and `account` may be unknown too.

    One that is not `is_whole` is an addition to a session whose other policies are not known.
    """

    account: Address | None
    module: Address | None
    actions: tuple[ReadAction, ...] = ()
    user_op_policies: tuple[ReadPolicy, ...] = ()
    erc1271_policies: tuple[ReadPolicy, ...] = ()
    contexts: tuple[ERC7739Context, ...] | None = None
    session_validator: Address | None = None
    session_validator_init_data: bytes = b""
    salt: Hash32 | None = None
    permits_paymaster: bool | None = None
    claim_policies: tuple[PolicyData, ...] = ()
    is_whole: bool = True

    @property
    def at_emissary(self) -> bool:
        """Whether the session is one of the newer kind, which has no user-operation policies."""
        return self.module is not None and MODULE_KINDS.get(self.module) is ModuleKind.EMISSARY

    def bearing_on(self, action: ReadAction) -> tuple[ReadPolicy, ...]:
        """The policies that calls of an action must satisfy: those of every operation and its own."""
        return (*self.user_op_policies, *action.policies)

    def all_policies(self) -> Iterable[ReadPolicy]:
        """Every policy of the session, wherever it stands."""
        yield from self.user_op_policies
        yield from self.erc1271_policies
        for action in self.actions:
            yield from action.policies


def configs_of(policies: Iterable[ReadPolicy], kind: type[_C]) -> list[_C]:
    """The known configurations of one kind."""
    return [policy.config for policy in policies if isinstance(policy.config, kind)]


def has_unread(policies: Iterable[ReadPolicy], *names: str) -> bool:
    """Whether one of these contracts is among the policies and its configuration is not known."""
    return any(
        policy.contract is not None and policy.is_unread and policy.contract.name in names for policy in policies
    )


def rule_configs(policies: Iterable[ReadPolicy]) -> list[ActionRules | ArgRules]:
    """The known configurations of policies that hold rules on arguments."""
    return [policy.config for policy in policies if isinstance(policy.config, ActionRules | ArgRules)]
