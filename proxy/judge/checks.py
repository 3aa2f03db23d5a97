"""What each kind of check says of an operation that its rule concerns, and what it wants counted.

Each is made ready once a reload. It answers from the facts and from what was counted before; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from proxy.judge.asked import (
    GIVEN_BACK,
    QUIET,
    Ask,
    AskedOperation,
    CheckAnswer,
    CheckOutcome,
    CheckTerms,
    always,
    in_words,
    made,
    name_of,
    quietly,
    unknown,
)
from proxy.judge.counts import CountKey, DistinctCharge, RuleCharge, WindowCharge
from proxy.judge.facts import Facts
from proxy.judge.group import MOST_PLACES, SEVERAL, spread
from proxy.judge.measure import Grouped
from proxy.judge.memory import deviation, first_seen, streak
from proxy.judge.rule import Check, Deviation, FirstSeen, Limit, Rate, Schedule, Streak, Window
from proxy.userop.budget import COUNT, Budget

_STEPS_OF_A_MEASURE: Final = 4

_TOO_WIDE: Final = CheckOutcome(CheckAnswer.UNKNOWN, sentence=f"it would be counted in more than {MOST_PLACES} places")


def ready(terms: CheckTerms, check: Check) -> Ask:
    """A check made ready to be asked."""
    return _CHECKS[type(check)](terms, check)


class Places:
    """In how many places a check looks at an operation and counts it, and what that takes."""

    __slots__ = ("_of", "_per", "_several")

    def __init__(self, check: Check) -> None:
        self._per = () if isinstance(check, Schedule) else check.per
        self._of = check.of if isinstance(check, Limit | FirstSeen) else None
        self._several = self._of in SEVERAL or not SEVERAL.isdisjoint(self._per)

    def pay(self, facts: Facts, budget: Budget, counted: Budget) -> CheckOutcome | None:
        """Draw what it takes to look at them all, and of `counted` their number. One operation that would be counted in
        too many is told by no count: then, that answer. Raises `Overspent` when it takes more than there is."""
        budget.draw_steps(_STEPS_OF_A_MEASURE * (len(facts.calls) + len(facts.moves)))
        places = spread(facts, self._per, self._of) if self._several else 1
        if places > MOST_PLACES:
            budget.draw(COUNT * MOST_PLACES)
            return _TOO_WIDE
        counted.draw(places)
        budget.draw(COUNT * places)
        return None


# limits


def _limit(terms: CheckTerms, limit: Limit) -> Ask:
    return _LIMITS[limit.kind](terms, limit)


def _each(terms: CheckTerms, limit: Limit) -> Ask:
    measured, maxima, everywhere = limit.amount, limit.maximum, limit.maximum.get(0)
    if measured is None:
        return always(unknown("the amount"))
    place, untold = terms.shared.amount(measured), unknown(name_of(measured))

    def each(asked: AskedOperation) -> CheckOutcome:
        maximum = maxima.get(asked.facts.chain_id, everywhere)
        if maximum is None:
            return QUIET  # its token is not on this chain
        amount: int | None = asked.told[place]
        if amount is None:
            return untold
        if amount <= maximum:
            return QUIET
        wanted, got = terms.printed(asked, measured, maximum), terms.printed(asked, measured, amount)
        sentence = f"{name_of(measured)} of {got} in one operation, {wanted} allowed"
        return CheckOutcome(CheckAnswer.FIRES, sentence, wanted=f"at most {wanted}", got=got)

    return each


def _count(terms: CheckTerms, limit: Limit) -> Ask:
    if limit.window is None:
        return always(unknown("the window"))
    words = Words("operations", lambda _asked, amount: str(amount), QUIET)
    return _within(terms, terms.shared.whole(limit.per), limit.window, limit.maximum, words, lasting=True)


def _sum(terms: CheckTerms, limit: Limit) -> Ask:
    measured = limit.amount
    if measured is None or limit.window is None:
        return always(unknown("the amount" if measured is None else "the window"))
    name = name_of(measured)
    words = Words(name, lambda asked, amount: terms.printed(asked, measured, amount), unknown(name))
    amounts, lasting = terms.shared.amounts(measured, limit.per), measured.what not in GIVEN_BACK
    return _within(terms, amounts, limit.window, limit.maximum, words, lasting=lasting)


class Words(NamedTuple):
    """What is counted, how much of it in words, and the answer where that is not told."""

    name: str
    printed: Callable[[AskedOperation, int], str]
    untold: CheckOutcome

    def over(self, asked: AskedOperation, window: Window, maximum: int, used: int, amount: int) -> CheckOutcome:
        """Too much."""
        left, got = self.printed(asked, max(maximum - used, 0)), self.printed(asked, amount)
        how_full = f"{left} left" if used <= maximum else f"{self.printed(asked, used)} counted"
        return CheckOutcome(
            CheckAnswer.FIRES,
            sentence=f"{self.printed(asked, maximum)} {self.name} allowed {in_words(window)}, {how_full}, {got} asked",
            wanted=f"at most {left}",
            got=got,
            retryable=amount <= maximum,
        )


def _within(
    terms: CheckTerms,
    amounts: int,
    window: Window,
    maxima: Mapping[int, int],
    words: Words,
    *,
    lasting: bool,
) -> Ask:
    """Amounts held against a window, and the charges for it; `amounts` is where they are told."""
    identity, binding, overflows = terms.rule.identity, terms.binding, terms.overflows
    everywhere, is_one = maxima.get(0), maxima.keys() == {0}

    def within(asked: AskedOperation) -> CheckOutcome:
        maximum = everywhere if is_one else maxima.get(asked.facts.chain_id, everywhere)
        if maximum is None:
            return QUIET
        found: Grouped | None = asked.told[amounts]
        if found is None:
            return words.untold
        charges: list[RuleCharge] = []
        fired: CheckOutcome | None = None
        total = asked.counts.total
        for group, amount in found:
            if not amount:
                continue
            key = made(CountKey, (identity, group))
            used = total(key, window)
            if used + amount > maximum and fired is None:
                fired = words.over(asked, window, maximum, used, amount)
                if not overflows:
                    return fired
            charges.append(made(WindowCharge, (key, window, amount, maximum, binding, lasting, overflows)))
        if fired is not None:
            return fired._replace(charges=charges)
        return quietly(charges) if charges else QUIET

    return within


def _distinct(terms: CheckTerms, limit: Limit) -> Ask:
    of, window = limit.of, limit.window
    if of is None or window is None:
        return always(unknown("the window"))
    marks, groups = terms.shared.marks(of), terms.shared.groups(limit.per)
    maxima, everywhere = limit.maximum, limit.maximum.get(0)
    identity, binding, overflows = terms.rule.identity, terms.binding, terms.overflows

    def distinct(asked: AskedOperation) -> CheckOutcome:
        maximum, new = maxima.get(asked.facts.chain_id, everywhere), asked.told[marks]
        if maximum is None or not new:
            return QUIET
        charges: list[RuleCharge] = []
        fired: CheckOutcome | None = None
        for group in asked.told[groups]:
            key = made(CountKey, (identity, group))
            known = asked.counts.marks(key, window, maximum)
            unseen = [mark for mark in new if mark not in known]
            together = len(known) + len(unseen)
            if unseen and together > maximum and fired is None:
                things = of.value.replace("_", " ")
                fired = CheckOutcome(
                    CheckAnswer.FIRES,
                    sentence=f"{maximum} different {things}s allowed {in_words(window)}, this is one more",
                    wanted=f"at most {maximum}",
                    got=str(together),
                    retryable=len(new) <= maximum,
                )
                if not overflows:
                    return fired
            charges += [made(DistinctCharge, (key, window, mark, maximum, binding, overflows)) for mark in new]
        if fired is not None:
            return fired._replace(charges=charges)
        return quietly(charges)

    return distinct


_LIMITS: Final[Mapping[str, Callable[[CheckTerms, Limit], Ask]]] = {
    "sum": _sum,
    "count": _count,
    "distinct": _distinct,
    "max": _each,
}


def _rate(terms: CheckTerms, check: Rate) -> Ask:
    words = Words("requests", lambda _asked, amount: str(amount), QUIET)
    return _within(terms, terms.shared.whole(check.per), check.window, {0: check.maximum}, words, lasting=True)


# the clock


def _schedule(terms: CheckTerms, check: Schedule) -> Ask:
    what = terms.rule.description.rstrip(".")

    def schedule(asked: AskedOperation) -> CheckOutcome:
        local = datetime.fromtimestamp(asked.facts.unix_time, tz=UTC).astimezone(check.zone)
        if _is_inside(check, local.weekday(), local.hour * 60 + local.minute) is not check.within:
            return QUIET
        when = f"{local:%A %H:%M} in {check.zone.key}"
        return CheckOutcome(CheckAnswer.FIRES, sentence=f"{what} (it is {when})", retryable=True)

    return schedule


def _is_inside(schedule: Schedule, day: int, minute: int) -> bool:
    for hours in schedule.hours:
        if hours.start < hours.end:
            if day in hours.days and hours.start <= minute < hours.end:
                return True
        elif (day in hours.days and minute >= hours.start) or ((day - 1) % 7 in hours.days and minute < hours.end):
            return True
    return False


_CHECKS: Final[Mapping[type[Any], Callable[[CheckTerms, Any], Ask]]] = {
    Limit: _limit,
    Rate: _rate,
    FirstSeen: first_seen,
    Deviation: deviation,
    Streak: streak,
    Schedule: _schedule,
}
"""By the class of a rule's check, which each of them takes."""
