"""What is remembered of operations of one shape hangs on nothing but the shape."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.judge.at_once import MOST_PLANS, is_small
from proxy.judge.expression import FIELDS
from proxy.judge.facts import CallFacts, Facts, MoveFacts
from proxy.judge.shape import OF_SHAPE, shape_of
from proxy.userop.movement import AssetKind, MovementKind
from tests.judge.builders import ALICE, SHOP, START, TRANSFER, USDC, Scene, facts, ids, judge_of, spend
from tests.judge.test_compiled import calls_made

CALL = CallFacts(target=USDC, selector=TRANSFER, value=0, size=68)
FIVE = "- {id: r, description: d, mode: enforce, limit: {count: ops, max: 5, per: session, window: 1h}}"
MANY = FIVE + "".join(
    f"\n- {{id: r{number}, description: d, mode: shadow, first_seen: {{of: target, after: {number} ops}}}}"
    for number in range(1, 10)
)
PAID = facts(calls=(CALL,), moves=(spend(10**6),))

_OUTSIDE: dict[str, Any] = {
    "unix_time": START + 86_400 * 3 + 3_600,
    "user_op_hash": b"\x09" * 32,
    "nonce": 77 << 64,
    "gas": 9,
    "call_gas": 8,
    "max_cost": 7,
    "max_fee": 6,
    "priority_fee": 5,
    "replaces": True,
    "lanes": 9,
    "session_since": 1.0,
    "session_until": 2 * 10**9,
    "limit_used_percent": 99,
}
_OF_PARTS = ("calls", "moves", "grants")


def _another(value: object) -> object:
    return {bool: not value, str: f"{value}?", int: 7, bytes: b"\x42" * 20, tuple: ("act",)}.get(
        type(value), b"\x43" * 20
    )


def _read_of_shape(seen: Facts) -> dict[str, object]:
    """What expressions read of it, as far as that is said to hang on its shape."""
    of_part = {"op": seen, "call": seen.calls[0], "move": seen.moves[0]}
    whole = OF_SHAPE - {"op.calls", "op.moves"}  # their parts are read one by one
    return {name: FIELDS[name].read(seen, of_part[name.partition(".")[0]]) for name in whole}


def test_operations_that_differ_in_amounts_time_and_what_is_in_flight_are_of_one_shape() -> None:
    other = PAID._replace(
        calls=(CALL._replace(value=5, size=100),), moves=(PAID.moves[0]._replace(amount=None),), **_OUTSIDE
    )
    assert is_small(PAID)
    assert is_small(other)
    assert shape_of(other) == shape_of(PAID)
    assert _read_of_shape(other) == _read_of_shape(PAID)


@pytest.mark.parametrize("name", [each for each in Facts._fields if each not in {*_OUTSIDE, *_OF_PARTS}])
def test_whatever_else_differs_makes_another_shape(name: str) -> None:
    other = PAID._replace(**{name: _another(getattr(PAID, name))})
    assert shape_of(other) != shape_of(PAID)


@pytest.mark.parametrize(
    "change",
    [
        {"calls": (CALL._replace(target=SHOP),)},
        {"calls": (CALL._replace(selector=b"\x01" * 4),)},
        {"calls": ()},
        {"moves": ()},
        *(
            {"moves": (PAID.moves[0]._replace(**{name: value}),)}
            for name, value in {
                "kind": MovementKind.EXPOSURE,
                "asset": AssetKind.ERC721,
                "token": None,
                "counterparty": SHOP,
                "holder": ALICE,
                "unlimited": True,
                "call": 1,
            }.items()
        ),
    ],
)
def test_another_call_or_move_makes_another_shape(change: dict[str, tuple[MoveFacts, ...]]) -> None:
    assert shape_of(PAID._replace(**change)) != shape_of(PAID)


@pytest.mark.parametrize(
    ("when", "change"),
    [
        ("spend(USDC) > 5 USDC", {"moves": (spend(10**7),)}),
        ("any(m.amount > 5000000 for m in op.moves)", {"moves": (spend(10**7),)}),
        ("op.value > 1 ETH", {"calls": (CALL._replace(value=2 * 10**18),)}),
        ("any(c.size > 80 for c in op.calls)", {"calls": (CALL._replace(size=100),)}),
        ("op.nonce_key == 77", {"nonce": 77 << 64}),
        ("op.lanes > 4", {"lanes": 9}),
        ("op.call_gas > 5", {"call_gas": 9}),
        ("op.time > 1893456000", {"unix_time": 2e9}),
    ],
)
def test_what_hangs_on_more_than_the_shape_is_asked_of_each_operation(when: str, change: dict[str, Any]) -> None:
    scene = Scene(judge_of(f"- {{id: r, description: d, mode: enforce, when: '{when}'}}"))
    for _ in range(3):
        assert ids(scene.look(PAID._replace(call_gas=1))) == []
    assert ids(scene.look(PAID._replace(**{"call_gas": 1, **change}))) == ["r"]


def test_a_limit_is_held_against_what_is_counted_by_then_however_often_the_same_came_before() -> None:
    scene = Scene(
        judge_of("- {id: r, description: d, mode: enforce, limit: {count: ops, max: 5, per: session, window: 1h}}")
    )
    assert [ids(scene.send(PAID)) for _ in range(7)] == [[]] * 5 + [["r"]] * 2


def test_what_is_remembered_of_shapes_is_bounded() -> None:
    judge = judge_of(FIVE)
    plans, scene = judge.plans, Scene(judge)
    for number in range(MOST_PLANS + 50):
        for _ in range(2):
            scene.look(PAID._replace(client=f"client{number}"))
    assert len(plans) == MOST_PLANS


def test_more_shapes_in_turn_than_are_remembered_cost_hardly_more_than_shapes_that_are_new() -> None:
    crowd = [PAID._replace(client=f"client{number}") for number in range(MOST_PLANS + 50)]
    scene, other = Scene(judge_of(MANY)), Scene(judge_of(MANY))
    for seen in (*crowd, *crowd):
        scene.look(seen)
    again = calls_made(lambda: [scene.look(seen) for seen in crowd[:40]])
    anew = calls_made(lambda: [other.look(seen) for seen in crowd[:40]])
    assert again < 1.2 * anew
