"""The RPC listener: HTTP in, requests to the gate, replies out.

It speaks HTTP and knows no method. Every JSON-RPC error is HTTP 200, whoever says it; only the status that an upstream
answered a single request with is kept. A request is finished even when its caller has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web

from proxy.edge.http.clients import Clients
from proxy.edge.http.http_log import HTTP_LOG
from proxy.errors import InvalidRequest, RpcError
from proxy.jsonrpc import NULL_ID, Batch, Limits, Malformed, Request, parse_body, print_error
from proxy.ports import Answer, RequestContext

NOBODY: Final = "other"
"""Chain and client of a request that was refused before either was known; the label for what is in no closed set."""

INVALID: Final = "invalid"
DENIED: Final = "denied"
DISCONNECTED: Final = "disconnected"


AnswerRequest = Callable[[Request, RequestContext], Awaitable[Answer | None]]
"""Answers one request; `None` for a notification. May raise `RpcError`, nothing else."""


def _ignore(*_: str) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the listener tells the metrics, by labels from closed sets.

    `began(chain)`, `ended(chain)` around every POST to a chain; `turned_away(chain, client, outcome)` for each
    request that the gate never saw (`invalid`, `denied`) and each answer nobody waited for (`disconnected`).
    """

    began: Callable[[str], None] = _ignore
    ended: Callable[[str], None] = _ignore
    turned_away: Callable[[str, str, str], None] = _ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What is served and within which bounds. With one chain, `/` is that chain too."""

    chains: Sequence[str]
    clients: Clients = field(default_factory=Clients)
    limits: Limits = field(default_factory=Limits)
    batch_concurrency: int = 8
    body_seconds: float = 10.0
    keepalive_seconds: float = 75.0
    shutdown_seconds: float = 30.0
    max_age_seconds: int = 7200  # how long a browser may remember a preflight


class RpcServer:
    """One listener. `start` binds, `stop` lets what is in flight finish within `shutdown_seconds`."""

    def __init__(self, answer: AnswerRequest, settings: ServerSettings, hooks: Hooks | None = None) -> None:
        self._answer = answer
        self._settings = settings
        self._hooks = hooks or Hooks()
        self._routes = {f"/{chain}": chain for chain in settings.chains}
        if len(settings.chains) == 1:
            self._routes["/"] = settings.chains[0]
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> Self:
        """Listen. Port 0 takes any free one; `port` tells which."""
        # the low-level server: no router, no middlewares, and no access log that would see keys in URLs
        server = web.Server(
            self._handle,
            access_log=None,
            logger=HTTP_LOG,
            auto_decompress=False,
            keepalive_timeout=self._settings.keepalive_seconds,
            lingering_time=2.0,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=self._settings.shutdown_seconds)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=1024).start()
        return self

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._runner is not None, "known after start"  # noqa: S101 - our own promise
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        match request.method:
            case "POST":
                return await self._post(request)
            case "OPTIONS":
                return self._preflight(request)
            case "GET":
                return self._explain(request)
        return web.Response(status=405, headers={"Allow": "GET, OPTIONS, POST"})

    async def _post(self, request: web.BaseRequest) -> web.Response:
        chain = self._routes.get(_path(request))
        if chain is None:
            self._hooks.turned_away(NOBODY, NOBODY, DENIED)
            return self._refusal(request, InvalidRequest("nothing is served at this path; POST to /{chain}"))
        self._hooks.began(chain)
        try:
            return await self._serve(request, chain)
        finally:
            self._hooks.ended(chain)

    async def _serve(self, request: web.BaseRequest, chain: str) -> web.Response:
        try:
            client = self._settings.clients.identify(request.headers, chain)
        except InvalidRequest as refusal:
            self._hooks.turned_away(chain, NOBODY, DENIED)
            return self._refusal(request, refusal)
        context = RequestContext(chain, client, request.remote)
        try:
            _refuse_media_type(request)
            body = await self._read(request)
            parsed = parse_body(body, self._settings.limits)
        except RpcError as error:
            self._hooks.turned_away(chain, client, INVALID)
            return self._refusal(request, error)
        if isinstance(parsed, Batch):
            answer = await self._answer_batch(parsed, context)
        else:
            answer = await self._answer_item(parsed.item, context)
        if request.transport is None:
            self._hooks.turned_away(chain, client, DISCONNECTED)
        return self._respond(request, answer)

    async def _read(self, request: web.BaseRequest) -> bytes:
        limit = self._settings.limits.max_bytes
        if (request.content_length or 0) > limit:
            raise InvalidRequest(f"body of {request.content_length} bytes; at most {limit} are read")
        try:
            if request.content.is_eof():
                return request.content.read_nowait()
            async with asyncio.timeout(self._settings.body_seconds):
                if request.headers.get("Expect", "").lower() == "100-continue":
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    request.writer.output_size = 0
                return await _read_at_most(request, limit)
        except TimeoutError:
            raise InvalidRequest(f"body did not arrive within {self._settings.body_seconds:g} s") from None
        except web.RequestPayloadError:
            raise InvalidRequest("body broken off or badly encoded") from None

    async def _answer_item(self, item: Request | Malformed, context: RequestContext) -> Answer | None:
        if isinstance(item, Malformed):
            self._hooks.turned_away(context.chain, context.client, INVALID)
            return Answer(_print(item.id, item.error))
        try:
            return await self._answer(item, context)
        except RpcError as error:
            return Answer(_print(item.id, error))

    async def _answer_batch(self, batch: Batch, context: RequestContext) -> Answer | None:
        places = asyncio.Semaphore(self._settings.batch_concurrency)

        async def answer(item: Request | Malformed) -> Answer | None:
            async with places:
                return await self._answer_item(item, context)

        answers = await asyncio.gather(*(answer(item) for item in batch.items))
        bodies = [each.body for each in answers if each is not None]
        return Answer(b"[%b]" % b",".join(bodies)) if bodies else None

    def _respond(self, request: web.BaseRequest, answer: Answer | None) -> web.Response:
        headers = self._settings.clients.cors(request.headers)
        if answer is None:  # notifications only
            return web.Response(status=204, headers=headers)
        headers["Content-Type"] = "application/json"
        return web.Response(body=answer.body, status=answer.http_status, headers=headers)

    def _refusal(self, request: web.BaseRequest, error: RpcError) -> web.Response:
        response = self._respond(request, Answer(_print(NULL_ID, error)))
        if not request.content.is_eof():
            # the rest of the body is not waited for; the next request needs a new connection
            response.force_close()
        return response

    def _preflight(self, request: web.BaseRequest) -> web.Response:
        headers = self._settings.clients.cors(request.headers)
        if not headers:
            return web.Response(status=403, text="this origin may not call\n")
        headers["Access-Control-Allow-Methods"] = "POST"
        headers["Access-Control-Allow-Headers"] = "content-type, x-api-key, authorization"
        headers["Access-Control-Max-Age"] = str(self._settings.max_age_seconds)
        return web.Response(status=204, headers=headers)

    def _explain(self, request: web.BaseRequest) -> web.Response:
        path = _path(request)
        if path not in self._routes and path != "/":
            return web.Response(status=404, text="nothing is served at this path\n")
        return web.Response(text=_EXPLANATION.format(path=path if path in self._routes else "/{chain}"))


_EXPLANATION: Final = """\
This is sessiongate, a gate before an ERC-4337 bundler. It speaks JSON-RPC 2.0 over POST to {path}:

  curl -H 'content-type: application/json' -d '{{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}}' URL

Give your SDK this URL where it asks for the bundler's.
"""


def _path(request: web.BaseRequest) -> str:
    # what follows ? carries no meaning here
    return request.raw_path.partition("?")[0].rstrip("/") or "/"


def _print(request_id: str | None, error: RpcError) -> bytes:
    return print_error(request_id, error.code, error.message, error.data)


_JSON: Final = "application/json"


def _refuse_media_type(request: web.BaseRequest) -> None:
    declared = request.headers.get("Content-Type", "")
    if declared != _JSON:
        media_type, _, parameters = declared.partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if media_type.strip().lower() != _JSON or charset not in ("", "charset=utf-8", "charset=utf8"):
            raise InvalidRequest(f"content-type: wanted {_JSON} in UTF-8")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("content-encoding: a compressed body is not read")


async def _read_at_most(request: web.BaseRequest, limit: int) -> bytes:
    chunks: list[bytes] = []
    length = 0
    async for chunk in request.content.iter_any():
        length += len(chunk)
        if length > limit:
            raise InvalidRequest(f"body of more than {limit} bytes; at most {limit} are read")
        chunks.append(chunk)
    return b"".join(chunks)
