"""Spans on their way to a collector: OTLP over HTTP, by the SDK of OpenTelemetry, bounded and counted.

The SDK takes nothing from the environment but what is said here, follows no redirect, and its own log, which quotes
URLs, is silent: what was lost is counted, and told in our words.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from proxy import __version__

_LOG: Final = logging.getLogger(__name__)
_MOST_WAITING: Final = 4_096
_BATCH: Final = 256
_EVERY_MILLISECONDS: Final = 1_000
_SECONDS: Final = 5.0
_STOP_MILLISECONDS: Final = 3_000
_LONGEST_VALUE: Final = 512

Counted = Callable[[str, int], None]
"""Told of so many spans that were `sent` or `lost`."""


class Spans:
    """Takes what is traced to the collector at `url`. `counted` may be called from a thread of its own."""

    def __init__(self, url: str, headers: Mapping[str, str], *, instance: str, counted: Counted) -> None:
        for name in ("opentelemetry", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        limits = SpanLimits(max_span_attributes=32, max_events=0, max_links=0, max_span_attribute_length=_LONGEST_VALUE)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource(
                {
                    "service.name": "sessiongate",
                    "service.version": __version__,
                    "service.instance.id": instance,
                }
            ),
            shutdown_on_exit=False,
            span_limits=limits,
        )
        http = requests.Session()
        http.trust_env, http.max_redirects = False, 0
        exporter = OTLPSpanExporter(
            url, headers=dict(headers), timeout=_SECONDS, compression=Compression.NoCompression, session=http
        )
        self._provider.add_span_processor(_Bounded(_Counting(exporter, counted), counted))

    @property
    def tracer(self) -> Tracer:
        """What makes spans."""
        return self._provider.get_tracer("sessiongate", __version__)

    def stop(self) -> None:
        """Send what waits, as far as that goes within seconds. Blocks."""
        self._provider.shutdown()


class _Counting(SpanExporter):
    """Counts what came of each batch, and says so when that changes."""

    def __init__(self, exporter: SpanExporter, counted: Counted) -> None:
        self._exporter = exporter
        self._counted = counted
        self._fails = False
        self.done: Callable[[int], None] = lambda _count: None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.done(len(spans))
            sent = result is SpanExportResult.SUCCESS
            self._counted("sent" if sent else "lost", len(spans))
            if sent is self._fails:
                self._fails = not sent
                _LOG.log(logging.INFO if sent else logging.ERROR, "traces %s", _WORDS[sent])
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


_WORDS: Final = {True: "reach their collector again", False: "do not reach their collector, and are lost"}


class _Bounded(SpanProcessor):
    """Of spans that find no room none is kept, and each is counted."""

    def __init__(self, exporter: _Counting, counted: Counted) -> None:
        self._waiting = 0
        self._lock = threading.Lock()
        self._counted = counted
        exporter.done = self._left
        self._batches = BatchSpanProcessor(
            exporter,
            max_queue_size=_MOST_WAITING,
            schedule_delay_millis=_EVERY_MILLISECONDS,
            max_export_batch_size=_BATCH,
            export_timeout_millis=_SECONDS * 1_000,
        )

    def _left(self, count: int) -> None:
        with self._lock:
            self._waiting -= count

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  # the SDK's
        return None

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            room = self._waiting < _MOST_WAITING
            self._waiting += room
        if room:
            self._batches.on_end(span)
        else:
            self._counted("lost", 1)

    def shutdown(self) -> None:
        # the processor itself would wait for half a minute
        self._batches._batch_processor.shutdown(_STOP_MILLISECONDS)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)
