"""What is served over HTTP, whichever server carries it: requests to the gate, replies out.

It speaks HTTP and knows no method. Every JSON-RPC error is HTTP 200, whoever says it; only the status that an upstream
answered a single request with is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from proxy.clients.keys import key_in_segment, keys_in_query
from proxy.clients.rations import Ration
from proxy.edge.http.clients import DECISION_HEADER, Clients
from proxy.edge.http.forwarded import TrustedProxies
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.messages import HttpAnswer, HttpRequest, PrintedFields, plain
from proxy.edge.http.openrpc import OPENRPC, OPENRPC_PATH
from proxy.errors import Code, InvalidRequest, RateLimited, RpcError
from proxy.jsonrpc import NULL_ID, Batch, BodyLimits, Malformed, Request, parse_body, print_error
from proxy.ports import Answer, FeedLine, RequestContext
from proxy.refusal import internal_error

NOBODY: Final = "other"
"""Chain and client of a request that was refused before either was known; the label for what is in no closed set."""

INVALID: Final = "invalid"
DENIED: Final = "denied"
RATE_LIMITED: Final = "rate_limited"
DISCONNECTED: Final = "disconnected"

_JSON: Final = "application/json"
_JSON_ALONE: Final = PrintedFields({"Content-Type": _JSON})
_NO_DECISION: Final = "-"  # of an element of a batch that carried no operation
_SMALL: Final = 4096  # an answer no longer than this is always given, so that no submission is left unanswered

AnswerRequest = Callable[[Request, RequestContext], Awaitable[Answer | None]]
"""Answers one request; `None` for a notification. May raise `RpcError`, nothing else."""


def _ignore(*_: str) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the listener tells the metrics, by labels from closed sets.

    `began(chain)`, `ended(chain)` around every POST to a chain; `turned_away(chain, client, outcome)` for each
    request that the gate never saw (`invalid`, `denied`, `rate_limited`) and each answer nobody waited for
    (`disconnected`).
    """

    began: Callable[[str], None] = _ignore
    ended: Callable[[str], None] = _ignore
    turned_away: Callable[[str, str, str], None] = _ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What is served and within which bounds. With one chain, `/` is that chain too."""

    chains: Sequence[str]
    clients: Clients = field(default_factory=Clients)
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    limits: BodyLimits = field(default_factory=BodyLimits)
    batch_concurrency: int = 8
    batch_answer_bytes: int = 4 * 1024 * 1024
    all_batches_bytes: int = 64 * 1024 * 1024  # answers collected for batches that are not whole yet
    max_age_seconds: int = 7200  # how long a browser may remember a preflight
    traced: bool = False  # read `traceparent`


class Service:
    """Tells what becomes of a request: an answer at once, or a `InboundCall` that wants its body."""

    def __init__(self, answer: AnswerRequest, settings: ServiceSettings, hooks: Hooks | None = None) -> None:
        self.answer = answer
        self.settings = settings
        self.hooks = hooks or Hooks()
        self.room = settings.all_batches_bytes
        self._routes = {f"/{chain}": chain for chain in settings.chains}
        if len(settings.chains) == 1:
            self._routes["/"] = settings.chains[0]

    def receive(self, request: HttpRequest) -> HttpAnswer | InboundCall:
        """Decide by the head alone. A `InboundCall` that is returned has to be ended."""
        match request.method:
            case "POST":
                return self._post(request)
            case "OPTIONS":
                return self._preflight(request)
            case "GET":
                return self._explain(request)
        return HttpAnswer(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, OPTIONS, POST"})

    def _find(self, request: HttpRequest) -> tuple[str | None, list[str]]:
        """The chain that a path names, and the keys in the URL: `?apikey=`, and `/{chain}/{key}` where keys count."""
        path, _, query = request.target.partition("?")
        chain, keys = self._routes.get(request.path), keys_in_query(query) if query else []
        if chain is None and self.settings.clients.take_keys:
            head, _, last = path.rpartition("/")
            chain = self._routes.get(head) if last else None
            keys.append(key_in_segment(last))
        return chain, keys

    def identify(self, request: HttpRequest, chain: str, keys: Sequence[str]) -> RequestContext:
        """Who calls, and what that client may do. Raises `InvalidRequest`."""
        caller = self.settings.proxies.caller(request.peer, request.headers)
        guest = self.settings.clients.identify(request.headers, chain, caller, keys)
        traceparent = request.headers.get("traceparent") if self.settings.traced else None
        return RequestContext(chain, guest.name, caller, guest, traceparent)

    def _post(self, request: HttpRequest) -> HttpAnswer | InboundCall:
        chain, keys = self._find(request)
        if chain is None:
            self.hooks.turned_away(NOBODY, NOBODY, DENIED)
            return self.refusal(request, InvalidRequest("nothing is served at this path; POST to /{chain}"))
        try:
            context = self.identify(request, chain, keys)
        except InvalidRequest as refusal:
            self.hooks.turned_away(chain, NOBODY, DENIED)
            return self.refusal(request, refusal)
        try:
            _refuse_media_type(request)
            limit = self.settings.limits.max_bytes
            if (request.length or 0) > limit:
                raise InvalidRequest(f"body of {request.length} bytes; at most {limit} are read")
        except RpcError as error:
            self.hooks.turned_away(chain, context.client, INVALID)
            return self.refusal(request, error)
        return InboundCall(self, request, context)

    def open(self, request: HttpRequest) -> HttpAnswer | Line:
        """Decide on a WebSocket by the head of its first request."""
        chain, keys = self._find(request)
        if chain is None:
            self.hooks.turned_away(NOBODY, NOBODY, DENIED)
            return plain(HTTPStatus.NOT_FOUND, "nothing is served at this path\n")
        try:
            context = self.identify(request, chain, keys)
        except InvalidRequest as refusal:
            self.hooks.turned_away(chain, NOBODY, DENIED)
            return plain(HTTPStatus.FORBIDDEN, f"{refusal}\n")
        # browsers let any page open a WebSocket: which may is for the server to say
        if "Origin" in request.headers and not self.settings.clients.cors(request.headers):
            self.hooks.turned_away(chain, context.client, DENIED)
            return plain(HTTPStatus.FORBIDDEN, "this origin may not call\n")
        return Line(self, request, chain, keys)

    def refusal(self, request: HttpRequest, error: RpcError) -> HttpAnswer:
        """A JSON-RPC error for a body that was not read, or could not be."""
        return self.respond(request, Answer(_print(NULL_ID, error)))

    def respond(self, request: HttpRequest, answer: Answer | None) -> HttpAnswer:
        """The answer as the page or program that asked may read it."""
        headers = self.settings.clients.cors(request.headers)
        if answer is None:  # notifications only
            return HttpAnswer(HTTPStatus.NO_CONTENT, headers=headers)
        headers["Content-Type"] = _JSON
        return HttpAnswer(answer.http_status, answer.body, headers)

    def _preflight(self, request: HttpRequest) -> HttpAnswer:
        headers = self.settings.clients.cors(request.headers)
        if not headers:
            return plain(HTTPStatus.FORBIDDEN, "this origin may not call\n")
        headers["Access-Control-Allow-Methods"] = "POST"
        headers["Access-Control-Allow-Headers"] = self.settings.clients.allowed_headers
        headers["Access-Control-Max-Age"] = str(self.settings.max_age_seconds)
        return HttpAnswer(HTTPStatus.NO_CONTENT, headers=headers)

    def _explain(self, request: HttpRequest) -> HttpAnswer:
        path = request.path
        if path == OPENRPC_PATH:
            return HttpAnswer(HTTPStatus.OK, OPENRPC, {"Content-Type": _JSON, "Access-Control-Allow-Origin": "*"})
        if path in self._routes or path == "/":
            return plain(HTTPStatus.OK, _EXPLANATION.format(path=path if path in self._routes else "/{chain}"))
        chain, _ = self._find(request)
        if chain is None:
            return plain(HTTPStatus.NOT_FOUND, "nothing is served at this path\n")
        return plain(HTTPStatus.OK, _EXPLANATION.format(path=f"/{chain}/{{key}}"))


@dataclass(frozen=True, slots=True)
class Line:
    """A WebSocket to a chain: each of its messages is a call."""

    service: Service
    request: HttpRequest
    chain: str
    keys: Sequence[str] = field(repr=False)

    def call(self, feed: FeedLine) -> InboundCall:
        """The call that a message is. It has to be ended. Raises `InvalidRequest` when its client may call no more."""
        try:
            context = self.service.identify(self.request, self.chain, self.keys)
        except InvalidRequest:  # the settings were read again since it was opened
            self.service.hooks.turned_away(self.chain, NOBODY, DENIED)
            raise
        return InboundCall(self.service, self.request, replace(context, line=feed))


class InboundCall:
    """One POST to a chain from its head to its answer. `end` it, whatever happens.

    What it knows is what its head says: once it is ended it may do for the next with the same head, asked `again`.
    """

    __slots__ = ("_context", "_counted", "_headers", "_request", "_service", "_settings")

    def __init__(self, service: Service, request: HttpRequest, context: RequestContext) -> None:
        self._service = service
        self._request = request
        self._context = context
        self._settings = service.settings
        self._counted = Ration.REQUESTS in context.guest.licence.rates
        cors = service.settings.clients.cors(request.headers)
        self._headers = _JSON_ALONE if not cors else PrintedFields({**cors, "Content-Type": _JSON})
        service.hooks.began(context.chain)

    def again(self, length: int | None) -> InboundCall | None:
        """The call of another request with the same head but for its length; `None` where it has to be received.

        What the settings make of a head they make of it as long as they are the same ones.
        """
        settings = self._service.settings
        if settings is not self._settings or (length or 0) > settings.limits.max_bytes:
            return None
        self._service.hooks.began(self._context.chain)
        return self

    def end(self) -> None:
        """Nothing more comes of it."""
        self._service.hooks.ended(self._context.chain)

    def nobody_waited(self) -> None:
        """Its caller had left before the answer."""
        self._service.hooks.turned_away(self._context.chain, self._context.client, DISCONNECTED)

    def refuse(self, error: RpcError) -> HttpAnswer:
        """The answer when its body cannot be had."""
        self._service.hooks.turned_away(self._context.chain, self._context.client, INVALID)
        return self._service.refusal(self._request, error)

    async def answer(self, body: bytes) -> HttpAnswer:
        """The answer to its body."""
        try:
            parsed = parse_body(body, self._service.settings.limits)
        except RpcError as error:
            self._past_budget()  # counted all the same
            return self.refuse(error)
        answer = await (self._batch(parsed) if isinstance(parsed, Batch) else self._item(parsed.item))
        if answer is None:
            return self._service.respond(self._request, None)
        if answer.decision_id is None:
            return HttpAnswer(answer.http_status, answer.body, self._headers)
        return HttpAnswer(answer.http_status, answer.body, self._headers.and_one(DECISION_HEADER, answer.decision_id))

    def _past_budget(self) -> RateLimited | None:
        """Why its client may not ask anything more now; `None` counts another request of it."""
        if not self._counted:
            return None
        try:
            self._context.guest.take(Ration.REQUESTS)
        except RateLimited as refusal:
            return refusal
        return None

    async def _item(self, item: Request | Malformed) -> Answer | None:
        if (refusal := self._past_budget()) is not None:
            self._service.hooks.turned_away(self._context.chain, self._context.client, RATE_LIMITED)
            return None if item.id is None else Answer(_print(item.id, refusal))
        if isinstance(item, Malformed):
            self._service.hooks.turned_away(self._context.chain, self._context.client, INVALID)
            return Answer(_print(item.id, item.error))
        try:
            return await self._service.answer(item, self._context)
        except RpcError as error:
            return Answer(_print(item.id, error))
        except Exception:  # a promise of ours is broken; HTTP 500 or -32603 would make SDKs hand the same in again
            HTTP_LOG.exception("a request failed")
            told = internal_error(_NO_DECISION, submit=True, may_have_been_sent=True)
            return None if item.id is None else Answer(print_error(item.id, *told))

    async def _batch(self, batch: Batch) -> Answer | None:
        service = self._service
        limit = service.settings.batch_answer_bytes
        places = asyncio.Semaphore(service.settings.batch_concurrency)
        held, full = 0, False

        async def answer(item: Request | Malformed) -> Answer | None:
            nonlocal held, full
            async with places:
                if full and item.id is not None:
                    return _no_room(item.id, limit, asked=False)
                given = await self._item(item)
                if given is None:
                    return None
                if item.id is not None and len(given.body) > max(_SMALL, min(limit - held, service.room)):
                    full, given = True, replace(_no_room(item.id, limit, asked=True), decision_id=given.decision_id)
                held += len(given.body)
                service.room -= len(given.body)
                return given

        try:
            answers = await asyncio.gather(*(answer(item) for item in batch.items))
        finally:
            service.room += held
        given = [each for each in answers if each is not None]
        if not given:
            return None
        ids = [each.decision_id or _NO_DECISION for each in given]
        told = ", ".join(ids) if any(each.decision_id for each in given) else None
        return Answer(b"[%b]" % b",".join([each.body for each in given]), decision_id=told)


def _no_room(request_id: str, limit: int, *, asked: bool) -> Answer:
    """What an element hears when the answers to its batch, or to all batches together, are longer than is kept."""
    done = "it was answered, and the answer left out" if asked else "it was not sent"
    message = f"the answers to this batch are longer than the {limit} bytes there is room for: {done}; ask for less"
    return Answer(print_error(request_id, Code.INVALID_REQUEST, message, {"sent": asked}))


def _print(request_id: str | None, error: RpcError) -> bytes:
    return print_error(request_id, error.code, error.message, error.data)


_EXPLANATION: Final = """\
This is sessiongate, a gate before an ERC-4337 bundler. It speaks JSON-RPC 2.0 over POST to {path}:

  curl -H 'content-type: application/json' -d '{{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}}' URL

Give your SDK this URL where it asks for the bundler's.
"""


def _refuse_media_type(request: HttpRequest) -> None:
    declared = request.headers.get("Content-Type", "")
    if declared != _JSON:
        media_type, _, parameters = declared.partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if media_type.strip().lower() != _JSON or charset not in ("", "charset=utf-8", "charset=utf8"):
            raise InvalidRequest(f"content-type: wanted {_JSON} in UTF-8")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("content-encoding: a compressed body is not read")
