"""The follower of one chain at work: a look every so often, sooner when something was heard, and how old that leaves
what is known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

from proxy.chain.age import ChainAge
from proxy.chain.blocks.follower import BlockFollower
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import BlockSource
from proxy.chain.settlement.slices import BlockName, SliceTaker
from proxy.errors import StateUnavailable

_LOG: Final = logging.getLogger(__name__)
_LONGEST_PAUSE: Final = 30.0
_SEEDS: Final = 32
"""Blocks that are looked at once to learn how often this chain makes one."""
_LOOKS_A_CHECK: Final = 16
_LEAVE_SECONDS: Final = 5.0
"""Between two times that another node is looked for."""
_DOUBT_SECONDS: Final = 1.0
"""The same while somebody needs what the one that is asked does not tell."""
_DEEP: Final = 8
"""Blocks so far behind the newest one that nodes do not differ over them."""

Leave = Callable[[str, int, BlockName | None], Awaitable[bool]]
"""Why the node's word is in vain, which block another one has to have come to, and one that it must have: whether
another one is asked from now on."""


class BlockWatch:
    """`age` is told what became of each look; `clock` gives unix seconds. One look at a time: who comes while one is
    under way waits for that one. `leave` asks another node, where there are several."""

    def __init__(
        self,
        follower: BlockFollower,
        source: BlockSource,
        taker: SliceTaker,
        age: ChainAge,
        *,
        chain_id: int,
        poll_seconds: float,
        clock: Callable[[], float],
        leave: Leave | None = None,
    ) -> None:
        self._leave = leave
        self._left_at = -inf  # or tried to be, by the loop's clock
        self._follower = follower
        self._source = source
        self._taker = taker
        self._age = age
        self._chain_id = chain_id
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._is_seeded = False
        self._looks = 0
        self._looking: asyncio.Task[bool] | None = None
        self._heard = asyncio.Event()
        self._failures = 0
        self._shown: int | None = None  # the newest block of the node that is asked
        self._is_stale = False

    @property
    def lag_blocks(self) -> int:
        """How many blocks the settlement is behind the newest one that was heard of."""
        cursor, newest = self._taker.cursor, self._age.number
        return 0 if cursor is None or newest is None else max(newest - cursor.number, 0)

    def wake(self) -> None:
        """There may be a new block: look now."""
        self._heard.set()

    async def run(self) -> None:
        """Look until cancelled. No failure of the node or the store ends it."""
        try:
            while True:
                self._heard.clear()
                await self.catch_up()
                self._tell_age()
                await self._ask_another()
                await self._sleep(min(self._poll_seconds * 2.0 ** min(self._failures, 8), self._longest_pause))
        finally:
            if self._looking is not None:
                self._looking.cancel()
                await asyncio.gather(self._looking, return_exceptions=True)

    async def catch_up(self) -> None:
        """Returns when all blocks up to the newest are settled, or cannot be. Never raises."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def doubted(self) -> None:
        """Somebody was told nothing, or less than is known: look at once whether the node's word is in vain, and ask
        another where it is. Never raises."""
        self._looks = 0  # so that the next look is a check too
        await self.catch_up()
        await self._ask_another(is_doubted=True)

    async def _look(self) -> bool:
        try:
            if not self._is_seeded:
                await self._seed()
            head = await self._follower.look()
            self._shown = head.number
            self._looks += 1
            if self._looks % _LOOKS_A_CHECK == 1:
                await self._check(head)
            cursor = self._taker.cursor
            if cursor is not None and cursor.number >= head.number:
                self._age.confirmed()
            self._failures = 0
        except StateUnavailable as error:
            self._fail(error.what, str(error))
        except Exception:  # whatever it is, the watch goes on, and what is known grows old
            _LOG.exception("reading the blocks of chain %d failed; trying again", self._chain_id)
            self._fail("its blocks cannot be read: see the log of the gate")
        finally:
            self._looking = None
        return self._failures == 0

    def _fail(self, why: str, words: str | None = None) -> None:
        self._failures += 1
        self._age.failed(why)
        if self._failures == 1 or self._failures % 10 == 0:
            _LOG.warning(
                "the blocks of chain %d cannot be read, %d times now: %s", self._chain_id, self._failures, words or why
            )

    async def _ask_another(self, *, is_doubted: bool = False) -> None:
        """Where the node's word is in vain and another's is not: it may be of another chain, or behind all others. One
        that is only behind what is settled already will come to that, unless somebody needs it now."""
        age, cursor, newest = self._age, self._taker.cursor, self._age.number
        if self._failures:
            why, least = age.trouble or "its blocks cannot be read", 0 if cursor is None else cursor.number
        elif age.is_behind and newest is not None:
            why, least = f"its newest block is {newest}", newest + 1
        elif is_doubted and cursor is not None and self._shown is not None and self._shown < cursor.number:
            why, least = f"its newest block is {self._shown}, and {cursor.number} is settled", cursor.number
        else:
            return
        now = asyncio.get_running_loop().time()
        if self._leave is None or now - self._left_at < (_DOUBT_SECONDS if is_doubted else _LEAVE_SECONDS):
            return
        self._left_at = now
        trail = self._taker.trail()
        try:
            is_left = await self._leave(why, least, trail[min(_DEEP, len(trail) - 1)] if trail else None)
        except Exception:  # whatever it is, the watch goes on with the node that it has
            _LOG.exception("no other node of chain %d could be asked", self._chain_id)
            return
        if is_left:
            self._failures = 0
            age.begin_anew()
            self._heard.set()

    def _tell_age(self) -> None:
        """Say it when what is known begins to be too old to judge by, and when that is over."""
        stale = self._age.stale()
        if (stale is not None) != self._is_stale:
            self._is_stale = stale is not None
            why = "is new enough again" if stale is None else f"is too old to judge by ({stale.what})"
            _LOG.warning("what is known of sessions on chain %d %s", self._chain_id, why)

    async def _seed(self) -> None:
        """Learn what chain this is, and how often it makes a block."""
        if (of_chain := await self._source.chain_id()) != self._chain_id:
            raise StateUnavailable(f"the node is of chain {of_chain}, not {self._chain_id}")
        head = await self._source.head()
        found = await self._source.headers(range(max(head.number - _SEEDS, 0), head.number + 1))
        self._age.seed([header for header in found if header is not None], self._clock())
        self._is_seeded = True

    async def _check(self, head: Header) -> None:
        """That blocks can be had by their numbers, as whoever reads a session asks for them."""
        (found,) = await self._source.headers((max(head.number - _DEEP, 0),))
        if found is None:
            raise StateUnavailable("the node has none of the blocks that it must have")

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            pass

    @property
    def _longest_pause(self) -> float:
        return max(_LONGEST_PAUSE, self._poll_seconds)
