"""How many questions that send nothing may be with the bundlers of a chain at once, so that sends find a connection."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from proxy.edge.http.households import WORKED_FOR
from proxy.errors import UpstreamUnavailable

_LEFT_BY_ONE: Final = 8
"""So many places who is alone leaves to newcomers, or an eighth, but no more than half."""
_LOOKED_AT: Final = 4
"""Households in line that are looked at for one place."""

_Line = OrderedDict[str | None, OrderedDict[asyncio.Future[None], None]]
"""By household, that first whose turn it is; of each in the order of coming."""


class ReadPlaces:
    """Anybody may ask anything that sends nothing, and a bundler may take long over it: of all connections an eighth
    is left to what is sent, to the settlement and to probes. Beside others a household has no more places than are
    free, so that a newcomer finds one; of the eighth half is for who has none where nothing else is left. Who finds no
    place waits for one: of all households that wait one after the other is given a place, whatever each of them has
    asked for, and those that have none first.
    """

    def __init__(self, connections: int, wait_seconds: float) -> None:
        kept = max(1, connections // 8)
        self._free = max(1, connections - kept)
        self._least_free = -(kept // 2)  # who has none may take from what is kept
        self._most_of_one = self._free - min(max(_LEFT_BY_ONE, self._free // 8), self._free // 2)
        self._wait_seconds = wait_seconds
        self._held: Counter[str] = Counter()
        self._newcomers: _Line = OrderedDict()
        self._others: _Line = OrderedDict()

    def take(self, household: str | None = None) -> bool:
        """One, where there is one for it now. It has to be left."""
        if not self._may_take(household):
            return False
        self._free -= 1
        if household is not None:
            self._held[household] += 1
            if (turns := self._newcomers.pop(household, None)) is not None:
                self._others[household] = turns
        return True

    def _may_take(self, household: str | None) -> bool:
        if household is None:  # nobody can tell whose it is
            return self._free > 0
        held = self._held.get(household, 0)
        if not held:
            return self._free > self._least_free
        return held < (self._free if len(self._held) > 1 else self._most_of_one)

    def leave(self, household: str | None = None) -> None:
        """The question has been answered, or never will be."""
        self._free += 1
        if household is not None:
            self._held[household] -= 1
            if not self._held[household]:
                del self._held[household]
                if (turns := self._others.pop(household, None)) is not None:
                    self._newcomers[household] = turns
        self._hand_out(self._newcomers)
        self._hand_out(self._others)

    def _hand_out(self, line: _Line) -> None:
        looked_at = 0
        while line and looked_at < _LOOKED_AT:
            household = next(iter(line))
            if self._may_take(household):
                self._give(line)
            else:
                line.move_to_end(household)
                looked_at += 1

    def _give(self, line: _Line) -> None:
        household, turns = line.popitem(last=False)
        turn, _ = turns.popitem(last=False)
        is_given = not turn.done() and self.take(household)
        if turns:  # after all others
            self._line_of(household)[household] = turns
        if is_given:
            turn.set_result(None)

    def _line_of(self, household: str | None) -> _Line:
        return self._others if household is not None and household in self._held else self._newcomers

    @asynccontextmanager
    async def place(self, endpoint: str) -> AsyncIterator[None]:
        """Ask within it. Raises `UpstreamUnavailable` where there is none in time."""
        household = WORKED_FOR.get()
        if not self.take(household):
            await self._wait(household, endpoint)
        try:
            yield
        finally:
            self.leave(household)

    async def _wait(self, household: str | None, endpoint: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line_of(household).setdefault(household, OrderedDict())[turn] = None
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
            self.leave(household)
            return
        line = self._line_of(household)
        if (turns := line.get(household)) is not None and turn in turns:
            del turns[turn]
            if not turns:
                del line[household]
