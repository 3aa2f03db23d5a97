"""Each kind of check asked plainly: nothing worked out before, nothing shared with another rule. See `plain_walk`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from proxy.judge.asked import CheckAnswer, in_words, name_of
from proxy.judge.counts import (
    Amounts,
    CountKey,
    Counts,
    DistinctCharge,
    Lesson,
    MarksLesson,
    OutcomeLesson,
    Row,
    RuleCharge,
    Seen,
    ValueLesson,
    WindowCharge,
)
from proxy.judge.facts import Facts
from proxy.judge.group import MOST_PLACES, chain_part, groups_of, join, mark_of, marks_of, spread
from proxy.judge.history import deviates
from proxy.judge.measure import measure, measured_by, measured_by_recipient, print_measure
from proxy.judge.rule import (
    AmountOf,
    Check,
    Deviation,
    FirstSeen,
    Floor,
    Limit,
    Per,
    Rate,
    Rule,
    Schedule,
    Streak,
    Sum,
    Window,
)
from proxy.judge.tokens import Tokens
from proxy.judge.verdict import Mode

SPLITTING = (Per.TARGET, Per.RECIPIENT, Per.TOKEN)
GIVEN_BACK = (Sum.SPEND, Sum.EXPOSURE, Sum.VALUE)

Allowed = Callable[[str, bytes, float], bool]


@dataclass(kw_only=True)
class PlainOutcome:
    answer: CheckAnswer
    sentence: str = ""
    wanted: str | None = None
    got: str | None = None
    retryable: bool = False
    charges: Sequence[RuleCharge] = ()
    lessons: Sequence[Lesson] = ()
    rows: Sequence[CountKey] = ()


@dataclass(frozen=True, slots=True)
class PlainQuestion:
    """One rule and one operation."""

    rule: Rule
    facts: Facts
    counts: Counts
    tokens: Tokens
    mode: Mode
    allowed: Allowed

    @property
    def binding(self) -> bool:
        return self.mode is Mode.ENFORCE

    @property
    def overflows(self) -> bool:
        return self.mode is Mode.ALERT

    def key(self, group: bytes) -> CountKey:
        return CountKey(self.rule.identity, group)

    def keys(self, per: tuple[Per, ...]) -> list[CountKey]:
        return [self.key(group) for group in groups_of(self.facts, per)]


QUIET = PlainOutcome(answer=CheckAnswer.QUIET)


def unknown(what: str) -> PlainOutcome:
    return PlainOutcome(answer=CheckAnswer.UNKNOWN, sentence=f"{what} cannot be told of this operation")


def amounts_of(asked: PlainQuestion, measured: AmountOf, per: tuple[Per, ...]) -> list[tuple[CountKey, int]] | None:
    """How much the operation adds to each group; `None` when an amount is not told."""
    splitting = next((each for each in per if each in SPLITTING), None)
    if splitting is None:
        amount = measure(asked.facts, measured, asked.tokens)
        return None if amount is None else [(key, amount) for key in asked.keys(per)]
    parts = measured_by(asked.facts, measured, asked.tokens, splitting)
    if parts is None:
        return None
    if splitting is not Per.RECIPIENT:  # who receives is the same on every chain
        parts = [(chain_part(asked.facts) + part, amount) for part, amount in parts]
    others = [each for each in per if each is not splitting]
    if not others:
        return [(asked.key(part), amount) for part, amount in parts]
    first = per.index(splitting) == 0
    return [
        (asked.key(join(part, group) if first else join(group, part)), amount)
        for part, amount in parts
        for group in groups_of(asked.facts, (others[0],))
    ]


def printed(asked: PlainQuestion, amount_of: AmountOf, amount: int) -> str:
    return print_measure(amount, amount_of, asked.facts.chain_id, asked.tokens)


def answer(asked: PlainQuestion, check: Check) -> PlainOutcome:
    """What a check says. One operation that would be counted in too many places is told by no count."""
    if not isinstance(check, Schedule):
        of = check.of if isinstance(check, Limit | FirstSeen) else None
        if spread(asked.facts, check.per, of) > MOST_PLACES:
            return PlainOutcome(
                answer=CheckAnswer.UNKNOWN, sentence=f"it would be counted in more than {MOST_PLACES} places"
            )
    return _CHECKS[type(check)](asked, check)


# limits


def _limit(asked: PlainQuestion, check: Limit) -> PlainOutcome:
    maximum = check.maximum_on(asked.facts.chain_id)
    if maximum is None:
        return QUIET  # its token is not on this chain
    return _LIMITS[check.kind](asked, check, maximum)


def _each(asked: PlainQuestion, limit: Limit, maximum: int) -> PlainOutcome:
    if limit.amount is None:
        return unknown("the amount")
    amount = measure(asked.facts, limit.amount, asked.tokens)
    if amount is None:
        return unknown(name_of(limit.amount))
    if amount <= maximum:
        return QUIET
    wanted, got = (printed(asked, limit.amount, each) for each in (maximum, amount))
    sentence = f"{name_of(limit.amount)} of {got} in one operation, {wanted} allowed"
    return PlainOutcome(answer=CheckAnswer.FIRES, sentence=sentence, wanted=f"at most {wanted}", got=got)


def _count(asked: PlainQuestion, limit: Limit, maximum: int) -> PlainOutcome:
    amounts = [(key, 1) for key in asked.keys(limit.per)]
    return _within(asked, limit.window, maximum, amounts, _Words("operations", str), lasting=True)


def _sum(asked: PlainQuestion, limit: Limit, maximum: int) -> PlainOutcome:
    measured = limit.amount
    if measured is None:
        return unknown("the amount")
    amounts = amounts_of(asked, measured, limit.per)
    if amounts is None:
        return unknown(name_of(measured))
    words = _Words(name_of(measured), lambda amount: printed(asked, measured, amount))
    lasting = measured.what not in GIVEN_BACK
    return _within(asked, limit.window, maximum, amounts, words, lasting=lasting)


@dataclass(frozen=True, slots=True)
class _Words:
    """What is counted, and how its amounts are printed."""

    name: str
    printed: Callable[[int], str]


def _within(
    asked: PlainQuestion,
    window: Window | None,
    maximum: int,
    amounts: Sequence[tuple[CountKey, int]],
    words: _Words,
    *,
    lasting: bool,
) -> PlainOutcome:
    if window is None:
        return unknown("the window")
    charges = []
    fired: PlainOutcome | None = None
    for key, amount in amounts:
        if not amount:
            continue
        used = asked.counts.total(key, window)
        if used + amount > maximum and fired is None:
            fired = _over(window, maximum, used, amount, words)
            if not asked.overflows:
                return fired
        charges.append(
            WindowCharge(
                key=key,
                window=window,
                amount=amount,
                limit=maximum,
                binding=asked.binding,
                lasting=lasting,
                overflows=asked.overflows,
            )
        )
    return PlainOutcome(answer=CheckAnswer.QUIET, charges=charges) if fired is None else replace(fired, charges=charges)


def _over(window: Window, maximum: int, used: int, amount: int, words: _Words) -> PlainOutcome:
    left, got = words.printed(max(maximum - used, 0)), words.printed(amount)
    how_full = f"{left} left" if used <= maximum else f"{words.printed(used)} counted"
    return PlainOutcome(
        answer=CheckAnswer.FIRES,
        sentence=f"{words.printed(maximum)} {words.name} allowed {in_words(window)}, {how_full}, {got} asked",
        wanted=f"at most {left}",
        got=got,
        retryable=amount <= maximum,
    )


def _distinct(asked: PlainQuestion, limit: Limit, maximum: int) -> PlainOutcome:
    if limit.of is None or limit.window is None:
        return unknown("the window")
    new = marks_of(asked.facts, limit.of)
    charges = []
    fired: PlainOutcome | None = None
    for key in asked.keys(limit.per) if new else ():
        known = asked.counts.marks(key, limit.window)
        together = len({*known, *new})
        if together > maximum and not set(new) <= set(known) and fired is None:
            things = limit.of.value.replace("_", " ")
            fired = PlainOutcome(
                answer=CheckAnswer.FIRES,
                sentence=f"{maximum} different {things}s allowed {in_words(limit.window)}, this is one more",
                wanted=f"at most {maximum}",
                got=str(together),
                retryable=len(new) <= maximum,
            )
            if not asked.overflows:
                return fired
        charges += [
            DistinctCharge(
                key=key,
                window=limit.window,
                mark=mark,
                limit=maximum,
                binding=asked.binding,
                overflows=asked.overflows,
            )
            for mark in new
        ]
    return PlainOutcome(answer=CheckAnswer.QUIET, charges=charges) if fired is None else replace(fired, charges=charges)


_LIMITS: Mapping[str, Callable[[PlainQuestion, Limit, int], PlainOutcome]] = {
    "sum": _sum,
    "count": _count,
    "distinct": _distinct,
    "max": _each,
}


def _rate(asked: PlainQuestion, check: Rate) -> PlainOutcome:
    amounts = [(key, 1) for key in asked.keys(check.per)]
    return _within(asked, check.window, check.maximum, amounts, _Words("requests", str), lasting=True)


# the clock


def _schedule(asked: PlainQuestion, check: Schedule) -> PlainOutcome:
    local = datetime.fromtimestamp(asked.facts.unix_time, tz=UTC).astimezone(check.zone)
    if _is_inside(check, local.weekday(), local.hour * 60 + local.minute) is not check.within:
        return QUIET
    when = f"{local:%A %H:%M} in {check.zone.key}"
    return PlainOutcome(
        answer=CheckAnswer.FIRES, sentence=f"{asked.rule.description.rstrip('.')} (it is {when})", retryable=True
    )


def _is_inside(schedule: Schedule, day: int, minute: int) -> bool:
    for hours in schedule.hours:
        if hours.start < hours.end:
            if day in hours.days and hours.start <= minute < hours.end:
                return True
        elif (day in hours.days and minute >= hours.start) or ((day - 1) % 7 in hours.days and minute < hours.end):
            return True
    return False


def first_seen(asked: PlainQuestion, check: FirstSeen) -> PlainOutcome:
    taught, _ = _reaching(asked, check, check.learn_above)
    told, untold = _reaching(asked, check, check.above)
    keys = asked.keys(check.per) if taught or told or untold else []
    lessons = [MarksLesson(key=key, marks=taught) for key in keys if taught]
    untellable = False
    for key in keys:
        seen = asked.counts.history(key)
        if not isinstance(seen, Seen):
            seen = Seen(operations=0, since=asked.facts.unix_time, sights={})
        age = asked.facts.unix_time - seen.since
        if seen.operations < check.after_operations or age < check.after_seconds:
            continue
        strangers = _strangers(asked, check, seen, told)
        if strangers:
            sentence = _first_sight(check, strangers, seen)
            return PlainOutcome(answer=CheckAnswer.FIRES, sentence=sentence, lessons=lessons)
        untellable = untellable or bool(_strangers(asked, check, seen, untold))
    if untellable:
        return replace(unknown("how much somebody unknown gets"), lessons=lessons)
    return PlainOutcome(answer=CheckAnswer.QUIET, lessons=lessons)


def _reaching(
    asked: PlainQuestion, check: FirstSeen, floor: Floor | None
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The things that reach a floor, and those of which that cannot be told; all of them where there is no floor."""
    if floor is None:
        return marks_of(asked.facts, check.of), ()
    least = floor.least_on(asked.facts.chain_id)
    if least is None:
        return (), ()
    told, untold = [], []
    for recipient, amount in measured_by_recipient(asked.facts, floor.amount, asked.tokens).items():
        if amount is None:
            untold.append(mark_of(recipient))
        elif amount >= least:
            told.append(mark_of(recipient))
    return tuple(told), tuple(untold)


def _strangers(asked: PlainQuestion, check: FirstSeen, seen: Seen, marks: Sequence[bytes]) -> list[bytes]:
    """Those that were not seen often and long enough to be known."""
    if not marks:
        return []
    now = asked.facts.unix_time
    known = {
        sight.mark
        for sight in seen.sights.values()
        if sight.times >= check.times and now - sight.first >= check.over_seconds
    }
    return [mark for mark in marks if mark not in known and not asked.allowed(asked.rule.id, mark, now)]


def _first_sight(check: FirstSeen, strangers: Sequence[bytes], seen: Seen) -> str:
    thing = check.of.value.replace("_", " ")
    times = next((sight.times for sight in seen.sights.values() if sight.mark == strangers[0]), 0)
    if not times:
        return f"a {thing} never seen before in {seen.operations} operations"
    return f"a {thing} seen in {times} of {seen.operations} operations, which is not enough to be known"


def deviation(asked: PlainQuestion, check: Deviation) -> PlainOutcome:
    amounts = amounts_of(asked, check.amount, check.per)
    if amounts is None:
        return unknown(name_of(check.amount))
    lessons = [ValueLesson(key=key, value=amount) for key, amount in amounts]
    for key, amount in amounts:
        history = asked.counts.history(key)
        if not isinstance(history, Amounts) or history.operations < check.after_operations:
            continue
        if deviates(sorted(history.recent), amount, check.factor):
            usual, got = (
                printed(asked, check.amount, each)
                for each in (sorted(history.recent)[len(history.recent) // 2], amount)
            )
            sentence = f"{name_of(check.amount)} of {got}, where {usual} is usual in the last {len(history.recent)}"
            return PlainOutcome(
                answer=CheckAnswer.FIRES, sentence=sentence, wanted=f"about {usual}", got=got, lessons=lessons
            )
    return PlainOutcome(answer=CheckAnswer.QUIET, lessons=lessons)


def streak(asked: PlainQuestion, check: Streak) -> PlainOutcome:
    keys = asked.keys(check.per)
    lessons = [OutcomeLesson(key=key) for key in keys] if check.outcome == "reverted" else []
    rows = keys if check.outcome == "rejected" else []
    for key in keys:
        row = asked.counts.history(key)
        if isinstance(row, Row) and row.length >= check.length:
            sentence = f"the last {row.length} operations were {check.outcome}"
            return PlainOutcome(answer=CheckAnswer.FIRES, sentence=sentence, lessons=lessons, rows=rows)
    return PlainOutcome(answer=CheckAnswer.QUIET, lessons=lessons, rows=rows)


_CHECKS: Mapping[type[Any], Callable[[PlainQuestion, Any], PlainOutcome]] = {
    Limit: _limit,
    Rate: _rate,
    FirstSeen: first_seen,
    Deviation: deviation,
    Streak: streak,
    Schedule: _schedule,
}
