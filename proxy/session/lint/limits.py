"""How long a session lasts, how often it may be used, and how much native value and gas it may spend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proxy.session.lint.findings import WHOLE_SESSION, Finding, Part, Thresholds, Where, finding
from proxy.session.lint.grant import RULE_POLICIES, Grant, ReadAction, configs_of, has_unread, rule_configs
from proxy.session.lint.signing import review_validator
from proxy.session.lint.tokens import SET_APPROVAL_FOR_ALL, TOKEN_FUNCTIONS
from proxy.session.lint.usable import NO_SECONDS, never_passes
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, SpendingLimits
from proxy.session.policies.simple_gas import GasLimits, SimpleGasPolicy
from proxy.session.policies.time_frame import TimeFrame, TimeFramePolicy
from proxy.session.policies.usage_limit import UsageLimit, UsageLimitPolicy
from proxy.session.policies.value_limit import ValueLimit, ValueLimitPolicy
from proxy.session.validity import UINT48_MAX, Window

_VALUE_POLICIES: Final = (ValueLimitPolicy.name, ERC20SpendingLimitPolicy.name, *RULE_POLICIES)
_TAKE_NO_VALUE: Final = frozenset({*TOKEN_FUNCTIONS, SET_APPROVAL_FOR_ALL})


def review_limits(grant: Grant, now: int, thresholds: Thresholds) -> Iterator[Finding]:
    """Time, uses and value of every action; gas of the session. Actions that allow nothing are passed over."""
    actions = [action for action in grant.actions if action.policies and not action.is_dummy]
    if not any(each.id == "validator_never_signs" for each in review_validator(grant)):
        yield from _Times(grant, actions, now, thresholds).review()
    yield from _uses(grant, actions, thresholds)
    for action in actions:
        yield from _value(grant, action, thresholds)
    if actions:
        yield from _gas(grant, thresholds)


@dataclass(frozen=True, slots=True)
class _Times:
    grant: Grant
    actions: Sequence[ReadAction]
    now: int
    thresholds: Thresholds

    def review(self) -> Iterator[Finding]:
        """One finding for the session where all its actions agree, else one for each that is at fault."""
        windows = [(action, window) for action in self.actions if (window := self._window(action)) is not None]
        for check in (self._endless, self._far, self._over, self._never):
            yield from _gathered(windows, len(self.actions), check)

    def _window(self, action: ReadAction) -> Window | None:
        """When the action may be used: every time frame above it and on it; `None` when one is not known, or never."""
        bearing = self.grant.bearing_on(action)
        if never_passes(self.grant, action):
            return None  # no time at all: that is told as what it is
        if has_unread(bearing, TimeFramePolicy.name):
            return None
        frames = configs_of(bearing, TimeFrame)
        until = min((frame.valid_until or UINT48_MAX for frame in frames), default=UINT48_MAX)
        if until == UINT48_MAX and not self.grant.is_whole:
            return None
        return Window(max((frame.valid_after for frame in frames), default=0), until)

    def _endless(self, what: str, where: Where, window: Window) -> Finding | None:
        if window.valid_until != UINT48_MAX:
            return None
        return finding(
            "no_expiry",
            where,
            f"{what} never expires: a key that leaks works for ever",
            "add a TimeFramePolicy to userOpPolicies (or to every action), with the shortest life that will do",
        )

    def _far(self, what: str, where: Where, window: Window) -> Finding | None:
        ahead = window.valid_until - self.now
        if window.valid_until == UINT48_MAX or ahead <= self.thresholds.far_expiry:
            return None
        days, most = ahead // 86_400, self.thresholds.far_expiry // 86_400
        return finding(
            "far_expiry",
            where,
            f"{what} ends {_date(window.valid_until)}, in {days} days",
            "give seconds since 1970: what it has looks like milliseconds"
            if window.valid_until > NO_SECONDS
            else f"let it end within {most} days and grant it again when it is still wanted",
        )

    def _over(self, what: str, where: Where, window: Window) -> Finding | None:
        if window.valid_until >= self.now or window.valid_after > window.valid_until:
            return None
        return finding(
            "expired",
            where,
            f"{what} ended {_date(window.valid_until)}",
            "revoke the session, or grant it again",
        )

    def _never(self, what: str, where: Where, window: Window) -> Finding | None:
        if window.valid_after <= window.valid_until:
            return None
        return finding(
            "never_allowed",
            where,
            f"{what} starts {_date(window.valid_after)}, after it ends {_date(window.valid_until)}",
            "correct the time frames: all that bear on an action must overlap",
        )


def _gathered(
    windows: Sequence[tuple[ReadAction, Window]],
    actions: int,
    check: Callable[[str, Where, Window], Finding | None],
) -> Iterator[Finding]:
    found = [(window, fault) for action, window in windows if (fault := check(str(action), action.where, window))]
    if len(found) == actions and len({window for window, _ in found}) == 1:
        whole = check("the session", WHOLE_SESSION, found[0][0])
        if whole is not None:
            yield whole
            return
    yield from (fault for _, fault in found)


def _date(unix_seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"


def _uses(grant: Grant, actions: Sequence[ReadAction], thresholds: Thresholds) -> Iterator[Finding]:
    unlimited = [action for action in actions if _is_unlimited(grant, action, thresholds)]
    if unlimited and len(unlimited) == len(actions):
        yield _unlimited_uses("the session", WHOLE_SESSION)
        return
    for action in unlimited:
        yield _unlimited_uses(str(action), action.where)


def _is_unlimited(grant: Grant, action: ReadAction, thresholds: Thresholds) -> bool:
    bearing = grant.bearing_on(action)
    if not grant.is_whole or has_unread(bearing, UsageLimitPolicy.name):
        return False
    return all(config.limit >= thresholds.many_uses for config in configs_of(bearing, UsageLimit))


def _unlimited_uses(what: str, where: Where) -> Finding:
    return finding(
        "unlimited_uses",
        where,
        f"{what} may be used any number of times",
        "add a UsageLimitPolicy with the number of uses that are expected",
    )


def _value(grant: Grant, action: ReadAction, thresholds: Thresholds) -> Iterator[Finding]:
    """Native value: limits on the sum from ValueLimitPolicy, limits on a call from argument policies."""
    bearing = grant.bearing_on(action)
    if action.is_module_call or action.selector in _TAKE_NO_VALUE or has_unread(bearing, *_VALUE_POLICIES):
        return
    if configs_of(action.policies, SpendingLimits):
        return  # refuses any value
    total = min((config.limit for config in configs_of(bearing, ValueLimit)), default=None)
    per_call = min((config.value_limit_per_use for config in rule_configs(action.policies)), default=None)
    uses = min((config.limit for config in configs_of(action.policies, UsageLimit)), default=None)
    if per_call is not None and (uses is not None or per_call == 0):
        product = per_call * (uses or 0)
        total = product if total is None else min(total, product)
    if total is not None and total < thresholds.unlimited_amount:
        if total > thresholds.large_value:
            yield _large_value(action, total)
    elif per_call is not None and per_call < thresholds.unlimited_amount:
        if not has_unread(action.policies, UsageLimitPolicy.name):
            yield _value_per_call(action, per_call)
    elif grant.is_whole:
        yield _unlimited_value(action)


def _large_value(action: ReadAction, total: int) -> Finding:
    return finding(
        "large_value_limit",
        action.where,
        f"{action} may carry {total} wei in all",
        "lower the value limit to what the key needs in the life of the session",
    )


def _value_per_call(action: ReadAction, per_call: int) -> Finding:
    return finding(
        "value_capped_per_call",
        action.where,
        f"{action} may carry {per_call} wei a call, but in any number of calls",
        "add a ValueLimitPolicy for the sum",
    )


def _unlimited_value(action: ReadAction) -> Finding:
    kind = "unlimited_value_transfer" if action.moves_value_only else "unlimited_value"
    return finding(
        kind,
        action.where,
        f"{action} may carry all native currency of the account",
        "add a ValueLimitPolicy, to userOpPolicies for the whole session",
    )


def _gas(grant: Grant, thresholds: Thresholds) -> Iterator[Finding]:
    policies = grant.user_op_policies
    if not grant.is_whole or grant.at_emissary:
        return
    if grant.permits_paymaster and not policies:
        yield finding(
            "paymaster_unusable",
            WHOLE_SESSION,
            "paymasters are permitted, but the module wants a user-operation policy for sponsored operations"
            " (NoPoliciesSet)",
            "add a policy to userOpPolicies, such as the time frame",
        )
    if has_unread(policies, SimpleGasPolicy.name):
        return
    costs = configs_of(policies, GasLimits)
    if not costs:
        payer = "the account's or a sponsor's" if grant.permits_paymaster else "the account's"
        yield finding(
            "unlimited_gas",
            Where(Part.USER_OP_POLICIES),
            f"nothing limits gas: a thief of the key can burn {payer} funds as fees",
            "add a SimpleGasPolicy to userOpPolicies",
        )
    elif (cost := min(config.cost_limit for config in costs)) > thresholds.large_value:
        yield finding(
            "large_gas_limit",
            Where(Part.USER_OP_POLICIES),
            f"gas may cost {cost} wei in all",
            "lower the cost limit to what the expected operations cost",
        )
