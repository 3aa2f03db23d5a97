"""Blocks that only a bundler told of, looked at again for as long as the chain could take them back."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections.abc import Callable
from itertools import islice
from typing import Final

from proxy.chain.settlement.due import DueHeap
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.polling import Polling
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import BlockName
from proxy.errors import StateUnavailable
from proxy.ledger.forgetting import in_parts
from proxy.ledger.operations import EndedName
from proxy.userop.primitives import Hash32

_LOG: Final = logging.getLogger(__name__)
_BLOCKS_A_PIECE: Final = 1_000
_AT_ONCE: Final = 16
"""A bundler that is silent on some of them delays none of the others by its silence."""


class Rechecks:
    """Asks the bundler about one operation of each block. `monotonic` gives seconds."""

    def __init__(
        self, settlement: Settlement, polling: Polling, patience: Patience, monotonic: Callable[[], float]
    ) -> None:
        self._settlement = settlement
        self._polling = polling
        self._patience = patience
        self._monotonic = monotonic
        self._due: DueHeap[BlockName] = DueHeap()
        self._of: dict[BlockName, tuple[Hash32, int]] = {}  # an operation of it, and how often it was looked at
        self._turn = asyncio.Lock()  # of bringing back
        self._trusted: list[BlockName] = []  # ascending: those of them below which none was found to be gone since

    def first(self) -> float | None:
        """When the next is due; `None` when none is."""
        return self._due.first()

    def is_due(self, now: float) -> bool:
        """Whether one is."""
        return self._due.is_due(now)

    def begin(self, block: BlockName, user_op_hash: Hash32) -> None:
        """The bundler named this block for that operation."""
        if block not in self._of:
            self._look_in(self._patience.rechecks[0], block, user_op_hash, 0)

    def hurry(self, ended: EndedName) -> None:
        """Something was heard of an operation of it."""
        if ended.block is not None and ended.block_hash is not None:
            block = BlockName(ended.block, ended.block_hash)
            if block in self._of:
                self._due.put(block, self._monotonic())

    async def look(self) -> None:
        """At all that is due, several at once, within the budget of all questions. What a block had that is gone is in
        flight again, and those above it are due. Never raises."""
        due, looking = self._due.pop_due(self._monotonic()), set[asyncio.Task[None]]()
        try:
            while True:
                for block in islice(due, _AT_ONCE - len(looking)):
                    self._distrust(block)
                    looking.add(asyncio.create_task(self._look_at(block, *self._of.pop(block))))
                if not looking:
                    return
                _, looking = await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
                due = self._due.pop_due(self._monotonic())  # they may have found more
        finally:
            for each in looking:
                each.cancel()
            await asyncio.gather(*looking, return_exceptions=True)

    async def _look_at(self, block: BlockName, user_op_hash: Hash32, times: int) -> None:
        answer = await self._polling.ask_beside(user_op_hash)
        if isinstance(answer, Exception):
            self._look_in(self._patience.rechecks[0], block, user_op_hash, times)  # this look does not count
        elif answer is None or (answer.block_hash is not None and answer.block_hash != block.hash):
            async with self._turn:
                await self._bring_back(block, user_op_hash, times)
        elif times + 1 < len(self._patience.rechecks):
            pause = self._patience.rechecks[times + 1] - self._patience.rechecks[times]
            self._look_in(pause, block, user_op_hash, times + 1)

    async def _bring_back(self, block: BlockName, user_op_hash: Hash32, times: int) -> None:
        names = self._settlement.remembered.shown_in(block.number, block.hash)
        try:
            await self._settlement.bring_back(names)
        except StateUnavailable as error:
            _LOG.warning("block %d is gone, and what it had is not in flight again yet: %s", block.number, error)
            self._look_in(self._patience.rechecks[0], block, user_op_hash, times)
            return
        self._settlement.to_prove |= dict.fromkeys(name.user_op_hash for name in names)
        await self._distrust_from(block.number)

    def _look_in(self, seconds: float, block: BlockName, user_op_hash: Hash32, times: int) -> None:
        self._of[block] = (user_op_hash, times)
        insort(self._trusted, block)
        self._due.put(block, self._monotonic() + seconds)

    def _distrust(self, block: BlockName) -> None:
        place = bisect_left(self._trusted, block)
        if self._trusted[place : place + 1] == [block]:
            del self._trusted[place]

    async def _distrust_from(self, number: int) -> None:
        """Each once, however many of them turn out to be gone."""
        first = bisect_left(self._trusted, BlockName(number, Hash32(b"")))
        above, self._trusted = self._trusted[first:], self._trusted[:first]
        for part in in_parts(above, _BLOCKS_A_PIECE):
            for block in part:
                if block in self._of:
                    self._due.put(block, self._monotonic())
            await asyncio.sleep(0)
