"""What a caller sees over HTTP: one JSON-RPC reply for every request, in order, whatever was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDictProxy

from proxy.clients.keys import digest_of
from proxy.edge.http.clients import Clients, KnownClient
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.server import RpcServer, ServerSettings
from proxy.edge.http.service import Hooks, NobodysCount
from proxy.errors import Code, MethodNotFound
from proxy.jsonrpc import BodyLimits, Request, print_result
from proxy.ports import Answer, RequestContext
from tests.patience import PATIENCE_SECONDS

LIMITS = BodyLimits(max_bytes=2048, max_batch=4, max_depth=8)
BOUNDS = ListenerSettings(body_seconds=0.3, linger_seconds=0.2)
SETTINGS = ServerSettings(chains=["soneium"], limits=LIMITS, batch_concurrency=2, bounds=BOUNDS)
CALL = b'{"jsonrpc":"2.0","id":"a","method":"echo","params":["x"]}'
JSON = {"Content-Type": "application/json"}


class Gate:
    """Answers each request with its method, params and context; records what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, RequestContext]] = []
        self.turned_away: list[tuple[str, str, str]] = []
        self.counted = NobodysCount()
        self.at_once = 0
        self.most_at_once = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.hooks = Hooks(in_flight=lambda _chain: self.counted, turned_away=self._turn)

    @property
    def in_flight(self) -> float:
        return self.counted.tally

    def _turn(self, chain: str, client: str, outcome: str) -> None:
        self.turned_away.append((chain, client, outcome))

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        self.asked.append((request, context))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.set()
        try:
            await self.open.wait()
            # the earlier element takes longer, so that order in the batch cannot come by chance
            for _ in range(10 - len(request.params)):
                await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if request.id is None:
            return None
        if request.method == "break off":
            torn = asyncio.get_running_loop().create_future()
            torn.cancel()  # by whoever should have answered there, and by nobody who breaks this request off
            await torn
        if request.method == "deny":
            raise MethodNotFound("no", data={"method": "deny"})
        status = 500 if request.method == "fail" else 200
        return Answer(print_result(request.id, [request.method, *request.params]), status)


class Caller:
    """A client of one listener."""

    def __init__(self, session: aiohttp.ClientSession, server: RpcServer) -> None:
        self.session = session
        self.server = server

    async def __call__(
        self, body: Any = CALL, path: str = "/soneium", method: str = "POST", **headers: str
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "Content-Type" not in named and method == "POST":
            named |= JSON
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self.session.request(method, url, data=body, headers=named) as response:
            return response.status, response.headers, await response.read()

    async def error(self, body: Any = CALL, path: str = "/soneium", **headers: str) -> tuple[int, str, Any]:
        status, _, raw = await self(body, path, **headers)
        assert status == 200
        reply = json.loads(raw)
        return reply["error"]["code"], reply["error"]["message"], reply["id"]


@pytest.fixture(params=Transport)
def served(request: pytest.FixtureRequest) -> ServerSettings:
    """The settings, for each of the servers: what is said here holds for both."""
    return replace(SETTINGS, transport=request.param)


@asynccontextmanager
async def listening(gate: Gate, changed: ServerSettings) -> AsyncIterator[Caller]:
    server = await RpcServer(gate.answer, changed, gate.hooks).start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:
            yield Caller(session, server)
    finally:
        await server.stop()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def call(gate: Gate, served: ServerSettings) -> AsyncIterator[Caller]:
    async with listening(gate, served) as caller:
        yield caller


async def test_answers_a_request_under_its_own_id(gate: Gate, call: Caller) -> None:
    status, headers, body = await call()
    assert (status, body) == (200, b'{"jsonrpc":"2.0","id":"a","result":["echo","x"]}')
    assert headers["Content-Type"] == "application/json"
    assert gate.asked == [(Request('"a"', "echo", ["x"]), RequestContext("soneium", "anonymous", "127.0.0.1"))]
    assert gate.in_flight == 0


@pytest.mark.parametrize("path", ["/", "/soneium", "/soneium/", "/soneium?apikey=1", "//"])
async def test_a_single_chain_is_served_at_its_name_and_at_the_root(call: Caller, path: str) -> None:
    assert (await call(path=path))[2] == b'{"jsonrpc":"2.0","id":"a","result":["echo","x"]}'


async def test_of_two_chains_none_is_served_at_the_root(gate: Gate, served: ServerSettings) -> None:
    async with listening(gate, replace(served, chains=["soneium", "minato"])) as call:
        assert (await call.error(path="/"))[0] == Code.INVALID_REQUEST
        await call(path="/minato")
    assert [context.chain for _, context in gate.asked] == ["minato"]


async def test_an_unknown_path_is_an_error_that_tells_no_chain(gate: Gate, call: Caller) -> None:
    code, message, request_id = await call.error(path="/other")
    assert (code, request_id) == (Code.INVALID_REQUEST, "a")
    assert "soneium" not in message
    assert gate.turned_away == [("other", "other", "denied")]


async def test_an_error_raised_for_a_request_is_http_200_under_its_id(call: Caller) -> None:
    status, _, body = await call(b'{"jsonrpc":"2.0","id":1e2,"method":"deny"}')
    assert status == 200
    assert body == (b'{"jsonrpc":"2.0","id":1e2,"error":{"code":-32601,"message":"no","data":{"method":"deny"}}}')


async def test_a_single_request_keeps_the_status_of_its_answer(call: Caller) -> None:
    assert (await call(b'{"jsonrpc":"2.0","id":1,"method":"fail"}'))[0] == 500
    assert (await call(b'[{"jsonrpc":"2.0","id":1,"method":"fail"}]'))[0] == 200


async def test_a_notification_is_answered_with_no_content(gate: Gate, call: Caller) -> None:
    status, _, body = await call(b'{"jsonrpc":"2.0","method":"echo"}')
    assert (status, body) == (204, b"")
    assert len(gate.asked) == 1
    assert (await call(b'[{"jsonrpc":"2.0","method":"echo"}]'))[0] == 204


async def test_a_batch_is_answered_in_order_and_its_bad_elements_alone_fail(gate: Gate, call: Caller) -> None:
    items = [
        b'{"jsonrpc":"2.0","id":1,"method":"echo"}',
        b'{"jsonrpc":"2.0","method":"echo"}',
        b'{"jsonrpc":"2.0","id":3,"method":"echo","params":{}}',
        b'{"jsonrpc":"2.0","id":4,"method":"echo","params":[1,2,3]}',
    ]
    replies = json.loads((await call(b"[" + b",".join(items) + b"]"))[2])
    assert [reply["id"] for reply in replies] == [1, 3, 4]
    assert [reply.get("result") for reply in replies] == [["echo"], None, ["echo", 1, 2, 3]]
    assert replies[1]["error"]["code"] == Code.INVALID_PARAMS
    assert len(gate.asked) == 3
    assert gate.turned_away == [("soneium", "anonymous", "invalid")]


async def test_a_batch_runs_as_many_elements_at_once_as_allowed_and_no_more(gate: Gate, call: Caller) -> None:
    await call(b"[" + b",".join([CALL] * 4) + b"]")
    assert gate.most_at_once == 2


@pytest.mark.parametrize(
    ("body", "code", "problem"),
    [
        (b"", Code.PARSE_ERROR, "not JSON"),
        (b"{", Code.PARSE_ERROR, "not JSON"),
        (b"\xff", Code.PARSE_ERROR, "not UTF-8"),
        (b"[]", Code.INVALID_REQUEST, "empty batch"),
        (b"[1,2,3,4,5]", Code.INVALID_REQUEST, "batch of 5"),
        (b"[" * 9 + b"]" * 9, Code.PARSE_ERROR, "deeper than 8"),
        (b" " * 2049, Code.INVALID_REQUEST, "body of 2049 bytes; at most 2048"),
    ],
)
async def test_a_body_that_cannot_be_served_is_one_clear_error(
    gate: Gate, call: Caller, body: bytes, code: Code, problem: str
) -> None:
    got, message, request_id = await call.error(body)
    assert (got, request_id) == (code, None)
    assert problem in message
    assert gate.asked == []
    assert gate.turned_away == [("soneium", "anonymous", "invalid")]


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 512


async def test_a_body_without_a_length_is_read_up_to_the_bound_and_no_further(gate: Gate, call: Caller) -> None:
    assert "not JSON" in (await call.error(_chunks(4)))[1]
    assert "bytes; at most 2048 are read" in (await call.error(_chunks(5)))[1]
    assert (await call())[0] == 200


async def _stalled() -> AsyncIterator[bytes]:
    yield CALL[:10]
    await asyncio.sleep(0.8)
    yield CALL[10:]


async def test_a_body_that_does_not_arrive_is_not_waited_for(call: Caller) -> None:
    assert "did not arrive within 0.3 s" in (await call.error(_stalled()))[1]


async def _raw(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"


async def test_a_body_broken_off_is_never_served(gate: Gate, call: Caller) -> None:
    await _raw(call.server.port, HEAD + b"Content-Length: 500\r\n\r\n" + CALL)
    await _raw(call.server.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"zz\r\n" + CALL)
    assert gate.asked == []


async def test_a_caller_that_expects_100_continue_is_told_to_go_on(call: Caller) -> None:
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CALL)
    reply = await _raw(call.server.port, head, CALL)
    assert reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert reply.endswith(b'"result":["echo","x"]}')


async def test_smuggled_lengths_are_refused(gate: Gate, call: Caller) -> None:
    both = HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert b" 400 " in (await _raw(call.server.port, both)).partition(b"\r\n")[0]
    assert gate.asked == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json;"],
)
async def test_json_in_utf8_is_read_however_it_is_declared(call: Caller, content_type: str) -> None:
    assert (await call(Content_Type=content_type))[2].endswith(b'"result":["echo","x"]}')


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json; charset=utf-16", "application/json; x=1", "text/json"]
)
async def test_another_media_type_is_refused(gate: Gate, call: Caller, content_type: str) -> None:
    assert "content-type: wanted application/json" in (await call.error(Content_Type=content_type))[1]
    assert gate.asked == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused(gate: Gate, call: Caller, encoding: str) -> None:
    assert "content-encoding" in (await call.error(Content_Encoding=encoding))[1]
    assert gate.asked == []


async def test_a_get_explains_how_to_call(call: Caller) -> None:
    status, headers, body = await call(None, "/soneium", "GET")
    assert status == 200
    assert b"POST to /soneium" in body
    assert headers["Content-Type"].startswith("text/plain")
    assert (await call(None, "/other", "GET"))[0] == 404


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_other_http_methods_are_not_allowed(gate: Gate, call: Caller, method: str) -> None:
    status, headers, _ = await call(None, "/soneium", method)
    assert (status, headers["Allow"]) == (405, "GET, OPTIONS, POST")
    assert gate.asked == []


# --- clients and pages ----------------------------------------------------------------------------------------

DAPP, PAGE = "https://dapp.example", "https://page.example"
CLIENTS = Clients(
    [
        KnownClient(
            name="trading",
            keys=frozenset({digest_of("trading-key")}),
            origins=frozenset({DAPP}),
            chains=frozenset({"soneium"}),
        ),
        KnownClient(name="backend", keys=frozenset({digest_of("backend-key")})),
        KnownClient(name="page", origins=frozenset({PAGE})),
    ]
)
Listening = Callable[[], AbstractAsyncContextManager[Caller]]


@pytest.fixture
def guarded(gate: Gate, served: ServerSettings) -> Listening:
    return lambda: listening(gate, replace(served, chains=["soneium", "minato"], clients=CLIENTS))


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"X_Api_Key": "trading-key"}, "trading"),
        ({"Authorization": "Bearer trading-key", "Origin": DAPP}, "trading"),
        ({"authorization": "bearer backend-key"}, "backend"),
        ({"X_Api_Key": "backend-key", "Origin": "https://anywhere.example"}, "backend"),
        ({"Origin": PAGE}, "page"),
    ],
)
async def test_a_client_is_known_by_its_key_or_its_page(
    gate: Gate, guarded: Listening, headers: dict[str, str], client: str
) -> None:
    async with guarded() as call:
        await call(**headers)
    assert [context.client for _, context in gate.asked] == [client]


@pytest.mark.parametrize(
    ("headers", "path", "problem"),
    [
        ({}, "/soneium", "API key missing"),
        ({"Origin": DAPP}, "/soneium", "API key missing"),
        ({"Authorization": "Basic trading-key"}, "/soneium", "API key missing"),
        ({"X_Api_Key": ""}, "/soneium", "unknown API key"),
        ({"X_Api_Key": "trading-keys"}, "/soneium", "unknown API key"),
        ({"X_Api_Key": "Trading-key"}, "/soneium", "unknown API key"),
        ({"X_Api_Key": "nonsense", "Origin": PAGE}, "/soneium", "unknown API key"),
        ({"X_Api_Key": "trading-key", "Origin": PAGE}, "/soneium", "may not call from this origin"),
        ({"X_Api_Key": "trading-key"}, "/minato", "may not use this chain"),
    ],
)
async def test_anybody_else_is_refused(
    gate: Gate, guarded: Listening, headers: dict[str, str], path: str, problem: str
) -> None:
    async with guarded() as call:
        code, message, _ = await call.error(path=path, **headers)
    assert code == Code.INVALID_REQUEST
    assert problem in message
    assert "key" not in message.replace("API key", "").replace("x-api-key", "")
    assert gate.asked == []
    assert gate.turned_away[0][2] == "denied"


async def test_a_browser_learns_which_pages_may_call(guarded: Listening) -> None:
    async with guarded() as call:
        status, headers, _ = await call(None, "/soneium", "OPTIONS", Origin=DAPP, Access_Control_Request_Method="POST")
        assert status == 204
        assert headers["Access-Control-Allow-Origin"] == DAPP
        assert headers["Vary"] == "Origin"
        assert headers["Access-Control-Allow-Methods"] == "POST"
        assert headers["Access-Control-Allow-Headers"].startswith("content-type, x-api-key, authorization, traceparent")
        assert "Access-Control-Allow-Credentials" not in headers
        for origin in ("https://evil.example", "null", DAPP + ".evil.example", DAPP.upper()):
            status, headers, _ = await call(None, "/soneium", "OPTIONS", Origin=origin)
            assert status == 403
            assert "Access-Control-Allow-Origin" not in headers


async def test_a_page_can_read_answers_and_refusals(guarded: Listening) -> None:
    async with guarded() as call:
        assert (await call(Origin=PAGE))[1]["Access-Control-Allow-Origin"] == PAGE
        assert (await call(b"{", Origin=PAGE))[1]["Access-Control-Allow-Origin"] == PAGE
        assert "Access-Control-Allow-Origin" not in (await call(Origin="https://evil.example"))[1]


async def test_any_page_may_call_when_so_configured(gate: Gate, served: ServerSettings) -> None:
    async with listening(gate, replace(served, clients=Clients(origins={"*"}))) as call:
        assert (await call(None, "/", "OPTIONS", Origin="https://any.example"))[0] == 204
        assert (await call(Origin="https://any.example"))[1]["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Origin" not in (await call())[1]


# --- leaving and stopping -------------------------------------------------------------------------------------


async def _refused(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        writer.close()


async def _asked_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
    """Head and body of the answer to a request on this connection, which is kept."""
    head = b"POST /soneium HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(CALL) + CALL)
    told = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(told.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return told, await reader.readexactly(length)


async def test_a_gate_that_parts_answers_each_connection_once_more_and_ends_it_without_a_reset(
    gate: Gate, served: ServerSettings
) -> None:
    async with listening(gate, served) as caller:
        server = caller.server
        kept = await asyncio.open_connection("127.0.0.1", server.port)
        assert b"connection: close" not in (await _asked_on(*kept))[0]
        server.part()
        later = await asyncio.open_connection("127.0.0.1", server.port)  # it listens on, for who has not heard of it
        for reader, writer in (kept, later):
            told, answer = await _asked_on(reader, writer)
            assert b"connection: close" in told
            assert answer.endswith(b'"result":["echo","x"]}')
            assert await reader.read() == b""  # a reset would raise
            writer.close()


async def test_what_is_in_flight_is_finished_before_the_listener_stops(gate: Gate, served: ServerSettings) -> None:
    server = await RpcServer(gate.answer, served, gate.hooks).start("127.0.0.1", 0)
    port = server.port
    gate.open.clear()
    async with aiohttp.ClientSession() as session:
        call = Caller(session, server)
        calling = asyncio.create_task(call())
        await gate.entered.wait()
        stopping = asyncio.create_task(server.stop())
        await _refused(port)
        assert not stopping.done()
        gate.open.set()
        assert (await calling)[2].endswith(b'"result":["echo","x"]}')
        await stopping


async def test_what_hangs_does_not_keep_the_listener_from_stopping(gate: Gate, served: ServerSettings) -> None:
    server = await RpcServer(gate.answer, replace(served, bounds=replace(BOUNDS, shutdown_seconds=0.05))).start(
        "127.0.0.1", 0
    )
    gate.open.clear()
    async with aiohttp.ClientSession() as session:
        calling = asyncio.create_task(Caller(session, server)())
        await gate.entered.wait()
        await server.stop()
        with pytest.raises(aiohttp.ClientError):
            await calling
    gate.open.set()


async def test_a_request_is_finished_although_its_caller_has_left(gate: Gate, call: Caller) -> None:
    gate.open.clear()
    leaving = asyncio.create_task(call())
    await gate.entered.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.sleep(0.05)
    gate.open.set()
    await call()
    assert ("soneium", "anonymous", "disconnected") in gate.turned_away
    assert gate.in_flight == 0


async def test_stopping_twice_is_stopping(gate: Gate, served: ServerSettings) -> None:
    server = await RpcServer(gate.answer, served).start("127.0.0.1", 0)
    await server.stop()
    await server.stop()
    with pytest.raises(AssertionError):
        _ = server.port


def test_arbitrary_bodies_are_answered_with_json_rpc(served: ServerSettings) -> None:
    with asyncio.Runner() as runner:
        gate = Gate()
        context = listening(gate, served)
        call = runner.run(context.__aenter__())

        @settings(max_examples=60, deadline=None)
        @given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()))
        def answer(body: bytes) -> None:
            status, _, raw = runner.run(call(body))
            assert status == 200
            reply = json.loads(raw)
            assert reply["jsonrpc"] == "2.0"
            assert reply["error"]["code"] in (Code.PARSE_ERROR, Code.INVALID_REQUEST)

        answer()
        runner.run(context.__aexit__(None, None, None))


BREAK_OFF = CALL.replace(b"echo", b"break off")


@pytest.mark.parametrize(
    "body", [BREAK_OFF, b"[%b,%b]" % (BREAK_OFF, CALL.replace(b'"a"', b'"b"'))], ids=["alone", "batch"]
)
async def test_what_breaks_off_within_an_answer_breaks_off_no_request(served: ServerSettings, body: bytes) -> None:
    async with listening(Gate(), served) as call:
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, _, raw = await call(body)
    told = json.loads(raw)
    first = told[0] if isinstance(told, list) else told
    assert (status, first["id"], first["error"]["code"]) == (200, "a", Code.UPSTREAM_UNAVAILABLE)
    assert first["error"]["data"]["mayHaveBeenSent"]  # for all that is known where it broke
    if isinstance(told, list):
        assert told[1]["result"] == ["echo", "x"]
