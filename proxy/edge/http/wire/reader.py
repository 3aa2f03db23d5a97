"""Bytes in, messages out: one message at a time, however the bytes were cut on their way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, Protocol, Self, TypeVar

from proxy.edge.http.wire.fields import CHUNKED, TOKEN, UNTIL_CLOSED, BrokenHttp, read_fields


class ReaderStage(Enum):
    """How far a reader has come with the bytes it has."""

    NOTHING = auto()  # not one byte of the next message is there
    HEAD = auto()  # some of its head
    BODY = auto()  # its whole head and not all of its body
    COMPLETE = auto()


class TooLongError(Exception):
    """A body is longer than is read. `length` is what its head declares, `None` where it declares nothing."""

    def __init__(self, length: int | None) -> None:
        super().__init__("a body too long to be read")
        self.length = length

    def words(self, limit: int) -> str:
        """What its sender is told."""
        said = f"{self.length} bytes" if self.length is not None else f"more than {limit} bytes"
        return f"body of {said}; at most {limit} are read"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBounds:
    """How much of one message is kept: bytes of its head, of its body, and pieces that the body may come in."""

    head_bytes: int = 16 * 1024
    body_bytes: int = 512 * 1024
    chunks: int = 4096  # of one byte each they would cost more than they carry


class HasLength(Protocol):
    """What a reader wants to know of a head."""

    @property
    def length(self) -> int:
        """Of the body: bytes, `CHUNKED` or `UNTIL_CLOSED`."""

    def of_length(self, length: int) -> Self:
        """The same head before a body of so many bytes."""


Head = TypeVar("Head", bound=HasLength)

_END_OF_HEAD: Final = b"\r\n\r\n"
_BLANK: Final = b"\r\n"
_NO_BEGINNING: Final = re.compile(rb"(?!" + TOKEN + rb"|\r\Z)")
_BARE_LINE_FEED: Final = re.compile(rb"(?<!\r)\n")
# chunk extensions are allowed for and mean nothing (RFC 9112 §7.1.1); without the white space that nobody sends
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION: Final = rb";" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:" + _EXTENSION + rb")*\r\n")
_LONGEST_CHUNK_LINE: Final = 256
# of a head that was read: there is one such line, and CRLF stands nowhere but at the ends of lines
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length:[\t ]*([0-9]{1,15})[\t ]*\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 15


_MOST_KNOWN: Final = 16
_MOST_KNOWN_BYTES: Final = 1024
"""So many heads that differ in their length alone are at hand for one connection, of no more bytes each; of longer
ones the last."""


class _KnownHead(Generic[Head]):
    """The head that was read last: what has the same bytes, but for the digits of its length, means the same.

    A length is all that those digits can say, so that nothing is read less strictly than the first time.
    """

    __slots__ = ("_after", "_before", "_digits", "_model", "_start", "at_hand", "raw")

    def __init__(self) -> None:
        self.raw = b""
        self.at_hand: dict[bytes, Head] = {}  # by their bytes
        self._model: Head | None = None
        self._before = self._after = b""
        self._digits = False  # without digits only the same bytes are known
        self._start = 0

    def find(self, raw: bytes) -> Head | None:
        """What these bytes mean, if that is known."""
        head = self.at_hand.get(raw)
        if head is None:
            head = self._of_another_length(raw)
            if head is None:
                return None
            self._keep(raw, head)
        self.raw = raw
        return head

    def _of_another_length(self, raw: bytes) -> Head | None:
        model = self._model
        if model is None or not self._digits or not (raw.startswith(self._before) and raw.endswith(self._after)):
            return None
        digits = raw[self._start : -len(self._after)]
        if not digits.isdigit() or len(digits) > _MOST_DIGITS or not (length := int(digits)):
            return None
        return model.of_length(length)

    def take(self, raw: bytes, head: Head) -> None:
        """These bytes were read, and mean this."""
        self.raw, self._model, self._digits = raw, head, False
        self.at_hand.clear()
        self._keep(raw, head)
        found = _LENGTH_LINE.search(raw)
        # a reply may have a length that is not that of its body
        if found is not None and head.length > 0 and head.length == int(found[1]):
            self._digits, self._start = True, found.start(1)
            self._before, self._after = raw[: found.start(1)], raw[found.end(1) :]

    def _keep(self, raw: bytes, head: Head) -> None:
        if len(self.at_hand) >= _MOST_KNOWN or len(raw) > _MOST_KNOWN_BYTES:
            self.at_hand.clear()
        self.at_hand[raw] = head


class MessageReader(Generic[Head]):
    """Feed it what arrives, then ask `advance` how far that goes; `take` the message once it is complete.

    The same head sent again on a connection means the same again: it is read once. What comes as one message in one
    piece, as nearly all do, is `whole` and need not be fed.
    """

    __slots__ = (
        "_at_hand",
        "_body",
        "_bounds",
        "_buffer",
        "_chunk_left",
        "_chunks",
        "_ended",
        "_head",
        "_known",
        "_most_bytes",
        "_read_head",
        "_searched",
        "_trailer",
    )

    def __init__(self, read_head: Callable[[bytes], Head], bounds: ReadBounds) -> None:
        self._read_head = read_head
        self._bounds = bounds
        self._buffer = bytearray()
        self._known: _KnownHead[Head] = _KnownHead()
        self._at_hand, self._most_bytes = self._known.at_hand, bounds.body_bytes  # for each message
        self._reset()

    def _reset(self) -> None:
        self._head: Head | None = None
        self._searched = 0
        self._body = bytearray()
        self._chunk_left = 0
        self._chunks = 0
        self._trailer = False
        self._ended = False

    @property
    def head(self) -> Head | None:
        """The head of the message being read, once it is whole."""
        return self._head

    @property
    def buffered(self) -> int:
        """Bytes that have arrived and belong to no message taken so far."""
        return len(self._buffer) + len(self._body)

    def whole(self, data: bytes) -> tuple[Head, bytes] | None:
        """The message that `data` is, under a head that is known, with nothing before it and nothing behind.

        `None` says nothing of them: then they have to be fed.
        """
        if self._buffer or self._head is not None:
            return None
        end = data.find(_END_OF_HEAD)
        raw = data[: end + 2]
        head = self._at_hand.get(raw)  # no head that was read is longer than one may be
        if head is None and (end < 0 or end > self._bounds.head_bytes or (head := self._known.find(raw)) is None):
            return None
        body = data[end + 4 :]
        if len(body) != head.length or head.length > self._most_bytes:
            return None
        return head, body

    def feed(self, data: bytes) -> None:
        """More bytes have arrived."""
        self._buffer += data

    def feed_end(self) -> None:
        """No more will arrive: what ends with its connection is complete."""
        self._ended = True

    def drop(self) -> None:
        """Let go of all that has arrived: nothing more is read."""
        self._buffer.clear()
        self._body = bytearray()

    def give_back(self) -> bytes:
        """The head of the message taken last, which had no body and was not `whole`, and all that has arrived behind
        it."""
        given = self._known.raw + _BLANK + bytes(self._buffer)
        self.drop()
        return given

    def advance(self) -> ReaderStage:
        """Read on as far as the bytes go. Raises `BrokenHttp`, `TooLongError`; then nothing more can be read."""
        head = self._head or self._find_head()
        if head is None:
            return ReaderStage.HEAD if self._buffer else ReaderStage.NOTHING
        length = head.length
        if length > self._bounds.body_bytes:
            raise TooLongError(length)
        if length >= 0:
            return ReaderStage.COMPLETE if len(self._buffer) >= length else ReaderStage.BODY
        if length == UNTIL_CLOSED:
            return self._until_closed()
        return ReaderStage.COMPLETE if self._read_chunks() else ReaderStage.BODY

    def take(self) -> tuple[Head, bytes]:
        """The message that `advance` called complete; the bytes behind it stay for the next one."""
        head = self._head
        assert head is not None, "only a complete message is taken"  # noqa: S101 - our own promise
        if head.length > 0:
            body = bytes(memoryview(self._buffer)[: head.length])
            del self._buffer[: head.length]
        else:
            body = bytes(self._body)
        self._head = None
        if head.length < 0:
            self._reset()
        return head, body

    def _find_head(self) -> Head | None:
        buffer = self._buffer
        while buffer.startswith(_BLANK):  # before a request line they mean nothing (RFC 9112 §2.2)
            del buffer[:2]
        end = buffer.find(_END_OF_HEAD, self._searched)
        if (len(buffer) if end < 0 else end) > self._bounds.head_bytes:
            raise BrokenHttp(f"a head of more than {self._bounds.head_bytes} bytes", 431)
        if end < 0:
            # what will never be a head need not be waited for
            if buffer and (_NO_BEGINNING.match(buffer) or _BARE_LINE_FEED.search(buffer, max(0, self._searched - 1))):
                raise BrokenHttp("not HTTP/1.1")
            self._searched = max(0, len(buffer) - 3)
            return None
        raw = bytes(memoryview(buffer)[: end + 2])
        head = self._known.find(raw)
        if head is None:
            head = self._read_head(raw)
            self._known.take(raw, head)
        self._head, self._searched = head, 0
        del buffer[: end + 4]
        return head

    def _until_closed(self) -> ReaderStage:
        self._body += self._buffer
        self._buffer.clear()
        if len(self._body) > self._bounds.body_bytes:
            raise TooLongError(None)
        return ReaderStage.COMPLETE if self._ended else ReaderStage.BODY

    def _read_chunks(self) -> bool:
        """Whether the last chunk and the trailer have arrived. What was read is let go of at once, in one piece."""
        position = 0
        try:
            while not self._trailer:
                if self._chunk_left:
                    position = self._read_chunk_data(position)
                    if self._chunk_left:
                        return False
                found = _CHUNK_LINE.match(self._buffer, position)
                if found is None:
                    self._refuse_chunk_line(position)
                    return False
                position = found.end()
                self._chunk_left = int(found[1], 16)
                self._trailer = self._chunk_left == 0
                self._chunks += 1
                if self._chunks > self._bounds.chunks:
                    problem = f"body in more than {self._bounds.chunks} chunks, the last and empty one among them"
                    raise BrokenHttp(problem, of_body=problem)
                if len(self._body) + self._chunk_left > self._bounds.body_bytes:
                    raise TooLongError(None)
                if self._chunk_left:
                    self._chunk_left += 2  # its CRLF
        finally:
            del self._buffer[:position]
        return self._read_trailer()

    def _read_chunk_data(self, position: int) -> int:
        there = min(self._chunk_left, len(self._buffer) - position)
        piece = memoryview(self._buffer)[position : position + there]
        ending = max(0, there - max(0, self._chunk_left - 2))  # how much of the CRLF has come
        data = there - ending
        rest = bytes(piece[data:])
        self._body += piece[:data]
        piece.release()
        expected = b"\r\n"[2 - self._chunk_left :] if self._chunk_left < 2 else b"\r\n"
        if rest != expected[:ending]:
            raise BrokenHttp("a chunk is longer or shorter than it says")
        self._chunk_left -= there
        return position + there

    def _refuse_chunk_line(self, position: int) -> None:
        rest = bytes(self._buffer[position : position + _LONGEST_CHUNK_LINE])
        whole = b"\n" in rest or len(rest) == _LONGEST_CHUNK_LINE
        if whole or re.fullmatch(rb"(?:[0-9A-Fa-f]{1,8}(?:;[\t -~\x80-\xff]*)?\r?)?", rest) is None:
            raise BrokenHttp("a chunk's size is malformed")

    def _read_trailer(self) -> bool:
        """Trailer fields are held to the same grammar, and mean nothing: what would say where the body ends is none."""
        buffer = self._buffer
        if buffer.startswith(_BLANK):
            del buffer[:2]
            return True
        end = buffer.find(_END_OF_HEAD)
        if (len(buffer) if end < 0 else end) > self._bounds.head_bytes:
            raise BrokenHttp(f"a trailer of more than {self._bounds.head_bytes} bytes", 431)
        if end < 0:
            return False
        fields = read_fields(bytes(buffer[: end + 2]), 0)
        if "Content-Length" in fields or "Transfer-Encoding" in fields:  # RFC 9110 §6.5.1
            raise BrokenHttp("a trailer that says how long the body is")
        del buffer[: end + 4]
        return True


__all__ = ["CHUNKED", "UNTIL_CLOSED", "MessageReader", "ReadBounds", "ReaderStage", "TooLongError"]
