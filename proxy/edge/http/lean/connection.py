"""One connection of a caller, from its first byte to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Final, cast

from proxy.edge.http.forwarded import household_of
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.inbound import CARRIED_SECONDS, InboundCall
from proxy.edge.http.lean.last_words import NO_ROOM, TOO_MANY, TOO_SLOW, came_back
from proxy.edge.http.lean.paying import TAKEN_IN_SECONDS, Paying
from proxy.edge.http.lean.phases import SERVING, WAITING, ConnectionPhase, Entrance
from proxy.edge.http.messages import HttpAnswer, HttpRequest, plain
from proxy.edge.http.wire.fields import BROKEN_BODY, BrokenHttp
from proxy.edge.http.wire.heads import RequestHead, read_request_head
from proxy.edge.http.wire.printing import CONTINUE, print_answer
from proxy.edge.http.wire.reader import MessageReader, ReaderStage, TooLongError
from proxy.errors import InvalidRequest

if TYPE_CHECKING:
    from proxy.edge.http.lean.house import House

_READ_AHEAD: Final = 64 * 1024
"""So much of later requests is taken in while one is being answered; then the caller has to wait."""

_HIGH_WATER: Final = 64 * 1024  # an answer of which more is not taken keeps the next request waiting


class Connection(Paying):
    """Requests are answered one at a time, in the order they came."""

    __slots__ = (
        "_call_before",
        "_head",
        "_left",
        "_paused_reading",
        "_reader",
        "_stalled",
        "_websocket",
        "held",
        "phase",
        "told_to_go",
    )

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self._reader: MessageReader[RequestHead] = MessageReader(read_request_head, house.read_bounds)
        self._head: RequestHead | None = None
        self._call_before: InboundCall | None = None  # what the last head meant; the same means the same again
        self._paused_reading = False
        self._stalled = False  # the caller takes nothing for now
        self._left: float = inf  # of the last answer, when last looked at
        self._websocket: asyncio.Protocol | None = None  # what the connection went on as
        self.phase = SERVING
        self.told_to_go = False  # there are too many of its household
        self.held = 0  # bytes that arrived of requests not whole yet, as the house counts them

    # --- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if isinstance(peername, tuple) else None
        self.household = None if self.peer is None else household_of(self.peer)
        self._house.service.turns.charge(self.household, TAKEN_IN_SECONDS)
        match self._house.admit(self):
            case Entrance.WELCOME:
                self._enter(ConnectionPhase.HEAD)
            case Entrance.TOO_MANY_OF_PEER:
                self._leave_with(TOO_MANY)
            case Entrance.FULL:
                self._leave_with(TOO_MANY, linger=False)
            case Entrance.ONE_OF_MANY_TURNED_AWAY:
                self.abort()

    def data_received(self, data: bytes) -> None:
        if self.phase is WAITING and not self._ended and (whole := self._reader.whole(data)) is not None:
            self._serve(whole[0], whole[1])  # nearly always
            return
        if self._websocket is not None:
            self._websocket.data_received(data)
            return
        if self._ended or self.phase is ConnectionPhase.LEAVING:
            self._pay_for(len(data))  # it is dropped
            return
        self._reader.feed(data)
        self._go_on()
        self._pay_for(len(data))

    def eof_received(self) -> bool:
        """The caller has no more to say, but may well wait for its answer."""
        if self._websocket is not None:
            self._websocket.eof_received()
            return False
        self._ended = True
        match self.phase:
            case ConnectionPhase.SERVING:
                return True
            case ConnectionPhase.HEAD | ConnectionPhase.BODY if self._reader.head is not None or self._reader.buffered:
                self._go_on()  # the next request may be whole, and its turn still to come
                return True
        return self.phase is ConnectionPhase.LEAVING and self._call is not None

    def connection_lost(self, error: Exception | None) -> None:
        if self._websocket is not None:
            self._websocket.connection_lost(error)
        if self.phase is ConnectionPhase.LEAVING and error is not None:
            self._was_left()
        if self.phase is ConnectionPhase.BODY and self._call is not None:
            self._call.end()
        self._transport = None
        self._reader.drop()  # whoever measures later finds nothing
        self.phase = ConnectionPhase.LEAVING
        self._house.forget(self)

    def pause_writing(self) -> None:
        if self._websocket is not None:
            self._websocket.pause_writing()
        self._stalled = True
        self._house.unread.stalls(self)

    def resume_writing(self) -> None:
        self._stalled = False
        self._house.unread.flows(self)
        if self._websocket is not None:
            self._websocket.resume_writing()
        elif self.phase is SERVING and self._served is None:
            self._next()

    # --- reading

    def _go_on(self) -> None:
        self._read_on()
        self._measure()

    def _measure(self) -> None:
        """Tell the house what has arrived; take in what the request at hand needs, and of later ones a little ahead."""
        buffered = self._reader.buffered
        if buffered != self.held:
            self._house.holds(self, buffered)
            buffered = self._reader.buffered  # it may have had to go
        waits = self.in_line or (buffered > _READ_AHEAD and self.phase is not ConnectionPhase.BODY)
        if (transport := self._transport) is not None and waits is not self._paused_reading:
            (transport.pause_reading if waits else transport.resume_reading)()
            self._paused_reading = waits

    def _read_on(self) -> None:
        """Go on with what has arrived, up to the next request that is whole."""
        if self.phase in (SERVING, ConnectionPhase.LEAVING):
            return
        try:
            stage = self._reader.advance()
        except BrokenHttp as broken:
            self._broken(broken)
            return
        except TooLongError as error:
            self._refuse_body(error.words(self._house.read_bounds.body_bytes))
            return
        if self._ended and stage in (ReaderStage.HEAD, ReaderStage.BODY):
            self._no_more(HTTPStatus.BAD_REQUEST, "request broken off")
            return
        match stage:
            case ReaderStage.COMPLETE:
                self._serve(*self._reader.take())
            case ReaderStage.BODY:
                self._await_body()
            case ReaderStage.HEAD:
                self._enter(ConnectionPhase.HEAD)
            case ReaderStage.NOTHING:
                if self._ended:
                    self._close()
                elif self.phase is not ConnectionPhase.HEAD or self._head is not None:  # a newcomer's time runs on
                    self._enter(WAITING)

    def _broken(self, broken: BrokenHttp) -> None:
        HTTP_LOG.info("broken HTTP")
        self._no_more(HTTPStatus(broken.status), broken.problem, broken.of_body)

    def _no_more(self, status: HTTPStatus, problem: str, of_body: str = BROKEN_BODY) -> None:
        if self._reader.head is not None:
            self._refuse_body(of_body)
        else:
            self._leave_with(plain(status, f"{problem}\n"))

    def _await_body(self) -> None:
        if self.phase is ConnectionPhase.BODY:
            return
        head = self._reader.head
        assert head is not None  # noqa: S101 - its body is what is missing
        received = self._receive(head)
        if isinstance(received, HttpAnswer):
            self._leave_with(received)
            return
        self._call = received
        self._enter(ConnectionPhase.BODY)
        if head.expects_continue:
            self._open().write(CONTINUE)

    def _refuse_body(self, problem: str) -> None:
        self._refuse_call(lambda call: call.refuse(InvalidRequest(problem)))

    def _refuse_call(self, answer: Callable[[InboundCall], HttpAnswer]) -> None:
        """The body cannot be had: its caller is told so, and the connection cannot be used again."""
        if self._call is None:
            head = self._reader.head
            assert head is not None  # noqa: S101 - only what has a head has a body
            received = self._receive(head)
            if isinstance(received, HttpAnswer):
                self._leave_with(received)
                return
            self._call = received
        told = answer(self._call)
        self._call.end()
        self._call = None
        self._leave_with(told)

    def make_room(self) -> None:
        """Others need the room that its next request takes: it is told so, once the one before has been answered."""
        if self.phase is SERVING:
            self._reader.drop()
            self._ended = True  # whatever else it says
        elif self._call is None and self._reader.head is None:
            self._leave_with(NO_ROOM)
        else:
            self._refuse_call(InboundCall.no_room)

    def _receive(self, head: RequestHead) -> HttpAnswer | InboundCall:
        before, self._head = self._head, head
        length = head.length if head.length >= 0 else None
        # of heads that differ in their length alone the fields are one object
        if self._call_before is not None and before is not None and before.fields is head.fields:
            again = self._call_before.again(length)
            if again is not None:
                again.turns.charge(again.household, CARRIED_SECONDS)
                return again
        request = HttpRequest(head.method, head.target, head.fields, length, self.peer)
        received = self._house.service.receive(request)
        self._call_before = received if isinstance(received, InboundCall) else None
        return received

    # --- answering

    def _serve(self, head: RequestHead, body: bytes) -> None:
        call, before, last, owed = self._call, self._call_before, self._head, 0.0
        if call is None and before is not None and last is not None and last.fields is head.fields:  # nearly always
            call = before.again(head.length)
            self._head = head
            owed = CARRIED_SECONDS
        if call is None:
            self._serve_newly(head, body)
            return
        self._house.queues[self.phase].stop(self)
        self.phase = SERVING
        self._call = None
        self._begin(call, body, owed)

    def _serve_newly(self, head: RequestHead, body: bytes) -> None:
        if head.method == "GET" and head.fields.get("Upgrade", "").lower() == "websocket" and not body:
            self._go_on_as_websocket()
            return
        self._enter(SERVING)
        if head.method != "POST":
            self._in_turn(self.household, partial(self._answer_head, head))
        elif isinstance(received := self._receive(head), HttpAnswer):
            self._in_turn(self.household, partial(self._answer_if_open, received))
        else:
            self._begin(received, body)

    def _answer_head(self, head: RequestHead) -> None:
        if isinstance(received := self._receive(head), HttpAnswer):  # only a POST has a body that counts
            self._answer_if_open(received)

    def _go_on_as_websocket(self) -> None:
        """From here on every byte is for the WebSocket's own protocol; the house still counts the connection."""
        self._enter(SERVING)
        given = self._reader.give_back()
        self._measure()
        self._house.keeps(self)
        self._websocket = websocket = self._house.websocket(partial(self._house.finished, self))
        websocket.connection_made(self._open())
        websocket.data_received(given)

    def _answered(self, answer: HttpAnswer) -> None:
        head, house, buffered = self._head, self._house, self._reader.buffered
        if house.draining or head is None or head.last or (self._ended and not buffered):
            self._leave_with(answer, linger=self._ended)
            return
        if house.service.parting and not buffered:
            self._leave_with(answer)  # what the caller has sent meanwhile is read and dropped: no reset
            return
        self._write(answer, last=False)
        if self._stalled:
            return
        if buffered or self.held or self._paused_reading or self._ended:
            self._next()
        else:  # nearly always
            self.phase = WAITING
            house.queues[WAITING].start(self)

    def _next(self) -> None:
        """The answer is out: on to the next request, a turn of the loop later if it is there already."""
        self._call = None  # the next request is what its own head says
        buffered = self._reader.buffered
        if buffered or self.held or self._paused_reading:
            self._measure()
            buffered = self._reader.buffered  # some of it may have had to go
        if self._house.draining:
            self._close()
        elif buffered or self._ended:
            self._enter(ConnectionPhase.HEAD)
            self._house.soon(self._go_on)
        else:
            self._enter(WAITING)

    def _write(self, answer: HttpAnswer, *, last: bool) -> None:
        head = self._head
        bodiless = head is not None and head.method == "HEAD"
        self._open().write(print_answer(answer, self._house.date(), last=last, bodiless=bodiless))

    # --- leaving

    def _leave_with(self, answer: HttpAnswer, *, linger: bool = True) -> None:
        """Answer for the last time.

        `linger` where the caller may be sending still: what comes is dropped for a while, as a reset would eat the
        answer on its way.
        """
        self._enter(ConnectionPhase.LEAVING)
        self._reader.drop()
        self._measure()
        if not self.is_open:
            return
        transport = self._open()
        self._write(answer, last=True)
        if not linger or not transport.can_write_eof():
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # reset already
            self._was_left()

    def _close(self) -> None:
        self._enter(ConnectionPhase.LEAVING)
        if self._transport is not None:
            self._transport.close()

    def drain(self) -> None:
        """Nothing more is wanted of it but the answer it owes."""
        if self.phase in (WAITING, ConnectionPhase.HEAD):
            self._close()

    def give_up(self) -> None:
        """Its time in this phase is over."""
        match self.phase:
            case ConnectionPhase.HEAD if self._reader.buffered:
                self._leave_with(TOO_SLOW)
            case ConnectionPhase.BODY:
                self._refuse_body(f"body did not arrive within {self._house.settings.body_seconds:g} s")
            case ConnectionPhase.LEAVING:
                self._depart()
            case _:
                self._close()

    def _depart(self) -> None:
        transport = self._transport
        if transport is None:
            return
        left = transport.get_write_buffer_size()
        if left and (self._stalled or left < self._left):  # it is still being read; who stalls is given up elsewhere
            self._left = left
            self._house.queues[self.phase].start(self)
            return
        if came_back(transport):
            self._was_left()
        self.abort()

    def _was_left(self) -> None:
        """The answer came back: the half-closed connection was a closed one."""
        if self._call is not None:
            self._call.nobody_waited()
            self._call = None
        self.abort()

    def _enter(self, phase: ConnectionPhase) -> None:
        before = self.phase
        if phase is not before:
            if before is not SERVING:
                self._house.queues[before].stop(self)
            self.phase = phase
            if phase is not SERVING:
                self._house.queues[phase].start(self)
