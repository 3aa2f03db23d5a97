"""What is served over HTTP, whichever server carries it: requests to the gate, replies out.

It speaks HTTP and knows no method. Every JSON-RPC error is HTTP 200, whoever says it; only the status that an upstream
answered a single request with is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from proxy.clients.keys import key_in_segment, keys_in_query
from proxy.edge.http.clients import Clients
from proxy.edge.http.forwarded import TrustedProxies, household_of
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.inbound import JSON, BeginRequest, CountInPlace, InboundCall, print_refusal
from proxy.edge.http.messages import HttpAnswer, HttpRequest, plain
from proxy.edge.http.openrpc import OPENRPC, OPENRPC_PATH
from proxy.edge.http.refused import RefusedCall, is_worth_reading
from proxy.errors import InvalidRequest, RpcError
from proxy.jsonrpc import NULL_ID, BodyLimits, Request
from proxy.ports import Answer, FeedLine, RequestContext

NOBODY: Final = "other"
"""Chain and client of a request that was refused before either was known; the label for what is in no closed set."""

DENIED: Final = "denied"
INVALID: Final = "invalid"
_AT_ONCE: Final = 256


AnswerRequest = Callable[[Request, RequestContext], Awaitable[Answer | None]]
"""Answers one request; `None` for a notification. May raise `RpcError`, nothing else."""


def _ignore(*_: str) -> None:
    return None


@dataclass(slots=True)
class NobodysCount:
    """What nobody counts."""

    tally: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the listener tells the metrics, by labels from closed sets.

    `in_flight(chain)` has a number that goes up and down with every POST to a chain; `turned_away(chain, client,
    outcome)` for each request that the gate never saw (`invalid`, `denied`, `rate_limited`) and each answer nobody
    waited for (`disconnected`).
    """

    in_flight: Callable[[str], CountInPlace] = lambda _chain: NobodysCount()
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

    def __init__(
        self,
        answer: AnswerRequest,
        settings: ServiceSettings,
        hooks: Hooks | None = None,
        begin: BeginRequest | None = None,
        *,
        turns: HouseholdTurns | None = None,
    ) -> None:
        self.answer = answer
        self.turns = turns or HouseholdTurns(_AT_ONCE)
        self.begin = begin
        self.settings = settings
        self.hooks = hooks or Hooks()
        self.room = settings.all_batches_bytes
        self.parting = False  # each answer is the last on its connection: callers are to find another gate
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
        """The chain that a path names, and the keys in the URL: `?apikey=`, and `/{chain}/{key}` where keys count, or
        that with one slash behind it."""
        path, _, query = request.target.partition("?")
        chain, keys = self._routes.get(request.path), keys_in_query(query) if query else []
        if chain is None and self.settings.clients.take_keys:
            head, _, last = path.removesuffix("/").rpartition("/")
            chain = self._routes.get(head) if last else None
            keys.append(key_in_segment(last))
        return chain, keys

    def identify(self, request: HttpRequest, chain: str, keys: Sequence[str]) -> RequestContext:
        """Who calls, and what that client may do. Raises `InvalidRequest`."""
        caller = self.settings.proxies.caller(request.peer, request.headers)
        guest = self.settings.clients.identify(request.headers, chain, caller, keys)
        traceparent = request.headers.get("traceparent") if self.settings.traced else None
        household = None if caller is None else household_of(caller)
        return RequestContext(chain, guest.name, household, guest, traceparent)

    def household(self, request: HttpRequest) -> str | None:
        """With whom its caller is counted, whoever that is."""
        caller = self.settings.proxies.caller(request.peer, request.headers)
        return None if caller is None else household_of(caller)

    def _post(self, request: HttpRequest) -> HttpAnswer | InboundCall:
        chain, keys = self._find(request)
        if chain is None:
            self.hooks.turned_away(NOBODY, NOBODY, DENIED)
            return self._refused(request, InvalidRequest("nothing is served at this path; POST to /{chain}"))
        try:
            context = self.identify(request, chain, keys)
        except InvalidRequest as refusal:
            self.hooks.turned_away(chain, NOBODY, DENIED)
            return self._refused(request, refusal)
        try:
            _refuse_media_type(request)
            limit = self.settings.limits.max_bytes
            if (request.length or 0) > limit:
                raise InvalidRequest(f"body of {request.length} bytes; at most {limit} are read")
        except RpcError as error:
            self.hooks.turned_away(chain, context.client, INVALID)
            return self._refused(request, error)
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

    def _refused(self, request: HttpRequest, error: RpcError) -> HttpAnswer | InboundCall:
        return RefusedCall(self, request, error) if is_worth_reading(request) else self.refusal(request, error)

    def refusal(self, request: HttpRequest, error: RpcError) -> HttpAnswer:
        """A JSON-RPC error for a body that was not read, or could not be."""
        return self.respond(request, Answer(print_refusal(NULL_ID, error)))

    def respond(self, request: HttpRequest, answer: Answer | None) -> HttpAnswer:
        """The answer as the page or program that asked may read it."""
        headers = self.settings.clients.cors(request.headers)
        if answer is None:  # notifications only
            return HttpAnswer(HTTPStatus.NO_CONTENT, headers=headers)
        headers["Content-Type"] = JSON
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
            return HttpAnswer(HTTPStatus.OK, OPENRPC, {"Content-Type": JSON, "Access-Control-Allow-Origin": "*"})
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

    def identify(self) -> RequestContext:
        """Who calls, by the settings of now. Raises `InvalidRequest` when its client may call no more."""
        try:
            return self.service.identify(self.request, self.chain, self.keys)
        except InvalidRequest:  # the settings were read again since it was opened
            self.service.hooks.turned_away(self.chain, NOBODY, DENIED)
            raise

    def call(self, feed: FeedLine) -> InboundCall:
        """The call that a message is. It has to be ended. Raises `InvalidRequest` as `identify` does."""
        return InboundCall(self.service, self.request, replace(self.identify(), line=feed))


_EXPLANATION: Final = """\
This is sessiongate, a gate before an ERC-4337 bundler. It speaks JSON-RPC 2.0 over POST to {path}:

  curl -H 'content-type: application/json' -d '{{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}}' URL

Give your SDK this URL where it asks for the bundler's.
"""


def _refuse_media_type(request: HttpRequest) -> None:
    declared = request.headers.get("Content-Type", "")
    if declared != JSON:
        media_type, _, parameters = declared.partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if media_type.strip().lower() != JSON or charset not in ("", "charset=utf-8", "charset=utf8"):
            raise InvalidRequest(f"content-type: wanted {JSON} in UTF-8")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("content-encoding: a compressed body is not read")
