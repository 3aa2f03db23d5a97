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

    def __init__(self, *, before: float = 0.0, late: float = 0.0) -> None:
        self.clock = Clock()
        self.number = 100
        # by its own time the newest block is so `late`
        self.age = ChainAge(self.clock, bound=BOUND, before=before, clock=lambda: 2 * self.number + late)

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
    headers = [block(number) for number in range(64, 100)]
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


# a chain that makes blocks on demand


class OnDemand:
    """A chain that makes a block when it is asked for one, and at no other time; the node is looked at all along."""

    def __init__(self, clock: Clock, age: ChainAge) -> None:
        self.clock, self.age = clock, age
        self.unix = 1_700_000_000.0
        self.headers = [Header(number=1, hash=name_of(1), parent=name_of(0), timestamp=int(self.unix))]

    def mine(self) -> None:
        newest = self.headers[-1]
        number = newest.number + 1
        # as anvil and Hardhat do it: the time of day, and a second later than the block before at the least
        timestamp = max(int(self.unix), newest.timestamp + 1)
        self.headers.append(Header(number=number, hash=name_of(number), parent=newest.hash, timestamp=timestamp))

    def pass_(self, seconds: float) -> None:
        for _ in range(max(int(seconds), 1)):
            step = min(seconds, 1.0)
            self.clock.now += step
            self.unix += step
            self.age.heard(self.headers[-1])
            self.age.confirmed()


def name_of(number: int) -> Hash32:
    return Hash32(number.to_bytes(32, "big"))


def on_demand() -> OnDemand:
    clock = Clock()
    return OnDemand(clock, ChainAge(clock, bound=BOUND))


def test_contracts_deployed_before_the_start_do_not_make_a_chain_on_demand_frozen() -> None:
    chain = on_demand()
    for _ in range(40):
        chain.mine()
        chain.unix += 0.1
    chain.unix += 300
    chain.age.seed(chain.headers[-17:], unix_now=chain.unix)
    chain.pass_(3_600)
    assert chain.age.stale() is None


@pytest.mark.parametrize("pause", [0.2, 1.0, 3.0])
def test_a_chain_on_demand_that_was_busy_for_minutes_may_rest_for_hours(pause: float) -> None:
    chain = on_demand()
    for step in range(int(180 / pause)):
        chain.mine()
        chain.pass_(pause * (1 + step % 3 / 2))
    chain.pass_(4 * 3_600)
    assert chain.age.stale() is None
    assert chain.age.seconds == 0


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=20))
def test_a_story_told_by_hand_leaves_no_chain_on_demand_frozen(pauses: list[float]) -> None:
    chain = on_demand()
    for pause in pauses:
        for _ in range(1 + int(pause * 7) % 3):
            chain.mine()
        chain.pass_(pause)
    chain.pass_(1_800)
    assert chain.age.stale() is None


def test_a_block_that_the_bundler_names_and_the_node_never_has_makes_what_is_known_old() -> None:
    chain = on_demand()
    chain.mine()
    chain.pass_(100)
    chain.age.named(chain.headers[-1].number + 1)
    chain.pass_(BOUND)
    assert chain.age.stale() is None
    chain.pass_(1)
    stale = chain.age.stale()
    assert stale is not None
    assert not stale.readable
    assert "names block 3" in stale.what
    chain.mine()
    chain.pass_(1)
    assert chain.age.stale() is None


def test_a_node_a_little_behind_the_bundler_all_along_is_not_frozen(chain: Chain) -> None:
    for _ in range(200):
        chain.age.named(chain.number + 2)
        chain.live(2, each=2)
    assert chain.age.stale() is None


def test_a_block_that_a_node_with_new_blocks_does_not_show_is_not_believed_in_and_makes_nothing_old(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = Chain()
    chain.live(20, each=2)
    for _ in range(100):
        chain.age.named(10**9)
        assert chain.age.may_show(10**9) == (chain.number < 113)
        chain.live(2, each=2)
        assert chain.age.stale() is None
    assert "a bundler names block 1000000000" in caplog.text
    assert len(caplog.records) == 1


def test_a_number_that_is_not_believed_in_leaves_lower_ones_their_weight_and_counts_again_once_it_is_near() -> None:
    chain = Chain()
    chain.live(20, each=2)
    chain.age.named(chain.number + 20)
    chain.live(6, each=2)
    assert not chain.age.believes(chain.number + 20)
    chain.age.named(chain.number + 1)
    chain.live(BOUND + 1, each=None)
    stale = chain.age.stale()
    assert stale is not None
    assert f"names block {chain.number + 1}" in stale.what
    chain.live(40, each=2)
    assert chain.age.believes(10**9)


def test_a_lie_a_little_ahead_of_the_node_hides_nothing_that_others_name_once_the_chain_can_be_there() -> None:
    chain = Chain()
    chain.live(200, each=2)
    chain.age.named(chain.number + 5)
    chain.live(6, each=2)
    lie = chain.number + 2
    assert not chain.age.believes(10**9)
    chain.live(4, each=None)  # the node stands still, the chain does not
    assert chain.age.believes(lie + 1)
    chain.age.named(lie + 1)
    chain.live(BOUND + 1, each=None)
    stale = chain.age.stale()
    assert stale is not None


def test_who_names_one_block_after_the_other_that_is_none_makes_nothing_old_and_is_counted() -> None:
    misnamed: list[None] = []
    chain = Chain()
    chain.age = ChainAge(
        chain.clock, bound=BOUND, clock=lambda: 2 * chain.number, misnamed=lambda: misnamed.append(None)
    )
    chain.live(200, each=2)
    for _ in range(300):
        for ahead in (1, 3, 5, 40, 10**6):
            chain.age.named(chain.number + ahead)
        chain.live(2, each=2)
        assert chain.age.stale() is None
    chain.age.named(10**9)
    chain.live(8, each=2)
    assert misnamed


@given(st.integers(0, 30), st.integers(1, 60))
def test_a_number_that_the_chain_can_have_come_to_is_believed_whatever_was_named(behind: int, lie: int) -> None:
    chain = Chain()
    chain.live(200, each=2)
    chain.age.named(chain.number + lie)
    chain.live(10, each=2)
    chain.live(2 * behind, each=None)
    assert chain.age.believes(chain.number + behind)


def test_a_node_that_shows_old_blocks_one_after_the_other_is_believed_no_more_than_who_names_newer_ones() -> None:
    chain = Chain(late=3_600)
    chain.live(20, each=2)
    for _ in range(40):
        chain.age.named(chain.number + 1_800)
        chain.live(2, each=2)
    stale = chain.age.stale()
    assert stale is not None
    assert "a bundler names block" in stale.what


def test_blocks_that_were_there_once_and_were_taken_back_freeze_nothing() -> None:
    chain = on_demand()
    for _ in range(20):
        chain.mine()
    chain.pass_(5)
    newest = chain.headers[-1].number
    del chain.headers[10:]
    chain.pass_(5)
    chain.age.named(newest)
    chain.pass_(2 * BOUND)
    assert chain.age.stale() is None


def test_a_chain_without_a_beat_that_never_rested_for_an_hour_is_frozen_when_it_does(chain: Chain) -> None:
    for step in range(3_700):
        chain.clock.now += 1
        chain.number += 1 + step % 5
        chain.age.heard(block(chain.number))
        chain.age.confirmed()
    chain.live(BOUND + 1, each=None)
    assert chain.age.is_frozen
    assert chain.age.stale() is not None


def test_the_time_by_the_chains_own_blocks_goes_on_while_it_rests() -> None:
    chain = on_demand()
    assert ChainAge(chain.clock, bound=BOUND).chain_time is None
    chain.pass_(5)
    assert chain.age.chain_time == chain.headers[-1].timestamp  # when that block came nobody here can tell
    chain.mine()
    chain.pass_(600)
    assert chain.age.chain_time == chain.headers[-1].timestamp + 599


_HAPPENINGS = st.one_of(
    st.tuples(st.just("live"), st.integers(1, 200), st.sampled_from([None, 1.0, 2.0, 15.0])),
    st.tuples(st.just("wait"), st.integers(1, 2 * int(BOUND)), st.none()),
    st.tuples(st.just("named"), st.integers(0, 20), st.none()),
    st.tuples(st.just("heard"), st.integers(0, 3), st.none()),
)


@given(st.lists(_HAPPENINGS, max_size=8), st.floats(0, 2 * BOUND))
def test_what_is_known_counts_as_long_as_it_is_no_older_than_the_bound(
    happenings: list[tuple[str, int, float | None]], before: float
) -> None:
    chain = Chain(before=before)
    for what, amount, each in happenings:
        if what == "live":
            chain.live(amount, each=each)
        elif what == "wait":
            chain.clock.now += amount
        elif what == "named":
            chain.age.named(chain.number + amount)
        else:
            chain.number += amount
            chain.age.heard(block(chain.number))
        assert (chain.age.stale() is None) == (chain.age.seconds <= BOUND)
