"""What each piece of work of a loop does, by number: calls of functions, and blocks of memory taken or let go.

Both are the same on any machine, however busy; blocks, as long as no other thread is at work. Ten milliseconds are some
forty thousand calls, or a hundred and fifty thousand blocks let go.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import events
from types import FrameType
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """The most that one piece of a name did."""

    calls: int = 0
    blocks: int = 0
    steps: int = 0


class Pieces:
    """While it is entered, every piece of work of this thread's loop, by what it was: the `most` that one of them did.
    Steps of Python are counted where that is wanted: what goes through a container without a call shows by those."""

    def __init__(self, *, counts_steps: bool = False) -> None:
        self.most: dict[str, Piece] = {}
        self._counts_steps = counts_steps
        self._thread = threading.get_ident()
        self._calls = self._steps = 0  # of the piece that is under way

    def __enter__(self) -> Pieces:
        self._run = events.Handle._run
        pieces = self

        def counted(handle: events.Handle) -> None:
            if threading.get_ident() == pieces._thread:
                pieces._count(handle)
            else:
                pieces._run(handle)

        events.Handle._run = counted  # type: ignore[method-assign]  # to be looked at from inside
        return self

    def __exit__(self, *_failure: object) -> None:
        events.Handle._run = self._run  # type: ignore[method-assign]  # as it was

    def too_long(self, calls: int) -> dict[str, Piece]:
        """Those that called more functions."""
        return {name: piece for name, piece in self.most.items() if piece.calls > calls}

    def _count(self, handle: events.Handle) -> None:
        name, before = name_of(handle), sys.getallocatedblocks()
        self._calls = self._steps = 0
        tracer = sys.gettrace()
        if self._counts_steps:
            sys.settrace(self._stepped)
        sys.setprofile(self._called)
        try:
            self._run(handle)
        finally:
            sys.setprofile(None)
            sys.settrace(tracer)
        most, blocks = self.most.get(name, Piece()), abs(sys.getallocatedblocks() - before)
        self.most[name] = Piece(max(most.calls, self._calls), max(most.blocks, blocks), max(most.steps, self._steps))

    def _called(self, _frame: object, event: str, _argument: Any) -> None:  # Any: as sys.setprofile has it
        self._calls += event in ("call", "c_call")

    def _stepped(self, frame: FrameType, event: str, _argument: Any) -> Any:  # Any: as sys.settrace has it
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._steps += event == "opcode"
        return self._stepped


def name_of(handle: events.Handle) -> str:
    """The coroutine that goes on, down to what it waits for, or the function that is called."""
    callback: Any = handle._callback  # type: ignore[attr-defined]  # asyncio's own
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    names, at = [], task.get_coro()
    while at is not None and hasattr(at, "cr_code"):
        names.append(at.cr_code.co_qualname)
        at = at.cr_await
    return " > ".join(names[-4:])
