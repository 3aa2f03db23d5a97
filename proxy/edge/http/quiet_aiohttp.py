"""aiohttp's server, told to say less and to hold less: broken requests are quoted to nobody, no version is named, and
there are only so many connections, in all and of one address; one that is asking nothing makes room for a newcomer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from ssl import SSLContext
from typing import Final

from aiohttp import hdrs, web

from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.tls_door import DoorBounds, TlsDoor

SERVER_NAME: Final = "sessiongate"


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
        quiet._peer_of, quiet._of_peer = {}, Counter()
        return quiet

    _peer_of: dict[web.RequestHandler, str]
    _of_peer: Counter[str]

    def __call__(self) -> web.RequestHandler:
        return _QuietHandler(self, loop=self._loop, **self._kwargs)

    def present(self, peer: str | None) -> int:
        """How many connections there are: of one address, or of all."""
        return len(self._connections) if peer is None else self._of_peer.get(peer, 0)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        peer = self._peer_of.pop(handler, None)
        if peer is not None:
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            peer = self._peer_of[handler] = name[0]
            self._of_peer[peer] += 1
            if self.most_per_peer is not None and self._of_peer[peer] > self.most_per_peer and not self.exempt(peer):
                self._connections.pop(handler, None)
                transport.write(_TOO_MANY)
                handler.force_close()
                return
        if len(self._connections) <= self.most:
            return
        # the oldest that asks nothing; where all are busy, the newcomer
        silent = (each for each in self._connections if isinstance(each, _QuietHandler) and not each.is_busy)
        leaving = next((each for each in silent if each is not handler), handler)
        self._connections.pop(leaving, None)
        leaving.force_close()


class _QuietHandler(web.RequestHandler):
    @property
    def is_busy(self) -> bool:
        """Whether a request of it is being answered."""
        return self._current_request is not None

    async def start(self) -> None:
        """Serve the connection, unless it was let go before it could begin: aiohttp takes that for a fault of ours."""
        if self._manager is not None:
            await super().start()

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

    def __init__(self, application: web.Application, *, connections: int) -> None:
        super().__init__(application, access_log=None, logger=HTTP_LOG)
        self._most = connections
        self._door: TlsDoor | None = None

    async def listen(self, host: str, port: int, ssl: SSLContext | None, *, handshake_seconds: float) -> int:
        """Listen; the port. Raises `OSError` when it is taken."""
        await self.setup()
        if ssl is None:
            await web.TCPSite(self, host, port).start()
            bound: int = self.addresses[0][1]
            return bound
        server = self.server
        assert isinstance(server, QuietServer)  # noqa: S101 - made below
        bounds = DoorBounds(most=self._most, seconds=handshake_seconds)
        self._door = TlsDoor(server, ssl, bounds, server.present)
        return await self._door.start(host, port)

    async def cleanup(self) -> None:
        """Stop listening, after the answers under way."""
        if self._door is not None:
            await self._door.stop()
        await super().cleanup()

    async def _make_server(self) -> web.Server:
        return QuietServer.like(await super()._make_server(), self._most)
