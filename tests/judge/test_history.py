"""Histories learn in bounded memory, and a few outliers move no median."""

from __future__ import annotations

from statistics import median_low

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.judge.counts import Amounts, CountKey, History, MarksLesson, OutcomeLesson, Row, Seen, Sight, ValueLesson
from proxy.judge.history import MOST_AMOUNTS, MOST_MARKS, deviates, history_from_text, history_to_text, learn

KEY = CountKey(b"r" * 16, b"one")
marks = st.binary(min_size=8, max_size=8)
histories = (
    st.builds(
        Seen,
        operations=st.integers(0),
        since=st.floats(0, 2e9),
        sights=st.lists(st.builds(Sight, marks, st.integers(1), st.floats(0, 2e9)), max_size=20).map(
            lambda sights: {sight.mark: sight for sight in sights}
        ),
    )
    | st.builds(Amounts, operations=st.integers(0), recent=st.lists(st.integers(0, 2**256), max_size=64).map(tuple))
    | st.builds(Row, length=st.integers(0))
)


def mark(number: int) -> bytes:
    return number.to_bytes(8, "big")


def seen_after(*operations: tuple[int, ...], success: bool = True) -> Seen:
    history: History | None = None
    for moment, numbers in enumerate(operations):
        lesson = MarksLesson(key=KEY, marks=tuple(mark(number) for number in numbers))
        history = learn(history, lesson, 10.0 + moment, success=success)
    assert isinstance(history, Seen)
    return history


def test_a_thing_is_known_with_how_often_and_since_when_it_was_seen_and_the_oldest_of_too_many_is_forgotten() -> None:
    history = seen_after(*((number,) for number in range(MOST_MARKS + 1)), (1, 1))
    assert (history.operations, history.since) == (MOST_MARKS + 2, 10.0)
    assert mark(0) not in history.sights
    assert list(history.sights)[-1] == mark(1)
    assert (history.sights[mark(1)], len(history.sights)) == (Sight(mark(1), 2, 11.0), MOST_MARKS)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=2), max_size=20))
def test_how_often_and_since_when_and_which_latest_is_known_whatever_came_between(operations: list[list[int]]) -> None:
    known: dict[int, tuple[int, float]] = {}
    for moment, numbers in enumerate(operations):
        for number in dict.fromkeys(numbers):
            times, first = known.pop(number, (0, 10.0 + moment))
            known[number] = (times + 1, first)
    sights = {mark(number): Sight(mark(number), times, first) for number, (times, first) in known.items()}
    if operations:
        history = seen_after(*map(tuple, operations))
        assert history == Seen(operations=len(operations), since=10.0, sights=sights)
        assert list(history.sights) == list(sights)


@given(st.lists(st.integers(1, 3), min_size=MOST_MARKS, max_size=MOST_MARKS), st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_of_too_many_at_once_those_go_that_would_go_one_by_one(often: list[int], new: int) -> None:
    sights = {mark(number): Sight(mark(number), times, 1.0) for number, times in enumerate(often)}
    lesson = MarksLesson(key=KEY, marks=tuple(mark(number) for number in range(10_000, 10_000 + new)))
    after = learn(Seen(operations=9, since=1.0, sights=dict(sights)), lesson, 2.0, success=True)
    assert isinstance(after, Seen)
    left = [*sights.values(), *(Sight(each, 1, 2.0) for each in lesson.marks)]
    while len(left) > MOST_MARKS:
        del left[min(range(len(left) // 2), key=lambda place: left[place].times)]
    assert list(after.sights.values()) == left


def test_many_strangers_do_not_push_out_somebody_who_is_paid_often() -> None:
    history = seen_after(*[(7,)] * 60, *((number,) for number in range(1_000, 1_000 + 2 * MOST_MARKS)))
    assert history.sights[mark(7)] == Sight(mark(7), 60, 10.0)


def test_what_reverted_has_paid_nobody_and_teaches_neither_a_thing_nor_an_amount() -> None:
    assert seen_after((1,), (2,), success=False) == Seen(operations=0, since=10.0, sights={})
    amounts = learn(None, ValueLesson(key=KEY, value=9), 1.0, success=False)
    assert amounts == Amounts(operations=0, recent=())


def test_what_an_earlier_release_knew_stays_known() -> None:
    text = '["seen", 30, 5.0, "00000000000000010000000000000002"]'
    sights = {mark(number): Sight(mark(number), 30, 5.0) for number in (1, 2)}
    assert history_from_text(text) == Seen(operations=30, since=5.0, sights=sights)


def test_the_latest_amounts_are_remembered() -> None:
    history: History | None = None
    for value in range(MOST_AMOUNTS + 2):
        history = learn(history, ValueLesson(key=KEY, value=value), 1.0, success=True)
    assert history == Amounts(operations=MOST_AMOUNTS + 2, recent=tuple(range(2, MOST_AMOUNTS + 2)))


@given(st.lists(st.integers(0, 9), max_size=2 * MOST_AMOUNTS))
def test_amounts_stay_in_order_as_older_ones_are_forgotten(values: list[int]) -> None:
    amounts = Amounts(operations=0, recent=())
    for value in values:
        assert learn(amounts, ValueLesson(key=KEY, value=value), 1.0, success=True) is amounts
    assert amounts.recent == tuple(values[-MOST_AMOUNTS:])
    assert amounts.ordered == sorted(amounts.recent)


def test_a_row_grows_with_each_revert_and_ends_with_a_success() -> None:
    row = learn(learn(None, OutcomeLesson(key=KEY), 1.0, success=False), OutcomeLesson(key=KEY), 2.0, success=False)
    assert row == Row(length=2)
    assert learn(row, OutcomeLesson(key=KEY), 3.0, success=True) == Row(length=0)


@given(histories)
def test_a_history_comes_back_from_its_text_exactly(history: History) -> None:
    assert history_from_text(history_to_text(history)) == history


@pytest.mark.parametrize("text", ["{}", "[]", '["seen",1,2.0,"00"]', '["row","x"]', '["amounts",1,["x"]]', "nothing"])
def test_what_is_no_history_is_not_passed_over(text: str) -> None:
    with pytest.raises(ValueError, match=r"history|Expecting|non-hex"):
        history_from_text(text)


def test_a_deviation_is_beyond_the_factor_and_not_at_it() -> None:
    usual = [90, 100, 100, 110, 120]  # median 100, deviations 10 0 0 10 20
    assert not deviates(usual, 150, 5)
    assert deviates(usual, 151, 5)


def test_equal_amounts_allow_a_tenth_of_themselves_and_tiny_ones_allow_one() -> None:
    assert not deviates([1_000] * 9, 1_300, 3)
    assert deviates([1_000] * 9, 1_301, 3)
    assert not deviates([2] * 9, 5, 3)
    assert deviates([2] * 9, 6, 3)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=MOST_AMOUNTS), st.integers(0, 2_000), st.integers(1, 9))
def test_what_deviates_is_above_the_median_by_more_than_the_factor_of_the_spread(
    amounts: list[int], value: int, factor: int
) -> None:
    middle = median_low(amounts)
    spread = max(median_low([abs(amount - middle) for amount in amounts]), middle // 10, 1)
    assert deviates(sorted(amounts), value, factor) == (value > middle + factor * spread)


def test_nothing_deviates_from_no_history() -> None:
    assert not deviates([], 2**256, 1)


@given(st.lists(st.integers(90, 110), min_size=11, max_size=64), st.data())
def test_outliers_of_fewer_than_a_third_hide_nothing_and_accuse_nobody(usual: list[int], data: st.DataObject) -> None:
    outliers = data.draw(st.lists(st.integers(10**6, 10**30), max_size=len(usual) // 3))
    amounts = sorted(usual + outliers)
    assert deviates(amounts, 10**5, 5)
    assert not deviates(amounts, 110, 5)
