"""Cases run on the real judge and the real ledger, and a failure says what was expected, what came, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.judge.parse import SourceFile, parse_rules
from proxy.rehearsal.cases import read_cases
from proxy.rehearsal.run_cases import faults_of, run_case, run_cases
from tests.rehearsal.builders import DAILY, DAILY_CASES, cases, rules, steps

FOLDER = Path(__file__).parents[2] / "rules"
PACKS = sorted(path.with_name(path.name.replace(".cases", "")) for path in FOLDER.rglob("*.cases.yaml"))

COUNT = DAILY.replace("sum: spend, token: USDC, max: 500", "count: ops, max: 2")


def fired(text: str, *lines: str) -> list[bool]:
    """What the only rule says of each step, whatever was expected."""
    (case,) = cases(steps(*lines))
    said = []
    for index in range(len(case.steps)):
        failed = run_case(replace(case, steps=case.steps[: index + 1]), rules(text).rules[0], rules(text))
        expected = case.steps[index].fires
        wrong = any(each.step is case.steps[index] for each in failed)
        said.append(expected is not wrong)
    return said


def test_cases_that_hold_are_well() -> None:
    outcome = run_cases(cases(DAILY_CASES), rules(DAILY))
    assert (outcome.ok, outcome.steps, outcome.failures) == (True, 3, ())


def test_a_failure_says_what_had_been_counted_and_what_the_rule_said() -> None:
    wrong = DAILY_CASES.replace("spend: 1 USDC, expect: fires", "spend: 1 USDC, expect: passes")
    (failure,) = run_cases(cases(wrong), rules(DAILY)).failures
    assert (failure.step.number, failure.step.place.line, failure.fired) == (2, 6, True)
    assert failure.counted == ("500 USDC",)
    assert failure.why is not None


def test_a_step_that_the_rule_has_nothing_to_do_with_says_so() -> None:
    (failure,) = run_cases(cases(steps("session: none, spend: 900 USDC, expect: fires")), rules(DAILY)).failures
    assert not failure.fired
    assert failure.counted[0].startswith("nothing: the operation does not match")


def test_a_rule_needs_a_case_that_fires_and_one_that_passes() -> None:
    outcome = run_cases(cases(steps("spend: 1 USDC, expect: passes")), rules(DAILY))
    assert ([rule.id for rule in outcome.unfired], outcome.unpassed, outcome.ok) == (["daily"], (), False)
    outcome = run_cases(cases(steps("spend: 501 USDC, expect: fires")), rules(DAILY))
    assert (outcome.unfired, [rule.id for rule in outcome.unpassed], outcome.ok) == ((), ["daily"], False)


def test_a_case_of_no_rule_is_told_with_the_nearest_one() -> None:
    (fault,) = faults_of(cases(steps("expect: passes", rule="dayly")), rules(DAILY))
    assert str(fault) == "rules/a.cases.yaml:2:5: there is no rule 'dayly'; did you mean \"daily\"?"


@pytest.mark.parametrize("ending", ["reverts", "dropped", "refused"])
def test_what_was_not_moved_in_the_end_is_given_back(ending: str) -> None:
    assert fired(DAILY, f"spend: 500 USDC, expect: passes, then: {ending}", "spend: 500 USDC, expect: passes") == [
        False,
        False,
    ]


@pytest.mark.parametrize("ending", ["succeeds", "in_flight"])
def test_what_is_moved_or_may_be_counts(ending: str) -> None:
    assert fired(DAILY, f"spend: 500 USDC, expect: passes, then: {ending}", "spend: 1 USDC, expect: fires") == [
        False,
        True,
    ]


@pytest.mark.parametrize(("ending", "third"), [("reverts", True), ("dropped", False), ("refused", False)])
def test_a_use_stays_used_when_the_operation_reverts_and_not_when_it_was_never_mined(ending: str, third: bool) -> None:
    lines = ["expect: passes", f"expect: passes, then: {ending}", f"expect: {'fires' if third else 'passes'}"]
    assert fired(COUNT, *lines) == [False, False, third]


def test_a_replacement_takes_the_place_of_what_it_replaces() -> None:
    lines = ["spend: 300 USDC, expect: passes, then: in_flight", "same_nonce: true, spend: 400 USDC, expect: passes"]
    assert fired(DAILY, *lines) == [False, False]
    other = lines[1].replace("same_nonce: true, ", "").replace("passes", "fires")
    assert fired(DAILY, lines[0], other) == [False, True]


def test_an_estimate_uses_nothing() -> None:
    previewed = DAILY.replace("match: {session: true}", "match: {session: true, preview: any}")
    assert fired(previewed, "preview: true, spend: 500 USDC, expect: passes", "spend: 500 USDC, expect: passes") == [
        False,
        False,
    ]


def test_what_the_chain_refuses_uses_nothing() -> None:
    heard = DAILY.replace("match: {session: true}", "match: {session: true, verdict: any}")
    lines = ["verdict: session_scope, spend: 500 USDC, expect: passes", "spend: 500 USDC, expect: passes"]
    assert fired(heard, *lines) == [False, False]


def test_what_the_rule_refused_is_not_counted() -> None:
    lines = ["spend: 501 USDC, expect: fires", "spend: 500 USDC, expect: passes", "spend: 1 USDC, expect: fires"]
    assert fired(DAILY, *lines) == [True, False, True]


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.stem)
def test_in_every_pack_no_expectation_could_be_the_other_way_round(path: Path) -> None:
    tokens = [SourceFile("tokens.yaml", (FOLDER / "tokens.yaml").read_text(encoding="utf-8"))]
    parsed = parse_rules([SourceFile(path.name, path.read_text(encoding="utf-8"))], tokens, chains=None, clients=None)
    assert parsed.ruleset is not None, parsed.faults
    written = path.with_suffix(".cases.yaml")
    file = read_cases(written.read_text(encoding="utf-8"), written.name, parsed.ruleset.tokens)
    assert file.faults == ()
    turned = [
        replace(case, steps=tuple(replace(step, fires=not step.fires) for step in case.steps)) for case in file.cases
    ]
    outcome = run_cases(turned, parsed.ruleset)
    assert len(outcome.failures) == outcome.steps > 0
