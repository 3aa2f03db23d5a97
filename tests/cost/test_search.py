"""The search for what costs most, kept short; `make fuzz-cost` runs it for as long as one likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cost.bodies import good_under, padded_use
from tests.cost.counter import Counter
from tests.cost.plain_bodies import changed_body, plain_seeds
from tests.cost.recipes import METHODS, SIGNERS, seeds, unpack
from tests.cost.rule_sets import IN_ONE_STEP, MANY, judge_of
from tests.cost.search import MOST, MOST_AT_ONCE, Costly, Scales, Search, kept, kept_recipes

_RULES = 500  # of each of `MANY` at once; the long search takes ten thousand


@pytest.fixture(scope="module")
def scales() -> Iterator[Scales]:
    counter = Counter()
    yield Scales(counter)
    counter.close()


@pytest.mark.parametrize("recipe", [recipe for _, recipe in kept()], ids=[name for name, _ in kept()])
def test_the_worst_that_was_ever_found_costs_no_more_than_it_may(scales: Scales, recipe: Costly) -> None:
    tried = scales.weigh(recipe)
    assert tried.ratio <= MOST
    assert tried.longest <= MOST_AT_ONCE


def test_a_short_search_from_the_worst_finds_nothing_that_costs_more(scales: Scales) -> None:
    search = Search(scales, seed=7)
    search.begin(kept_recipes()[:6] + seeds()[::5])
    worst = search.run(40)
    assert worst.badness <= 1, worst.recipe.pack().hex()


def test_nor_does_one_from_any_json(scales: Scales) -> None:
    search = Search(scales, seed=7, change=changed_body)
    search.begin(plain_seeds())
    worst = search.run(40)
    assert worst.badness <= 1, worst.recipe.pack().hex()


def test_the_search_begins_with_every_signer_under_every_method_that_takes_one() -> None:
    begun = {(recipe.signer, recipe.method) for recipe in seeds()}
    assert {signer for signer, _ in begun} == set(SIGNERS)
    assert {method for _, method in begun} == set(METHODS)


@pytest.mark.parametrize("name", [name for name in MANY if name not in IN_ONE_STEP])
def test_under_many_rules_neither(name: str) -> None:
    counter = Counter(judge_of(name, _RULES))
    search = Search(Scales(counter, good_under(name)), seed=11)
    search.begin(kept_recipes()[::6] + seeds()[::13])
    worst = search.run(12)
    counter.close()
    assert worst.badness <= 1, worst.recipe.pack().hex()


def test_no_number_of_rules_that_count_one_operation_holds_the_loop_for_long() -> None:
    counter = Counter(judge_of("a limit of the session", 1_500))
    good = padded_use(0)
    counter.serve(good)
    longest = counter.weigh(good).longest
    counter.close()
    assert longest <= MOST_AT_ONCE


def test_a_recipe_is_kept_as_it_is() -> None:
    for recipe in seeds():
        assert unpack(recipe.pack()) == recipe
