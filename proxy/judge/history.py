"""Histories: what mined operations teach a rule, in bounded memory, and when an amount is out of line with them.

What was learnt stays learnt when the chain takes a block back: an operation mined twice is learnt twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median_low
from typing import Final

from proxy.judge.counts import Amounts, History, Lesson, MarksLesson, Row, Seen, ValueLesson

MOST_MARKS: Final = 512
"""Marks that are remembered. An older one is forgotten and may be told as new again; one that is new is taken for a
known one only when their 8 bytes of hash agree, by chance in less than 512 / 2^64 of all cases."""

MOST_AMOUNTS: Final = 64
"""Amounts that are remembered."""

ROW_SECONDS: Final = 86_400
"""A row that has not grown for so long has ended: a rule that refuses during a row must not refuse for ever."""


def learn(history: History | None, lesson: Lesson, now: float, *, success: bool) -> History:
    """The history after an operation that ended like this. One of another kind than the lesson's begins anew."""
    if isinstance(lesson, MarksLesson):
        seen = history if isinstance(history, Seen) else Seen(operations=0, since=now, marks=())
        fresh = tuple(dict.fromkeys(lesson.marks))
        marks = (*(mark for mark in seen.marks if mark not in fresh), *fresh)
        return Seen(operations=seen.operations + 1, since=min(seen.since, now), marks=marks[-MOST_MARKS:])
    if isinstance(lesson, ValueLesson):
        amounts = history if isinstance(history, Amounts) else Amounts(operations=0, recent=())
        recent = (*amounts.recent, lesson.value)
        return Amounts(operations=amounts.operations + 1, recent=recent[-MOST_AMOUNTS:])
    row = history if isinstance(history, Row) else Row(length=0)
    return Row(length=0 if success else row.length + 1)


def deviates(amounts: Sequence[int], value: int, factor: int) -> bool:
    """Whether `value` is above the median by more than `factor` times the usual spread.

    The spread is the median absolute deviation, which fewer than half of the amounts cannot move far, however large
    they are; a tenth of the median at least, so that a history of nearly equal amounts does not make the next coin a
    deviation, and 1 at least. Medians of an even number are the lower of the middle two: integers stay integers.
    """
    if not amounts:
        return False
    middle = median_low(amounts)
    spread = max(median_low([abs(amount - middle) for amount in amounts]), middle // 10, 1)
    return value > middle + factor * spread


def history_to_text(history: History) -> str:
    """The history as one line of JSON."""
    if isinstance(history, Seen):
        plain: list[object] = ["seen", history.operations, history.since, b"".join(history.marks).hex()]
    elif isinstance(history, Amounts):
        plain = ["amounts", history.operations, list(history.recent)]
    else:
        plain = ["row", history.length]
    return json.dumps(plain, separators=(",", ":"))


def history_from_text(text: str) -> History:
    """The same history. Raises `ValueError` for what is none."""
    match json.loads(text):
        case ["seen", int(operations), int(since) | float(since), str(marks)] if len(marks) % 16 == 0:
            packed = bytes.fromhex(marks)
            each = tuple(packed[start : start + 8] for start in range(0, len(packed), 8))
            return Seen(operations=operations, since=since, marks=each)
        case ["amounts", int(operations), [*recent]] if all(isinstance(amount, int) for amount in recent):
            return Amounts(operations=operations, recent=tuple(recent))
        case ["row", int(length)]:
            return Row(length=length)
    raise ValueError("it is no history")
