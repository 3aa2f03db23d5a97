"""One request as a trace: a span of its own, one of its judgement, and one for each time a bundler was asked.

What stands in a span is what the log may say of an operation: names out of closed sets, ids, and the ids of rules.
No URL, key, signature, call data, or message off the wire.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from proxy.edge.tracing.traceparent import TraceParent, print_traceparent, read_traceparent
from proxy.jsonrpc import Request
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Reject
from proxy.methods import METHODS
from proxy.ports import Answer, RequestContext, RequestOutcome
from proxy.userop.primitives import print_bytes, print_checksummed

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_OTHER: Final = "other"
_NS: Final = 1_000_000_000
_BROKEN: Final = frozenset({RequestOutcome.INTERNAL_ERROR, RequestOutcome.UNAVAILABLE})
"""Ends that are the gate's or a bundler's fault; that a caller was refused is no fault."""

AnswerRequest = Callable[[Request, RequestContext], Awaitable[Answer | None]]


class RequestTrace:
    """The spans of one request; once it is ended it hears of nothing more."""

    def __init__(self, tracer: Tracer, request: Request, context: RequestContext, parent: TraceParent | None) -> None:
        self._tracer = tracer
        method = request.method if request.method in METHODS else _OTHER
        self._span = tracer.start_span(
            method,
            context=Context() if parent is None else _remote(parent),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "jsonrpc",
                "rpc.method": method,
                "sessiongate.chain": context.chain,
                "sessiongate.client": context.client,
            },
        )
        self._inside = set_span_in_context(self._span, Context())
        self._asking: Span | None = None
        self._over = False

    def decided(self, decision: Decision, seconds: float) -> None:
        """Its operation was judged, in so many seconds up to now."""
        if self._over:
            return
        now = time.time_ns()
        verdict = decision.verdict
        told: dict[str, str] = {
            "sessiongate.decision_id": decision.decision_id,
            "sessiongate.mode": decision.mode.value,
            "sessiongate.verdict": "reject" if isinstance(verdict, Reject) else "allow",
        }
        if isinstance(verdict, Reject):
            told["sessiongate.code"] = verdict.first.code.label
        if decision.hits:
            told["sessiongate.rules"] = ",".join(f"{hit.rule.id}:{hit.mode.value}" for hit in decision.hits)
        if decision.account is not None:
            told["sessiongate.account"] = print_checksummed(decision.account)
        if decision.permission_id is not None:
            told["sessiongate.session"] = print_bytes(decision.permission_id)
        if decision.user_op_hash is not None:
            told["sessiongate.user_op_hash"] = print_bytes(decision.user_op_hash)
        span = self._tracer.start_span("judge", self._inside, start_time=now - int(seconds * _NS), attributes=told)
        span.end(now)
        self._span.set_attribute("sessiongate.decision_id", decision.decision_id)

    def asks(self) -> TraceParent | None:
        """A bundler is about to be asked: the place of that in the trace."""
        if self._over:
            return None
        self._failed()
        self._asking = self._tracer.start_span("bundler", self._inside, kind=SpanKind.CLIENT)
        place = self._asking.get_span_context()
        return TraceParent(place.trace_id, place.span_id, sampled=True)

    def answered(self, endpoint: str, seconds: float) -> None:
        """The bundler of this name answered, so many seconds after it was asked."""
        if self._over:
            return
        now = time.time_ns()
        span, self._asking = self._asking, None
        if span is None:  # asked by another request that carried the same
            span = self._tracer.start_span(
                "bundler", self._inside, kind=SpanKind.CLIENT, start_time=now - int(seconds * _NS)
            )
        span.set_attribute("sessiongate.bundler", endpoint)
        span.end(now)

    def told(self, answer: UpstreamAnswer) -> None:
        """What the bundler said to the operation."""
        if not self._over and answer.error_code is not None and -(2**63) <= answer.error_code < 2**63:
            self._span.set_attribute("rpc.jsonrpc.error_code", answer.error_code)

    def closes(self, outcome: RequestOutcome) -> None:
        """How the request ended."""
        if self._over:
            return
        self._span.set_attribute("sessiongate.outcome", outcome.value)
        if outcome in _BROKEN:
            self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        """Nothing more comes of it."""
        self._failed()
        self._over = True
        self._span.end()

    def _failed(self) -> None:
        if self._asking is not None:
            self._asking.set_status(Status(StatusCode.ERROR))
            self._asking.end()
            self._asking = None


CURRENT: Final[ContextVar[RequestTrace | None]] = ContextVar("request_trace", default=None)
"""The trace of the request that is being answered; tasks that outlive it find it ended."""


class Traced:
    """Answers requests, and traces of them the share `sample`. `draw` gives numbers in [0, 1).

    A caller that says it records nothing of its own trace is not traced; that it does so asks for nothing.
    """

    def __init__(self, answer: AnswerRequest, tracer: Tracer, *, sample: float, draw: Callable[[], float]) -> None:
        self._answer = answer
        self._tracer = tracer
        self._sample = sample
        self._draw = draw

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        """See `proxy.gate.Gate.answer`."""
        parent = read_traceparent(context.traceparent)
        if (parent is not None and not parent.sampled) or self._draw() >= self._sample:
            return await self._answer(request, context)
        trace = RequestTrace(self._tracer, request, context, parent)
        token = CURRENT.set(trace)
        try:
            return await self._answer(request, context)
        finally:
            CURRENT.reset(token)
            trace.end()


class TraceHeader:
    """What bundlers are told of the trace: where they are asked, in a `traceparent` of the gate's own, or nothing."""

    def __init__(self, *, told: bool) -> None:
        self._told = told

    def __call__(self) -> str | None:
        """The header of the question that is about to be asked."""
        trace = CURRENT.get()
        place = None if trace is None else trace.asks()
        return print_traceparent(place) if self._told and place is not None else None


def _remote(parent: TraceParent) -> Context:
    place = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=_SAMPLED)
    return set_span_in_context(NonRecordingSpan(place), Context())
