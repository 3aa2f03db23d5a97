"""aiohttp's server, told to say less and to hold less: broken requests are quoted to nobody, no version is named,
there are only so many connections, in all and of one address, and one that is asking nothing makes room for a newcomer;
answers that nobody takes are bounded over all of them, and who takes none goes."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from ssl import SSLContext
from typing import Any, Final, cast

from aiohttp import hdrs, web

from proxy.edge.http.forwarded import household_of
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.listener import places_of_one
from proxy.edge.http.tls_door import DoorBounds, TlsDoor
from proxy.edge.http.untaken import SEND_BUFFER, Untaken

SERVER_NAME: Final = "sessiongate"

_STALLED_SECONDS: Final = 20.0
_UNREAD_BYTES: Final = 64 * 1024 * 1024

_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"
    b"Content-Length: 21\r\nConnection: close\r\n\r\ntoo many connections\n"
)


class QuietServer(web.Server):
    """Makes the handlers of connections, at most so many in all, and of one address; of those that are `exempt` there
    may be any number."""

    most: int = 0
    most_per_peer: int | None = None
    exempt: Callable[[str], bool]
    unread: Untaken | None = None
    """Where answers that nobody takes are counted; `None` where somebody else does."""
    head_seconds: float | None = None
    """So long a newcomer may take to ask its first question; afterwards aiohttp's own time of keeping alive runs."""

    @classmethod
    def like(
        cls,
        server: web.Server,
        most: int,
        *,
        most_per_peer: int | None = None,
        exempt: Callable[[str], bool] = lambda _peer: False,
    ) -> QuietServer:
        """A quiet one with the same handler."""
        quiet = cls(
            server.request_handler, request_factory=server.request_factory, **server._kwargs
        )  # there is no other way to them
        quiet.most, quiet.most_per_peer, quiet.exempt = most, most_per_peer, exempt
        quiet._peer_of, quiet._of_peer, quiet._left = {}, Counter(), set()
        return quiet

    def bound_unread(self, seconds: float, most_bytes: int) -> None:
        """From the next connection on, hold callers to what `Untaken` says. Called in the loop that serves."""
        self.unread = Untaken(asyncio.get_running_loop(), seconds=seconds, most_bytes=most_bytes)

    _peer_of: dict[web.RequestHandler, str]
    _of_peer: Counter[str]
    _left: set[QuietHandler]

    def __call__(self) -> web.RequestHandler:
        return QuietHandler(self, loop=self._loop, **self._kwargs)

    def present(self, household: str | None) -> int:
        """How many connections there are: of one household, or of all."""
        return len(self._connections) if household is None else self._of_peer.get(household, 0)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if isinstance(handler, QuietHandler) and handler.is_busy:
            self._left.add(handler)  # what it asked is answered all the same: so long it keeps its place, as in all
        else:
            self._uncount(handler)

    def over(self, handler: QuietHandler) -> None:
        """It does no more, whether its connection is there or not."""
        if handler in self._left:
            self._left.discard(handler)
            self._uncount(handler)

    def _uncount(self, handler: web.RequestHandler) -> None:
        peer = self._peer_of.pop(handler, None)
        if peer is not None:
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            household = self._peer_of[handler] = household_of(name[0])
            self._of_peer[household] += 1
            is_too_many = self.most_per_peer is not None and self._of_peer[household] > places_of_one(
                self.most, self.most_per_peer, len(self._connections) - 1, households=len(self._of_peer)
            )
            if is_too_many and not self.exempt(name[0]):
                self._connections.pop(handler, None)
                transport.write(_TOO_MANY)
                handler.force_close()
                return
        if len(self._connections) <= self.most:
            return
        leaving = self._first_to_go(handler)
        self._connections.pop(leaving, None)
        leaving.force_close()

    def _first_to_go(self, newcomer: web.RequestHandler) -> web.RequestHandler:
        """The oldest that asks nothing, if not of a household that has fewer; of that which has most; the newcomer."""
        own = self._count(newcomer)
        others = [each for each in self._connections if isinstance(each, QuietHandler) and each is not newcomer]
        for each in others:
            if not each.is_busy and self._count(each) >= own:
                return each
        largest = max(others, key=self._count, default=newcomer)
        address = largest.transport and largest.transport.get_extra_info("peername")
        is_exempt = isinstance(address, tuple) and self.exempt(address[0])
        return newcomer if is_exempt or self._count(largest) <= own + 1 else largest

    def _count(self, handler: web.RequestHandler) -> int:
        peer = self._peer_of.get(handler)
        return 1 if peer is None else self._of_peer[peer]


class QuietHandler(web.RequestHandler):
    """One connection."""

    _carrier: asyncio.Transport | None = None
    """What carries the connection, also once aiohttp has closed it, as long as something is left in it."""
    _unread: Untaken | None = None
    _is_held_up = False
    when_over: Callable[[], None] | None = None
    """Told once nothing of it is being answered, and nothing will be."""
    _newcomers_time: asyncio.TimerHandle | None = None
    arrived: Callable[[bytes], None] | None = None
    """Told of bytes that a WebSocket's reader was given, once it has looked at them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._carrier = cast(asyncio.Transport, transport)
        self._unread = self._manager.unread if isinstance(self._manager, QuietServer) else None
        if self._unread is not None and (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().connection_made(transport)
        if isinstance(self._manager, QuietServer) and self._manager.head_seconds is not None:
            self._newcomers_time = self._loop.call_later(self._manager.head_seconds, self._show_out)
        if self._task_handler is not None:
            self._task_handler.add_done_callback(partial(self._over, self._manager))

    def has_asked(self) -> None:
        """It is a newcomer no more."""
        if self._newcomers_time is not None:
            self._newcomers_time.cancel()
            self._newcomers_time = None

    def _show_out(self) -> None:
        self._newcomers_time = None
        if self._current_request is None and not self._messages:
            self.force_close()

    def _over(self, manager: web.Server | None, _task: object) -> None:
        if isinstance(manager, QuietServer):
            manager.over(self)
        when_over, self.when_over = self.when_over, None
        if when_over is not None:
            when_over()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.has_asked()  # or never will
        self._carrier = None
        # aiohttp's of a WebSocket refers to this again: such a circle would wait for the garbage collector
        self._data_received_cb = None
        if self._unread is not None:
            self._unread.flows(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.arrived is not None and self._payload_parser is not None:
            self.arrived(data)

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        came_early = self._message_tail
        super().set_parser(parser, data_received_cb)
        if self.arrived is not None:
            self.arrived(came_early)

    def hold_up(self) -> None:
        """Read nothing from it, whatever aiohttp wants, until it may `read_on`."""
        self._is_held_up = True
        if self.transport is not None:
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Read again, as far as aiohttp has room."""
        self._is_held_up = False
        if self.transport is not None and not self._reading_paused:
            self.transport.resume_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        super().resume_reading(resume_parser)
        if self._is_held_up:
            self.hold_up()

    def forget_rest(self) -> None:
        """Let go of a message that is not whole."""
        self._payload_parser = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is not None:
            self._unread.stalls(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None and not self._is_closing:
            self._unread.flows(self)

    def close(self) -> None:
        """No more requests; what is left of the last answer has to be taken in time."""
        super().close()
        self._note_rest()

    def force_close(self) -> None:
        super().force_close()
        self._note_rest()

    @property
    def _is_closing(self) -> bool:
        return self._carrier is not None and self._carrier.is_closing()

    def _note_rest(self) -> None:
        if self._unread is not None and self._is_closing and self.untaken():
            self._unread.stalls(self)

    def untaken(self) -> int:
        """Bytes of answers that its caller has not taken yet."""
        return 0 if self._carrier is None else self._carrier.get_write_buffer_size()

    def abort(self) -> None:
        """End it, whatever is left."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.abort()

    @property
    def is_busy(self) -> bool:
        """Whether a request of it is being answered."""
        return self._current_request is not None

    async def start(self) -> None:
        """Serve the connection, unless it was let go before it could begin: aiohttp takes that for a fault of ours."""
        if self._manager is not None:
            await super().start()
            self._note_rest()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # quotes what was sent
    ) -> web.StreamResponse:
        """An error of the request itself, or a fault of ours. What was sent may hold a key."""
        if isinstance(exc, ConnectionError):
            HTTP_LOG.info("a caller left before its answer")
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            HTTP_LOG.error("a request failed", exc_info=exc)
        else:
            HTTP_LOG.info("broken HTTP")
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun")
        response = web.Response(status=status, text=f"{HTTPStatus(status).phrase.lower()}\n")
        response.headers[hdrs.SERVER] = SERVER_NAME
        response.force_close()
        return response


class QuietAppRunner(web.AppRunner):
    """Runs an application on a quiet server."""

    def __init__(self, application: web.Application, *, connections: int, turns: HouseholdTurns) -> None:
        super().__init__(application, access_log=None, logger=HTTP_LOG)
        self._turns = turns
        self._most = connections
        self._door: TlsDoor | None = None

    async def listen(self, host: str, port: int, ssl: SSLContext | None, *, handshake_seconds: float) -> int:
        """Listen; the port. Raises `OSError` when it is taken."""
        await self.setup()
        server = self.server
        assert isinstance(server, QuietServer)  # noqa: S101 - made below
        server.bound_unread(_STALLED_SECONDS, _UNREAD_BYTES)
        if ssl is None:
            await web.TCPSite(self, host, port).start()
            bound: int = self.addresses[0][1]
            return bound
        bounds = DoorBounds(most=self._most, seconds=handshake_seconds)
        self._door = TlsDoor(server, ssl, bounds, server.present, self._turns)
        return await self._door.start(host, port)

    async def cleanup(self) -> None:
        """Stop listening, after the answers under way."""
        if self._door is not None:
            await self._door.stop()
        await super().cleanup()

    async def _make_server(self) -> web.Server:
        return QuietServer.like(await super()._make_server(), self._most)
