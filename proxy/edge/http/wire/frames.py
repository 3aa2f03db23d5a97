"""Where a WebSocket stands among the frames that come, told by their heads alone (RFC 6455 §5.2)."""

from __future__ import annotations

from typing import Final

MOST_PIECES: Final = 4096
"""Frames that one message may come in, as the chunks of a body: of one byte each they would cost more than they
carry."""
MOST_AT_ONCE: Final = 8192
"""Frames that may end in one read: the shortest requests there are, one after the other, are half as many."""

_CONTROL: Final = 0x08
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_TWO_BYTES: Final = 126
_MASK_BYTES: Final = 4


class TooManyFramesError(Exception):
    """More frames have come than what they carry can be worth."""


class FrameMarks:
    """Feed it what arrives; it looks at the heads of frames, and keeps no byte of what they carry."""

    __slots__ = ("_head", "_is_open", "_left", "_pieces", "was_between")

    def __init__(self) -> None:
        self._head = b""  # of a frame, as far as it has come
        self._left = 0  # bytes of a frame's payload that have not come
        self._is_open = False  # more frames of a message are to come
        self._pieces = 0
        self.was_between = True
        """Whether, since the last read, nothing was begun for a moment: what is begun now is new."""

    @property
    def is_within(self) -> bool:
        """Whether a frame or a message has begun and is not whole."""
        return self._is_open or self._left > 0 or bool(self._head)

    def feed(self, data: bytes) -> None:
        """More has come. Raises `TooManyFramesError`; then no more can be told."""
        self.was_between = not self.is_within
        length = len(data)
        if self._left > length:
            self._left -= length
            return
        at = self._left
        if at and not self._is_open:
            self.was_between = True
        if self._head:
            data = self._head + data
            length = len(data)
        most = MOST_AT_ONCE
        while (payload := self._read_head(data, at)) is not None:
            start, size = payload
            most -= 1
            if most < 0:
                raise TooManyFramesError
            at = start + size
            if at > length:
                self._head, self._left = b"", at - length
                return
            if not self._is_open:
                self.was_between = True
        self._head, self._left = data[at:], 0

    def _read_head(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Where the payload of the frame that begins here begins, and its size; `None` while its head is not whole."""
        start = at + 2
        if start > len(data):
            return None
        first, second = data[at], data[at + 1]
        size = second & _LENGTH
        if size >= _TWO_BYTES:
            digits = 2 if size == _TWO_BYTES else 8
            size = int.from_bytes(data[start : start + digits])
            start += digits
        if second & _MASKED:
            start += _MASK_BYTES
        if start > len(data):
            return None
        if not first & _CONTROL:
            self._is_open = not first & _FINAL
            self._pieces = self._pieces + 1 if self._is_open else 0
            if self._pieces > MOST_PIECES:
                raise TooManyFramesError
        return start, size
