"""Histories: what mined operations teach a rule, in bounded memory, and when an amount is out of line with them.

What was learnt stays learnt when the chain takes a block back: an operation mined twice is learnt twice.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, Final

import orjson

from proxy.judge.counts import Amounts, History, Lesson, MarksLesson, OutcomeLesson, Row, Seen, Sight, ValueLesson

MOST_MARKS: Final = 512
"""Things that are remembered. Of too many, the one seen least often among the half not seen for longest is forgotten,
so that many strangers do not push out somebody who is paid every day; it may be told as new again. One that is new is
taken for a known one only when their 8 bytes of hash agree, by chance in less than 512 / 2^64 of all cases."""

MOST_AMOUNTS: Final = 64
"""Amounts that are remembered."""

ROW_SECONDS: Final = 86_400
"""A row that has not grown for so long has ended: a rule that refuses during a row must not refuse for ever."""


_made: Final = tuple.__new__


def learn(history: History | None, lesson: Lesson, now: float, *, success: bool) -> History:
    """The history as an operation that ended like this leaves it: the same one, but for a row, or one that begins, also
    where it was of another kind than the lesson's.

    What reverted has paid nobody and moved nothing: it teaches no thing and no amount.
    """
    return _LEARN[type(lesson)](history, lesson, now, success)


def _see(history: History | None, lesson: MarksLesson, now: float, success: bool) -> Seen:
    seen = history if type(history) is Seen else Seen(operations=0, since=now, sights={})
    if not success:
        return seen
    seen.operations += 1
    seen.since = min(seen.since, now)
    sights, marks = seen.sights, lesson.marks
    for mark in marks if len(marks) == 1 else dict.fromkeys(marks):
        before = sights.pop(mark, None)
        if before is None:
            sights[mark] = _made(Sight, (mark, 1, now))
            continue
        _, times, first = before
        sights[mark] = _made(Sight, (mark, times + 1, min(now, first)))
    if len(sights) > MOST_MARKS:
        _forget(sights)
    return seen


def _measure(history: History | None, lesson: ValueLesson, _now: float, success: bool) -> Amounts:
    amounts = history if type(history) is Amounts else Amounts(operations=0, recent=())
    if not success:
        return amounts
    amounts.operations += 1
    recent, ordered, value = amounts.recent, amounts.ordered, lesson.value
    for gone in recent[: 1 - MOST_AMOUNTS]:
        del ordered[bisect_left(ordered, gone)]
    amounts.recent = (*recent[1 - MOST_AMOUNTS :], value)
    insort(ordered, value)
    return amounts


def _lengthen(history: History | None, _lesson: OutcomeLesson, _now: float, success: bool) -> Row:
    row = history if type(history) is Row else Row(length=0)
    return Row(length=0 if success else row.length + 1)


_LEARN: Final[Mapping[type[Any], Callable[[History | None, Any, float, bool], History]]] = {
    MarksLesson: _see,
    ValueLesson: _measure,
    OutcomeLesson: _lengthen,
}


def _forget(known: dict[bytes, Sight]) -> None:
    """One after the other goes, the one seen least often, the oldest of several, among the older half of those left."""
    left = len(known)
    ages = enumerate(list(known.values()))
    older = [(sight.times, age, sight.mark) for age, sight in islice(ages, left // 2)]
    heapify(older)
    while left > MOST_MARKS:
        del known[heappop(older)[2]]
        left -= 1
        for age, sight in islice(ages, left // 2 - len(older)):
            heappush(older, (sight.times, age, sight.mark))


def deviates(ordered: Sequence[int], value: int, factor: int) -> bool:
    """Whether `value` is above the median of amounts, which come smallest first, by more than `factor` times the usual
    spread.

    The spread is the median absolute deviation, which fewer than half of the amounts cannot move far, however large
    they are; a tenth of the median at least, so that a history of nearly equal amounts does not make the next coin a
    deviation, and 1 at least. Medians of an even number are the lower of the middle two: integers stay integers.
    """
    if not ordered:
        return False
    half = (len(ordered) - 1) // 2
    middle = ordered[half]
    if value <= middle + factor * max(middle // 10, 1):  # nearly always: whatever the spread is, it is no less
        return False
    # the widest spread that would make it one: theirs is no wider when more than half of them are as near
    spread = (value - middle - 1) // factor
    return bisect_right(ordered, middle + spread) - bisect_left(ordered, middle - spread) > half


def history_to_text(history: History) -> str:
    """The history as one line of JSON."""
    if isinstance(history, Seen):
        sights = [[mark.hex(), times, first] for mark, times, first in history.sights.values()]
        plain: list[object] = ["sights", history.operations, history.since, sights]
    elif isinstance(history, Amounts):
        plain = ["amounts", history.operations, list(history.recent)]
    else:
        plain = ["row", history.length]
    try:
        return orjson.dumps(plain).decode()
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(plain, separators=(",", ":"))


def history_from_text(text: str) -> History:
    """The same history. Raises `ValueError` for what is none."""
    match json.loads(text):
        case ["sights", int(operations), int(since) | float(since), [*sights]]:
            return Seen(operations=operations, since=since, sights=_by_mark(map(_sight, sights)))
        case ["seen", int(operations), int(since) | float(since), str(marks)] if len(marks) % 16 == 0:
            # of an earlier release, which did not count how often: what it knew stays known
            packed = bytes.fromhex(marks)
            each = tuple(packed[start : start + 8] for start in range(0, len(packed), 8))
            often = max(operations, 1)
            return Seen(operations=operations, since=since, sights=_by_mark(Sight(mark, often, since) for mark in each))
        case ["amounts", int(operations), [*recent]] if all(isinstance(amount, int) for amount in recent):
            return Amounts(operations=operations, recent=tuple(recent))
        case ["row", int(length)]:
            return Row(length=length)
    raise ValueError("it is no history")


def _by_mark(sights: Iterable[Sight]) -> dict[bytes, Sight]:
    return {sight.mark: sight for sight in sights}


def _sight(written: object) -> Sight:
    match written:
        case [str(mark), int(times), int(first) | float(first)] if len(mark) == 16 and times > 0:
            return Sight(bytes.fromhex(mark), times, first)
    raise ValueError("it is no sight of a history")
