"""Blocks as they are read and settled together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from proxy.chain.blocks.header import Header
from proxy.chain.settlement.slices import MOST_ENDS, ChainEvent, OperationMined


def stretches(headers: Sequence[Header], events: Sequence[ChainEvent]) -> Iterator[Sequence[Header]]:
    """The blocks in stretches, each of one block or of no more operations than one transaction takes."""
    ends = Counter(event.place.block for event in events if isinstance(event, OperationMined))
    begun, held = 0, 0
    for index, header in enumerate(headers):
        if index > begun and held + ends[header.number] > MOST_ENDS:
            yield headers[begun:index]
            begun, held = index, 0
        held += ends[header.number]
    yield headers[begun:]


def is_linked(headers: Sequence[Header]) -> bool:
    """Whether each stands on the one before."""
    return all(child.parent == parent.hash for parent, child in pairwise(headers))
