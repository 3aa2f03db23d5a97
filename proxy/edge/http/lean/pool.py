"""Connections to bundlers, kept between questions: no task, and no timer of its own, for any of them."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from yarl import URL

from proxy.edge.http.client import ClientSettings, Heard, HttpReply, NoneFreeError, NoReplyError, UnreachedError
from proxy.edge.http.deadlines import Deadlines
from proxy.edge.http.lean.outgoing import BundlerConnection


@dataclass(slots=True, eq=False)
class BundlerAddress:
    """A bundler's URL taken apart: where to connect, what every request to it begins with, who is free there."""

    pool: Pool = field(repr=False)
    host: str
    port: int
    tls: bool
    head: bytes = field(repr=False)
    idle: dict[BundlerConnection, None] = field(default_factory=dict)  # the one used last at the end

    def begin(self, body: bytes, seconds: float, heard: Heard) -> bool:
        """See `HttpLine`."""
        if (connection := self.take_idle()) is None:
            return False
        connection.ask(b"%b%d\r\n\r\n%b" % (self.head, len(body), body), heard, self.pool.deadlines_of(seconds))
        return True

    def take_idle(self) -> BundlerConnection | None:
        """The connection that was used last, so that those that are too many rest, and are closed."""
        while self.idle:
            connection, _ = self.idle.popitem()
            good_until = connection.good_until
            if connection.is_usable() and (good_until is None or self.pool.now() < good_until):
                return connection
            connection.abort()
        return None


class Pool:
    """See `HttpClient`. Made inside a running event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._places: dict[URL, BundlerAddress] = {}
        self._open: set[BundlerConnection] = set()
        self._opening = 0
        self._queue: deque[asyncio.Future[None]] = deque()  # who waits for a connection to be free
        self._sweeping: asyncio.TimerHandle | None = None
        self._answers: dict[float, Deadlines[BundlerConnection]] = {}
        self._tls: ssl.SSLContext | None = None
        self._closing: asyncio.Event | None = None

    def now(self) -> float:
        """By the loop's clock."""
        return self._loop.time()

    async def post(self, url: URL, body: bytes, seconds: float, traceparent: str | None = None) -> HttpReply:
        """Send JSON and wait so long for the answer."""
        place = self.line_to(url)
        connection = place.take_idle() or await self._acquire(place)
        waiter: asyncio.Future[HttpReply] = self._loop.create_future()
        more = b"" if traceparent is None else b"traceparent: %b\r\n" % traceparent.encode("ascii")
        request = b"%b%d\r\n%b\r\n%b" % (place.head, len(body), more, body)
        connection.ask(request, partial(_settle, waiter), self.deadlines_of(seconds))
        try:
            return await waiter
        except asyncio.CancelledError:
            connection.abort()
            raise

    def line_to(self, url: URL) -> BundlerAddress:
        """See `HttpClient`."""
        place = self._places.get(url)
        if place is None:
            place = self._places[url] = _place_of(self, url)
        return place

    def deadlines_of(self, seconds: float) -> Deadlines[BundlerConnection]:
        """Of answers that are waited for so long."""
        deadlines = self._answers.get(seconds)
        if deadlines is None:
            deadlines = self._answers[seconds] = Deadlines(self._loop, seconds, BundlerConnection.give_up)
        return deadlines

    def free(self, connection: BundlerConnection) -> None:
        """It has answered."""
        if self._closing is not None:
            connection.abort()
            return
        connection.place.idle[connection] = None
        connection.rests_since = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self.settings.keepalive_seconds, self._sweep)
        if self._queue:
            self._wake()

    def gone(self, connection: BundlerConnection) -> None:
        """It has ended."""
        self._open.discard(connection)
        connection.place.idle.pop(connection, None)
        self._wake()
        if self._closing is not None and not self._open:
            self._closing.set()

    async def close(self) -> None:
        """Break off what is left."""
        self._closing = asyncio.Event()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._closing.wait()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for deadlines in self._answers.values():
            deadlines.close()

    def _first_idle(self) -> list[BundlerConnection]:
        """Of each bundler whoever has been idle for longest: the one used last is taken first."""
        return [next(iter(place.idle)) for place in self._places.values() if place.idle]

    def _sweep(self) -> None:
        """Close what has been idle for too long, and come again when the next one will have been."""
        self._sweeping = None
        while (resting := min(self._first_idle(), key=_since, default=None)) is not None:
            until = resting.rests_since + self.settings.keepalive_seconds
            if until > self._loop.time():
                self._sweeping = self._loop.call_at(until, self._sweep)
                return
            del resting.place.idle[resting]
            resting.abort()

    async def _acquire(self, place: BundlerAddress) -> BundlerConnection:
        """A connection, opened if there may be another one. Raises `UnreachedError`, `NoneFreeError`."""
        waits = False
        try:
            async with asyncio.timeout(self.settings.connect_seconds):
                while True:
                    if (connection := place.take_idle()) is not None:
                        return connection
                    if len(self._open) + self._opening < self.settings.max_connections:
                        return await self._connect(place)
                    resting = min(self._first_idle(), key=_since, default=None)
                    if resting is not None:  # another bundler's
                        del resting.place.idle[resting]
                        resting.abort()
                    waits = True
                    await self._wait()
                    waits = False
        except (OSError, TimeoutError, UnicodeError):  # also what TLS and IDNA say
            raise (
                NoneFreeError if waits else UnreachedError
            ) from None  # the chained exception would print the address

    async def _wait(self) -> None:
        turn = self._loop.create_future()
        self._queue.append(turn)
        is_its_turn = False
        try:
            await turn
            is_its_turn = True
        finally:
            if not is_its_turn and not turn.cancel() and not turn.cancelled():  # or else nobody waits any more
                self._wake()  # the next one's

    def _wake(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _connect(self, place: BundlerAddress) -> BundlerConnection:
        self._opening += 1
        try:
            _, connection = await self._loop.create_connection(
                lambda: BundlerConnection(self, place),
                place.host,
                place.port,
                ssl=self._tls_context() if place.tls else None,
                server_hostname=place.host if place.tls else None,
            )
        except BaseException:  # who waits for the place is woken, and it is raised again
            self._wake()
            raise
        finally:
            self._opening -= 1
        self._open.add(connection)
        if not connection.is_usable():  # gone before it could be used
            self._open.discard(connection)
            raise UnreachedError
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _settle(waiter: asyncio.Future[HttpReply], heard: HttpReply | NoReplyError) -> None:
    if waiter.done():  # given up
        return
    if isinstance(heard, NoReplyError):
        waiter.set_exception(heard)
    else:
        waiter.set_result(heard)


def _since(connection: BundlerConnection) -> float:
    return connection.rests_since


def _place_of(pool: Pool, url: URL) -> BundlerAddress:
    host, port = url.raw_host, url.port
    assert host is not None  # noqa: S101 - refused when the endpoint was made
    assert port is not None  # noqa: S101 - http and https have one
    secret = ""
    if url.user is not None or url.password is not None:
        pair = f"{url.user or ''}:{url.password or ''}".encode()
        secret = f"Authorization: Basic {b64encode(pair).decode('ascii')}\r\n"
    head = (
        f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n{secret}"
        # exactly this: alto refuses the media type when a charset follows it
        "Content-Type: application/json\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
        "User-Agent: sessiongate\r\nContent-Length: "
    )
    return BundlerAddress(pool, host, port, url.scheme == "https", head.encode("ascii"))
