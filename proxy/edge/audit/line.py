"""Between a gate and the process that writes its trail: whole messages of plain values, one after the other."""

from __future__ import annotations

import marshal
import select
import socket
import struct
import threading
from array import array
from collections.abc import Sequence
from typing import Any, Final

_LENGTH: Final = struct.Struct("<Q")
_CHUNK: Final = 1 << 20
_MOST_PARTS: Final = 1_024
"""So many pieces of memory are sent by one call of the system."""
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


class SilentError(Exception):
    """Nothing came for a while; the other end may still be there."""


class PlainLine:
    """One end of a socket pair. Any thread may send, one at a time receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._waiting = bytearray()
        self._begin = 0  # of what of it was not taken yet

    def send(self, *message: object) -> None:
        """Send one message. Raises `OSError` when nobody is there any more."""
        self._send([pack(message)])

    def send_notes(self, *message: object, notes: Sequence[Note]) -> None:
        """Send one message that ends with these notes, from where they are. Raises `OSError` likewise."""
        lengths = array("I", map(len, notes)).tobytes()
        self._send([pack((*message, lengths)), *notes])

    def _send(self, parts: Sequence[bytes]) -> None:
        parts = [_LENGTH.pack(len(parts[0])), *parts]
        with self._sending:
            for first in range(0, len(parts), _MOST_PARTS):
                some = parts[first : first + _MOST_PARTS]
                left = sum(map(len, some)) - self._end.sendmsg(some)
                if left:
                    self._end.sendall(b"".join(some)[-left:])

    def give_up_after(self, seconds: int) -> None:
        """Have `receive` raise `SilentError` when nothing comes for so long."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; `None` when the other end is gone. Raises `SilentError`."""
        if (head := self._take(_LENGTH.size)) is None or (data := self._take(*_LENGTH.unpack(head))) is None:
            return None
        message: tuple[Any, ...] = unpack(data)
        return message

    def receive_notes(self, lengths: bytes) -> list[Note] | None:
        """The notes of a message that ended with their `lengths`; `None` when the other end is gone."""
        notes = []
        for length in array("I", lengths):
            if (note := self._take(length)) is None:
                return None
            notes.append(note)
        return notes

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
