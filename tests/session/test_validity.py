from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.validity import ALWAYS, UINT48_MAX, VALIDATION_FAILED, Window, failed, intersect, pack, window_of
from proxy.userop.entry_point import EntryPointVersion

times = st.integers(0, UINT48_MAX)
words = st.builds(pack, times, times)


def test_two_zero_words_give_a_window_that_never_ends() -> None:
    assert intersect(0, 0) == UINT48_MAX << 160
    assert window_of(intersect(0, 0)) == ALWAYS


def test_takes_the_later_start_and_the_earlier_end() -> None:
    assert window_of(intersect(pack(5, 20), pack(9, 30))) == Window(9, 20)
    assert window_of(intersect(pack(5, 0), pack(9, 30))) == Window(9, 30)


def test_low_parts_that_differ_and_are_both_set_fail() -> None:
    assert intersect(1, 2) == VALIDATION_FAILED
    assert intersect(pack(5, 9) | 7, 7) == pack(5, 9) | 7
    assert intersect(pack(5, 9) | 7, 0) == pack(5, 9) | 7


def test_a_failure_is_any_low_bit_and_no_time() -> None:
    assert failed(1)
    assert failed(1 << 159)
    assert not failed(1 << 160)
    assert not failed(pack(UINT48_MAX, UINT48_MAX))


@given(words, words, words)
def test_order_and_grouping_do_not_matter(first: int, second: int, third: int) -> None:
    assert intersect(first, second) == intersect(second, first)
    assert intersect(intersect(first, second), third) == intersect(first, intersect(second, third))


@given(words, words, times)
def test_holds_exactly_when_both_hold(first: int, second: int, now: int) -> None:
    both = window_of(intersect(first, second))
    assert both.holds(now) == (window_of(first).holds(now) and window_of(second).holds(now))


@pytest.mark.parametrize(
    ("now", "until_v07", "from_v08"), [(99, False, False), (100, True, False), (101, True, True), (200, True, True)]
)
def test_the_first_second_counts_up_to_v07_only(now: int, until_v07: bool, from_v08: bool) -> None:
    window = Window(100, 200)
    assert window.holds(now, EntryPointVersion.V07) is until_v07
    assert window.holds(now, EntryPointVersion.V08) is from_v08
    assert window.holds(now, EntryPointVersion.V09) is from_v08


def test_the_last_second_counts_and_the_next_does_not() -> None:
    assert Window(0, 200).holds(200)
    assert not Window(0, 200).holds(201)


def test_block_numbers_are_a_matter_of_v09_and_of_both_bounds() -> None:
    flag = 1 << 47
    assert Window(flag | 5, flag | 9).counts_blocks(EntryPointVersion.V09)
    assert not Window(flag | 5, flag | 9).counts_blocks(EntryPointVersion.V08)
    assert not Window(5, UINT48_MAX).counts_blocks(EntryPointVersion.V09)
