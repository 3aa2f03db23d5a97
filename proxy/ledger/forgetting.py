"""Much that is let go of is let go of a part after the other: nobody waits for all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Final, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")
_AT_ONCE: Final = 2_000


def in_parts(many: Sequence[_K], length: int) -> Iterator[Sequence[_K]]:
    """Parts of such a length, in order; the last one is shorter."""
    return (many[start : start + length] for start in range(0, len(many), length))


def let_go(kept: MutableMapping[_K, _V], is_wanted: Callable[[_K], bool]) -> Iterator[None]:
    """Drop what is not wanted of what is kept now; others may have their turn after each part of it."""
    for some in in_parts(list(kept), _AT_ONCE):
        for key in some:
            if not is_wanted(key):
                kept.pop(key, None)
        yield
