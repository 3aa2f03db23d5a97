"""What is counted of the gate itself: its loop, its queues, its disk, and the alerts it sends."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from proxy.edge.telemetry.tallies import LoopCounter
from proxy.happening import HappeningKind

QUEUES: Final = ("audit", "ledger", "alerts")
"""What waits inside the gate to be written or sent."""

PLACES: Final = ("ledger", "audit")
"""What is kept on disk."""


SPAN_RESULTS: Final = ("sent", "lost")
"""What came of spans."""


class Sent(StrEnum):
    """What came of handing an alert to a sink."""

    TAKEN = "taken"
    FAILED = "failed"  # it is tried again
    GIVEN_UP = "given_up"  # refused for good, or tried too often


class HealthMetrics:
    """Counters and gauges of one gate's own condition. `sinks` are the names of `alerts:` in the settings."""

    def __init__(self, registry: CollectorRegistry, sinks: Collection[str] = ()) -> None:
        self._sinks = frozenset(sinks)
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self._loop_lag = gauge(
            "sessiongate_loop_lag_seconds",
            "The longest that the event loop kept anybody waiting since the scrape before.",
        )
        self._queue = gauge("sessiongate_queue_depth", "What waits to be written or sent.", ["queue"])
        self._disk = gauge("sessiongate_disk_free_bytes", "Room left on the disk of the file.", ["what"])
        self._disk_share = gauge("sessiongate_disk_free_ratio", "The same as a share of the disk.", ["what"])
        self._in_place = gauge("sessiongate_ledger_in_place", "1 while the open database is the file at its path.")
        self._in_place.set(1)
        self._telling = gauge(
            "sessiongate_alerts_configured",
            "1 when this gate tells single happenings itself (`alerts:` in its settings); the rules then leave them.",
        )
        self._telling.set(bool(self._sinks))
        self._happenings = LoopCounter(
            "sessiongate_happenings_total", "Single happenings worth telling.", ["kind"], registry=registry
        )
        self._active = gauge("sessiongate_alerts_active", "Alerts told and not resolved.")
        self._folded = counter(
            "sessiongate_alerts_folded_total",
            "Happenings told without naming their session, because too many alerts were active.",
        )
        self._sent = counter(
            "sessiongate_alerts_sent_total", "Messages to sinks, by what came of it.", ["sink", "result"]
        )
        self._dropped = counter("sessiongate_alerts_dropped_total", "Alerts a sink was not told of.", ["sink"])
        self._untold = gauge(
            "sessiongate_alerts_waiting_seconds", "How long the oldest message to a sink waits.", ["sink"]
        )
        self._spans = counter(
            "sessiongate_trace_spans_total", "Spans of traces, by whether the collector took them.", ["result"]
        )
        for result in SPAN_RESULTS:
            self._spans.labels(result)
        for queue in QUEUES:
            self._queue.labels(queue)
        self._happenings_of = {kind: self._happenings.labels(kind) for kind in HappeningKind}
        for sink in self._sinks:
            self._dropped.labels(sink)
            self._untold.labels(sink)
            for result in Sent:
                self._sent.labels(sink, result)

    def loop_lag(self, seconds: float) -> None:
        """Set the longest wait for the event loop."""
        self._loop_lag.set(seconds)

    def queue(self, name: str, depth: int) -> None:
        """Set how much waits in a queue, one of `QUEUES`."""
        if name in QUEUES:
            self._queue.labels(name).set(depth)

    def ledger_in_place(self, *, in_place: bool) -> None:
        """Set whether the open database is the one that the next start will find."""
        self._in_place.set(in_place)

    def disk(self, what: str, *, free: int, total: int) -> None:
        """Set the room left, in bytes, on the disk that holds `what`, one of `PLACES`."""
        if what in PLACES:
            self._disk.labels(what).set(free)
            self._disk_share.labels(what).set(free / total if total else 0.0)

    def happened(self, kind: HappeningKind) -> None:
        """Count a happening."""
        self._happenings_of[kind].tally += 1

    def active(self, count: int) -> None:
        """Set how many alerts are active."""
        self._active.set(count)

    def folded(self) -> None:
        """Count a happening whose session no alert names."""
        self._folded.inc()

    def sent(self, sink: str, result: Sent) -> None:
        """Count a message to a sink."""
        if sink in self._sinks:
            self._sent.labels(sink, result).inc()

    def dropped(self, sink: str, count: int) -> None:
        """Count alerts that a sink is not told of."""
        if sink in self._sinks:
            self._dropped.labels(sink).inc(count)

    def waiting(self, sink: str, seconds: float) -> None:
        """Set for how long the oldest message to a sink has waited."""
        if sink in self._sinks:
            self._untold.labels(sink).set(seconds)

    def spans(self, result: str, count: int) -> None:
        """Count spans, by one of `SPAN_RESULTS`."""
        if result in SPAN_RESULTS:
            self._spans.labels(result).inc(count)
