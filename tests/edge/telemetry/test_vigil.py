"""A gate measures how long its loop keeps anybody waiting, and whether its clock jumps."""

from __future__ import annotations

import asyncio
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.telemetry.vigil import CLOCK_SLACK_SECONDS, ClockWatch, LoopLag, watch_loop
from proxy.happening import Happening, HappeningKind


class Heard:
    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self.arrived = asyncio.Event()

    def raise_(self, happening: Happening) -> None:
        self.happenings.append(happening)
        self.arrived.set()


@given(st.lists(st.floats(0, 10), max_size=20))
def test_the_longest_wait_since_the_scrape_before_is_told_once(waits: list[float]) -> None:
    lag = LoopLag()
    for wait in waits:
        lag.tick(100.0, 100.0 + wait)
    assert lag.take() == pytest.approx(max(waits, default=0.0), abs=1e-9)
    assert lag.take() == 0


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_clock_that_jumps_is_told_once_and_one_that_runs_is_not(jump: float, later: float) -> None:
    clock = ClockWatch(1_700_000_000.0, 50.0)
    assert clock.look(1_700_000_000.0 + later, 50.0 + later) == 0
    told = clock.look(1_700_000_000.0 + later + jump, 50.0 + later)
    assert (told != 0) == (abs(told) > CLOCK_SLACK_SECONDS)
    assert abs(jump) <= CLOCK_SLACK_SECONDS + 1e-3 or told == pytest.approx(jump, abs=1e-3)
    assert clock.look(1_700_000_001.0 + later + jump, 51.0 + later) == 0


async def test_a_jump_of_the_time_of_day_is_a_happening() -> None:
    heard, moments = Heard(), chain([1_700_000_000.0], repeat(1_700_003_600.0))
    task = asyncio.ensure_future(watch_loop(LoopLag(), heard, clock=lambda: next(moments)))
    await heard.arrived.wait()
    task.cancel()
    assert heard.happenings[0].kind is HappeningKind.CLOCK_JUMPED
    assert "+3599" in heard.happenings[0].what or "+3600" in heard.happenings[0].what
