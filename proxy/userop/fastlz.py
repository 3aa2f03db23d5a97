"""FastLZ level 1, the compression of enable signatures (Solady LibZip.flzDecompress).

The decompressor on chain never checks its stream: it reads past the end and before the start, where memory happens
to hold zeros. Here both are refused, and so is output without end: three bytes of stream can grow to 264.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import Undecodable
from proxy.userop.budget import Budget

OUTPUT_LIMIT: Final = 65536
"""Bytes an enable signature may inflate to; the largest SDK-built one seen has a few thousand."""

_WHERE: Final = "signature"
_LITERAL_RUN: Final = 32
_LONGEST_COPY: Final = 264
_PIECES: Final = 16
"""So many pieces of a stream are paid for at once, and counted as so many where there are fewer."""


def inflate(stream: bytes, budget: Budget | None = None, *, limit: int = OUTPUT_LIMIT) -> bytes:
    """The plain bytes of a stream. Raises `Undecodable` for a broken stream or more than `limit` bytes of output, and
    `Overspent` for one of more pieces than `budget` pays for."""
    if len(stream) > limit + limit // _LITERAL_RUN + 1:
        raise Undecodable(_WHERE, "compressed data is longer than is read at once")
    out = bytearray()
    at = 0
    while at < len(stream):
        if budget is not None:
            budget.draw(_PIECES)
        at = _inflate_some(stream, at, out)
        if len(out) > limit:
            raise Undecodable(_WHERE, f"compressed data inflates to more than {limit} bytes")
    return bytes(out)


def _inflate_some(stream: bytes, at: int, out: bytearray) -> int:
    """Append the next `_PIECES` from `at` on. Where those after them begin. Raises `Undecodable`."""
    end = len(stream)
    for _ in range(_PIECES):
        control = stream[at]
        kind = control >> 5
        if kind == 0:
            start = at + 1
            at = start + control + 1
            if at > end:
                raise Undecodable(_WHERE, "compressed data ends inside a literal run")
            out += stream[start:at]
        else:
            size = 3 if kind == 7 else 2
            if at + size > end:
                raise Undecodable(_WHERE, "compressed data ends inside a back reference")
            length = stream[at + 1] + 9 if kind == 7 else kind + 2
            distance = ((control & 31) << 8 | stream[at + size - 1]) + 1
            start = len(out) - distance
            if start < 0:
                raise Undecodable(_WHERE, "compressed data refers to bytes before its start")
            chunk = out[start : start + length]
            if distance < length:  # the copy overlaps itself: the bytes repeat
                chunk = (chunk * (length // distance + 1))[:length]
            at += size
            out += chunk
        if at == end:
            break
    return at


def deflate(data: bytes) -> bytes:
    """A stream that inflates to `data`: shorter where three bytes repeat within the last 8192."""
    out, literals = bytearray(), bytearray()
    last_seen: dict[bytes, int] = {}
    at = 0
    while at < len(data):
        start = last_seen.get(data[at : at + 3], -1) if at + 3 <= len(data) else -1
        last_seen[data[at : at + 3]] = at
        if start < 0 or at - start > 8192:
            literals.append(data[at])
            at += 1
            continue
        length = 3
        while length < _LONGEST_COPY and at + length < len(data) and data[start + length] == data[at + length]:
            length += 1
        _flush(out, literals)
        distance = at - start - 1
        if length < 9:
            out += bytes(((length - 2) << 5 | distance >> 8, distance & 255))
        else:
            out += bytes((7 << 5 | distance >> 8, length - 9, distance & 255))
        at += length
    _flush(out, literals)
    return bytes(out)


def _flush(out: bytearray, literals: bytearray) -> None:
    for at in range(0, len(literals), _LITERAL_RUN):
        run = literals[at : at + _LITERAL_RUN]
        out.append(len(run) - 1)
        out += run
    literals.clear()
