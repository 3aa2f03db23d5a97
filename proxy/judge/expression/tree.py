"""The tree of an expression as it was written, before anybody asked what its names mean."""

from __future__ import annotations

from fractions import Fraction

from proxy.record import record


@record(kw_only=True)
class ExpressionNode:
    """Part of an expression, and where it stands. `depth` is how deep it nests."""

    offset: int
    end: int
    depth: int = 1


@record(kw_only=True)
class Number(ExpressionNode):
    """A number, with the unit that was written behind it."""

    digits: Fraction
    unit: str | None


@record(kw_only=True)
class Constant(ExpressionNode):
    """true, false, none, a text, or bytes."""

    value: bool | str | bytes | None


@record(kw_only=True)
class Name(ExpressionNode):
    """A bare name: a macro, a variable, `value`."""

    name: str


@record(kw_only=True)
class Attribute(ExpressionNode):
    """`base.name`, of a bare name."""

    base: str
    name: str


@record(kw_only=True)
class ListName(ExpressionNode):
    """`$name`."""

    name: str


@record(kw_only=True)
class ListOf(ExpressionNode):
    """`[a, b]`."""

    items: tuple[ExpressionNode, ...]


@record(kw_only=True)
class Every(ExpressionNode):
    """Parts joined by `and`, or by `or`."""

    parts: tuple[ExpressionNode, ...]
    disjunction: bool


@record(kw_only=True)
class Not(ExpressionNode):
    """`not part`."""

    part: ExpressionNode


@record(kw_only=True)
class Negative(ExpressionNode):
    """`-part`."""

    part: ExpressionNode


@record(kw_only=True)
class Comparison(ExpressionNode):
    """`left sign right`; the sign is one of == != < <= > >= in, not in."""

    sign: str
    left: ExpressionNode
    right: ExpressionNode


@record(kw_only=True)
class Arithmetic(ExpressionNode):
    """`left sign right`; the sign is one of + - * // %."""

    sign: str
    left: ExpressionNode
    right: ExpressionNode


@record(kw_only=True)
class FunctionCall(ExpressionNode):
    """`function(arguments)`."""

    function: str
    arguments: tuple[ExpressionNode, ...]


@record(kw_only=True)
class Quantifier(ExpressionNode):
    """`function(part for variable in over if condition)`."""

    function: str
    part: ExpressionNode
    variable: str
    variable_offset: int
    over: ExpressionNode
    condition: ExpressionNode | None
