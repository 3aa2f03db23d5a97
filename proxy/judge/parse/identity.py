"""What names a rule's counters, and a set of rules: hashes over contents in one normal form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

from proxy.document import Place
from proxy.judge.expression import Expression, Scope
from proxy.judge.rule import Check, Deviation, FirstSeen, Limit, Match, Rate, Rule, Streak
from proxy.userop.primitives import keccak256

_IDENTITY_BYTES: Final = 16


def normal(value: Any) -> str:
    """One text for equal values, and different ones for different values."""
    if isinstance(value, Expression):
        return normal(value.source)
    if isinstance(value, Enum):
        return normal(value.value)
    if isinstance(value, ZoneInfo):
        return f"zone {value.key}"
    if isinstance(value, Place):
        return ""
    if is_dataclass(value):
        inside = [f"{each.name}={normal(getattr(value, each.name))}" for each in fields(value) if _counts(each, value)]
        return f"{type(value).__name__}({', '.join(inside)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{normal(key)}: {normal(item)}" for key, item in value.items())) + "}"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(normal, value))) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(normal, value)) + ")"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return ascii(value) if isinstance(value, str) else f"{type(value).__name__} {value}"


def _counts(each: Field[Any], value: Any) -> bool:
    return each.compare and not (each.metadata.get("later") and getattr(value, each.name) == each.default)


def identity_of(
    name: str, match: Match, counts: Expression | None, check: Check | None, meanings: Mapping[str, object]
) -> bytes:
    """16 bytes that stay while the same is counted: neither a limit's height nor mode, severity or texts are in it.

    `counts` says which operations are counted or learnt from: `learn` where the rule has one, else `when`. `meanings`
    are the macros and lists that it names.
    """
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
    return keccak256(normal((name, match, counts, counted, meanings)).encode())[:_IDENTITY_BYTES]


def digest_of(rules: tuple[Rule, ...], scope: Scope) -> str:
    """Hex of a hash over all that rules say, whatever file and line they stand in, and in their order."""
    tokens = {
        symbol: (token.native, token.places, None if token.price is None else _printed(token.price))
        for symbol, token in scope.tokens.by_symbol.items()
    }
    return keccak256(normal((rules, tokens, scope.lists, scope.macros)).encode()).hex()


def _printed(price: Fraction) -> str:
    return f"{price.numerator}/{price.denominator}"
