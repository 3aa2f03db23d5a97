"""Counters of what every request is counted in, without a lock and a check for each addition.

Only the thread of the event loop adds to them; whoever reads them, from any thread, takes numbers that are whole. They
are in all else what prometheus-client makes of them, series and text alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString


class LoopCounter(Counter):
    """A counter."""

    def _metric_init(self) -> None:
        self.tally: float = 0

    def inc(self, amount: float = 1, exemplar: Any = None) -> None:  # noqa: ARG002  # prometheus-client's own signature
        """So many more."""
        self.tally += amount

    def _child_samples(self) -> Iterable[Sample]:
        return (Sample("_total", {}, self.tally, None, None),)


class LoopGauge(Gauge):
    """A number that goes up and down."""

    def _metric_init(self) -> None:
        self.tally: float = 0

    def inc(self, amount: float = 1) -> None:
        """So many more."""
        self.tally += amount

    def dec(self, amount: float = 1) -> None:
        """So many less."""
        self.tally -= amount

    def set(self, value: float) -> None:
        """So many."""
        self.tally = value

    def _child_samples(self) -> Iterable[Sample]:
        return (Sample("", {}, self.tally, None, None),)


class LoopHistogram(Histogram):
    """How often a number was in which range."""

    def _metric_init(self) -> None:
        self.tallies = [0] * len(self._upper_bounds)
        self.tally = 0.0

    def observe(self, amount: float, exemplar: Any = None) -> None:  # noqa: ARG002  # prometheus-client's own signature
        """One more."""
        self.tally += amount
        self.tallies[bisect_left(self._upper_bounds, amount)] += 1

    def _child_samples(self) -> Iterable[Sample]:
        total = 0
        samples = []
        for bound, number in zip(self._upper_bounds, self.tallies, strict=True):
            total += number
            le = floatToGoString(bound)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
            samples.append(Sample("_bucket", {"le": le}, total, None, None))
        return (*samples, Sample("_count", {}, total, None, None), Sample("_sum", {}, self.tally, None, None))
