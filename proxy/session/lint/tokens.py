"""Tokens a session may move or approve: how much, to whom, and whose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proxy.session.lint.argument_bounds import ANYTHING, ArgumentBounds, both
from proxy.session.lint.findings import Finding, Thresholds, Where, finding
from proxy.session.lint.grant import RULE_POLICIES, Grant, ReadAction, configs_of, has_unread
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, SpendingLimits
from proxy.session.policies.usage_limit import UsageLimit, UsageLimitPolicy
from proxy.userop.arguments import selector
from proxy.userop.primitives import print_checksummed

_APPROVES: Final = "approves"
_MOVES: Final = "moves"


@dataclass(frozen=True, slots=True)
class TokenFunction:
    """A function of token standards: `counterparty`, `amount`, `holder` are indexes of its arguments."""

    signature: str
    verb: str
    counterparty: int | None
    amount: int | None
    holder: int | None = None


TOKEN_FUNCTIONS: Final = {
    selector(function.signature): function
    for function in (
        TokenFunction("transfer(address,uint256)", _MOVES, 0, 1),
        TokenFunction("transferFrom(address,address,uint256)", _MOVES, 1, 2, 0),
        TokenFunction("transferAndCall(address,uint256)", _MOVES, 0, 1),
        TokenFunction("transferAndCall(address,uint256,bytes)", _MOVES, 0, 1),
        TokenFunction("send(address,uint256,bytes)", _MOVES, 0, 1),
        TokenFunction("safeTransferFrom(address,address,uint256)", _MOVES, 1, None, 0),
        TokenFunction("safeTransferFrom(address,address,uint256,bytes)", _MOVES, 1, None, 0),
        TokenFunction("safeTransferFrom(address,address,uint256,uint256,bytes)", _MOVES, 1, 3, 0),
        TokenFunction("safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", _MOVES, 1, None, 0),
        TokenFunction("transferFrom(address,address,uint160,address)", _MOVES, 1, 2, 0),  # Permit2
        TokenFunction("approve(address,uint256)", _APPROVES, 0, 1),
        TokenFunction("increaseAllowance(address,uint256)", _APPROVES, 0, 1),
        TokenFunction("approveAndCall(address,uint256)", _APPROVES, 0, 1),
        TokenFunction("approveAndCall(address,uint256,bytes)", _APPROVES, 0, 1),
        TokenFunction("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", _APPROVES, 1, 2),
        TokenFunction("authorizeOperator(address)", _APPROVES, 0, None),
        TokenFunction("approve(address,address,uint160,uint48)", _APPROVES, 1, 2),  # Permit2
    )
}
SET_APPROVAL_FOR_ALL: Final = selector("setApprovalForAll(address,bool)")
_NOTHING: Final = frozenset({0})


def review_tokens(grant: Grant, thresholds: Thresholds) -> Iterator[Finding]:
    """Every action with a token function, and every spending limit."""
    for action in grant.actions:
        if not action.policies:
            continue
        for policy in action.policies:
            if isinstance(policy.config, SpendingLimits):
                yield from _unlimited_limits(policy.config, policy.where, thresholds)
        if has_unread(action.policies, *RULE_POLICIES) or action.selector is None:
            continue
        review = _ActionReview(action, thresholds)
        if action.selector == SET_APPROVAL_FOR_ALL:
            yield from review.operator()
        elif (function := TOKEN_FUNCTIONS.get(action.selector)) is not None:
            yield from review.function(function)


def _unlimited_limits(config: SpendingLimits, where: Where, thresholds: Thresholds) -> Iterator[Finding]:
    for token, limit in config.limits.items():
        if limit >= thresholds.unlimited_amount:
            yield finding(
                "token_limit_unlimited",
                where,
                f"the limit of token {print_checksummed(token)} is {limit:.3g}, which is no limit",
                "set the limit to what the key needs in the life of the session",
            )


class _ActionReview:
    """One action on a token."""

    __slots__ = ("_action", "_arguments", "_thresholds")

    def __init__(self, action: ReadAction, thresholds: Thresholds) -> None:
        self._action = action
        self._thresholds = thresholds
        self._arguments = both(policy.bounds for policy in action.policies)

    def _argument(self, index: int | None) -> ArgumentBounds:
        if index is None or self._arguments is None:
            return ANYTHING
        return self._arguments.get(32 * index, ANYTHING)

    def operator(self) -> Iterator[Finding]:
        """setApprovalForAll(operator, approved)."""
        if self._arguments is None or self._argument(1).values == _NOTHING:
            return
        if self._argument(0).is_listed:
            yield self._approval_allowed("setApprovalForAll(address,bool)")
            return
        yield finding(
            "operator_approval",
            self._action.where,
            f"setApprovalForAll of {self._target}: any operator can be given every token of the account there",
            "take the action out, or pin the operator by a rule on argument 0",
        )

    def function(self, function: TokenFunction) -> Iterator[Finding]:
        """Amount, counterparty and holder of a token function."""
        if self._arguments is None or (
            function.amount is not None and self._argument(function.amount).values == _NOTHING
        ):
            return  # nothing can be called, or nothing but revocations and empty transfers
        yield from self._amount(function)
        pinned = self._argument(function.counterparty).is_listed
        if function.verb == _APPROVES:
            yield self._approval_allowed(function.signature) if pinned else self._any_spender(function)
        elif not pinned:
            yield finding(
                "any_recipient",
                self._action.where,
                f"{function.signature} of {self._target} may send to anyone",
                f"pin the recipients by rules on argument {function.counterparty}, if they are known",
            )
        if function.holder is not None and not self._argument(function.holder).is_listed:
            yield finding(
                "any_holder",
                self._action.where,
                f"{function.signature} of {self._target} may take from any holder who approved the account",
                f"pin the holder to the account by a rule on argument {function.holder}, or allow transfer instead",
            )

    @property
    def _target(self) -> str:
        return "a token" if self._action.target is None else print_checksummed(self._action.target)

    def _amount(self, function: TokenFunction) -> Iterator[Finding]:
        action, limits = self._action, configs_of(self._action.policies, SpendingLimits)
        if has_unread(action.policies, ERC20SpendingLimitPolicy.name) or any(not each.complete for each in limits):
            return
        if limits:
            if any(action.target not in each.limits for each in limits):
                yield finding(
                    "spending_limit_misses_token",
                    action.where,
                    f"the spending limit does not name {self._target}, so whatever costs anything is refused",
                    "name the token that the action is on, with its limit",
                )
            return
        yield from self._amount_by_rules(function)

    def _amount_by_rules(self, function: TokenFunction) -> Iterator[Finding]:
        """Without a spending limit only a limited rule caps the sum, or a rule together with a number of uses."""
        amount, most = self._argument(function.amount), self._thresholds.unlimited_amount
        total = amount.total
        if has_unread(self._action.policies, UsageLimitPolicy.name):
            return
        uses = min((config.limit for config in configs_of(self._action.policies, UsageLimit)), default=None)
        per_call = amount.highest if function.amount is not None else 1
        if uses is not None and total is None:
            total = uses * per_call
        if total is not None and total < most:
            return
        if function.amount is not None and total is None and per_call < most:
            yield finding(
                "token_capped_per_call",
                self._action.where,
                f"{function.signature} of {self._target}: at most {per_call} a call, but any number of calls",
                "add an ERC20SpendingLimitPolicy, or make the rule a limited one",
            )
            return
        yield finding(
            "token_uncapped",
            self._action.where,
            f"{function.signature} of {self._target} {function.verb} tokens without a limit",
            "add an ERC20SpendingLimitPolicy for the token"
            if function.amount is not None
            else "add a UsageLimitPolicy to the action",
        )

    def _any_spender(self, function: TokenFunction) -> Finding:
        return finding(
            "any_spender",
            self._action.where,
            f"{function.signature} of {self._target} may approve anyone, who can take the tokens later",
            f"pin the spender by a rule on argument {function.counterparty}",
        )

    def _approval_allowed(self, signature: str) -> Finding:
        return finding(
            "approval_allowed",
            self._action.where,
            f"{signature} of {self._target}: what is approved can be taken after the session has ended",
            "approve as the owner, or revoke what is left over when the session ends",
        )
