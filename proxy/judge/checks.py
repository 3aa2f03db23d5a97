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
    SILENT,
    SPLITTING,
    Ask,
    AskedOperation,
    Bind,
    CheckAnswer,
    CheckOutcome,
    CheckTerms,
    Ready,
    ShapedAsk,
    always,
    in_words,
    made,
    moves_nothing,
    name_of,
    quietly,
    unknown,
)
from proxy.judge.counts import CountKey, DistinctCharge, RuleCharge, WindowCharge
from proxy.judge.facts import Facts
from proxy.judge.group import MOST_PLACES, SEVERAL, spread
from proxy.judge.measure import Grouped
from proxy.judge.memory import deviation, first_seen, streak
from proxy.judge.rule import AmountOf, Check, Deviation, FirstSeen, Limit, Of, Rate, Schedule, Streak, Window
from proxy.userop.budget import COUNT, Budget

_STEPS_OF_A_MEASURE: Final = 4

_MARKS_A_COUNT: Final = 64
MOST_WEIGHT: Final = 1 + 1_000 // _MARKS_A_COUNT
"""Of a limit of 1,000 different things, and there is none of more."""

_TOO_WIDE: Final = CheckOutcome(CheckAnswer.UNKNOWN, sentence=f"it would be counted in more than {MOST_PLACES} places")


def ready(terms: CheckTerms, check: Check) -> Ready:
    """A check made ready to be asked."""
    return _CHECKS[type(check)](terms, check)


class Places:
    """In how many places a check looks at an operation and counts it, and what that takes."""

    __slots__ = ("_of", "_per", "_several", "weight")

    def __init__(self, check: Check) -> None:
        self.weight = 1
        if isinstance(check, Limit) and check.kind == "distinct":
            self.weight += max(check.maximum.values()) // _MARKS_A_COUNT
        """As how many counts one of it counts: what may be a thousand different things is looked through."""
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
        counted.draw(places * self.weight)
        budget.draw(COUNT * places)
        return None


# limits


def _limit(terms: CheckTerms, limit: Limit) -> Ready:
    return _LIMITS[limit.kind](terms, limit)


def _each(terms: CheckTerms, limit: Limit) -> Ready:
    measured, maxima, everywhere = limit.amount, limit.maximum, limit.maximum.get(0)
    if measured is None:
        return always(unknown("the amount"))
    place, untold = terms.shared.amount(measured), unknown(name_of(measured))

    def each(asked: AskedOperation) -> CheckOutcome:
        maximum = maxima.get(asked.facts.chain_id, everywhere)
        if maximum is None:
            return QUIET  # its token is not on this chain
        amount: int | None = asked[place]
        if amount is None:
            return untold
        if amount <= maximum:
            return QUIET
        wanted, got = terms.printed(asked, measured, maximum), terms.printed(asked, measured, amount)
        sentence = f"{name_of(measured)} of {got} in one operation, {wanted} allowed"
        return CheckOutcome(CheckAnswer.FIRES, sentence, wanted=f"at most {wanted}", got=got)

    def bind(shape: AskedOperation) -> ShapedAsk:
        return SILENT if moves_nothing(shape, measured) and shape[place] == 0 else ShapedAsk(each, QUIET)

    return Ready(each, bind)


def _count(terms: CheckTerms, limit: Limit) -> Ready:
    if limit.window is None:
        return always(unknown("the window"))
    words = Words("operations", lambda _asked, amount: str(amount), QUIET)
    amounts = Shares(terms.shared.whole(limit.per), terms.shared.groups(limit.per), 1)
    return _within(terms, Windowed(amounts, limit.window, limit.maximum, words, lasting=True))


def _sum(terms: CheckTerms, limit: Limit) -> Ready:
    measured = limit.amount
    if measured is None or limit.window is None:
        return always(unknown("the amount" if measured is None else "the window"))
    name = name_of(measured)
    words = Words(name, lambda asked, amount: terms.printed(asked, measured, amount), unknown(name))
    place = terms.shared.amounts(measured, limit.per)
    if set(SPLITTING).isdisjoint(limit.per):
        amounts = Shares(place, terms.shared.groups(limit.per), None, terms.shared.amount(measured), measured)
    else:
        amounts = Shares(place, of=measured)
    return _within(
        terms, Windowed(amounts, limit.window, limit.maximum, words, lasting=measured.what not in GIVEN_BACK)
    )


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


class Shares(NamedTuple):
    """Where it is told how much is added to each group. Where each group gets all of it: the `groups`, and how much
    that is, be it `fixed` or told as a `whole`. `of` is what is added up."""

    by_group: int
    groups: int | None = None
    fixed: int | None = None
    whole: int | None = None
    of: AmountOf | None = None


class Windowed(NamedTuple):
    """Amounts that are held against a window: by chain how much there may be in all; `lasting` amounts stay when an
    operation reverts."""

    amounts: Shares
    window: Window
    maxima: Mapping[int, int]
    words: Words
    lasting: bool


def _within(terms: CheckTerms, held: Windowed) -> Ready:
    """Amounts held against a window, and the charges for it."""
    amounts, window, maxima, words, lasting = held
    identity, binding, overflows = terms.rule.identity, terms.binding, terms.overflows
    everywhere, is_one = maxima.get(0), maxima.keys() == {0}
    by_group = amounts.by_group

    def within(asked: AskedOperation) -> CheckOutcome:
        maximum = everywhere if is_one else maxima.get(asked.facts.chain_id, everywhere)
        if maximum is None:
            return QUIET
        found: Grouped | None = asked[by_group]
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

    return Ready(within, _bind_within(terms, held, within))


def _bind_within(terms: CheckTerms, held: Windowed, within: Ask) -> Bind:
    """Made ready for operations of one group each."""
    amounts, window, maxima, words, lasting = held
    identity, binding, overflows = terms.rule.identity, terms.binding, terms.overflows

    def bind(shape: AskedOperation) -> ShapedAsk | None:
        maximum = maxima.get(shape.facts.chain_id, maxima.get(0))
        if amounts.of is not None and moves_nothing(shape, amounts.of) and shape[amounts.by_group] is not None:
            return SILENT
        if maximum is None or amounts.groups is None or len(shape[amounts.groups]) != 1:
            return None
        key = made(CountKey, (identity, shape[amounts.groups][0]))
        if (fixed := amounts.fixed) is not None:
            charge = made(WindowCharge, (key, window, fixed, maximum, binding, lasting, overflows))
            quiet, most = quietly((charge,)), maximum - fixed
            return ShapedAsk(lambda asked: quiet if asked.counts.total(key, window) <= most else within(asked), quiet)
        if (whole := amounts.whole) is None:
            return None

        def of_amount(asked: AskedOperation) -> CheckOutcome:
            amount = asked[whole]
            if not amount:
                return words.untold if amount is None else QUIET
            if asked.counts.total(key, window) + amount > maximum:
                return within(asked)
            return quietly((made(WindowCharge, (key, window, amount, maximum, binding, lasting, overflows)),))

        return ShapedAsk(of_amount, None if shape[whole] else QUIET)

    return bind


def _distinct(terms: CheckTerms, limit: Limit) -> Ready:
    of, window = limit.of, limit.window
    if of is None or window is None:
        return always(unknown("the window"))
    marks, groups = terms.shared.marks(of), terms.shared.groups(limit.per)
    maxima, everywhere = limit.maximum, limit.maximum.get(0)
    identity, binding, overflows = terms.rule.identity, terms.binding, terms.overflows

    def distinct(asked: AskedOperation) -> CheckOutcome:
        maximum, new = maxima.get(asked.facts.chain_id, everywhere), asked[marks]
        if maximum is None or not new:
            return QUIET
        charges: list[RuleCharge] = []
        fired: CheckOutcome | None = None
        for group in asked[groups]:
            key = made(CountKey, (identity, group))
            known = asked.counts.marks(key, window)
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

    def bind(shape: AskedOperation) -> ShapedAsk | None:
        maximum, new = maxima.get(shape.facts.chain_id, everywhere), shape[marks]
        if maximum is None or of is Of.NONCE_KEY or len(new) != 1 or len(shape[groups]) != 1:
            return None
        key, mark = made(CountKey, (identity, shape[groups][0])), new[0]
        quiet = quietly((made(DistinctCharge, (key, window, mark, maximum, binding, overflows)),))

        def of_mark(asked: AskedOperation) -> CheckOutcome:
            known = asked.counts.marks(key, window)
            return quiet if mark in known or len(known) < maximum else distinct(asked)

        return ShapedAsk(of_mark, quiet)

    return Ready(distinct, bind)


_LIMITS: Final[Mapping[str, Callable[[CheckTerms, Limit], Ready]]] = {
    "sum": _sum,
    "count": _count,
    "distinct": _distinct,
    "max": _each,
}


def _rate(terms: CheckTerms, check: Rate) -> Ready:
    words = Words("requests", lambda _asked, amount: str(amount), QUIET)
    amounts = Shares(terms.shared.whole(check.per), terms.shared.groups(check.per), 1)
    return _within(terms, Windowed(amounts, check.window, {0: check.maximum}, words, lasting=True))


# the clock


def _schedule(terms: CheckTerms, check: Schedule) -> Ready:
    what = terms.rule.description.rstrip(".")

    def schedule(asked: AskedOperation) -> CheckOutcome:
        local = datetime.fromtimestamp(asked.facts.unix_time, tz=UTC).astimezone(check.zone)
        if _is_inside(check, local.weekday(), local.hour * 60 + local.minute) is not check.within:
            return QUIET
        when = f"{local:%A %H:%M} in {check.zone.key}"
        return CheckOutcome(CheckAnswer.FIRES, sentence=f"{what} (it is {when})", retryable=True)

    return Ready(schedule)


def _is_inside(schedule: Schedule, day: int, minute: int) -> bool:
    for hours in schedule.hours:
        if hours.start < hours.end:
            if day in hours.days and hours.start <= minute < hours.end:
                return True
        elif (day in hours.days and minute >= hours.start) or ((day - 1) % 7 in hours.days and minute < hours.end):
            return True
    return False


_CHECKS: Final[Mapping[type[Any], Callable[[CheckTerms, Any], Ready]]] = {
    Limit: _limit,
    Rate: _rate,
    FirstSeen: first_seen,
    Deviation: deviation,
    Streak: streak,
    Schedule: _schedule,
}
"""By the class of a rule's check, which each of them takes."""
