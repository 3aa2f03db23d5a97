"""Whether a session can be used at all: what makes every operation of it fail is the first thing to be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.session.addresses import name_of_policy
from proxy.session.lint.findings import WHOLE_SESSION, Finding, finding
from proxy.session.lint.grant import Grant, ReadAction, ReadPolicy
from proxy.session.policies.arg import MAX_STACK, STACK_OF_LEFT, STACK_OF_NOT, ArgRules, NodeType
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, SpendingLimits
from proxy.session.policies.time_frame import TimeFrame, TimeFramePolicyV1
from proxy.session.policies.token_calls import TRANSFER
from proxy.session.policies.universal_action import ActionRules
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.policies.value_limit import ValueLimit
from proxy.userop.primitives import print_bytes, print_checksummed

_OLDER_TIME_FRAME: Final = 32
_TWO_WORDS: Final = 64


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
    """Why no call of an action is taken: for a policy that none satisfies, or one that is about other calls."""
    whys = (why_never_passed(policy) or _why_about_others(action, policy) for policy in action.policies)
    return next(filter(None, whys), None)


def _why_about_others(action: ReadAction, policy: ReadPolicy) -> str | None:
    """Why a spending limit refuses every call of its action, or every one that costs anything."""
    contract = None if policy.contract is None else policy.contract.policy
    if not isinstance(contract, ERC20SpendingLimitPolicy) or action.is_fallback or action.is_module_call:
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
    return None


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
            return not rules or _stack_of_first_path(policy.config) > MAX_STACK
        case _:
            return False


def _stack_of_first_path(config: ArgRules) -> int:
    """The words of the stack that are taken when the evaluation comes to its first rule; it always does."""
    index, stack = config.root, 0
    while config.nodes[index].has_children and stack <= MAX_STACK:
        stack += STACK_OF_NOT if config.nodes[index].type is NodeType.NOT else STACK_OF_LEFT
        index = config.nodes[index].left
    return stack


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
