"""Every alert can fire, can stay quiet, and stands on a metric that exists."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import missing_from, names_in

CASES = DEPLOY / "prometheus" / "alerts.test.yml"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_promtool_takes_configuration_and_rules(promtool: str) -> None:
    done = run(promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_every_case_of_every_alert_comes_out_as_written(promtool: str) -> None:
    done = run(promtool, "test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_a_case_that_is_wrong(promtool: str, tmp_path: Path) -> None:
    text = CASES.read_text().replace("1x10 0x10", "1x20").replace("alerts.yml", str(DEPLOY / "prometheus/alerts.yml"))
    wrong = tmp_path / "wrong.test.yml"
    wrong.write_text(text)
    assert run(promtool, "test", "rules", wrong).returncode != 0


def test_every_alert_has_a_case_that_fires_and_one_that_does_not(alerts: list[dict[str, Any]]) -> None:
    firing: Counter[str] = Counter()
    quiet: Counter[str] = Counter()
    for test in yaml.safe_load(CASES.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            (firing if case["exp_alerts"] else quiet)[case["alertname"]] += 1
    names = {alert["alert"] for alert in alerts}
    assert names == set(firing)
    assert names == set(quiet)


def test_every_alert_stands_on_metrics_and_labels_that_exist(
    alerts: list[dict[str, Any]], exposed: dict[str, frozenset[str]]
) -> None:
    missing = {alert["alert"]: list(missing_from(alert["expr"], exposed)) for alert in alerts}
    assert not {name: what for name, what in missing.items() if what}


def test_every_alert_says_how_bad_it_is_and_what_to_do(alerts: list[dict[str, Any]]) -> None:
    for alert in alerts:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["description"].endswith(".")


def test_the_alerts_operators_were_promised_are_there(alerts: list[dict[str, Any]]) -> None:
    promised = {
        "SessiongateDown",
        "SessiongateRejectionSpike",
        "SessiongateRevokedSessionUsed",
        "SessiongateUpstreamDown",
        "SessiongateLedgerNotWritable",
        "SessiongateAuditRecordsLost",
    }
    assert promised <= {alert["alert"] for alert in alerts}


@pytest.mark.parametrize(
    ("expression", "missing"),
    [
        ("sessiongate_upstream_up == 0", []),
        ('sum by (chain) (rate(sessiongate_requests_total{chain=~"$chain"}[5m]))', []),
        ("sessiongate_upstream_upp == 0", ["metric sessiongate_upstream_upp"]),
        ('sessiongate_upstream_up{chain="a"} == 0', ["label chain of sessiongate_upstream_up"]),
        ("sum by (sender) (sessiongate_upstream_up)", ["grouping label sender"]),
        ("vector(1)", ["no metric in vector(1)"]),
    ],
)
def test_a_metric_or_label_that_does_not_exist_is_noticed(
    expression: str, missing: list[str], exposed: dict[str, frozenset[str]]
) -> None:
    assert list(missing_from(expression, exposed)) == missing


def test_a_metric_name_inside_a_label_value_is_no_metric() -> None:
    assert names_in('up{job="sessiongate_requests_total"}').metrics == {"up"}
