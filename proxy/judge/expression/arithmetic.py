"""Arithmetic: exact integers without end, and amounts that mix with nothing but their own kind."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from proxy.judge.expression import closures, tree
from proxy.judge.expression.comparisons import misfit
from proxy.judge.expression.typed import Notes, Typed, broken
from proxy.judge.expression.types import DURATION, NUMBER, TIME, Sort, Type

_COUNTED: Final = (Sort.NUMBER, Sort.AMOUNT, Sort.DURATION)
_SAID: Final = {"+": "added to", "-": "taken from", "*": "multiplied by", "//": "divided by", "%": "divided by"}


def calculate(notes: Notes, node: tree.Arithmetic, left: Typed, right: Typed) -> Typed:
    """`left sign right` for + - * // %."""
    if left.broken or right.broken:
        return broken(node)
    if node.sign in ("//", "%") and (not right.literal or right.type.low == 0):
        shown = notes.shown(right.node)
        problem = "nothing is divided by zero" if right.literal else f"{shown} may be zero"
        return notes.complain(right.node, problem, "a divisor is a number that is written out and not 0")
    result = _result(node.sign, left.type, right.type)
    if result is None:
        if node.sign in ("+", "-") and left.type.sort in _COUNTED and right.type.sort in _COUNTED:
            return misfit(notes, node, left, right)
        return notes.complain(
            node, f"{left.type.words} cannot be {_SAID[node.sign]} {right.type.words}", "look at the types of both"
        )
    nullable = left.type.nullable or right.type.nullable
    result = replace(_bounded(node.sign, result, left.type, right.type), nullable=nullable)
    run = closures.applied(node.sign, left.run, right.run, fixed=right.fixed, nullable=nullable)
    return Typed(node=node, type=result, run=run)


def negate(notes: Notes, node: tree.Negative, inner: Typed) -> Typed:
    """`-inner`; a negative literal stays a literal."""
    if inner.broken:
        return broken(node)
    kind = inner.type
    if kind.sort not in _COUNTED:
        return notes.complain(node, f"{notes.shown(inner.node)} is {kind.words} and has no negative")
    low = None if kind.high is None else -kind.high
    high = None if kind.low is None else -kind.low
    fixed = -inner.fixed if isinstance(inner.fixed, int) else None
    run = closures.constant(fixed) if fixed is not None else closures.minus(inner.run)
    return Typed(node=node, type=kind.within(low, high), run=run, literal=inner.literal, fixed=fixed)


def _result(sign: str, left: Type, right: Type) -> Type | None:
    """The type of what comes out, without bounds; `None` where it means nothing."""
    if not (left.ordered and right.ordered):
        return None
    same = left.fits(right) and left.sort in _COUNTED
    plain = replace(left, low=None, high=None)
    match sign:
        case "+" | "-" if same:
            return plain
        case "+" if {left.sort, right.sort} == {Sort.TIME, Sort.DURATION}:
            return TIME.within(None, None)
        case "-" if (left.sort, right.sort) == (Sort.TIME, Sort.DURATION):
            return TIME.within(None, None)
        case "-" if (left.sort, right.sort) == (Sort.TIME, Sort.TIME):
            return DURATION
        case "*" if left.sort in _COUNTED and right.sort is Sort.NUMBER:
            return plain
        case "*" if left.sort is Sort.NUMBER and right.sort in _COUNTED:
            return replace(right, low=None, high=None)
        case "//" if left.sort in _COUNTED and right.sort is Sort.NUMBER:
            return plain
        case "//" if same:
            return NUMBER
        case "%" if same:
            return plain
        case _:
            return None


def _bounded(sign: str, result: Type, left: Type, right: Type) -> Type:
    """The bounds of the result, where they can be told simply; a bound too few only means a check too few."""
    match sign:
        case "+":
            return result.within(_plus(left.low, right.low), _plus(left.high, right.high))
        case "-":
            return result.within(
                _plus(left.low, _minus(right.high)),
                _plus(left.high, _minus(right.low)),
            )
        case "*" if _never_negative(left) and _never_negative(right):
            return result.within(_times(left.low, right.low), _times(left.high, right.high))
        case "//" if _never_negative(left) and _never_negative(right):
            return result.within(Fraction(0), None)
        case "%" if _never_negative(right):
            return result.within(Fraction(0), right.high)
        case _:
            return result


def _never_negative(kind: Type) -> bool:
    return kind.low is not None and kind.low >= 0


def _plus(left: Fraction | None, right: Fraction | None) -> Fraction | None:
    return None if left is None or right is None else left + right


def _times(left: Fraction | None, right: Fraction | None) -> Fraction | None:
    return None if left is None or right is None else left * right


def _minus(bound: Fraction | None) -> Fraction | None:
    return None if bound is None else -bound
