"""Cases run: each against its one rule, as if that enforced, with a fresh ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from proxy.document import did_you_mean
from proxy.judge.counts import Amounts, History, Row, Seen
from proxy.judge.measure import print_measure
from proxy.judge.rule import Limit, Rule, Ruleset
from proxy.judge.verdict import Mode
from proxy.rehearsal.case import Case, CaseFault, Step
from proxy.rehearsal.rehearse import Rehearsal, Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A step of which the rule said something else than was expected; `counted` is what it had counted before."""

    case: Case
    step: Step
    fired: bool
    why: str | None
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesOutcome:
    """What came of running cases. `unfired` and `unpassed` are rules without a case that shows the one or the other;
    `as_written` is by field the number of steps in which the field was taken as written."""

    steps: int
    failures: tuple[Failure, ...]
    unfired: tuple[Rule, ...]
    unpassed: tuple[Rule, ...]
    as_written: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether all is as expected, and every rule is shown to fire and not to."""
        return not (self.failures or self.unfired or self.unpassed)


def faults_of(cases: Iterable[Case], ruleset: Ruleset) -> list[CaseFault]:
    """Cases of rules that are not there."""
    known = [rule.id for rule in ruleset.rules]
    return [
        CaseFault(
            place=case.place, problem=f"there is no rule {case.rule!r}", suggestion=did_you_mean(case.rule, known)
        )
        for case in cases
        if case.rule not in known
    ]


def run_cases(cases: Sequence[Case], ruleset: Ruleset) -> CasesOutcome:
    """Run them all. Cases of rules that are not in the set are passed over: `faults_of` tells of them."""
    rules = {rule.id: rule for rule in ruleset.rules}
    failures: list[Failure] = []
    shown: dict[bool, set[str]] = {True: set(), False: set()}
    as_written: Counter[str] = Counter()
    for case in cases:
        if (rule := rules.get(case.rule)) is not None:
            failures += run_case(case, rule, ruleset)
            for step in case.steps:
                shown[step.fires].add(rule.id)
                as_written.update(step.as_written)
    return CasesOutcome(
        steps=sum(len(case.steps) for case in cases if case.rule in rules),
        failures=tuple(failures),
        unfired=tuple(rule for rule in ruleset.rules if rule.id not in shown[True]),
        unpassed=tuple(rule for rule in ruleset.rules if rule.id not in shown[False]),
        as_written=dict(as_written),
    )


def run_case(case: Case, rule: Rule, ruleset: Ruleset) -> list[Failure]:
    """The steps of which the rule says something else. All are run: a later one may tell more."""
    enforced = replace(rule, mode=Mode.ENFORCE)
    rehearsal = Rehearsal(replace(ruleset, rules=(enforced,)))
    failures = []
    for step in case.steps:
        said = rehearsal.hear(step.facts, step.ending)
        hit = next(iter(said.finding.hits), None)
        if (hit is not None) is not step.fires:
            why = None if hit is None else hit.sentence
            if hit is None and said.finding.opened:
                why = "a fact is missing, and the rule fails open"
            counted = tuple(_counted(said, step, enforced, ruleset))
            failures.append(Failure(case=case, step=step, fired=hit is not None, why=why, counted=counted))
    return failures


def _counted(said: Said, step: Step, rule: Rule, ruleset: Ruleset) -> Iterable[str]:
    if not said.asked and not said.finding.hits:
        yield "nothing: the operation does not match, its condition does not hold, or it is excepted"
    for found in said.asked.values():
        yield _in_words(found, step, rule, ruleset)


def _in_words(found: int | Collection[bytes] | History | None, step: Step, rule: Rule, ruleset: Ruleset) -> str:
    match found:
        case None:
            return "no history yet"
        case int():
            check = rule.check
            measured = check.amount if isinstance(check, Limit) else None
            return (
                str(found) if measured is None else print_measure(found, measured, step.facts.chain_id, ruleset.tokens)
            )
        case Seen():
            return (
                f"{_many(found.operations, 'operation')} since {int(step.facts.unix_time - found.since)} s, "
                + _many(len(found.sights), "different thing")
            )
        case Amounts():
            return (
                f"{_many(found.operations, 'operation')}, the latest amounts {', '.join(map(str, found.recent[-8:]))}"
            )
        case Row():
            return f"{found.length} in a row"
        case _:
            return _many(len(found), "different thing")


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
