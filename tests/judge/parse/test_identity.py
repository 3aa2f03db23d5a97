"""Counters outlive a change of height, mode or words, and begin anew when what is counted changes."""

from __future__ import annotations

import pytest

from tests.judge.builders import TOKENS
from tests.judge.parse.reading import SHOP, ruleset

RULE = f"""
lists: {{shops: {{of: address, values: [{SHOP}]}}}}
macros:
  much: value > 1 ETH
  very: much or op.gas > 1
rules:
  - id: a
    description: It is.
    mode: shadow
    severity: low
    match: {{session: true}}
    when: very and any(c.target in $shops for c in op.calls)
    limit: {{sum: spend, token: USDC, max: 500, per: session, window: 24h}}
"""
OTHERS = {
    "rate": ("rate: {max: 5, per: client, window: 1m}", "max: 5", "max: 6"),
    "first_seen operations": ("first_seen: {of: target, after: 5 ops}", "5 ops", "6 ops"),
    "first_seen time": ("first_seen: {of: target, after: 7d}", "7d", "8d"),
    "deviation factor": ("deviation: {of: value, factor: 5, after: 9 ops}", "factor: 5", "factor: 6"),
    "deviation history": ("deviation: {of: value, factor: 5, after: 9 ops}", "9 ops", "8 ops"),
    "streak": ("streak: {of: reverted, length: 3}", "length: 3", "length: 4"),
}


def _identity(text: str) -> bytes:
    return ruleset(text).rules[0].identity


def _changed(before: str, after: str) -> bytes:
    assert before in RULE
    return _identity(RULE.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("max: 500", "max: 600"),
        ("mode: shadow", "mode: enforce"),
        ("severity: low", "severity: critical"),
        ("description: It is.", "description: It is not."),
        ("    match:", "    remedy: wait\n    tags: [x]\n    fail: closed\n    match:"),
        ("lists:", "# a comment\nlists:"),
    ],
)
def test_the_counters_stay(before: str, after: str) -> None:
    assert _changed(before, after) == _identity(RULE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("id: a", "id: b"),
        ("session: true", "session: true, mode: use"),
        ("very and", "much and"),
        ("per: session", "per: account"),
        ("window: 24h", "window: 23h"),
        ("window: 24h", "window: day"),
        ("sum: spend", "sum: exposure"),
        ("token: USDC", "token: FREE"),
        ("limit: {sum: spend, token: USDC, max: 500, per: session, window: 24h}", "rate: {max: 5, window: 1m}"),
        ("much: value > 1 ETH", "much: value > 2 ETH"),
        (f"values: [{SHOP}]", f"values: [{SHOP}, 0x{'52' * 20}]"),
    ],
)
def test_the_counters_begin_anew(before: str, after: str) -> None:
    assert _changed(before, after) != _identity(RULE)


def test_the_counters_outlive_a_release() -> None:
    assert _identity(RULE).hex() == "2998411b0a7030c4bff94d1c0f4756c7"


@pytest.mark.parametrize("name", OTHERS)
def test_the_counters_of_a_check_stay_when_its_threshold_moves(name: str) -> None:
    check, before, after = OTHERS[name]
    text = f"rules: [{{id: a, description: It is., {check}}}]"
    assert _identity(text) == _identity(text.replace(before, after))


def test_an_identity_has_16_bytes() -> None:
    assert len(_identity(RULE)) == 16


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("max: 500", "max: 600"),
        ("mode: shadow", "mode: enforce"),
        ("description: It is.", "description: It is not."),
        ("much: value > 1 ETH", "much: value > 2 ETH"),
    ],
)
def test_the_digest_changes_with_whatever_is_said(before: str, after: str) -> None:
    assert ruleset(RULE.replace(before, after)).digest != ruleset(RULE).digest


def test_the_digest_changes_with_tokens_and_with_the_order_of_rules() -> None:
    assert ruleset(RULE, tokens=TOKENS.replace("3000 USD", "3001 USD")).digest != ruleset(RULE).digest
    one, two = "rules: [{id: a, description: It is.}]", "rules: [{id: b, description: It is.}]"
    assert ruleset(one, two).digest != ruleset(two, one).digest


def test_the_digest_stays_when_only_layout_and_files_change() -> None:
    one, two = "{id: a, description: It is.}", "{id: b, description: It is.}"
    together = ruleset(f"rules:\n  - {one}\n  # a comment\n  - {two}\n")
    assert together.digest == ruleset(f"rules: [{one}]", f"\n\nrules: [{two}]").digest
