"""Callers who never end their TLS handshake count as connections, and take nothing from those who do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.server import AdminServer
from proxy.edge.http.certificates import Certificates
from proxy.edge.http.forwarded import TrustedProxies
from proxy.edge.http.lean.listening import LeanListener
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.reference import AiohttpListener
from proxy.edge.http.server import RpcServer
from proxy.edge.http.tls_door import HANDSHAKE_SECONDS, TlsDoor
from tests.edge.builders import FakeBackend, gate_metrics
from tests.edge.http.corpus import JSON, post
from tests.edge.http.peers import SETTINGS, EchoGate, Peer, until
from tests.edge.http.test_certificates import issue, serial_seen
from tests.edge.http.test_shares import closing_all

BEGUN = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The first bytes of a handshake of which more would have to come."""


@asynccontextmanager
async def listening(folder: Path, transport: Transport, **bounds: float) -> AsyncIterator[RpcServer]:
    certificates = Certificates(*issue(folder, 1))
    given = replace(ListenerSettings(shutdown_seconds=0.2), **{"head_seconds": 1e6, **bounds})
    server = RpcServer(EchoGate().answer, replace(SETTINGS, transport=transport, bounds=given))
    await server.start("127.0.0.1", 0, certificates.context)
    try:
        yield server
    finally:
        await server.stop()


def door_of(server: RpcServer) -> TlsDoor:
    door = cast(AiohttpListener | LeanListener, server._listener)._door
    assert door is not None
    return door


def calling_from(address: str, port: int) -> socket.socket:
    """A connection from one of this machine's addresses, had without letting the loop on."""
    sock = socket.socket()
    sock.bind((address, 0))
    sock.connect(("127.0.0.1", port))
    return sock


@asynccontextmanager
async def silent(port: int, count: int, said: bytes = b"") -> AsyncIterator[list[Peer]]:
    """So many callers, one after the other, who say this and nothing more."""
    peers: list[Peer] = []
    try:
        for _ in range(count):
            peers.append(await Peer.at(port))
            await peers[-1].say(said)
        yield peers
    finally:
        for peer in peers:
            peer.leave()


async def answered(port: int) -> bytes:
    """What one who does shake hands is told."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    writer.write(post(fields=JSON + b"Connection: close\r\n"))
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("said", [b"", BEGUN], ids=["silent", "a handshake begun"])
@pytest.mark.parametrize("bounds", [{"connections": 6}, {"connections_per_peer": 6}], ids=["in all", "of one address"])
async def test_of_handshakes_that_never_end_the_oldest_make_room(
    tmp_path: Path, transport: Transport, said: bytes, bounds: dict[str, float]
) -> None:
    async with listening(tmp_path, transport, **bounds) as server, silent(server.port, 40, said) as peers:
        assert (await answered(server.port)).startswith(b"HTTP/1.1 200 ")
        # the good one has taken the place of one more
        assert [await peer.ended() for peer in peers[:35]] == [True] * 35
        assert await serial_seen(server.port) == 1


@pytest.mark.parametrize("transport", Transport)
async def test_a_handshake_has_its_time_however_slowly_it_goes_on(tmp_path: Path, transport: Transport) -> None:
    async with listening(tmp_path, transport, head_seconds=0.3) as server, silent(server.port, 1, BEGUN) as (peer,):
        ended = asyncio.create_task(peer.ended())
        while not ended.done():
            try:
                await peer.say(b"\0")
            except ConnectionError:
                break
            await asyncio.sleep(0.02)  # slowly: what is waited for is that it is ended
        assert await ended


@pytest.mark.parametrize("transport", Transport)
async def test_where_all_places_are_idle_callers_newcomers_who_shake_hands_at_once_are_all_let_in(
    tmp_path: Path, transport: Transport
) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with listening(tmp_path, transport, connections=64) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting) for _ in range(64)]
        answers = await asyncio.gather(*(answered(server.port) for _ in range(8)))
        assert [answer[:13] for answer in answers] == [b"HTTP/1.1 200 "] * 8
        for _, writer in idle:
            writer.transport.abort()


@pytest.mark.parametrize("transport", Transport)
async def test_of_a_trusted_proxy_there_may_be_more_than_of_one_address(tmp_path: Path, transport: Transport) -> None:
    async with listening(tmp_path, transport, connections_per_peer=2) as server:
        trusting = replace(SETTINGS, transport=transport, proxies=TrustedProxies((ip_network("127.0.0.1/32"),)))
        server.take(trusting)
        async with silent(server.port, 10) as peers:
            assert (await answered(server.port)).startswith(b"HTTP/1.1 200 ")
            assert not any(peer.reader.at_eof() for peer in peers)


@pytest.mark.parametrize("transport", Transport)
async def test_no_tls_is_no_handshake(tmp_path: Path, transport: Transport) -> None:
    no_tls = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with listening(tmp_path, transport) as server, silent(server.port, 1, no_tls) as (peer,):
        assert b"HTTP" not in await peer.rest()
        assert await serial_seen(server.port) == 1


async def test_the_admin_listener_counts_them_too(tmp_path: Path) -> None:
    server = AdminServer(FakeBackend(), metrics=gate_metrics(), audit=None, access=AdminAccess())
    port = await server.start("127.0.0.1", 0, Certificates(*issue(tmp_path, 1)).context)
    try:
        async with silent(port, 100) as peers:
            assert b"HTTP/1.1 404 " in await answered(port)
            assert [await peer.ended() for peer in peers[:37]] == [True] * 37
    finally:
        await server.stop()


async def test_a_stopped_listener_keeps_no_handshake(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with listening(tmp_path, Transport.LEAN) as server:
            peers = await stack.enter_async_context(silent(server.port, 3, BEGUN))
            assert (await answered(server.port)).startswith(b"HTTP/1.1 200 ")
        assert [await peer.ended() for peer in peers] == [True] * 3


@pytest.mark.parametrize("transport", Transport)
async def test_who_shakes_hands_for_one_thing_does_so_before_the_hundredth_of_another(
    tmp_path: Path, transport: Transport
) -> None:
    async with listening(tmp_path, transport) as server:
        door, begun = door_of(server), list[str | None]()
        shake_hands = door._shake_hands

        async def noted(caller: Any, sock: socket.socket) -> None:
            begun.append(caller.peer)
            await shake_hands(caller, sock)

        door._shake_hands = noted  # type: ignore[method-assign]  # notes who begins
        callers = [calling_from("127.0.0.2", server.port) for _ in range(100)]
        callers.append(calling_from("127.0.0.3", server.port))
        with closing_all(callers):
            await until(lambda: len(begun) == 101)
    assert server._service.turns._of("127.0.0.2").spent >= 100 * HANDSHAKE_SECONDS
    assert begun.index("127.0.0.3") <= 4


async def test_who_stands_in_line_for_a_handshake_makes_room_and_is_gone_with_the_listener(tmp_path: Path) -> None:
    async with listening(tmp_path, Transport.LEAN, connections=6) as server:
        server._service.turns.is_due = True  # somebody who has had less stands in line
        server._service.turns.charge("127.0.0.1", 1.0)
        async with silent(server.port, 40) as peers:
            await until(lambda: len(door_of(server)._callers) == 6)
            assert [await peer.ended() for peer in peers[:34]] == [True] * 34
            await server.stop()
            assert [await peer.ended() for peer in peers[34:]] == [True] * 6
