"""Whatever carries the bytes, the answer is the same; and what could be read in two ways is answered and not served."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.edge.http.listener import Transport
from proxy.edge.http.wire.fields import BrokenHttp
from proxy.edge.http.wire.heads import read_request_head
from proxy.edge.http.wire.reader import MessageReader, ReadBounds
from tests.edge.http import peers
from tests.edge.http.corpus import BAD_CHUNKS, CALL, JSON, SERVED, TRICKS, chunked, post
from tests.edge.http.peers import EchoGate, listener

OWN_WORDS = {"date", "server", "connection"}
"""Headers in which a server may speak for itself."""


async def _told(
    transport: Transport, request: bytes, *, by_task: bool = False
) -> tuple[tuple[int, dict[str, str], bytes], EchoGate]:
    gate = EchoGate()
    async with listener(gate, transport, by_task=by_task, linger_seconds=0.05) as line:
        peer = await line.peer(request)
        status, headers, body = await peer.hear()
    return (status, {name: value for name, value in headers.items() if name not in OWN_WORDS}, body), gate


@pytest.mark.parametrize("name", SERVED)
async def test_the_lean_listener_answers_as_aiohttp_does(name: str) -> None:
    (lean, lean_gate), (reference, reference_gate) = [await _told(each, SERVED[name]) for each in Transport]
    assert lean == reference
    assert lean_gate.asked == reference_gate.asked
    assert lean_gate.turned_away == reference_gate.turned_away
    assert lean_gate.in_flight == reference_gate.in_flight == 0
    by_task, task_gate = await _told(Transport.LEAN, SERVED[name], by_task=True)
    assert by_task == lean
    assert task_gate.asked == lean_gate.asked
    assert task_gate.turned_away == lean_gate.turned_away
    assert task_gate.in_flight == 0


AIOHTTP_SERVES = frozenset({"a coding more", "two spaces"})
"""Tricks that only the lean listener refuses."""


@pytest.mark.parametrize(
    ("transport", "name"),
    [
        *((Transport.LEAN, name) for name in TRICKS),
        *((Transport.AIOHTTP, name) for name in TRICKS if name not in AIOHTTP_SERVES),
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_ends(
    transport: Transport, name: str
) -> None:
    gate = EchoGate()
    async with listener(gate, transport, linger_seconds=0.05) as line:
        peer = await line.peer(TRICKS[name] + post())  # what follows must not be taken for a request, either
        status, _, body = await peer.hear()
        assert status in (400, 417, 431), body
        assert await peer.rest() == b""
    assert gate.asked == []


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_a_body_whose_chunks_cannot_be_read_is_refused(name: str) -> None:
    (status, _, body), gate = await _told(Transport.LEAN, BAD_CHUNKS[name] + post())
    assert status == 200
    assert json.loads(body)["error"]["message"] in ("body broken off or badly encoded", _TOO_LONG)
    assert gate.asked == []
    assert gate.turned_away == [("soneium", "anonymous", "invalid")]
    assert gate.in_flight == 0
    (status, _, _), gate = await _told(Transport.AIOHTTP, BAD_CHUNKS[name] + post())
    assert (status, gate.asked, gate.in_flight) == (400, [], 0)  # of what came in one piece it has not seen the head


_TOO_LONG = "body of more than 2048 bytes; at most 2048 are read"


@pytest.mark.parametrize("name", TRICKS)
async def test_no_refusal_quotes_what_came_or_names_a_version(name: str) -> None:
    secret = b"X-Api-Key: hush-hush\r\n"
    request = TRICKS[name].replace(b"Host: gate", secret + b"Host: gate")
    (_, _, body), _ = await _told(Transport.LEAN, request)
    assert b"hush" not in body
    assert len(body) < 100
    async with listener(EchoGate()) as line:
        peer = await line.peer(request)
        assert "server" not in (await peer.hear())[1]


async def test_a_request_without_a_host_is_refused() -> None:
    (status, _, _), gate = await _told(Transport.LEAN, post().replace(b"Host: gate\r\n", b""))
    assert (status, gate.asked) == (400, [])
    (status, _, _), gate = await _told(Transport.LEAN, post().replace(b"Host: gate\r\n", b"Host: a\r\nHost: b\r\n"))
    assert (status, gate.asked) == (400, [])


async def test_an_expectation_nobody_can_meet_is_refused() -> None:
    (status, _, _), gate = await _told(Transport.LEAN, post(fields=b"Expect: wonders\r\n"))
    assert (status, gate.asked) == (417, [])


async def test_http_1_0_is_answered_and_its_connection_ends() -> None:
    gate = EchoGate()
    async with listener(gate) as line:
        peer = await line.peer(post(line=b"POST / HTTP/1.0"))
        status, headers, _ = await peer.hear()
        assert (status, headers["connection"]) == (200, "close")
        assert await peer.ended()


REPEATED_BY_VIEM = frozenset({403, 408, 413, 429, 500, 502, 503, 504})


async def test_a_body_in_too_many_chunks_is_told_the_bound_under_no_status_that_makes_an_sdk_send_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roomy = replace(peers.SETTINGS, limits=replace(peers.SETTINGS.limits, max_bytes=100_000))
    monkeypatch.setattr(peers, "SETTINGS", roomy)
    (status, _, body), gate = await _told(Transport.LEAN, chunked(*[b" "] * 4096, CALL))
    assert (status, json.loads(body)["error"]["code"]) == (200, -32600)
    assert "more than 4096 chunks" in json.loads(body)["error"]["message"]
    assert gate.asked == []
    assert gate.in_flight == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (chunked(*[b" "] * 63, CALL), "64 chunks"),
        (post(fields=b"X-Long: %b\r\n" % (b"x" * 20_000)), "head"),
        (post(fields=b"A: b\r\n" * 500), "header lines"),
        (chunked(CALL, trailer=b"X-Long: %b\r\n" % (b"x" * 20_000)), "trailer"),
        *((TRICKS[name], "") for name in TRICKS),
    ],
)
def test_nothing_that_is_not_read_has_a_status_that_makes_an_sdk_send_again(broken: bytes, said: str) -> None:
    reader = MessageReader(read_request_head, ReadBounds(head_bytes=16_384, body_bytes=2048, chunks=64))
    reader.feed(broken)
    with pytest.raises(BrokenHttp) as refused:
        reader.advance()
    assert said in refused.value.problem
    assert refused.value.status not in REPEATED_BY_VIEM


@pytest.mark.parametrize(
    ("transport", "by_task"), [(Transport.LEAN, False), (Transport.LEAN, True), (Transport.AIOHTTP, False)]
)
async def test_a_fault_of_the_listeners_own_is_answered_as_any_other_fault(
    monkeypatch: pytest.MonkeyPatch, transport: Transport, by_task: bool
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("proxy.edge.http.inbound.parse_body", break_down)
    page = JSON + b"Origin: https://dapp.example\r\n"
    (status, headers, body), gate = await _told(transport, post(fields=page), by_task=by_task)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["data"]["mayHaveBeenSent"]) == (200, -32059, True)
    assert headers["content-type"] == "application/json"
    assert gate.asked == []
    assert gate.in_flight == 0


async def test_a_promise_broken_is_an_answer_that_tells_nothing() -> None:
    """Nor does it make an SDK hand the same in again, as HTTP 500 and -32603 do."""
    (status, _, body), gate = await _told(Transport.LEAN, post(b'{"jsonrpc":"2.0","id":1,"method":"break"}'))
    error = json.loads(body)["error"]
    assert (status, error["code"], error["data"]["mayHaveBeenSent"]) == (200, -32059, True)
    assert gate.in_flight == 0
