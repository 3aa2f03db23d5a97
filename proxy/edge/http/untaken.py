"""Answers that callers do not take: how long one may take nothing of its own, and how much all of them may leave."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Hashable
from typing import Final, Protocol

from proxy.edge.http.deadlines import Deadlines

SEND_BUFFER: Final = 128 * 1024
"""What the system holds of an answer that is not taken: without it, megabytes, in which no progress would show."""


class Caller(Hashable, Protocol):
    """A connection, as seen by whoever writes to it."""

    @abstractmethod
    def untaken(self) -> int:
        """Bytes of answers that are not taken yet."""

    @abstractmethod
    def abort(self) -> None:
        """End it, whatever is left."""


class Untaken:
    """Keeps count over all connections of one listener: who takes nothing for `seconds` is dropped, and where more than
    `most_bytes` are left by all, the one that has stalled longest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, seconds: float, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._left: dict[Caller, int] = {}
        self._stalled: Deadlines[Caller] = Deadlines(loop, seconds, self._still_stalled)

    def stalls(self, caller: Caller) -> None:
        """It takes no more of its answer for now."""
        left = caller.untaken()
        self._bytes += left - self._left.get(caller, 0)
        self._left[caller] = left
        self._stalled.start(caller)
        while self._bytes > self._most_bytes:
            longest = self._stalled.first
            if longest is None:
                return
            self._drop(longest)

    def flows(self, caller: Caller) -> None:
        """It reads again, or is gone."""
        self._bytes -= self._left.pop(caller, 0)
        self._stalled.stop(caller)

    def close(self) -> None:
        """Nobody is dropped any more."""
        self._stalled.close()

    def _still_stalled(self, caller: Caller) -> None:
        if caller.untaken() < self._left[caller]:
            self.stalls(caller)  # slow, but not gone
        else:
            self._drop(caller)

    def _drop(self, caller: Caller) -> None:
        self.flows(caller)
        caller.abort()
