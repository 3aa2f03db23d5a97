"""A budget is drawn before the work is done, and never below nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.budget import UNITS, Budget, Overspent


@given(st.integers(0, 100), st.lists(st.integers(0, 30), max_size=20))
def test_what_cannot_be_drawn_in_full_is_not_drawn_at_all(left: int, draws: list[int]) -> None:
    budget = Budget(left)
    for units in draws:
        before = budget.left
        try:
            budget.draw(units)
        except Overspent:
            assert units > before == budget.left
        else:
            assert budget.left == before - units >= 0


def test_reading_is_paid_for_by_what_was_read_and_stops_where_nothing_is_left() -> None:
    data = abi.encode(abi.tuple_of(abi.list_of(abi.UINT256)), [list(range(100))])
    types = abi.tuple_of(abi.list_of(abi.UINT256))
    budget = Budget()
    abi.decode(types, data, "data", budget)
    spent = UNITS - budget.left
    assert spent >= 100
    abi.decode(types, data, "data", Budget(spent + 2))
    poor = Budget(spent - 10)
    with pytest.raises(Undecodable, match="more data than is read at once"):
        abi.decode(types, data, "data", poor)
    assert poor.left == 0


def test_others_are_let_on_once_much_has_been_spent() -> None:
    budget = Budget()
    assert not budget.is_drawn_upon
    budget.draw(UNITS // 2)
    assert budget.is_drawn_upon
