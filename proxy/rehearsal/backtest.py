"""The past judged again: an old set of rules beside a new one, over the same operations in the order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from proxy.judge.evaluate import RulesFinding
from proxy.judge.facts import ALLOWED, Facts
from proxy.judge.rule import Ruleset
from proxy.judge.verdict import Mode
from proxy.rehearsal.case import Ending
from proxy.rehearsal.rehearse import Rehearsal
from proxy.userop.primitives import Address, Hash32


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An operation of the past, and what became of it, or is taken to have become of it."""

    facts: Facts
    ending: Ending = Ending.SUCCEEDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An operation that the two sets answer differently. `rules` are those that refuse it, in the one that does."""

    unix_time: float
    chain: str
    client: str
    account: Address
    permission_id: Hash32 | None
    user_op_hash: Hash32
    rules: tuple[str, ...]
    sentence: str


@dataclass(slots=True, kw_only=True)
class Day:
    """One day, in UTC. Alerts are by rule, of both sets."""

    operations: int = 0
    rejected_before: int = 0
    rejected_after: int = 0
    alerts_before: Counter[str] = field(default_factory=Counter)
    alerts_after: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class SetComparison:
    """What the new set would have changed. `refused` operations the chain refused: no rule changes that."""

    operations: int = 0
    refused: int = 0
    newly_rejected: list[Change] = field(default_factory=list)
    newly_allowed: list[Change] = field(default_factory=list)
    days: dict[str, Day] = field(default_factory=dict)
    fired_before: Counter[str] = field(default_factory=Counter)
    fired_after: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)  # let pass for want of a fact, by the new set


def backtest(
    old: Ruleset,
    new: Ruleset,
    past: Iterable[Recorded],
    *,
    ceiling: Mode = Mode.ENFORCE,
    heard: Callable[[], None] = lambda: None,
) -> SetComparison:
    """Hold both sets against the past, each with counts of its own. `heard` is called after every operation.

    An operation that the chain's own verdict refused stays refused. One that the old set refused and the new one
    lets through is taken to have been mined, as nobody knows.
    """
    before, after, found = Rehearsal(old, ceiling=ceiling), Rehearsal(new, ceiling=ceiling), SetComparison()
    for recorded in past:
        facts = recorded.facts
        first = before.hear(facts, recorded.ending).finding
        second = after.hear(facts, recorded.ending).finding
        _note(found, facts, first, second)
        heard()
    return found


def _note(found: SetComparison, facts: Facts, first: RulesFinding, second: RulesFinding) -> None:
    day = found.days.setdefault(day_of(facts.unix_time), Day())
    found.operations += 1
    day.operations += 1
    found.fired_before.update(hit.rule.id for hit in first.hits)
    found.fired_after.update(hit.rule.id for hit in second.hits)
    found.opened.update(second.opened)
    day.alerts_before.update(hit.rule.id for hit in first.hits if hit.mode is Mode.ALERT)
    day.alerts_after.update(hit.rule.id for hit in second.hits if hit.mode is Mode.ALERT)
    if facts.verdict != ALLOWED:
        found.refused += 1
        return
    day.rejected_before += bool(first.rejections)
    day.rejected_after += bool(second.rejections)
    if second.rejections and not first.rejections:
        found.newly_rejected.append(_change(facts, second))
    elif first.rejections and not second.rejections:
        found.newly_allowed.append(_change(facts, first))


def _change(facts: Facts, finding: RulesFinding) -> Change:
    return Change(
        unix_time=facts.unix_time,
        chain=facts.chain,
        client=facts.client,
        account=facts.account,
        permission_id=facts.permission_id,
        user_op_hash=facts.user_op_hash,
        rules=tuple(hit.rule.id for hit in finding.rejections),
        sentence=finding.rejections[0].sentence,
    )


def day_of(unix_time: float) -> str:
    """The day of a moment, in UTC."""
    return f"{datetime.fromtimestamp(unix_time, UTC):%Y-%m-%d}"
