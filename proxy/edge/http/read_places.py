"""How many questions that send nothing may be with the bundlers of a chain at once, so that sends find a connection."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.edge.http.households import WORKED_FOR
from proxy.errors import UpstreamUnavailable


class ReadPlaces:
    """Anybody may ask anything that sends nothing, and a bundler may take long over it: of all connections an eighth
    is left to what is sent, to the settlement and to probes. Who finds no place waits for one: of all households that
    wait one after the other is given a place, whatever each of them has asked for.
    """

    def __init__(self, connections: int, wait_seconds: float) -> None:
        self._free = max(1, connections - max(1, connections // 8))
        self._wait_seconds = wait_seconds
        # by household, that first whose turn it is; of each in the order of coming
        self._waiting: OrderedDict[str | None, OrderedDict[asyncio.Future[None], None]] = OrderedDict()

    def take(self) -> bool:
        """One, where there is one now. It has to be left."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """The question has been answered, or never will be."""
        while self._waiting:
            household, turns = self._waiting.popitem(last=False)
            turn, _ = turns.popitem(last=False)
            if turns:
                self._waiting[household] = turns  # after all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    @asynccontextmanager
    async def place(self, endpoint: str) -> AsyncIterator[None]:
        """Ask within it. Raises `UpstreamUnavailable` where there is none in time."""
        if not self.take():
            await self._wait(endpoint)
        try:
            yield
        finally:
            self.leave()

    async def _wait(self, endpoint: str) -> None:
        household, turn = WORKED_FOR.get(), asyncio.get_running_loop().create_future()
        self._waiting.setdefault(household, OrderedDict())[turn] = None
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except TimeoutError:
            self._give_back(household, turn)
            problem = f"{endpoint} has too many questions that are not answered yet"
            raise UpstreamUnavailable(problem, may_have_been_sent=False) from None
        except asyncio.CancelledError:
            self._give_back(household, turn)
            raise

    def _give_back(self, household: str | None, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # it was given all the same
            self.leave()
        elif (turns := self._waiting.get(household)) is not None and turn in turns:
            del turns[turn]
            if not turns:
                del self._waiting[household]
