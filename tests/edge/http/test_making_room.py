"""Who has to go for others is the one who holds most and longest, hears why, and keeps no more than its place."""

from __future__ import annotations

import pytest

from proxy.edge.http.listener import Transport
from tests.edge.http.corpus import CALL, post
from tests.edge.http.peers import EchoGate, assert_had_to_go, listener, until
from tests.edge.http.test_connections import ANSWER, HEAD
from tests.edge.http.test_websocket import HANDSHAKE, masked


async def test_for_bodies_nobody_goes_of_whom_nothing_has_come() -> None:
    async with listener(EchoGate(), waiting_bytes=8_000, connections_per_peer=1000) as line:
        silent = [await line.peer() for _ in range(5)] + [await line.peer(HEAD) for _ in range(5)]
        beginning = await line.peer(HEAD[:-2].ljust(1000, b"x"))
        await until(lambda: line.waiting == 1000)
        body = await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1900)
        await until(lambda: line.waiting == 2900)
        for _ in range(3):
            await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1900)
        status, headers, told = await beginning.hear()  # the one that has waited longest
        assert (status, headers["connection"]) == (503, "close")
        assert b"connections.max_waiting_bytes" in told
        await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1900)
        assert_had_to_go(*await body.hear())
        for number, peer in enumerate(silent):
            await peer.say(post() if number < 5 else CALL)
            assert (await peer.hear())[2] == ANSWER


async def test_who_has_to_go_while_it_is_answered_hears_the_answer_and_that_it_is_the_last() -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, waiting_bytes=8_000, connections_per_peer=1000) as line:
        ahead = await line.peer(post() + HEAD.replace(b"57", b"2000") + b" " * 1000)
        await until(lambda: line.waiting > 1000)
        for _ in range(4):
            await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1900)
        await until(lambda: line.waiting == 1900 * 4)
        await ahead.say(b" " * 1000)
        gate.open.set()
        status, headers, body = await ahead.hear()
        assert (status, headers["connection"], body) == (200, "close", ANSWER)
        assert await ahead.ended()
        assert len(gate.asked) == 1


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("asked", [post(), HANDSHAKE + masked(CALL)], ids=["POST", "WebSocket"])
async def test_who_leaves_before_its_answer_keeps_its_place_until_it_is_there(
    transport: Transport, asked: bytes
) -> None:
    """Or there were no end to what one address has answered at once."""
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport, connections_per_peer=3) as line:
        for count in range(1, 4):
            leaving = await line.peer(asked)
            await until(lambda: len(gate.asked) == count)  # noqa: B023 - asked at once
            leaving.break_off()
        await until(lambda: line.connected == 0)
        assert (await (await line.peer(post())).hear())[0] == 503
        assert len(gate.asked) == 3
        gate.open.set()
        await until(lambda: line.present == 0)
        assert (await (await line.peer(post())).hear())[2] == ANSWER
