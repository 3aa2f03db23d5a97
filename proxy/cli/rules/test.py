"""`sessiongate rules test`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from xml.etree.ElementTree import Element, SubElement, tostring  # written, never read

import typer
from rich.text import Text

from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption
from proxy.cli.render import console
from proxy.cli.rules.sets import FilesArgument, load_cases, load_rules
from proxy.judge.rule import Rule
from proxy.rehearsal.case import Case
from proxy.rehearsal.run_cases import CasesOutcome, Failure, run_cases


def run_rule_cases(
    files: FilesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the outcome as JUnit XML as well.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cases beside the rules.

    The cases of rules/NAME.yaml stand in rules/NAME.cases.yaml. Each is held against its one rule, as if that
    enforced. Exit code 1 when a step comes out otherwise than expected, when a rule has no step that fires or
    none that passes, or when a file is faulty.

    \b
    Examples:
      sessiongate rules test
      sessiongate rules test rules/*.yaml --json
      sessiongate rules test --junit rules.xml
    """
    rules = load_rules(files or (), config, as_json=as_json)
    cases = load_cases(rules, as_json=as_json)
    outcome = run_cases(cases, rules.ruleset)
    if junit is not None:
        junit.write_text(junit_of(cases, outcome), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"cases": len(cases), **_as_json(outcome)}, indent=2))
    else:
        _print(outcome, len(cases), len(rules.ruleset.rules))
    if not outcome.ok:
        raise typer.Exit(ExitCode.REFUSED)


def _word(fires: bool) -> str:
    return "fires" if fires else "passes"


def _as_json(outcome: CasesOutcome) -> dict[str, object]:
    return {
        "ok": outcome.ok,
        "steps": outcome.steps,
        "failures": [
            {
                "rule": failure.case.rule,
                "case": failure.case.name,
                "file": failure.step.place.path,
                "line": failure.step.place.line,
                "column": failure.step.place.column,
                "step": failure.step.number,
                "turn": failure.step.turn,
                "after": failure.step.after,
                "expected": _word(failure.step.fires),
                "got": _word(failure.fired),
                "why": failure.why,
                "counted": list(failure.counted),
            }
            for failure in outcome.failures
        ],
        "takenAsWritten": dict(outcome.as_written),
        "withoutFiring": [rule.id for rule in outcome.unfired],
        "withoutPassing": [rule.id for rule in outcome.unpassed],
    }


def junit_of(cases: Sequence[Case], outcome: CasesOutcome) -> str:
    """The outcome as JUnit XML: a test case for each case, and one for each rule without a step of either kind."""
    suite = Element("testsuite", name="sessiongate rules")
    failed: dict[int, list[Failure]] = {}
    for failure in outcome.failures:
        failed.setdefault(id(failure.case), []).append(failure)
    wrong = 0
    for case in cases:
        place = case.steps[0].place if case.steps else None
        entry = SubElement(suite, "testcase", classname=case.rule, name=case.name)
        if place is not None:
            entry.set("file", place.path)
            entry.set("line", str(place.line))
        if failures := failed.get(id(case)):
            wrong += 1
            text = "\n".join(line.plain for failure in failures for line in _lines(failure))
            SubElement(entry, "failure", message=f"{len(failures)} steps not as expected").text = text
    for missing, rules in (("fires", outcome.unfired), ("passes", outcome.unpassed)):
        for rule in rules:
            wrong += 1
            entry = SubElement(suite, "testcase", classname=rule.id, name=f"has a step that {missing}")
            SubElement(entry, "failure", message=f"no case has a step that {missing}").text = _place(rule)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(wrong))
    return tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _print(outcome: CasesOutcome, cases: int, rules: int) -> None:
    out = console()
    for failure in outcome.failures:
        for line in _lines(failure):
            out.print(line)
    for missing, rules_without in (("fires", outcome.unfired), ("passes", outcome.unpassed)):
        for rule in rules_without:
            out.print(Text(f"{_place(rule)}: rule {rule.id} has no case with a step that {missing}", style="red"))
    wrong = f", {len(outcome.failures)} of them not as expected" if outcome.failures else ""
    out.print(f"{rules} rules, {cases} cases, {outcome.steps} steps{wrong}")
    if outcome.as_written:
        told = ", ".join(f"{key} ({count})" for key, count in outcome.as_written.items())
        out.print(Text(f"taken as written, for no call data tell it: {told}", style="dim"))


def _lines(failure: Failure) -> list[Text]:
    step = failure.step
    turn = f", time {step.turn} of {step.turns}" if step.turns > 1 else ""
    place = f"{step.place.path}:{step.place.line}:{step.place.column}"
    lines = [
        Text(f"{place}: {failure.case.rule}: {failure.case.name}", style="bold"),
        Text(f"    step {step.number}{turn}, {in_time(step.after)} after the start"),
        Text(f"  - {_word(step.fires)}", style="green"),
        Text(f"  + {_word(failure.fired)}{f': {failure.why}' if failure.why else ''}", style="red"),
    ]
    return lines + [Text(f"    counted before: {each}", style="dim") for each in failure.counted]


def in_time(seconds: int) -> str:
    """So many seconds as people write them in cases: `24h10m`."""
    parts = ((seconds // 3_600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _place(rule: Rule) -> str:
    return f"{rule.place.path}:{rule.place.line}:{rule.place.column}"
