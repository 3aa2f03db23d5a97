"""The lean listener: a socket, and the house of its connections."""

from __future__ import annotations

import asyncio
import socket
from ssl import SSLContext
from typing import Final

from aiohttp import web

from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.lean.connection import Connection
from proxy.edge.http.lean.house import House
from proxy.edge.http.listener import ListenerSettings
from proxy.edge.http.service import Service
from proxy.edge.http.websocket import WebSockets

_SEND_BUFFER: Final = 128 * 1024
"""What the system holds of an answer that is not taken: without it, megabytes, in which no progress would show."""


class LeanListener:
    """Carries a service. A request is finished even when its caller has left."""

    def __init__(self, service: Service, settings: ListenerSettings) -> None:
        self._service = service
        self._settings = settings
        self._house: House | None = None
        self._server: asyncio.Server | None = None
        self._websockets = WebSockets(service, settings)
        self._upgraded: web.Server | None = None

    async def start(self, host: str, port: int, ssl: SSLContext | None = None) -> int:
        """Listen; the port."""
        loop = asyncio.get_running_loop()
        self._upgraded = web.Server(
            self._websockets.handle, access_log=None, logger=HTTP_LOG, keepalive_timeout=self._settings.linger_seconds
        )
        house = self._house = House(self._service, self._settings, loop, self._upgraded)
        handshake_seconds = None if ssl is None else self._settings.head_seconds
        self._server = await loop.create_server(
            lambda: Connection(house),
            host,
            port,
            backlog=self._settings.backlog,
            ssl=ssl,
            ssl_handshake_timeout=handshake_seconds,
        )
        for sock in self._server.sockets:  # callers' sockets inherit it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close."""
        if self._server is not None and self._house is not None and self._upgraded is not None:
            self._server.close()
            await self._websockets.close()
            await self._upgraded.shutdown(self._settings.linger_seconds)
            await self._house.close()
            self._server = None
