"""Moments as people write them: 2h ago, a date, a date and a time, unix seconds."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

_AGO: Final = re.compile(r"(\d{1,9})([smhdw])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,9})?\Z")
_MILLISECONDS_FROM: Final = 10**11  # as seconds this is the year 5138

HOW: Final = "write 15m, 2h, 7d or 2w for so long ago, a date (2026-11-27, UTC), 2026-11-27T14:00Z, or unix seconds"


def read_moment(text: str, now: float) -> float:
    """The moment in unix seconds; a time without an offset is UTC. Raises `ValueError` that says how to write it."""
    if (match := _AGO.match(text)) is not None:
        return now - int(match[1]) * _SECONDS[match[2]]
    if text == "now":
        return now
    if _NUMBER.match(text) is not None and text.isascii():
        seconds = float(text)
        if seconds >= _MILLISECONDS_FROM:
            raise ValueError(f"that looks like milliseconds; write seconds: {int(seconds) // 1000}")
        return seconds
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(HOW) from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(HOW)
    return seconds
