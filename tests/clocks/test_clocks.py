"""What the hour could change holds at hours that programs get wrong. `make test-clocks` runs the whole suite so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.clocks.shifted import CLOCKS, Clock, ahead, check_that_it_shifts, run_pytest

# windows, schedules, what is kept of them, and the audit: what reads a wall clock
READS_THE_CLOCK = (
    "tests/rules",
    "tests/judge/test_windows.py",
    "tests/app/test_rules_everywhere.py",
    "tests/edge/storage/test_rule_rows.py",
    "tests/edge/audit/test_reading.py",
)


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: clock.name)
def test_the_suite_passes_at_any_hour(clock: Clock, program: Callable[[str, str], str]) -> None:
    program("faketime", "faketime")
    done = run_pytest(clock, *READS_THE_CLOCK)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("shift", "complaint"), [({}, "the wall clock shows"), ({"FAKETIME_DONT_FAKE_MONOTONIC": "0"}, "monotonic clock")]
)
def test_the_canary_dies_where_the_wall_clock_did_not_shift_and_where_the_monotonic_one_did(
    shift: dict[str, str], complaint: str, program: Callable[[str, str], str]
) -> None:
    program("faketime", "faketime")
    clock = CLOCKS[1]
    shifted = {**os.environ, "TZ": clock.zone, **(ahead(clock.unix_time - time.time()) | shift if shift else {})}
    with pytest.raises(AssertionError, match=complaint):
        check_that_it_shifts(clock, shifted)
