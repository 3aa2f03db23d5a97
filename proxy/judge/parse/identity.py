"""What names a rule's counters, and a set of rules: hashes over contents in one normal form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from fractions import Fraction
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

from proxy.document import Place
from proxy.judge.expression import Expression, ExpressionScope
from proxy.judge.rule import Check, Deviation, FirstSeen, Limit, Match, Rate, Rule, Streak
from proxy.userop.primitives import keccak256

_IDENTITY_BYTES: Final = 16


class Normal:
    """Puts values into one text: the same for equal values, and different ones for different values.

    Records are put into words once each, as long as this lives: the same match is in a rule and in its identity.
    """

    def __init__(self) -> None:
        self.told: dict[int, tuple[object, str]] = {}  # by id; the record is kept, so that its id stays its own
        self.counted: dict[int, tuple[object, str]] = {}  # the same of what a check counts, whatever its height

    def text(self, value: Any) -> str:
        """The text of a value."""
        return _WAYS[type(value)](self, value)


_Way = Callable[[Normal, Any], str]


def _of_set(normal: Normal, value: frozenset[object]) -> str:
    if len(value) == 1:
        (only,) = value
        return "{" + normal.text(only) + "}"
    return "{" + ", ".join(sorted(map(normal.text, value))) + "}"


def _of_mapping(normal: Normal, value: Mapping[object, object]) -> str:
    return "{" + ", ".join(sorted([f"{normal.text(key)}: {normal.text(item)}" for key, item in value.items()])) + "}"


_KINDS: Final[Sequence[tuple[type[Any], _Way]]] = (
    (type(None), lambda _, _value: "NoneType None"),
    (bool, lambda _, value: f"bool {value}"),
    (Expression, lambda _, value: ascii(value.source)),
    (Enum, lambda normal, value: normal.text(value._value_)),  # `value` is looked up in Python
    (ZoneInfo, lambda _, value: f"zone {value.key}"),
    (Place, lambda _, _value: ""),
    (Mapping, _of_mapping),
    (frozenset, _of_set),
    (tuple, lambda normal, value: "(" + ", ".join(map(normal.text, value)) + ")"),
    (bytes, lambda _, value: f"0x{value.hex()}"),
    (str, lambda _, value: ascii(value)),
)
"""How values are put into words that are no records: of the first kind that they are."""


def _way_of(kind: type[Any]) -> _Way:
    for known, way in _KINDS:
        if issubclass(kind, known):
            return way
    return _of_records(kind) if is_dataclass(kind) else lambda _, value: f"{kind.__name__} {value}"


def _of_records(kind: type[Any]) -> _Way:
    """How records of a class are put into words. All fields are taken in one step, and what is said of one that was
    never written is worded beforehand."""
    compared = [each for each in fields(kind) if each.compare]
    later = [(place, each.name, each.default) for place, each in enumerate(compared) if each.metadata.get("later")]
    labels, unwritten = [f"{each.name}=" for each in compared], [f"{each.name}=NoneType None" for each in compared]
    take, name = attrgetter(*(each.name for each in compared)), kind.__name__
    alone = len(compared) == 1

    def way(normal: Normal, value: Any) -> str:
        known = normal.told.get(id(value))
        if known is not None:
            return known[1]
        ways = _WAYS
        inside = [
            nothing if found is None else label + ways[type(found)](normal, found)
            for label, nothing, found in zip(labels, unwritten, (take(value),) if alone else take(value), strict=True)
        ]
        for place, field, default in reversed(later):
            if getattr(value, field) == default:
                del inside[place]
        told = f"{name}({', '.join(inside)})"
        normal.told[id(value)] = value, told
        return told

    return way


class _Ways(dict[type[Any], _Way]):
    """How values of each class are put into words, found out when the first one is met."""

    def __missing__(self, kind: type[Any]) -> _Way:
        way = self[kind] = _way_of(kind)
        return way


_WAYS: Final = _Ways()


def identity_of(
    normal: Normal,
    name: str,
    match: Match,
    check: Check | None,
    condition: tuple[Expression | None, Mapping[str, object]],
) -> bytes:
    """16 bytes that stay while the same is counted: neither a limit's height nor mode, severity or texts are in it.

    `condition` says which operations are counted or learnt from, `learn` where the rule has one, else `when`; with the
    macros and lists that it names.
    """
    counts, meanings = condition
    told = ", ".join(
        (normal.text(name), normal.text(match), normal.text(counts), _counted(normal, check), normal.text(meanings))
    )
    return keccak256(f"({told})".encode())[:_IDENTITY_BYTES]


def _counted(normal: Normal, check: Check | None) -> str:
    """What a check counts, without the height from which on it fires; said once of a check that several rules have."""
    if (known := normal.counted.get(id(check))) is not None:
        return known[1]
    counted = check
    if isinstance(check, Limit):
        counted = replace(check, maximum={})
    elif isinstance(check, Rate):
        counted = replace(check, maximum=0)
    elif isinstance(check, FirstSeen):
        counted = replace(check, after_operations=0, after_seconds=0, times=1, over_seconds=0, above=None)
    elif isinstance(check, Deviation):
        counted = replace(check, factor=0, after_operations=0)
    elif isinstance(check, Streak):
        counted = replace(check, length=0)
    told = normal.text(counted)
    normal.counted[id(check)] = check, told
    return told


def digest_of(rules: tuple[Rule, ...], scope: ExpressionScope, normal: Normal) -> str:
    """Hex of a hash over all that rules say, whatever file and line they stand in, and in their order."""
    tokens = {
        symbol: (token.native, token.places, None if token.price is None else _printed(token.price))
        for symbol, token in scope.tokens.by_symbol.items()
    }
    return keccak256(normal.text((rules, tokens, scope.lists, scope.macros)).encode()).hex()


def _printed(price: Fraction) -> str:
    return f"{price.numerator}/{price.denominator}"
