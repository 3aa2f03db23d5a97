"""Any well-typed expression means over any operation what a naive reading of it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.expression import Expression, compile_expression
from proxy.judge.facts import CallFacts, Facts
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Selector
from tests.judge.expression.samples import ACCOUNT, HERE, NOWHERE, ROUTER, SCOPE, SHOP, USDC_HERE, facts, move

Naive = Callable[[Facts, CallFacts | None], Any]


class Pair(NamedTuple):
    """An expression as text, and as its naive reading."""

    text: str
    naive: Naive


def _number(*, in_loop: bool) -> st.SearchStrategy[Pair]:
    leaves = st.one_of(
        st.integers(0, 2**300).map(lambda n: Pair(str(n), lambda _f, _c: n)),
        st.sampled_from([Pair("op.gas", lambda f, _: f.gas), Pair("op.nonce", lambda f, _: f.nonce)]),
        st.just(Pair("op.limit_used_percent", lambda f, _: f.limit_used_percent)),
        st.just(Pair("len(op.calls)", lambda f, _: len(f.calls))),
        *([st.just(Pair("c.size", lambda _, c: c.size if c else 0))] if in_loop else []),
    )

    def grown(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
        return st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map(_calculated),
            st.tuples(inner, st.sampled_from(["//", "%"]), st.integers(1, 2**70)).map(
                lambda t: _calculated((t[0], t[1], Pair(str(t[2]), lambda _f, _c: t[2])))
            ),
        )

    return st.recursive(leaves, grown, max_leaves=4)


def _calculated(parts: tuple[Pair, str, Pair]) -> Pair:
    left, sign, right = parts
    apply: dict[str, Callable[[int, int], int]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "//": lambda a, b: a // b,
        "%": lambda a, b: a % b,
    }
    return Pair(f"({left.text} {sign} {right.text})", _strict(apply[sign], left, right))


def _strict(apply: Callable[[Any, Any], Any], left: Pair, right: Pair) -> Naive:
    def naive(f: Facts, c: CallFacts | None) -> Any:
        a, b = left.naive(f, c), right.naive(f, c)
        return None if a is None or b is None else apply(a, b)

    return naive


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _compared(parts: tuple[Pair, str, Pair]) -> Pair:
    left, sign, right = parts
    return Pair(f"({left.text} {sign} {right.text})", _strict(COMPARE[sign], left, right))


def _spend(f: Facts) -> int | None:
    if f.chain_id != HERE:
        return 0
    amounts = [m.amount for m in f.moves if m.kind is MovementKind.SPEND and m.token == USDC_HERE]
    return None if None in amounts else sum(a for a in amounts if a is not None)


_AMOUNTS = st.tuples(
    st.just(Pair("spend(USDC)", lambda f, _: _spend(f))),
    st.sampled_from(sorted(COMPARE)),
    st.integers(1, 10**12).map(
        lambda n: Pair(f"{n // 10**6}.{n % 10**6:06d} USDC", lambda f, _: n if f.chain_id == HERE else n * 10**12)
    ),
).map(_compared)


def _and(parts: tuple[Pair, Pair], word: str) -> Pair:
    stop = word == "or"

    def naive(f: Facts, c: CallFacts | None) -> bool | None:
        answers = [part.naive(f, c) for part in parts]
        return stop if stop in answers else None if None in answers else not stop

    return Pair(f"({parts[0].text} {word} {parts[1].text})", naive)


def _not(part: Pair) -> Pair:
    def naive(f: Facts, c: CallFacts | None) -> bool | None:
        value = part.naive(f, c)
        return None if value is None else not value

    return Pair(f"(not {part.text})", naive)


def _looped(parts: tuple[str, Pair, Pair | None]) -> Pair:
    function, part, condition = parts

    def naive(f: Facts, _c: CallFacts | None) -> bool | None:
        answers = []
        for call in f.calls:
            fits = True if condition is None else condition.naive(f, call)
            value = part.naive(f, call)
            if function == "any":
                answers.append(False if False in (fits, value) else None if None in (fits, value) else True)
            else:
                answers.append(True if fits is False or value is True else None if None in (fits, value) else False)
        stop = function == "any"
        return stop if stop in answers else None if None in answers else not stop

    tail = "" if condition is None else f" if {condition.text}"
    return Pair(f"{function}({part.text} for c in op.calls{tail})", naive)


def _conditions(*, in_loop: bool) -> st.SearchStrategy[Pair]:
    numbers = _number(in_loop=in_loop)
    leaves = [
        st.tuples(numbers, st.sampled_from(sorted(COMPARE)), numbers).map(_compared),
        st.sampled_from(
            [
                Pair("op.session", lambda f, _: f.session),
                Pair("op.paymaster in $routers", lambda f, _: None if f.paymaster is None else f.paymaster == ROUTER),
                Pair("op.paymaster == none", lambda f, _: f.paymaster is None),
                Pair('op.mode == "use"', lambda f, _: None if f.mode is None else f.mode == "use"),
            ]
        ),
        _AMOUNTS,
    ]
    if in_loop:
        leaves.append(st.just(Pair("c.target == op.account", lambda f, c: c is not None and c.target == f.account)))
    else:
        inside = _conditions(in_loop=True)
        leaves.append(st.tuples(st.sampled_from(["any", "all"]), inside, st.none() | inside).map(_looped))
    return st.recursive(
        st.one_of(*leaves),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda t: _and(t, "and")),
            st.tuples(inner, inner).map(lambda t: _and(t, "or")),
            inner.map(_not),
        ),
        max_leaves=5,
    )


ADDRESSES = st.sampled_from([ACCOUNT, SHOP, ROUTER, USDC_HERE])
FACTS = st.builds(
    facts,
    chain_id=st.sampled_from([HERE, NOWHERE]),
    gas=st.integers(0, 2**300),
    nonce=st.integers(0, 2**256 - 1),
    session=st.booleans(),
    mode=st.sampled_from([None, "use", "enable"]),
    paymaster=st.none() | ADDRESSES,
    limit_used_percent=st.none() | st.integers(0, 200),
    calls=st.lists(
        st.builds(
            CallFacts,
            target=ADDRESSES,
            selector=st.just(Selector(bytes(4))),
            value=st.integers(0, 2**256 - 1),
            size=st.integers(0, 10_000),
        ),
        max_size=4,
    ).map(tuple),
    moves=st.lists(
        st.builds(
            move,
            st.sampled_from([MovementKind.SPEND, MovementKind.EXPOSURE]),
            amount=st.none() | st.integers(0, 10**13),
            token=st.sampled_from([USDC_HERE, SHOP]),
            asset=st.just(AssetKind.ERC20),
        ),
        max_size=3,
    ).map(tuple),
)


@given(_conditions(in_loop=False), st.lists(FACTS, min_size=1, max_size=4))
def test_an_expression_means_what_a_naive_reading_means(pair: Pair, operations: list[Facts]) -> None:
    expression = compile_expression(pair.text, SCOPE)
    if not isinstance(expression, Expression):
        # only what can never hold, or is over-long, may be refused of a text whose types fit
        assert all(
            "never" in fault.problem
            or "deeper" in fault.problem
            or "parts" in fault.problem
            or "digits" in fault.problem
            for fault in expression
        ), expression
        return
    for operation in operations:
        answer = expression.holds(operation)
        assert answer is pair.naive(operation, None)
        assert expression.const is None or answer is expression.const
