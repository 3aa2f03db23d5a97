"""How many elements of batches and messages of WebSockets are answered at once, and whose is next.

A connection carries one request of HTTP at a time, so that who has many connections is counted; a batch or a WebSocket
carries many. All that one household has on its connections in such ways begins one at a time, each in a turn of the
loop: whoever asks for one thing waits for one of every other household, however many it asked for at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Household:
    __slots__ = ("at_hand", "is_turning", "waiting")

    def __init__(self) -> None:
        self.at_hand = 0
        self.is_turning = False  # something of it began in this turn of the loop
        self.waiting: deque[asyncio.Future[None]] = deque()


class HouseholdTurns:
    """Lets each household answer `most` at once, and begin one in each turn of the loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._households: dict[str, _Household] = {}

    @asynccontextmanager
    async def turn(self, household: str | None) -> AsyncIterator[None]:
        """Wait until it may begin; it has ended with the context."""
        if household is None:  # nobody can tell whose it is
            yield
            return
        held = self._households.get(household)
        if held is None:
            held = self._households[household] = _Household()
        if held.is_turning or held.waiting or held.at_hand >= self._most:
            await self._wait(household, held)
        else:
            held.at_hand += 1
            self._turn_soon(household, held)
        try:
            yield
        finally:
            held.at_hand -= 1
            if not held.is_turning:
                self._next(household, held)

    async def _wait(self, household: str, held: _Household) -> None:
        turn = asyncio.get_running_loop().create_future()
        held.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had begun
                held.at_hand -= 1
                if not held.is_turning:
                    self._next(household, held)
            raise

    def _turn_soon(self, household: str, held: _Household) -> None:
        held.is_turning = True
        asyncio.get_running_loop().call_soon(self._turned, household, held)

    def _turned(self, household: str, held: _Household) -> None:
        held.is_turning = False
        self._next(household, held)

    def _next(self, household: str, held: _Household) -> None:
        while held.waiting and held.at_hand < self._most:
            turn = held.waiting.popleft()
            if not turn.done():
                held.at_hand += 1
                turn.set_result(None)
                self._turn_soon(household, held)
                return
        if not held.at_hand and not held.waiting:
            del self._households[household]
