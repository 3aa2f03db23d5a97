"""Blocks as they are read and settled together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Final

from proxy.chain.blocks.header import Header
from proxy.chain.settlement.slices import MOST_ENDS, ChainEvent, OperationMined

_block_of: Final = attrgetter("place.block")


def stretches(headers: Sequence[Header], events: Sequence[ChainEvent]) -> Iterator[Sequence[Header]]:
    """The blocks in stretches, each of one block or of no more operations than one transaction takes."""
    if len(headers) == 1:
        yield headers  # nearly always
        return
    ends = Counter(event.place.block for event in events if isinstance(event, OperationMined))
    begun, held = 0, 0
    for index, header in enumerate(headers):
        if index > begun and held + ends[header.number] > MOST_ENDS:
            yield headers[begun:index]
            begun, held = index, 0
        held += ends[header.number]
    yield headers[begun:]


def events_of(events: Sequence[ChainEvent], first: int, last: int) -> tuple[ChainEvent, ...]:
    """Those of the blocks from `first` to `last`, of events in chain order."""
    return tuple(events[bisect_left(events, first, key=_block_of) : bisect_right(events, last, key=_block_of)])


def is_linked(headers: Sequence[Header]) -> bool:
    """Whether each stands on the one before."""
    return all(child.parent == parent.hash for parent, child in pairwise(headers))
