"""Which rules ever fire: over the past, or over the cases beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from proxy.judge.rule import Rule, Ruleset
from proxy.judge.verdict import Mode
from proxy.rehearsal.backtest import Recorded
from proxy.rehearsal.case import Case
from proxy.rehearsal.rehearse import Rehearsal


@dataclass(slots=True, kw_only=True)
class Covered:
    """How often a rule fired, when first and last (unix seconds), and how often it let pass for want of a fact."""

    rule: Rule
    fired: int = 0
    opened: int = 0
    first: float | None = None
    last: float | None = None


def coverage_of_past(
    ruleset: Ruleset, past: Iterable[Recorded], *, heard: Callable[[], None] = lambda: None
) -> list[Covered]:
    """The rules in file order, held against the past together. Rules that are off never fire."""
    covered = {rule.id: Covered(rule=rule) for rule in ruleset.rules}
    rehearsal = Rehearsal(ruleset)
    for recorded in past:
        _note(covered, rehearsal, recorded)
        heard()
    return list(covered.values())


def coverage_of_cases(ruleset: Ruleset, cases: Iterable[Case]) -> list[Covered]:
    """The rules in file order, each by its own cases, as if it enforced."""
    covered = {rule.id: Covered(rule=rule) for rule in ruleset.rules}
    for case in cases:
        if (found := covered.get(case.rule)) is None:
            continue
        alone = replace(ruleset, rules=(replace(found.rule, mode=Mode.ENFORCE),))
        rehearsal = Rehearsal(alone)
        for step in case.steps:
            _note(covered, rehearsal, Recorded(facts=step.facts, ending=step.ending))
    return list(covered.values())


def _note(covered: dict[str, Covered], rehearsal: Rehearsal, recorded: Recorded) -> None:
    finding = rehearsal.hear(recorded.facts, recorded.ending).finding
    for hit in finding.hits:
        found = covered[hit.rule.id]
        found.fired += 1
        found.first = recorded.facts.unix_time if found.first is None else found.first
        found.last = recorded.facts.unix_time
    for name in finding.opened:
        covered[name].opened += 1
