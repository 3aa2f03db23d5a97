"""Operations after they were sent, and the gate's own condition, are counted under closed labels only."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from proxy.edge.telemetry.health_metrics import PLACES, QUEUES, HealthMetrics, Sent
from proxy.edge.telemetry.operation_metrics import CAUSES, PAST_GATE, OperationMetrics
from proxy.happening import HappeningKind


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"sessiongate_{name}", labels)


def test_every_series_is_there_at_zero_before_anything_happens(registry: CollectorRegistry) -> None:
    OperationMetrics(registry, ["soneium", "other"])
    HealthMetrics(registry, ["soc"])
    assert {value(registry, "operations_ended_total", chain="soneium", cause=cause) for cause in CAUSES} == {0}
    assert {value(registry, "past_gate_total", chain="soneium", what=what) for what in PAST_GATE} == {0}
    assert value(registry, "enforced_elsewhere_total", chain="soneium", product="kernel_permission") == 0
    assert {value(registry, "queue_depth", queue=queue) for queue in QUEUES} == {0}
    assert {value(registry, "happenings_total", kind=kind) for kind in HappeningKind} == {0}
    assert {value(registry, "alerts_sent_total", sink="soc", result=result) for result in Sent} == {0}


def test_an_operation_mined_and_reverted_counts_as_an_end_a_revert_and_a_time(registry: CollectorRegistry) -> None:
    metrics = OperationMetrics(registry, ["soneium", "other"])
    metrics.mined("soneium", success=False, seconds=2.5)
    metrics.mined("soneium", success=True, seconds=None)
    assert value(registry, "operations_ended_total", chain="soneium", cause="mined") == 2
    assert value(registry, "operations_reverted_total", chain="soneium") == 1
    assert value(registry, "inclusion_seconds_count", chain="soneium") == 1
    assert value(registry, "inclusion_seconds_bucket", chain="soneium", le="3.0") == 1
    assert value(registry, "inclusion_seconds_bucket", chain="soneium", le="2.0") == 0


@pytest.mark.parametrize("cause", ["", "0x5e", "anything"])
def test_what_is_in_no_closed_set_is_other(registry: CollectorRegistry, cause: str) -> None:
    metrics = OperationMetrics(registry, ["soneium", "other"])
    metrics.ended("not-configured", cause)
    assert value(registry, "operations_ended_total", chain="other", cause="other") == 1


def test_a_sink_a_queue_or_a_place_that_is_not_known_makes_no_series(registry: CollectorRegistry) -> None:
    metrics = HealthMetrics(registry, ["soc"])
    metrics.sent("https://hush", Sent.TAKEN)
    metrics.dropped("https://hush", 3)
    metrics.waiting("https://hush", 3)
    metrics.queue("other", 3)
    for what in (*PLACES, "/var/hush"):
        metrics.disk(what, free=1, total=4)
    names = {
        sample.labels.get(key) for family in registry.collect() for sample in family.samples for key in sample.labels
    }
    assert "https://hush" not in names
    assert "/var/hush" not in names
    assert value(registry, "disk_free_ratio", what="ledger") == 0.25
