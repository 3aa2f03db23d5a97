"""Read by every Python under a shifted clock, before anything else.

Since 3.11 `time.sleep` asks for a moment of the monotonic clock (`clock_nanosleep`, absolute). libfaketime moves that
moment along with the wall clock even when told to leave the monotonic clock alone: the call fails, or lasts for days.
A wait without descriptors lasts as long.
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = _sleep
