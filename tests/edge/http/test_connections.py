"""Callers who are slow, silent, gone or too many take nothing from the others; answers come in the order asked.

What is said of the lean listener alone is more than aiohttp does: that one ends a slow head without a word, leaves who
has stopped talking, and hangs up without a word where all are busy or it stops.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web

from proxy.edge.http.intake import Intake
from proxy.edge.http.lean.connection import Connection
from proxy.edge.http.lean.house import House
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.quiet_aiohttp import QuietServer
from proxy.edge.http.server import RpcServer
from proxy.edge.http.service import Service
from tests.edge.http.corpus import CALL, JSON, SERVED, chunked, post
from tests.edge.http.peers import SETTINGS, EchoGate, Peer, assert_had_to_go, listener, until
from tests.patience import PATIENCE_SECONDS

ANSWER = b'{"jsonrpc":"2.0","id":"a","result":["echo","x"]}'
HEAD = post().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def call(number: int, method: str = "echo", *params: object) -> bytes:
    return post(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode())


# --- in order


@pytest.mark.parametrize("transport", Transport)
async def test_requests_sent_at_once_are_answered_in_order(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport) as line:
        peer = await line.peer(b"".join(call(number) for number in range(50)))
        assert [json.loads((await peer.hear())[2])["id"] for _ in range(50)] == list(range(50))


@pytest.mark.parametrize("transport", Transport)
async def test_answers_of_every_kind_keep_their_order(transport: Transport) -> None:
    gate = EchoGate()
    look = SERVED["a look at nothing"]
    async with listener(gate, transport) as line:
        peer = await line.peer(call(1) + look + chunked(CALL) + look + call(2) + SERVED["no JSON"])
        assert [(await peer.hear())[0] for _ in range(6)] == [200, 404, 200, 404, 200, 200]


@pytest.mark.parametrize("transport", Transport)
async def test_a_request_waits_for_the_answer_to_the_one_before(transport: Transport) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport) as line:
        peer = await line.peer(call(1) + call(2))
        await gate.entered.wait()
        other = await line.peer(call(3))
        await until(lambda: len(gate.asked) == 2)
        assert sorted(str(request.id) for request in gate.asked) == ["1", "3"]
        gate.open.set()
        assert json.loads((await peer.hear())[2])["id"] == 1
        assert json.loads((await peer.hear())[2])["id"] == 2
        assert json.loads((await other.hear())[2])["id"] == 3


@pytest.mark.parametrize("transport", Transport)
async def test_who_sends_ahead_is_read_no_further_than_need_be(transport: Transport) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport) as line:
        peer = await line.peer()
        sending = asyncio.create_task(peer.say(call(1) * 200_000))
        await gate.entered.wait()
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not sending.done()
        peer.leave()
        await asyncio.wait([sending])
        sending.exception()
        gate.open.set()


@pytest.mark.parametrize("transport", Transport)
async def test_a_body_that_comes_in_pieces_is_waited_for(transport: Transport) -> None:
    async with listener(EchoGate(), transport) as line:
        peer = await line.peer(HEAD)
        for each in CALL:
            await peer.say(bytes([each]))
        assert (await peer.hear())[2] == ANSWER


@pytest.mark.parametrize("transport", Transport)
async def test_who_expects_to_be_told_to_go_on_is_told_only_if_the_body_is_wanted(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport) as line:
        expecting = HEAD.replace(JSON, JSON + b"Expect: 100-continue\r\n")
        peer = await line.peer(expecting)
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.say(CALL)
        assert (await peer.hear())[2] == ANSWER
        too_long = await line.peer(expecting.replace(b"Content-Length: 57", b"Content-Length: 5700"))
        assert b"at most 2048" in (await too_long.hear())[2]
        assert await too_long.ended()


# --- half closed


@pytest.mark.parametrize("requests", [1, 3])
async def test_who_has_stopped_talking_still_hears_every_answer(requests: int) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, linger_seconds=0.05) as line:
        peer = await line.peer(post() * requests)
        peer.writer.write_eof()
        await gate.entered.wait()
        gate.open.set()
        for _ in range(requests):
            assert (await peer.hear())[2] == ANSWER
        assert await peer.ended()
    assert gate.turned_away == []


@pytest.mark.parametrize("by_task", [False, True])
async def test_who_sends_many_at_once_and_stops_talking_hears_every_answer(by_task: bool) -> None:
    """Also where the end comes between an answer and the next request, which is there already."""
    gate = EchoGate()
    async with listener(gate, by_task=by_task, linger_seconds=0.05) as line:
        peer = await line.peer()
        peer.writer.write(b"".join(call(number) for number in range(200)))
        peer.writer.write_eof()
        assert [json.loads((await peer.hear())[2])["id"] for _ in range(200)] == list(range(200))
        assert await peer.ended()
    assert gate.turned_away == []
    assert gate.in_flight == 0


async def test_each_request_of_who_has_stopped_talking_is_what_its_own_head_says() -> None:
    gate = EchoGate()
    gate.open.clear()
    said = [post(), SERVED["an unknown path"], post(fields=b"Content-Type: text/plain\r\n"), post(), chunked(CALL)]
    async with listener(gate, linger_seconds=0.05) as line:
        peer = await line.peer(b"".join(said))
        peer.writer.write_eof()
        await gate.entered.wait()
        gate.open.set()
        heard = [json.loads((await peer.hear())[2]) for _ in said]
        assert await peer.ended()
    assert ["result" in each for each in heard] == [True, False, False, True, True]
    assert len(gate.asked) == 3
    assert gate.in_flight == 0


@pytest.mark.parametrize(("said", "told"), [(HEAD[:30], b" 400 "), (HEAD, b"broken off"), (HEAD + CALL[:9], b"broken")])
async def test_who_stops_in_the_middle_is_told_so(said: bytes, told: bytes) -> None:
    gate = EchoGate()
    async with listener(gate, linger_seconds=0.05) as line:
        peer = await line.peer(said)
        peer.writer.write_eof()
        assert told in await peer.rest()
    assert gate.asked == []
    assert gate.in_flight == 0


@pytest.mark.parametrize("transport", Transport)
async def test_who_says_nothing_and_stops_is_let_go(transport: Transport) -> None:
    async with listener(EchoGate(), transport) as line:
        peer = await line.peer()
        peer.writer.write_eof()
        assert await peer.rest() == b""


# --- slow and silent


async def told_while_it_trickles(peer: Peer, piece: bytes) -> tuple[int, dict[str, str], bytes]:
    """What a peer hears that goes on and on saying this."""

    async def trickle() -> None:
        while True:
            peer.writer.write(piece)
            await asyncio.sleep(0.01)

    trickling = asyncio.create_task(trickle())
    try:
        return await peer.hear()
    finally:
        trickling.cancel()


async def test_a_head_that_trickles_is_not_waited_for_for_ever() -> None:
    # it lingers for long: a slow machine is to hear the answer before the connection ends under what it still says
    async with listener(EchoGate(), head_seconds=0.05, linger_seconds=60) as line:
        peer = await line.peer(b"POST / HTTP/1.1\r\n")
        told = asyncio.ensure_future(peer.reader.readline())
        while not told.done():
            peer.writer.write(b"X-Slow: 1\r\n")
            await asyncio.sleep(0.02)
        assert b" 408 " in told.result()


@pytest.mark.parametrize("transport", Transport)
async def test_a_newcomer_who_does_not_come_to_the_point_is_shown_out_and_one_who_has_asked_is_not(
    transport: Transport,
) -> None:
    async with listener(EchoGate(), transport, head_seconds=0.5, linger_seconds=0.01) as line:
        known = await line.peer(post())
        assert (await known.hear())[2] == ANSWER
        silent, slow = await line.peer(), await line.peer(HEAD[:30])
        assert await silent.rest() == b""
        assert await slow.rest() == b"" or transport is Transport.LEAN  # that one is told why
        await known.say(post())
        assert (await known.hear())[2] == ANSWER


@pytest.mark.parametrize("transport", Transport)
async def test_a_body_that_trickles_is_refused_and_its_connection_ends(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport, body_seconds=0.2, linger_seconds=60) as line:
        peer = await line.peer(HEAD.replace(b"57", b"2000") + b"[")
        status, headers, told = await told_while_it_trickles(peer, b" ")
        assert (status, headers["connection"]) == (200, "close")
        assert b"did not arrive within 0.2 s" in told
        peer.writer.write_eof()
        assert await peer.ended()
    assert (gate.asked, gate.in_flight) == ([], 0)


@pytest.mark.parametrize("transport", Transport)
async def test_an_idle_connection_is_closed_and_one_in_use_is_not(transport: Transport) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport, keepalive_seconds=0.02) as line:
        peer = await line.peer(post())
        await gate.entered.wait()
        await asyncio.sleep(0.06)
        gate.open.set()
        assert (await peer.hear())[2] == ANSWER
        assert await peer.ended()


# --- who does not read


@pytest.mark.parametrize("transport", Transport)
async def test_who_takes_no_answer_is_dropped(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport, stalled_seconds=0.05) as line:
        peer = await line.peer(call(1, "long", "8_000_000"))
        await until(lambda: gate.in_flight == 0)
        await until(lambda: line.present == 0)  # so that nothing is read of it before
        heard = await peer.rest()
        assert len(heard) < 8_000_000


@pytest.mark.parametrize("transport", Transport)
async def test_who_reads_slowly_is_not_dropped(transport: Transport) -> None:
    async with listener(EchoGate(), transport, stalled_seconds=0.3) as line:
        peer = await line.peer(call(1, "long", "4_000_000").replace(JSON, JSON + b"Connection: close\r\n"))
        heard = 0
        while chunk := await peer.reader.read(200_000):
            heard += len(chunk)
            await asyncio.sleep(0.02)
        assert heard > 4_000_000


@pytest.mark.parametrize("transport", Transport)
async def test_no_request_is_begun_for_who_has_not_taken_the_last_answer(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport) as line:
        peer = await line.peer(call(1, "long", "8_000_000") + call(2))
        await until(lambda: bool(gate.asked) and gate.in_flight == 0)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(gate.asked) == 1
        assert len((await peer.hear())[2]) > 8_000_000
        assert json.loads((await peer.hear())[2])["id"] == 2


@pytest.mark.parametrize("transport", Transport)
async def test_answers_nobody_takes_are_bounded_over_all_callers_and_the_longest_stalled_goes_first(
    transport: Transport,
) -> None:
    gate = EchoGate()
    async with listener(gate, transport, unread_bytes=12_000_000) as line:
        peers = []
        for number in range(4):
            peers.append(await line.peer(call(number, "long", "8_000_000")))
            await until(lambda: len(gate.asked) == len(peers) and gate.in_flight == 0)
        heard = [await asyncio.wait_for(_length(peer), PATIENCE_SECONDS) for peer in peers]
        whole = [length > 8_000_000 for length in heard]
        assert whole == sorted(whole)  # those dropped are those that had stalled longest
        assert (whole[0], whole[-1]) == (False, True)


@pytest.mark.parametrize("transport", Transport)
async def test_who_does_not_take_the_end_of_its_last_answer_is_dropped_too(transport: Transport) -> None:
    gate = EchoGate()
    async with listener(gate, transport, stalled_seconds=0.05, linger_seconds=0.05) as line:
        last = call(1, "long", "8_000_000").replace(JSON, JSON + b"Connection: close\r\n")
        peers = [await line.peer(last) for _ in range(3)]
        await until(lambda: len(gate.asked) == 3 and gate.in_flight == 0)
        for peer in peers:  # all but some tens of kilobytes, so that to the gate it is done
            await asyncio.wait_for(peer.reader.read(1), PATIENCE_SECONDS)
        await until(lambda: line.present == 0)


async def _length(peer: Peer) -> int:
    try:
        return len((await peer.hear())[2])
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0


@pytest.mark.parametrize("transport", Transport)
async def test_the_answers_to_a_batch_are_bounded_and_each_element_is_told(transport: Transport) -> None:
    gate = EchoGate()
    items = [{"jsonrpc": "2.0", "id": number, "method": "long", "params": ["60000"]} for number in range(10)]
    limit = replace(SETTINGS, batch_answer_bytes=200_000, batch_concurrency=2, transport=transport)
    server = await RpcServer(gate.answer, limit, gate.hooks).start("127.0.0.1", 0)
    peer = await Peer.at(server.port)
    await peer.say(post(json.dumps(items).encode()))
    replies = json.loads((await peer.hear())[2])
    peer.leave()
    await server.stop()
    assert [reply["id"] for reply in replies] == list(range(10))
    answered = [reply for reply in replies if "result" in reply]
    assert 3 <= len(answered) < 10
    assert len(gate.asked) < 10
    sent = {reply["id"] for reply in replies if reply.get("error", {}).get("data", {}).get("sent")}
    assert len(gate.asked) == len(answered) + len(sent)


# --- too many


@pytest.mark.parametrize("transport", Transport)
async def test_a_silent_connection_makes_room_for_a_newcomer_and_one_in_use_does_not(transport: Transport) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport, connections=4) as line:
        busy = await line.peer(post())
        await gate.entered.wait()
        silent = [await line.peer() for _ in range(3)]
        newcomer = await line.peer(call(7))
        assert await silent[0].ended()
        await until(lambda: len(gate.asked) == 2)
        gate.open.set()
        assert json.loads((await newcomer.hear())[2])["id"] == 7
        assert (await busy.hear())[2] == ANSWER


async def test_who_comes_when_all_are_busy_is_told_to_come_again() -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, connections=2) as line:
        busy = [await line.peer(post()), await line.peer(post())]
        await until(lambda: len(gate.asked) == 2)
        newcomer = await line.peer()
        status, headers, _ = await newcomer.hear()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        gate.open.set()
        assert [(await peer.hear())[2] for peer in busy] == [ANSWER] * 2


@pytest.mark.parametrize("transport", Transport)
async def test_one_address_has_only_so_many_connections(transport: Transport) -> None:
    async with listener(EchoGate(), transport, connections_per_peer=2) as line:
        first = await line.peer(post())
        second = await line.peer()
        newcomer = await line.peer()
        status, headers, _ = await newcomer.hear()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert await newcomer.ended()
        newcomer.leave()
        assert (await first.hear())[2] == ANSWER
        second.leave()
        for _ in range(1000):  # the listener hears of it a little later
            again = await line.peer(post())
            status, _, body = await again.hear()
            if status != 503:
                break
            again.leave()
        assert (status, body) == (200, ANSWER)


@pytest.mark.parametrize("transport", Transport)
async def test_a_thousand_silent_connections_do_not_keep_a_caller_waiting(transport: Transport) -> None:
    async with listener(EchoGate(), transport, connections=50, connections_per_peer=10_000) as line:
        for _ in range(300):
            await line.peer()
        assert (await (await line.peer(post())).hear())[2] == ANSWER


@pytest.mark.parametrize("transport", Transport)
async def test_bodies_that_are_never_whole_are_bounded_over_all_callers_and_the_slowest_goes(
    transport: Transport,
) -> None:
    async with listener(EchoGate(), transport, waiting_bytes=8_000, connections_per_peer=1000) as line:
        peers = []
        for number in range(8):
            peers.append(await line.peer(HEAD.replace(b"57", b"2000") + b" " * 1900))
            if number < 4:
                await until(lambda: line.waiting == 1900 * len(peers))
            else:  # too much by one
                assert_had_to_go(*await peers[number - 4].hear())
                assert await peers[number - 4].ended()
        for peer in peers[4:]:
            await peer.say(CALL.ljust(100))
            assert (await peer.hear())[0] == 200


class AbortedTransport(asyncio.Transport):
    """Of a connection that is told of its end a turn of the loop later, as all are."""

    aborted = False
    peername: tuple[str, int] | None = None

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.peername if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        return None

    def close(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        return None

    def abort(self) -> None:
        self.aborted = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None


async def test_of_bodies_that_come_all_at_once_no_more_are_held_than_may_be() -> None:
    gate = EchoGate()
    bounds = ListenerSettings(connections_per_peer=1000, shutdown_seconds=0.01)
    house = House(
        Service(gate.answer, SETTINGS, gate.hooks),
        bounds,
        asyncio.get_running_loop(),
        websocket=lambda _over: asyncio.Protocol(),
        intake=Intake(8_000),
    )
    transports = [AbortedTransport() for _ in range(60)]
    for transport in transports:
        connection = Connection(house)
        connection.connection_made(transport)
        connection.data_received(HEAD.replace(b"57", b"2000") + b" " * 1900)
    assert [each.aborted for each in transports] == [True] * 56 + [False] * 4
    await house.close()


async def test_the_addresses_that_one_line_is_given_have_the_connections_of_one() -> None:
    gate = EchoGate()
    bounds = ListenerSettings(connections_per_peer=3, shutdown_seconds=0.01)
    loop = asyncio.get_running_loop()
    service = Service(gate.answer, SETTINGS, gate.hooks)
    house = House(service, bounds, loop, websocket=lambda _over: asyncio.Protocol(), intake=Intake(8_000))
    server = QuietServer.like(web.Server(lambda _: None), 100, most_per_peer=3)  # type: ignore[arg-type]  # never asked
    for make, present in ((lambda: Connection(house), house.present), (server, server.present)):
        for number in range(6):
            transport = AbortedTransport()
            transport.peername = (f"2001:db8::{number}", 4711)
            make().connection_made(transport)
        other = AbortedTransport()
        other.peername = ("2001:db8:0:1::1", 4711)
        make().connection_made(other)
        assert present("2001:db8:0:1::/64") == 1
        assert not other.aborted
        assert present("2001:db8::/64") == 6  # three of whom are being shown out
    await house.close()


@pytest.mark.parametrize("transport", Transport)
async def test_who_asks_faster_than_it_is_answered_has_its_questions_wait_on_its_own_side(transport: Transport) -> None:
    """And loses none of them: of one that is not whole it is taken in what there is, of later ones a little ahead."""
    questions = [call(number, "echo", "x" * 1900) for number in range(3000)]
    async with listener(EchoGate(), transport, waiting_bytes=400_000) as line:
        peer = await line.peer()
        saying = asyncio.create_task(peer.say(b"".join(questions)))
        assert [json.loads((await peer.hear())[2])["id"] for _ in questions] == list(range(3000))
        await saying


# --- leaving and stopping


@pytest.mark.parametrize("transport", Transport)
async def test_who_is_to_find_another_gate_is_served_and_told_that_the_connection_ends(transport: Transport) -> None:
    gate = EchoGate()
    server = await RpcServer(gate.answer, replace(SETTINGS, transport=transport), gate.hooks).start("127.0.0.1", 0)
    known = await Peer.at(server.port)
    await known.say(call(1))
    _, headers, _ = await known.hear()
    assert headers.get("connection") != "close"
    server.part()
    for peer in (known, await Peer.at(server.port)):
        await peer.say(call(2))
        _, headers, body = await peer.hear()
        assert (headers["connection"].lower(), json.loads(body)["id"]) == ("close", 2)
        assert await peer.ended()
        peer.leave()
    await server.stop()


async def test_while_stopping_the_last_answer_says_that_it_is_the_last() -> None:
    gate = EchoGate()
    gate.open.clear()
    bounds = ListenerSettings(shutdown_seconds=5, linger_seconds=0.05)
    server = await RpcServer(gate.answer, replace(SETTINGS, bounds=bounds), gate.hooks).start("127.0.0.1", 0)
    idle, busy = await Peer.at(server.port), await Peer.at(server.port)
    await busy.say(call(1) + call(2))
    await gate.entered.wait()
    stopping = asyncio.create_task(server.stop())
    assert await idle.ended()
    gate.open.set()
    _, headers, body = await busy.hear()
    assert (headers["connection"], json.loads(body)["id"]) == ("close", 1)
    assert await busy.rest() == b""
    await stopping
    assert len(gate.asked) == 1
    for peer in (idle, busy):
        peer.leave()
