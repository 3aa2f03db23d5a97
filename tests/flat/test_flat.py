"""Whatever is done takes the same however much is known: with a hundred thousand sessions, twice as many operations
settled and as many in flight as one session may have, as with a hundredth of that.

    FLAT_IN_FLIGHT=100000 pytest tests/flat
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.flat.effort import effort_of
from tests.flat.world import WORKS, World

SESSIONS = 100_000
IN_FLIGHT = int(os.environ.get("FLAT_IN_FLIGHT", "20000"))
TIMES = 100
MORE = 1.2
SLACK = 4_096
"""Bytes that a table may differ by."""


@pytest.fixture(scope="module")
def worlds() -> Iterator[tuple[World, World]]:
    few, many = World(SESSIONS // TIMES, IN_FLIGHT // TIMES), World(SESSIONS, IN_FLIGHT)
    yield few, many
    few.close()
    many.close()


@pytest.mark.parametrize("name", WORKS)
def test_it_takes_no_more_where_a_hundred_times_as_much_is_known(worlds: tuple[World, World], name: str) -> None:
    few, many = (effort_of(lambda world=world: WORKS[name](world)) for world in worlds)
    assert few.steps / MORE <= many.steps <= MORE * few.steps
    assert many.room <= MORE * few.room + SLACK
