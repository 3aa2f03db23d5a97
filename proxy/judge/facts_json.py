"""Facts as JSON and back, exactly: what the audit keeps of an operation, so that rules can be tried on the past.

Bytes are 0x-hex, integers beyond 64 bits decimal text, absent and empty fields are left out. Integers of any size are
read, too: so earlier releases wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast, get_type_hints

from proxy.errors import StateUnavailable
from proxy.judge.facts import CallFacts, Facts, GrantFacts, MoveFacts
from proxy.userop.movement import AssetKind, MovementKind

_INT64: Final = 2**63

Json = dict[str, Any]

_TEXTS: Final = frozenset(
    {"chain", "client", "method", "verdict", "entry_point", "mode", "call_type", "acts", "how", "findings"}
)

_NESTED: Final[Mapping[str, type[Any]]] = {"calls": CallFacts, "moves": MoveFacts, "grants": GrantFacts}
_ENUMS: Final[Mapping[str, Callable[[Any], Any]]] = {"kind": MovementKind, "asset": AssetKind}


def facts_to_json(facts: Facts) -> Json:
    """The facts as an object of JSON values."""
    return _to_json(facts)


def facts_from_json(value: object) -> Facts:
    """The facts from such an object. Raises `StateUnavailable` when it is none."""
    try:
        facts = _from_json(Facts, value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateUnavailable(f"stored facts cannot be read ({type(error).__name__})", fact="ledger") from error
    return cast(Facts, facts)


def _to_json(record: Any) -> Json:
    """Any: one of the fact records."""
    shape = _SHAPES[type(record)]
    return {
        name: _PRINTERS.get(type(value), _plain)(value)
        for (name, default), value in zip(shape, record, strict=True)
        if value != default
    }


def _plain(value: object) -> object:
    if type(value) in _SHAPES:
        return _to_json(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value) if isinstance(value, str) else value


def _integer(value: int) -> object:
    # beyond 64 bits most readers of JSON guess
    return value if -_INT64 <= value < _INT64 else str(value)


def _same(value: object) -> object:
    return value


def _from_json(record: type[Any], value: Any) -> Any:
    fields: dict[str, Any] = {}
    for name, item in value.items():
        if (nested := _NESTED.get(name)) is not None:
            fields[name] = tuple(_from_json(nested, each) for each in item)
        elif (enum := _ENUMS.get(name)) is not None and record is MoveFacts:
            fields[name] = enum(item)
        else:
            fields[name] = tuple(item) if name in _TEXTS and isinstance(item, list) else _typed(name, item)
    return record(**fields)


def _typed(name: str, item: object) -> object:
    if isinstance(item, str) and name not in _TEXTS:
        return int(item) if name in _INTEGERS else bytes.fromhex(item.removeprefix("0x"))
    return tuple(_typed(name, each) for each in item) if isinstance(item, list) else item


_RECORDS: Final = (Facts, CallFacts, MoveFacts, GrantFacts)

_INTEGERS: Final = frozenset(
    name for record in _RECORDS for name, kind in get_type_hints(record).items() if kind in (int, int | None)
)

_MUST: Final = object()
_SHAPES: Final = {
    record: tuple((name, record._field_defaults.get(name, _MUST)) for name in record._fields) for record in _RECORDS
}
"""Name and default of each field."""

_PRINTERS: Final[Mapping[type[Any], Callable[[Any], object]]] = {
    int: _integer,
    bool: _same,
    float: _same,
    str: _same,
    bytes: lambda value: "0x" + value.hex(),
    tuple: lambda value: [_PRINTERS.get(type(item), _plain)(item) for item in value],
    **dict.fromkeys(_RECORDS, _to_json),
}
