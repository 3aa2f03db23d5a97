"""Counts that may be missing: a window that could have had them is not told, and one that could not is."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import StateUnavailable
from proxy.judge.rule import Calendar, OnCalendar, Sliding, Window
from proxy.judge.windows import Windows
from proxy.ledger.rule_counts import RuleCounts
from tests.ledger.test_rule_counts import DAY, KEY, NOW

WINDOWS = st.one_of(
    st.builds(Sliding, st.integers(1, 90 * 86_400)),
    st.builds(OnCalendar, st.sampled_from(Calendar), st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")])),
)


def is_told(counts: RuleCounts, window: Window, now: float) -> bool:
    try:
        counts.vouch(window, now)
    except StateUnavailable:
        return False
    return True


@given(WINDOWS, st.integers(0, 100 * 86_400), st.integers(0, 200 * 86_400))
def test_a_window_that_is_told_could_have_nothing_of_what_is_missing(window: Window, ago: int, later: int) -> None:
    counts, windows = RuleCounts(), Windows()
    counts.doubt_before(NOW)
    windows.add(KEY, window, 1, NOW - ago)  # this is what was lost
    if is_told(counts, window, NOW + later):
        assert windows.total(KEY, NOW + later) == 0


@given(WINDOWS)
def test_no_window_is_in_doubt_for_good(window: Window) -> None:
    counts = RuleCounts()
    counts.doubt_before(NOW)
    assert not is_told(counts, window, NOW)
    assert is_told(counts, window, NOW + 100 * 86_400)


def test_a_ledger_that_is_whole_tells_every_window_and_one_that_is_taken_as_it_is_too() -> None:
    counts = RuleCounts()
    assert is_told(counts, DAY, NOW)
    counts.doubt_before(NOW)
    with pytest.raises(StateUnavailable, match="may lack counts from before 2023-11-14 22:13 UTC"):
        counts.vouch(DAY, NOW + 60)
    counts.doubt_before(None)
    assert is_told(counts, DAY, NOW)
