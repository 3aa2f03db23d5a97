"""The dashboard shows metrics that exist, in a form Grafana takes."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import missing_from, names_in

GRAFANA_PANELS = {"row", "timeseries", "stat", "bargauge", "state-timeline", "table"}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions(dashboard: dict[str, Any]) -> list[str]:
    shown = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    noted = [note["expr"] for note in dashboard["annotations"]["list"] if "expr" in note]
    return shown + noted


def test_every_expression_stands_on_metrics_and_labels_that_exist(
    dashboard: dict[str, Any], exposed: dict[str, frozenset[str]]
) -> None:
    missing = {expression: list(missing_from(expression, exposed)) for expression in expressions(dashboard)}
    assert not {expression: what for expression, what in missing.items() if what}


def test_every_variable_reads_a_label_that_exists(
    dashboard: dict[str, Any], exposed: dict[str, frozenset[str]]
) -> None:
    queries = [each["definition"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert queries
    for query in queries:
        metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
        assert label in exposed[metric] | {"instance"}


def test_every_metric_of_ours_is_on_the_dashboard(
    dashboard: dict[str, Any], exposed: dict[str, frozenset[str]]
) -> None:
    shown = frozenset().union(*(names_in(expression).metrics for expression in expressions(dashboard)))
    ours = {name for name in exposed if name.startswith("sessiongate_") and not name.endswith(("_sum", "_count"))}
    assert ours <= shown


def test_prometheus_can_read_every_expression(dashboard: dict[str, Any], promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": _without_variables(expression)}
        for number, expression in enumerate(expressions(dashboard))
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _without_variables(expression: str) -> str:
    for variable in ("$__rate_interval", "$__range"):
        expression = expression.replace(variable, "5m")
    return expression.replace("$instance", ".*").replace("$chain", ".*")


def test_no_variable_is_used_that_is_not_defined(dashboard: dict[str, Any]) -> None:
    assert not [text for text in map(_without_variables, expressions(dashboard)) if "$" in text]


def test_every_panel_takes_its_data_from_the_chosen_source(dashboard: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert dashboard["templating"]["list"][0]["name"] == "datasource"
    for panel in panels(dashboard):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])


def test_every_panel_has_a_title_a_sentence_and_a_kind_grafana_brings_along(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        assert panel["type"] in GRAFANA_PANELS
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith(".")


def test_panel_ids_are_unique_and_no_two_panels_overlap(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def test_panels_ops_were_promised_are_there(dashboard: dict[str, Any]) -> None:
    titles = {panel["title"] for panel in dashboard["panels"]}
    assert {
        "Requests by outcome",
        "Verdicts by code",
        "Decision p50 and p99",
        "Upstream p50 and p99",
        "In flight",
        "Sessions by state",
        "Bundler health",
    } <= titles


def test_the_data_source_and_the_dashboard_are_provisioned_where_compose_mounts_them() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "sessiongate.yaml").read_text())["providers"]
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    assert source["url"] == "http://prometheus:9090"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"


@pytest.mark.parametrize("name", ["instance", "chain"])
def test_a_variable_shows_everything_unless_narrowed(dashboard: dict[str, Any], name: str) -> None:
    (variable,) = [each for each in dashboard["templating"]["list"] if each["name"] == name]
    assert variable["includeAll"]
    assert variable["current"]["value"] == ["$__all"]
