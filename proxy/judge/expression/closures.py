"""How each part of an expression is evaluated: closures over closures, in Kleene's logic. Nothing here checks anything.

A missing value is `None` and so is an answer that hangs on one. `false and missing` is false all the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from proxy.judge.facts import Facts, GrantFacts
from proxy.userop.budget import Budget

Bound = tuple[Any, ...]
"""The budget that loops are paid from, then the parts that the quantifiers around are looking at, outermost first."""
Run = Callable[[Facts, GrantFacts | None, Bound], Any]
"""A compiled part of an expression."""

OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
"""What each sign between two values does; a divisor is a literal that is not zero."""


_STEPS_OF_A_TURN: Final = 2
_STEPS_OF_A_WALK: Final = 2


class AttributeOf:
    """Reads an attribute of the record that a field is of, as nearly every field does; `get` does so without a call."""

    __slots__ = ("get",)

    def __init__(self, name: str) -> None:
        self.get: Callable[[Any], Any] = operator.attrgetter(name)

    def __call__(self, _facts: Facts, record: Any) -> Any:
        return self.get(record)


def constant(value: object) -> Run:
    """Always the same."""
    return lambda _facts, _grant, _bound: value


def by_chain(values: Mapping[int, int], otherwise: int) -> Run:
    """One value for each chain."""
    return lambda facts, _grant, _bound: values.get(facts.chain_id, otherwise)


def of_operation(read: Callable[[Facts, Any], Any]) -> Run:
    """A field of the operation."""
    if isinstance(read, AttributeOf):
        get = read.get
        return lambda facts, _grant, _bound: get(facts)
    return lambda facts, _grant, _bound: read(facts, facts)


def of_grant(read: Callable[[Facts, Any], Any]) -> Run:
    """A field of the session that the rule is judged for."""
    return lambda facts, grant, _bound: None if grant is None else read(facts, grant)


def of_part(read: Callable[[Facts, Any], Any], depth: int) -> Run:
    """A field of the part that the quantifier at `depth` is looking at."""
    if isinstance(read, AttributeOf):
        get, place = read.get, 1 + depth
        return lambda _facts, _grant, bound: get(bound[place])
    return lambda facts, _grant, bound: read(facts, bound[1 + depth])


def part(depth: int) -> Run:
    """The part itself."""
    return lambda _facts, _grant, bound: bound[1 + depth]


def applied(sign: str, left: Run, right: Run, *, fixed: object = None, nullable: bool = True) -> Run:
    """`left sign right`; `fixed` is the right side's value where it is a literal. Unknown when either side is."""
    apply = OPERATORS[sign]
    if not nullable:
        if fixed is not None:
            return lambda facts, grant, bound: apply(left(facts, grant, bound), fixed)
        return lambda facts, grant, bound: apply(left(facts, grant, bound), right(facts, grant, bound))
    if fixed is not None:

        def to_fixed(facts: Facts, grant: GrantFacts | None, bound: Bound) -> Any:
            value = left(facts, grant, bound)
            return None if value is None else apply(value, fixed)

        return to_fixed

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> Any:
        first = left(facts, grant, bound)
        if first is None:
            return None
        second = right(facts, grant, bound)
        return None if second is None else apply(first, second)

    return run


def is_missing(inner: Run, *, wanted: bool) -> Run:
    """`inner == none`, or `!= none` where it is not wanted: the one question that a missing value answers.

    Bytes of no length are what the native coin has for a token: there is none.
    """

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> bool:
        value = inner(facts, grant, bound)
        return (value is None or value == b"") is wanted

    return run


def negation(inner: Run) -> Run:
    """`not inner`."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> bool | None:
        value = inner(facts, grant, bound)
        return None if value is None else not value

    return run


def minus(inner: Run) -> Run:
    """`-inner`."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> int | None:
        value: int | None = inner(facts, grant, bound)
        return None if value is None else -value

    return run


def joined(parts: tuple[Run, ...], *, disjunction: bool) -> Run:
    """`and` ends at the first false, `or` at the first true; otherwise one unknown part makes all unknown."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> bool | None:
        answer: bool | None = not disjunction
        for each in parts:
            value: bool | None = each(facts, grant, bound)
            if value is None:
                answer = None
            elif value is disjunction:
                return disjunction
        return answer

    return run


def among(element: Run, values: Collection[Any]) -> Run:
    """Whether the element is one of literals."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> bool | None:
        value = element(facts, grant, bound)
        return None if value is None else bool(value in values)

    return run


def within(element: Run, values: Run) -> Run:
    """Whether the element is in a list whose parts may be unknown."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> bool | None:
        value, candidates = element(facts, grant, bound), values(facts, grant, bound)
        if value is None or candidates is None:
            return None
        bound[0].draw_steps(len(candidates))
        if value in candidates:
            return True
        return None if None in candidates else False

    return run


def gathered(items: tuple[Run, ...]) -> Run:
    """A list of what the items are."""
    return lambda facts, grant, bound: tuple(item(facts, grant, bound) for item in items)


def walking(run: Run) -> Run:
    """What looks at every call, move or grant by itself."""

    def walk(facts: Facts, grant: GrantFacts | None, bound: Bound) -> Any:
        bound[0].draw_steps(_STEPS_OF_A_WALK * (len(facts.calls) + len(facts.moves) + len(facts.grants)))
        return run(facts, grant, bound)

    return walk


def of_one_call(read: Callable[[Facts, Budget], Any]) -> Run:
    """An argument of the one call of a function."""
    return walking(lambda facts, _grant, bound: read(facts, bound[0]))


def of_this_call(read: Callable[[Any, Budget], Any], depth: int) -> Run:
    """An argument of the call that the quantifier at `depth` is looking at."""
    return lambda _facts, _grant, bound: read(bound[1 + depth], bound[0])


def length(inner: Run) -> Run:
    """How many parts a list has."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> int | None:
        value = inner(facts, grant, bound)
        return None if value is None else len(value)

    return run


def quantified(function: str, inner: Run, over: Run, condition: Run | None, *, weight: int) -> Run:
    """any, all, count or sum of `inner` for each part of `over` that fits the condition. `weight`: how many parts of
    an expression are asked of each."""
    judge, steps = _JUDGES[function], weight + _STEPS_OF_A_TURN

    if condition is None and function in ("any", "all"):
        return _first_of(inner, over, steps, wanted=function == "any")

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> Any:
        parts = over(facts, grant, bound)
        if parts is None:
            return None
        bound[0].draw_steps(steps * len(parts))
        if condition is None:
            return judge((True, inner(facts, grant, (*bound, each))) for each in parts)
        return judge(
            (fits, None if fits is False else inner(facts, grant, (*bound, each)))
            for each in parts
            if (fits := condition(facts, grant, (*bound, each))) is not False
        )

    return run


def _first_of(inner: Run, over: Run, steps: int, *, wanted: bool) -> Run:
    """Whether one part, or not every part, is what is `wanted`: most rules ask this, and it ends at the first."""

    def run(facts: Facts, grant: GrantFacts | None, bound: Bound) -> bool | None:
        parts = over(facts, grant, bound)
        if parts is None:
            return None
        bound[0].draw_steps(steps * len(parts))
        answer: bool | None = not wanted
        for each in parts:
            value: bool | None = inner(facts, grant, (*bound, each))
            if value is wanted:
                return wanted
            if value is None:
                answer = None
        return answer

    return run


_Answers = Iterable[tuple[bool | None, Any]]
"""Of each part that may fit: whether it does, and the answer for it."""


def _any(answers: _Answers) -> bool | None:
    unknown = False
    for fits, value in answers:
        if value and fits:
            return True
        # an unknown part that is asked a false question changes nothing
        unknown = unknown or value is not False
    return None if unknown else False


def _all(answers: _Answers) -> bool | None:
    unknown = False
    for fits, value in answers:
        if value is False and fits:
            return False
        unknown = unknown or value is not True
    return None if unknown else True


def _count(answers: _Answers) -> int | None:
    total = 0
    unknown = False
    for fits, value in answers:
        if value and fits:
            total += 1
        unknown = unknown or (value is not False and not (value and fits))
    return None if unknown else total


def _sum(answers: _Answers) -> int | None:
    total = 0
    for fits, value in answers:
        if value is None or fits is None:
            return None
        total += value
    return total


_JUDGES: Final[Mapping[str, Callable[[_Answers], Any]]] = {"any": _any, "all": _all, "count": _count, "sum": _sum}
QUANTIFIERS: Final = frozenset(_JUDGES)
"""The functions that look at each part of a list."""
