"""JSON-RPC over WebSocket, on the path where it is served over POST: the same service, a message in place of a body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, hdrs, web

from proxy.edge.http.deadlines import Deadlines
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.inbound import InboundCall
from proxy.edge.http.intake import Intake, WaitingMessages
from proxy.edge.http.listener import ListenerSettings
from proxy.edge.http.messages import HttpAnswer, HttpRequest
from proxy.edge.http.parts import MessageParts
from proxy.edge.http.quiet_aiohttp import SERVER_NAME, QuietHandler
from proxy.edge.http.service import Line, Service
from proxy.errors import InvalidRequest

_HANDSHAKE_SECONDS: Final = 0.0005  # about what it takes to go on as a WebSocket
_HEARTBEAT_SECONDS: Final = 30.0
"""A caller that answers no ping for so long is gone."""

_TOLD_AHEAD: Final = 16
"""Messages of subscriptions that wait for a slow caller; beyond that it misses some."""

_PINGS_AT_ONCE: Final = 32
_PINGS_A_SECOND: Final = 4.0
"""Pings of one connection that are answered, and pongs that are borne. To go on and on is not to ask anything."""

_FRAME_BYTES: Final = 1024
"""A message may be longer by so much: the service says itself what is too long, and under which bound."""
_AT_ONCE: Final = 8
"""Messages of one connection that are answered at once; then it is read no further. In all they are no longer than one
body may be, so that a connection holds no more than one of HTTP does."""

_QUEUED_BYTES: Final = 512 * 1024
"""Past so much that waits in aiohttp's queue of one connection, it is read no more."""
_READ_BYTES: Final = 256 * 1024
"""What asyncio reads of a connection in one go."""

_NO_MORE: Final = b"this client may call no more"
_TOO_MUCH_WAITS: Final = (WSCloseCode.TRY_AGAIN_LATER, b"too much waits for answers: connections.max_waiting_bytes")


def most_held(max_bytes: int) -> int:
    """Bytes that one connection can have made the gate take in and keep, where a message may have `max_bytes`: those
    that are answered, one that waits for its place, one that overflowed the queue, and what was read with it."""
    return 3 * (max_bytes + _FRAME_BYTES) + _QUEUED_BYTES + _READ_BYTES


def wants_websocket(request: HttpRequest) -> bool:
    """Whether a request asks to go on as a WebSocket."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


def _refused(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    response = web.Response(status=status, body=body, headers=headers)
    response.headers[hdrs.SERVER] = SERVER_NAME
    response.force_close()  # what else comes on this connection is no WebSocket's, and was not read here
    return response


class _Feed:
    """What a connection is told beyond its answers. A caller that does not keep up is left, and one that may call no
    more is sent away in place of hearing more."""

    def __init__(
        self, socket: web.WebSocketResponse, line: Line, parts: MessageParts, *, stalled_seconds: float
    ) -> None:
        self._socket = socket
        self._line = line
        self._parts = parts
        self._stalled_seconds = stalled_seconds
        self._told: asyncio.Queue[bytes] = asyncio.Queue(_TOLD_AHEAD)
        self._then: list[Callable[[], object]] = []
        self._task: asyncio.Task[None] | None = None

    def tell(self, body: bytes) -> None:
        """See `FeedLine`."""
        try:
            self._told.put_nowait(body)
        except asyncio.QueueFull:  # it takes nothing: the sender that waits for it finds that out in time
            return
        if self._task is None:
            self._task = asyncio.create_task(self._send())

    def when_gone(self, then: Callable[[], object]) -> None:
        """See `FeedLine`."""
        self._then.append(then)

    async def end(self) -> None:
        """The connection has ended."""
        for then in self._then:
            then()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send(self) -> None:
        try:
            while True:
                body = await self._told.get()
                self._line.identify()
                async with asyncio.timeout(self._stalled_seconds):
                    await self._socket.send_str(body.decode())
        except InvalidRequest:
            self._parts.end(_NO_MORE)
        except TimeoutError:
            await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, drain=False)
        except ConnectionError:
            return  # whoever reads from it ends it


class _Places:
    """Where the messages of one connection are answered; see `_AT_ONCE`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._count = self._bytes = 0
        self._left = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait until there is room for one more of this size; by itself one may have any."""
        while self._count >= _AT_ONCE or (self._count and self._bytes + size > self._most_bytes):
            self._left.clear()
            await self._left.wait()
        self._count += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        """One has been answered."""
        self._count -= 1
        self._bytes -= size
        self._left.set()


class _Patience:
    """How many frames that ask nothing one connection may still send: a caller that only pings costs as much as one
    that asks, and nobody counts it."""

    def __init__(self, now: float) -> None:
        self._left, self._at = float(_PINGS_AT_ONCE), now

    def bears(self, now: float) -> bool:
        """Whether one more, at this time."""
        self._left, self._at = min(_PINGS_AT_ONCE, self._left + (now - self._at) * _PINGS_A_SECOND) - 1, now
        return self._left >= 0


class _Source:
    """See `MessageSource`."""

    def __init__(self, socket: web.WebSocketResponse, handler: QuietHandler, send_away: Callable[[], None]) -> None:
        self._socket = socket
        self.send_away = send_away
        self.hold_up, self.read_on, self._forget_rest = handler.hold_up, handler.read_on, handler.forget_rest

    def queued(self) -> int:
        return 0 if self._socket._reader is None else len(self._socket._reader._buffer)

    def let_go(self) -> None:
        self.hold_up()
        self._forget_rest()
        self._socket._parser = None
        if self._socket._reader is not None:
            self._socket._reader._buffer.clear()


class _Owed:
    """Answers that callers have not taken, of all connections: past `most` bytes whoever has owed the longest goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._of: dict[asyncio.Transport, int] = {}  # who has owed the longest first

    def add(self, transport: asyncio.Transport, size: int) -> None:
        """So much more is on its way."""
        self._of[transport] = self._of.get(transport, 0) + size
        self._bytes += size
        while self._bytes > self._most:
            longest = next(iter(self._of))
            self._bytes -= self._of.pop(longest)
            longest.abort()

    def taken(self, transport: asyncio.Transport, size: int) -> None:
        """So much of it is no more."""
        left = self._of.pop(transport, 0)
        self._bytes -= min(left, size)
        if left > size:
            self._of[transport] = left - size


class WebSockets:
    """Every WebSocket of one listener."""

    def __init__(self, service: Service, settings: ListenerSettings, intake: Intake) -> None:
        self._service = service
        self._settings = settings
        self._intake = intake
        self._open: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._owed = _Owed(settings.unread_bytes)
        self._coming: Deadlines[MessageParts] | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer messages until either side leaves. What may not call is answered over HTTP."""
        asked = HttpRequest(request.method, request.raw_path, request.headers, None, request.remote)
        self._service.turns.charge(self._service.household(asked), _HANDSHAKE_SECONDS)
        opened = self._service.open(asked)
        if isinstance(opened, HttpAnswer):
            return _refused(opened.status, opened.body, opened.headers)
        if len(self._open) >= max(1, self._settings.connections // 2):
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, b"too many WebSockets\n", {})
        socket = web.WebSocketResponse(
            max_msg_size=self._service.settings.limits.max_bytes + _FRAME_BYTES,
            heartbeat=_HEARTBEAT_SECONDS,
            autoping=False,  # it answers any number in one go, and lets nobody on meanwhile
            compress=False,
        )
        socket.headers[hdrs.SERVER] = SERVER_NAME
        transport, handler = request.transport, request.protocol
        if transport is None or not isinstance(handler, QuietHandler):
            return _refused(HTTPStatus.BAD_REQUEST, b"no WebSocket handshake\n", {})  # it has left already
        waiting = WaitingMessages(
            self._intake, _Source(socket, handler, partial(self._send_away, socket, transport, *_TOO_MUCH_WAITS))
        )
        parts = MessageParts(self._coming_in(), waiting, partial(self._send_away, socket, transport))
        handler.arrived = parts.came
        try:
            await socket.prepare(request)
            self._open[socket] = transport
            await self._serve(socket, opened, parts)
        except web.HTTPException as error:  # no handshake of a WebSocket
            return _refused(error.status, b"no WebSocket handshake\n", {})
        finally:
            self._open.pop(socket, None)
            parts.gone()
            handler.arrived = None
        return socket

    async def close(self) -> None:
        """Tell every caller that the gate goes away."""
        await asyncio.gather(*[socket.close(code=WSCloseCode.GOING_AWAY) for socket in self._open])
        await asyncio.gather(*self._leaving)
        if self._coming is not None:
            self._coming.close()

    def _coming_in(self) -> Deadlines[MessageParts]:
        if self._coming is None:  # made in the loop that serves
            loop = asyncio.get_running_loop()
            self._coming = Deadlines(loop, self._settings.body_seconds, MessageParts.late)
        return self._coming

    def _send_away(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, code: WSCloseCode, reason: bytes
    ) -> None:
        task = asyncio.create_task(self._shut_out(socket, transport, code, reason))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _serve(self, socket: web.WebSocketResponse, line: Line, parts: MessageParts) -> None:
        feed = _Feed(socket, line, parts, stalled_seconds=self._settings.stalled_seconds)
        try:
            await self._serve_messages(socket, line, feed, parts)
        except* ConnectionError:  # it has left while it was written to
            HTTP_LOG.info("a WebSocket broke off")
        finally:
            await feed.end()

    async def _serve_messages(
        self, socket: web.WebSocketResponse, line: Line, feed: _Feed, parts: MessageParts
    ) -> None:
        waiting = parts.waiting
        places, clock = _Places(self._service.settings.limits.max_bytes), asyncio.get_running_loop().time
        patience = _Patience(clock())

        def leave(size: int, _task: object) -> None:
            places.leave(size)
            parts.answered(size)

        async def shut_out(code: WSCloseCode, reason: bytes = b"") -> None:
            waiting.end()
            await self._shut_out(socket, self._open[socket], code, reason)

        async with asyncio.TaskGroup() as answering:
            async for message in socket:
                if waiting.is_over():
                    return
                if message.type in (WSMsgType.PING, WSMsgType.PONG):
                    waiting.taken(len(message.data))
                    if not patience.bears(clock()):
                        await shut_out(WSCloseCode.POLICY_VIOLATION, b"too many pings")
                        return
                    if message.type is WSMsgType.PING:
                        await socket.pong(message.data)
                    waiting.answered(len(message.data))
                    continue
                if message.type is not WSMsgType.TEXT:
                    await shut_out(WSCloseCode.UNSUPPORTED_DATA)
                    return
                body = message.data.encode()
                waiting.taken(len(body))
                await places.take(len(body))
                if waiting.is_over():
                    return
                try:
                    call = line.call(feed)
                except InvalidRequest:
                    await shut_out(WSCloseCode.POLICY_VIOLATION, _NO_MORE)
                    return
                task = answering.create_task(self._answer(socket, call, body))
                task.add_done_callback(partial(leave, len(body)))

    async def _shut_out(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, code: WSCloseCode, reason: bytes = b""
    ) -> None:
        """Tell a caller why it has to go, and read no more of it: aiohttp would, for ten seconds, whatever it sends."""
        transport.pause_reading()
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(self._settings.linger_seconds):
                await socket.send_frame(code.to_bytes(2, "big") + reason, WSMsgType.CLOSE)
                await asyncio.Event().wait()  # a reset would eat what it was told
        transport.abort()
        if socket._reader is not None:
            socket._reader.feed_eof()  # whoever waits for its next message: what was read of it was let go

    async def _answer(self, socket: web.WebSocketResponse, call: InboundCall, body: bytes) -> None:
        try:
            answer = await call.answer(body)
        except Exception:  # a promise of ours is broken: nothing of it is told
            HTTP_LOG.exception("a request failed")
            await socket.close(code=WSCloseCode.INTERNAL_ERROR)
            return
        finally:
            call.end()
        if socket.closed:
            call.nobody_waited()
        elif answer.body:
            await self._send(socket, call, answer.body)

    async def _send(self, socket: web.WebSocketResponse, call: InboundCall, body: bytes) -> None:
        transport = self._open[socket]
        self._owed.add(transport, len(body))
        try:
            async with asyncio.timeout(self._settings.stalled_seconds):
                await socket.send_frame(body, WSMsgType.TEXT)
        except TimeoutError:  # it takes nothing: what it is owed would only grow
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, drain=False)
        except ConnectionError:
            call.nobody_waited()
        finally:
            self._owed.taken(transport, len(body))
