"""A listener before a gate that echoes, and peers that write bytes to it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from proxy.edge.http.inbound import AnswerWaiting
from proxy.edge.http.lean.listening import LeanListener
from proxy.edge.http.listener import ListenerSettings, Transport
from proxy.edge.http.reference import AiohttpListener
from proxy.edge.http.server import RpcServer, ServerSettings
from proxy.edge.http.service import Hooks, NobodysCount
from proxy.errors import MethodNotFound
from proxy.jsonrpc import BodyLimits, Request, print_result
from proxy.ports import Answer, RequestContext
from tests.patience import patiently

SETTINGS = ServerSettings(chains=["soneium"], limits=BodyLimits(max_bytes=2048, max_batch=50, max_depth=8))


@dataclass
class EchoGate:
    """Answers a request with its method and params; `long` with as many bytes as its parameter says."""

    asked: list[Request] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    turned_away: list[tuple[str, str, str]] = field(default_factory=list)
    counted: NobodysCount = field(default_factory=NobodysCount)

    def __post_init__(self) -> None:
        self.open.set()

    @property
    def hooks(self) -> Hooks:
        return Hooks(in_flight=lambda _chain: self.counted, turned_away=lambda *labels: self.turned_away.append(labels))

    @property
    def in_flight(self) -> float:
        return self.counted.tally

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        self.asked.append(request)
        self.entered.set()
        await self.open.wait()
        match request.method:
            case "deny":
                raise MethodNotFound("no", data={"method": "deny"})
            case "break":
                raise ZeroDivisionError
            case "long":
                return Answer(print_result(request.id or "null", "x" * int(str(request.params[0]))))
        if request.id is None:
            return None
        return Answer(
            print_result(request.id, [request.method, *request.params]), 500 * (request.method == "fail") or 200
        )

    def begin(self, request: Request, context: RequestContext, waiting: AnswerWaiting) -> None:
        """As `answer`, without a task where nothing has to be waited for."""
        if not self.open.is_set():
            waiting.wait_for(self.answer(request, context))
            return
        try:
            self.answer(request, context).send(None)
        except StopIteration as done:
            waiting.answered(done.value)


@dataclass
class Peer:
    """One connection, and what it has been told."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def at(cls, port: int) -> Peer:
        # a small window, so that answers nobody reads pile up where they came from
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=sock, limit=2**14))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers in lower case, body. Raises `IncompleteReadError` when there is none."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = [line.partition(":") for line in head[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in fields}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split(" ")[1]), headers, body

    async def ended(self) -> bool:
        """Whether the listener has closed the connection, once it has said everything."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def rest(self) -> bytes:
        """All that is still to come."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def leave(self) -> None:
        self.writer.transport.abort()

    def break_off(self) -> None:
        """Leave by a reset: nothing more is heard, either."""
        sock = self.writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Line:
    """A listener that peers can call at."""

    server: RpcServer
    peers: list[Peer] = field(default_factory=list)

    @property
    def present(self) -> int:
        """How many connections the listener has."""
        listener = self.server._listener
        if isinstance(listener, AiohttpListener):
            return listener._server.present(None)
        house = cast(LeanListener, listener)._house
        return 0 if house is None else house.present(None)

    @property
    def connected(self) -> int:
        """How many of these are there still; the others have left before what they asked was answered."""
        listener = self.server._listener
        if isinstance(listener, AiohttpListener):
            return sum(each.transport is not None for each in listener._server.connections)
        house = cast(LeanListener, listener)._house
        return 0 if house is None else len(house._connections)

    @property
    def waiting(self) -> int:
        """Bytes that have come of requests that are not whole."""
        return cast(AiohttpListener | LeanListener, self.server._listener)._intake.bodies

    async def peer(self, said: bytes = b"") -> Peer:
        """A new connection, on which this is said."""
        peer = await Peer.at(self.server.port)
        self.peers.append(peer)
        await peer.say(said)
        return peer


@asynccontextmanager
async def listener(
    gate: EchoGate, transport: Transport = Transport.LEAN, *, by_task: bool = False, **bounds: float
) -> AsyncIterator[Line]:
    """A listener with these bounds; its peers leave with it. `by_task` has each answer waited for in a task."""
    settings = replace(SETTINGS, transport=transport, bounds=replace(ListenerSettings(shutdown_seconds=0.2), **bounds))
    begin = None if by_task else gate.begin
    server = await RpcServer(gate.answer, settings, gate.hooks, begin).start("127.0.0.1", 0)
    line = Line(server)
    try:
        yield line
    finally:
        for peer in line.peers:
            peer.leave()
        await server.stop()


async def until(ready: Callable[[], bool]) -> None:
    """Let the loop turn until something has happened."""
    for _ in patiently():
        if ready():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("waited in vain")


def assert_had_to_go(status: int, headers: dict[str, str], body: bytes) -> None:
    """What is answered to who had to go."""
    assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
    error = json.loads(body)["error"]
    assert (error["code"], error["data"]["retryable"]) == (-32056, True)
    assert "connections.max_waiting_bytes" in error["message"]
