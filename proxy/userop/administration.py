"""Administration found in an operation: sessions granted and revoked, modules, upgrades, owners.

Calls are read whoever signed them: an owner's grant must be known before its first use, and a session that changes
the account it lives on is escalating.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from proxy.errors import Undecodable
from proxy.userop.acts import (
    AccountAct,
    AccountUpgraded,
    Act,
    ActionDisabled,
    ActionPoliciesDisabled,
    ActionPoliciesEnabled,
    Control,
    ControlChanged,
    EmissaryConfigRemoved,
    EmissaryConfigSet,
    EmissaryNonceRevoked,
    EnableSignatureRevoked,
    Erc1271PoliciesDisabled,
    Erc1271PoliciesEnabled,
    ModuleInstalled,
    ModuleUninstalled,
    OwnersChanged,
    PaymasterPermitted,
    SessionAct,
    SessionRemoved,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesDisabled,
    UserOpPoliciesEnabled,
)
from proxy.userop.administration_account import account_acts, acts_of_install
from proxy.userop.administration_birth import acts_in_factory_data, acts_in_setup
from proxy.userop.administration_sessions import VALIDATOR_TYPE, session_module_acts
from proxy.userop.arguments import Arguments, selector
from proxy.userop.budget import ITEM, Budget
from proxy.userop.declared_module import declared_in
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.execution import EXECUTE, EXECUTE_USER_OP, Call
from proxy.userop.inspection import calls_for_inspection
from proxy.userop.primitives import Address, Selector

__all__ = [
    "VALIDATOR_TYPE",
    "AccountAct",
    "AccountUpgraded",
    "Act",
    "ActionDisabled",
    "ActionPoliciesDisabled",
    "ActionPoliciesEnabled",
    "Control",
    "ControlChanged",
    "EmissaryConfigRemoved",
    "EmissaryConfigSet",
    "EmissaryNonceRevoked",
    "EnableSignatureRevoked",
    "Erc1271PoliciesDisabled",
    "Erc1271PoliciesEnabled",
    "ModuleInstalled",
    "ModuleUninstalled",
    "OwnersChanged",
    "PaymasterPermitted",
    "SessionAct",
    "SessionRemoved",
    "SessionsCleared",
    "SessionsEnabled",
    "Unreadable",
    "UserOpPoliciesDisabled",
    "UserOpPoliciesEnabled",
    "acts_in_factory_data",
    "acts_in_setup",
    "acts_of",
    "acts_of_install",
]

MAX_DEPTH: Final = 4
"""Calls of the account to itself inside one another that are followed; deeper ones are `Unreadable`."""

_MULTICALL: Final = selector("multicall(bytes[])")
_INITIALIZE_ACCOUNT: Final = selector("initializeAccount(bytes)")

_AT_RUN_TIME: Final = frozenset(
    selector(signature)
    for signature in (
        "executeComposable((address,uint256,bytes4,(uint8,bytes,(uint8,bytes)[])[],(uint8,bytes)[])[])",
        "executeComposable((bytes4,(uint8,uint8,bytes,(uint8,bytes)[])[],(uint8,bytes)[])[])",
    )
)
"""Functions of an account that put their calls together from chain state while they run."""

_MUST_OPEN: Final = frozenset((EXECUTE, EXECUTE_USER_OP, Selector(bytes.fromhex("d691c964"))))
"""Wrappers whose inner calls have to be known: one of them that cannot be opened may hide an act."""


def acts_of(
    calls: Sequence[Call], account: Address, session_modules: Collection[Address], budget: Budget | None = None
) -> tuple[Act, ...]:
    """The acts of `calls` made by `account`, in order, wrappers of the account's own calls opened.

    Never raises: a call to a session module or to the account itself that administers and cannot be read is an
    `Unreadable`.
    """
    budget = Budget() if budget is None else budget
    acts: list[Act] = []
    for call in calls:
        acts += _acts(call, account, session_modules, budget, 0)
    return tuple(acts)


def _acts(
    call: Call, account: Address, session_modules: Collection[Address], budget: Budget, depth: int
) -> Sequence[Act]:
    if (declared := declared_in(session_modules, call.target)) is not None:
        return declared.news_of_call(call, account, budget)
    if call.target in session_modules or call.target in EMISSARIES:
        return session_module_acts(call, budget)
    if call.target != account:
        return ()
    try:
        budget.draw(ITEM)
        return _acts_of_account(call, account, session_modules, budget, depth)
    except Undecodable as problem:
        return (Unreadable(account, call.selector, str(problem)),)


def _acts_of_account(
    call: Call, account: Address, session_modules: Collection[Address], budget: Budget, depth: int
) -> Sequence[Act]:
    """What a call of the account to itself does. Raises `Undecodable` where that cannot be told."""
    found = account_acts(call, session_modules, budget)
    if found is not None:
        return found
    if call.selector in _AT_RUN_TIME:
        return (Unreadable(account, call.selector, "its calls are put together while it runs"),)
    if call.selector == _INITIALIZE_ACCOUNT:
        return acts_in_factory_data(call.data[4:], session_modules, budget)
    inner = _inner_calls(call, account, budget)
    if inner and depth == MAX_DEPTH:
        return (Unreadable(account, call.selector, "calls nested too deep"),)
    return [act for item in inner for act in _acts(item, account, session_modules, budget, depth + 1)]


def _inner_calls(call: Call, account: Address, budget: Budget) -> Sequence[Call]:
    """What a call of the account to itself makes it call. Raises `Undecodable` where a wrapper cannot be opened."""
    if call.selector == _MULTICALL:
        arguments = Arguments(call.data[4:], budget)
        return [Call(account, 0, data) for data in arguments.blobs(0)]
    opened = calls_for_inspection(call.data, account, budget)
    if opened != (Call(account, 0, call.data),):
        return opened
    if call.selector in _MUST_OPEN:
        raise Undecodable("callData", "a call of the account to itself that cannot be opened")
    return ()
