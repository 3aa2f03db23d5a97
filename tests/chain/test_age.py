"""How old what is known of a chain is: told by a clock that nobody sets, and never of a chain that only rests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.age import ChainAge
from proxy.chain.blocks.header import Header
from proxy.userop.primitives import Hash32
from tests.chain.builders import Clock

BOUND = 60.0


def block(number: int, branch: int = 0) -> Header:
    name = Hash32(bytes([branch]) + number.to_bytes(31, "big"))
    return Header(number=number, hash=name, parent=Hash32(bytes(32)), timestamp=2 * number)


class Chain:
    """An age, looked at every second."""

    def __init__(self, *, before: float = 0.0) -> None:
        self.clock = Clock()
        self.number = 100
        self.age = ChainAge(self.clock, bound=BOUND, before=before)

    def live(self, seconds: float, *, each: float | None) -> None:
        """The node is asked each second; the chain has a new block after every `each` seconds, or none."""
        passed = 0.0
        while passed < seconds:
            self.clock.now += 1
            passed += 1
            if each is not None and passed % each == 0:
                self.number += 1
            self.age.heard(block(self.number))
            self.age.confirmed()


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_a_chain_that_is_heard_of_and_moves_is_not_old(chain: Chain) -> None:
    chain.live(600, each=2)
    assert chain.age.seconds == 0
    assert chain.age.stale() is None


def test_a_node_that_is_silent_for_longer_than_the_bound_makes_it_old(chain: Chain) -> None:
    chain.live(100, each=2)
    chain.clock.now += BOUND
    assert chain.age.stale() is None
    chain.clock.now += 1
    stale = chain.age.stale()
    assert stale is not None
    assert not stale.readable
    assert "nothing was heard" in stale.what


def test_a_head_that_stands_still_for_much_longer_than_usual_makes_it_old(chain: Chain) -> None:
    chain.live(100, each=2)
    chain.live(BOUND + 1, each=None)
    stale = chain.age.stale()
    assert stale is not None
    assert not stale.readable
    assert "the same for 61 s" in stale.what


@pytest.mark.parametrize("each", [20, 100, 300])
def test_a_quiet_chain_is_not_frozen_while_it_rests_as_it_does(chain: Chain, each: float) -> None:
    chain.live(each * 6, each=each)
    chain.live(each * 2, each=None)
    assert chain.age.stale() is None


def test_a_chain_that_makes_blocks_on_demand_is_not_frozen_after_a_burst(chain: Chain) -> None:
    chain.live(400, each=100)
    chain.live(30, each=1)
    chain.live(300, each=None)
    assert chain.age.stale() is None


def test_a_chain_that_has_shown_nothing_yet_is_not_frozen(chain: Chain) -> None:
    chain.live(1_000, each=None)
    assert chain.age.stale() is None


def test_a_node_frozen_before_the_start_is_told_by_its_blocks(chain: Chain) -> None:
    headers = [block(number) for number in range(84, 100)]
    chain.age.seed(headers, unix_now=headers[-1].timestamp + 300.0)
    chain.age.heard(headers[-1])
    chain.age.confirmed()
    stale = chain.age.stale()
    assert stale is not None
    assert "the same for 300 s" in stale.what


def test_blocks_that_are_heard_of_and_not_read_yet_make_it_old_and_readable(chain: Chain) -> None:
    for _ in range(70):
        chain.clock.now += 1
        chain.number += 1
        chain.age.heard(block(chain.number))
    stale = chain.age.stale()
    assert stale is not None
    assert stale.readable


def test_what_was_kept_before_a_restart_is_as_old_as_it_is() -> None:
    chain = Chain(before=900.0)
    assert chain.age.stale() is not None
    chain.live(1, each=None)
    assert chain.age.stale() is None


def test_a_node_behind_the_other_one_does_not_make_the_head_move(chain: Chain) -> None:
    chain.live(100, each=2)
    for _ in range(70):
        chain.clock.now += 1
        for number in (chain.number, chain.number - 3):
            chain.age.heard(block(number))
            chain.age.confirmed()
    assert chain.age.is_frozen


def test_a_block_of_another_branch_at_the_same_height_is_a_move(chain: Chain) -> None:
    chain.live(100, each=2)
    chain.clock.now += 9
    chain.age.heard(block(chain.number, branch=1))
    chain.clock.now += 9
    assert not chain.age.is_frozen


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=80))
def test_the_longest_rest_of_the_last_hour_is_what_a_search_would_find(steps: list[tuple[int, bool]]) -> None:
    chain = Chain()
    chain.age.heard(block(chain.number))
    rests: list[tuple[float, float]] = []
    moved = chain.clock.now
    for seconds, moves in steps:
        chain.clock.now += seconds
        if moves:
            chain.number += 1
            rests.append((chain.clock.now - moved, chain.clock.now))
            moved = chain.clock.now
        chain.age.heard(block(chain.number))
    recent = [rest for rest, at in rests if at >= chain.clock.now - 3_600] or [rest for rest, _ in rests[-1:]]
    expected = max(4 * max(recent), 10.0) if len(rests) >= 3 else None
    assert chain.age.frozen_bound == expected


def test_what_was_kept_is_as_old_as_it_was_and_its_node_is_asked_until_blocks_were_looked_at() -> None:
    chain = Chain(before=BOUND + 1)
    assert chain.age.seconds == BOUND + 1
    stale = chain.age.stale()
    assert stale is not None
    assert stale.readable
    chain.age.failed("down")
    stale = chain.age.stale()
    assert stale is not None
    assert not stale.readable
    chain.live(1, each=1)
    assert chain.age.stale() is None
