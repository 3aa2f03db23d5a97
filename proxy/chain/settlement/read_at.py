"""At which block each session was read, for as long as the chain may yet leave that block.

A session is read at the node's newest block, which may be beyond those that are settled. What such a block has used
past the gate shows in no settled one where another takes its place, and would count for ever: a reading is worth as
much as its block, and whoever read at one that is gone has to read again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import Final

from proxy.chain.settlement.slices import BlockName
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Hash32

_KEYS_A_PIECE: Final = 1_000
"""Many sessions may have been read at one block."""
UNKNOWN_HASH: Final = Hash32(bytes(32))
"""Of a block at which a session was read in an earlier life: no block of the chain."""


class ReadAt:
    """One entry a session, that of its last reading."""

    def __init__(self) -> None:
        self._of: dict[SessionKey, BlockName] = {}
        self._keys: dict[BlockName, dict[SessionKey, None]] = {}
        self._blocks: list[BlockName] = []  # the keys of that, ascending

    def __len__(self) -> int:
        return len(self._of)

    def note(self, key: SessionKey, block: BlockName) -> None:
        """The session was read at this block, and counts by that alone."""
        if (before := self._of.pop(key, None)) is not None:
            self._keys[before].pop(key)
            if not self._keys[before]:
                self._drop(before)
        place = bisect_left(self._blocks, block)
        if block not in self._keys:
            self._keys[block] = {}
            self._blocks.insert(place, block)
        self._of[key] = block = self._blocks[place]
        self._keys[block][key] = None

    def of(self, key: SessionKey) -> BlockName | None:
        """Where the session was read last; `None` where the chain does not leave that any more."""
        return self._of.get(key)

    def has(self, number: int) -> bool:
        """Whether a session was read at a block of this number."""
        place = bisect_left(self._blocks, _first(number))
        return place < len(self._blocks) and self._blocks[place].number == number

    def beside(self, first: int, blocks: Collection[BlockName], last: int) -> Iterator[list[SessionKey]]:
        """The chain has these blocks, of those numbered from `first` to `last`: forget, and tell some at a time, who
        was read at any other one."""
        for block in self._between(first, last):
            if block not in blocks:
                yield from self._emptied(block)

    def after(self, number: int) -> Iterator[list[SessionKey]]:
        """The chain has left the blocks after this one: the same of all who were read there."""
        for block in reversed(self._blocks[bisect_left(self._blocks, _first(number + 1)) :]):
            yield from self._emptied(block)

    def forget_before(self, number: int) -> None:
        """The chain does not leave what is older than this block. Some of them at a time; the others with the next
        call."""
        left = _KEYS_A_PIECE
        while left and self._blocks and (oldest := self._blocks[0]).number < number:
            keys = self._keys[oldest]
            while left and keys:
                del self._of[keys.popitem()[0]]
                left -= 1
            if not keys:
                self._drop(oldest)

    def _between(self, first: int, last: int) -> list[BlockName]:
        return self._blocks[bisect_left(self._blocks, _first(first)) : bisect_left(self._blocks, _first(last + 1))]

    def _emptied(self, block: BlockName) -> Iterator[list[SessionKey]]:
        """Others may be noted between two pieces."""
        while keys := self._keys.get(block):
            piece = [keys.popitem()[0] for _ in range(min(len(keys), _KEYS_A_PIECE))]
            for key in piece:
                del self._of[key]
            if not keys:
                self._drop(block)
            yield piece

    def _drop(self, block: BlockName) -> None:
        del self._keys[block]
        del self._blocks[bisect_left(self._blocks, block)]


def _first(number: int) -> BlockName:
    """Before any block of this number."""
    return BlockName(number, Hash32(b""))
