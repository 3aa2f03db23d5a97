"""An override changes what it names of a rule read earlier, in any file, and nothing else."""

from __future__ import annotations

from proxy.judge.rule import Fail, Limit, Rate, Rule
from proxy.judge.verdict import Mode
from proxy.session.lint.findings import Severity
from tests.judge.parse.reading import SHOP, read, ruleset

OTHER = "0x" + "52" * 20
BASE = f"""
rules:
  - id: a
    description: First.
    mode: shadow
    severity: high
    tags: [one]
    match: {{target: {SHOP}, session: true}}
    limit: {{count: ops, max: 3, per: session, window: 1h}}
    except: [{{match: {{client: bot}}, reason: ours}}]
  - id: b
    description: Second.
"""


def _first(override: str) -> Rule:
    return ruleset(BASE, f"rules:\n  - {{extends: a, {override}}}\n").rules[0]


def test_an_override_replaces_the_fields_it_gives_and_keeps_the_others() -> None:
    rule, before = _first("mode: enforce"), ruleset(BASE).rules[0]
    assert (before.mode, rule.mode) == (Mode.SHADOW, Mode.ENFORCE)
    assert (rule.severity, rule.match, rule.check, rule.tags) == (
        Severity.HIGH,
        before.match,
        before.check,
        before.tags,
    )
    assert (rule.id, rule.order, rule.place) == (before.id, 0, before.place)


def test_the_default_of_fail_follows_the_mode_that_the_override_sets() -> None:
    assert ruleset(BASE).rules[0].fail is Fail.OPEN
    assert _first("mode: enforce").fail is Fail.CLOSED
    assert _first("mode: enforce, fail: open").fail is Fail.OPEN


def test_a_check_takes_the_place_of_the_check_there_was() -> None:
    assert isinstance(_first("rate: {max: 2, window: 1m}").check, Rate)
    changed = _first("limit: {count: ops, max: 9, window: 1h}").check
    assert isinstance(changed, Limit)
    assert (changed.maximum, changed.per) == ({0: 9}, ())


def test_without_append_match_tags_and_exceptions_are_replaced() -> None:
    rule = _first(f"tags: two, match: {{target: {OTHER}}}, except: {{when: op.preview, reason: no}}")
    assert rule.tags == ("two",)
    assert rule.match.session is None
    assert rule.match.targets == frozenset({bytes.fromhex(OTHER[2:])})
    assert [each.reason for each in rule.exemptions] == ["no"]


def test_append_adds_to_match_tags_and_exceptions_and_replaces_the_rest() -> None:
    rule = _first(
        f"append: true, tags: two, match: {{target: {OTHER}}}, except: {{when: op.preview, reason: no}}, mode: alert"
    )
    assert rule.tags == ("one", "two")
    assert rule.match.session is True
    assert rule.match.targets == frozenset(bytes.fromhex(each[2:]) for each in (SHOP, OTHER))
    assert [each.reason for each in rule.exemptions] == ["ours", "no"]
    assert rule.mode is Mode.ALERT


def test_append_false_replaces() -> None:
    assert _first("append: false, tags: two").tags == ("two",)


def test_of_two_overrides_the_later_one_counts() -> None:
    rules = ruleset(BASE, "rules:\n  - {extends: a, mode: alert}\n  - {extends: a, mode: enforce}\n").rules
    assert [(rule.id, rule.mode) for rule in rules] == [("a", Mode.ENFORCE), ("b", Mode.SHADOW)]


def test_a_fault_of_an_override_is_told_where_the_override_stands_and_of_which_rule() -> None:
    (fault,) = read(BASE, "rules:\n  - {extends: a, mode: enforc}\n").faults
    assert (fault.place.path, fault.place.line, fault.place.column, fault.rule) == ("rules/b.yaml", 2, 24, "a")


def test_who_owns_a_rule_and_who_is_told_is_kept_overridden_and_added_to() -> None:
    told = "owner: treasury, runbook: https://runbooks.example/a, notify: [soc]"
    rule = _first(told)
    assert (rule.owner, rule.runbook, rule.notify) == ("treasury", "https://runbooks.example/a", ("soc",))
    base = BASE.replace("tags: [one]", "tags: [one]\n    notify: soc\n    owner: treasury")
    rule = ruleset(base, "rules:\n  - {extends: a, append: true, notify: [oncall, soc]}\n").rules[0]
    assert (rule.owner, rule.notify) == ("treasury", ("soc", "oncall"))


def test_an_owner_that_is_no_text_is_a_fault_at_its_place() -> None:
    (fault,) = read(BASE + "    owner: [x]\n").faults
    assert (fault.rule, fault.problem) == ("b", "wanted a text, got a list")
