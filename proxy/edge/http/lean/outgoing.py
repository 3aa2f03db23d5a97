"""One connection to a bundler: one question at a time."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import TYPE_CHECKING, Final, cast

from proxy.edge.http.client import Heard, HttpReply, NoReplyError, broken_off, too_late, too_long
from proxy.edge.http.wire.fields import BrokenHttp
from proxy.edge.http.wire.heads import ReplyHead, read_reply_head
from proxy.edge.http.wire.reader import MessageReader, ReadBounds, ReaderStage, TooLongError

if TYPE_CHECKING:
    from proxy.edge.http.deadlines import Deadlines
    from proxy.edge.http.lean.pool import BundlerAddress, Pool

_SWITCHING: Final = 101
_FINAL: Final = 200
_HEAD_BYTES: Final = 64 * 1024
_CHUNKS: Final = 65_536
_AUTOMATIC: Final = 32 + zlib.MAX_WBITS  # gzip or zlib, whichever it is
_KEEP_ALIVE: Final = re.compile(r"timeout=([0-9]{1,6})(?![0-9])", re.IGNORECASE)


class BundlerConnection(asyncio.Protocol):
    """Opened by a pool, which is told when it is free again and when it is gone."""

    __slots__ = ("_deadlines", "_heard", "_pool", "_reader", "_transport", "good_until", "place", "rests_since")

    def __init__(self, pool: Pool, place: BundlerAddress) -> None:
        self._pool = pool
        self._reader = _new_reader(pool.settings.max_reply_bytes)
        self._transport: asyncio.Transport | None = None
        self._heard: Heard | None = None
        self._deadlines: Deadlines[BundlerConnection] | None = None  # of the question that was asked
        self.place = place
        self.good_until: float | None = None  # by the loop's clock; the bundler has said so
        self.rests_since = 0.0  # likewise; while it is idle

    def ask(self, request: bytes, heard: Heard, deadlines: Deadlines[BundlerConnection]) -> None:
        """Send a whole request. `heard` is told of the reply, or of what came in its place, within time; of nothing
        where this raises."""
        assert self._transport is not None  # noqa: S101 - only what is open is asked
        self._heard, self._deadlines = heard, deadlines
        try:
            deadlines.start(self)
            self._transport.write(request)
        except BaseException:  # and it is raised again
            self._ended()
            self.abort()
            raise

    def is_usable(self) -> bool:
        """Whether another question may be put, as far as this side knows."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Break it off."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """The answer has taken too long."""
        self._fail(too_late(0.0 if self._deadlines is None else self._deadlines.seconds, self._status))

    # --- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._heard is None:  # it was asked nothing: whatever this answers, it is no answer to the next question
            self.abort()
            return
        if (whole := self._reader.whole(data)) is not None:
            head, body = whole
            if head.plain:  # nearly always
                heard, self._heard = self._heard, None
                if self._deadlines is not None:
                    self._deadlines.stop(self)
                try:
                    self._pool.free(self)
                finally:
                    heard(HttpReply(_FINAL, body))
                return
            if head.status >= _FINAL:
                self._answer(head, body)
                return
        self._reader.feed(data)
        self._read_on()

    def eof_received(self) -> None:
        if self._heard is not None:
            self._reader.feed_end()
            self._read_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        try:
            self._fail(broken_off(self._status))
        finally:
            self._pool.gone(self)

    # ---

    @property
    def _status(self) -> int | None:
        head = self._reader.head
        return None if head is None else head.status

    def _read_on(self) -> None:
        try:
            while self._reader.advance() is ReaderStage.COMPLETE:
                head, body = self._reader.take()
                if head.status == _SWITCHING:
                    raise BrokenHttp("nobody asked for another protocol")
                if head.status >= _FINAL:
                    self._answer(head, body)
                    return
        except TooLongError:
            self._fail(too_long(self._pool.settings.max_reply_bytes, self._status))
        except BrokenHttp:
            self._fail(broken_off(self._status))

    def _answer(self, head: ReplyHead, body: bytes) -> None:
        try:
            if "Content-Encoding" in head.fields:
                body = _uncompressed(head, body, self._pool.settings.max_reply_bytes)
        except NoReplyError as failure:
            self._fail(failure)
            return
        heard = self._ended()
        try:
            if head.last or self._reader.buffered:
                self.abort()
            else:
                hint = head.fields.get("Keep-Alive")
                if hint is not None and (found := _KEEP_ALIVE.search(hint)) is not None:
                    self.good_until = self._pool.now() + int(found[1]) - 1  # the answer was on its way for some time
                self._pool.free(self)
        finally:
            if heard is not None:
                heard(HttpReply(head.status, body))

    def _fail(self, failure: NoReplyError) -> None:
        heard = self._ended()
        try:
            self.abort()
        finally:
            if heard is not None:
                heard(failure)

    def _ended(self) -> Heard | None:
        """The question has ended, and with it its time: the next one has its own. Who has asked it."""
        heard, self._heard = self._heard, None
        if self._deadlines is not None:
            self._deadlines.stop(self)
        return heard


def _new_reader(max_reply_bytes: int) -> MessageReader[ReplyHead]:
    bounds = ReadBounds(head_bytes=_HEAD_BYTES, body_bytes=max_reply_bytes, chunks=_CHUNKS)
    return MessageReader(read_reply_head, bounds)


def _uncompressed(head: ReplyHead, body: bytes, limit: int) -> bytes:
    """What a bundler compressed although nobody asked. Raises `NoReplyError`."""
    coding = head.fields.get("Content-Encoding", "identity").lower()
    if coding == "identity" or not body:
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise broken_off(head.status)
    inflater = zlib.decompressobj(_AUTOMATIC)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise broken_off(head.status) from None
    if len(plain) > limit:
        raise too_long(limit, head.status)
    if not inflater.eof:
        raise broken_off(head.status)
    return plain
