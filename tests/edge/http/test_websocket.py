"""A WebSocket carries the same requests to the same answers, and its caller is bounded as any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from proxy.clients.keys import digest_of
from proxy.edge.http.clients import Clients, KnownClient
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.server import RpcServer, ServerSettings
from tests.edge.http.corpus import CALL
from tests.edge.http.peers import SETTINGS, EchoGate


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
