"""How much is done, not how long it takes: opcodes of Python, and bytes allocated at once.

What goes through a container in Python shows as opcodes, what copies or sorts one in C as bytes. Both are the same on
any machine, however busy.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

_TIMES = 3


class Effort(NamedTuple):
    """`steps` are opcodes, `room` is in bytes."""

    steps: int
    room: int


def effort_of(work: Callable[[], object]) -> Effort:
    """The least of a few times: a table that grows does so once in a while. The work may be done again and again."""
    return Effort(min(_steps(work) for _ in range(_TIMES)), min(_room(work) for _ in range(_TIMES)))


def _steps(work: Callable[[], object]) -> int:
    steps = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:  # Any: as sys.settrace has it
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


def _room(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
