"""What each piece of work of a loop does, by number: calls of functions, and blocks of memory taken or let go.

Both are the same on any machine, however busy; blocks, as long as no other thread is at work. Ten milliseconds are some
forty thousand calls, or a hundred and fifty thousand blocks let go.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import events
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """The most that one piece of a name did."""

    calls: int = 0
    blocks: int = 0


class Pieces:
    """While it is entered, every piece of work of this thread's loop, by what it was."""

    def __init__(self) -> None:
        self.most: dict[str, Piece] = {}
        self._thread = threading.get_ident()
        self._calls = 0

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
        self._calls = 0
        sys.setprofile(self._called)
        try:
            self._run(handle)
        finally:
            sys.setprofile(None)
        most, blocks = self.most.get(name, Piece()), abs(sys.getallocatedblocks() - before)
        self.most[name] = Piece(max(most.calls, self._calls), max(most.blocks, blocks))

    def _called(self, _frame: object, event: str, _argument: Any) -> None:  # Any: as sys.setprofile has it
        self._calls += event in ("call", "c_call")


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
