"""Things given up after a fixed time: one timer for all of them, however many there are."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting", bound=Hashable)


class Deadlines(Generic[Waiting]):
    """A queue in which everybody waits equally long, so that the first in it is the first to be given up.

    `expire` is called with each one whose `seconds` are over; it waits no longer then. Nothing is ever scanned: to
    start, to stop and to expire cost the same however many wait.
    """

    __slots__ = ("_expire", "_loop", "_timer", "_until", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, expire: Callable[[Waiting], None]) -> None:
        self._loop = loop
        self.seconds = seconds
        self._expire = expire
        # in the order of their times; a plain dict would walk over all that left its front
        self._until: OrderedDict[Waiting, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._until)

    @property
    def first(self) -> Waiting | None:
        """Whoever has waited longest."""
        return next(iter(self._until), None)

    def start(self, waiting: Waiting) -> None:
        """Its time runs from now, also if it ran before."""
        until = self._until
        if waiting in until:
            until.move_to_end(waiting)
        until[waiting] = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._sweep)

    def stop(self, waiting: Waiting) -> None:
        """It waits no longer."""
        self._until.pop(waiting, None)

    def close(self) -> None:
        """Nobody is given up any more."""
        self._until.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        while self._until:
            waiting, until = next(iter(self._until.items()))
            if until > self._loop.time():
                # the timer sleeps on through everything that starts and stops meanwhile
                self._timer = self._loop.call_at(until, self._sweep)
                return
            del self._until[waiting]
            self._expire(waiting)
