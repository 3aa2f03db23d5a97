"""Configurations that are read more than once within one judgement: reviewed, brought into force, told.

Reading one is pure and depends on its bytes alone, so that the last few readings are kept. Both kinds of memory are
bounded in entries, and so in bytes: a configuration is not longer than the call data it came in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

_R = TypeVar("_R")
_SMALL: Final = 4_096
_MANY: Final = 256
_FEW: Final = 32


def remembering(read: Callable[[bytes], _R]) -> Callable[[bytes], _R]:
    """The same reading, done anew only for bytes that were not read lately."""
    small, large = lru_cache(_MANY)(read), lru_cache(_FEW)(read)

    def remembered(data: bytes) -> _R:
        return small(data) if len(data) <= _SMALL else large(data)

    return remembered
