"""How fast operations are let in while blocks are being settled.

A loop that is asked by many serves all of them once before the settlement has its next piece. Who lets in more than
ends meanwhile falls behind for good: what is in flight grows, and what is known of the chain grows old. So while a
block has more pieces to come, one operation is let in for every four that end; the others wait their turn. A turn that
nobody waits for is kept for who comes before the next piece: a gate that has time keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_ENDS_FOR_ONE: Final = 4
_A_STEP: Final = 2
"""For sixteen operations of a block that were read: half of what follows for their ends."""
_MOST_KEPT: Final = 8
"""Turns: a little more than follow from one piece."""
_LONGEST_SECONDS: Final = 1.0
"""A disk that hangs is no reason to keep anybody waiting here: who holds an operation waits for it there."""


class Pace:
    """Of one chain's settlement."""

    def __init__(self) -> None:
        self.is_settling = False
        """Whether a block has more to be read or settled than was, so that there are turns to wait for."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._kept = 0  # turns that nobody has waited for

    def may_pass(self) -> bool:
        """Whether one more may be let in now, and then it is; otherwise there is a `turn` to wait for."""
        if not self.is_settling:
            return True
        if not self._kept or self._waiting:
            return False
        self._kept -= 1
        return True

    async def turn(self) -> None:
        """Returns when one more may be let in."""
        if self.may_pass():
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await mine
        except TimeoutError:
            pass  # who gave up is passed over

    def ended(self, many: int) -> None:
        """A piece is settled, in which so many ended, and there is more: some are let in."""
        self.is_settling = True
        self._let_in(max(many // _ENDS_FOR_ONE, 1))

    async def step(self) -> None:
        """A piece of reading a block is done, and there is more: some are let in, and others have the loop."""
        self.is_settling = True
        self._let_in(_A_STEP)
        await asyncio.sleep(0)

    def rest(self) -> None:
        """There is no more: all are let in."""
        self.is_settling = False
        self._let_in(len(self._waiting))
        self._kept = 0

    def _let_in(self, many: int) -> None:
        while many > 0 and self._waiting:
            mine = self._waiting.popleft()
            if not mine.done():
                mine.set_result(None)
                many -= 1
        self._kept = min(self._kept + many, _MOST_KEPT)
