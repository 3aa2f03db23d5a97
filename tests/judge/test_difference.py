"""What a reload changes is told rule by rule and field by field."""

from __future__ import annotations

from proxy.judge.difference import difference
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.rule import Ruleset
from tests.judge.builders import judge_of

RULE = """\
  - id: {id}
    description: A rule.
    mode: {mode}
    match: {{session: true, target: ["0x1111111111111111111111111111111111111111"{more}]}}
    limit: {{count: ops, max: {max}, per: session, window: {window}}}
"""


def rule(name: str = "burst", *, mode: str = "alert", maximum: int = 5, window: str = "1h", more: str = "") -> str:
    return RULE.format(id=name, mode=mode, max=maximum, window=window, more=more)


def ruleset(*rules: str, tokens: str = "") -> Ruleset:
    files = [SourceFile("tokens.yaml", tokens)] if tokens else []
    parsed = parse_rules([SourceFile("a.yaml", "rules:\n" + "".join(rules))], files, chains=None, clients=None)
    assert parsed.ruleset is not None, [str(fault) for fault in parsed.faults]
    return parsed.ruleset


def test_a_set_does_not_differ_from_itself_wherever_its_rules_are_written() -> None:
    moved = ruleset("  # a line more\n", rule())
    assert not difference(ruleset(rule()), moved)
    assert list(difference(ruleset(rule()), moved).lines(moved)) == []


def test_rules_that_come_and_go_are_named() -> None:
    after = ruleset(rule("two"), rule("three"))
    found = difference(ruleset(rule("one"), rule("two")), after)
    assert (found.added, found.removed, found.changed, found.reordered) == (("three",), ("one",), (), False)
    assert list(found.lines(after)) == ["added three in mode alert", "removed one"]


def test_a_new_maximum_and_mode_are_told_with_what_they_were_and_the_counts_stay() -> None:
    after = ruleset(rule(mode="shadow", maximum=6))
    (change,) = difference(ruleset(rule()), after).changed
    assert {(each.field, each.before, each.after) for each in change.changes} >= {("mode", "alert", "shadow")}
    (maximum,) = [each for each in change.changes if each.field == "check.maximum"]
    assert (maximum.before, maximum.after) == ("5", "6")
    assert not change.counts_anew
    assert "anew" not in str(change)


def test_a_maximum_is_told_in_peoples_units_once_for_all_chains() -> None:
    daily = (
        "- {id: d, description: d, mode: alert, limit: {sum: spend, token: USDC, max: %s, per: session, window: 1d}}"
    )
    (change,) = difference(judge_of(daily % "500").ruleset, judge_of(daily % "600.5 USDC").ruleset).changed
    assert [(each.before, each.after) for each in change.changes] == [("500 USDC", "600.5 USDC")]


def test_what_is_counted_anew_is_told() -> None:
    (change,) = difference(ruleset(rule()), ruleset(rule(window="2h"))).changed
    assert [(each.field, each.before, each.after) for each in change.changes] == [
        ("check.window.seconds", "3600", "7200")
    ]
    assert change.counts_anew
    assert str(change).endswith("it counts anew")


def test_a_further_target_is_told_as_an_address() -> None:
    more = ', "0x2222222222222222222222222222222222222222"'
    (change,) = difference(ruleset(rule()), ruleset(rule(more=more))).changed
    (field,) = change.changes
    assert field.field == "match.targets"
    assert field.before == "{0x" + "11" * 20 + "}"
    assert "0x" + "22" * 20 in field.after


def test_another_order_and_other_tokens_are_told() -> None:
    tokens = 'tokens:\n  ETH: {native: true, price: "%s USD"}\n'
    before = ruleset(rule("one"), rule("two"), tokens=tokens % 3000)
    after = ruleset(rule("two"), rule("one"), tokens=tokens % 2000)
    found = difference(before, after)
    assert (found.reordered, found.tokens) == (True, ("ETH",))
    assert list(found.lines(after)) == ["changed tokens ETH", "rules stand in another order"]
