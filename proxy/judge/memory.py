"""What checks that have a memory say: things seen for the first time, amounts out of line, rows of bad ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.judge.asked import (
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
    made,
    moves_nothing,
    name_of,
    quietly,
    unknown,
)
from proxy.judge.counts import Amounts, CountKey, MarksLesson, OutcomeLesson, Row, Seen, ValueLesson
from proxy.judge.history import deviates
from proxy.judge.rule import Deviation, FirstSeen, Floor, Of, Streak

Marks = tuple[bytes, ...]
Told = tuple[Marks, Marks, Marks]
"""Things that teach, things asked about, and those of which it cannot be told whether they are."""

# histories


def first_seen(terms: CheckTerms, check: FirstSeen) -> Ready:
    """Something that is not known yet."""
    if check.above is None and check.learn_above is None:  # nearly always
        marks = terms.shared.marks(check.of)

        def all_of_them(asked: AskedOperation) -> Told:
            told = asked[marks]
            return told, told, ()

        ask = _sights(terms, check, all_of_them)
        return Ready(ask, _bind_sight(terms, check, ask))
    reaching, teaching = _reaching(terms, check, check.above), _reaching(terms, check, check.learn_above)
    everyone = terms.shared.marks(check.of)

    def some(asked: AskedOperation) -> Told:
        told, untold = reaching(asked)
        return teaching(asked)[0], told, untold

    def nothing_reaches(shape: AskedOperation, floor: Floor | None) -> bool:
        return not shape[everyone] if floor is None else moves_nothing(shape, floor.amount)

    def bind(shape: AskedOperation) -> ShapedAsk | None:
        return SILENT if nothing_reaches(shape, check.above) and nothing_reaches(shape, check.learn_above) else None

    return Ready(_sights(terms, check, some), bind)


def _sights(terms: CheckTerms, check: FirstSeen, things: Callable[[AskedOperation], Told]) -> Ask:
    """Asks each history that the operation belongs to about its things."""
    groups, identity = terms.shared.groups(check.per), terms.rule.identity
    strangers_among = _strangers(terms, check)
    untold_fires = unknown("how much somebody unknown gets")

    def ask(asked: AskedOperation) -> CheckOutcome:
        taught, told, untold = things(asked)
        if not (taught or told or untold):
            return QUIET
        keys: list[CountKey] = []
        lessons: list[MarksLesson] = []
        for group in asked[groups]:
            key = made(CountKey, (identity, group))
            keys.append(key)
            if taught:
                lessons.append(made(MarksLesson, (key, taught)))
        now, untellable, history = asked.facts.unix_time, False, asked.counts.history
        for key in keys:
            seen = history(key)
            if type(seen) is not Seen:
                seen = Seen(operations=0, since=now, sights={})
            if seen.operations < check.after_operations or now - seen.since < check.after_seconds:
                continue
            if told and (strangers := strangers_among(seen, told, now)):
                sentence = _first_sight(check, strangers, seen)
                return CheckOutcome(CheckAnswer.FIRES, sentence, lessons=lessons)
            untellable = untellable or (bool(untold) and bool(strangers_among(seen, untold, now)))
        if untellable:
            return untold_fires._replace(lessons=lessons)
        return quietly((), lessons)

    return ask


def _bind_sight(terms: CheckTerms, check: FirstSeen, ask: Ask) -> Bind:
    """Made ready for operations of one thing and one history, where every thing is asked about and teaches."""
    marks, groups, identity = terms.shared.marks(check.of), terms.shared.groups(check.per), terms.rule.identity
    times, over = check.times, check.over_seconds
    waits = check.after_operations > 0 or check.after_seconds > 0

    def bind(shape: AskedOperation) -> ShapedAsk | None:
        if check.of is Of.NONCE_KEY:
            return None
        new, groups_here = shape[marks], shape[groups]
        if not new:
            return SILENT
        if len(new) != 1 or len(groups_here) != 1:
            return None
        mark, key = new[0], made(CountKey, (identity, groups_here[0]))
        quiet = quietly((), (made(MarksLesson, (key, new)),))

        def of_mark(asked: AskedOperation) -> CheckOutcome:
            seen = asked.counts.history(key)
            if type(seen) is not Seen:
                return quiet if waits else ask(asked)
            sight = seen.sights.get(mark)
            if sight is not None and sight.times >= times and asked.facts.unix_time - sight.first >= over:
                return quiet
            return ask(asked)

        return ShapedAsk(of_mark, quiet)

    return bind


def _reaching(
    terms: CheckTerms, check: FirstSeen, floor: Floor | None
) -> Callable[[AskedOperation], tuple[Marks, Marks]]:
    """The things that reach a floor, and those of which that cannot be told; all of them where there is no floor."""
    if floor is None:
        marks = terms.shared.marks(check.of)
        return lambda asked: (asked[marks], ())
    recipients, least_on = terms.shared.recipients(floor.amount), floor.least_on

    def reach(asked: AskedOperation) -> tuple[Marks, Marks]:
        least = least_on(asked.facts.chain_id)
        if least is None:
            return (), ()
        paid = asked[recipients]
        told = tuple(mark for mark, amount in paid if amount is not None and amount >= least)
        return told, tuple(mark for mark, amount in paid if amount is None)

    return reach


def _strangers(terms: CheckTerms, check: FirstSeen) -> Callable[[Seen, Marks, float], list[bytes]]:
    """Those that were not seen often and long enough to be known, nor allowed by hand."""
    rule, allowed, times, over = terms.rule.id, terms.allowed, check.times, check.over_seconds

    def strangers(seen: Seen, marks: Marks, now: float) -> list[bytes]:
        found, sights = [], seen.sights
        for mark in marks:
            sight = sights.get(mark)
            known = sight is not None and sight.times >= times and now - sight.first >= over
            if not known and not allowed(rule, mark, now):
                found.append(mark)
        return found

    return strangers


def _first_sight(check: FirstSeen, strangers: Sequence[bytes], seen: Seen) -> str:
    thing, sight = check.of.value.replace("_", " "), seen.sights.get(strangers[0])
    if sight is None:
        return f"a {thing} never seen before in {seen.operations} operations"
    return f"a {thing} seen in {sight.times} of {seen.operations} operations, which is not enough to be known"


def deviation(terms: CheckTerms, check: Deviation) -> Ready:
    """An amount out of line with those before."""
    measured, identity = check.amount, terms.rule.identity
    place, untold = terms.shared.amounts(measured, check.per), unknown(name_of(measured))
    whole = groups = None
    if set(SPLITTING).isdisjoint(check.per):
        whole, groups = terms.shared.amount(measured), terms.shared.groups(check.per)

    def ask(asked: AskedOperation) -> CheckOutcome:
        amounts = asked[place]
        if amounts is None:
            return untold
        lessons: list[ValueLesson] = []
        for group, amount in amounts:
            lessons.append(made(ValueLesson, (made(CountKey, (identity, group)), amount)))
        for key, amount in lessons:
            history = asked.counts.history(key)
            if not isinstance(history, Amounts) or history.operations < check.after_operations:
                continue
            if deviates(history.ordered, amount, check.factor):
                middle = history.ordered[len(history.ordered) // 2]
                usual, got = (terms.printed(asked, measured, each) for each in (middle, amount))
                sentence = f"{name_of(measured)} of {got}, where {usual} is usual in the last {len(history.recent)}"
                return CheckOutcome(CheckAnswer.FIRES, sentence, f"about {usual}", got, lessons=lessons)
        return quietly((), lessons)

    def bind(shape: AskedOperation) -> ShapedAsk | None:
        if whole is None or groups is None or len(shape[groups]) != 1:
            return None
        place_of_amount, key = whole, made(CountKey, (identity, shape[groups][0]))

        def of_amount(asked: AskedOperation) -> CheckOutcome:
            amount = asked[place_of_amount]
            history = asked.counts.history(key)
            if amount is None or (type(history) is Amounts and deviates(history.ordered, amount, check.factor)):
                return ask(asked)
            return quietly((), (made(ValueLesson, (key, amount)),))

        return ShapedAsk(of_amount)

    return Ready(ask, bind)


def streak(terms: CheckTerms, check: Streak) -> Ready:
    """Operations in a row that ended badly."""
    groups, identity, reverted = terms.shared.groups(check.per), terms.rule.identity, check.outcome == "reverted"

    def ask(asked: AskedOperation) -> CheckOutcome:
        keys: list[CountKey] = []
        lessons: list[OutcomeLesson] = []
        for group in asked[groups]:
            key = made(CountKey, (identity, group))
            keys.append(key)
            if reverted:
                lessons.append(made(OutcomeLesson, (key,)))
        rows = () if reverted else keys
        for key in keys:
            row = asked.counts.history(key)
            if type(row) is Row and row.length >= check.length:
                sentence = f"the last {row.length} operations were {check.outcome}"
                return CheckOutcome(CheckAnswer.FIRES, sentence, lessons=lessons, rows=rows)
        return quietly((), lessons, rows)

    def bind(shape: AskedOperation) -> ShapedAsk | None:
        if len(shape[groups]) != 1:
            return None
        key = made(CountKey, (identity, shape[groups][0]))
        quiet = quietly((), (made(OutcomeLesson, (key,)),) if reverted else (), () if reverted else (key,))
        return ShapedAsk(lambda asked: quiet if asked.counts.history(key) is None else ask(asked), quiet)

    return Ready(ask, bind)
