"""Comparisons: which mean something, which can never hold, and how they are evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.judge.expression import closures, tree
from proxy.judge.expression.faults import did_you_mean
from proxy.judge.expression.typed import Notes, Typed, broken, number_shown
from proxy.judge.expression.types import BOOL, Sort, Type, truth
from proxy.userop.primitives import keccak256, print_bytes

_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_EQUALITIES: Final = frozenset({"==", "!="})


def compare(notes: Notes, node: tree.Comparison, left: Typed, right: Typed) -> Typed:
    """`left sign right` for == != < <= > >=."""
    if left.broken or right.broken:
        return broken(node)
    if left.is_none or right.is_none:
        return _compare_none(notes, node, left, right)
    left, right = adapted(left, right.type), adapted(right, left.type)
    if not comparable(left.type, right.type):
        return misfit(notes, node, left, right)
    if node.sign not in _EQUALITIES and not left.type.ordered:
        return notes.complain(node, f"{notes.shown(left.node)} has no order", "compare it by == or !=")
    known = _decided(node.sign, left.type, right.type)
    if not (left.literal and right.literal):
        if (outside := outside_of_set(notes, node, left, right)) is not None:
            return outside
        if known is (node.sign == "!=") and left.type.ordered:
            return _impossible(notes, node, left, right)
    nullable = left.type.nullable or right.type.nullable
    run = closures.applied(node.sign, left.run, right.run, fixed=right.fixed, nullable=nullable)
    return Typed(node=node, type=truth(nullable=nullable), run=run, known=None if nullable else known)


def contains(notes: Notes, node: tree.Comparison, element: Typed, values: Typed) -> Typed:
    """`element in values`, and `not in`."""
    if element.broken or values.broken:
        return broken(node)
    inside = values.type.element
    if inside is None:
        return notes.complain(
            values.node, f"{notes.shown(values.node)} is {values.type.words}, no list", "write [a, b] or $name"
        )
    if element.is_none or not comparable(element.type, inside):
        return notes.complain(
            node,
            f"{notes.shown(element.node)} is {element.type.words}, "
            f"and {notes.shown(values.node)} is {values.type.words}",
        )
    item = Typed(node=values.node, type=inside, run=values.run)
    if (outside := outside_of_set(notes, node, element, item)) is not None:
        return outside
    if isinstance(values.fixed, frozenset):
        run = closures.among(element.run, values.fixed)
    else:
        run = closures.within(element.run, values.run)
    nullable = element.type.nullable or inside.nullable or values.type.nullable
    if node.sign == "not in":
        run = closures.negation(run)
    return Typed(node=node, type=truth(nullable=nullable), run=run)


def adapted(part: Typed, wanted: Type) -> Typed:
    """A plain 0 is nothing of anything; a plain number beside a time is in unix seconds."""
    if not part.literal or part.type.sort is not Sort.NUMBER:
        return part
    nothing = part.type.low == 0 and wanted.sort in (Sort.AMOUNT, Sort.DURATION)
    if nothing or wanted.sort is Sort.TIME:
        return replace(part, type=replace(part.type, sort=wanted.sort, unit=wanted.unit))
    return part


def comparable(left: Type, right: Type) -> bool:
    """Whether it means something to ask if the two are equal."""
    return left.fits(right) and left.sort not in (Sort.RECORD, Sort.LIST)


def misfit(notes: Notes, node: tree.ExpressionNode, left: Typed, right: Typed) -> Typed:
    """The fault of putting two different things together."""
    first, second = notes.shown(left.node), notes.shown(right.node)
    if left.type.sort is Sort.AMOUNT and right.type.sort is Sort.AMOUNT:
        return notes.complain(node, f"{first} is {left.type.words}, {second} one of {right.type.unit}")
    problem = f"{first} is {left.type.words}, {second} is {right.type.words}"
    return notes.complain(node, problem, _cure_of_misfit(left, right) or _cure_of_misfit(right, left))


_BASE_UNITS_FROM: Final = 10**6
"""A number of so many is hardly meant in whole units."""


def _cure_of_misfit(written: Typed, wanted: Typed) -> str | None:
    if not written.literal:
        return None
    value, sort = written.fixed, wanted.type.sort
    if written.type.sort is Sort.NUMBER and sort is Sort.AMOUNT:
        if isinstance(value, int) and abs(value) >= _BASE_UNITS_FROM:
            small = ", or 20 gwei" if wanted.type.unit == "ETH" else ""
            return f"write whole units and not base units, such as 500 {wanted.type.unit}{small}"
        return f"write the unit: {value} {wanted.type.unit}"
    if written.type.sort is Sort.NUMBER and sort is Sort.DURATION:
        return f"write the unit: {value}s, {value}m, {value}h or {value}d"
    if isinstance(value, str) and sort is Sort.BYTES:
        if wanted.type.width == 4 and value.endswith(")"):
            return f"write {print_bytes(keccak256(value.encode())[:4])}"
        return "write bytes without quotes" if value.startswith("0x") else None
    if isinstance(value, str) and sort is Sort.BOOL:
        return "write true or false without quotes"
    return None


def _compare_none(notes: Notes, node: tree.Comparison, left: Typed, right: Typed) -> Typed:
    other = right if left.is_none else left
    if node.sign not in _EQUALITIES:
        return notes.complain(node, "none has no order", "write == none or != none")
    if other.is_none or not other.type.nullable:
        return notes.complain(node, f"{notes.shown(other.node)} is never missing")
    return Typed(node=node, type=BOOL, run=closures.is_missing(other.run, wanted=node.sign == "=="))


def outside_of_set(notes: Notes, node: tree.ExpressionNode, left: Typed, right: Typed) -> Typed | None:
    """The fault of a text that a closed set does not hold; `None` when the two have a text in common."""
    ours, theirs = left.type.values, right.type.values
    if ours is None or theirs is None or set(ours) & set(theirs):
        return None
    closed, written = (left, right) if right.literal or not left.literal else (right, left)
    values = closed.type.values or ()
    named = (written.type.values or ("",))[0]
    suggestion = did_you_mean(named, values)
    if len(values) <= 8:
        return notes.complain(node, f"{notes.shown(closed.node)} is one of {', '.join(values)}", suggestion)
    return notes.complain(node, f"{notes.shown(closed.node)} is never {notes.shown(written.node)}", suggestion)


def _decided(sign: str, left: Type, right: Type) -> bool | None:
    """What the bounds of both sides say of a comparison, before any operation is seen."""
    if not left.ordered:
        return None
    if sign in (">", ">="):
        return _decided(_MIRRORED[sign], right, left)
    below = left.high is not None and right.low is not None and left.high < right.low
    above = left.low is not None and right.high is not None and left.low > right.high
    touching_below = left.high is not None and left.high == right.low
    touching_above = left.low is not None and left.low == right.high
    if sign == "<":
        return True if below else False if above or touching_above else None
    if sign == "<=":
        return True if below or touching_below else False if above else None
    equal: bool | None = None
    if below or above:
        equal = False
    elif touching_below and touching_above:
        equal = True
    return equal if sign == "==" or equal is None else not equal


def _impossible(notes: Notes, node: tree.Comparison, left: Typed, right: Typed) -> Typed:
    """The fault of a number that is asked to be what it never is."""
    sign, asked, bound = node.sign, left, right
    if left.literal:
        sign, asked, bound = _MIRRORED[sign], right, left
    kind, other = asked.type, bound.type
    if sign in _EQUALITIES:
        sign = "<" if kind.low is not None and other.high is not None and other.high < kind.low else ">"
    limit, word = (kind.low, "below") if sign in ("<", "<=") else (kind.high, "above")
    if limit is None:
        return notes.complain(node, "this never holds")
    return notes.complain(node, f"{notes.shown(asked.node)} is never {word} {number_shown(limit, kind)}")
