"""What asks a bundler over a WebSocket: one connection a URL, questions side by side, answers told apart by id."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWebSocketResponse, TCPConnector, WSMsgType
from yarl import URL

from proxy.edge.http.client import (
    ClientSettings,
    HttpClient,
    HttpLine,
    HttpReply,
    NoneFreeError,
    NoReplyError,
    UnreachedError,
    WaitingLine,
    broken_off,
    too_late,
    too_long,
)

SOCKET_SCHEMES: Final = ("ws", "wss")
_OK: Final = 200
_HEARTBEAT_SECONDS: Final = 30.0


def is_socket(url: str) -> bool:
    """Whether a URL is one of a WebSocket."""
    return url.startswith(("ws://", "wss://"))


class SocketClient:
    """Connections to bundlers that speak JSON-RPC over WebSocket."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._lines: dict[URL, _SocketLine] = {}
        self._session: ClientSession | None = None

    async def post(self, url: URL, body: bytes, seconds: float, _traceparent: str | None = None) -> HttpReply:
        """See `HttpClient`. A request's id is its own among all that are under way; there is no header to send."""
        line = self._lines.get(url)
        if line is None:
            line = self._lines[url] = _SocketLine(url, self._settings)
        if self._session is None:
            self._session = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None))
        return await line.ask(self._session, body, seconds)

    def line_to(self, _url: URL) -> HttpLine:
        """Every request waits here."""
        return WaitingLine()

    async def close(self) -> None:
        """Break off what is left."""
        for line in self._lines.values():
            await line.close()
        if self._session is not None:
            await self._session.close()


class _SocketLine:
    """One bundler."""

    def __init__(self, url: URL, settings: ClientSettings) -> None:
        self._url = url
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._socket: ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[object, asyncio.Future[bytes]] = {}

    async def ask(self, session: ClientSession, body: bytes, seconds: float) -> HttpReply:
        name = _id_in(body)
        if len(self._waiting) >= self._settings.max_connections:
            raise NoneFreeError
        socket = await self._connected(session)
        answer = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                try:
                    await socket.send_str(body.decode())
                except (ClientError, OSError):  # how much of it is out nobody knows
                    raise broken_off(None) from None
                return HttpReply(_OK, await answer)
        except TimeoutError:
            raise too_late(seconds, None) from None
        finally:
            self._waiting.pop(name, None)
            answer.cancel()

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        if self._socket is not None:
            await self._socket.close()

    async def _connected(self, session: ClientSession) -> ClientWebSocketResponse:
        """Raises `UnreachedError`."""
        try:
            async with asyncio.timeout(self._settings.connect_seconds), self._connecting:
                if self._socket is None or self._socket.closed:
                    self._socket = await session.ws_connect(
                        self._url,
                        max_msg_size=self._settings.max_reply_bytes,
                        heartbeat=_HEARTBEAT_SECONDS,
                        compress=0,
                    )
                    self._reading = asyncio.create_task(self._read(self._socket))
                return self._socket
        except (ClientError, OSError, TimeoutError, ValueError):
            raise UnreachedError from None  # the chained exception would print the address

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        failure: NoReplyError = broken_off(None)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._take(message.data.encode())
                elif message.type is WSMsgType.ERROR:
                    failure = too_long(self._settings.max_reply_bytes, None)
                    break
        finally:
            await socket.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(failure)

    def _take(self, body: bytes) -> None:
        """An answer goes to whoever asked; what nobody asked for (a subscription's news) goes nowhere."""
        name = _id_in(body)
        waiting = None if name is None else self._waiting.get(name)
        if waiting is not None and not waiting.done():
            waiting.set_result(body)


class BySchemeClient:
    """Asks each bundler in the way that its URL says."""

    def __init__(self, over_http: HttpClient, settings: ClientSettings) -> None:
        self._over_http = over_http
        self._over_socket = SocketClient(settings)

    def post(
        self, url: URL, body: bytes, seconds: float, traceparent: str | None = None
    ) -> Coroutine[Any, Any, HttpReply]:
        """See `HttpClient`."""
        return self._client_for(url).post(url, body, seconds, traceparent)

    def line_to(self, url: URL) -> HttpLine:
        """See `HttpClient`."""
        return self._client_for(url).line_to(url)

    def _client_for(self, url: URL) -> HttpClient:
        return self._over_socket if url.scheme in SOCKET_SCHEMES else self._over_http

    async def close(self) -> None:
        """Break off what is left."""
        await self._over_http.close()
        await self._over_socket.close()


def _id_in(body: bytes) -> object:
    """Only to tell whose it is: what an answer says is read strictly by whoever asked."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return None
    name = value.get("id") if isinstance(value, dict) else None
    return name if isinstance(name, int | str) else None
