"""Every alert can fire, can stay quiet, and stands on a metric that exists."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from proxy.cli import application
from proxy.edge.alerts.message import ALERT_NAMES
from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import missing_from, names_in
from tests.patience import PATIENCE_SECONDS

RUNBOOK = DEPLOY / "RUNBOOK.md"
CASES = DEPLOY / "prometheus" / "alerts.test.yml"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


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
        of_the_rule = "severity" in str(_groupings(alert["expr"]))
        assert of_the_rule or alert["labels"]["severity"] in ("none", "warning", "critical")
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["description"].endswith(".")


def _groupings(expression: str) -> frozenset[str]:
    return names_in(expression).grouped


def sections() -> dict[str, str]:
    """What the runbook says of each alert."""
    parts = RUNBOOK.read_text().split("\n### ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2].partition("\n## ")[0].strip() for part in parts}


def test_every_alert_has_its_section_of_the_runbook_and_no_section_is_of_nothing(alerts: list[dict[str, Any]]) -> None:
    names = [alert["alert"] for alert in alerts]
    assert list(sections()) == [*names, *ALERT_NAMES.values()]
    assert all(len(text.split()) > 5 for text in sections().values())
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"deploy/RUNBOOK.md#{alert['alert'].lower()}"


def test_no_happening_is_named_as_an_alert_of_prometheus_is(alerts: list[dict[str, Any]]) -> None:
    assert not {alert["alert"] for alert in alerts} & set(ALERT_NAMES.values())


def test_whatever_the_gate_tells_itself_the_rules_leave_to_it(alerts: list[dict[str, Any]]) -> None:
    left = {alert["alert"] for alert in alerts if "sessiongate_alerts_configured" in alert["expr"]}
    assert left == {
        "SessiongateRevokedSessionUsed",
        "SessiongateWouldReject",
        "SessiongateFailingOpen",
        "SessiongateRuleFired",
        "SessiongateRuleFailingOpen",
        "SessiongateNeverMined",
        "SessiongateUsedPastGate",
    }


def test_what_is_left_to_a_gate_is_left_to_it_for_as_long_as_it_is_looked_back_on(alerts: list[dict[str, Any]]) -> None:
    """A gate that has just gone away is not told of again by what it counted before."""
    ranges = {
        alert["alert"]: re.findall(r"(increase|max_over_time)\([^)]*\[(\w+)\]\)", alert["expr"])
        for alert in alerts
        if "sessiongate_alerts_configured" in alert["expr"]
    }
    assert all({name for name, _ in found} == {"increase", "max_over_time"} for found in ranges.values()), ranges
    assert all(len({length for _, length in found}) == 1 for found in ranges.values()), ranges


COMMAND = re.compile(r"`sessiongate ([^`]+)`")


def test_every_command_in_the_runbook_and_in_the_alerts_is_one_that_exists(alerts: list[dict[str, Any]]) -> None:
    texts = [RUNBOOK.read_text(), *(alert["annotations"]["description"] for alert in alerts)]
    stand_ins = {"PERMISSION_ID": "0x" + "11" * 32, "ACCOUNT": "0x" + "22" * 20, "RULE": "a-rule", "NAME": "soc"}
    typed = {" ".join(command.split()) for text in texts for command in COMMAND.findall(text)}
    assert len(typed) > 8
    for command in typed:
        arguments = [stand_ins.get(word, word) for word in command.replace("{{ $labels.rule }}", "a-rule").split()]
        if arguments[0] == "check":
            arguments = ["check"]
        done = CliRunner().invoke(application, [*arguments, "--help"])
        assert done.exit_code == 0, (command, done.output)
        shown = " ".join(done.output.split())
        assert all(word in shown for word in arguments if word.startswith("--")), (command, shown)


@pytest.mark.parametrize("name", ["alertmanager.yml", "examples.yml"])
def test_alertmanager_takes_its_configuration_and_the_examples(amtool: str, name: str) -> None:
    done = run(amtool, "check-config", DEPLOY / "alertmanager" / name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "SessiongateHeartbeat", "severity": "none"}, "heartbeat"),
        ({"alertname": "SessiongateRuleHit", "severity": "critical"}, "chat-and-mail"),
        ({"alertname": "SessiongateRuleHit", "severity": "medium", "tags": ",money,spend,"}, "treasury,chat"),
        ({"alertname": "SessiongateRuleHit", "severity": "medium", "tags": ",moneyed,"}, "chat"),
    ],
)
def test_the_examples_lead_each_alert_where_they_say(amtool: str, labels: dict[str, str], receiver: str) -> None:
    pairs = [f"{name}={value}" for name, value in labels.items()]
    config = f"--config.file={DEPLOY / 'alertmanager' / 'examples.yml'}"
    done = run(amtool, "config", "routes", "test", config, *pairs)
    assert (done.returncode, done.stdout.strip()) == (0, receiver), done.stderr


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
        ('max by (chain) (label_replace(sessiongate_upstream_up{upstream!~"a"}, "chain", "$1", "upstream", "b"))', []),
        ("vector(1)", ["no metric in vector(1)"]),
    ],
)
def test_a_metric_or_label_that_does_not_exist_is_noticed(
    expression: str, missing: list[str], exposed: dict[str, frozenset[str]]
) -> None:
    assert list(missing_from(expression, exposed)) == missing


def test_a_metric_name_inside_a_label_value_is_no_metric() -> None:
    assert names_in('up{job="sessiongate_requests_total"}').metrics == {"up"}
