"""Which block stands on which: that a reading has in it what an earlier block did is proven by the hashes that name
parents, whoever told of them.

What a node has for a number now says nothing of the block that was read a while ago: the chain may have moved in
between, and one of several nodes may be on another branch.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from proxy.chain.blocks.header import Header
from proxy.chain.settlement.slices import BlockName
from proxy.userop.primitives import Hash32

_KEPT: Final = 1_024


class Headers(Protocol):
    """A node, as far as it is asked here."""

    async def headers(self, numbers: range) -> tuple[Header | None, ...]:
        """The blocks of these numbers, in order; `None` for one that it has not got. Raises `StateUnavailable`."""


class Lineage:
    """The parents of the blocks that were asked for last; a look-up takes as many steps as blocks lie between."""

    def __init__(self) -> None:
        self._parents: OrderedDict[Hash32, Hash32] = OrderedDict()

    def learn(self, block: Hash32, parent: Hash32) -> None:
        """The one names the other as the block that it stands on."""
        self._parents[block] = parent
        self._parents.move_to_end(block)
        if len(self._parents) > _KEPT:
            self._parents.popitem(last=False)

    def ancestor(self, block: BlockName, number: int) -> Hash32 | None:
        """The hash of the block of this number, not above `block`, that it stands on; `None` where that is not
        known."""
        known = self._known(block, number)
        return known.hash if known.number == number else None

    async def trace(self, node: Headers, block: BlockName, number: int) -> None:
        """Know it, as far as the node shows that. Raises `StateUnavailable`."""
        known = self._known(block, number)
        if known.number > number:
            for header in await node.headers(range(number + 1, known.number + 1)):
                if header is not None:
                    self.learn(header.hash, header.parent)

    def _known(self, block: BlockName, number: int) -> BlockName:
        """The oldest block from this number on that it is known to stand on."""
        at, name = block
        while at > number and (parent := self._parents.get(name)) is not None:
            at, name = at - 1, parent
        return BlockName(at, name)
