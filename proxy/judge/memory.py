"""What checks that have a memory say: things seen for the first time, amounts out of line, rows of bad ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.judge.asked import CheckAnswer, CheckOutcome, CheckQuestion, amounts_of, name_of, printed, unknown
from proxy.judge.counts import (
    Amounts,
    MarksLesson,
    OutcomeLesson,
    Row,
    Seen,
    ValueLesson,
)
from proxy.judge.group import mark_of, marks_of
from proxy.judge.history import deviates
from proxy.judge.measure import measured_by_recipient
from proxy.judge.rule import (
    Deviation,
    FirstSeen,
    Floor,
    Streak,
)

# histories


def first_seen(asked: CheckQuestion, check: FirstSeen) -> CheckOutcome:
    taught, _ = _reaching(asked, check, check.learn_above)
    told, untold = _reaching(asked, check, check.above)
    keys = asked.keys(check.per) if taught or told or untold else []
    lessons = [MarksLesson(key=key, marks=taught) for key in keys if taught]
    untellable = False
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
            return CheckOutcome(answer=CheckAnswer.FIRES, sentence=sentence, lessons=lessons)
        untellable = untellable or bool(_strangers(asked, check, seen, untold))
    if untellable:
        return replace(unknown("how much somebody unknown gets"), lessons=lessons)
    return CheckOutcome(answer=CheckAnswer.QUIET, lessons=lessons)


def _reaching(
    asked: CheckQuestion, check: FirstSeen, floor: Floor | None
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


def _strangers(asked: CheckQuestion, check: FirstSeen, seen: Seen, marks: Sequence[bytes]) -> list[bytes]:
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


def deviation(asked: CheckQuestion, check: Deviation) -> CheckOutcome:
    amounts = amounts_of(asked, check.amount, check.per)
    if amounts is None:
        return unknown(name_of(check.amount))
    lessons = [ValueLesson(key=key, value=amount) for key, amount in amounts]
    for key, amount in amounts:
        history = asked.counts.history(key)
        if not isinstance(history, Amounts) or history.operations < check.after_operations:
            continue
        if deviates(history.recent, amount, check.factor):
            usual, got = (printed(asked, check.amount, each) for each in (_median(history.recent), amount))
            sentence = f"{name_of(check.amount)} of {got}, where {usual} is usual in the last {len(history.recent)}"
            return CheckOutcome(
                answer=CheckAnswer.FIRES, sentence=sentence, wanted=f"about {usual}", got=got, lessons=lessons
            )
    return CheckOutcome(answer=CheckAnswer.QUIET, lessons=lessons)


def _median(amounts: Sequence[int]) -> int:
    return sorted(amounts)[len(amounts) // 2]


def streak(asked: CheckQuestion, check: Streak) -> CheckOutcome:
    keys = asked.keys(check.per)
    lessons = [OutcomeLesson(key=key) for key in keys] if check.outcome == "reverted" else []
    rows = keys if check.outcome == "rejected" else []
    for key in keys:
        row = asked.counts.history(key)
        if isinstance(row, Row) and row.length >= check.length:
            sentence = f"the last {row.length} operations were {check.outcome}"
            return CheckOutcome(answer=CheckAnswer.FIRES, sentence=sentence, lessons=lessons, rows=rows)
    return CheckOutcome(answer=CheckAnswer.QUIET, lessons=lessons, rows=rows)
