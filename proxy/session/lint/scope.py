"""What a session may call: how wide each action is, and which targets are nobody's business but the owner's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.session.addresses import SESSION_MODULES, name_of_policy
from proxy.session.lint.argument_bounds import ANYTHING, Bounds, bounds_of_rule
from proxy.session.lint.findings import Finding, Thresholds, Where, finding
from proxy.session.lint.grant import RULE_POLICIES, Grant, ReadAction, ReadPolicy, configs_of, rule_configs
from proxy.session.policies.arg import ArgRules
from proxy.session.policies.contract_whitelist import AllowedTargets, ContractWhitelistPolicy
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, SpendingLimits
from proxy.session.policies.sudo import Sudo
from proxy.session.policies.universal_action import ActionRules
from proxy.userop.arguments import selector
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.execution import EXECUTE
from proxy.userop.primitives import print_checksummed

_NARROWING: Final = (*RULE_POLICIES, ContractWhitelistPolicy.name, ERC20SpendingLimitPolicy.name)
ADMINISTRATION: Final = {EXECUTE: "execute(bytes32,bytes)"} | {
    selector(signature): signature
    for signature in (
        "installModule(uint256,address,bytes)",
        "uninstallModule(uint256,address,bytes)",
        "executeFromExecutor(bytes32,bytes)",
        "upgradeToAndCall(address,bytes)",
        "upgradeTo(address)",
        "transferOwnership(address)",
        "enableModule(address)",
        "addOwnerWithThreshold(address,uint256)",
        "changeRootValidator(bytes21,address,bytes,bytes)",
        "grantRole(bytes32,address)",
    )
}
"""Functions that change who may act for a contract, or run anything."""


def review_scope(grant: Grant, thresholds: Thresholds) -> Iterator[Finding]:
    """Every action: special, on a delicate target, or wide."""
    for action in grant.actions:
        if not action.policies or action.is_dummy or action.is_unreachable:
            continue
        yield from _targets(grant, action)
        yield from _unknown_policies(action)
        yield from _width(action, thresholds)
        for policy in action.policies:
            yield from _rules(policy, action)
    for policy in (*grant.user_op_policies, *grant.erc1271_policies):
        if policy.contract is None and policy.revert is None:
            yield _unknown(policy, alone=False)


def _targets(grant: Grant, action: ReadAction) -> Iterator[Finding]:
    target, where = action.target, action.where
    if action.is_module_call:
        yield finding(
            "session_module_call",
            where,
            "the session may call the session module: its key can grant itself whatever the policies let through",
            "take the action out; sessions are granted and revoked by the owner",
        )
        return
    if target is None or action.selector is None:
        return
    if target in SESSION_MODULES and target != grant.module:
        yield finding(
            "session_module_target",
            where,
            f"{print_checksummed(target)} is a session module: if the account has it, the key can grant itself more",
            "take the action out; sessions are granted and revoked by the owner",
        )
    if target == grant.account:
        yield finding(
            "own_account_target",
            where,
            "the target is the account itself: its modules, its owner and its code are at the key's mercy",
            "take the action out; the owner administers the account",
        )
    elif action.selector in ADMINISTRATION:
        yield finding(
            "administration_function",
            where,
            f"{ADMINISTRATION[action.selector]} of {print_checksummed(target)} changes who acts for a contract",
            "leave administration to the owner",
        )
    if target in ENTRY_POINT_BY_ADDRESS:
        yield finding(
            "entry_point_target",
            where,
            "the target is an entry point: the key can withdraw the account's deposit and stake",
            "leave the deposit to the owner",
        )


def _unknown_policies(action: ReadAction) -> Iterator[Finding]:
    unknown = [policy for policy in action.policies if policy.contract is None and policy.revert is None]
    known = [policy for policy in action.policies if policy not in unknown and not isinstance(policy.config, Sudo)]
    for policy in unknown:
        yield _unknown(policy, alone=not known, action=action)


def _unknown(policy: ReadPolicy, *, alone: bool, action: ReadAction | None = None) -> Finding:
    name = name_of_policy(policy.address)
    if alone:
        return finding(
            "unknown_policy_alone",
            policy.where,
            f"{action} is limited by {name} only, whose rules are not known here: it may let everything through",
            "review that contract, and add a policy whose rules are known",
        )
    return finding(
        "unknown_policy",
        policy.where,
        f"the rules of {name} are not known here: whatever it limits is not counted on",
        "review that contract",
    )


def _width(action: ReadAction, thresholds: Thresholds) -> Iterator[Finding]:
    """Whether anything narrows what the calls of an action say."""
    if action.is_fallback:
        yield _fallback(action, thresholds)
        return
    if (
        action.moves_value_only
        or action.is_module_call
        or any(_narrows(policy, thresholds) for policy in action.policies)
    ):
        return
    if configs_of(action.policies, Sudo):
        yield finding(
            "sudo_action",
            action.where,
            f"SudoPolicy: {action} may be called with any arguments",
            "replace SudoPolicy by rules on the arguments (UniActionPolicy, ArgPolicy) or a spending limit",
        )
    elif any(config.rules for config in rule_configs(action.policies)):
        yield finding(
            "rules_restrict_nothing",
            action.where,
            f"every call satisfies the rules on {action}: they are as good as SudoPolicy",
            "compare the arguments that matter with the values they may have",
        )


def _fallback(action: ReadAction, thresholds: Thresholds) -> Finding:
    if any(_narrows(policy, thresholds) for policy in action.policies):
        return finding(
            "fallback_action",
            action.where,
            "the session covers every target and function not listed otherwise, within the fallback's policies",
            "list the targets and functions the key needs, each with its own policies",
        )
    return finding(
        "fallback_any_call",
        action.where,
        "the session may call every function of every contract: its key is as good as the owner's",
        "drop the fallback action and list the targets and functions the key needs",
    )


def _narrows(policy: ReadPolicy, thresholds: Thresholds) -> bool:
    """Whether a policy looks at targets or arguments; one that could not be read gets the benefit of the doubt."""
    if policy.is_unread and policy.contract is not None:
        return policy.contract.name in _NARROWING
    match policy.config:
        case SpendingLimits() | AllowedTargets():
            return True
        case ActionRules() | ArgRules():
            return _binds(policy.bounds, thresholds)
        case _:
            return False


def _binds(bounds: Bounds | None, thresholds: Thresholds) -> bool:
    if bounds is None:
        return True
    return any(
        (each.lowest, each.highest) != (ANYTHING.lowest, ANYTHING.highest)
        or (each.total is not None and each.total < thresholds.unlimited_amount)
        for each in bounds.values()
    )


def _rules(policy: ReadPolicy, action: ReadAction) -> Iterator[Finding]:
    config = policy.config
    if not isinstance(config, ActionRules | ArgRules) or not config.rules:
        return
    if policy.bounds is None:
        yield finding(
            "never_allowed",
            policy.where,
            f"no call satisfies the rules on {action}",
            "correct the rules, or take the action out",
        )
    for index, rule in enumerate(config.rules):
        if bounds_of_rule(rule) == {} and rule.holds(0) and rule.holds(2**256 - 1):
            yield _idle(policy.where, index)


def _idle(where: Where, index: int) -> Finding:
    return finding(
        "idle_rule",
        where,
        f"rule {index} holds for every value, so it limits nothing",
        "correct the condition, or leave the rule out",
    )
