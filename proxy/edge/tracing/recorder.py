"""The recorder of a gate that traces: what it is told goes into the trace of the request as well."""

from __future__ import annotations

from proxy.edge.telemetry.recorder import EdgeRecorder
from proxy.edge.tracing.request_trace import CURRENT
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.methods import MethodClass
from proxy.ports import RequestContext, RequestOutcome


class TracingRecorder(EdgeRecorder):
    """See `EdgeRecorder`."""

    def decided(self, decision: Decision, *, forwarding: bool, seconds: float) -> None:
        super().decided(decision, forwarding=forwarding, seconds=seconds)
        if (trace := CURRENT.get()) is not None:
            trace.decided(decision, seconds)

    def forwarded(self, endpoint: str, seconds: float) -> None:
        super().forwarded(endpoint, seconds)
        if (trace := CURRENT.get()) is not None:
            trace.answered(endpoint, seconds)

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> None:
        super().answered(decision_id, answer)
        if (trace := CURRENT.get()) is not None:
            trace.told(answer)

    def ended(self, context: RequestContext, method_class: MethodClass, outcome: RequestOutcome) -> None:
        super().ended(context, method_class, outcome)
        if (trace := CURRENT.get()) is not None:
            trace.closes(outcome)
