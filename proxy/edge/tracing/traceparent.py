"""The one header of W3C Trace Context that is read, and written: `traceparent`. Pure.

`tracestate` and `baggage` are a caller's words to its own systems: they are not read, and go nowhere.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_VERSION_00: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_LATER: Final = re.compile(r"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_SAMPLED: Final = 0x01
_LONGEST: Final = 128


class TraceParent(NamedTuple):
    """Where in whose trace a request stands; neither id is zero."""

    trace_id: int  # 128 bits
    span_id: int  # 64 bits
    sampled: bool


def read_traceparent(text: str | None) -> TraceParent | None:
    """The header's meaning; `None` where there is none, or it is not exactly what the standard says (§3.2.2)."""
    if text is None or len(text) > _LONGEST:
        return None
    found = _VERSION_00.fullmatch(text) or _LATER.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(flags & _SAMPLED))


def print_traceparent(parent: TraceParent) -> str:
    """The header."""
    return f"00-{parent.trace_id:032x}-{parent.span_id:016x}-{int(parent.sampled):02x}"
