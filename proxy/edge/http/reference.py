"""The RPC listener on aiohttp's server: the reference that the lean one is held against, answer for answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Coroutine
from ssl import SSLContext
from typing import Any

from aiohttp import hdrs, web

from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.inbound import CARRIED_SECONDS, InboundCall
from proxy.edge.http.intake import Intake
from proxy.edge.http.listener import ListenerSettings
from proxy.edge.http.messages import DECISION_HEADER, HttpAnswer, HttpRequest
from proxy.edge.http.quiet_aiohttp import SERVER_NAME, QuietHandler, QuietServer
from proxy.edge.http.service import Service
from proxy.edge.http.tls_door import DoorBounds, TlsDoor
from proxy.edge.http.websocket import WebSockets, wants_websocket
from proxy.edge.http.wire.fields import BROKEN_BODY
from proxy.errors import InvalidRequest, TooMuchWaits


class _Waiting:
    """What has arrived of bodies that are not whole: where all has no room, the one that has been coming for longest
    goes."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._held: OrderedDict[asyncio.Timeout, int] = OrderedDict()
        self._gone: set[asyncio.Timeout] = set()  # had to go, and have not heard it yet
        intake.drop_body = self._drop_slowest

    def holds(self, body: asyncio.Timeout, size: int) -> None:
        """So much has come of a body by now, by the time in which it has to come."""
        if body in self._gone:
            return
        more = size - self._held.get(body, 0)
        self._held[body] = size
        self._intake.count_body(more)

    def lets_go(self, body: asyncio.Timeout) -> bool:
        """It is whole, or will never be. False where it had to go."""
        had_to_go = body in self._gone
        self._gone.discard(body)
        self._intake.count_body(-self._held.pop(body, 0))
        return not had_to_go

    def _drop_slowest(self) -> bool:
        slowest = next(iter(self._held), None)
        if slowest is None:
            return False
        self.lets_go(slowest)
        self._gone.add(slowest)
        slowest.reschedule(0)  # its time is over
        return True


class AiohttpListener:
    """Carries a service. A request is finished even when its caller has left."""

    def __init__(self, service: Service, settings: ListenerSettings) -> None:
        self._service = service
        self._settings = settings
        self._intake = Intake(settings.waiting_bytes)
        self._websockets = WebSockets(service, settings, self._intake)
        self._waiting = _Waiting(self._intake)
        self._limit = service.settings.limits.max_bytes
        # the low-level server: no router, no middlewares, and no access log that would see keys in URLs
        plain = web.Server(
            self._handle,
            access_log=None,
            logger=HTTP_LOG,
            auto_decompress=False,
            keepalive_timeout=settings.keepalive_seconds,
            lingering_time=settings.linger_seconds,
        )
        self._server = QuietServer.like(
            plain, settings.connections, most_per_peer=settings.connections_per_peer, exempt=self._is_trusted
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=settings.shutdown_seconds)
        self._door: TlsDoor | None = None

    async def start(self, host: str, port: int, ssl: SSLContext | None = None) -> int:
        """Listen; the port."""
        await self._runner.setup()
        settings = self._settings
        self._server.bound_unread(settings.stalled_seconds, settings.unread_bytes)
        self._server.head_seconds = settings.head_seconds
        if ssl is not None:
            bounds = DoorBounds(
                most=settings.connections,
                most_per_peer=settings.connections_per_peer,
                seconds=settings.head_seconds,
                backlog=settings.backlog,
                exempt=self._is_trusted,
            )
            self._door = TlsDoor(self._server, ssl, bounds, self._server.present, self._service.turns)
            return await self._door.start(host, port)
        await web.TCPSite(self._runner, host, port, backlog=settings.backlog).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close."""
        if self._door is not None:
            await self._door.stop()
            self._door = None
        await self._websockets.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, QuietHandler):
            request.protocol.has_asked()
        asked = HttpRequest(request.method, request.raw_path, request.headers, request.content_length, request.remote)
        if wants_websocket(asked):
            return await self._websockets.handle(request)
        if asked.method != "POST":
            return await self._in_turn(asked, self._answer_head(request, asked))
        received = self._service.receive(asked)
        if isinstance(received, HttpAnswer):
            return await self._in_turn(asked, self._answer(request, received))
        try:
            return await self._serve(request, received)
        finally:
            received.end()

    def _in_turn(
        self, asked: HttpRequest, answer: Coroutine[Any, Any, web.StreamResponse]
    ) -> Awaitable[web.StreamResponse]:
        """What the head alone decides takes its household's time, too."""
        turns, household = self._service.turns, self._service.household(asked)
        turns.charge(household, CARRIED_SECONDS)
        return turns.work(household, answer)

    async def _answer_head(self, request: web.BaseRequest, asked: HttpRequest) -> web.StreamResponse:
        received = self._service.receive(asked)
        assert isinstance(received, HttpAnswer)  # noqa: S101 - only a POST has a body that counts
        return self._respond(request, received)

    async def _answer(self, request: web.BaseRequest, answer: HttpAnswer) -> web.StreamResponse:
        return self._respond(request, answer)

    async def _serve(self, request: web.BaseRequest, call: InboundCall) -> web.Response:
        try:
            body = await self._read(request)
        except InvalidRequest as error:
            return self._respond(request, call.refuse(error))
        except TooMuchWaits:
            return self._respond(request, call.no_room())
        try:
            answer = await call.answer(body)
        except Exception:  # a promise of ours is broken: the caller is answered, and nothing of it is told
            HTTP_LOG.exception("a request failed")
            answer = call.broken()
        if request.transport is None:
            call.nobody_waited()
        return self._respond(request, answer)

    async def _read(self, request: web.BaseRequest) -> bytes:
        try:
            if request.content.is_eof():
                body = request.content.read_nowait()
                if len(body) > self._limit:
                    raise self._too_long()
                return body
            async with asyncio.timeout(self._settings.body_seconds) as time:
                if request.headers.get("Expect", "").lower() == "100-continue":
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    request.writer.output_size = 0
                return await self._read_at_most(request, time)
        except TimeoutError:
            raise InvalidRequest(f"body did not arrive within {self._settings.body_seconds:g} s") from None
        except web.RequestPayloadError:
            raise InvalidRequest(BROKEN_BODY) from None

    async def _read_at_most(self, request: web.BaseRequest, time: asyncio.Timeout) -> bytes:
        chunks: list[bytes] = []
        length = 0
        try:
            async for chunk in request.content.iter_any():
                length += len(chunk)
                if length > self._limit:
                    raise self._too_long()
                chunks.append(chunk)
                self._waiting.holds(time, length)
        finally:
            had_room = self._waiting.lets_go(time)
            if not had_room:
                raise TooMuchWaits
        return b"".join(chunks)

    def _too_long(self) -> InvalidRequest:
        return InvalidRequest(f"body of more than {self._limit} bytes; at most {self._limit} are read")

    def _respond(self, request: web.BaseRequest, answer: HttpAnswer) -> web.Response:
        response = web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)
        if answer.decision_id is not None:
            response.headers[DECISION_HEADER] = answer.decision_id
        response.headers[hdrs.SERVER] = SERVER_NAME
        if self._service.parting or not request.content.is_eof():
            # the rest of the body is not waited for; the next request needs a new connection
            response.force_close()
        return response

    def _is_trusted(self, peer: str) -> bool:
        return self._service.settings.proxies.trusts(peer)
