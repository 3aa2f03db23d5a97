"""What a connection that has to go is told, and whether that came back."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Final

from proxy.edge.http.messages import plain

NO_ROOM: Final = plain(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too much waits of requests that are not whole: connections.max_waiting_bytes\n",
    Retry_After="1",
)
TOO_MANY: Final = plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n", Retry_After="1")
TOO_SLOW: Final = plain(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time\n")


def came_back(transport: asyncio.BaseTransport) -> bool:
    """Whether the answer did: a caller that is gone and one that has only stopped talking look alike before."""
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
