"""What waits for nothing but the bundler's reply, from a request to its answer: no task, no future.

Every read goes this way, all that a gate carries where it judges nothing, and nearly every operation that is handed in:
one by a session that is known, judged in one go, with what it holds on disk at once. What needs more than that is the
gate's own to answer, which tells the same of everything that goes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from proxy.admission import Judgement
from proxy.carried import read_carried, read_place
from proxy.errors import UpstreamUnavailable
from proxy.gate import Gate, asker_of
from proxy.jsonrpc import Reply, Request, print_json
from proxy.judge.verdict import Mode
from proxy.ledger.reservation import NonceSlot
from proxy.methods import PREVIEWS, TELL_OF_BLOCKS, MethodClass, check_arity, classify
from proxy.ports import (
    Answer,
    AskingOn,
    Forwarded,
    Recorder,
    RequestContext,
    RequestOutcome,
    Submission,
)
from proxy.replies import BrokenAfterSendingError, passed_on

_made: Final = tuple.__new__
_JUDGED: Final = frozenset({MethodClass.SUBMIT, *PREVIEWS})


class Waiting(Protocol):
    """Whoever waits for an answer."""

    def answered(self, answer: Answer | None) -> None:
        """This is it; `None` for a notification."""

    def wait_for(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        """This gives it, in time."""


_Come = tuple[Answer, RequestOutcome]
Ended = Forwarded | UpstreamUnavailable | AskingOn


class DirectUpstream(Protocol):
    """The bundlers of one chain, asked without waiting for them."""

    def begin(
        self, method: str, params: bytes, hearing: Callable[[Ended], None], submission: Submission | None
    ) -> bool:
        """Ask as `Upstream.post` does where that takes waiting for nothing but the reply, and have `hearing` told of
        it later than this returns. Whether it was asked; if not, nothing was done."""


class Passage:
    """Answers one chain's requests for its gate. `stopwatch` gives monotonic seconds."""

    def __init__(
        self, gate: Gate, upstream: DirectUpstream, *, recorder: Recorder, stopwatch: Callable[[], float]
    ) -> None:
        self.gate = gate
        self.upstream = upstream
        self.recorder = recorder
        self.stopwatch = stopwatch
        self._ways: dict[str, tuple[type[_Crossing | _HandingIn], MethodClass]] = {}
        """Of the methods that were asked under these settings, and for which there is one here."""
        self._settings = gate.settings

    def begin(self, request: Request, context: RequestContext, waiting: Waiting) -> None:
        """Answer one request, now or later. Whatever happens, it is counted and it is answered."""
        if self._settings is not self.gate.settings:
            self._settings = self.gate.settings
            self._ways.clear()
        found = self._ways.get(request.method) or self._find_way(request.method)
        if found is None or request.id is None:
            waiting.wait_for(self.gate.answer(request, context))
        else:
            way, method_class = found
            way(self, request, method_class, context, waiting).begin()

    def _find_way(self, method: str) -> tuple[type[_Crossing | _HandingIn], MethodClass] | None:
        """How a method is served here; `None` where only its gate can."""
        settings = self._settings
        way: type[_Crossing | _HandingIn]
        method_class = classify(method, settings.allow_methods)
        if method_class is MethodClass.PASS:
            passing = method not in settings.translated
        else:
            unjudged = method_class in PREVIEWS and not settings.judge_previews
            passing = method_class in _JUDGED and (settings.mode is Mode.OFF or unjudged)
        if passing:
            way = _Crossing
        elif method_class is MethodClass.SUBMIT:
            way = _HandingIn
        else:
            return None  # among them what nobody serves, of which there is no end
        self._ways[method] = way, method_class
        return way, method_class


class _Way:
    """One request on its way."""

    __slots__ = ("_context", "_method_class", "_passage", "_request", "_sent", "_waiting")

    def __init__(
        self, passage: Passage, request: Request, method_class: MethodClass, context: RequestContext, waiting: Waiting
    ) -> None:
        self._passage = passage
        self._request = request
        self._method_class = method_class
        self._context = context
        self._waiting = waiting
        self._sent = False  # to nobody who would judge it again

    async def _whatever_comes(self, work: Awaitable[_Come]) -> Answer:
        outcome = RequestOutcome.INTERNAL_ERROR
        try:
            answer, outcome = await work
        except Exception as error:  # a refusal, or a promise of ours is broken: the gate tells which
            answer, outcome = self._told(error)
        finally:
            self._passage.recorder.ended(self._context, self._method_class, outcome)
        return answer

    def _told(self, error: Exception) -> _Come:
        return self._passage.gate.told(self._request, self._method_class, error, sent=self._sent)

    def _end(self, answer: Answer, outcome: RequestOutcome) -> None:
        self._passage.recorder.ended(self._context, self._method_class, outcome)
        self._waiting.answered(answer)


class _Crossing(_Way):
    """One that is only passed along."""

    __slots__ = ("_params_sent", "_started", "_submission")

    def begin(self) -> None:
        passage, request = self._passage, self._request
        try:
            self._params_sent, self._submission = params, submission = self._asked_for()
            again = None
            if submission is not None and passage.gate.refused.known:
                again = passage.gate.refused_before(request, self._context, params)
            if again is not None:
                self._end(*again)
                return
            self._started = passage.stopwatch()
            self._sent = passage.upstream.begin(request.method, params, self._heard, submission)
        except Exception as error:  # a refusal, or a promise of ours is broken: the gate tells which
            self._end(*passage.gate.told(request, self._method_class, error))
            return
        if not self._sent:
            self._sent = True  # in doubt
            asking = passage.gate.upstream.post(request.method, params, submission)
            self._waiting.wait_for(self._asked(asking))

    def _asked_for(self) -> tuple[bytes, Submission | None]:
        """The params that go on of the request, and what they hand in. Raises `RpcError`."""
        request, method_class, guest = self._request, self._method_class, self._context.guest
        guest.admit(request.method, method_class, request.params)
        if method_class is MethodClass.PASS:
            check_arity(request.method, len(request.params))
            return print_json(request.params), None
        gate = self._passage.gate
        preview = method_class in PREVIEWS
        if not preview and guest.may_send_any and (seen := read_place(request.params, gate.serving)) is not None:
            params, served, sender, nonce = seen
            slot = _made(NonceSlot, (gate.settings.chain_id, served.address, sender, nonce))
            return params, _made(Submission, (slot, guest.has_key))
        carried = read_carried(request.method, method_class, request.params, gate.serving)
        op, entry_point = carried.op, carried.entry_point
        guest.admit_operation(op, entry_point, gate.settings.session_modules, preview=preview)
        return carried.params, None if preview else gate.submission_of(carried, vouched=guest.has_key)

    def _heard(self, ended: Ended) -> None:
        if isinstance(ended, AskingOn):
            self._waiting.wait_for(self._asked(ended.work))
            return
        try:
            if isinstance(ended, UpstreamUnavailable):
                answer, outcome = self._passage.gate.told(self._request, self._method_class, ended)
            else:
                passage, reply = self._passage, ended.reply
                passage.recorder.forwarded(ended.endpoint, passage.stopwatch() - self._started)
                if reply.is_error or passage.gate.refused.known:
                    self._note_sent(ended)
                if self._submission is None and self._tells_of_blocks(reply):
                    self._waiting.wait_for(self._tell(ended))
                    return
                answer, outcome = passed_on(self._request, ended)
        except Exception as error:  # a promise of ours is broken; the caller is answered
            answer, outcome = self._told(error)
        self._end(answer, outcome)

    def _tells_of_blocks(self, reply: Reply) -> bool:
        return self._request.method in TELL_OF_BLOCKS and not reply.is_error and reply.result is not None

    async def _asked(self, asking: Awaitable[Forwarded]) -> Answer:
        """What comes of a question that takes waiting."""
        return await self._whatever_comes(self._passage.gate.passing(self._request, self._noted(asking), self._started))

    async def _noted(self, asking: Awaitable[Forwarded]) -> Forwarded:
        forwarded = await asking
        self._note_sent(forwarded)
        return forwarded

    def _note_sent(self, ended: Forwarded) -> None:
        submission = self._submission
        if submission is not None and submission.slot is not None:
            sender = submission.slot.sender
            self._passage.gate.note_sent(self._request.method, self._context, self._params_sent, ended, sender=sender)

    async def _tell(self, ended: Forwarded) -> Answer:
        """What is told of blocks counts here before the caller has it."""
        return await self._whatever_comes(self._passage.gate.pass_on_told(self._request, ended))


class _HandingIn(_Way):
    """An operation that is handed in: judged, held and sent in one go where that is all there is to it.

    What takes more goes on in a task, from as far as it has come.
    """

    __slots__ = ("_carried", "_decision", "_judgement", "_sent_at")

    def begin(self) -> None:
        try:
            work = self._go()
        except Exception as error:  # a refusal, or a promise of ours is broken: the gate tells which
            self._end(*self._told(error))
            return
        if work is not None:
            self._waiting.wait_for(self._whatever_comes(work))

    def _go(self) -> Coroutine[Any, Any, _Come] | None:
        """What has to be waited for; `None` when it is sent, and the bundler's answer is all that is missing."""
        passage, request, context = self._passage, self._request, self._context
        gate, guest = passage.gate, context.guest
        guest.admit(request.method, self._method_class, request.params)
        self._carried = carried = read_carried(request.method, self._method_class, request.params, gate.serving)
        op, entry_point, dispatch = carried.op, carried.entry_point, gate.dispatch
        is_long = guest.admit_operation(op, entry_point, gate.settings.session_modules)
        if gate.refused.known and (again := gate.refused_before(request, context, carried.params)) is not None:
            self._end(*again)
            return None
        started = passage.stopwatch()
        if is_long:
            return self._after_others(started)
        judged = gate.admission.judge_at_once(op, entry_point, asker_of(request.method, context))
        if not isinstance(judged, Judgement):
            return gate.judge_at_length(request, context, carried, judged, started=started)
        if (held := dispatch.hold_now(judged)) is None:
            return gate.go_on(request, context, carried, judged, preview=False, started=started)
        self._judgement = judged
        self._decision = decision = dispatch.record(request.method, judged, carried, context, started=started)
        self._sent_at = passage.stopwatch()
        submission = _made(Submission, (held.slot, judged.vouched or guest.has_key))
        try:
            is_sent = passage.upstream.begin(request.method, carried.params, self._heard, submission)
        except Exception as error:  # how far it got is not known
            return self._broken(error)
        return None if is_sent else gate.send(request, context, carried, judged, decision, preview=False)

    async def _after_others(self, started: float) -> _Come:
        """It took long to read, and takes as long again."""
        await asyncio.sleep(0)
        gate = self._passage.gate
        return await gate.judge_at_length(self._request, self._context, self._carried, None, started=started)

    def _heard(self, ended: Ended) -> None:
        assert not isinstance(ended, AskingOn), "a send is asked of one bundler"  # noqa: S101 - our own promise
        if isinstance(ended, UpstreamUnavailable):
            self._heard_nothing(ended)
            return
        passage, decision = self._passage, self._decision
        try:
            passage.recorder.forwarded(ended.endpoint, passage.stopwatch() - self._sent_at)
        except Exception as error:  # a promise of ours is broken, and the operation may be out
            self._waiting.wait_for(self._whatever_comes(self._broken(error)))
            return
        try:
            if not passage.gate.dispatch.settle_now(self._judgement, ended, decision):
                self._waiting.wait_for(self._whatever_comes(self._settled(ended)))
                return
            if passage.gate.refused.known:
                self._note_sent(ended)
            answer, outcome = passed_on(self._request, ended, decision.decision_id)
        except Exception as error:  # likewise
            answer, outcome = self._told(self._after_sending(error))
        self._end(answer, outcome)

    def _heard_nothing(self, error: UpstreamUnavailable) -> None:
        error.decision_id = self._decision.decision_id
        try:
            if not self._passage.gate.dispatch.unanswered_now(self._judgement, self._decision, error):
                self._waiting.wait_for(self._whatever_comes(self._unanswered(error)))
                return
            came = self._told(error)
        except Exception as broken:  # likewise
            came = self._told(self._after_sending(broken))
        self._end(*came)

    def _after_sending(self, error: Exception) -> BrokenAfterSendingError:
        """After sending the caller must hear that it may be out."""
        broken = BrokenAfterSendingError(self._decision.decision_id)
        broken.__cause__ = error
        return broken

    async def _settled(self, ended: Forwarded) -> _Come:
        try:
            await self._passage.gate.dispatch.settle(self._judgement, ended, self._decision, self._carried.op)
        except Exception as error:  # told as below
            raise self._after_sending(error) from error
        self._note_sent(ended)
        return passed_on(self._request, ended, self._decision.decision_id)

    def _note_sent(self, ended: Forwarded) -> None:
        carried, name = self._carried, self._decision.decision_id
        self._passage.gate.note_sent(
            self._request.method, self._context, carried.params, ended, sender=carried.op.sender, decision_id=name
        )

    async def _unanswered(self, error: UpstreamUnavailable) -> _Come:
        try:
            await self._passage.gate.dispatch.unanswered(self._judgement, self._decision, error)
        except Exception as broken:  # told as below
            raise self._after_sending(broken) from broken
        raise error

    async def _broken(self, error: Exception) -> _Come:
        """How far it got is not known: what it holds stays held."""
        await self._passage.gate.dispatch.keep(self._judgement, answered=False)
        raise self._after_sending(error)
