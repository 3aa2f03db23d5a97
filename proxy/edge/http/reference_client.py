"""Bundlers asked by aiohttp's client: the reference that the lean one is held against."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from yarl import URL

from proxy.edge.http.client import (
    ClientSettings,
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

_HEADERS: Final = {
    # exactly this: alto refuses the media type when a charset follows it
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "sessiongate",
}


class AiohttpClient:
    """See `HttpClient`. Made inside a running event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        # aiohttp's own limit tells by the same error that none is free and that nobody answers
        self._free = asyncio.Semaphore(settings.max_connections)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=settings.keepalive_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Break off what is left."""
        await self._session.close()

    async def post(self, url: URL, body: bytes, seconds: float, traceparent: str | None = None) -> HttpReply:
        """Send JSON and wait so long for the answer."""
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise NoneFreeError from None
        try:
            return await self._post(url, body, seconds, traceparent)
        finally:
            self._free.release()

    async def _post(self, url: URL, body: bytes, seconds: float, traceparent: str | None) -> HttpReply:
        status: int | None = None
        timeout = aiohttp.ClientTimeout(total=seconds, connect=self._settings.connect_seconds)
        try:
            headers = _HEADERS if traceparent is None else {**_HEADERS, "traceparent": traceparent}
            async with self._session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                status = response.status
                return HttpReply(status, await self._read(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise UnreachedError from None  # the chained exception would print the URL
        except NoReplyError:
            raise
        except TimeoutError:
            raise too_late(seconds, status) from None
        except (aiohttp.ClientError, OSError):
            raise broken_off(status) from None

    def line_to(self, _url: URL) -> HttpLine:
        """Every request waits here."""
        return WaitingLine()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.max_reply_bytes
        chunks: list[bytes] = []
        length = 0
        async for chunk in response.content.iter_any():
            length += len(chunk)
            if length > limit:
                raise too_long(limit, response.status)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
