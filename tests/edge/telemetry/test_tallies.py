"""What is counted without a lock reads as what prometheus-client itself would have counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from proxy.edge.telemetry.metrics import SECONDS
from proxy.edge.telemetry.tallies import LoopCounter, LoopGauge, LoopHistogram

AMOUNTS = st.floats(min_value=0, max_value=100) | st.sampled_from(SECONDS)
EVENTS = st.lists(st.tuples(st.sampled_from(["count", "up", "down", "set", "observe"]), st.sampled_from("ab"), AMOUNTS))


def _text(events: list[tuple[str, str, float]], kinds: tuple[type[Counter], type[Gauge], type[Histogram]]) -> bytes:
    registry = CollectorRegistry()
    of_counter, of_gauge, of_histogram = kinds
    counter = of_counter("things_total", "Things.", ["kind"], registry=registry)
    gauge = of_gauge("held", "Held.", ["kind"], registry=registry)
    histogram = of_histogram("seconds", "Seconds.", ["kind"], registry=registry, buckets=SECONDS)
    alone = of_counter("alone_total", "Without labels.", registry=registry)
    for metric in (counter, gauge, histogram):
        metric.labels("a")
    for what, kind, amount in events:
        match what:
            case "count":
                counter.labels(kind).inc(amount)
                alone.inc()
            case "up":
                gauge.labels(kind).inc(amount)
            case "down":
                gauge.labels(kind).dec(amount)
            case "set":
                gauge.labels(kind).set(amount)
            case _:
                histogram.labels(kind).observe(amount)
    return generate_latest(registry)


@given(EVENTS)
def test_a_scrape_shows_the_same_text_whoever_counts(events: list[tuple[str, str, float]]) -> None:
    assert _text(events, (LoopCounter, LoopGauge, LoopHistogram)) == _text(events, (Counter, Gauge, Histogram))


def test_what_a_scrape_shows_is_no_less_than_what_was_counted_before_it_and_whole() -> None:
    registry = CollectorRegistry()
    histogram = LoopHistogram("seconds", "Seconds.", registry=registry, buckets=SECONDS)
    for number in range(1, 101):
        histogram.observe(number)
        assert registry.get_sample_value("seconds_count") == number
        assert registry.get_sample_value("seconds_bucket", {"le": "+Inf"}) == number
    assert registry.get_sample_value("seconds_sum") == sum(range(101))
