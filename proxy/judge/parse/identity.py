"""What names a rule's counters, and a set of rules: hashes over contents in one normal form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from fractions import Fraction
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
        self._told: dict[int, tuple[object, str]] = {}  # by id; the record is kept, so that its id stays its own

    def text(self, value: Any) -> str:  # one line a kind
        """The text of a value."""
        kind = type(value)
        if kind is str:
            return ascii(value)
        if value is None or kind is bool or kind is int:
            return f"{kind.__name__} {value}"
        if kind is tuple:
            return "(" + ", ".join(map(self.text, value)) + ")"
        if kind is frozenset:
            return "{" + ", ".join(sorted(map(self.text, value))) + "}"
        if kind is Expression:
            return ascii(value.source)
        if isinstance(value, Enum):
            return self.text(value.value)
        if isinstance(value, ZoneInfo):
            return f"zone {value.key}"
        if kind is Place:
            return ""
        if is_dataclass(value):
            return self._record(value)
        return self._other(value)

    def _record(self, value: Any) -> str:
        known = self._told.get(id(value))
        if known is None:
            kind = type(value)
            compared = _COMPARED.get(kind)
            if compared is None:
                compared = _COMPARED[kind] = tuple(
                    (each.name, each.default, bool(each.metadata.get("later")))
                    for each in fields(value)
                    if each.compare
                )
            inside = [
                f"{name}=NoneType None" if (found := getattr(value, name)) is None else f"{name}={self.text(found)}"
                for name, default, later in compared
                if not (later and getattr(value, name) == default)
            ]
            known = self._told[id(value)] = value, f"{kind.__name__}({', '.join(inside)})"
        return known[1]

    def _other(self, value: Any) -> str:
        if isinstance(value, Mapping):
            inside = sorted(f"{self.text(key)}: {self.text(item)}" for key, item in value.items())
            return "{" + ", ".join(inside) + "}"
        if isinstance(value, frozenset):
            return "{" + ", ".join(sorted(map(self.text, value))) + "}"
        if isinstance(value, tuple):
            return "(" + ", ".join(map(self.text, value)) + ")"
        if isinstance(value, bytes):
            return f"0x{value.hex()}"
        return ascii(value) if isinstance(value, str) else f"{type(value).__name__} {value}"


_COMPARED: Final[dict[type[Any], tuple[tuple[str, object, bool], ...]]] = {}
"""By class, the fields that are put into words: name, default, and whether it is left out where it is that."""


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
    return keccak256(normal.text((name, match, counts, counted, meanings)).encode())[:_IDENTITY_BYTES]


def digest_of(rules: tuple[Rule, ...], scope: ExpressionScope, normal: Normal) -> str:
    """Hex of a hash over all that rules say, whatever file and line they stand in, and in their order."""
    tokens = {
        symbol: (token.native, token.places, None if token.price is None else _printed(token.price))
        for symbol, token in scope.tokens.by_symbol.items()
    }
    return keccak256(normal.text((rules, tokens, scope.lists, scope.macros)).encode()).hex()


def _printed(price: Fraction) -> str:
    return f"{price.numerator}/{price.denominator}"
