"""Traces, where the settings say where to; OpenTelemetry is imported then and not before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from proxy.config import Config
from proxy.edge.alerts.build import instance_of
from proxy.edge.http.service import AnswerRequest
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.recorder import EdgeRecorder


def _untraced(answer: AnswerRequest) -> AnswerRequest:
    return answer


@dataclass(frozen=True, slots=True)
class Tracing:
    """What the parts of a gate need of it; as it is made, that nothing is traced."""

    recorder: type[EdgeRecorder] = EdgeRecorder
    header: Callable[[], str | None] | None = None  # what bundlers are told of the question they are asked
    around: Callable[[AnswerRequest], AnswerRequest] = _untraced


def open_tracing(config: Config, metrics: Metrics, stack: AsyncExitStack) -> Tracing:
    """Trace until `stack` is left."""
    settings = config.tracing
    if settings.otlp is None:
        return Tracing()
    # half a second of imports that a gate without traces is spared
    from proxy.edge.tracing.recorder import TracingRecorder  # noqa: PLC0415  # half a second of imports, for those who trace
    from proxy.edge.tracing.request_trace import Traced, TraceHeader  # noqa: PLC0415  # likewise
    from proxy.edge.tracing.sending import Spans  # noqa: PLC0415  # likewise

    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    instance = instance_of(config.alerts, config.admin_listen)
    spans = Spans(settings.otlp.url, headers, instance=instance, counted=metrics.health.spans)

    async def stop() -> None:
        await asyncio.to_thread(spans.stop)

    stack.push_async_callback(stop)
    tracer = spans.tracer

    def around(answer: AnswerRequest) -> AnswerRequest:
        # which requests are looked at is no secret
        return Traced(answer, tracer, sample=settings.sample, draw=random.random).answer

    return Tracing(TracingRecorder, TraceHeader(told=settings.to_bundlers), around)
