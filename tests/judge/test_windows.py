"""Windows equal a naive model that keeps everything, in memory that is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.counts import CountKey
from proxy.judge.rule import Calendar, OnCalendar, Sliding, Window
from proxy.judge.windows import Windows, bucket_of, width_of
from tests.cost.units import WorkMeter

KEY = CountKey(b"r" * 16, b"one")
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Beirut")]
START = 1_700_000_000

lengths = st.sampled_from([1, 5, 239, 240, 241, 600, 3_600, 86_400])
steps = st.lists(st.tuples(st.integers(-3, 400), st.integers(0, 2**128)), min_size=1, max_size=60)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@given(lengths, st.integers(1, 200), steps)
def test_a_sliding_window_equals_the_naive_model_and_lies_between_the_exact_sums(
    seconds: int, scale: int, events: Sequence[tuple[int, int]]
) -> None:
    window, windows = Sliding(seconds), Windows()
    width = width_of(window)
    now = latest = START
    past: list[tuple[int, int]] = []
    for step, amount in events:
        now += step * scale if step > 0 else step
        latest = max(latest, now)  # a clock that steps back a little stands still
        windows.add(KEY, window, amount, now)
        past.append((latest, amount))
        total = windows.total(KEY, now)
        assert total == sum(each for time, each in past if time - time % width + width + seconds > latest)
        exactly = sum(each for time, each in past if time + seconds > latest)
        a_width_late = sum(each for time, each in past if time + seconds + width > latest)
        assert exactly <= total <= a_width_late
        assert len(windows._sums[KEY]) <= 241


@given(lengths, steps, st.data())
def test_what_is_taken_back_leaves_the_window_as_if_it_had_never_come(
    seconds: int, events: Sequence[tuple[int, int]], data: st.DataObject
) -> None:
    window, windows, without = Sliding(seconds), Windows(), Windows()
    now, counted = START, []
    for step, amount in events:
        now += abs(step)
        windows.add(KEY, window, amount, now)
        counted.append((now, amount))
    gone = data.draw(st.sets(st.integers(0, len(counted) - 1)))
    for index, (time, amount) in enumerate(counted):
        if index in gone:
            windows.take_back(KEY, window, amount, time)
        else:
            without.add(KEY, window, amount, time)
    assert windows.total(KEY, now) == without.total(KEY, now)


def test_an_amount_counts_to_the_last_second_of_its_bucket_and_not_one_longer() -> None:
    windows = Windows()
    windows.add(KEY, Sliding(86_400), 5, 360 * 4)
    assert windows.total(KEY, 360 * 5 + 86_400 - 1) == 5
    assert windows.total(KEY, 360 * 5 + 86_400) == 0


def test_a_step_back_lowers_nothing_and_a_clock_set_back_far_is_followed() -> None:
    windows, day = Windows(), OnCalendar(Calendar.DAY, ZoneInfo("UTC"))
    windows.add(KEY, day, 5, 86_400 * 10)
    assert windows.total(KEY, 86_400 * 10 - 2) == 5
    windows.add(KEY, day, 1, 86_400 * 10 - 2)
    assert windows.total(KEY, 86_400 * 10) == 6
    windows.add(KEY, Sliding(60), 1, 86_400 * 5)
    assert windows.moment(86_400 * 5) == 86_400 * 5
    assert windows.total(KEY, 86_400 * 5) == 7


@pytest.mark.parametrize(
    ("day", "hours"), [("2024-03-31T12:00+02:00", 23), ("2024-10-27T12:00+01:00", 25), ("2024-06-01T00:00+02:00", 24)]
)
def test_a_day_has_as_many_hours_as_its_zone_gives_it(day: str, hours: int) -> None:
    bucket = bucket_of(OnCalendar(Calendar.DAY, BERLIN), at(day))
    assert bucket.expires - bucket.start == hours * 3_600
    assert datetime.fromtimestamp(bucket.start, BERLIN).hour == 0


def test_weeks_begin_on_monday_and_months_on_the_first_at_midnight_of_the_zone() -> None:
    moment = at("2024-02-29T23:30+00:00")  # in Berlin it is March already
    week = bucket_of(OnCalendar(Calendar.WEEK, BERLIN), moment)
    assert week == (at("2024-02-26T00:00+01:00"), at("2024-03-04T00:00+01:00"))
    month = bucket_of(OnCalendar(Calendar.MONTH, BERLIN), moment)
    assert month == (at("2024-03-01T00:00+01:00"), at("2024-04-01T00:00+02:00"))
    february = bucket_of(OnCalendar(Calendar.MONTH, ZoneInfo("UTC")), moment)
    assert february == (at("2024-02-01T00:00+00:00"), at("2024-03-01T00:00+00:00"))


def test_the_two_hours_of_the_same_name_are_two_windows() -> None:
    hour = OnCalendar(Calendar.HOUR, BERLIN)
    first, second = at("2024-10-27T02:30+02:00"), at("2024-10-27T02:30+01:00")
    assert bucket_of(hour, first) == (first - 1_800, first + 1_800)
    assert bucket_of(hour, second) == (second - 1_800, second + 1_800)


@given(
    st.sampled_from(list(Calendar)),
    st.sampled_from(ZONES),
    st.integers(631_152_000, 2_114_380_800),
)
def test_calendar_windows_hold_their_moment_and_days_follow_one_another_without_a_gap(
    unit: Calendar, zone: ZoneInfo, moment: int
) -> None:
    window = OnCalendar(unit, zone)
    bucket = bucket_of(window, moment)
    assert bucket.start <= moment < bucket.expires
    assert bucket_of(window, bucket.start) == bucket
    assert bucket_of(window, bucket.expires - 1) == bucket or unit is Calendar.HOUR
    if unit is not Calendar.HOUR:  # the clock of Lord Howe goes back by half an hour
        assert bucket_of(window, bucket.expires).start == bucket.expires


WINDOWS: list[Window] = [Sliding(10), Sliding(1_000), OnCalendar(Calendar.HOUR, ZoneInfo("UTC"))]


@given(
    st.sampled_from(WINDOWS),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 12)), max_size=80),
)
def test_whether_different_marks_pass_a_limit_is_exact_in_bounded_memory(
    window: Window, limit: int, events: Sequence[tuple[int, int]]
) -> None:
    windows, model, now = Windows(), dict[bytes, int](), START
    for step, number in events:
        now += step
        mark = bytes([number]) * 8
        alive = {each for each, expires in model.items() if expires > now}
        kept = set(windows.marks(KEY, now))
        assert kept <= alive
        assert (len(kept | {mark}) > limit) == (len(alive | {mark}) > limit)
        assert len(kept) <= limit + 1
        windows.add_mark(KEY, window, mark, limit, now)
        model[mark] = bucket_of(window, now).expires


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.booleans()), max_size=40),
)
def test_marks_taken_back_never_let_more_through_than_the_exact_set_would(
    limit: int, events: Sequence[tuple[int, int, bool]]
) -> None:
    window, windows, now = Sliding(60), Windows(), START
    came: list[tuple[int, bytes]] = []
    for step, number, back in events:
        now += step
        if back and came:
            time, mark = came.pop(number % len(came))
            windows.take_back_mark(KEY, window, mark, time)
        else:
            mark = bytes([number]) * 8
            windows.add_mark(KEY, window, mark, limit, now)
            came.append((now, mark))
        alive = {mark for time, mark in came if bucket_of(window, time).expires > now}
        kept = windows.marks(KEY, now)
        assert len(kept) >= min(len(alive), limit + 1)


def test_the_only_coming_of_a_mark_taken_back_forgets_it_and_a_later_one_keeps_it() -> None:
    windows, window, mark = Windows(), Sliding(60), b"m" * 8
    windows.add_mark(KEY, window, mark, 3, START)
    assert windows.take_back_mark(KEY, window, mark, START).known is None
    windows.add_mark(KEY, window, mark, 3, START)
    windows.add_mark(KEY, window, mark, 3, START + 9)
    windows.take_back_mark(KEY, window, mark, START + 9)
    assert mark in windows.marks(KEY, START + 60)
    assert mark not in windows.marks(KEY, START + 61)


def test_keys_whose_windows_are_empty_are_swept_by_what_others_count() -> None:
    windows = Windows()
    for number in range(1_000):
        windows.add(CountKey(KEY.rule, number.to_bytes(4, "big")), Sliding(10), 1, START)
        windows.add_mark(CountKey(KEY.rule, number.to_bytes(4, "big")), Sliding(10), b"m" * 8, 1, START)
    assert len(windows) == 1_000
    for _ in range(600):
        windows.add(KEY, Sliding(10), 1, START + 100)
    assert list(windows.keys()) == [KEY]


def test_only_the_rules_that_are_left_keep_their_counts() -> None:
    windows, other = Windows(), CountKey(b"s" * 16, b"one")
    for key in (KEY, other):
        windows.add(key, Sliding(10), 1, START)
    for _ in windows.keep_only(frozenset({KEY.rule})):
        pass
    assert (windows.total(KEY, START), windows.total(other, START)) == (1, 0)
    assert list(windows.keys()) == [KEY]


def test_ten_times_the_groups_of_a_rule_that_is_gone_are_forgotten_in_no_longer_pieces() -> None:
    longest = []
    for groups in (4_000, 40_000):
        windows, meter = Windows(), WorkMeter()
        for number in range(groups):
            windows.add(CountKey(b"s" * 16, number.to_bytes(4, "big")), Sliding(86_400), 1, START)
        pieces = windows.keep_only(frozenset({KEY.rule}))
        longest.append(max(meter.run(partial(next, pieces, None)) for _ in range(groups // 1_000)))
        assert list(windows.keys()) == []
    assert longest[1] <= 1.2 * longest[0]


@given(st.lists(st.integers(0, 9), max_size=60))
def test_what_is_counted_while_rules_are_forgotten_stays_and_what_is_gone_never_comes_back(counts: list[int]) -> None:
    windows, kept = Windows(), CountKey(KEY.rule, b"kept")
    for number in range(30):
        windows.add(CountKey(b"s" * 16 if number % 2 else KEY.rule, number.to_bytes(4, "big")), Sliding(10), 1, START)
    pieces = windows.keep_only(frozenset({KEY.rule}))
    for number in counts:
        windows.add(CountKey(KEY.rule, number.to_bytes(4, "big")), Sliding(10), 1, START)
        windows.add(kept, Sliding(10), 1, START)
    for _ in pieces:
        windows.add(kept, Sliding(10), 1, START)
    keys = list(windows.keys())
    assert {key.rule for key in keys} == {KEY.rule}
    assert len(keys) == len(set(keys)) == len(windows)
    assert windows.total(kept, START) == len(counts) + 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 30)), max_size=60))
def test_whatever_is_dropped_counts_anew_and_is_named_once(steps: list[tuple[bool, int, int]]) -> None:
    windows, counted = Windows(), dict[CountKey, list[int]]()
    now = START
    for is_dropped, number, seconds in steps:
        key, now = CountKey(KEY.rule, bytes([number])), now + seconds
        if is_dropped:
            windows.drop([key])
            counted.pop(key, None)
        else:
            windows.add(key, OnCalendar(Calendar.MONTH, BERLIN), 1, now)
            counted.setdefault(key, []).append(now)
        named = list(windows.keys())
        assert len(named) == len(set(named))
        assert len(windows) == len(counted)
        for there in (CountKey(KEY.rule, bytes([each])) for each in range(4)):
            assert windows.total(there, now) == len(counted.get(there, ()))
            assert windows.has(there) == (there in counted)
            assert windows.names(there) == (there in named)


def test_to_drop_one_key_is_no_more_work_among_ten_times_as_many() -> None:
    work = []
    for groups in (1_000, 10_000):
        windows, meter = Windows(), WorkMeter()
        for number in range(groups):
            windows.add(CountKey(KEY.rule, number.to_bytes(4, "big")), Sliding(86_400), 1, START)
        work.append(meter.run(partial(windows.drop, [CountKey(KEY.rule, bytes(4))])))
    assert work[1] <= 1.2 * work[0]


def test_a_mark_more_than_are_kept_is_no_more_work_however_many_are_kept() -> None:
    work = []
    for most in (10, 1_000):
        windows, meter = Windows(), WorkMeter()
        numbers = iter(range(10_000))

        def add(times: int, windows: Windows = windows, most: int = most, numbers: Iterator[int] = numbers) -> None:
            for number in islice(numbers, times):
                windows.add_mark(KEY, Sliding(86_400), number.to_bytes(8, "big"), most, START + 10 * number)

        add(most + 1)
        work.append(meter.run(lambda add=add: add(3_000)))  # type: ignore[misc]  # bound to this one
        assert len(windows.marks(KEY, START + 40_010)) == most + 1
    assert work[1] < 1.5 * work[0]


def test_marks_read_after_a_restart_are_let_go_of_in_the_order_they_end() -> None:
    windows, window = Windows(), Sliding(86_400)
    rows = [windows.add_mark(KEY, window, bytes([n]) * 8, 200, START + 400 * n) for n in range(60)]
    restored = Windows()
    restored.restore((), rows)
    restored.add_mark(KEY, window, b"m" * 8, 9, START + 24_000)
    kept = set(restored.marks(KEY, START + 24_000))
    assert kept == {b"m" * 8, *(bytes([n]) * 8 for n in range(51, 60))}
