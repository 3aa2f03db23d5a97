"""What an operation adds to the counts of rules, as text: short, for it is written while a caller waits.

An operation that fits many rules has many charges and lessons, nearly all of one group. They are printed as
`{"type":"counted","groups":[…],"items":[…]}`: each group once, each item as an array whose first entry says what it is
and whose second which group it is of. Bytes are 0x-hex.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

from proxy.judge.counts import (
    CountKey,
    DistinctCharge,
    Lesson,
    MarksLesson,
    OutcomeLesson,
    RuleCharge,
    ValueLesson,
    WindowCharge,
)
from proxy.judge.rule import Calendar, OnCalendar, Sliding, Window

COUNTED: Final = "counted"
"""The `type` of such an object."""

_group_of: Final = attrgetter("key.group")
_BINDING, _LASTING, _OVERFLOWS = 1, 2, 4

Counted = RuleCharge | Lesson


def print_counted(items: Sequence[Counted]) -> str:
    """Charges, lessons or both, as one JSON object."""
    groups = dict.fromkeys(map(_group_of, items))
    if len(groups) == 1:  # nearly always
        printed = [_PRINTERS[type(item)](item, 0) for item in items]
    else:
        at = {group: place for place, group in enumerate(groups)}
        printed = [_PRINTERS[type(item)](item, at[item.key.group]) for item in items]
    return f'{{"type":"{COUNTED}","groups":[{",".join(map(_hex, groups))}],"items":[{",".join(printed)}]}}'


def read_counted(written: dict[str, Any]) -> tuple[Counted, ...]:
    """The same items. Raises `ValueError`, `TypeError` or `KeyError` for what is none."""
    groups = dict(enumerate(map(_bytes, written["groups"])))
    return tuple(_read(item, groups) for item in written["items"])


def in_two(counted: Iterable[Counted]) -> tuple[tuple[RuleCharge, ...], tuple[Lesson, ...]]:
    """The charges and the lessons of what was printed together."""
    charges: list[RuleCharge] = []
    lessons: list[Lesson] = []
    for each in counted:
        if isinstance(each, WindowCharge | DistinctCharge):
            charges.append(each)
        else:
            lessons.append(each)
    return tuple(charges), tuple(lessons)


def _window_charge(item: WindowCharge, at: int) -> str:
    (rule, _), window, amount, limit, binding, lasting, overflows = item
    flags = _BINDING * binding + _LASTING * lasting + _OVERFLOWS * overflows
    seconds = window.seconds if type(window) is Sliding else _window(window)
    return f'["window",{at},{_rule(rule)},{seconds},{amount},{limit},{flags}]'


def _value_lesson(item: ValueLesson, at: int) -> str:
    (rule, _), value = item
    return f'["amount",{at},{_rule(rule)},{value}]'


@lru_cache(maxsize=2_048)
def _same_again(item: DistinctCharge | MarksLesson | OutcomeLesson, at: int) -> str:
    """An item without an amount: a session that does the same again adds the same to a rule."""
    rule = _rule(item.key.rule)
    if isinstance(item, DistinctCharge):
        flags = _BINDING * item.binding | _OVERFLOWS * item.overflows
        return f'["mark",{at},{rule},{_window(item.window)},{_hex(item.mark)},{item.limit},{flags}]'
    if isinstance(item, MarksLesson):
        return f'["seen",{at},{rule},[{",".join(map(_hex, item.marks))}]]'
    return f'["end",{at},{rule}]'


_PRINTERS: Final[Mapping[type[Any], Callable[[Any, int], str]]] = {
    WindowCharge: _window_charge,
    ValueLesson: _value_lesson,
    DistinctCharge: _same_again,
    MarksLesson: _same_again,
    OutcomeLesson: _same_again,
}
"""Each item, and which of the groups it is of."""


@lru_cache(maxsize=4_096)
def _rule(rule: bytes) -> str:
    return _hex(rule)


def _read(item: Sequence[Any], groups: Mapping[int, bytes]) -> Counted:
    match item:
        case ["window", int(at), str(rule), window, int(amount), int(limit), int(flags)]:
            return WindowCharge(
                key=CountKey(_bytes(rule), groups[at]),
                window=_read_window(window),
                amount=amount,
                limit=limit,
                binding=bool(flags & _BINDING),
                lasting=bool(flags & _LASTING),
                overflows=bool(flags & _OVERFLOWS),
            )
        case ["mark", int(at), str(rule), window, str(mark), int(limit), int(flags)]:
            return DistinctCharge(
                key=CountKey(_bytes(rule), groups[at]),
                window=_read_window(window),
                mark=_bytes(mark),
                limit=limit,
                binding=bool(flags & _BINDING),
                overflows=bool(flags & _OVERFLOWS),
            )
        case ["seen", int(at), str(rule), [*marks]]:
            return MarksLesson(key=CountKey(_bytes(rule), groups[at]), marks=tuple(map(_bytes, marks)))
        case ["amount", int(at), str(rule), int(value)]:
            return ValueLesson(key=CountKey(_bytes(rule), groups[at]), value=value)
        case ["end", int(at), str(rule)]:
            return OutcomeLesson(key=CountKey(_bytes(rule), groups[at]))
    raise ValueError("nothing that a rule counts")


def _window(window: Window) -> str:
    if isinstance(window, Sliding):
        return str(window.seconds)
    return json.dumps([window.unit.value, window.zone.key], separators=(",", ":"))


def _read_window(written: object) -> Window:
    match written:
        case int(seconds):
            return Sliding(seconds)
        case [str(unit), str(zone)]:
            return OnCalendar(Calendar(unit), ZoneInfo(zone))
    raise ValueError("no window")


def _hex(value: bytes) -> str:
    return f'"0x{value.hex()}"'


def _bytes(written: object) -> bytes:
    if not isinstance(written, str) or not written.startswith("0x"):
        raise ValueError("no bytes")
    return bytes.fromhex(written[2:])
