"""What each kind of check says of an operation that its rule concerns, and what it wants counted.

A check answers from the facts and from what was counted before; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from proxy.judge.asked import (
    GIVEN_BACK,
    QUIET,
    CheckAnswer,
    CheckOutcome,
    CheckQuestion,
    amounts_of,
    in_words,
    name_of,
    printed,
    unknown,
)
from proxy.judge.counts import (
    CountKey,
    DistinctCharge,
    WindowCharge,
)
from proxy.judge.group import MOST_PLACES, marks_of, spread
from proxy.judge.measure import measure
from proxy.judge.memory import deviation, first_seen, streak
from proxy.judge.rule import (
    Check,
    Deviation,
    FirstSeen,
    Limit,
    Rate,
    Schedule,
    Streak,
    Window,
)
from proxy.userop.budget import COUNT, Budget

_STEPS_OF_A_MEASURE: Final = 4


def answer(asked: CheckQuestion, check: Check, budget: Budget) -> CheckOutcome:
    """What a check says. One operation that would be counted in too many places is told by no count. Raises
    `Overspent` when looking at them all takes more than `budget` has."""
    if not isinstance(check, Schedule):
        of = check.of if isinstance(check, Limit | FirstSeen) else None
        budget.draw_steps(_STEPS_OF_A_MEASURE * (len(asked.facts.calls) + len(asked.facts.moves)))
        places = spread(asked.facts, check.per, of)
        budget.draw(COUNT * min(places, MOST_PLACES))
        if places > MOST_PLACES:
            return CheckOutcome(
                answer=CheckAnswer.UNKNOWN, sentence=f"it would be counted in more than {MOST_PLACES} places"
            )
    return _CHECKS[type(check)](asked, check)


# limits


def _limit(asked: CheckQuestion, check: Limit) -> CheckOutcome:
    maximum = check.maximum_on(asked.facts.chain_id)
    if maximum is None:
        return QUIET  # its token is not on this chain
    return _LIMITS[check.kind](asked, check, maximum)


def _each(asked: CheckQuestion, limit: Limit, maximum: int) -> CheckOutcome:
    if limit.amount is None:
        return unknown("the amount")
    amount = measure(asked.facts, limit.amount, asked.tokens)
    if amount is None:
        return unknown(name_of(limit.amount))
    if amount <= maximum:
        return QUIET
    wanted, got = (printed(asked, limit.amount, each) for each in (maximum, amount))
    sentence = f"{name_of(limit.amount)} of {got} in one operation, {wanted} allowed"
    return CheckOutcome(answer=CheckAnswer.FIRES, sentence=sentence, wanted=f"at most {wanted}", got=got)


def _count(asked: CheckQuestion, limit: Limit, maximum: int) -> CheckOutcome:
    amounts = [(key, 1) for key in asked.keys(limit.per)]
    return _within(asked, limit.window, maximum, amounts, _Words("operations", str), lasting=True)


def _sum(asked: CheckQuestion, limit: Limit, maximum: int) -> CheckOutcome:
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
    asked: CheckQuestion,
    window: Window | None,
    maximum: int,
    amounts: Sequence[tuple[CountKey, int]],
    words: _Words,
    *,
    lasting: bool,
) -> CheckOutcome:
    if window is None:
        return unknown("the window")
    charges = []
    fired: CheckOutcome | None = None
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
    return CheckOutcome(answer=CheckAnswer.QUIET, charges=charges) if fired is None else replace(fired, charges=charges)


def _over(window: Window, maximum: int, used: int, amount: int, words: _Words) -> CheckOutcome:
    left, got = words.printed(max(maximum - used, 0)), words.printed(amount)
    how_full = f"{left} left" if used <= maximum else f"{words.printed(used)} counted"
    return CheckOutcome(
        answer=CheckAnswer.FIRES,
        sentence=f"{words.printed(maximum)} {words.name} allowed {in_words(window)}, {how_full}, {got} asked",
        wanted=f"at most {left}",
        got=got,
        retryable=amount <= maximum,
    )


def _distinct(asked: CheckQuestion, limit: Limit, maximum: int) -> CheckOutcome:
    if limit.of is None or limit.window is None:
        return unknown("the window")
    new = marks_of(asked.facts, limit.of)
    charges = []
    fired: CheckOutcome | None = None
    for key in asked.keys(limit.per) if new else ():
        known = asked.counts.marks(key, limit.window, maximum)
        together = len({*known, *new})
        if together > maximum and not set(new) <= set(known) and fired is None:
            things = limit.of.value.replace("_", " ")
            fired = CheckOutcome(
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
    return CheckOutcome(answer=CheckAnswer.QUIET, charges=charges) if fired is None else replace(fired, charges=charges)


_LIMITS: Final[Mapping[str, Callable[[CheckQuestion, Limit, int], CheckOutcome]]] = {
    "sum": _sum,
    "count": _count,
    "distinct": _distinct,
    "max": _each,
}


def _rate(asked: CheckQuestion, check: Rate) -> CheckOutcome:
    amounts = [(key, 1) for key in asked.keys(check.per)]
    return _within(asked, check.window, check.maximum, amounts, _Words("requests", str), lasting=True)


# the clock


def _schedule(asked: CheckQuestion, check: Schedule) -> CheckOutcome:
    local = datetime.fromtimestamp(asked.facts.unix_time, tz=UTC).astimezone(check.zone)
    if _is_inside(check, local.weekday(), local.hour * 60 + local.minute) is not check.within:
        return QUIET
    when = f"{local:%A %H:%M} in {check.zone.key}"
    return CheckOutcome(
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


_CHECKS: Final[Mapping[type[Any], Callable[[CheckQuestion, Any], CheckOutcome]]] = {
    Limit: _limit,
    Rate: _rate,
    FirstSeen: first_seen,
    Deviation: deviation,
    Streak: streak,
    Schedule: _schedule,
}
"""By the class of a rule's check, which each of them takes."""
