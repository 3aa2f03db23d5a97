"""What a gate needs much memory for at times, it gives back to the system: answers of a node that come side by side,
the daybook of a gate that was killed, lists of a hundred thousand things.

glibc maps large pieces apart, and gives them back at once; but each that it has given back makes it take pieces of that
size for small ones from then on. They then stand in its heap among small things that stay, and tens of megabytes that
nobody uses are this process's for good. Where it is told once what is large, that stays so.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_LARGE: Final = 256 * 1024
"""Bytes; nothing that one operation needs is as large."""
_SPARE: Final = 8 * 1024 * 1024
"""Bytes at the end of the heap that are kept for what comes next: no operation makes the system give and take them."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Both as `malloc.h` has them."""


def give_back_what_is_large() -> None:
    """From now on, in this process. Another C library than glibc goes on as it does."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _SPARE)
