"""What the other tests here rest on: going through a container shows, however that is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flat.effort import effort_of

FEW, MANY = dict.fromkeys(range(100)), dict.fromkeys(range(20_000))


@pytest.mark.parametrize(
    "look",
    [
        lambda things: [each for each in things if each < 0],
        lambda things: any(each < 0 for each in things),
        list,
        sorted,
        set,
        dict,
        lambda things: [*things, 1],
    ],
)
def test_looking_through_many_things_is_more_than_through_few(look: Callable[[dict[int, None]], object]) -> None:
    few, many = effort_of(lambda: look(FEW)), effort_of(lambda: look(MANY))
    assert many.steps > 100 * few.steps or many.room > 100 * few.room


def test_looking_one_up_is_the_same() -> None:
    few, many = effort_of(lambda: FEW.get(7)), effort_of(lambda: MANY.get(7))
    assert few == many
