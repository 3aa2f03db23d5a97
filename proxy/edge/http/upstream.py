"""The bundler endpoints of one chain: the first healthy one is used, the others stand by.

Nothing of the client's request goes upstream but what the gate printed: no header, no id, no bytes. Endpoints are named
`chain#index` in everything this module says, because their URLs carry API keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from types import TracebackType
from typing import Final, Self

from yarl import URL

from proxy.edge.http.client import ClientSettings, HttpClient, NoReplyError, UnreachedError
from proxy.edge.http.lean.pool import Pool
from proxy.edge.http.listener import Transport
from proxy.edge.http.reference_client import AiohttpClient
from proxy.errors import InvalidParams, UpstreamUnavailable
from proxy.jsonrpc import Reply, ReplyError, print_request, read_reply
from proxy.userop.primitives import Address, parse_address, parse_uint, print_checksummed

_NO_PARAMS: Final = b"[]"
_WAITS_FOR_INCLUSION: Final = frozenset({"pimlico_sendUserOperationNow"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """Bounds on one exchange, in seconds and bytes. `inclusion_seconds` is for methods that wait for a block."""

    connect_seconds: float = 3.0
    total_seconds: float = 30.0
    inclusion_seconds: float = 180.0
    probe_seconds: float = 5.0
    keepalive_seconds: float = 15.0
    max_connections: int = 1000
    transport: Transport = Transport.LEAN
    max_reply_bytes: int = 16 * 1024 * 1024


class Health(StrEnum):
    """What is known of an endpoint. A closed set, fit for a metric label."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNREACHABLE = "unreachable"  # used only when no other endpoint is left
    MISCONFIGURED = "misconfigured"  # another chain, or an entry point missing: never used


@dataclass(slots=True, eq=False)
class Endpoint:
    """One bundler URL and what is known of it. `problem` is in words, and free of secrets."""

    name: str
    url: URL = field(repr=False)
    health: Health = Health.UNKNOWN
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A bundler's answer: its HTTP status, and the JSON-RPC reply as it came, still under our id."""

    endpoint: str
    status: int
    our_id: int
    reply: Reply

    @property
    def body(self) -> bytes:
        """The reply's bytes."""
        return self.reply.body


class Upstream:
    """The bundlers of one chain behind one `post`. Use as an asynchronous context manager."""

    def __init__(
        self,
        chain: str,
        urls: Sequence[str],
        *,
        chain_id: int,
        entry_points: frozenset[Address],
        settings: UpstreamSettings | None = None,
        on_health: Callable[[str, Health], None] = lambda _name, _health: None,
    ) -> None:
        self.chain = chain
        self.endpoints = tuple(_endpoint(f"{chain}#{index}", url) for index, url in enumerate(urls))
        if not self.endpoints:
            raise ValueError(f"{chain}: no bundler")
        self._chain_id = chain_id
        self._entry_points = entry_points
        self._settings = settings or UpstreamSettings()
        self._on_health = on_health
        self._ids = count(1)
        self._client: HttpClient | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        bounds = ClientSettings(
            connect_seconds=settings.connect_seconds,
            keepalive_seconds=settings.keepalive_seconds,
            max_connections=settings.max_connections,
            max_reply_bytes=settings.max_reply_bytes,
        )
        self._client = Pool(bounds) if settings.transport is Transport.LEAN else AiohttpClient(bounds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def healthy(self) -> bool:
        """Whether an endpoint has passed its last probe."""
        return any(endpoint.health is Health.HEALTHY for endpoint in self.endpoints)

    @property
    def preferred(self) -> str:
        """The name of the endpoint the next request goes to first."""
        return next(iter(self._order()), self.endpoints[0]).name

    def _order(self) -> list[Endpoint]:
        """Reachable endpoints in configured order, then those that could not be reached when last tried."""
        usable = [endpoint for endpoint in self.endpoints if endpoint.health is not Health.MISCONFIGURED]
        return sorted(usable, key=lambda endpoint: endpoint.health is Health.UNREACHABLE)

    async def post(self, method: str, params: bytes, *, submit: bool) -> UpstreamReply:
        """Ask the first healthy endpoint; `params` is a printed JSON array.

        A submission goes to the next endpoint only when none of its bytes can have reached this one, and is never
        repeated otherwise. A read goes to the next one on any failure. Raises `UpstreamUnavailable`.
        """
        failure: UpstreamUnavailable | None = None
        patient = method in _WAITS_FOR_INCLUSION
        seconds = self._settings.inclusion_seconds if patient else self._settings.total_seconds
        for endpoint in self._order():
            try:
                answer = await self._exchange(endpoint, method, params, seconds)
            except UpstreamUnavailable as error:
                if submit and error.may_have_been_sent:
                    raise
                failure = error
            else:
                if endpoint.health is Health.UNREACHABLE:
                    self._note(endpoint, Health.UNKNOWN)
                return answer
        if failure is None:
            problems = "; ".join(f"{endpoint.name} {endpoint.problem}" for endpoint in self.endpoints)
            raise UpstreamUnavailable(f"no usable bundler: {problems}", may_have_been_sent=False)
        raise failure

    async def _exchange(self, endpoint: Endpoint, method: str, params: bytes, seconds: float) -> UpstreamReply:
        assert self._client is not None, "Upstream is used inside its context"  # noqa: S101 - our own promise
        our_id = next(self._ids)
        try:
            answer = await self._client.post(endpoint.url, print_request(our_id, method, params), seconds)
            return UpstreamReply(endpoint.name, answer.status, our_id, read_reply(answer.body, our_id))
        except UnreachedError:
            self._note(endpoint, Health.UNREACHABLE, "cannot be reached")
            raise UpstreamUnavailable(f"{endpoint.name} cannot be reached", may_have_been_sent=False) from None
        except NoReplyError as error:
            problem = f"{endpoint.name} {error.problem}"
        except ReplyError as error:
            problem = f"{endpoint.name} answered HTTP {answer.status} with a body that is {error}"
        raise UpstreamUnavailable(problem, may_have_been_sent=True) from None

    def _note(self, endpoint: Endpoint, health: Health, problem: str | None = None) -> None:
        endpoint.health, endpoint.problem = health, problem
        self._on_health(endpoint.name, health)

    async def probe(self) -> bool:
        """Ask every endpoint for its chain id and entry points and note its health. True when one is healthy."""
        await asyncio.gather(*(self._probe(endpoint) for endpoint in self.endpoints))
        return self.healthy

    async def watch(self, interval_seconds: float) -> None:
        """Probe for ever. Cancel to stop."""
        while True:
            await self.probe()
            await asyncio.sleep(interval_seconds)

    async def _probe(self, endpoint: Endpoint) -> None:
        try:
            seconds = self._settings.probe_seconds
            chain = await self._exchange(endpoint, "eth_chainId", _NO_PARAMS, seconds)
            supported = await self._exchange(
                endpoint, "eth_supportedEntryPoints", _NO_PARAMS, self._settings.probe_seconds
            )
        except UpstreamUnavailable as error:
            self._note(endpoint, Health.UNREACHABLE, error.problem.removeprefix(f"{endpoint.name} "))
            return
        if chain.reply.is_error or supported.reply.is_error:
            self._note(endpoint, Health.UNREACHABLE, "answers its probe with an error")
            return
        problem = self._misfit(chain.reply, supported.reply)
        self._note(endpoint, Health.MISCONFIGURED if problem else Health.HEALTHY, problem)

    def _misfit(self, chain: Reply, supported: Reply) -> str | None:
        """Why an endpoint that answered is not a bundler for this chain."""
        try:
            chain_id = parse_uint(chain.result, "eth_chainId")
            if not isinstance(supported.result, list):
                return "answers eth_supportedEntryPoints with no list"
            entry_points = {parse_address(item, "eth_supportedEntryPoints") for item in supported.result}
        except InvalidParams as error:
            return f"gives no usable answer to {error.field}"
        if chain_id != self._chain_id:
            return f"serves chain {chain_id}, configured is {self._chain_id}"
        if missing := self._entry_points - entry_points:
            return f"does not serve entry point {', '.join(sorted(map(print_checksummed, missing)))}"
        return None


def _endpoint(name: str, text: str) -> Endpoint:
    try:
        url = URL(text)
    except ValueError:
        raise ValueError(f"{name}: not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{name}: not an http or https URL")
    return Endpoint(name, url)
