"""The lean listener: a socket, and the house of its connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ssl import SSLContext

from aiohttp import web

from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.intake import Intake
from proxy.edge.http.lean.connection import Connection
from proxy.edge.http.lean.house import House
from proxy.edge.http.listener import ListenerSettings
from proxy.edge.http.quiet_aiohttp import QuietHandler, QuietServer
from proxy.edge.http.service import Service
from proxy.edge.http.tls_door import DoorBounds, TlsDoor
from proxy.edge.http.untaken import SEND_BUFFER
from proxy.edge.http.websocket import WebSockets


class LeanListener:
    """Carries a service. A request is finished even when its caller has left."""

    def __init__(self, service: Service, settings: ListenerSettings) -> None:
        self._service = service
        self._settings = settings
        self._house: House | None = None
        self._server: asyncio.Server | None = None
        self._door: TlsDoor | None = None
        self._intake = Intake(settings.waiting_bytes)
        self._websockets = WebSockets(service, settings, self._intake)
        self._upgraded: web.Server | None = None

    async def start(self, host: str, port: int, ssl: SSLContext | None = None) -> int:
        """Listen; the port."""
        loop = asyncio.get_running_loop()
        plain = web.Server(
            self._websockets.handle, access_log=None, logger=HTTP_LOG, keepalive_timeout=self._settings.linger_seconds
        )
        self._upgraded = QuietServer.like(plain, self._settings.connections)
        house = self._house = House(self._service, self._settings, loop, websocket=self._websocket, intake=self._intake)
        if ssl is not None:
            bounds = self._bounds_of_door()
            self._door = TlsDoor(lambda: Connection(house), ssl, bounds, house.present, self._service.turns)
            return await self._door.start(host, port)
        self._server = await loop.create_server(lambda: Connection(house), host, port, backlog=self._settings.backlog)
        for sock in self._server.sockets:  # callers' sockets inherit it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close."""
        if self._house is None or self._upgraded is None:
            return
        if self._door is not None:
            await self._door.stop()
        if self._server is not None:
            self._server.close()
        if self._door is not None or self._server is not None:
            await self._websockets.close()
            await self._upgraded.shutdown(self._settings.linger_seconds)
            await self._house.close()
            self._server = self._door = None

    def _websocket(self, over: Callable[[], None]) -> asyncio.Protocol:
        assert self._upgraded is not None  # noqa: S101 - made before it listens
        handler = self._upgraded()
        assert isinstance(handler, QuietHandler)  # noqa: S101 - a quiet server makes no others
        handler.when_over = over
        return handler

    def _bounds_of_door(self) -> DoorBounds:
        settings = self._settings
        return DoorBounds(
            most=settings.connections,
            most_per_peer=settings.connections_per_peer,
            seconds=settings.head_seconds,
            backlog=settings.backlog,
            exempt=self._is_trusted,
        )

    def _is_trusted(self, peer: str) -> bool:
        return self._service.settings.proxies.trusts(peer)
