"""The series of rules are those of the set in force, from the first scrape on and not longer."""

from __future__ import annotations

from collections import deque

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.rule_metrics import ReloadReason, Result, RuleInfo, RuleName
from proxy.judge.counts import CountKey
from proxy.judge.verdict import Mode
from proxy.session.lint.findings import Severity
from tests.edge.builders import gate_metrics

SPENDING = RuleName("usdc-per-day", Mode.ENFORCE, Severity.CRITICAL)
SPENDING_IN_SHADOW = SPENDING._replace(mode=Mode.SHADOW)
BURST = RuleName("burst", Mode.ALERT, Severity.LOW)


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels, in the order of their names; `other` left out."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == f"sessiongate_{name}" and "other" not in sample.labels.values()
    }


def other(metrics: Metrics) -> float:
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "sessiongate_rule_hits_total" and sample.labels["mode"] == "other"
    ]
    return found


@pytest.fixture
def metrics() -> Metrics:
    metrics = gate_metrics()
    metrics.rules.in_force([SPENDING, BURST], "d1")
    return metrics


def test_every_rule_in_force_has_its_series_at_zero_before_it_fires(metrics: Metrics) -> None:
    assert samples(metrics, "rule_hits_total") == {
        ("enforce", "usdc-per-day", "critical"): 0,
        ("alert", "burst", "low"): 0,
    }
    assert samples(metrics, "rule_opened_total") == {("usdc-per-day",): 0, ("burst",): 0}
    assert samples(metrics, "rules_loaded") == {(): 2}
    assert set(samples(metrics, "rules_reload_total").values()) == {0}


def test_a_hit_counts_for_its_rule_and_for_no_other(metrics: Metrics) -> None:
    metrics.rules_decided([SPENDING, BURST], ["burst"])
    metrics.rules_decided([SPENDING])
    assert samples(metrics, "rule_hits_total") == {
        ("enforce", "usdc-per-day", "critical"): 2,
        ("alert", "burst", "low"): 1,
    }
    assert samples(metrics, "rule_opened_total") == {("usdc-per-day",): 0, ("burst",): 1}


def test_a_rule_that_is_gone_leaves_no_series_and_the_others_keep_their_numbers(metrics: Metrics) -> None:
    metrics.rules_decided([SPENDING, BURST])
    metrics.rules.in_force([BURST], "d2")
    assert samples(metrics, "rule_hits_total") == {("alert", "burst", "low"): 1}
    assert samples(metrics, "rule_opened_total") == {("burst",): 0}
    assert samples(metrics, "rules_loaded") == {(): 1}


def test_a_rule_in_another_mode_begins_a_series_but_its_hits_since_the_start_go_on(metrics: Metrics) -> None:
    metrics.rules_decided([SPENDING])
    metrics.rules.in_force([SPENDING_IN_SHADOW, BURST], "d2")
    metrics.rules_decided([SPENDING_IN_SHADOW])
    assert samples(metrics, "rule_hits_total")["shadow", "usdc-per-day", "critical"] == 1
    assert ("enforce", "usdc-per-day", "critical") not in samples(metrics, "rule_hits_total")
    assert metrics.rules.hits_of("usdc-per-day") == 2


def test_a_hit_by_a_set_that_a_reload_replaced_meanwhile_is_counted_and_makes_no_series(metrics: Metrics) -> None:
    metrics.rules.in_force([BURST], "d2")
    metrics.rules_decided([SPENDING], ["usdc-per-day"])
    assert samples(metrics, "rule_hits_total") == {("alert", "burst", "low"): 0}
    assert samples(metrics, "rule_opened_total") == {("burst",): 0}
    assert other(metrics) == 1
    assert metrics.rules.hits_of("usdc-per-day") == 0


def test_one_series_names_the_set_in_force() -> None:
    metrics = gate_metrics()
    assert samples(metrics, "rules_info") == {("none",): 1}
    for digest in ("d1", "d2", "d2"):
        metrics.rules.in_force([BURST], digest)
        assert samples(metrics, "rules_info") == {(digest,): 1}


def test_the_last_success_and_its_time_outlive_a_failure(metrics: Metrics) -> None:
    metrics.rules.read(good=True, now=1_700_000_000.5)
    metrics.rules.read(good=False, now=1_700_000_100.0)
    metrics.rules.reloaded(ReloadReason.FILE, Result.FAILURE)
    assert samples(metrics, "rules_last_reload_successful") == {(): 0}
    assert samples(metrics, "rules_last_reload_success_timestamp_seconds") == {(): 1_700_000_000.5}
    assert samples(metrics, "rules_reload_total")["file", "failure"] == 1


def test_a_rule_in_force_says_who_owns_it_and_a_reload_takes_it_back() -> None:
    metrics = gate_metrics()
    info = RuleInfo("cap", Mode.ENFORCE, Severity.CRITICAL, "treasury", "https://run.example/cap")
    metrics.rules.described([info])
    line = 'sessiongate_rule_info{mode="enforce",owner="treasury",rule="cap",runbook="https://run.example/cap",'
    assert line in metrics.render().decode()
    metrics.rules.described([info._replace(owner="ops")])
    assert line not in metrics.render().decode()


def test_the_fullest_window_met_stands_for_its_rule_for_as_long_as_it_is_that_full() -> None:
    metrics, alice, bob = gate_metrics(), CountKey(b"cap", b"alice"), CountKey(b"cap", b"bob")
    metrics.rules.described([RuleInfo("cap", Mode.ENFORCE, Severity.HIGH, "", "")])

    def shown() -> float:
        (line,) = [each for each in metrics.render().decode().splitlines() if "_budget_used_ratio{" in each]
        return float(line.split()[-1])

    metrics.rules.budget_used("cap", 90, 100, alice)
    metrics.rules.budget_used("cap", 10, 100, bob)
    assert shown() == 0.9
    metrics.rules.budget_used("cap", 95, 100, bob)
    assert shown() == 0.95
    metrics.rules.budget_used("cap", 94, 100, bob)
    assert shown() == 0.94
    deque(metrics.rules.measuring({bob: 0.3}.get), maxlen=0)
    assert shown() == 0.3
    metrics.rules.budget_used("cap", 40, 100, alice)
    assert shown() == 0.4
    deque(metrics.rules.measuring(lambda _: None), maxlen=0)
    assert shown() == 0
    metrics.rules.budget_used("gone", 5, 10, alice)
    metrics.rules.budget_used("cap", 5, 0, alice)
    assert shown() == 0
    metrics.rules.described([])
    assert "_budget_used_ratio{" not in metrics.render().decode()
    deque(metrics.rules.measuring(lambda _: 1.0), maxlen=0)
    assert "_budget_used_ratio{" not in metrics.render().decode()


def test_windows_are_measured_in_pieces_and_what_is_met_meanwhile_stands() -> None:
    metrics, infos = gate_metrics(), many(300, Severity.LOW)
    metrics.rules.described(infos)
    for info in infos:
        metrics.rules.budget_used(info.rule, 90, 100, CountKey(info.rule.encode(), b"alice"))
    measuring = metrics.rules.measuring(lambda _: 0.1)
    next(measuring)
    metrics.rules.budget_used("rule-299", 95, 100, CountKey(b"rule-299", b"bob"))
    assert sum(1 for _ in measuring) >= 4
    shown = samples(metrics, "rule_budget_used_ratio")
    assert shown.pop(("rule-299", "low")) == 0.95
    assert set(shown.values()) == {0.1}


def test_series_are_made_and_taken_away_in_pieces_and_end_as_in_one() -> None:
    before, after = many(700, Severity.LOW), many(900, Severity.HIGH)[300:]
    whole, pieces = gate_metrics(), gate_metrics()
    for metrics in (whole, pieces):
        metrics.rules.in_force([name_of(info) for info in before], "d1")
        metrics.rules.described(before)
    whole.rules.in_force([name_of(info) for info in after], "d2")
    whole.rules.described(after)
    count = 0
    for _ in pieces.rules.welcome([name_of(info) for info in after]):
        count += 1
    for _ in pieces.rules.going_in_force([name_of(info) for info in after], "d2"):
        count += 1
    for _ in pieces.rules.describing(after):
        count += 1
        # at no moment do two describe one rule
        shown = [labels[2] for labels in samples(pieces, "rule_info")]
        assert len(shown) == len(set(shown))
    assert count > 50
    for name in ("rule_hits_total", "rule_opened_total", "rule_info", "rules_loaded", "rules_info"):
        assert samples(pieces, name) == samples(whole, name)


def test_a_set_that_takes_its_place_meanwhile_is_what_is_told() -> None:
    metrics, first, second = gate_metrics(), many(300, Severity.LOW), many(200, Severity.HIGH)
    metrics.rules.in_force([name_of(info) for info in many(500, Severity.MEDIUM)], "d0")
    for going in (
        metrics.rules.going_in_force([name_of(info) for info in first], "d1"),
        metrics.rules.describing(first),
    ):
        next(going)
        metrics.rules.in_force([name_of(info) for info in second], "d2")
        metrics.rules.described(second)
        for _ in going:
            pass
    assert len(samples(metrics, "rule_hits_total")) == len(samples(metrics, "rule_info")) == 200
    assert {severity for *_, severity in samples(metrics, "rule_info")} == {"high"}
    assert samples(metrics, "rules_info") == {("d2",): 1}


def many(count: int, severity: Severity) -> list[RuleInfo]:
    return [RuleInfo(f"rule-{number}", Mode.ALERT, severity, "ops", "") for number in range(count)]


def name_of(info: RuleInfo) -> RuleName:
    return RuleName(info.rule, info.mode, info.severity)
