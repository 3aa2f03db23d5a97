"""A WebSocket's message has the time of a body to come in, and as many frames as a body has chunks."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import WSCloseCode

from proxy.edge.http.deadlines import Deadlines
from proxy.edge.http.intake import Intake, WaitingMessages
from proxy.edge.http.listener import Transport
from proxy.edge.http.parts import MessageParts
from tests.edge.http.corpus import CALL
from tests.edge.http.peers import EchoGate, listener
from tests.edge.http.test_intake import all_told, frame
from tests.edge.http.test_websocket import HANDSHAKE, masked

SHUT_OUT = (1008).to_bytes(2, "big")


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize(
    "begun",
    [b"\x81", b"\x81\xfe\xff", masked(CALL)[:-1], frame(b"x", 0x01), frame(b"x", 0x01) + frame(b"", 0x89) * 3, b"\x89"],
    ids=["one byte", "half a length", "all but one byte", "one frame", "one frame and pings", "half a ping"],
)
async def test_a_message_that_is_never_whole_is_not_waited_for(transport: Transport, begun: bytes) -> None:
    async with listener(EchoGate(), transport, body_seconds=0.05, linger_seconds=0.05) as line:
        for said in (HANDSHAKE + begun, HANDSHAKE + masked(CALL) + begun):
            peer = await line.peer(said)
            told = await all_told(peer)
            assert SHUT_OUT + b"message did not arrive within" in told
            assert (b'"echo"' in told) == (CALL in said)


@pytest.mark.parametrize("transport", Transport)
async def test_a_message_that_trickles_is_not_waited_for_longer(transport: Transport) -> None:
    async with listener(EchoGate(), transport, body_seconds=0.2, linger_seconds=0.05) as line:
        peer = await line.peer(HANDSHAKE + frame(b"[", 0x01))

        async def trickle() -> None:
            while not peer.writer.is_closing():
                peer.writer.write(frame(b" ", 0x00))
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        assert SHUT_OUT + b"message did not arrive within" in await all_told(peer)
        peer.leave()
        await trickling


@pytest.mark.parametrize("transport", Transport)
async def test_who_has_nothing_begun_may_stay(transport: Transport) -> None:
    async with listener(EchoGate(), transport, body_seconds=0.05, linger_seconds=0.05) as line:
        staying = await line.peer(HANDSHAKE + masked(CALL) + frame(b"", 0x89))
        leaving = await line.peer(HANDSHAKE + b"\x81")  # began later
        await all_told(leaving)
        await staying.say(masked(CALL))
        for _ in range(2):
            await staying.reader.readuntil(b'"echo"')


@pytest.mark.parametrize("transport", Transport)
async def test_frames_that_carry_nothing_are_not_taken_for_ever(transport: Transport) -> None:
    async with listener(EchoGate(), transport, linger_seconds=0.05) as line:
        peer = await line.peer(HANDSHAKE + frame(b"", 0x01) + frame(b"", 0x00) * 5_000)
        assert SHUT_OUT + b"too many frames" in await all_told(peer)


class Socket:
    """A WebSocket of which messages wait."""

    def __init__(self) -> None:
        self.left: list[bytes] = []

    def queued(self) -> int:
        return 0

    def hold_up(self) -> None:
        return None

    read_on = let_go = send_away = hold_up

    def shut_out(self, _code: WSCloseCode, reason: bytes) -> None:
        self.left.append(reason)


async def test_while_its_caller_waits_for_an_answer_its_time_does_not_run() -> None:
    coming: Deadlines[MessageParts] = Deadlines(asyncio.get_running_loop(), 1000, MessageParts.late)
    socket = Socket()
    parts = MessageParts(coming, WaitingMessages(Intake(10_000), socket), socket.shut_out)
    parts.came(masked(CALL) + b"\x81")
    parts.waiting.taken(len(CALL))
    coming.stop(parts)
    parts.late()  # as if its time were over
    assert (socket.left, coming.first) == ([], parts)
    coming.stop(parts)
    parts.answered(len(CALL))
    assert coming.first is parts, "from now on"
    parts.late()
    assert (socket.left, coming.first) == ([b"message did not arrive within 1000 s"], None)
    coming.close()
