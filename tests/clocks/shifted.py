"""Processes whose wall clock shows another moment (libfaketime), and the proof that it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

ROOT = Path(__file__).parents[2]
# The path of Debian's libfaketime as its own `faketime` program knows it: the loader puts the machine's folder in.
LIBRARY = "/usr/$LIB/faketime/libfaketimeMT.so.1"
CANARY = "import json, time; now = time.time(); print(json.dumps([now, time.monotonic(), time.localtime(now)[:6]]))"
SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A moment, and the zone of the machine that shows it."""

    name: str
    zone: str
    wall: datetime

    @property
    def unix_time(self) -> float:
        """The moment in seconds since 1970."""
        return self.wall.replace(tzinfo=ZoneInfo(self.zone)).timestamp()


CLOCKS = (
    Clock(name="sunday-at-three", zone="UTC", wall=datetime(2026, 11, 29, 3)),  # noqa: DTZ001  # `zone` says which
    Clock(name="end-of-a-month", zone="UTC", wall=datetime(2027, 1, 31, 23, 59, 40)),  # noqa: DTZ001
    Clock(name="summer-time-begins", zone="Europe/Berlin", wall=datetime(2027, 3, 28, 1, 59, 40)),  # noqa: DTZ001
    Clock(name="summer-time-ends", zone="Europe/Berlin", wall=datetime(2026, 10, 25, 2, 59, 40)),  # noqa: DTZ001
)


def environment(clock: Clock) -> dict[str, str]:
    """For a process and its children: all their clocks are ahead, or behind, by the same."""
    return {**os.environ, "TZ": clock.zone, **ahead(clock.unix_time - time.time())}


def ahead(seconds: float) -> dict[str, str]:
    """What moves a process's wall clock, and no other."""
    return {
        "LD_PRELOAD": LIBRARY,
        "FAKETIME": f"{seconds:+.3f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": str(Path(__file__).parent / "startup"),
    }


def check_that_it_shifts(clock: Clock, environment: Mapping[str, str]) -> None:
    """The canary: a shift that did not happen would prove nothing. Raises `AssertionError`."""
    before = time.monotonic()
    shown = subprocess.run([sys.executable, "-c", CANARY], env=environment, capture_output=True, text=True, check=True)
    wall, monotonic, local = json.loads(shown.stdout)
    assert abs(wall - clock.unix_time) < SLACK_SECONDS, f"{clock.name}: the wall clock shows {wall}"
    assert before <= monotonic <= time.monotonic(), f"{clock.name}: the monotonic clock was moved as well"
    there = datetime.fromtimestamp(wall, ZoneInfo(clock.zone))
    assert local == [*there.timetuple()[:6]], f"{clock.name}: the local time is {local}, in {clock.zone} it is {there}"


def run_pytest(clock: Clock, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of the suite, or a part of it, under a clock."""
    shifted = environment(clock)
    check_that_it_shifts(clock, shifted)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, env=shifted, cwd=ROOT, capture_output=True, text=True, check=False)
