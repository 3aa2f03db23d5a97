"""How much work thousands of rules are: what many of them share is read once, and each one more costs as little."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from proxy.judge.evaluate import Judge
from proxy.judge.expression import Expression, ExpressionFault, ExpressionScope, compile_expression
from proxy.judge.parse import terms
from proxy.plain_yaml import read_lines
from tests.judge.parse.many import ASKED, many, parsed

CALLS_A_RULE = 256
"""Python's own, of a rule with a match of its own: 171 to read it and 80 to make it ready, when this was written. Ten
thousand rules in two seconds are some three hundred and forty for each."""


def calls_to_load(number: int) -> int:
    text, made = many(number), 0

    def count(_frame: FrameType, event: str, _what: object) -> None:
        nonlocal made
        made += event == "call"

    sys.setprofile(count)
    try:
        read = parsed(text)
        assert read.ruleset is not None
        judge = Judge(read.ruleset)
    finally:
        sys.setprofile(None)
    assert judge.size == number
    return made


def test_a_condition_that_many_rules_have_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def count(source: str, scope: ExpressionScope) -> Expression | tuple[ExpressionFault, ...]:
        compiled.append(source)
        return compile_expression(source, scope)

    monkeypatch.setattr(terms, "compile_expression", count)
    assert parsed(many(200)).ruleset is not None
    assert len(compiled) == 2


def test_a_check_that_many_rules_have_is_one_record() -> None:
    ruleset = parsed(many(200)).ruleset
    assert ruleset is not None
    checks = [rule.check for rule in ruleset.rules if rule.check is not None]
    assert len(checks) == 150
    assert len({id(check) for check in checks}) == 6


def test_one_rule_more_costs_the_same_however_many_there_are() -> None:
    parsed(many(len(ASKED)))  # time zones and the like are looked up once
    few, some, more = calls_to_load(400), calls_to_load(800), calls_to_load(1_600)
    assert more - some <= 2.02 * (some - few)
    assert (more - some) / 800 <= CALLS_A_RULE


def test_a_faulty_check_that_two_rules_have_is_told_of_both() -> None:
    faulty = "{{id: {}, description: It is., limit: {{count: ops, max: none, window: 1h}}}}"
    read = parsed(f"rules:\n  - {faulty.format('a')}\n  - {faulty.format('b')}\n")
    assert [(fault.rule, fault.place.line) for fault in read.faults] == [("a", 2), ("b", 3)]


def test_rules_as_programs_write_them_are_read_line_by_line() -> None:
    assert read_lines(many(8), 50) is not None
