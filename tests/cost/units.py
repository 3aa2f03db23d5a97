"""How much work something is, the same on every machine: lines of Python run, and functions of C called."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

Trace = Callable[[FrameType, str, Any], Any]


class WorkMeter:
    """Counts lines of Python and calls into C. Work inside one call of C is not seen."""

    def __init__(self) -> None:
        self.counted = 0

    def run(self, work: Callable[[], object]) -> int:
        """Units of `work`, whatever it calls."""
        before = self.counted
        traced, profiled = sys.gettrace(), sys.getprofile()
        sys.setprofile(self._on_call)
        sys.settrace(self._on_line)
        try:
            work()
        finally:
            sys.settrace(traced)
            sys.setprofile(profiled)
        return self.counted - before

    def _on_line(self, _frame: FrameType, event: str, _argument: Any) -> Trace:
        if event == "line":
            self.counted += 1
        return self._on_line

    def _on_call(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event == "c_call":
            self.counted += 1


def units_of(work: Callable[[], object]) -> int:
    """Units of `work`."""
    return WorkMeter().run(work)


def thread_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of this thread that `work` takes at best. For people and the long search; no test hangs on it."""
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best
