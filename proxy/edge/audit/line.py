"""Between a gate and the process that writes its trail: whole messages of plain values, one after the other."""

from __future__ import annotations

import marshal
import select
import socket
import struct
import threading
from typing import Any, Final, NamedTuple

_LENGTH: Final = struct.Struct("<Q")
_CHUNK: Final = 1 << 20
PLAINLY: Final = 2
"""The form of marshal's in which nothing that was said before is referred to: of short values, many times as many as
large ones, it takes less to say it again than to look for it."""
_TUPLE: Final = struct.Struct("<ci")
_OF_TUPLE: Final = b"("
BATCH_HEAD: Final = _TUPLE.size
"""Bytes before the first value of a batch."""


def pack(value: Any) -> bytes:
    """A plain value as bytes. Raises `ValueError` for what is none."""
    return marshal.dumps(value, PLAINLY)


def unpack(data: bytes | memoryview) -> Any:
    """The value again. Only for bytes that `pack` made, in a process of the same interpreter."""
    return marshal.loads(data)  # noqa: S302  # the other end is the gate that started this process, on a socket pair


class NoteBatch(NamedTuple):
    """Records to be, one number after the other. The first `size` bytes of `buffer` are what happened, as a tuple of
    plain values that is packed: behind its head stands each as `pack` makes it."""

    first: int
    records: int
    buffer: bytearray
    size: int

    @property
    def packed(self) -> memoryview:
        """Those bytes."""
        return memoryview(self.buffer)[: self.size]


def batch_of(first: int, records: int, buffer: bytearray, size: int) -> NoteBatch:
    """The batch of so many values, packed in `buffer` from `BATCH_HEAD` on: the head is written."""
    _TUPLE.pack_into(buffer, 0, _OF_TUPLE, records)
    return NoteBatch(first, records, buffer, size)


class SilentError(Exception):
    """Nothing came for a while; the other end may still be there."""


class PlainLine:
    """One end of a socket pair. Any thread may send, one at a time receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._waiting = bytearray()
        self._begin = 0  # of what of it was not taken yet

    def send(self, *message: object, after: memoryview | None = None) -> None:
        """Send one message, and what comes after it from where it is. Raises `OSError` when nobody is there any
        more."""
        packed = pack(message)
        with self._sending:
            self._end.sendall(_LENGTH.pack(len(packed)) + packed)
            if after is not None:
                self._end.sendall(after)

    def give_up_after(self, seconds: int) -> None:
        """Have `receive` raise `SilentError` when nothing comes for so long."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; `None` when the other end is gone. Raises `SilentError`."""
        if (head := self.receive_bytes(_LENGTH.size)) is None:
            return None
        if (data := self.receive_bytes(*_LENGTH.unpack(head))) is None:
            return None
        message: tuple[Any, ...] = unpack(data)
        return message

    def is_spoken(self, seconds: float) -> bool:
        """Whether there is anything to receive, the end of it included, waiting so long."""
        if self._waiting:
            return True
        poll = select.poll()  # not select(), which takes no descriptor above 1,023: a busy gate has thousands
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(seconds * 1_000))

    def is_cut(self) -> bool:
        """Whether the other end is gone, however much of what it said is still to be received."""
        poll = select.poll()
        poll.register(self._end, 0)  # nothing but that it has hung up
        return bool(poll.poll(0))

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def receive_bytes(self, size: int) -> bytes | None:
        """What comes after a message; `None` when the other end is gone. Raises `SilentError`."""
        while len(self._waiting) - self._begin < size:
            del self._waiting[: self._begin]
            self._begin = 0
            try:
                found = self._end.recv(_CHUNK)
            except BlockingIOError:
                raise SilentError from None
            except ConnectionError:
                return None
            if not found:
                return None
            self._waiting += found
        end = self._begin + size
        taken = bytes(memoryview(self._waiting)[self._begin : end])
        self._begin = end
        if end == len(self._waiting):
            self._waiting, self._begin = bytearray(), 0
        return taken
