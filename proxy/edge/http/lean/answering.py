"""A connection while it answers one request: at once, later, or by a task."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.edge.http.households import WORKED_FOR
from proxy.edge.http.http_log import HTTP_LOG
from proxy.edge.http.inbound import CARRIED_SECONDS, InboundCall
from proxy.edge.http.messages import HttpAnswer

if TYPE_CHECKING:
    from proxy.edge.http.lean.house import House


class Answering(asyncio.Protocol):
    """See `HttpWaiting`. The request is finished even when its caller has left."""

    __slots__ = ("_call", "_ended", "_house", "_served", "_transport")

    def __init__(self, house: House) -> None:
        self._house = house
        self._transport: asyncio.Transport | None = None
        self._served: InboundCall | None = None  # the one that is being answered
        self._call: InboundCall | None = None  # one that is not yet, or was for the last time
        self._ended = False  # the caller sends nothing more

    def _begin(self, call: InboundCall, body: bytes, owed: float = 0.0) -> None:
        """Answer it, in its household's turn. `owed` are seconds that were worked for it and are not charged yet."""
        self._served = call
        turns, household = call.turns, call.household
        if turns.is_due:
            turns.begin(household, partial(self._begin_in_turn, call, body), owed)
            return
        WORKED_FOR.set(household)  # as `begin` does
        began = turns.clock()
        self._begin_in_turn(call, body)
        turns.charge(household, turns.clock() - began + owed)

    def _in_turn(self, household: str | None, answer: Callable[[], None]) -> None:
        """What the head alone decides takes its household's time, too."""
        turns = self._house.service.turns
        turns.charge(household, CARRIED_SECONDS)
        turns.begin(household, answer)

    def _answer_if_open(self, answer: HttpAnswer) -> None:
        if self.is_open:
            self._answered(answer)

    def _begin_in_turn(self, call: InboundCall, body: bytes) -> None:
        try:
            call.begin(body, self)
        except Exception:  # a promise of ours is broken: the caller is answered, and nothing of it is told
            self._failed(call)

    def wait_for(self, work: Coroutine[Any, Any, HttpAnswer]) -> None:
        """See `HttpWaiting`."""
        assert self._served is not None, "asked while it is served"  # noqa: S101 - our own promise
        self._house.begin(self, self._await(self._served.work_in_turns(work)))

    async def _await(self, work: Awaitable[HttpAnswer]) -> None:
        call = self._served
        try:
            answer = await work
        except Exception:  # a promise of ours is broken: the caller is answered, and nothing of it is told
            self._failed(call)
        except BaseException:  # broken off with the house, and it is raised again
            self._finished()
            raise
        else:
            self.answered(answer)

    def _failed(self, call: InboundCall | None) -> None:
        HTTP_LOG.exception("a request failed")
        if call is not None and self._served is call:  # not answered yet
            self.answered(call.broken())

    def _finished(self) -> None:
        call, self._served = self._served, None
        self._house.finished(self)
        if call is not None:
            call.end()

    def answered(self, answer: HttpAnswer) -> None:
        """See `HttpWaiting`."""
        call, self._served = self._served, None
        self._house.finished(self)
        if call is not None:
            call.end()
        if (transport := self._transport) is None or transport.is_closing():
            if call is not None:
                call.nobody_waited()
            return
        if self._ended:
            self._call = call  # whether it was still there shows when the answer arrives
        self._answered(answer)

    @abstractmethod
    def _answered(self, answer: HttpAnswer) -> None:
        """Tell the caller, who is still there."""

    @property
    def is_served(self) -> bool:
        """Whether a request of it is being answered."""
        return self._served is not None

    @property
    def is_open(self) -> bool:
        """Whether its caller is there, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Break it off."""
        if self._transport is not None:
            self._transport.abort()

    def untaken(self) -> int:
        """Bytes of answers that its caller has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _open(self) -> asyncio.Transport:
        assert self._transport is not None, "asked only while connected"  # noqa: S101 - our own promise
        return self._transport
