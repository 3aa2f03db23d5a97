"""What each kind of check says of an operation that its rule concerns, and what it wants counted.

A check answers from the facts and from what was counted before; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final

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
    OnCalendar,
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

_SPLITTING: Final = (Per.TARGET, Per.RECIPIENT, Per.TOKEN)
"""What one operation may have several of, each with an amount of its own."""
_GIVEN_BACK: Final = (Sum.SPEND, Sum.EXPOSURE, Sum.VALUE)
"""What a reverted operation has not moved; gas, calls and uses are gone all the same."""


Allowed = Callable[[str, bytes, float], bool]
"""Whether ops allowed a thing by hand: the rule's id, the thing's mark, the time (unix seconds)."""


class Answer(Enum):
    """What a check says."""

    QUIET = auto()
    FIRES = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer, in words where it fires, and what to count for an operation that goes out."""

    answer: Answer
    sentence: str = ""
    wanted: str | None = None
    got: str | None = None
    retryable: bool = False
    charges: Sequence[RuleCharge] = ()
    lessons: Sequence[Lesson] = ()
    rows: Sequence[CountKey] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One rule and one operation."""

    rule: Rule
    facts: Facts
    counts: Counts
    tokens: Tokens
    mode: Mode
    allowed: Allowed

    @property
    def binding(self) -> bool:
        """Whether what is counted refuses."""
        return self.mode is Mode.ENFORCE

    @property
    def overflows(self) -> bool:
        """Whether what goes over is counted all the same: it goes out, and somebody has to hear how much it was."""
        return self.mode is Mode.ALERT

    def key(self, group: bytes) -> CountKey:
        """The name of the rule's count for a group."""
        return CountKey(self.rule.identity, group)

    def keys(self, per: tuple[Per, ...]) -> list[CountKey]:
        """The counts that the operation belongs to."""
        return [self.key(group) for group in groups_of(self.facts, per)]


_QUIET: Final = Outcome(answer=Answer.QUIET)


def _unknown(what: str) -> Outcome:
    return Outcome(answer=Answer.UNKNOWN, sentence=f"{what} cannot be told of this operation")


def answer(asked: Asked, check: Check) -> Outcome:
    """What a check says. One operation that would be counted in too many places is told by no count."""
    if not isinstance(check, Schedule):
        of = check.of if isinstance(check, Limit | FirstSeen) else None
        if spread(asked.facts, check.per, of) > MOST_PLACES:
            return Outcome(answer=Answer.UNKNOWN, sentence=f"it would be counted in more than {MOST_PLACES} places")
    return _CHECKS[type(check)](asked, check)


# limits


def _limit(asked: Asked, check: Limit) -> Outcome:
    maximum = check.maximum_on(asked.facts.chain_id)
    if maximum is None:
        return _QUIET  # its token is not on this chain
    return _LIMITS[check.kind](asked, check, maximum)


def _each(asked: Asked, limit: Limit, maximum: int) -> Outcome:
    if limit.amount is None:
        return _unknown("the amount")
    amount = measure(asked.facts, limit.amount, asked.tokens)
    if amount is None:
        return _unknown(_name(limit.amount))
    if amount <= maximum:
        return _QUIET
    wanted, got = (_print(asked, limit.amount, each) for each in (maximum, amount))
    sentence = f"{_name(limit.amount)} of {got} in one operation, {wanted} allowed"
    return Outcome(answer=Answer.FIRES, sentence=sentence, wanted=f"at most {wanted}", got=got)


def _count(asked: Asked, limit: Limit, maximum: int) -> Outcome:
    amounts = [(key, 1) for key in asked.keys(limit.per)]
    return _within(asked, limit.window, maximum, amounts, _Words("operations", str), lasting=True)


def _sum(asked: Asked, limit: Limit, maximum: int) -> Outcome:
    measured = limit.amount
    if measured is None:
        return _unknown("the amount")
    amounts = _amounts(asked, measured, limit.per)
    if amounts is None:
        return _unknown(_name(measured))
    words = _Words(_name(measured), lambda amount: _print(asked, measured, amount))
    lasting = measured.what not in _GIVEN_BACK
    return _within(asked, limit.window, maximum, amounts, words, lasting=lasting)


def _amounts(asked: Asked, measured: AmountOf, per: tuple[Per, ...]) -> list[tuple[CountKey, int]] | None:
    """How much the operation adds to each group; `None` when an amount is not told."""
    splitting = next((each for each in per if each in _SPLITTING), None)
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


@dataclass(frozen=True, slots=True)
class _Words:
    """What is counted, and how its amounts are printed."""

    name: str
    printed: Callable[[int], str]


def _within(
    asked: Asked,
    window: Window | None,
    maximum: int,
    amounts: Sequence[tuple[CountKey, int]],
    words: _Words,
    *,
    lasting: bool,
) -> Outcome:
    if window is None:
        return _unknown("the window")
    charges = []
    fired: Outcome | None = None
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
    return Outcome(answer=Answer.QUIET, charges=charges) if fired is None else replace(fired, charges=charges)


def _over(window: Window, maximum: int, used: int, amount: int, words: _Words) -> Outcome:
    left, got = words.printed(max(maximum - used, 0)), words.printed(amount)
    how_full = f"{left} left" if used <= maximum else f"{words.printed(used)} counted"
    return Outcome(
        answer=Answer.FIRES,
        sentence=f"{words.printed(maximum)} {words.name} allowed {in_words(window)}, {how_full}, {got} asked",
        wanted=f"at most {left}",
        got=got,
        retryable=amount <= maximum,
    )


def _distinct(asked: Asked, limit: Limit, maximum: int) -> Outcome:
    if limit.of is None or limit.window is None:
        return _unknown("the window")
    new = marks_of(asked.facts, limit.of)
    charges = []
    fired: Outcome | None = None
    for key in asked.keys(limit.per) if new else ():
        known = asked.counts.marks(key, limit.window, maximum)
        together = len({*known, *new})
        if together > maximum and not set(new) <= set(known) and fired is None:
            things = limit.of.value.replace("_", " ")
            fired = Outcome(
                answer=Answer.FIRES,
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
    return Outcome(answer=Answer.QUIET, charges=charges) if fired is None else replace(fired, charges=charges)


_LIMITS: Final[Mapping[str, Callable[[Asked, Limit, int], Outcome]]] = {
    "sum": _sum,
    "count": _count,
    "distinct": _distinct,
    "max": _each,
}


def _rate(asked: Asked, check: Rate) -> Outcome:
    amounts = [(key, 1) for key in asked.keys(check.per)]
    return _within(asked, check.window, check.maximum, amounts, _Words("requests", str), lasting=True)


# histories


def _first_seen(asked: Asked, check: FirstSeen) -> Outcome:
    taught, _ = _reaching(asked, check, check.learn_above)
    told, untold = _reaching(asked, check, check.above)
    keys = asked.keys(check.per) if taught or told or untold else []
    lessons = [MarksLesson(key=key, marks=taught) for key in keys if taught]
    unknown = False
    for key in keys:
        seen = asked.counts.history(key)
        if not isinstance(seen, Seen):
            seen = Seen(operations=0, since=asked.facts.unix_time, sights=())
        age = asked.facts.unix_time - seen.since
        if seen.operations < check.after_operations or age < check.after_seconds:
            continue
        strangers = _strangers(asked, check, seen, told)
        if strangers:
            sentence = _first_sight(check, strangers, seen)
            return Outcome(answer=Answer.FIRES, sentence=sentence, lessons=lessons)
        unknown = unknown or bool(_strangers(asked, check, seen, untold))
    if unknown:
        return replace(_unknown("how much somebody unknown gets"), lessons=lessons)
    return Outcome(answer=Answer.QUIET, lessons=lessons)


def _reaching(asked: Asked, check: FirstSeen, floor: Floor | None) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
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


def _strangers(asked: Asked, check: FirstSeen, seen: Seen, marks: Sequence[bytes]) -> list[bytes]:
    """Those that were not seen often and long enough to be known."""
    if not marks:
        return []
    now = asked.facts.unix_time
    known = {
        sight.mark for sight in seen.sights if sight.times >= check.times and now - sight.first >= check.over_seconds
    }
    return [mark for mark in marks if mark not in known and not asked.allowed(asked.rule.id, mark, now)]


def _first_sight(check: FirstSeen, strangers: Sequence[bytes], seen: Seen) -> str:
    thing = check.of.value.replace("_", " ")
    times = next((sight.times for sight in seen.sights if sight.mark == strangers[0]), 0)
    if not times:
        return f"a {thing} never seen before in {seen.operations} operations"
    return f"a {thing} seen in {times} of {seen.operations} operations, which is not enough to be known"


def _deviation(asked: Asked, check: Deviation) -> Outcome:
    amounts = _amounts(asked, check.amount, check.per)
    if amounts is None:
        return _unknown(_name(check.amount))
    lessons = [ValueLesson(key=key, value=amount) for key, amount in amounts]
    for key, amount in amounts:
        history = asked.counts.history(key)
        if not isinstance(history, Amounts) or history.operations < check.after_operations:
            continue
        if deviates(history.recent, amount, check.factor):
            usual, got = (_print(asked, check.amount, each) for each in (_median(history.recent), amount))
            sentence = f"{_name(check.amount)} of {got}, where {usual} is usual in the last {len(history.recent)}"
            return Outcome(answer=Answer.FIRES, sentence=sentence, wanted=f"about {usual}", got=got, lessons=lessons)
    return Outcome(answer=Answer.QUIET, lessons=lessons)


def _median(amounts: Sequence[int]) -> int:
    return sorted(amounts)[len(amounts) // 2]


def _streak(asked: Asked, check: Streak) -> Outcome:
    keys = asked.keys(check.per)
    lessons = [OutcomeLesson(key=key) for key in keys] if check.outcome == "reverted" else []
    rows = keys if check.outcome == "rejected" else []
    for key in keys:
        row = asked.counts.history(key)
        if isinstance(row, Row) and row.length >= check.length:
            sentence = f"the last {row.length} operations were {check.outcome}"
            return Outcome(answer=Answer.FIRES, sentence=sentence, lessons=lessons, rows=rows)
    return Outcome(answer=Answer.QUIET, lessons=lessons, rows=rows)


# the clock


def _schedule(asked: Asked, check: Schedule) -> Outcome:
    local = datetime.fromtimestamp(asked.facts.unix_time, tz=UTC).astimezone(check.zone)
    if _is_inside(check, local.weekday(), local.hour * 60 + local.minute) is not check.within:
        return _QUIET
    when = f"{local:%A %H:%M} in {check.zone.key}"
    return Outcome(answer=Answer.FIRES, sentence=f"{asked.rule.description.rstrip('.')} (it is {when})", retryable=True)


def _is_inside(schedule: Schedule, day: int, minute: int) -> bool:
    for hours in schedule.hours:
        if hours.start < hours.end:
            if day in hours.days and hours.start <= minute < hours.end:
                return True
        elif (day in hours.days and minute >= hours.start) or ((day - 1) % 7 in hours.days and minute < hours.end):
            return True
    return False


# words


def _name(amount: AmountOf) -> str:
    return amount.what.value.replace("_", " ")


def _print(asked: Asked, amount_of: AmountOf, amount: int) -> str:
    return print_measure(amount, amount_of, asked.facts.chain_id, asked.tokens)


_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


def in_words(window: Window) -> str:
    """`in 24h`, `this day (Europe/Berlin)`."""
    if isinstance(window, OnCalendar):
        return f"this {window.unit.value} ({window.zone.key})"
    for seconds, unit in _UNITS:
        if window.seconds % seconds == 0:
            return f"in {window.seconds // seconds}{unit}"
    return f"in {window.seconds}s"


_CHECKS: Final[Mapping[type[Any], Callable[[Asked, Any], Outcome]]] = {
    Limit: _limit,
    Rate: _rate,
    FirstSeen: _first_seen,
    Deviation: _deviation,
    Streak: _streak,
    Schedule: _schedule,
}
"""By the class of a rule's check, which each of them takes."""
