"""The tree of an expression as it was written, before anybody asked what its names mean."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Part of an expression, and where it stands. `depth` is how deep it nests."""

    offset: int
    end: int
    depth: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Node):
    """A number, with the unit that was written behind it."""

    digits: Fraction
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Node):
    """true, false, none, a text, or bytes."""

    value: bool | str | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Node):
    """A bare name: a macro, a variable, `value`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute(Node):
    """`base.name`, of a bare name."""

    base: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListName(Node):
    """`$name`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Every(Node):
    """Parts joined by `and`, or by `or`."""

    parts: tuple[Node, ...]
    disjunction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Not(Node):
    """`not part`."""

    part: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative(Node):
    """`-part`."""

    part: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Node):
    """`left sign right`; the sign is one of == != < <= > >= in, not in."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic(Node):
    """`left sign right`; the sign is one of + - * // %."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Node):
    """`function(arguments)`."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantifier(Node):
    """`function(part for variable in over if condition)`."""

    function: str
    part: Node
    variable: str
    variable_offset: int
    over: Node
    condition: Node | None
