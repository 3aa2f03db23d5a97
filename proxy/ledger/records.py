"""Records of the pure rooms as JSON text, exactly and back: what the store keeps of operations in flight.

A record is an object with its class's name under `type` and its fields beside it; bytes are 0x-hex, text is
`{"text": …}`, a unit of the calendar `{"unit": …}`, a time zone `{"zone": …}`, integers are JSON numbers of any size,
tuples are arrays. What rules count is shorter (`rule_records`), and so is what nearly every operation in flight is
(`held_records`); as earlier releases wrote them, they are read as well. Only the classes listed here are ever made.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from operator import attrgetter
from typing import Any, Final, TypeVar, get_args
from zoneinfo import ZoneInfo

from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey, Lesson, RuleCharge
from proxy.judge.rule import Calendar, Window
from proxy.ledger.held_records import HELD, print_held, read_held
from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.reservation import NonceSlot, Reservation
from proxy.ledger.rule_records import COUNTED, print_counted, read_counted
from proxy.session.changes import Changes, SessionEnabled
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.policies.simple_gas import GasPrice
from proxy.userop.acts import SessionAct, Unreadable
from proxy.userop.declared_acts import GrantedCall, GrantedTerms
from proxy.userop.session_data import ActionData, ERC7739Context, ERC7739Data, PolicyData, SessionData

_CLASSES: Final[tuple[type[Any], ...]] = (  # Any: their constructors have nothing in common
    *get_args(SessionAct),
    *(SessionEnabled, Unreadable, SessionData, ActionData, PolicyData, ERC7739Context, ERC7739Data),
    *(GrantedCall, GrantedTerms),
    *(AcceptedOperation, Changes, Reservation, NonceSlot, SessionKey, Charge, Counter, GasPrice),
    *(*get_args(RuleCharge), *get_args(Lesson), *get_args(Window), CountKey),
)
_BY_NAME: Final = {record.__name__: record for record in _CLASSES}
_FIELDS: Final = {
    record: tuple(field.name for field in dataclasses.fields(record) if field.init)
    if dataclasses.is_dataclass(record)
    else record._fields
    for record in _CLASSES
}


def _values_of(record: type[Any], names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if issubclass(record, tuple):
        return tuple
    first, *others = names
    return attrgetter(first, *others) if others else lambda value: (getattr(value, first),)


_LABELLED: Final = {
    record: (
        tuple(
            f'{{"type":"{record.__name__}","{name}":' if index == 0 else f',"{name}":'
            for index, name in enumerate(names)
        ),
        _values_of(record, names),
    )
    for record, names in _FIELDS.items()
}
"""By class, what stands before each of its fields, and what reads them all."""
_COUNTED: Final = frozenset((*get_args(RuleCharge), *get_args(Lesson)))
"""What rules count: never mixed with anything else."""
_COMPACT: Final = (",", ":")

_Record = TypeVar("_Record")


def record_to_json(record: object) -> str:
    """The record as one line of JSON."""
    by_hand = _BY_HAND.get(type(record), _print)  # nearly always an operation
    return by_hand(record)


def record_from_json(text: str, wanted: type[_Record]) -> _Record:
    """The record of class `wanted`. Raises `StateUnavailable` when the text is no such record."""
    try:
        record = json.loads(text, object_hook=_record)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateUnavailable(f"a stored {wanted.__name__} cannot be read ({type(error).__name__})") from error
    if not isinstance(record, wanted):
        raise StateUnavailable(f"a stored {wanted.__name__} is something else")
    return record


def _print_labelled(kind: type[object], value: object) -> str:
    heads, values_of = _LABELLED[kind]
    return "".join([head + _print(each) for head, each in zip(heads, values_of(value), strict=True)]) + "}"


@lru_cache(maxsize=4_096)
def _print_name(kind: type[object], value: tuple[object, ...]) -> str:
    """Sessions and counters are named again and again."""
    return _print_labelled(kind, value)


def _print_slot(slot: NonceSlot) -> str:
    chain_id, entry_point, sender, nonce = slot
    names = f'"entry_point":"0x{entry_point.hex()}","sender":"0x{sender.hex()}"'
    return f'{{"type":"NonceSlot","chain_id":{chain_id},{names},"nonce":{nonce}}}'


def _print_charge(charge: Charge) -> str:
    counter = _print_name(Counter, charge.counter)
    return f'{{"type":"Charge","counter":{counter},"amount":{charge.amount},"limit":{charge.limit}}}'


def _print_operation(operation: AcceptedOperation) -> str:
    return print_held(operation) or _print_labelled(AcceptedOperation, operation)


_BY_HAND: Final[dict[type[Any], Callable[[Any], str]]] = {
    NonceSlot: _print_slot,
    Charge: _print_charge,
    AcceptedOperation: _print_operation,
}
"""What each operation has; but for the operations themselves the same as `_print_labelled` says."""


def _print(value: object) -> str:
    """One value as text. An operation's row is printed while its caller waits: no tree of objects is made for it."""
    if value is None:
        return "null"
    kind = type(value)
    if kind is int:
        return repr(value)
    if kind is bytes:
        return f'"0x{value.hex()}"'  # type: ignore[attr-defined]  # bytes, as just seen
    if kind is SessionKey or kind is Counter:
        return _print_name(kind, value)
    if kind is tuple and not value:
        return "[]"
    if (by_hand := _BY_HAND.get(kind)) is not None:
        return by_hand(value)
    if kind in _LABELLED:
        return _print_labelled(kind, value)
    if kind is float:
        return repr(value) if isfinite(value) else json.dumps(value)  # type: ignore[arg-type]  # a float, as just seen
    if isinstance(value, bytes):
        return f'"0x{value.hex()}"'
    if isinstance(value, tuple):
        if value and type(value[0]) in _COUNTED:
            return print_counted(value)
        return "[" + ",".join([_print(item) for item in value]) + "]"
    if isinstance(value, Calendar):
        return json.dumps({"unit": value.value}, separators=_COMPACT)
    if isinstance(value, ZoneInfo):
        return json.dumps({"zone": value.key}, separators=_COMPACT)
    if isinstance(value, str):
        return json.dumps({"text": value}, separators=_COMPACT)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"{type(value).__name__} is no record of the store")


class _Text(str):
    """Text, told apart from the hex digits of bytes until it is in its record."""

    __slots__ = ()


def _value(value: object) -> object:
    """What a field holds, whose objects are records already."""
    kind = type(value)
    if kind is str:
        return bytes.fromhex(value.removeprefix("0x"))  # type: ignore[attr-defined]  # a text, as just seen
    if kind is list:
        return tuple([_value(item) for item in value])  # type: ignore[attr-defined]  # a list, as just seen
    return str(value) if kind is _Text else value


def _record(written: dict[str, Any]) -> object:
    """The record of an object, called by the parser for the innermost first."""
    if (name := written.get("type")) is None:
        ((name, value),) = written.items()
        return _OF_ONE[name](value)
    if name == COUNTED:
        return read_counted(written)
    if name == HELD:
        return read_held(written)
    made = _BY_NAME[name]
    if made is not SessionKey and made is not Counter:
        return made(**{name: _value(item) for name, item in written.items() if name != "type"})
    if len(written) == len(_FIELDS[made]) + 1:
        return _named(name, *[written[each] for each in _FIELDS[made]])
    raise KeyError(name)


@lru_cache(maxsize=4_096)
def _named(name: str, *values: object) -> object:
    """Few sessions and counters are named by many operations: they share one record."""
    return _BY_NAME[name](*map(_value, values))


_OF_ONE: Final[dict[str, Callable[[Any], object]]] = {"text": _Text, "unit": Calendar, "zone": ZoneInfo}
