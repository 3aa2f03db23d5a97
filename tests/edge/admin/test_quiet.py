"""What a listener on aiohttp says of broken requests, and how many connections it holds."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.server import AdminServer
from proxy.edge.http.listener import MOST_TOLD_TO_GO, ListenerSettings, Transport
from proxy.edge.http.server import RpcServer
from tests.edge.builders import FakeBackend, gate_metrics
from tests.edge.http.peers import SETTINGS, EchoGate

_BROKEN = (
    b"GET / HTTP/1.1\r\nHost: gate\r\nX-Api-Key: hush-\x00key\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: gate\r\nX-Api-Key hush-key\r\n\r\n",
    b"GET /?apikey=hush-key HTTP/9.9\r\n\r\n",
    b"hush-key\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: hush-key\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: gate\r\nX-Api-Key: " + b"hush-key" * 4_000 + b"\r\n\r\n",
)


@asynccontextmanager
async def _listening(which: str) -> AsyncIterator[int]:
    if which == "admin":
        server = AdminServer(FakeBackend(), metrics=gate_metrics(), audit=None, access=AdminAccess())
        port = await server.start("127.0.0.1", 0)
        try:
            yield port
        finally:
            await server.stop()
        return
    bounds = ListenerSettings(connections=64, shutdown_seconds=0.5)
    served = replace(SETTINGS, transport=Transport(which), bounds=bounds)
    gate = EchoGate()
    listener = await RpcServer(gate.answer, served, gate.hooks).start("127.0.0.1", 0)
    try:
        yield listener.port
    finally:
        await listener.stop()


@pytest.mark.parametrize("which", ["admin", *Transport])
async def test_a_broken_request_is_quoted_to_nobody_and_no_version_is_named(
    which: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with _listening(which) as port:
        for broken in (*_BROKEN, b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(broken)
            writer.write_eof()
            said = (await reader.read()).lower()
            writer.close()
            assert b"hush" not in said
            assert b"aiohttp" not in said
            assert b"python" not in said
    assert "hush" not in caplog.text


@pytest.mark.parametrize("host", [b"", b"Host:\r\n", b"Host: attacker.example\r\n"], ids=["none", "empty", "foreign"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_the_admin_listener_tells_nothing_to_who_names_no_host_of_its(host: bytes, version: bytes) -> None:
    async with _listening("admin") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/" + version + b"\r\n" + host + b"Connection: close\r\n\r\n")
        status = (await reader.read()).split(b" ")[1]
        writer.close()
    # of HTTP/1.1 without a Host the reader of heads refuses it
    assert status == (b"400" if (host, version) == (b"", b"1.1") else b"421")


@pytest.mark.parametrize("which", ["admin", "aiohttp"])
async def test_silent_connections_make_room_for_who_asks(which: str) -> None:
    async with _listening(which) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 ")
        shut = sum([await _is_shut(reader) for reader, _ in silent[:100]])
        assert shut == 100, "the oldest were not let go"
        for _, each in [*silent, (reader, writer)]:
            each.close()


async def test_callers_who_are_turned_away_or_leave_are_no_faults_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """However many do, and wherever in their request: the log has a line of few of them, and nothing grave."""
    bounds = ListenerSettings(connections_per_peer=8, shutdown_seconds=0.5)
    gate = EchoGate()
    for transport in Transport:
        served = replace(SETTINGS, transport=transport, bounds=bounds)
        listener = await RpcServer(gate.answer, served, gate.hooks).start("127.0.0.1", 0)
        callers = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(30)]
        first_told = callers[8 : 8 + MOST_TOLD_TO_GO]
        for reader, writer in first_told:
            assert b"too many connections" in await reader.read()
            writer.close()
        for reader, writer in callers[8 + MOST_TOLD_TO_GO :]:
            assert await _is_told_or_shut(reader)
            writer.close()
        for number, (_, writer) in enumerate(callers[:8]):
            head = b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            writer.write((head + b"[" * 50)[: number * 20])
            await writer.drain()
        for _, writer in callers[:8]:
            writer.transport.abort()
        await listener.stop()
        gc.collect()  # a task whose exception nobody asked for says so when it goes
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def _is_told_or_shut(reader: asyncio.StreamReader) -> bool:
    try:
        heard = await reader.read()
    except ConnectionError:
        return True
    return heard == b"" or b"too many connections" in heard


async def _is_shut(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True
