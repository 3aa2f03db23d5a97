"""The bundler endpoints of one chain: the first healthy one is used, the others stand by.

Nothing of the client's request goes upstream but what the gate printed: no header, no id, no bytes. Endpoints are named
`chain#index` in everything this module says, because their URLs carry API keys.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from proxy.bundler_answers import TOOK_NOTHING, Meaning
from proxy.edge.http.asker import BundlerAsker, SendOut
from proxy.edge.http.bundler_health import Placement, QuestionKind, Sign
from proxy.edge.http.client import HttpReply, NoReplyError
from proxy.edge.http.endpoints import BundlerEndpoint
from proxy.edge.http.exchange import (
    Ended,
    ExchangeError,
    Hearing,
    UpstreamReply,
    meaning_of_reply,
    read_exchange,
    unread,
)
from proxy.edge.http.households import WORKED_FOR
from proxy.errors import StateUnavailable, UpstreamFull, UpstreamUnavailable
from proxy.jsonrpc import print_request
from proxy.ledger.reservation import NonceSlot
from proxy.ports import AskingOn, Submission

_BESIDE_SECONDS: Final = 2.0
"""For all that need not answer: who asks `find_out` waits some seconds, in which the one that has it is heard too."""


class _Failure:
    """The last one, kept in no frame: an exception leads to the frames it came through, and one that is kept in such a
    frame goes round in a circle with all that was asked."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: UpstreamUnavailable | None = None

    def note(self, failure: UpstreamUnavailable) -> None:
        self._noted = failure.with_traceback(None)

    def taken(self) -> UpstreamUnavailable | None:
        noted, self._noted = self._noted, None
        return noted


class HttpUpstream(BundlerAsker):
    """The bundlers of one chain behind one `post`."""

    def bundler_for(self, slot: NonceSlot) -> str:
        """The mark of the bundler that an operation in this slot goes to first; empty where none is usable."""
        if len(self.endpoints) == 1:
            return self.endpoints[0].mark
        return next((each.mark for each in self._order(QuestionKind.SEND, slot)), "")

    def placed(self, slot: NonceSlot, mark: str) -> None:
        """What is held in this slot was sent to the bundler of that mark, in an earlier life or before the chain took
        its end back."""
        self._roster.placed(slot, mark)

    def free(self, slot: NonceSlot) -> None:
        """Nothing in this slot is held any more."""
        self._placements.free(slot)

    def post(self, method: str, params: bytes, submission: Submission | None) -> Coroutine[Any, Any, UpstreamReply]:
        """Ask the first healthy endpoint; `params` is a printed JSON array.

        A submission goes to the next endpoint only when none of its bytes can have reached this one, and is never
        repeated otherwise; an operation that may be at one bundler goes to no other. A read goes to the next one on any
        failure, and when a gateway turns it away. Raises `UpstreamUnavailable`.
        """
        seconds = self._seconds_for(method)
        if submission is not None:
            return self._send(method, params, seconds, submission)
        return self._read(method, params, seconds)

    def begin(self, method: str, params: bytes, hearing: Hearing, submission: Submission | None) -> bool:
        """Ask as `post` does, and wait for nothing: where one bundler alone comes into question, or a read goes to the
        first one, and a connection to it is free. Whether it was asked; if not, nothing was done."""
        if self._traceparent is not None:
            return False  # what is traced is asked by `post`, which says where in the trace
        if submission is None:
            return self._begin_read(method, params, hearing)
        endpoint, slot = self._roster.alone, submission.slot
        if endpoint is None or slot is None or not endpoint.is_well(QuestionKind.SEND):
            return False
        our_id = next(self._ids)
        body, seconds = print_request(our_id, method, params), self._seconds_for(method)
        places = self._places
        if (free := places.free) > places.plenty:
            places.free, household = free - 1, None
        elif not places.take(QuestionKind.SEND, household := WORKED_FOR.get(), vouched=submission.vouched):
            return False
        out = slot, endpoint, endpoint.breakers[QuestionKind.SEND].answers, household
        if not self._put(endpoint, body, seconds, partial(self._heard_send, our_id, out, hearing), household):
            return False
        self._out[our_id] = out
        return True

    def _begin_read(self, method: str, params: bytes, hearing: Hearing) -> bool:
        endpoint, household = self._roster.endpoints[0], WORKED_FOR.get()
        if not endpoint.is_well(QuestionKind.READ):
            return False
        our_id = next(self._ids)
        body, seconds = print_request(our_id, method, params), self._seconds_for(method)
        if not self._places.take(QuestionKind.READ, household):
            return False
        of = method, params, endpoint.breakers[QuestionKind.READ].answers, household
        return self._put(endpoint, body, seconds, partial(self._heard_read, endpoint, our_id, of, hearing), household)

    def take(self, urls: Sequence[str], *, total_seconds: float) -> None:
        """See `BundlerAsker.take`. What is out now is known to be at the bundler that it was sent to."""
        now = self._stopwatch()
        for our_id, (slot, endpoint, *_) in self._out.items():
            self._noted[our_id] = self._placements.sent(slot, endpoint.number, now)
        self._out.clear()
        super().take(urls, total_seconds=total_seconds)

    def _heard_send(self, our_id: int, out: SendOut, hearing: Hearing, heard: HttpReply | NoReplyError) -> None:
        """With one bundler it is enough to know where an operation is once it is held, or may be there unheld."""
        slot, endpoint, answers, household = out
        self._places.leave(household)
        noted: Placement | None = None
        ended: Ended | None = None
        try:
            if self._out.pop(our_id, None) is None:  # others are asked meanwhile
                noted, answers = self._noted.pop(our_id, None), None
            try:
                ended = answer = read_exchange(endpoint, our_id, heard)
            except ExchangeError as error:
                ended = error.with_traceback(None)  # which leads here, and to all that was asked
                self._sign(endpoint, QuestionKind.SEND, Sign.SILENT if error.silent else Sign.FAILED, slot, answers)
                if noted is None:
                    if error.may_have_been_sent:
                        self._placements.sent(slot, endpoint.number, self._stopwatch())
                elif not error.may_have_been_sent:
                    self._placements.not_there(slot, noted)
            else:
                self._note_answer(endpoint, QuestionKind.SEND, answer, slot, answers)
                if noted is not None:
                    self._placed(answer, slot, noted)
                elif not answer.reply.is_error or (meaning := meaning_of_reply(answer)) is Meaning.ACCEPTED:
                    self._placements.taken(slot, endpoint.number)
                elif meaning is Meaning.UNKNOWN:
                    self._placements.sent(slot, endpoint.number, self._stopwatch())
        finally:
            hearing(ended or unread(endpoint.name))

    def _placed(self, answer: UpstreamReply, slot: NonceSlot, placement: Placement) -> None:
        """What the answer to a send says of where its operation is."""
        meaning = meaning_of_reply(answer)
        if meaning is Meaning.ACCEPTED:
            self._placements.answered(slot, placement)
        elif meaning is Meaning.REFUSED:
            self._placements.not_there(slot, placement)

    def _heard_read(
        self,
        endpoint: BundlerEndpoint,
        our_id: int,
        question: tuple[str, bytes, int, str | None],
        hearing: Hearing,
        heard: HttpReply | NoReplyError,
    ) -> None:
        """The question is the method, its params, how many had been answered when it was asked, and for whom it was."""
        method, params, answers, household = question
        self._places.leave(household)
        of = method, params
        ended: Ended | AskingOn | None = None
        try:
            try:
                ended = answer = read_exchange(endpoint, our_id, heard)
            except ExchangeError as error:
                ended = error.with_traceback(None)  # which leads here, and to all that was asked
                self._sign(endpoint, QuestionKind.READ, Sign.SILENT if error.silent else Sign.FAILED, of, answers)
                failed = True
            else:
                self._note_answer(endpoint, QuestionKind.READ, answer, of, answers)
                failed = answer.status in TOOK_NOTHING
            if failed and any(each is not endpoint for each in self.endpoints):
                ended = AskingOn(self._read(method, params, self._seconds_for(method), asked=(endpoint, ended)))
        finally:
            hearing(ended or unread(endpoint.name))

    async def _read(
        self,
        method: str,
        params: bytes,
        seconds: float,
        asked: tuple[BundlerEndpoint, UpstreamReply | UpstreamUnavailable] | None = None,
    ) -> UpstreamReply:
        """`asked` is the endpoint that gave no answer already, and what it gave in its place."""
        failure = _Failure()
        turned_away: UpstreamReply | None = None
        if asked is not None:
            _, gave = asked
            if isinstance(gave, UpstreamUnavailable):
                failure.note(gave)
            else:
                turned_away = gave
        for endpoint in self._order(QuestionKind.READ):
            if asked is not None and endpoint is asked[0]:
                continue
            try:
                answer = await self._ask_read(endpoint, method, params, seconds)
            except UpstreamFull as error:  # all share the places
                failure.note(error)
                break
            except UpstreamUnavailable as error:
                failure.note(error)
            else:
                if answer.status not in TOOK_NOTHING:
                    return answer
                turned_away = turned_away or answer
        if turned_away is not None:
            return turned_away
        raise failure.taken() or self._nobody()

    async def _send(self, method: str, params: bytes, seconds: float, submission: Submission) -> UpstreamReply:
        """In one place, whomever of them it is put to."""
        slot, vouched = submission
        async with self._places.place(QuestionKind.SEND, self.chain, vouched=vouched):
            if slot is None:
                return await self._send_along(self._order(QuestionKind.SEND), method, params, seconds)
            return await self._send_there(method, params, seconds, slot)

    async def _send_there(self, method: str, params: bytes, seconds: float, slot: NonceSlot) -> UpstreamReply:
        failure = _Failure()
        tried = list[int]()
        # looked at anew each time: while this one was on its way another one in this slot may have got somewhere
        while (endpoint := self._next_for(slot, tried)) is not None:
            tried.append(endpoint.number)
            placement = self._placements.sent(slot, endpoint.number, self._stopwatch())
            try:
                await self._send_to(slot, endpoint.mark)
                answer = await self._ask(endpoint, QuestionKind.SEND, method, params, seconds=seconds, slot=slot)
            except UpstreamUnavailable as error:
                if error.may_have_been_sent:
                    raise
                self._placements.not_there(slot, placement)
                if isinstance(error, ExchangeError):  # a gateway had it in hand, and nobody repeats a send
                    raise
                failure.note(error)
            except StateUnavailable as error:
                self._placements.not_there(slot, placement)
                raise failure.taken() or UpstreamUnavailable(error.what, may_have_been_sent=False) from None
            else:
                self._placed(answer, slot, placement)
                return answer
        raise failure.taken() or self._nobody()

    def _next_for(self, slot: NonceSlot, tried: Collection[int]) -> BundlerEndpoint | None:
        """Whom what is sent in this slot goes to, after these could not be reached."""
        order = self._order(QuestionKind.SEND, slot)
        return next((each for each in order if each.number not in tried), None)

    async def _send_along(
        self, order: Sequence[BundlerEndpoint], method: str, params: bytes, seconds: float
    ) -> UpstreamReply:
        failure = _Failure()
        for endpoint in order:
            try:
                return await self._ask(endpoint, QuestionKind.SEND, method, params, seconds=seconds)
            except UpstreamUnavailable as error:
                if error.may_have_been_sent or isinstance(error, ExchangeError):
                    raise
                failure.note(error)
        raise failure.taken() or self._nobody()

    async def find(self, method: str, params: bytes) -> UpstreamReply:
        """Ask one endpoint after the other until one answers with something other than null.

        Where none does, the first answer that is no error, or else the first answer at all. Raises
        `UpstreamUnavailable` when nobody answers.
        """
        failure = _Failure()
        answers: list[UpstreamReply] = []
        for endpoint in (*self._order(QuestionKind.READ), *self._roster.removed):
            try:
                answer = await self._ask_read(endpoint, method, params, self._settings.total_seconds)
            except UpstreamFull as error:  # likewise
                failure.note(error)
                break
            except UpstreamUnavailable as error:
                failure.note(error)
                continue
            if not answer.reply.is_error and answer.reply.result is not None:
                return answer
            answers.append(answer)
        if answers:
            return next((each for each in answers if not each.reply.is_error), answers[0])
        raise failure.taken() or self._nobody()

    def number_at(self, slot: NonceSlot) -> int | None:
        """The number of the bundler that has the operation in flight there, as far as that is known."""
        return self._placements.bundler_of(slot, self._stopwatch())

    def number_of(self, mark: str) -> int | None:
        """The number of the bundler of that mark; `None` where the settings name it no more."""
        return next((each.number for each in self.endpoints if each.mark == mark), None)

    async def find_out(self, method: str, params: bytes, there: int | None) -> UpstreamReply:
        """The same for the gate itself, of an operation that bundler number `there` has, or had: it needs no place of
        those that callers share.

        That there is nothing is an answer only of the bundler that has the operation, or where that is not known, of
        all of them together; the others are heard too, for two seconds in all. Raises `UpstreamUnavailable` while it is
        open.
        """
        failure, total = _Failure(), self._settings.total_seconds
        nothing: UpstreamReply | None = None
        is_open = False
        all_of_them = (*self._order(QuestionKind.READ), *self._roster.removed)
        for endpoint in all_of_them:
            can_know = there in (None, endpoint.number)
            seconds = total if can_know else min(total, _BESIDE_SECONDS / len(all_of_them))
            try:
                answer = await self._ask(endpoint, QuestionKind.READ, method, params, seconds=seconds)
            except UpstreamUnavailable as error:
                failure.note(error)
                is_open = is_open or can_know
                continue
            if answer.reply.is_error:
                is_open = is_open or can_know
            elif answer.reply.result is not None:
                return answer
            elif can_know:
                nothing = answer
        if nothing is not None and not is_open:
            return nothing
        what = f"who has the operation does not answer {method}"
        raise failure.taken() or UpstreamUnavailable(what, may_have_been_sent=True)
