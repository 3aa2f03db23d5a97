"""Between a gate and the process that writes its trail: whole messages of plain values, one after the other."""

from __future__ import annotations

import marshal
import select
import socket
import struct
import threading
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final

_LENGTH: Final = struct.Struct("<Q")
_CHUNK: Final = 1 << 20
_WITHOUT_REFERENCES: Final = 2
"""The form of marshal's in which nothing that was said before is referred to: of short values, many times as many as
large ones, it takes less to say it again than to look for it."""


def pack(value: Any) -> bytes:
    """A plain value as bytes. Raises `ValueError` for what is none."""
    return marshal.dumps(value, _WITHOUT_REFERENCES)


def unpack(data: bytes) -> Any:
    """The value again. Only for bytes that `pack` made, in a process of the same interpreter."""
    return marshal.loads(data)  # noqa: S302  # the other end is the gate that started this process, on a socket pair


Told = tuple[int, tuple[Any, ...]]
"""One record to be: its number, and what happened as plain values."""

Note = bytes
"""One `Told`, packed."""


def join(notes: Sequence[Note]) -> tuple[bytes, bytes]:
    """Many of them for one message: how long each is, and one after the other."""
    return array("I", map(len, notes)).tobytes(), b"".join(notes)


def each_of(lengths: bytes, notes: bytes) -> Iterator[Note]:
    """The notes again."""
    end = 0
    for length in array("I", lengths):
        begin, end = end, end + length
        yield notes[begin:end]


class SilentError(Exception):
    """Nothing came for a while; the other end may still be there."""


class PlainLine:
    """One end of a socket pair. Any thread may send, one at a time receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._waiting = bytearray()

    def send(self, *message: object) -> None:
        """Send one message. Raises `OSError` when nobody is there any more."""
        data = pack(message)
        with self._sending:
            self._end.sendall(_LENGTH.pack(len(data)) + data)

    def give_up_after(self, seconds: int) -> None:
        """Have `receive` raise `SilentError` when nothing comes for so long."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; `None` when the other end is gone. Raises `SilentError`."""
        if (head := self._take(_LENGTH.size)) is None or (data := self._take(*_LENGTH.unpack(head))) is None:
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

    def _take(self, size: int) -> bytes | None:
        while len(self._waiting) < size:
            try:
                found = self._end.recv(_CHUNK)
            except BlockingIOError:
                raise SilentError from None
            except ConnectionError:
                return None
            if not found:
                return None
            self._waiting += found
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken
