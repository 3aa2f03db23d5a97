"""What rules count goes on by the monotonic clock when the time of day jumps: nothing leaves its window early, also
across a restart, and a time of day that others agree with is followed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger.counting_time import CountingTime, KeptTime
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NonceSlot
from proxy.ledger.rule_counts import RuleCounts
from tests.ledger.builders import reservation

KEY = CountKey(b"r" * 16, b"one")
QUARTER, DAY = 900.0, 86_400.0


@dataclass
class Machine:
    unix: float = 1_700_000_000.0
    monotonic: float = 5_000.0
    told: list[float] = field(default_factory=list)
    followed: list[KeptTime] = field(default_factory=list)

    def pass_(self, seconds: float) -> None:
        self.unix += seconds
        self.monotonic += seconds

    def counting(
        self, kept: KeptTime | None = None, boot: str = "b", settled: float = 0.0, *, follows: bool = False
    ) -> CountingTime:
        return CountingTime(
            lambda: self.unix,
            lambda: self.monotonic,
            boot=boot,
            kept=kept,
            settled=settled,
            follows=follows,
            told=self.told.append,
            followed=self.followed.append,
        )


@pytest.mark.parametrize("jump", [QUARTER, -QUARTER, DAY, -DAY, 3.0])
def test_a_time_of_day_that_jumps_is_told_once_and_not_counted_by(jump: float) -> None:
    machine = Machine()
    counting = machine.counting()
    before = counting.now()
    machine.unix += jump
    for _ in range(5):
        machine.pass_(10)
        counting.now()
    assert counting.now() == before + 50
    assert machine.told == [jump]


def test_small_steps_of_the_time_service_are_followed() -> None:
    machine = Machine()
    counting = machine.counting()
    for step in (1.5, -1.5, 0.2):
        machine.pass_(100)
        machine.unix += step
        assert counting.now() == machine.unix
    assert machine.told == []


def test_a_jump_that_is_taken_back_leaves_no_trace() -> None:
    machine = Machine()
    counting = machine.counting()
    machine.unix += DAY
    counting.now()
    machine.unix -= DAY
    assert counting.now() == machine.unix
    assert machine.told == [DAY, 0.0]


@pytest.mark.parametrize("kept", [None, KeptTime("an earlier one", 1_699_000_000.0)])
def test_a_machine_that_was_booted_with_a_clock_behind_counts_from_the_newest_settled_block(
    kept: KeptTime | None,
) -> None:
    """What is counted before the clock is set would leave its windows a day early, and what was counted before the
    machine went down is no future."""
    machine = Machine()
    settled, machine.unix = machine.unix, machine.unix - DAY
    counting = machine.counting(kept, settled=settled)
    assert counting.now() == settled
    machine.pass_(30)
    assert counting.now() == settled + 30
    machine.unix += DAY + QUARTER  # the time service sets it, and a block agrees
    assert counting.now() == settled + 30
    counting.confirmed(machine.unix - 2)
    assert counting.now() == machine.unix
    assert machine.told == [-DAY, QUARTER, 0.0]


@pytest.mark.parametrize("ahead", [-DAY, 0.0, 12.0])
def test_a_clock_that_no_settled_block_is_far_ahead_of_is_counted_by(ahead: float) -> None:
    machine = Machine()
    assert machine.counting(settled=machine.unix + ahead).now() == machine.unix
    assert machine.told == []


def test_in_one_life_of_the_machine_what_the_process_before_counted_by_counts_more_than_a_block() -> None:
    machine = Machine()
    kept = KeptTime("b", machine.unix - machine.monotonic)
    assert machine.counting(kept, settled=machine.unix + DAY).now() == machine.unix


@pytest.mark.parametrize("jump", [QUARTER, -DAY])
def test_a_restart_goes_on_counting_where_the_process_before_was(jump: float) -> None:
    machine = Machine()
    counting = machine.counting()
    machine.unix += jump
    before, kept = counting.now(), counting.kept
    assert kept is not None
    machine.pass_(30)
    assert machine.counting(kept).now() == before + 30
    assert machine.told == [jump, jump]
    # of what happened while the machine was off nobody can tell
    assert machine.counting(kept, boot="another").now() == machine.unix
    assert machine.counting(kept._replace(boot=""), boot="").now() == machine.unix


def test_a_jump_while_the_gate_was_down_is_found_out_at_the_start() -> None:
    machine = Machine()
    kept = machine.counting().kept
    machine.pass_(30)
    machine.unix += QUARTER
    assert machine.counting(kept).now() == machine.unix - QUARTER
    assert machine.told == [QUARTER]


def test_a_time_of_day_that_a_chain_agrees_with_is_followed() -> None:
    machine = Machine()
    counting = machine.counting()
    machine.unix += QUARTER  # the machine was asleep
    counting.now()
    counting.confirmed(machine.unix - 12)
    assert counting.now() == machine.unix
    assert machine.told == [QUARTER, 0.0]


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_another_time_to_count_by_is_kept_at_once_for_a_gate_that_is_killed(jump: float) -> None:
    machine = Machine()
    counting = machine.counting()
    machine.unix += jump
    counting.confirmed(machine.unix - 12)
    (kept,) = machine.followed
    machine.pass_(1)
    assert machine.counting(kept).now() == machine.unix
    assert machine.told == [jump, 0.0]


def test_a_time_of_day_that_stays_is_followed_after_a_day_unless_a_chain_speaks_against_it() -> None:
    machine = Machine()
    counting = machine.counting()
    machine.unix += QUARTER
    for _ in range(48):
        machine.pass_(3_600)
        counting.confirmed(machine.unix - QUARTER - 5)
    assert counting.now() == machine.unix - QUARTER
    machine.pass_(DAY)
    assert counting.now() == machine.unix


@pytest.mark.parametrize("jump", [QUARTER, -DAY])
def test_what_ends_while_the_time_of_day_is_astray_is_no_word_on_it(jump: float) -> None:
    """A settlement has the time that is counted by: taken for the time of day, it would say that this is well again."""
    machine = Machine()
    counting = machine.counting()
    ledger = MemoryLedger(RuleCounts(counting.of))
    charge = WindowCharge(key=KEY, window=Sliding(600), amount=5, limit=10, binding=True, lasting=False)
    machine.unix += jump
    for number in range(3):
        held = replace(reservation(1, number), rule_charges=(charge,))
        assert ledger.conclude(held, counting.now(), success=True).at == int(counting.now())
        machine.pass_(1)
    assert machine.told == [jump]


@given(st.lists(st.tuples(st.floats(0, 500), st.sampled_from([0.0, 0.0, QUARTER, -QUARTER, DAY, -DAY])), max_size=40))
def test_whatever_the_time_of_day_does_an_amount_counts_for_its_window_and_no_shorter(
    steps: list[tuple[float, float]],
) -> None:
    machine = Machine()
    counts = RuleCounts(machine.counting().of)
    ledger, slot = MemoryLedger(counts), NonceSlot(1, b"\1" * 20, b"\2" * 20, 1)  # type: ignore[arg-type]  # addresses
    window = Sliding(600)
    charge = WindowCharge(key=KEY, window=window, amount=5, limit=10, binding=True, lasting=False)
    ledger.conclude(replace(reservation(1, 1), rule_charges=(charge,)), counts.counted(machine.unix), success=True)
    began = machine.monotonic
    for seconds, jump in steps:
        machine.pass_(seconds)
        machine.unix += jump
        total = ledger.counts(slot, machine.unix).total(KEY, window)
        passed = machine.monotonic - began
        if passed < 600:
            assert total == 5
        if passed > 610:
            assert total == 0


def test_what_is_old_can_be_told_by_a_time_that_has_not_jumped_for_an_hour() -> None:
    machine = Machine()
    counting = machine.counting()
    assert not counting.is_steady  # nobody knows what was before
    machine.pass_(3_600)
    assert counting.is_steady
    machine.unix += DAY
    machine.pass_(10)
    counting.now()
    assert counting.is_steady  # it is not followed
    counting.confirmed(machine.unix)
    assert (counting.now(), counting.is_steady) == (machine.unix, False)
    machine.pass_(3_599)
    assert not counting.is_steady
    machine.pass_(1)
    assert counting.is_steady


def test_an_hour_without_a_jump_is_one_across_restarts_too_and_none_where_the_machine_was_booted_between() -> None:
    machine = Machine()
    counting = machine.counting()
    for _ in range(6):  # no life of an hour
        machine.pass_(900)
        counting = machine.counting(counting.kept)
    assert counting.is_steady
    assert not machine.counting(counting.kept, boot="another").is_steady
    assert counting.kept is not None
    assert not machine.counting(counting.kept._replace(steady_since=None)).is_steady


def test_a_jump_that_was_followed_before_a_restart_is_one_after_it() -> None:
    machine = Machine()
    counting = machine.counting()
    machine.pass_(4_000)
    machine.unix += DAY
    counting.confirmed(machine.unix)
    machine.pass_(1_800)
    after = machine.counting(machine.followed[-1])
    assert (counting.is_steady, after.is_steady) == (False, False)
    machine.pass_(1_800)
    assert (counting.is_steady, after.is_steady) == (True, True)


@pytest.mark.parametrize("wrong", [2 * DAY, -DAY, QUARTER, -QUARTER])
@pytest.mark.parametrize("has_come", [False, True])
def test_a_clock_that_is_wrong_when_a_gate_first_starts_is_never_counted_by_once_a_block_was_shown(
    wrong: float, has_come: bool
) -> None:
    machine = Machine()
    true = machine.unix
    machine.unix += wrong
    counting = machine.counting(follows=True)
    (counting.confirmed if has_come else counting.shown)(true - 3)
    assert counting.now() == true - 3
    machine.pass_(30)
    counting.confirmed(true + 28)
    assert counting.now() == true + 27
    machine.unix -= wrong  # the time service sets it
    counting.confirmed(true + 29)
    assert counting.now() == machine.unix == true + 30
    assert machine.told == [wrong + 3, 0.0]


@pytest.mark.parametrize("wrong", [2 * DAY, -DAY])
def test_what_was_counted_before_a_machine_was_booted_with_a_wrong_clock_leaves_no_window_by_that(wrong: float) -> None:
    machine = Machine()
    settled = machine.unix
    machine.pass_(QUARTER)  # in which it is booted
    true = machine.unix
    machine.unix += wrong
    counting = machine.counting(KeptTime("an earlier one", 1_699_000_000.0), settled=settled, follows=True)
    assert counting.now() == settled
    counting.shown(true - 2)
    assert counting.now() == true - 2


def test_a_right_clock_is_counted_by_as_soon_as_a_block_was_shown_and_nothing_is_told() -> None:
    machine = Machine()
    counting = machine.counting(settled=machine.unix - DAY, follows=True)
    counting.shown(machine.unix - 12)
    assert counting.now() == machine.unix
    assert machine.told == []


def test_a_chain_that_rests_when_a_gate_first_starts_is_counted_by_until_its_next_block() -> None:
    """Whether it is that or the clock that stands wrong nobody can tell, and nothing may leave a window by a guess."""
    machine = Machine()
    counting = machine.counting(follows=True)
    counting.shown(machine.unix - DAY)
    machine.pass_(600)
    assert counting.now() == machine.unix - DAY
    counting.confirmed(machine.unix - 1)
    assert counting.now() == machine.unix
    assert machine.told == [DAY, 0.0]


@pytest.mark.parametrize("wrong", [2 * DAY, -2 * DAY])
def test_of_a_chain_that_rested_when_a_gate_first_started_with_a_wrong_clock_the_next_block_is_counted_by(
    wrong: float,
) -> None:
    machine = Machine()
    true = machine.unix
    machine.unix += wrong
    counting = machine.counting(follows=True)
    counting.shown(true - DAY)
    machine.pass_(600)
    counting.confirmed(true + 600)
    assert counting.now() == true + 600


def test_a_time_that_no_block_was_there_to_judge_is_not_kept_for_the_next_process() -> None:
    machine = Machine()
    machine.unix += DAY
    counting = machine.counting(follows=True)
    assert counting.kept is None
    counting.shown(machine.unix - DAY)
    assert counting.kept is not None
    assert counting.kept == machine.followed[-1]
    machine.pass_(30)
    again = machine.counting(counting.kept, follows=True)
    again.shown(machine.unix - DAY - 30)  # it is known already: an old block says nothing
    assert again.now() == machine.unix - DAY


def test_a_node_that_catches_up_takes_the_time_that_is_counted_by_along() -> None:
    machine = Machine()
    counting = machine.counting(follows=True)
    counting.shown(machine.unix - DAY)
    again = machine.counting(counting.kept, follows=True)
    for hours in (20, 10, 1):
        machine.pass_(5)
        again.confirmed(machine.unix - hours * 3_600)
        assert again.now() == machine.unix - hours * 3_600
    again.confirmed(machine.unix)
    assert again.now() == machine.unix


@pytest.mark.parametrize("wrong", [0.0, DAY])
def test_of_several_chains_the_one_that_is_furthest_is_counted_by_and_a_clock_that_any_agrees_with(
    wrong: float,
) -> None:
    """One of them rests, or has a time of its own. What the other missed is counted before its next block comes."""
    machine = Machine()
    true = machine.unix
    machine.unix += wrong
    counting = machine.counting(follows=True)
    for block_time in (true - 30 * DAY, true, true - 30 * DAY):
        counting.shown(block_time)
    assert counting.now() == true
