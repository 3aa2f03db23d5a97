"""What asks a bundler over HTTP: one POST, one answer, or one way in which there was none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from proxy.record import record


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Bounds on connections to bundlers, in seconds, bytes and numbers."""

    connect_seconds: float = 3.0
    keepalive_seconds: float = 15.0
    max_connections: int = 1000
    max_reply_bytes: int = 16 * 1024 * 1024


@record()
class HttpReply:
    """A status and a whole body, uncompressed."""

    status: int
    body: bytes


class UnreachedError(Exception):
    """No connection could be had: not one byte of the request was sent."""


class NoneFreeError(UnreachedError):
    """All connections that there may be are taken; what it says of the bundler is nothing."""


class NoReplyError(Exception):
    """The request was, or may have been, sent, and there is no whole answer to it.

    `status` is known when the answer had begun; `silent` when it was given up for the time it took. The text says what
    happened, for a sentence that begins with the endpoint's name, and quotes nothing.
    """

    def __init__(self, problem: str, *, status: int | None = None, silent: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status
        self.silent = silent


Heard = Callable[[HttpReply | NoReplyError], None]
"""Is told the reply to a question, or why there is none; once."""


class HttpLine(Protocol):
    """The way to one bundler."""

    def begin(self, body: bytes, seconds: float, heard: Heard) -> bool:
        """Send JSON where that takes no waiting for a connection, and have `heard` told within so long, later than
        this returns. Whether it was sent; if not, nothing was done."""


class WaitingLine:
    """See `HttpLine`; of those who wait for every answer."""

    def begin(self, _body: bytes, _seconds: float, _heard: Heard) -> bool:
        """Never."""
        return False


class HttpClient(Protocol):
    """Keeps connections to bundlers."""

    async def post(self, url: URL, body: bytes, seconds: float, traceparent: str | None = None) -> HttpReply:
        """Send JSON and wait so long for the answer. Raises `UnreachedError`, `NoReplyError`; follows no redirect.

        `traceparent` is the header of that name, printed by us.
        """

    def line_to(self, url: URL) -> HttpLine:
        """The way to a bundler, for who asks it often and does not wait."""

    async def close(self) -> None:
        """Break off what is left."""


def too_long(limit: int, status: int | None) -> NoReplyError:
    """An answer of which more was coming than is kept."""
    return NoReplyError(f"answered with more than {limit} bytes", status=status)


def too_late(seconds: float, status: int | None) -> NoReplyError:
    """An answer that did not come in time."""
    return NoReplyError(f"did not answer within {seconds:g} s", status=status, silent=True)


def broken_off(status: int | None) -> NoReplyError:
    """A connection that ended before its answer, or an answer that is no HTTP."""
    return NoReplyError("broke off the connection", status=status)
