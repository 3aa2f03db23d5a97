"""Whether a session can be used at all: what makes every operation of it fail is the first thing to be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.session.addresses import name_of_policy
from proxy.session.lint.argument_bounds import ANYTHING, both
from proxy.session.lint.findings import WHOLE_SESSION, Finding, finding
from proxy.session.lint.grant import Grant, ReadAction, ReadPolicy, configs_of
from proxy.session.policies.arg import MAX_STACK, STACK_OF_LEFT, STACK_OF_NOT, ArgRules, NodeType
from proxy.session.policies.contract_whitelist import AllowedTargets
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, SpendingLimits
from proxy.session.policies.simple_gas import GasLimits
from proxy.session.policies.time_frame import TimeFrame, TimeFramePolicyV1
from proxy.session.policies.token_calls import TRANSFER
from proxy.session.policies.universal_action import ActionRules
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.policies.value_limit import ValueLimit
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.session_data import FLAG_TARGET

_OLDER_TIME_FRAME: Final = 32
_TWO_WORDS: Final = 64
NO_SECONDS: Final = 10**11
_LONGEST_CALL_DATA: Final = 2**24
"""Bytes: they alone cost more gas than blocks have."""
_AMOUNT_OF_TRANSFER: Final = 32
_LEAST_GAS: Final = 21_000
"""Ten words of storage that nobody read before cost as much (EIP-2929), and a session's validation reads more."""


def review_usable(grant: Grant) -> Iterator[Finding]:
    """A policy on every operation, or one on each action, that no check of can pass."""
    for policy in grant.user_op_policies:
        if (why := why_never_passed(policy)) is not None:
            yield _never_usable(f"{policy.where}: {why}", _remedy(policy))
            return
    actions = [action for action in grant.actions if action.policies and not action.is_dummy]
    whys = [_why_never_taken(action) for action in actions]
    if actions and grant.is_whole and all(whys):
        yield _never_usable(f"every action: {whys[0]}", _remedy(*actions[0].policies))


def never_passes(grant: Grant, action: ReadAction) -> bool:
    """Whether the calls of an action, which must satisfy its policies and those of every operation, are always
    refused."""
    return any(map(why_never_passed, grant.user_op_policies)) or _why_never_taken(action) is not None


def _why_never_taken(action: ReadAction) -> str | None:
    """Why no call of an action is taken: for a policy that none satisfies, for one that is about other calls, or for
    policies that no call satisfies together."""
    if action.is_unreachable:
        return f"no call may go to {print_checksummed(FLAG_TARGET)}, the target of {action}"
    whys = (why_never_passed(policy) or _why_about_others(action, policy) for policy in action.policies)
    return next(filter(None, whys), None) or _why_never_together(action)


def _why_never_together(action: ReadAction) -> str | None:
    arguments = both(policy.bounds for policy in action.policies)
    if arguments is None:
        return f"no arguments satisfy all the rules on {action}"
    if action.selector != TRANSFER or action.target is None:
        return None
    least = arguments.get(_AMOUNT_OF_TRANSFER, ANYTHING).lowest
    for limits in configs_of(action.policies, SpendingLimits):
        if least > (limit := limits.limits.get(action.target, least)):
            return f"the rules on {action} ask for an amount of at least {least}, and the spending limit is {limit}"
    return None


def _why_about_others(action: ReadAction, policy: ReadPolicy) -> str | None:
    """Why a whitelist or a spending limit refuses every call of its action, or every one that costs anything."""
    contract = None if policy.contract is None else policy.contract.policy
    if action.is_fallback or action.is_module_call:
        return None
    if isinstance(targets := policy.config, AllowedTargets):
        if action.target is None or not targets.complete or action.target in targets.allowed:
            return None
        return (
            f"{name_of_policy(policy.address)} does not list {print_checksummed(action.target)}, the target of {action}"
        )
    if not isinstance(contract, ERC20SpendingLimitPolicy):
        return None
    if action.selector is not None and bytes(action.selector) not in contract.counted:
        return f"{contract.name} refuses {print_bytes(action.selector)}, which moves no token that it counts"
    limits = policy.config
    # of the others there are calls that cost nothing and do something: approve(0), transferFrom to the account
    if action.selector != TRANSFER or action.target is None:
        return None
    if not isinstance(limits, SpendingLimits) or not limits.complete:
        return None
    if action.target in limits.limits:
        return None
    token = print_checksummed(action.target)
    return f"{contract.name} does not name {token}, and refuses whatever costs anything of a token it does not name"


def why_never_passed(policy: ReadPolicy) -> str | None:
    """Why no check of a policy can pass; `None` when one may."""
    name = name_of_policy(policy.address)
    if (misread := misread_time_frame(policy)) is not None:
        return f"{misread}, and every check of it reverts"
    if always_reverts(policy):
        return f"{name} is configured with nothing, and every check of it reverts"
    if isinstance(policy.config, GasLimits) and policy.config.gas_limit < _LEAST_GAS:
        return f"{name} lets operations declare {policy.config.gas_limit} gas in all, and validating one takes more"
    if isinstance(policy.config, TimeFrame) and policy.config.valid_after > NO_SECONDS:
        return f"{name} begins after the year 5000: it counts seconds, and was given what looks like milliseconds"
    if isinstance(policy.config, ActionRules | ArgRules):
        if _reads_too_far(policy.config):
            return f"a rule of {name} reads an argument further back than call data can be"
        if policy.bounds is None:
            return f"no arguments satisfy the rules of {name}"
    return None


def _reads_too_far(config: ActionRules | ArgRules) -> bool:
    """Whether a rule that every call comes to has no argument to read, and reverts."""
    if isinstance(config, ActionRules):
        return any(rule.offset > _LONGEST_CALL_DATA for rule in config.rules)
    index, stack = _first_rule(config)
    if stack > MAX_STACK or (number := config.nodes[index].rule) >= len(config.rules):
        return False
    return config.rules[number].offset > _LONGEST_CALL_DATA


def misread_time_frame(policy: ReadPolicy) -> str | None:
    """What a time frame was meant to be whose first 12 bytes are zeros, and whose encoding that is."""
    data = policy.init_data
    if data is None or policy.contract is None or policy.config != TimeFrame(0, 0) or not any(data):
        return None
    if isinstance(policy.contract.policy, TimeFramePolicyV1):
        return None
    reads = "this one reads the first 12 bytes, validUntil 0 and validAfter 0"
    if len(data) == _OLDER_TIME_FRAME:
        return f"the 32-byte form of the older TimeFramePolicy: {reads}"
    if len(data) == _TWO_WORDS:
        return f"abi.encode of two words, as releases of the Rhinestone SDK wrote time frames: {reads}"
    return f"{len(data)} bytes that begin with zeros: {reads}"


def always_reverts(policy: ReadPolicy) -> bool:
    """Whether the configuration makes every check revert."""
    match policy.config:
        case TimeFrame(valid_until, valid_after):
            return not (valid_until or valid_after)
        case UsageLimit(limit) | ValueLimit(limit):
            # the contracts of 2025 refuse it at initialisation
            return limit == 0
        case ActionRules(rules=rules):
            return not rules
        case ArgRules(rules=rules):
            return not rules or _first_rule(policy.config)[1] > MAX_STACK
        case _:
            return False


def _first_rule(config: ArgRules) -> tuple[int, int]:
    """The node at which the evaluation comes to its first rule, as it always does, and the words of the stack that are
    taken there; a node before it where they are too many."""
    index, stack = config.root, 0
    while config.nodes[index].has_children and stack <= MAX_STACK:
        stack += STACK_OF_NOT if config.nodes[index].type is NodeType.NOT else STACK_OF_LEFT
        index = config.nodes[index].left
    return index, stack


def _remedy(*policies: ReadPolicy) -> str:
    if any(misread_time_frame(policy) is not None for policy in policies):
        return (
            "pack uint48 validUntil and uint48 validAfter into 12 bytes, in this order, as getTimeFramePolicy of"
            " @rhinestone/module-sdk does"
        )
    if any(isinstance(policy.config, SpendingLimits) for policy in policies):
        return "put the spending limit on the functions of the token that it names, and name the token the action is on"
    return "give the policy limits that an operation can meet, or leave it out"


def _never_usable(why: str, remedy: str) -> Finding:
    return finding("never_usable", WHOLE_SESSION, f"the session can never be used: {why}", remedy)
