"""What a running gate measures of itself: how long its loop keeps anybody waiting, and whether its clock jumps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from proxy.happening import Alerts, Happening, HappeningKind
from proxy.session.lint.findings import Severity

_LOG: Final = logging.getLogger(__name__)
TICK_SECONDS: Final = 0.1
CLOCK_SLACK_SECONDS: Final = 2.0
"""The time of day may drift by so much against the monotonic clock between two looks, and is not worth a word."""


class LoopLag:
    """The longest wait since it was taken last. Pure: told when a tick was due and when it came."""

    def __init__(self) -> None:
        self._longest = 0.0

    def tick(self, due: float, came: float) -> None:
        """A tick that was due at a moment came at another, in monotonic seconds."""
        self._longest = max(self._longest, came - due)

    def take(self) -> float:
        """The longest wait, in seconds; from now on it is measured anew."""
        longest, self._longest = self._longest, 0.0
        return longest


class ClockWatch:
    """Notices when the time of day jumps. Pure: told both clocks at each look."""

    def __init__(self, unix_time: float, monotonic: float) -> None:
        self._offset = unix_time - monotonic

    def look(self, unix_time: float, monotonic: float) -> float:
        """By how many seconds the time of day has jumped since the last look; 0 when it has not."""
        jump = unix_time - monotonic - self._offset
        self._offset += jump
        return jump if abs(jump) > CLOCK_SLACK_SECONDS else 0.0


async def watch_loop(lag: LoopLag, alerts: Alerts, *, clock: Callable[[], float] = time.time) -> None:
    """Tick until cancelled; whoever scrapes takes the longest wait (`LoopLag.take`). A jump of the clock is told."""
    clocks = ClockWatch(clock(), time.monotonic())
    while True:
        due = time.monotonic() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        lag.tick(due, time.monotonic())
        if (jump := clocks.look(clock(), time.monotonic())) != 0:
            what = f"this machine's time of day jumped by {jump:+.1f} s; expiries follow it, windows of rules do not"
            _LOG.warning("%s", what)
            alerts.raise_(
                Happening(
                    kind=HappeningKind.CLOCK_JUMPED,
                    severity=Severity.MEDIUM,
                    unix_time=clock(),
                    what=what,
                    command="timedatectl",
                )
            )
