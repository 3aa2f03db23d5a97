"""Bundlers as whoever asks them knows them: how each fares, one question to one of them, and their probes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import Final, Self

from proxy.bundler_answers import TOOK_NOTHING, Meaning
from proxy.edge.http.bundler_health import Placement, QuestionKind, Sign
from proxy.edge.http.client import (
    ClientSettings,
    Heard,
    HttpClient,
    HttpReply,
    NoneFreeError,
    NoReplyError,
    UnreachedError,
)
from proxy.edge.http.endpoints import BundlerEndpoint, Health, misfit_of
from proxy.edge.http.exchange import (
    ExchangeError,
    UpstreamReply,
    meaning_of_reply,
    read_exchange,
    waits_for_inclusion,
)
from proxy.edge.http.lean.pool import Pool
from proxy.edge.http.listener import Transport
from proxy.edge.http.places import BundlerPlaces
from proxy.edge.http.reference_client import AiohttpClient
from proxy.edge.http.roster import Roster
from proxy.edge.http.socket_client import BySchemeClient
from proxy.errors import UpstreamFull, UpstreamUnavailable
from proxy.jsonrpc import print_request
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address

_LOG: Final = logging.getLogger(__name__)
NO_PARAMS: Final = b"[]"
_OK: Final = 200
_RESTS: Final = {
    True: "rests from every {kind}: another is asked where there is one",
    False: "is asked every {kind} again",
}


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


SendOut = tuple[NonceSlot, BundlerEndpoint, int | None, str | None]
"""A send that waits for its answer: what it competes for, at whom, how many of its sends had been answered by then, and
for which household a place is taken."""


async def _nobody_asks(_slot: NonceSlot, _mark: str) -> None:
    return None


class BundlerAsker:
    """Asks one of a chain's bundlers, and notes what its answer tells of it. Use as an asynchronous context manager.

    `in_flight` says whether anything is held that takes a place on chain; `stopwatch` gives monotonic seconds.
    `on_full` hears of what was asked of nobody for want of a place.
    `send_to` has it written down that an operation goes to the bundler of a mark, be it another one than `bundler_for`
    said; it raises `StateUnavailable` where that cannot be, and then nothing is sent.
    `traceparent` gives the header of that name for the question that is about to be asked; `None` where nobody traces.
    """

    def __init__(
        self,
        chain: str,
        urls: Sequence[str],
        *,
        chain_id: int,
        entry_points: frozenset[Address],
        settings: UpstreamSettings | None = None,
        on_health: Callable[[str, Health], None] = lambda _name, _health: None,
        on_rest: Callable[[str, QuestionKind, bool], None] = lambda _name, _kind, _rests: None,
        on_full: Callable[[QuestionKind], None] = lambda _kind: None,
        in_flight: Callable[[NonceSlot], bool] = lambda _slot: False,
        send_to: Callable[[NonceSlot, str], Awaitable[None]] = _nobody_asks,
        stopwatch: Callable[[], float] = time.monotonic,
        traceparent: Callable[[], str | None] | None = None,
    ) -> None:
        self._traceparent = traceparent
        self.chain = chain
        self._roster = Roster(chain, urls, in_flight)
        self._out: dict[int, SendOut] = {}  # begun, by our id
        self._noted: dict[int, Placement] = {}  # and of those that were out when there came to be others, that they are
        self._placements = self._roster.placements
        self._changed = asyncio.Event()
        self._chain_id = chain_id
        self._entry_points = entry_points
        self._settings = settings or UpstreamSettings()
        self._on_health = on_health
        self._on_rest = on_rest
        self._send_to = send_to
        self._stopwatch = stopwatch
        self._ids = count(1)
        self._places = BundlerPlaces(self._settings.max_connections, self._settings.connect_seconds, on_full)
        self._client: HttpClient | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        bounds = ClientSettings(
            connect_seconds=settings.connect_seconds,
            keepalive_seconds=settings.keepalive_seconds,
            max_connections=settings.max_connections,
            max_reply_bytes=settings.max_reply_bytes,
        )
        over_http = Pool(bounds) if settings.transport is Transport.LEAN else AiohttpClient(bounds)
        self._client = BySchemeClient(over_http, bounds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def endpoints(self) -> tuple[BundlerEndpoint, ...]:
        """The bundlers, in the order of the settings."""
        return self._roster.endpoints

    @property
    def generation(self) -> int:
        """Goes up when the names of endpoints may mean others than before."""
        return self._roster.generation

    @property
    def healthy(self) -> bool:
        """Whether an endpoint has passed its last probe."""
        return any(endpoint.health is Health.HEALTHY for endpoint in self.endpoints)

    @property
    def preferred(self) -> str:
        """The name of the endpoint the next read goes to first."""
        return next(iter(self._order(QuestionKind.READ)), self.endpoints[0]).name

    def _order(self, kind: QuestionKind, slot: NonceSlot | None = None) -> Sequence[BundlerEndpoint]:
        return self._roster.order(kind, self._stopwatch(), slot)

    def take(self, urls: Sequence[str], *, total_seconds: float) -> None:
        """Ask these from the next question on, and wait so long for an answer; they are probed at once."""
        self._roster.take(urls)
        self._settings = replace(self._settings, total_seconds=total_seconds)
        for endpoint in self.endpoints:
            self._on_health(endpoint.name, endpoint.health)
            for kind, breaker in endpoint.breakers.items():
                self._on_rest(endpoint.name, kind, breaker.rests_until is not None)
        self._changed.set()

    def _nobody(self) -> UpstreamUnavailable:
        problems = "; ".join(f"{endpoint.name} {endpoint.problem}" for endpoint in self.endpoints)
        return UpstreamUnavailable(f"no usable bundler: {problems}", may_have_been_sent=False)

    def _seconds_for(self, method: str) -> float:
        return self._settings.inclusion_seconds if waits_for_inclusion(method) else self._settings.total_seconds

    def _put(self, endpoint: BundlerEndpoint, body: bytes, seconds: float, heard: Heard, household: str | None) -> bool:
        """Ask, in a place that this household was given: `heard` leaves it. Where nothing was asked it is left here,
        for whatever reason."""
        is_asked = False
        try:
            if (line := endpoint.line) is None:
                assert self._client is not None, "Upstream is used inside its context"  # noqa: S101 - our own promise
                line = endpoint.line = self._client.line_to(endpoint.url)
            is_asked = line.begin(body, seconds, heard)
        finally:
            if not is_asked:
                self._places.leave(household)
        return is_asked

    async def _ask_read(self, endpoint: BundlerEndpoint, method: str, params: bytes, seconds: float) -> UpstreamReply:
        """One question on behalf of a caller that sends nothing. Raises `UpstreamUnavailable`."""
        async with self._places.place(QuestionKind.READ, endpoint.name):
            return await self._ask(endpoint, QuestionKind.READ, method, params, seconds=seconds)

    async def _ask(
        self,
        endpoint: BundlerEndpoint,
        kind: QuestionKind,
        method: str,
        params: bytes,
        *,
        seconds: float,
        slot: NonceSlot | None = None,
    ) -> UpstreamReply:
        """One exchange, and what it tells of the endpoint. Raises `UpstreamUnavailable`."""
        breaker = endpoint.breakers[kind]
        of, answers = slot or (method, params), breaker.answers
        on_trial = breaker.rests_until is not None and breaker.begin(self._stopwatch(), of)
        try:
            answer = await self._exchange(endpoint, method, params, seconds)
        except UpstreamUnavailable as error:
            if isinstance(error, ExchangeError):
                self._sign(endpoint, kind, Sign.SILENT if error.silent else Sign.FAILED, of, answers)
            elif on_trial:
                self._sign(endpoint, kind, Sign.FAILED, of, answers)
            raise
        except BaseException:  # a trial that did not end is given up, and it is raised again
            if on_trial:
                breaker.given_up()
            raise
        self._note_answer(endpoint, kind, answer, of, answers)
        return answer

    def _note_answer(
        self, endpoint: BundlerEndpoint, kind: QuestionKind, answer: UpstreamReply, of: Hashable, answers: int | None
    ) -> None:
        """What an answer tells of the endpoint; see `Breaker` for `of` and `answers`."""
        breaker = endpoint.breakers[kind]
        if answer.status == _OK and not answer.reply.is_error and not breaker.failures and breaker.rests_until is None:
            breaker.answers += 1  # nearly always
            if endpoint.health is Health.UNREACHABLE:
                self._note(endpoint, Health.UNKNOWN)
            return
        failed = answer.status in TOOK_NOTHING or (
            kind is QuestionKind.SEND and answer.reply.is_error and meaning_of_reply(answer) is Meaning.UNKNOWN
        )
        breaker.answers += not failed
        if failed or not breaker.is_quiet:
            self._sign(endpoint, kind, Sign.FAILED if failed else Sign.ANSWERED, of, answers)
        if endpoint.health is Health.UNREACHABLE:
            self._note(endpoint, Health.UNKNOWN)

    def _sign(
        self, endpoint: BundlerEndpoint, kind: QuestionKind, sign: Sign, of: Hashable, answers: int | None
    ) -> None:
        now, breaker = self._stopwatch(), endpoint.breakers[kind]
        rested = breaker.rests_until is not None
        breaker.note(sign, now, of, answers)
        if rested != (rests := breaker.rests_until is not None):
            _LOG.warning("%s %s", endpoint.name, _RESTS[rests].format(kind=kind))
            self._on_rest(endpoint.name, kind, rests)

    async def _exchange(self, endpoint: BundlerEndpoint, method: str, params: bytes, seconds: float) -> UpstreamReply:
        assert self._client is not None, "Upstream is used inside its context"  # noqa: S101 - our own promise
        our_id = next(self._ids)
        body = print_request(our_id, method, params)
        heard: HttpReply | NoReplyError
        try:
            traceparent = None if self._traceparent is None else self._traceparent()
            heard = await self._client.post(endpoint.url, body, seconds, traceparent)
        except NoneFreeError:
            raise UpstreamFull(f"{endpoint.name} has no connection left to be asked by") from None
        except UnreachedError:
            self._note(endpoint, Health.UNREACHABLE, "cannot be reached")
            raise UpstreamUnavailable(f"{endpoint.name} cannot be reached", may_have_been_sent=False) from None
        except NoReplyError as error:
            heard = error.with_traceback(None)  # which leads here, and to all that was asked
        return read_exchange(endpoint, our_id, heard)

    def _note(self, endpoint: BundlerEndpoint, health: Health, problem: str | None = None) -> None:
        endpoint.health, endpoint.problem = health, problem
        self._on_health(endpoint.name, health)
        # what nobody knows is no news, and who was well from the start is none either
        if health is Health.HEALTHY and endpoint.told in (None, Health.HEALTHY):
            endpoint.told = health
        elif health not in (Health.UNKNOWN, endpoint.told):
            endpoint.told = health
            _LOG.warning("%s %s", endpoint.name, problem or "is well again")

    async def probe(self) -> bool:
        """Ask every endpoint for its chain id and entry points and note its health. True when one is healthy."""
        await asyncio.gather(*(self._probe(endpoint) for endpoint in self.endpoints))
        return self.healthy

    async def watch(self, interval_seconds: float) -> None:
        """Probe for ever, and at once when there are others. Cancel to stop."""
        while True:
            self._changed.clear()
            await self.probe()
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_seconds):
                    await self._changed.wait()

    async def _probe(self, endpoint: BundlerEndpoint) -> None:
        try:
            seconds = self._settings.probe_seconds
            chain = await self._exchange(endpoint, "eth_chainId", NO_PARAMS, seconds)
            supported = await self._exchange(endpoint, "eth_supportedEntryPoints", NO_PARAMS, seconds)
        except UpstreamFull:  # which tells nothing of the endpoint
            return
        except UpstreamUnavailable as error:
            self._note(endpoint, Health.UNREACHABLE, error.problem.removeprefix(f"{endpoint.name} "))
            return
        if chain.reply.is_error or supported.reply.is_error:
            self._note(endpoint, Health.UNREACHABLE, "answers its probe with an error")
            return
        problem = misfit_of(chain.reply, supported.reply, chain_id=self._chain_id, entry_points=self._entry_points)
        self._note(endpoint, Health.MISCONFIGURED if problem else Health.HEALTHY, problem)
