"""The types of an expression: strict, so that a comparison which means nothing is found when the rules are read."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from fractions import Fraction
from typing import Final

from proxy.record import record


class Sort(StrEnum):
    """What kind of thing a value is; the value of the enum is how people read it."""

    BOOL = "true or false"
    NUMBER = "a number"
    AMOUNT = "an amount"
    DURATION = "a duration"
    TIME = "a time"
    TEXT = "a text"
    BYTES = "bytes"
    RECORD = "a record"
    LIST = "a list"
    NONE = "none"
    BROKEN = "broken"  # already complained of: fits everything, so that one mistake makes one fault


@record()
class Type:
    """One type. `nullable`: the value may be missing. `low` and `high` bound numbers, whole tokens and seconds.

    `unit` is the symbol of an amount or the name of a record, `width` counts bytes, `values` closes a set of texts,
    `element` is what a list holds.
    """

    sort: Sort
    unit: str = ""
    width: int = 0
    values: tuple[str, ...] | None = None
    element: Type | None = None
    nullable: bool = False
    low: Fraction | None = None
    high: Fraction | None = None

    @property
    def ordered(self) -> bool:
        """Whether < and > mean something."""
        return self.sort in _ORDERED

    def fits(self, other: Type) -> bool:
        """Whether values of the two can be compared with each other."""
        if self.sort is Sort.BROKEN or other.sort is Sort.BROKEN:
            return True
        if self.sort is Sort.LIST or other.sort is Sort.LIST:
            return False
        return self.sort is other.sort and self.unit == other.unit and self.width == other.width

    def within(self, low: Fraction | None, high: Fraction | None) -> Type:
        """The same type with other bounds; bounds too far out to matter are dropped."""
        low, high = _bound(low), _bound(high)
        return Type(self.sort, self.unit, self.width, self.values, self.element, self.nullable, low, high)

    @property
    def words(self) -> str:
        """The type as people say it: `an amount of USDC`, `one of use, enable`, `a list of addresses`."""
        match self.sort:
            case Sort.AMOUNT:
                return f"an amount of {self.unit}"
            case Sort.BYTES:
                return _BYTES.get(self.width, f"{self.width} bytes")
            case Sort.RECORD:
                return f"a {self.unit}"
            case Sort.TEXT if self.values is not None and 1 < len(self.values) <= 8:
                return f"one of {', '.join(self.values)}"
            case Sort.LIST if self.element is not None:
                return f"a list of {self.element.plural}"
            case _:
                return self.sort.value

    @property
    def plural(self) -> str:
        """Several of the type: `addresses`, `calls`."""
        match self.sort:
            case Sort.BYTES:
                return {4: "selectors", 20: "addresses"}.get(self.width, self.words)
            case Sort.RECORD:
                return f"{self.unit}s"
            case Sort.AMOUNT:
                return f"amounts of {self.unit}"
            case _:
                return f"{self.sort.value.removeprefix('a ')}s"


_BYTES: Final = {4: "a selector of 4 bytes", 20: "an address"}
_FARTHEST: Final = 10**300
_ORDERED: Final = frozenset({Sort.NUMBER, Sort.AMOUNT, Sort.DURATION, Sort.TIME, Sort.BROKEN})


def _bound(bound: Fraction | None) -> Fraction | None:
    return None if bound is None or abs(bound.numerator) > _FARTHEST * bound.denominator else bound


BOOL: Final = Type(Sort.BOOL)
_BOOL_OR_MISSING: Final = Type(Sort.BOOL, nullable=True)
NUMBER: Final = Type(Sort.NUMBER)
UNSIGNED: Final = Type(Sort.NUMBER, low=Fraction(0))
DURATION: Final = Type(Sort.DURATION)
TIME: Final = Type(Sort.TIME, low=Fraction(0))
TEXT: Final = Type(Sort.TEXT)
SELECTOR: Final = Type(Sort.BYTES, width=4)
ADDRESS: Final = Type(Sort.BYTES, width=20)
HASH: Final = Type(Sort.BYTES, width=32)
NONE: Final = Type(Sort.NONE, nullable=True)
BROKEN: Final = Type(Sort.BROKEN)
CALL: Final = Type(Sort.RECORD, unit="call")
MOVE: Final = Type(Sort.RECORD, unit="move")
GRANT: Final = Type(Sort.RECORD, unit="grant")


def amount(unit: str) -> Type:
    """An amount that is never negative."""
    return Type(Sort.AMOUNT, unit=unit, low=Fraction(0))


def one_of(*values: str) -> Type:
    """A text of a closed set."""
    return Type(Sort.TEXT, values=values)


def list_of(element: Type) -> Type:
    """A list."""
    return Type(Sort.LIST, element=element)


def optional(kind: Type) -> Type:
    """The same, and it may be missing."""
    return replace(kind, nullable=True)


def truth(*, nullable: bool) -> Type:
    """True or false, or missing too."""
    return _BOOL_OR_MISSING if nullable else BOOL


def ranging(low: int, high: int | None = None) -> Type:
    """A number between two bounds."""
    return NUMBER.within(Fraction(low), None if high is None else Fraction(high))
