"""Whoever asks for much pays for it: others have their share of the loop, and of the connections, whatever he does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.forwarded import TrustedProxies
from proxy.edge.http.households import TURN_SECONDS, HouseholdTurns
from proxy.edge.http.inbound import CARRIED_SECONDS, InboundCall
from proxy.edge.http.listener import MOST_TOLD_TO_GO, Transport
from proxy.edge.http.messages import HttpAnswer, HttpRequest
from proxy.jsonrpc import Request
from proxy.ports import Answer, RequestContext
from tests.edge.http.corpus import JSON, post
from tests.edge.http.peers import EchoGate, Line, Peer, listener, until
from tests.edge.http.test_websocket import HANDSHAKE

PIECE = 0.005


@dataclass
class DearGate(EchoGate):
    """Each request takes `PIECE` seconds by its clock; notes who was served."""

    now: float = 0.0
    served: list[str | None] = field(default_factory=list)

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        self.now += PIECE
        self.served.append(context.remote)
        return await super().answer(request, context)


async def calling_from(address: str, line: Line, port: int | None = None) -> socket.socket:
    """A connection from one of this machine's addresses, which the test writes to without letting the loop on."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((address, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port or line.server.port))
    return sock


async def peer_from(address: str, line: Line, said: bytes = b"") -> Peer:
    peer = Peer(*await asyncio.open_connection(sock=await calling_from(address, line)))
    line.peers.append(peer)
    await peer.say(said)
    return peer


@contextmanager
def closing_all(socks: list[socket.socket]) -> Iterator[None]:
    with ExitStack() as stack:
        for sock in socks:
            stack.callback(sock.close)
        yield


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("by_task", [False, True], ids=["at once", "by tasks"])
async def test_who_asks_for_one_thing_is_served_before_the_hundredth_of_another(
    transport: Transport, by_task: bool
) -> None:
    gate = DearGate()
    async with listener(gate, transport, by_task=by_task) as line:
        line.server._service.turns.clock = lambda: gate.now
        many = [await calling_from("127.0.0.2", line) for _ in range(100)]
        one = await calling_from("127.0.0.3", line)
        with closing_all([*many, one]):
            await until(lambda: line.present == 101)
            for sock in (*many, one):  # all are there when the loop looks next
                sock.send(post())
            await until(lambda: len(gate.served) == 101)
    assert gate.served.index("127.0.0.3") <= 2


GET = b"GET /openrpc.json HTTP/1.1\r\nHost: gate\r\n\r\n"


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("said", [GET, GET.replace(b"GET", b"BREW")])
async def test_what_its_head_alone_decides_takes_its_households_time_too(transport: Transport, said: bytes) -> None:
    gate = DearGate()
    async with listener(gate, transport) as line:
        service = line.server._service
        service.turns.clock = lambda: gate.now
        receive = service.receive

        def dear(request: HttpRequest) -> HttpAnswer | InboundCall:
            if request.peer == "127.0.0.2":
                gate.now += PIECE
                gate.served.append(request.peer)
            return receive(request)

        service.receive = dear  # type: ignore[method-assign]  # told who is looked at
        many = [await calling_from("127.0.0.2", line) for _ in range(40)]
        good = await peer_from("127.0.0.3", line)
        with closing_all(many):
            await until(lambda: line.present == 41)
            for sock in many:
                sock.send(said * 10)
            for _ in range(3):
                await good.say(post())
                assert (await good.hear())[0] == 200
            assert gate.served.count("127.0.0.2") < 120


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("said", [GET, post(), post(line=b"POST /nothing HTTP/1.1"), HANDSHAKE])
async def test_what_is_done_around_a_turn_is_paid_for(transport: Transport, said: bytes) -> None:
    async with listener(EchoGate(), transport) as line:
        turns = line.server._service.turns
        turns.clock = lambda: 0.0
        before = turns._of("127.0.0.2").spent
        for _ in range(10):
            peer = await peer_from("127.0.0.2", line, said)
            await peer.hear()
            peer.leave()
        assert turns._of("127.0.0.2").spent - before >= 10 * CARRIED_SECONDS


async def test_while_others_wait_what_comes_in_pieces_is_paid_for_and_read_in_its_turn() -> None:
    async with listener(EchoGate(), Transport.LEAN) as line:
        turns = line.server._service.turns
        turns.clock = lambda: 0.0
        whole = post()
        peer = await peer_from("127.0.0.2", line, whole[:-10])
        await until(lambda: line.waiting == len(whole) - 10 - whole.index(b"\r\n\r\n") - 4)
        held, paid = line.waiting, turns._of("127.0.0.2").spent
        turns.is_due = True  # somebody who has had less stands in line
        await peer.say(whole[-10:-9])
        await until(lambda: line.waiting == held + 1)
        assert turns._of("127.0.0.2").spent > paid
        await peer.say(whole[-9:])
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert line.waiting == held + 1, "not one byte is read before its turn"
        turns._take_turns()
        assert (await peer.hear())[0] == 200


async def test_who_calls_through_a_trusted_proxy_waits_for_his_own_turn_and_not_for_the_proxys() -> None:
    gate, asked_before = EchoGate(), list[int]()
    async with listener(gate, Transport.LEAN) as line:
        service = line.server._service
        turns = service.turns
        service.settings = replace(service.settings, proxies=TrustedProxies((ip_network("127.0.0.2"),)))
        turns.clock = lambda: 0.0
        for household, had in (("127.0.0.2", 1.0), ("127.0.0.9", 0.5)):
            turns.charge(household, had)
        await until(lambda: not turns.is_due)
        turns.is_due = True
        turns.begin("127.0.0.9", lambda: asked_before.append(len(gate.asked)))
        turns.charge("127.0.0.9", 2 * TURN_SECONDS)  # so that one is served until the loop goes round
        whole = post(fields=JSON + b"X-Forwarded-For: 203.0.113.7\r\n")
        peer = await peer_from("127.0.0.2", line, whole[:20])
        await until(lambda: line.waiting == 20)
        await peer.say(whole[20:-10])
        await until(lambda: "203.0.113.7" in turns._households)
        await peer.say(whole[-10:])
        turns._take_turns()
        assert (await peer.hear())[0] == 200
        await until(lambda: asked_before != [])
    assert asked_before == [1]


async def test_what_is_worked_on_reading_is_of_the_time_that_others_wait() -> None:
    turns, begun = HouseholdTurns(8, clock=lambda: 0.0), list[int]()
    turns.charge("somebody", 2 * TURN_SECONDS)
    for number in range(10):
        turns.begin("much", partial(begun.append, number))
    assert begun == []
    turns.charge("somebody", 2 * TURN_SECONDS)  # what was read until the loop comes to whose turn it is
    await asyncio.sleep(0)
    assert begun == [0], "one begins all the same, and the loop hears who else has asked"
    await asyncio.sleep(0)
    assert begun == list(range(10))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0001, 0.01), min_size=2),
    st.integers(20, 200),
)
def test_of_all_who_wait_nobody_has_had_more_than_another_but_for_a_piece(pieces: dict[str, float], most: int) -> None:
    now, had, served = 0.0, dict.fromkeys(pieces, 0.0), 0

    async def serve() -> None:
        turns, over = HouseholdTurns(8, clock=lambda: now), asyncio.Event()

        def piece(household: str) -> None:
            nonlocal now, served
            served += 1
            if served <= most:  # by then all have more in line
                now += pieces[household]
                had[household] += pieces[household]
            elif served == most * len(pieces):
                over.set()

        for household in pieces:
            for _ in range(most):
                turns.begin(household, partial(piece, household))
        await over.wait()

    asyncio.run(serve())
    # and what was done before anybody had to wait
    assert max(had.values()) - min(had.values()) <= 2 * max(pieces.values()) + 2 * TURN_SECONDS


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.floats(0.0001, 0.05), st.integers(1, 4))
def test_who_was_served_while_nobody_waited_owes_nothing_for_it_to_who_comes_later(
    before: int, dear: float, strangers: int
) -> None:
    now, served = 0.0, list[str]()

    async def serve() -> None:
        turns = HouseholdTurns(8, clock=lambda: now)

        def piece(household: str, takes: float) -> None:
            nonlocal now
            now += takes
            served.append(household)

        for _ in range(before):  # for hours if need be
            turns.begin("good", partial(piece, "good", TURN_SECONDS))
            await asyncio.sleep(0)
        turns.begin("good", partial(piece, "good", dear))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        served.clear()
        for number in range(strangers):
            for _ in range(100):
                turns.begin(f"stranger {number}", partial(piece, f"stranger {number}", PIECE))
        turns.begin("good", partial(piece, "good", PIECE))
        await until(lambda: len(served) == 100 * strangers + 1)

    asyncio.run(serve())
    first, share = served.index("good"), strangers + 1
    # what the last piece took may be held against it, and no more
    assert first <= share * (2 + dear / PIECE)


@pytest.mark.parametrize("transport", Transport)
async def test_however_many_take_all_the_connections_they_may_a_newcomer_has_one(transport: Transport) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport, connections=16, connections_per_peer=8) as line:
        for address in range(2, 14):
            for _ in range(8):
                await peer_from(f"127.0.0.{address}", line, post())
        newcomer = await peer_from("127.0.0.50", line, post())
        await until(lambda: len(gate.asked) > 0)
        gate.open.set()
        assert (await newcomer.hear())[0] == 200


@pytest.mark.parametrize("transport", Transport)
async def test_who_rests_between_two_requests_is_not_turned_out_by_another_who_wants_all(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport, connections=16, connections_per_peer=16) as line:
        resting = await peer_from("127.0.0.5", line, post())
        assert (await resting.hear())[0] == 200
        for _ in range(40):
            await peer_from("127.0.0.2", line, post())
        await until(lambda: len(gate.asked) >= 9)
        await resting.say(post())
        assert (await resting.hear())[0] == 200


async def test_of_many_that_are_turned_away_a_few_are_told_why_and_none_is_waited_for_beyond_these() -> None:
    gate = EchoGate()
    async with listener(gate, Transport.LEAN, connections_per_peer=1, linger_seconds=60) as line:
        first = await peer_from("127.0.0.2", line, post())
        assert (await first.hear())[0] == 200
        refused = [await peer_from("127.0.0.2", line) for _ in range(30)]
        await until(lambda: line.present == 1 + MOST_TOLD_TO_GO)
        told = 0
        for peer in refused:
            try:
                told += (await peer.hear())[0] == 503
            except (asyncio.IncompleteReadError, ConnectionError):
                continue
        assert told == MOST_TOLD_TO_GO
