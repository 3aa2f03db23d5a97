"""Operations that have ended, remembered for as long as the chain could take their block back.

Only their names are at hand, by the block that showed their end; the rest of them is on disk.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from proxy.chain.settlement.slices import BlockName
from proxy.ledger.operations import Cause, EndedName
from proxy.session.counters import HoldName
from proxy.userop.primitives import Hash32

_AT_ONCE: Final = 500
_FOR_ONE: Final = 2
"""More than comes, so that what is old gets less without a block to forget it by."""


class Remembered:
    """What has ended lately. Bounded in age, by `seconds`, and not in number; while it `may_forget`."""

    def __init__(self, seconds: float, may_forget: Callable[[], bool] = lambda: True) -> None:
        self._seconds = seconds
        self._may_forget = may_forget
        self._ended: dict[HoldName, EndedName] = {}
        self._mined: dict[Hash32, EndedName] = {}
        self.mined: Callable[[Hash32], EndedName | None] = self._mined.get
        """How this operation was mined, under whichever claim, if it was lately. Each operation asks several times."""
        self._by_block: dict[int, dict[HoldName, None]] = {}
        self._blocks: list[int] = []  # the keys of that, ascending
        self._order: deque[EndedName] = deque()  # as they ended

    def __len__(self) -> int:
        return len(self._ended)

    def get(self, name: HoldName) -> EndedName | None:
        """How this operation ended, if that is remembered."""
        return self._ended.get(name)

    def is_mined(self, name: HoldName) -> bool:
        """Whether it was mined under just this claim, or counted under it for want of knowing."""
        ended = self._ended.get(name)
        return ended is not None and ended.cause is Cause.MINED

    def remember(self, ended: EndedName) -> None:
        """This operation has ended."""
        name, block = ended.name, ended.block
        if name in self._ended:
            self.take_out(name)
        self._ended[name] = ended
        if ended.cause is Cause.MINED:
            self._mined[name.user_op_hash] = ended
        if block is not None:
            in_block = self._by_block.get(block)
            if in_block is None:
                in_block = self._by_block[block] = {}
                insort(self._blocks, block)
            in_block[name] = None
        order = self._order
        order.append(ended)
        if order[0].ended_at <= ended.ended_at - self._seconds:
            self.forget_old(ended.ended_at, most=_FOR_ONE)

    def take_out(self, name: HoldName) -> EndedName | None:
        """The operation is in flight again, or forgotten."""
        ended = self._ended.pop(name, None)
        if ended is None:
            return None
        if self._mined.get(name.user_op_hash) is ended:
            del self._mined[name.user_op_hash]
        if ended.block is not None:
            in_block = self._by_block[ended.block]
            del in_block[name]
            if not in_block:
                del self._by_block[ended.block]
                del self._blocks[bisect_right(self._blocks, ended.block) - 1]
        return ended

    def mined_blocks(self) -> Iterator[tuple[BlockName, Hash32]]:
        """Each block that showed something mined, with one operation of it. For a start."""
        for number, names in self._by_block.items():
            seen: set[Hash32] = set()
            for name in names:
                ended = self._ended[name]
                if ended.cause is Cause.MINED and ended.block_hash is not None and ended.block_hash not in seen:
                    seen.add(ended.block_hash)
                    yield BlockName(number, ended.block_hash), name.user_op_hash

    def forget_old(self, now: float, most: int = _AT_ONCE) -> bool:
        """The chain will not take back what is older than this (unix seconds). Whether there is more of it than the
        `most` that are forgotten at once: a clock that could not be trusted for long leaves much."""
        if not self._may_forget():
            return False
        for _ in range(most):
            if not self._is_first_old(now):
                return False
            oldest = self._order.popleft()
            if self._ended.get(oldest.name) is oldest:
                self.take_out(oldest.name)
        return self._is_first_old(now)

    def _is_first_old(self, now: float) -> bool:
        return bool(self._order) and self._order[0].ended_at <= now - self._seconds

    def shown_after(self, block: int) -> tuple[HoldName, ...]:
        """What ended by the word of later blocks than this, newest first."""
        later = self._blocks[bisect_right(self._blocks, block) :]
        return tuple(name for number in reversed(later) for name in reversed(self._by_block[number]))

    def shown_in(self, number: int, block_hash: Hash32 | None) -> tuple[HoldName, ...]:
        """What ended by the word of just this block; `None`: of one that was not named by its hash."""
        names = self._by_block.get(number, {})
        return tuple(name for name in names if self._ended[name].block_hash == block_hash)

    def shown_beside(self, block: BlockName) -> tuple[HoldName, ...]:
        """What ended by the word of another block of the same number, or of one that was not named by its hash."""
        names = self._by_block.get(block.number, {})
        return tuple(name for name in names if self._ended[name].block_hash != block.hash)
