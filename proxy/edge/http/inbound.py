"""One POST to a chain: what its body asks, and the answer to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from proxy.broken_off import is_broken_off
from proxy.clients.rations import Ration
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.messages import HttpAnswer, HttpRequest, PrintedFields
from proxy.errors import Code, RateLimited, RpcError, TooMuchWaits
from proxy.jsonrpc import NULL_ID, Batch, Malformed, Request, Single, parse_body, print_error, read_plainly
from proxy.ports import Answer, RequestContext
from proxy.refusal import internal_error

if TYPE_CHECKING:
    from proxy.edge.http.service import Service

_T = TypeVar("_T")

JSON: Final = "application/json"
_JSON_ALONE: Final = PrintedFields({"Content-Type": JSON})
_INVALID: Final = "invalid"
_RATE_LIMITED: Final = "rate_limited"
_DISCONNECTED: Final = "disconnected"
_NO_DECISION: Final = "-"  # of an element of a batch that carried no operation
CARRIED_SECONDS: Final = 0.00005  # about what is done for a request before its turn, and for its answer after it
_SMALL: Final = 4096  # an answer no longer than this is always given, so that no submission is left unanswered


class CountInPlace(Protocol):
    """A number that is added to in place."""

    tally: float


class AnswerWaiting(Protocol):
    """Whoever waits for the answer to a request."""

    def answered(self, answer: Answer | None) -> None:
        """This is it; `None` for a notification."""

    def wait_for(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        """This gives it, in time. May raise `RpcError`."""


class HttpWaiting(Protocol):
    """Whoever waits for the answer to a POST."""

    def answered(self, answer: HttpAnswer) -> None:
        """This is it."""

    def wait_for(self, work: Coroutine[Any, Any, HttpAnswer]) -> None:
        """This gives it, in time."""


BeginRequest = Callable[[Request, RequestContext, AnswerWaiting], None]
"""Answers one request, at once or later, without waiting for it."""


def print_refusal(request_id: str | None, error: RpcError) -> bytes:
    """An error of ours, as its caller gets it."""
    return print_error(request_id, error.code, error.message, error.data)


class InboundCall:
    """One POST to a chain from its head to its answer. `end` it, whatever happens.

    What it knows is what its head says: once it is ended it may do for the next with the same head, asked `again`.
    """

    __slots__ = (
        "_asked",
        "_context",
        "_counted",
        "_headers",
        "_in_flight",
        "_request",
        "_service",
        "_settings",
        "household",
        "turns",
    )

    def __init__(self, service: Service, request: HttpRequest, context: RequestContext) -> None:
        self._service = service
        self._request = request
        self._context = context
        self.household = context.remote
        self.turns = service.turns
        """Its household's share of the loop."""
        self._settings = service.settings
        self._counted = Ration.REQUESTS in context.guest.licence.rates
        cors = service.settings.clients.cors(request.headers)
        self._headers = _JSON_ALONE if not cors else PrintedFields({**cors, "Content-Type": JSON})
        self._asked: tuple[HttpWaiting, Request] | None = None  # who waits for the answer to what, until it is given
        self._in_flight = service.hooks.in_flight(context.chain)
        self._in_flight.tally += 1
        service.turns.charge(self.household, CARRIED_SECONDS)

    def again(self, length: int | None) -> InboundCall | None:
        """The call of another request with the same head but for its length, for which nothing is charged yet; `None`
        where it has to be received.

        What the settings make of a head they make of it as long as they are the same ones.
        """
        settings = self._service.settings
        if settings is not self._settings or (length or 0) > settings.limits.max_bytes:
            return None
        self._in_flight.tally += 1
        return self

    def end(self) -> None:
        """Nothing more comes of it."""
        self._in_flight.tally -= 1

    def nobody_waited(self) -> None:
        """Its caller had left before the answer."""
        self._service.hooks.turned_away(self._context.chain, self._context.client, _DISCONNECTED)

    def refuse(self, error: RpcError) -> HttpAnswer:
        """The answer when its body cannot be had."""
        self._service.hooks.turned_away(self._context.chain, self._context.client, _INVALID)
        return self._service.refusal(self._request, error)

    def broken(self) -> HttpAnswer:
        """The answer when a promise of ours is broken; under HTTP 500 SDKs would hand the same in again."""
        told = internal_error(_NO_DECISION, submit=True, may_have_been_sent=True)
        return self._service.respond(self._request, Answer(print_error(NULL_ID, *told)))

    def no_room(self) -> HttpAnswer:
        """The answer when others need the room that its body takes."""
        self._service.hooks.turned_away(self._context.chain, self._context.client, _RATE_LIMITED)
        told = self._service.refusal(self._request, TooMuchWaits())
        return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, told.body, {**told.headers, "Retry-After": "1"})

    def begin(self, body: bytes, waiting: HttpWaiting) -> None:
        """Answer its body, at once or later."""
        service = self._service
        if service.begin is None:
            waiting.wait_for(self.answer(body))
            return
        item = None if self._counted else read_plainly(body, service.settings.limits)
        if item is None:
            item = self._read_item(body, waiting)
            if item is None:
                return
        self._asked = waiting, item
        try:
            service.begin(item, self._context, self)
        except Exception as error:  # told as in `_answer_to`
            if self._asked is None:  # told already, or in hand
                raise
            self.answered(_told(item, error))

    def _read_item(self, body: bytes, waiting: HttpWaiting) -> Request | None:
        """The one request that a body is, if it is one that is served; whoever sent anything else is answered."""
        parsed = self._read(body)
        if isinstance(parsed, HttpAnswer):
            waiting.answered(parsed)
        elif isinstance(parsed, Batch):
            waiting.wait_for(self._answer_parsed(parsed))
        elif isinstance(item := self._admitted(parsed.item), Request):
            return item
        else:
            waiting.answered(self._respond(item))
        return None

    def answered(self, answer: Answer | None) -> None:
        """See `AnswerWaiting`."""
        asked, self._asked = self._asked, None
        assert asked is not None, "answered once"  # noqa: S101 - our own promise
        asked[0].answered(self._respond(answer))

    def wait_for(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        """See `AnswerWaiting`."""
        asked, self._asked = self._asked, None
        assert asked is not None, "answered once"  # noqa: S101 - our own promise
        waiting, item = asked
        waiting.wait_for(self._respond_to(item, work))

    def work_in_turns(self, work: Coroutine[Any, Any, _T]) -> Awaitable[_T]:
        """Do this in its household's turns, and charge what each piece takes."""
        return self.turns.work(self.household, work)

    async def answer(self, body: bytes) -> HttpAnswer:
        """The answer to its body."""
        return await self.work_in_turns(self._answer(body))

    async def _answer(self, body: bytes) -> HttpAnswer:
        parsed = self._read(body)
        return parsed if isinstance(parsed, HttpAnswer) else await self._answer_parsed(parsed)

    def _read(self, body: bytes) -> Single | Batch | HttpAnswer:
        try:
            return parse_body(body, self._service.settings.limits)
        except RpcError as error:
            self._past_budget()  # counted all the same
            return self.refuse(error)

    async def _answer_parsed(self, parsed: Single | Batch) -> HttpAnswer:
        return self._respond(
            await (self._batch(parsed) if isinstance(parsed, Batch) else self._answer_single(parsed.item))
        )

    async def _respond_to(self, item: Request, work: Awaitable[Answer | None]) -> HttpAnswer:
        return self._respond(await _answer_to(item, work))

    def _respond(self, answer: Answer | None) -> HttpAnswer:
        if answer is None:
            return self._service.respond(self._request, None)
        return HttpAnswer(answer.http_status, answer.body, self._headers, answer.decision_id)

    def _past_budget(self) -> RateLimited | None:
        """Why its client may not ask anything more now; `None` counts another request of it."""
        if not self._counted:
            return None
        try:
            self._context.guest.take(Ration.REQUESTS)
        except RateLimited as refusal:
            return refusal
        return None

    def _admitted(self, item: Request | Malformed) -> Request | Answer | None:
        """The request, which is counted, or what becomes of it without being served."""
        if self._counted and (refusal := self._past_budget()) is not None:
            self._service.hooks.turned_away(self._context.chain, self._context.client, _RATE_LIMITED)
            return None if item.id is None else Answer(print_refusal(item.id, refusal))
        if isinstance(item, Malformed):
            self._service.hooks.turned_away(self._context.chain, self._context.client, _INVALID)
            return Answer(print_refusal(item.id, item.error))
        return item

    async def _answer_single(self, item: Request | Malformed) -> Answer | None:
        if self._context.line is not None:
            return await self._answer_in_turn(item)
        admitted = self._admitted(item)
        if not isinstance(admitted, Request):
            return admitted
        return await _answer_to(admitted, self._service.answer(admitted, self._context))

    async def _answer_in_turn(self, item: Request | Malformed) -> Answer | None:
        """The answer to one of many on a connection."""
        admitted = self._admitted(item)
        if not isinstance(admitted, Request):
            return admitted
        async with self._service.turns.turn(self._context.remote):
            return await _answer_to(admitted, self._service.answer(admitted, self._context))

    async def _batch(self, batch: Batch) -> Answer | None:
        service = self._service
        limit = service.settings.batch_answer_bytes
        held, full = 0, False
        answers: list[Answer | None] = [None] * len(batch.items)
        left = iter(enumerate(batch.items))  # one task an element, with nothing to do yet, would be most of a batch

        async def answer(item: Request | Malformed) -> Answer | None:
            nonlocal held, full
            if full and item.id is not None:
                return _no_room(item.id, limit, asked=False)
            given = await self._answer_in_turn(item)
            if given is None:
                return None
            if item.id is not None and len(given.body) > max(_SMALL, min(limit - held, service.room)):
                full, given = True, replace(_no_room(item.id, limit, asked=True), decision_id=given.decision_id)
            held += len(given.body)
            service.room -= len(given.body)
            return given

        async def go_on() -> None:
            for place, item in left:
                answers[place] = await self.work_in_turns(answer(item))

        try:
            at_once = min(service.settings.batch_concurrency, len(batch.items))
            await asyncio.gather(*(go_on() for _ in range(at_once)))
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


async def _answer_to(item: Request, work: Awaitable[Answer | None]) -> Answer | None:
    try:
        return await work
    except Exception as error:  # a refusal, or a promise of ours is broken
        return _told(item, error)
    except asyncio.CancelledError as error:
        if is_broken_off():
            raise
        return _told(item, error)  # something that was waited for is over without a word: likewise


def _told(item: Request, error: BaseException) -> Answer | None:
    if isinstance(error, RpcError):
        return Answer(print_refusal(item.id, error))
    # HTTP 500 or -32603 would make SDKs hand the same in again
    HTTP_LOG.error("a request failed", exc_info=error)
    told = internal_error(_NO_DECISION, submit=True, may_have_been_sent=True)
    return None if item.id is None else Answer(print_error(item.id, *told))
