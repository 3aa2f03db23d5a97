"""What clients are told through the gate counts for what they send next: the blocks it rests on are taken in first.

A bundler may know of a block before the gate's node has shown it. Who hears of it waits a little, all that wait share
one look at a time. What one that lies names is not there: that is waited for once, and then more and more rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

from proxy.chain.settlement.node_word import CatchUp
from proxy.chain.settlement.receipts import ToldMined
from proxy.chain.settlement.taker import Taker
from proxy.userop.primitives import Hash32

_LOOK_AGAIN: Final = 0.2
"""Seconds between two looks, the first of which did not show what was waited for."""
_SHORTEST_REST: Final = 1.0
_LONGEST_REST: Final = 60.0


class _Expectation:
    """Whether it is worth it to wait for a block, after blocks from `self._least` on were waited for in vain."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._least: int | None = None
        self._rest = 0.0
        self._until = 0.0

    def is_left(self, number: int) -> bool:
        """For a block of this number."""
        return self._least is None or number < self._least or self._monotonic() >= self._until

    def lost(self, number: int) -> None:
        """It did not come. Of several who waited together one counts."""
        if self.is_left(number):
            self._least = number if self._least is None else min(self._least, number)
            self._rest = min(max(2 * self._rest, _SHORTEST_REST), _LONGEST_REST)
            self._until = self._monotonic() + self._rest

    def came(self, number: int) -> None:
        """It did."""
        if self._least is not None and number >= self._least:
            self._least, self._rest = None, 0.0


class ToldBlocks:
    """`may_come` says whether the node can be expected to show a block of this number soon; `seconds` is the longest
    that anybody waits. `monotonic` gives seconds."""

    def __init__(
        self,
        taker: Taker,
        catch_up: CatchUp,
        *,
        may_come: Callable[[int], bool],
        monotonic: Callable[[], float],
        seconds: float,
    ) -> None:
        self._taker = taker
        self._catch_up = catch_up
        self._may_come = may_come
        self._seconds = seconds
        self._higher = _Expectation(monotonic)  # for numbers that were not reached yet
        self._others = _Expectation(monotonic)  # for other blocks of those that were
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = -inf  # by the loop's clock: the end of a look that did not show what was waited for

    async def taken_in(self, told: ToldMined, is_settled: Callable[[], bool]) -> None:
        """Returns when the block that was named is settled, or need not be waited for any longer; where none was named,
        the operation by `is_settled`. Never raises."""
        cursor = self._taker.cursor
        if cursor is None:
            return
        number, expectation, is_there = cursor.number, self._others, is_settled
        if told.block is not None:
            number, is_there = told.block, partial(self._is_settled, told.block, told.block_hash)
            expectation = self._higher if number > cursor.number else self._others
        if not is_there() and self._may_come(number):
            await self._wait(expectation, number, is_there)

    async def close(self) -> None:
        """Nobody looks any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _is_settled(self, number: int, block_hash: Hash32 | None) -> bool:
        cursor = self._taker.cursor
        if cursor is None or number > cursor.number:
            return False
        there = self._taker.hash_at(number)
        return there is None or block_hash is None or there == block_hash

    async def _wait(self, expectation: _Expectation, number: int, is_settled: Callable[[], bool]) -> None:
        if not expectation.is_left(number):
            return
        try:
            async with asyncio.timeout(self._seconds):
                while not is_settled():
                    if not self._may_come(number):
                        return
                    await asyncio.shield(self._look())
        except TimeoutError:
            expectation.lost(number)
        else:
            expectation.came(number)

    def _look(self) -> asyncio.Task[None]:
        """One for all who wait; a second one not right after the first."""
        if self._looking is None:
            pause = max(self._looked_at + _LOOK_AGAIN - asyncio.get_running_loop().time(), 0.0)
            self._looking = asyncio.create_task(self._look_after(pause))
        return self._looking

    async def _look_after(self, pause: float) -> None:
        before = self._taker.cursor
        try:
            await asyncio.sleep(pause)
            await self._catch_up()
        finally:
            self._looking = None
            if self._taker.cursor == before:
                self._looked_at = asyncio.get_running_loop().time()
