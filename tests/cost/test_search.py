"""The search for what costs most, kept short; `make fuzz-cost` runs it for as long as one likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cost.bodies import padded_use
from tests.cost.counter import Counter
from tests.cost.recipes import Recipe, seeds, unpack
from tests.cost.search import MOST, Search, kept, ratio


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    there = Counter()
    there.serve(padded_use(0))
    yield there
    there.close()


@pytest.mark.parametrize("recipe", [recipe for _, recipe in kept()], ids=[name for name, _ in kept()])
def test_the_worst_that_was_ever_found_costs_no_more_than_it_may(counter: Counter, recipe: Recipe) -> None:
    assert ratio(counter, recipe) <= MOST


def test_a_short_search_from_the_worst_finds_nothing_that_costs_more(counter: Counter) -> None:
    search = Search(counter, seed=7)
    search.begin([recipe for _, recipe in kept()][:6] + seeds()[::4])
    worst = search.run(40)
    assert worst.ratio <= MOST, worst.recipe.pack().hex()


def test_a_recipe_is_kept_as_it_is() -> None:
    for recipe in seeds():
        assert unpack(recipe.pack()) == recipe
