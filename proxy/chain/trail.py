"""The newest stretch of a chain as it was seen: some of its blocks by hash, and which logs told of which session.

With it a reorganisation shows: by a block whose hash is another one now, and by logs that have gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from proxy.session.counters import SessionKey
from proxy.userop.primitives import Hash32

OVERLAP: Final = 8
"""Blocks that are looked at again each time: nodes behind one address are not all equally far."""
_MOST_BLOCKS_KEPT: Final = 32


class Cursor(NamedTuple):
    """A block up to which everything has been seen."""

    block: int
    block_hash: Hash32


class LogName(NamedTuple):
    """One log, whatever happens to the chain: another branch has other block hashes."""

    block_hash: Hash32
    log_index: int


class Touch(NamedTuple):
    """At this block something of the session changed."""

    block: int
    key: SessionKey


class Trail:
    """Begins at a block up to which everything is known already."""

    def __init__(self, start: Cursor) -> None:
        self._blocks: dict[int, Hash32] = {start.block: start.block_hash}  # ascending
        self._scanned = start.block
        self._touches: dict[LogName, Touch] = {}

    @property
    def newest(self) -> Cursor:
        """The newest block that is known by its hash."""
        block = next(reversed(self._blocks))
        return Cursor(block, self._blocks[block])

    @property
    def first_to_scan(self) -> int:
        """The block from which logs are to be asked for next."""
        return max(self._scanned + 1 - OVERLAP, 0)

    def blocks_down_from(self, block: int) -> Iterator[Cursor]:
        """The blocks known by their hashes, this one or older, newest first."""
        return (Cursor(*each) for each in reversed(self._blocks.items()) if each[0] <= block)

    def changed(self, first: int, last: int, found: Mapping[LogName, Touch]) -> list[SessionKey]:
        """The sessions that logs of these blocks, both included, tell of now and did not before, or the other way."""
        before = {name: touch for name, touch in self._touches.items() if first <= touch.block <= last}
        changed = [touch.key for name, touch in found.items() if name not in before]
        changed += [touch.key for name, touch in before.items() if name not in found]
        return list(dict.fromkeys(changed))

    def scanned(self, first: int, last: int, found: Mapping[LogName, Touch]) -> None:
        """These are the logs of these blocks, and what they tell of has been seen to."""
        self._touches = {
            name: touch for name, touch in self._touches.items() if not first <= touch.block <= last
        } | dict(found)
        self._scanned = max(self._scanned, last)

    def reached(self, head: Cursor) -> None:
        """All up to this block has been scanned."""
        self._blocks.pop(head.block, None)
        self._blocks[head.block] = head.block_hash
        while len(self._blocks) > _MOST_BLOCKS_KEPT:
            del self._blocks[next(iter(self._blocks))]
        oldest = min(next(iter(self._blocks)), self.first_to_scan)
        self._touches = {name: touch for name, touch in self._touches.items() if touch.block >= oldest}

    def touched_after(self, block: int) -> list[SessionKey]:
        """The sessions that logs of later blocks told of."""
        return list(dict.fromkeys(touch.key for touch in self._touches.values() if touch.block > block))

    def cut(self, block: int) -> None:
        """Later blocks are not of the chain any more."""
        self._blocks = {number: block_hash for number, block_hash in self._blocks.items() if number <= block}
        self._touches = {name: touch for name, touch in self._touches.items() if touch.block <= block}
        self._scanned = min(self._scanned, block)
