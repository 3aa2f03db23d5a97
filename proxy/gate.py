"""The life of one request on one chain: classified, read, judged, forwarded, answered; counted in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.admission import Admission, Judgement, Purpose
from proxy.admission.enquiry import LIST, Enquiry
from proxy.admission.reasons import unavailable
from proxy.carried import CarriedOperation, Serving, read_carried
from proxy.dispatch import Dispatch
from proxy.errors import Code, MethodNotFound, Reason, StateUnavailable, UpstreamUnavailable
from proxy.jsonrpc import Request, print_error, print_json, print_result
from proxy.judge.decision import Decision
from proxy.judge.reading import Arrival as AskedBy
from proxy.judge.verdict import Mode, Reject
from proxy.ledger.reservation import NonceSlot
from proxy.methods import PREVIEWS, TELL_OF_BLOCKS, MethodClass, check_arity, classify, denial, refusal_of_notification
from proxy.ports import (
    Answer,
    Follower,
    Forwarded,
    Recorder,
    Repeat,
    RequestContext,
    RequestOutcome,
    Submission,
    Upstream,
)
from proxy.refusal import error_of_reason
from proxy.refused_before import RefusedBefore
from proxy.replies import BrokenAfterSendingError, answer_to_error, passed_on
from proxy.session.proof import OnceChecked
from proxy.userop.entry_point import EntryPoint
from proxy.userop.primitives import Address
from proxy.userop.user_operation import parse_user_operation

_PURPOSES: Final = {
    MethodClass.SUBMIT: Purpose.SUBMIT,
    MethodClass.PREVIEW: Purpose.PREVIEW,
    MethodClass.SPONSOR: Purpose.SPONSOR,
}

DialectAnswer = Callable[[str, list[object], str], Awaitable[Forwarded | object]]
"""Answers a method with these params for a client of this name, instead of a plain relay: a reply that goes on as it
came, or a result made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the configuration says about serving one chain. `translated` are the methods that are not relayed but
    answered by the gate's `dialects`, as far as it has them."""

    mode: Mode
    judge_previews: bool
    entry_points: Mapping[Address, EntryPoint]
    chain_id: int
    allow_methods: frozenset[str] = frozenset()
    session_modules: frozenset[Address] = frozenset()
    translated: frozenset[str] = frozenset()
    keep_whole: bool = False  # call data, and what a session's verdict rested on, go on record with it


class Gate:
    """Serves one chain. `clock` gives unix seconds, `stopwatch` monotonic ones, `new_id` an unused decision id."""

    def __init__(
        self,
        settings: GateSettings,
        *,
        admission: Admission,
        upstream: Upstream,
        follower: Follower,
        recorder: Recorder,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
        new_id: Callable[[], str],
        enquiry: Enquiry | None = None,
        dialects: Mapping[str, DialectAnswer] | None = None,
        own: Mapping[str, Callable[[Request, RequestContext], object]] | None = None,
        refused: RefusedBefore | None = None,
    ) -> None:
        self.refused = RefusedBefore(stopwatch) if refused is None else refused
        self._own = own or {}
        self._enquiry = enquiry
        self._dialects = dialects or {}
        self.admission = admission
        self.dispatch = Dispatch(
            admission=admission,
            upstream=upstream,
            follower=follower,
            recorder=recorder,
            clock=clock,
            stopwatch=stopwatch,
            new_id=new_id,
        )
        self.upstream = upstream
        self._follower = follower
        self._recorder = recorder
        self._stopwatch = stopwatch
        self._new_id = new_id
        self.take(settings)

    def take(self, settings: GateSettings) -> None:
        """Serve by these settings from the next request on."""
        self.settings = settings
        self.dispatch.take(settings.mode, keep_whole=settings.keep_whole)
        self.serving = Serving(settings.entry_points, settings.chain_id)

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        """Serve one request; `None` for a notification. Whatever happens, it is counted and it is answered."""
        method_class = classify(request.method, self.settings.allow_methods)
        outcome = RequestOutcome.INTERNAL_ERROR
        try:
            if request.id is None:
                refusal = refusal_of_notification(method_class)
                outcome = RequestOutcome.DENIED if refusal is None else RequestOutcome.INVALID
                return None if refusal is None else Answer(print_error(None, refusal.code, refusal.message))
            answer, outcome = await self._serve(request, method_class, context)
        except Exception as error:  # a refusal, or a promise of ours is broken
            answer, outcome = self.told(request, method_class, error)
            return answer
        else:
            return answer
        finally:
            self._recorder.ended(context, method_class, outcome)

    def told(
        self, request: Request, method_class: MethodClass, error: Exception, *, sent: bool = False
    ) -> tuple[Answer, RequestOutcome]:
        """What the caller hears whose request ended so, and how that is counted; `sent` when it was on its way."""
        return answer_to_error(request, error, self._new_id, submit=method_class is MethodClass.SUBMIT, sent=sent)

    def submission_of(self, carried: CarriedOperation, *, vouched: bool) -> Submission:
        """What hands this operation in."""
        op = carried.op
        return Submission(NonceSlot(self.settings.chain_id, carried.entry_point.address, op.sender, op.nonce), vouched)

    async def explain(self, chain: str, operation: object, entry_point: object) -> Decision:
        """The verdict that a submission of this operation would get now; nothing is sent, held or recorded.

        Raises `RpcError` for what cannot be read.
        """
        served = self.serving.entry_point(entry_point, "entryPoint")
        op = parse_user_operation(operation, served.version, field="operation")
        asked_by = AskedBy(chain=chain, client="explain", method="eth_sendUserOperation")
        judgement = await self.admission.judge(op, served, purpose=Purpose.EXPLAIN, request=asked_by)
        return self.dispatch.decide("explain", judgement, op, served, RequestContext(chain, "explain", None))

    def _serve(
        self, request: Request, method_class: MethodClass, context: RequestContext
    ) -> Awaitable[tuple[Answer, RequestOutcome]]:
        if method_class is MethodClass.DENY:
            raise denial(request.method)
        context.guest.admit(request.method, method_class, request.params)
        match method_class:
            case MethodClass.OWN:
                return self._answer_ourselves(request, context)
            case MethodClass.PASS:
                check_arity(request.method, len(request.params))
                return self._relay(request, context)
            case MethodClass.SUBMIT | MethodClass.PREVIEW | MethodClass.SPONSOR:
                return self._judge(request, method_class, context)

    async def _answer_ourselves(self, request: Request, context: RequestContext) -> tuple[Answer, RequestOutcome]:
        """About sessions, for who may ask; as unknown as any other method where that is not wanted."""
        if (own := self._own.get(request.method)) is not None:
            check_arity(request.method, len(request.params))
            return Answer(print_result(request.id or "null", own(request, context))), RequestOutcome.ANSWERED
        setting: str | None = "session_queries"
        if self._enquiry is not None:
            setting = self._enquiry.setting_missing(request.method, context.client)
        if self._enquiry is None or setting is not None:
            raise MethodNotFound(
                f"{request.method} is not served here; the operator may set {setting}: true",
                data={"method": request.method, "setting": setting},
            )
        check_arity(request.method, len(request.params))
        answer: object
        try:
            if request.method == LIST:
                answer = await self._enquiry.list_sessions(request.params)
            else:
                answer = await self._enquiry.answer(
                    request.params,
                    client=context.client,
                    peer=context.remote or "",
                    absent_rate=context.guest.absent_rate,
                )
        except StateUnavailable as error:
            answer = unavailable(error)
        if isinstance(answer, Reason):
            data = {"reason": answer.code.label, "retryable": True, "remedy": answer.remedy}
            outcome = RequestOutcome.UNAVAILABLE if answer.code is Code.STATE_UNAVAILABLE else RequestOutcome.REJECTED
            return Answer(print_error(request.id, answer.code, answer.sentence, data)), outcome
        return Answer(print_result(request.id or "null", answer)), RequestOutcome.ANSWERED

    async def _relay(self, request: Request, context: RequestContext) -> tuple[Answer, RequestOutcome]:
        """A method that submits nothing. The upstream's answer, unchanged but for the id."""
        translator = self._dialects.get(request.method) if request.method in self.settings.translated else None
        if translator is not None:
            answered = await translator(request.method, request.params, context.client)
            if not isinstance(answered, Forwarded):
                await self._tell_follower(request, answered)
                return Answer(print_result(request.id or "null", answered)), RequestOutcome.ANSWERED
        else:
            answered = await self.dispatch.post(request.method, print_json(request.params), submission=None)
        return await self.pass_on_told(request, answered)

    async def passing(
        self, request: Request, asking: Awaitable[Forwarded], started: float
    ) -> tuple[Answer, RequestOutcome]:
        """What comes of a question, begun when the stopwatch showed `started`, whose reply is only passed on."""
        forwarded = await asking
        self._recorder.forwarded(forwarded.endpoint, self._stopwatch() - started)
        return await self.pass_on_told(request, forwarded)

    async def pass_on_told(self, request: Request, forwarded: Forwarded) -> tuple[Answer, RequestOutcome]:
        """A reply on its way back; what it tells of blocks counts here first."""
        if not forwarded.reply.is_error:
            await self._tell_follower(request, forwarded.reply.result)
        return passed_on(request, forwarded)

    async def _tell_follower(self, request: Request, result: object) -> None:
        if request.method in TELL_OF_BLOCKS and result is not None:
            await self._follower.observe(result, request.params[0] if request.params else None)

    async def _judge(
        self, request: Request, method_class: MethodClass, context: RequestContext
    ) -> tuple[Answer, RequestOutcome]:
        """A method that carries an operation: nothing of the client's bytes goes on, only what was read and judged."""
        preview = method_class in PREVIEWS
        carried = read_carried(request.method, method_class, request.params, self.serving)
        op, entry_point = carried.op, carried.entry_point
        if context.guest.admit_operation(op, entry_point, self.settings.session_modules, preview=preview):
            await asyncio.sleep(0)  # it took long to read, and takes as long again
        if (
            not preview
            and self.refused.known
            and (again := self.refused_before(request, context, carried.params)) is not None
        ):
            return again
        if self.settings.mode is Mode.OFF or (preview and not self.settings.judge_previews):
            return await self._pass_unjudged(request, context, carried, preview=preview)
        started = self._stopwatch()
        asked_by = asker_of(request.method, context, preview=preview)
        judgement = await self.admission.judge(op, entry_point, purpose=_PURPOSES[method_class], request=asked_by)
        return await self.go_on(request, context, carried, judgement, preview=preview, started=started)

    async def judge_at_length(
        self,
        request: Request,
        context: RequestContext,
        carried: CarriedOperation,
        check: OnceChecked | None,
        *,
        started: float,
    ) -> tuple[Answer, RequestOutcome]:
        """What becomes of a send that was read, and could not be judged in one go, when the stopwatch showed `started`;
        see `Admission.judge_at_once` for the `check`."""
        judgement = await self.admission.judge_at_length(
            carried.op,
            carried.entry_point,
            purpose=Purpose.SUBMIT,
            request=asker_of(request.method, context),
            check=check,
        )
        return await self.go_on(request, context, carried, judgement, preview=False, started=started)

    async def go_on(
        self,
        request: Request,
        context: RequestContext,
        carried: CarriedOperation,
        judgement: Judgement,
        *,
        preview: bool,
        started: float,
    ) -> tuple[Answer, RequestOutcome]:
        """What becomes of an operation that is judged."""
        dispatch = self.dispatch
        if not preview:
            judgement = await dispatch.hold(judgement)
        decision = dispatch.record(request.method, judgement, carried, context, started=started)
        if isinstance(decision.verdict, Reject) and self.settings.mode is Mode.ENFORCE:
            error = error_of_reason(decision.verdict.first, decision)
            return Answer(print_error(request.id, *error), decision_id=decision.decision_id), RequestOutcome.REJECTED
        return await self.send(request, context, carried, judgement, decision, preview=preview)

    async def send(
        self,
        request: Request,
        context: RequestContext,
        carried: CarriedOperation,
        judgement: Judgement,
        decision: Decision,
        *,
        preview: bool,
    ) -> tuple[Answer, RequestOutcome]:
        """The bundler's answer to what was judged, and is on record."""
        dispatch = self.dispatch
        try:
            if preview:
                forwarded = await dispatch.preview(request.method, carried, decision)
                return passed_on(request, forwarded, decision.decision_id)
            submission = self.submission_of(carried, vouched=judgement.vouched or context.guest.has_key)
            forwarded = await dispatch.submit(request.method, carried, judgement, decision, submission)
        except UpstreamUnavailable as error:
            error.decision_id = decision.decision_id
            raise
        method, params, sender, name = request.method, carried.params, carried.op.sender, decision.decision_id
        self.note_sent(method, context, params, forwarded, sender=sender, decision_id=name)
        return passed_on(request, forwarded, decision.decision_id)

    def refused_before(
        self, request: Request, context: RequestContext, params: bytes
    ) -> tuple[Answer, RequestOutcome] | None:
        """What a bundler has just answered to the very same, which is told again; `None` where nothing is known."""
        found = self.refused.find(context, request.method, params)
        if found is None:
            return None
        repeat = Repeat(
            method=request.method,
            account=found.sender,
            decision_id=found.decision_id,
            code=found.forwarded.reply.error_code,
            times=found.times,
        )
        self._recorder.repeated(context, repeat)
        return passed_on(request, found.forwarded, found.decision_id)

    def note_sent(
        self,
        method: str,
        context: RequestContext,
        params: bytes,
        forwarded: Forwarded,
        *,
        sender: Address,
        decision_id: str | None = None,
    ) -> None:
        """A bundler has answered what was handed in: what it refused is known for a moment."""
        if forwarded.reply.is_error:
            self.refused.note(context, method, params, sender=sender, forwarded=forwarded, decision_id=decision_id)
        elif self.refused.known:
            self.refused.forget(sender)

    async def _pass_unjudged(
        self, request: Request, context: RequestContext, carried: CarriedOperation, *, preview: bool
    ) -> tuple[Answer, RequestOutcome]:
        """An operation that is nobody's to judge."""
        try:
            if preview:
                return passed_on(request, await self.dispatch.post(request.method, carried.params, submission=None))
            submission = self.submission_of(carried, vouched=context.guest.has_key)
            forwarded = await self.dispatch.post(request.method, carried.params, submission)
            self.note_sent(request.method, context, carried.params, forwarded, sender=carried.op.sender)
            return passed_on(request, forwarded)
        except UpstreamUnavailable:
            raise
        except Exception as error:  # in doubt the caller must hear that it may be out
            raise BrokenAfterSendingError(self._new_id()) from error


def asker_of(method: str, context: RequestContext, *, preview: bool = False) -> AskedBy:
    """Who asks by this method, as rules know of it."""
    asked = context.asked.get(method)
    if asked is None:
        asked = context.asked[method] = AskedBy(
            chain=context.chain,
            client=context.client,
            method=method,
            preview=preview,
            peer=context.remote or "",
            absent_rate=context.guest.absent_rate,
        )
    return asked
