"""Every number an alert or a dashboard stands on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy import __version__
from proxy.edge.telemetry.metrics import ALLOW, METHOD_CLASSES, OUTCOMES, SECONDS, SESSION_STATES, Metrics
from proxy.edge.telemetry.rule_metrics import RuleName
from proxy.errors import Code
from proxy.judge.verdict import Allow, Mode
from proxy.methods import MethodClass
from proxy.session.known import Status
from proxy.session.lint.findings import Severity
from tests.edge.builders import OUT_OF_SCOPE, gate_metrics

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: Metrics) -> Samples:
    metrics.refresh()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return scrape(metrics)[f"sessiongate_{name}", frozenset(labels.items())]


def test_every_series_exists_at_zero_before_the_first_request() -> None:
    metrics = gate_metrics()
    for outcome in OUTCOMES:
        assert value(metrics, "requests_total", chain="soneium", method_class="submit", outcome=outcome) == 0
    for code in (ALLOW, *(code.label for code in Code)):
        for mode in Mode:
            assert value(metrics, "verdicts_total", chain="soneium", code=code, mode=mode.value) == 0
    assert value(metrics, "upstream_up", upstream="soneium-2") == 0
    assert value(metrics, "upstream_seconds_count", upstream="soneium-2") == 0
    assert value(metrics, "build_info", version=__version__) == 1


def test_counts_a_request_once_by_chain_and_once_by_client() -> None:
    metrics = gate_metrics()
    metrics.request("soneium", "submit", "rejected", "trading-dapp")
    assert value(metrics, "requests_total", chain="soneium", method_class="submit", outcome="rejected") == 1
    assert value(metrics, "client_requests_total", client="trading-dapp", outcome="rejected") == 1
    assert value(metrics, "requests_total", chain="soneium", method_class="submit", outcome="answered") == 0


def test_a_rejection_counts_under_its_first_reason_and_the_mode_it_was_judged_in() -> None:
    metrics = gate_metrics()
    metrics.decided("soneium", OUT_OF_SCOPE, Mode.SHADOW, 0.00004)
    metrics.decided("soneium", Allow(), Mode.ENFORCE, 0.00004)
    assert value(metrics, "verdicts_total", chain="soneium", code="session_scope", mode="shadow") == 1
    assert value(metrics, "verdicts_total", chain="soneium", code="session_scope", mode="enforce") == 0
    assert value(metrics, "verdicts_total", chain="soneium", code="limit_exceeded", mode="shadow") == 0
    assert value(metrics, "verdicts_total", chain="soneium", code="allow", mode="enforce") == 1
    assert value(metrics, "decision_seconds_count", chain="soneium") == 2


@pytest.mark.parametrize(("seconds", "bound", "inside"), [(0.0001, "0.0001", 1), (0.00011, "0.0001", 0)])
def test_the_smallest_bucket_ends_at_a_tenth_of_a_millisecond(seconds: float, bound: str, inside: float) -> None:
    metrics = gate_metrics()
    metrics.upstream_answered("soneium-1", seconds)
    assert value(metrics, "upstream_seconds_bucket", upstream="soneium-1", le=bound) == inside
    assert min(SECONDS) == 0.0001
    assert max(SECONDS) == 10


def test_requests_in_flight_go_up_and_down() -> None:
    metrics = gate_metrics()
    metrics.in_flight("soneium").inc()
    metrics.in_flight("soneium").inc()
    metrics.in_flight("soneium").dec()
    assert value(metrics, "in_flight", chain="soneium") == 1


def test_gauges_whose_truth_lies_elsewhere_are_read_at_each_scrape() -> None:
    metrics = gate_metrics()
    counts = {("soneium", "in_force"): 3, ("soneium", "removed"): 1}
    metrics.before_each_scrape(lambda: metrics.sessions(counts))
    assert value(metrics, "sessions", chain="soneium", state="in_force") == 3
    del counts["soneium", "removed"]
    assert value(metrics, "sessions", chain="soneium", state="removed") == 0


def test_state_of_the_ledger_the_audit_and_the_upstreams_is_shown() -> None:
    metrics = gate_metrics()
    metrics.ledger_writable(writable=True)
    metrics.audit_state(queued=7, writable=True)
    metrics.audit_dropped(2)
    metrics.upstream_up("soneium-1", up=True)
    metrics.failed_open("node")
    metrics.state_unavailable("ledger")
    metrics.disconnected("soneium")
    metrics.disagreed("soneium")
    metrics.chain_state("soneium", 2.5, stale=True)
    assert value(metrics, "ledger_writable") == 1
    assert value(metrics, "audit_queue") == 7
    assert value(metrics, "audit_writable") == 1
    assert value(metrics, "audit_dropped_total") == 2
    assert value(metrics, "upstream_up", upstream="soneium-1") == 1
    assert value(metrics, "fail_open_total", what="node") == 1
    assert value(metrics, "state_unavailable_total", what="ledger") == 1
    assert value(metrics, "client_disconnects_total", chain="soneium") == 1
    assert value(metrics, "disagreements_total", chain="soneium") == 1
    assert value(metrics, "watch_lag_seconds", chain="soneium") == 2.5
    assert value(metrics, "chain_state_stale", chain="soneium") == 1
    metrics.upstream_up("soneium-1", up=False)
    assert value(metrics, "upstream_up", upstream="soneium-1") == 0


def series(metrics: Metrics) -> set[bytes]:
    return {line.rpartition(b" ")[0] for line in metrics.render().splitlines()}


SHARED = gate_metrics()


@given(st.lists(st.text(), min_size=4, max_size=4))
def test_no_text_off_the_wire_makes_a_new_series(texts: list[str]) -> None:
    metrics = SHARED
    before = series(metrics)
    chain, method_class, outcome, client = texts
    metrics.request(chain, method_class, outcome, client)
    metrics.in_flight(chain).inc()
    metrics.in_flight(chain).dec()
    metrics.decided(chain, OUT_OF_SCOPE, Mode.ENFORCE, 0.1)
    metrics.upstream_answered(chain, 0.1)
    metrics.upstream_up(chain, up=True)
    metrics.disconnected(chain)
    metrics.disagreed(chain)
    metrics.chain_state(chain, 1.0, stale=False)
    metrics.failed_open(chain)
    metrics.state_unavailable(chain)
    metrics.sessions({(chain, outcome): 1})
    metrics.rules_decided([RuleName(chain, Mode.ENFORCE, Severity.LOW)], [client])
    assert series(metrics) == before


def test_what_is_outside_a_closed_set_is_counted_as_other() -> None:
    metrics = gate_metrics()
    metrics.request("mainnet", "teleport", "vanished", "0xdead")
    assert value(metrics, "requests_total", chain="other", method_class="other", outcome="other") == 1
    assert value(metrics, "client_requests_total", client="other", outcome="other") == 1


def test_every_series_of_ours_carries_the_prefix() -> None:
    names = {name for name, _ in scrape(gate_metrics())}
    assert {name for name in names if not name.startswith("sessiongate_")} <= {
        name for name in names if name.startswith("process_")
    }


def test_two_gates_in_one_program_do_not_share_numbers() -> None:
    first, second = gate_metrics(), gate_metrics()
    first.request("soneium", "submit", "answered")
    assert value(second, "requests_total", chain="soneium", method_class="submit", outcome="answered") == 0


def test_the_labels_are_the_rooms_own_closed_sets() -> None:
    assert {each.value for each in MethodClass} <= set(METHOD_CLASSES)
    assert {each.value for each in Status} <= set(SESSION_STATES)
