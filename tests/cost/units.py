"""How much work something is, the same on every machine: lines of Python run, and functions of C called."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

Trace = Callable[[FrameType, str, Any], Any]


def units_of(work: Callable[[], object]) -> int:
    """Lines of Python and calls into C that `work` takes, whatever it calls. Work inside one call of C is not seen."""
    counted = 0

    def on_line(_frame: FrameType, event: str, _argument: Any) -> Trace:
        nonlocal counted
        if event == "line":
            counted += 1
        return on_line

    def on_call(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal counted
        if event == "c_call":
            counted += 1

    traced, profiled = sys.gettrace(), sys.getprofile()
    sys.setprofile(on_call)
    sys.settrace(on_line)
    try:
        work()
    finally:
        sys.settrace(traced)
        sys.setprofile(profiled)
    return counted


def thread_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of this thread that `work` takes at best. For people and the long search; no test hangs on it."""
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best
