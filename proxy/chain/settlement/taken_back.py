"""What a chain takes back may be much: it comes back a piece after the other, and is told of in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from proxy.chain.settlement.ends import weight_of
from proxy.chain.settlement.slices import MOST_ENDS
from proxy.ledger.operations import Ended
from proxy.userop.primitives import Hash32, print_bytes

_LOG: Final = logging.getLogger(__name__)
_HASHES_SHOWN: Final = 5


def in_pieces(back: Iterable[Ended]) -> Iterator[list[Ended]]:
    """As much of it at a time as ends in one piece of work."""
    weight, piece = 0, list[Ended]()
    for ended in back:
        piece.append(ended)
        weight += weight_of(ended)
        if weight >= MOST_ENDS:
            yield piece
            weight, piece = 0, []
    if piece:
        yield piece


def tell_of(revived: Sequence[Hash32]) -> None:
    """However many they are."""
    if revived:
        shown = ", ".join(map(print_bytes, revived[:_HASHES_SHOWN]))
        more = ", ..." if len(revived) > _HASHES_SHOWN else ""
        _LOG.warning("%d operations are in flight again, their blocks are gone: %s%s", len(revived), shown, more)
