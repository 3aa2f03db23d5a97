"""What is reviewed of a session of a declared module: both when it is granted and when it is in force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.session.addresses import SMART_SESSION
from proxy.session.lint import lint_grant, lint_state
from proxy.userop.arguments import selector
from proxy.userop.declared_acts import GrantedTerms
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import Selector
from tests.session.builders import ACCOUNT, NOW, STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import PLAIN
from tests.session.test_granted import a_call, grant, in_force

DAY = 86_400
PLAY = selector("play(uint256)")
GOOD: dict[str, Any] = {"max_value": 0, "max_uses": 9, "valid_until": NOW + DAY}


def both(*calls: Any, **changes: Any) -> set[str]:
    """The ids of what is found, which are the same for the grant and for the session it makes."""
    granting = {finding.id for finding in lint_grant(grant(*calls, **changes), now=NOW)}
    assert {finding.id for finding in lint_state(in_force(*calls, **changes), now=NOW)} == granting
    return granting


def test_a_narrow_grant_is_nothing_to_talk_about() -> None:
    assert both(a_call(TOKEN, PLAY, **GOOD)) == set()


def test_uses_that_are_operations_bound_no_sum_of_calls() -> None:
    some = {**GOOD, "max_value": 10**15, "max_uses": 9}
    assert both(a_call(TOKEN, PLAY, **some)) == set()
    assert both(a_call(TOKEN, PLAY, **some, per_operation=True)) == {"value_capped_per_call"}


@pytest.mark.parametrize(
    ("target", "function", "terms", "found"),
    [
        (TOKEN, PLAY, {"valid_until": (1 << 48) - 1}, "no_expiry"),
        (TOKEN, PLAY, {"valid_until": NOW + 300 * DAY}, "far_expiry"),
        (TOKEN, PLAY, {"valid_until": NOW - 1}, "expired"),
        (TOKEN, PLAY, {"valid_after": NOW + 2 * DAY}, "never_allowed"),
        (TOKEN, PLAY, {"max_uses": None}, "unlimited_uses"),
        (TOKEN, PLAY, {"max_uses": 2**32 - 1}, "unlimited_uses"),
        (TOKEN, PLAY, {"max_value": None}, "unlimited_value"),
        (TOKEN, PLAY, {"max_value": 2**256 - 1}, "unlimited_value"),
        (TOKEN, PLAY, {"max_value": 5 * 10**18}, "large_value_limit"),
        (TOKEN, None, {}, "rules_restrict_nothing"),
        (TOKEN, TRANSFER, {}, "token_uncapped"),
        (TOKEN, selector("setApprovalForAll(address,bool)"), {}, "operator_approval"),
        (STRANGER, selector("upgradeTo(address)"), {}, "administration_function"),
        (ACCOUNT, PLAY, {}, "own_account_target"),
        (PLAIN, PLAY, {}, "session_module_call"),
        (SMART_SESSION, PLAY, {}, "session_module_target"),
        (ENTRY_POINTS[1].address, PLAY, {}, "entry_point_target"),
    ],
)
def test_what_is_dangerous_or_useless_is_named(target: Any, function: Selector | None, terms: Any, found: str) -> None:
    assert found in both(a_call(target, function, **{**GOOD, **terms}))


def test_value_of_any_number_of_calls_has_no_sum() -> None:
    assert "value_capped_per_call" in both(a_call(TOKEN, PLAY, **{**GOOD, "max_value": 5, "max_uses": None}))


def test_terms_over_all_calls_bound_each() -> None:
    whole = GrantedTerms(max_total=5, max_uses=9, valid_until=NOW + DAY)
    wide = {"max_value": None}
    assert both(a_call(TOKEN, PLAY, **wide), terms=whole) == set()


def test_a_session_that_can_call_nothing_is_named() -> None:
    nothing = lint_grant(replace(grant(), calls=()), now=NOW)
    assert [finding.id for finding in nothing] == ["nothing_allowed"]
