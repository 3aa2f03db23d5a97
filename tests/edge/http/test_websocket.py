"""A WebSocket carries the same requests to the same answers, and its caller is bounded as any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.clients.keys import digest_of
from proxy.edge.http.clients import Clients, KnownClient
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.server import RpcServer, ServerSettings
from proxy.edge.http.websocket import most_held
from tests.edge.http.corpus import CALL
from tests.edge.http.peers import SETTINGS, EchoGate, Peer

HANDSHAKE = (
    b"GET /soneium HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(text: bytes) -> bytes:
    """A message of less than 126 bytes as callers frame it."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


@dataclass
class Door:
    """Where WebSockets are opened."""

    http: aiohttp.ClientSession
    server: RpcServer

    async def open(self, path: str = "/soneium", **headers: str) -> aiohttp.ClientWebSocketResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.ws_connect(f"http://127.0.0.1:{self.server.port}{path}", headers=named)


@pytest.fixture(params=Transport)
def served(request: pytest.FixtureRequest) -> ServerSettings:
    """The settings, for each of the servers."""
    bounds = ListenerSettings(shutdown_seconds=0.5, linger_seconds=0.05, stalled_seconds=0.1)
    clients = Clients(origins=frozenset({"https://dapp.example"}))
    return replace(SETTINGS, transport=request.param, bounds=bounds, clients=clients)


@asynccontextmanager
async def listening(gate: EchoGate, served: ServerSettings) -> AsyncIterator[Door]:
    server = await RpcServer(gate.answer, served, gate.hooks).start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            yield Door(http, server)
    finally:
        await server.stop()


async def ask(socket: aiohttp.ClientWebSocketResponse, body: object) -> Any:
    await socket.send_str(body.decode() if isinstance(body, bytes) else json.dumps(body))
    return json.loads(await socket.receive_str())


async def test_a_message_is_answered_as_a_post_is(served: ServerSettings) -> None:
    gate = EchoGate()
    async with listening(gate, served) as door:
        socket = await door.open()
        assert await ask(socket, CALL) == {"jsonrpc": "2.0", "id": "a", "result": ["echo", "x"]}
        assert (await ask(socket, b"{"))["error"]["code"] == -32700
        assert [each["id"] for each in await ask(socket, [json.loads(CALL)] * 3)] == ["a"] * 3
        assert (await ask(socket, {"jsonrpc": "2.0", "id": 1, "method": "deny"}))["error"]["code"] == -32601
        await socket.close()
    assert gate.in_flight == 0


async def test_a_notification_is_answered_with_nothing(served: ServerSettings) -> None:
    async with listening(EchoGate(), served) as door:
        socket = await door.open("/")
        await socket.send_str('{"jsonrpc":"2.0","method":"echo"}')
        assert (await ask(socket, CALL))["id"] == "a"
        await socket.close()


async def test_a_message_over_the_bound_is_refused_as_a_body_is(served: ServerSettings) -> None:
    async with listening(EchoGate(), served) as door:
        socket = await door.open()
        assert "at most 2048 are read" in (await ask(socket, b" " * 2049))["error"]["message"]
        await socket.send_str(" " * 10_000)
        assert (await socket.receive()).data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await socket.close()


async def test_messages_are_text(served: ServerSettings) -> None:
    async with listening(EchoGate(), served) as door:
        socket = await door.open()
        await socket.send_bytes(CALL)
        assert (await socket.receive()).data == aiohttp.WSCloseCode.UNSUPPORTED_DATA
        await socket.close()


async def test_a_connection_has_only_so_many_requests_answered_at_once(served: ServerSettings) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listening(gate, served) as door:
        socket, other = await door.open(), await door.open()
        for _ in range(30):
            await socket.send_str(CALL.decode())
        await gate.entered.wait()
        asking = asyncio.create_task(ask(other, CALL))
        while len(gate.asked) < 9:  # noqa: ASYNC110 - what is waited for happens in the gate
            await asyncio.sleep(0.001)
        assert len(gate.asked) == 9
        gate.open.set()
        assert (await asking)["id"] == "a"
        for _ in range(30):
            await socket.receive_str()
        await socket.close()
        await other.close()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/elsewhere", {}, 404),
        ("/soneium", {"Origin": "https://evil.example"}, 403),
        ("/soneium", {"Origin": "https://dapp.example"}, 101),
    ],
)
async def test_who_may_not_call_gets_no_websocket(
    served: ServerSettings, path: str, headers: dict[str, str], status: int
) -> None:
    async with listening(EchoGate(), served) as door:
        if status == 101:
            await (await door.open(path, **headers)).close()
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await door.open(path, **headers)
        assert refusal.value.status == status


async def test_a_client_is_known_by_its_key(served: ServerSettings) -> None:
    clients = Clients([KnownClient(name="trading", keys=frozenset({digest_of("trading-key")}))])
    async with listening(EchoGate(), replace(served, clients=clients)) as door:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await door.open()
        socket = await door.open(X_Api_Key="trading-key")
        assert (await ask(socket, CALL))["id"] == "a"
        await socket.close()


async def test_there_are_only_so_many_websockets(served: ServerSettings) -> None:
    few = replace(served, bounds=replace(served.bounds, connections=8))
    async with listening(EchoGate(), few) as door:
        sockets = [await door.open() for _ in range(4)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await door.open()
        assert refusal.value.status == 503
        for socket in sockets:
            await socket.close()


async def test_who_takes_no_answers_is_dropped(served: ServerSettings) -> None:
    gate = EchoGate()
    async with listening(gate, served) as door:
        long = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "long", "params": ["8000000"]})
        socket = await door.open()
        for _ in range(4):
            await socket.send_str(long)
        while gate.in_flight or not gate.asked:  # noqa: ASYNC110 - what is waited for happens in the gate
            await asyncio.sleep(0.001)
        await socket.close()
    assert gate.in_flight == 0


async def test_answers_that_nobody_takes_are_bounded_over_all_connections(served: ServerSettings) -> None:
    """Whoever has owed the longest goes; one that reads is served meanwhile, and after."""
    bounds = replace(served.bounds, stalled_seconds=1e6, unread_bytes=20_000_000)
    long = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "long", "params": ["8000000"]}).encode()
    gate = EchoGate()
    async with listening(gate, replace(served, bounds=bounds)) as door, AsyncExitStack() as leaving:
        port = door.server.port
        silent = []
        for count in range(1, 9):
            peer = await Peer.at(port)
            leaving.callback(peer.leave)
            await peer.say(HANDSHAKE + masked(long))
            silent.append(peer)
            while len(gate.asked) < count:  # noqa: ASYNC110 - what is waited for happens in the gate
                await asyncio.sleep(0.001)
        reader = await door.open()
        assert (await ask(reader, CALL))["id"] == "a"
        for peer in silent[:6]:
            assert len(await peer.rest()) < 8_000_000
        await reader.close()


@pytest.mark.parametrize("frame", [b"\x89\x84\0\0\0\0ping", b"\x8a\x80\0\0\0\0"], ids=["pings", "pongs"])
async def test_a_caller_that_only_pings_is_shut_out_and_one_that_does_so_now_and_then_is_not(
    served: ServerSettings, frame: bytes
) -> None:
    async with listening(EchoGate(), served) as door:
        patient, eager = await Peer.at(door.server.port), await Peer.at(door.server.port)
        await patient.say(HANDSHAKE + frame * 3 + masked(CALL))
        await eager.say(HANDSHAKE + frame * 5_000)
        told = await eager.rest()
        assert told.count(b"\x8a\x04ping") < 500
        assert b"\x03\xf0too many pings" in told
        await patient.reader.readuntil(b'"echo"')
        patient.leave()
        eager.leave()


async def test_of_who_is_shut_out_no_more_is_read(served: ServerSettings) -> None:
    async with listening(EchoGate(), served) as door:
        eager, piece, pieces = await Peer.at(door.server.port), b"\x89\x84\0\0\0\0ping" * 6_500, 0
        await eager.say(HANDSHAKE)
        with suppress(ConnectionError):
            while pieces < 2_000:
                await eager.say(piece)
                pieces += 1
        assert pieces < 300, "what nobody reads has no room on its way"
        eager.leave()


async def test_long_messages_of_one_connection_are_answered_one_after_the_other(served: ServerSettings) -> None:
    gate = EchoGate()
    gate.open.clear()
    long = [{"jsonrpc": "2.0", "id": number, "method": "echo", "params": ["x" * 1500]} for number in range(5)]
    async with listening(gate, served) as door:
        socket, other = await door.open(), await door.open()
        for each in long:
            await socket.send_str(json.dumps(each))
        await gate.entered.wait()
        for count in range(2, 5):
            await other.send_str(CALL.decode())
            while len(gate.asked) < count:  # noqa: ASYNC110 - what is waited for happens in the gate
                await asyncio.sleep(0.001)
        assert [request.id for request in gate.asked] == ["0", '"a"', '"a"', '"a"']
        gate.open.set()
        assert {json.loads(await socket.receive_str())["id"] for _ in long} == set(range(5))


@dataclass
class Arrivals:
    """Bytes that each WebSocket of this process has taken in, and whether it takes in more."""

    bytes: dict[Any, int]

    def all_full(self, sockets: int) -> bool:
        return sum(each._reading_paused for each in self.bytes) == sockets


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> Arrivals:
    seen: dict[Any, int] = {}
    take_in = web.RequestHandler.data_received

    def counted(self: Any, data: bytes) -> None:
        seen[self] = seen.get(self, 0) + len(data)
        take_in(self, data)

    monkeypatch.setattr(web.RequestHandler, "data_received", counted)
    return Arrivals(seen)


@pytest.mark.parametrize("small_ones_first", [False, True], ids=["long messages", "short ones, and then a long one"])
async def test_what_a_flooding_websocket_makes_the_gate_hold_is_bounded_in_bytes(
    served: ServerSettings, arrivals: Arrivals, small_ones_first: bool
) -> None:
    """While nothing is answered: then it is read no further."""
    most = 200_000
    gate = EchoGate()
    gate.open.clear()
    limits = replace(served.limits, max_bytes=most)
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": ["x" * (most - 100)]}).encode()
    long = b"\x81\xff" + len(text).to_bytes(8, "big") + bytes(4) + text
    flood = long * 40
    if small_ones_first:
        flood = long * 2 + masked(CALL) * 2_000 + flood
    async with listening(gate, replace(served, limits=limits)) as door, AsyncExitStack() as leaving:
        for _ in range(6):
            peer = await Peer.at(door.server.port)
            leaving.callback(peer.leave)
            peer.writer.write(HANDSHAKE + flood)  # it is never taken whole, so that nobody waits for it
        while not arrivals.all_full(6):  # noqa: ASYNC110 - what is waited for happens in the gate
            await asyncio.sleep(0.001)
        assert max(arrivals.bytes.values()) <= most_held(most) + len(HANDSHAKE)
        assert max(arrivals.bytes.values()) < len(flood) // 3
        gate.open.set()


@pytest.mark.parametrize(
    "asked",
    [
        HANDSHAKE,
        HANDSHAKE.replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12"),
        HANDSHAKE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Key: hush"),
        HANDSHAKE.replace(b"Connection: Upgrade", b"X-Hush: hush"),
        HANDSHAKE.replace(b"/soneium", b"/hush"),
        HANDSHAKE + b"hush" * 9,
    ],
    ids=["good", "another version", "no key", "no upgrade", "no chain", "no frames"],
)
async def test_no_answer_to_a_handshake_names_a_version_or_quotes_it(served: ServerSettings, asked: bytes) -> None:
    async with listening(EchoGate(), served) as door:
        peer = await Peer.at(door.server.port)
        await peer.say(asked)
        head = await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.write_eof()
        told = head + await peer.rest()
        peer.leave()
    for secret in (b"aiohttp", b"Python", b"hush"):
        assert secret not in told


async def test_who_leaves_while_it_is_written_to_is_no_fault_of_the_gate(
    served: ServerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(EchoGate(), served) as door:
        for _ in range(20):
            peer = await Peer.at(door.server.port)
            await peer.say(HANDSHAKE)
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.say(b"\x89\xfc\0\0\0\0" + bytes(124) + masked(CALL) * 8)
            peer.leave()
        socket = await door.open()
        assert (await ask(socket, CALL))["id"] == "a"
        await socket.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_gate_that_stops_says_good_bye(served: ServerSettings) -> None:
    gate = EchoGate()
    async with listening(gate, served) as door:
        socket = await door.open()
        stopping = asyncio.create_task(door.server.stop())
        assert (await socket.receive()).data == aiohttp.WSCloseCode.GOING_AWAY
        await stopping


async def test_a_connection_on_which_no_websocket_was_opened_serves_requests_no_worse(served: ServerSettings) -> None:
    async with listening(EchoGate(), served) as door:
        for _ in range(3):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await door.open(Origin="https://evil.example")
            url = f"http://127.0.0.1:{door.server.port}/soneium"
            async with door.http.post(url, data=CALL, headers={"content-type": "application/json"}) as response:
                assert (await response.json())["id"] == "a"
