"""What has arrived and waits is bounded over all connections, POST and WebSocket together: who has little is heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from aiohttp import web

from proxy.edge.http.lean.listening import LeanListener
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.reference import AiohttpListener
from proxy.edge.http.server import RpcServer
from proxy.jsonrpc import Request
from proxy.ports import Answer, RequestContext
from tests.edge.http.corpus import CALL, post
from tests.edge.http.peers import SETTINGS, EchoGate, Line, Peer
from tests.edge.http.test_websocket import HANDSHAKE
from tests.patience import patiently

LONGEST = 200_000
FLOODERS = 60
HEAD = post().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
NAMED = b"connections.max_waiting_bytes"
TRY_AGAIN_LATER = (1013).to_bytes(2, "big")


@dataclass
class ThinkingGate(EchoGate):
    """Answers what is not `think` at once."""

    decided: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        self.entered.set()
        if request.method == "think":
            await self.decided.wait()
        return await super().answer(request, context)


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """As callers frame it, with a mask of zeros."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 2**16:
        head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def in_pieces(payload: bytes, size: int) -> bytes:
    """One message in many frames."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    told = frame(pieces[0], 0x01) + b"".join(frame(piece, 0x00) for piece in pieces[1:-1])
    return told + frame(pieces[-1], 0x80)


@asynccontextmanager
async def listening(gate: EchoGate, transport: Transport, waiting_bytes: int) -> AsyncIterator[Line]:
    bounds = ListenerSettings(
        waiting_bytes=waiting_bytes, connections_per_peer=1000, shutdown_seconds=0.2, linger_seconds=0.2
    )
    limits = replace(SETTINGS.limits, max_bytes=LONGEST)
    served = replace(SETTINGS, transport=transport, bounds=bounds, limits=limits)
    server = await RpcServer(gate.answer, served, gate.hooks).start("127.0.0.1", 0)
    line = Line(server)
    try:
        yield line
    finally:
        for peer in line.peers:
            peer.leave()
        await server.stop()


async def socket_of(line: Line) -> Peer:
    peer = await line.peer(HANDSHAKE)
    await peer.reader.readuntil(b"\r\n\r\n")
    return peer


async def all_told(peer: Peer) -> bytes:
    """Whatever it is told until it is sent away, be it by a reset."""
    told = b""
    with suppress(ConnectionError):
        while piece := await peer.reader.read(4096):
            told += piece
    return told


async def heard(peer: Peer) -> object:
    """The next message, which is short."""
    first, size = await peer.reader.readexactly(2)
    assert (first, size < 126) == (0x81, True), "no short text"
    return json.loads(await peer.reader.readexactly(size))["id"]


def waiting(line: Line) -> int:
    """Bytes of messages that are not answered, as the listener counts them."""
    return cast(AiohttpListener | LeanListener, line.server._listener)._intake._messages


async def until_waiting(line: Line, size: int) -> None:
    for _ in patiently():
        if waiting(line) >= size:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{waiting(line)} bytes wait, not {size}")


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Bytes that were read of each caller's port."""
    seen: dict[int, int] = {}
    take_in = web.RequestHandler.data_received

    def counted(self: web.RequestHandler, data: bytes) -> None:
        if self.transport is not None:
            port = self.transport.get_extra_info("peername")[1]
            seen[port] = seen.get(port, 0) + len(data)
        take_in(self, data)

    monkeypatch.setattr(web.RequestHandler, "data_received", counted)
    return seen


@pytest.mark.parametrize("transport", Transport)
async def test_what_websockets_make_the_gate_hold_is_bounded_over_all_of_them_and_others_are_heard(
    transport: Transport, arrivals: dict[int, int]
) -> None:
    most = 2_000_000
    gate = ThinkingGate()
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "think", "params": ["x" * (LONGEST - 100)]}).encode()
    async with listening(gate, transport, most) as line, AsyncExitStack() as leaving:
        good = await socket_of(line)
        flooders: dict[int, asyncio.Task[bytes]] = {}
        for _ in range(FLOODERS):
            peer = await Peer.at(line.server.port)
            leaving.callback(peer.leave)
            peer.writer.write(HANDSHAKE + frame(text) * 20)  # it is never taken whole, so that nobody waits for it
            port = peer.writer.transport.get_extra_info("sockname")[1]
            flooders[port] = asyncio.create_task(all_told(peer))
        before = {}
        for _ in patiently():
            await good.say(frame(CALL))
            assert await heard(good) == "a"  # in the midst of it, and whatever else there was to read was read before
            held = {port: arrivals.get(port, 0) for port, told in flooders.items() if not told.done()}
            if held == before and len(held) < FLOODERS and sum(held.values()) <= most + len(held) * len(HANDSHAKE):
                break
            before = held
            await asyncio.sleep(0.01)
        assert sum(held.values()) <= most + len(held) * len(HANDSHAKE)
        assert len(held) >= 2, "some go, and the rest keep their places"
        sent_away = [told.result() for told in flooders.values() if told.done()]
        assert any(TRY_AGAIN_LATER in told and NAMED in told for told in sent_away)
        posting = await line.peer(post())
        assert (await posting.hear())[0] == 200
        gate.decided.set()


@pytest.mark.parametrize("transport", Transport)
async def test_who_has_most_waiting_goes_and_hears_by_which_setting(transport: Transport) -> None:
    async with listening(EchoGate(), transport, 10_000) as line:
        small, large = await socket_of(line), await socket_of(line)
        await small.say(frame(CALL)[:-1])
        await large.say(frame(b" " * 20_000)[:9_000])
        await until_waiting(line, 9_000)
        other = await socket_of(line)
        await other.say(frame(b" " * 20_000)[:5_000])
        told = await all_told(large)
        assert told[2:4] == TRY_AGAIN_LATER
        assert NAMED in told
        await small.say(frame(CALL)[-1:])
        assert await heard(small) == "a"


@pytest.mark.parametrize("transport", Transport)
async def test_messages_and_bodies_have_one_bound_and_of_the_kind_that_has_more_somebody_goes(
    transport: Transport,
) -> None:
    async with listening(EchoGate(), transport, 8_000) as line:
        body = await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1_900)
        for _ in patiently():
            if line.waiting == 1_900:
                break
            await asyncio.sleep(0.001)
        socket = await socket_of(line)
        await socket.say(frame(b" " * 20_000)[:6_500])
        assert NAMED in await all_told(socket)
        small = await socket_of(line)
        await small.say(frame(CALL)[:-1])
        await until_waiting(line, len(CALL))
        for _ in range(4):  # too much by one
            await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1_900)
        assert NAMED in (await body.hear())[2]
        assert await body.ended()
        await small.say(frame(CALL)[-1:])
        assert await heard(small) == "a"


@pytest.mark.parametrize("transport", Transport)
async def test_who_sends_faster_than_it_is_answered_is_read_no_further_and_loses_nothing(transport: Transport) -> None:
    gate = ThinkingGate()
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "think", "params": []}).encode()
    async with listening(gate, transport, 700_000) as line:
        eager = await socket_of(line)
        filler = frame(CALL.ljust(1_900))
        saying = asyncio.create_task(eager.say(frame(text) * 8 + filler * 2_000))
        await gate.entered.wait()
        other = await socket_of(line)
        await other.say(frame(CALL))
        assert await heard(other) == "a"
        gate.decided.set()
        assert [await heard(eager) for _ in range(2_008)].count("a") == 2_000
        await saying
        assert waiting(line) <= 300_000


@pytest.mark.parametrize("transport", Transport)
async def test_what_was_answered_waits_no_more_in_however_many_pieces_it_came(transport: Transport) -> None:
    async with listening(EchoGate(), transport, 20_000) as line:
        patient = await socket_of(line)
        for _ in range(300):
            await patient.say(in_pieces(CALL, 2))
            assert await heard(patient) == "a"
        assert waiting(line) <= 2 * len(in_pieces(CALL, 2))
        patient.leave()
        for _ in patiently():
            if not waiting(line):
                break
            await asyncio.sleep(0.001)
        assert waiting(line) == 0
