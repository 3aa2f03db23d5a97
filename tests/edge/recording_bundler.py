"""A bundler that answers what a test tells it to and records every request, on 127.0.0.1 and a free port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.primitives import print_checksummed
from tests.stopping import ServerRunner

OPERATION_HASH = "0x" + "ab" * 32


@dataclass(frozen=True, slots=True)
class Recorded:
    """One HTTP request as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def method(self) -> str:
        """The JSON-RPC method; `batch` for an array."""
        return self.json["method"] if isinstance(self.json, dict) else "batch"

    @property
    def params(self) -> Any:
        """The JSON-RPC params."""
        return self.json["params"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to answer: `result` or `error`, or `raw` bytes instead of either. `{id}` in `raw` is the request's."""

    result: Any = None
    error: Any = None
    raw: bytes | None = None
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


Behaviour = Callable[[Recorded], Awaitable[Answer]]


@dataclass
class RecordingBundler:
    """Use as an asynchronous context manager; `url` is known inside it.

    Methods it was told nothing about are answered as alto answers unknown ones. `hold` makes every answer wait for
    `release()`; `hang_up` closes the connection after reading the request instead of answering.
    """

    chain_id: int = 1946
    requests: list[Recorded] = field(default_factory=list)
    answers: dict[str, Answer | Behaviour] = field(default_factory=dict)
    hang_up: bool = False
    in_flight: int = 0
    most_in_flight: int = 0
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: ServerRunner | None = None
    _port: int = 0

    def __post_init__(self) -> None:
        self._gate.set()
        entry_points = [print_checksummed(entry_point.address) for entry_point in ENTRY_POINTS]
        self.answers = {
            "eth_chainId": Answer(result=hex(self.chain_id)),
            "eth_supportedEntryPoints": Answer(result=entry_points),
            "eth_sendUserOperation": Answer(result=OPERATION_HASH),
            "eth_getUserOperationReceipt": Answer(result=None),
            **self.answers,
        }

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1, once it was started."""
        return self._port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}/rpc"

    @property
    def methods(self) -> list[str]:
        """The methods asked for, in order of arrival."""
        return [request.method for request in self.requests]

    def hold(self) -> None:
        """Let every answer wait for `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let the held answers go."""
        self._gate.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the port of the first start when started again."""
        self._runner = ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and break every connection off."""
        self.release()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def socket_url(self) -> str:
        """Where it speaks over a WebSocket."""
        return f"ws://127.0.0.1:{self._port}/rpc"

    async def _talk(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)

        async def answer(text: str) -> None:
            recorded = Recorded(request.path, {}, text.encode())
            self.requests.append(recorded)
            await self._gate.wait()
            if self.hang_up:
                await socket.close()
                return
            await socket.send_str(_response(recorded, await self._answer(recorded)).body.decode())

        async with asyncio.TaskGroup() as answering:
            async for message in socket:
                answering.create_task(answer(message.data))
        return socket

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._talk(request)
        recorded = Recorded(
            request.path, {name.lower(): value for name, value in request.headers.items()}, await request.read()
        )
        self.requests.append(recorded)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._gate.wait()
            if self.hang_up:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            return _response(recorded, await self._answer(recorded))
        finally:
            self.in_flight -= 1

    async def _answer(self, recorded: Recorded) -> Answer:
        answer = self.answers.get(recorded.method)
        if answer is None:
            known = " | ".join(f"'{method}'" for method in self.answers)
            message = f'Validation error: Invalid discriminator value. Expected {known} at "method"'
            return Answer(error={"message": message, "code": -32601})
        return answer if isinstance(answer, Answer) else await answer(recorded)


def _response(recorded: Recorded, answer: Answer) -> web.Response:
    if answer.raw is not None:
        our_id = recorded.json.get("id") if recorded.body.startswith(b"{") else None
        body = answer.raw.replace(b"{id}", json.dumps(our_id).encode())
    else:
        member = {"error": answer.error} if answer.error is not None else {"result": answer.result}
        body = json.dumps({"jsonrpc": "2.0", "id": recorded.json["id"], **member}, separators=(",", ":")).encode()
    response = web.Response(body=body, status=answer.status, headers=answer.headers)
    response.headers["Content-Type"] = answer.content_type
    return response
