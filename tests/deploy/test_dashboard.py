"""The dashboards show metrics that exist, in a form Grafana takes, and every query answers with numbers."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.server import AdminServer
from proxy.edge.telemetry.catalogue import page
from tests.deploy.conftest import DEPLOY
from tests.deploy.load import full_metrics, some_traffic
from tests.deploy.promql import missing_from, names_in
from tests.deploy.test_scrape import until, watched
from tests.edge.builders import FakeBackend

GRAFANA_PANELS = {"row", "timeseries", "stat", "bargauge", "state-timeline", "table"}


NAMES = ("sessiongate", "sessiongate-chain", "sessiongate-performance", "sessiongate-rules", "sessiongate-sessions")


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest, dashboards: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = dashboards[request.param]
    return found


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def notes(dashboard: dict[str, Any]) -> list[str]:
    return [note["expr"] for note in dashboard["annotations"]["list"]]


def test_the_five_dashboards_are_those_that_are_written_down(dashboards: dict[str, dict[str, Any]]) -> None:
    assert sorted(dashboards) == sorted(NAMES)
    spec = importlib.util.spec_from_file_location("build", DEPLOY / "grafana" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    printed: dict[str, str] = build.printed()
    assert {name: json.loads(text) for name, text in printed.items()} == {
        f"{uid}.json": dashboard for uid, dashboard in dashboards.items()
    }


def test_every_expression_stands_on_metrics_and_labels_that_exist(
    dashboard: dict[str, Any], exposed: dict[str, frozenset[str]]
) -> None:
    all_of_them = expressions(dashboard) + notes(dashboard)
    missing = {expression: list(missing_from(expression, exposed)) for expression in all_of_them}
    assert not {expression: what for expression, what in missing.items() if what}


def test_every_variable_reads_a_label_that_exists(
    dashboard: dict[str, Any], exposed: dict[str, frozenset[str]]
) -> None:
    queries = [each["definition"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert queries
    for query in queries:
        metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
        assert label in exposed[metric] | {"instance"}


def test_every_metric_of_ours_is_on_a_dashboard(
    dashboards: dict[str, dict[str, Any]], exposed: dict[str, frozenset[str]]
) -> None:
    shown = {name for each in dashboards.values() for text in expressions(each) for name in names_in(text).metrics}
    ours = {name for name in exposed if name.startswith("sessiongate_") and not name.endswith(("_sum", "_count"))}
    assert ours - shown == set()


def without_variables(expression: str, interval: str = "5m") -> str:
    for variable in ("$__rate_interval", "$__range"):
        expression = expression.replace(variable, interval)
    return expression.replace("$instance", ".*").replace("$chain", ".*")


def test_no_variable_is_used_that_is_not_defined(dashboard: dict[str, Any]) -> None:
    assert not [text for text in map(without_variables, expressions(dashboard)) if "$" in text]


async def test_every_query_of_every_panel_answers_with_numbers_under_a_scripted_load(
    dashboards: dict[str, dict[str, Any]], prometheus: str, tmp_path: Path
) -> None:
    metrics = full_metrics()
    server = AdminServer(FakeBackend(), metrics=metrics, audit=None, access=AdminAccess())
    port = await server.start("127.0.0.1", 0)
    try:
        async with watched(f"127.0.0.1:{port}", prometheus, tmp_path) as watching:
            wanted = {without_variables(text, "10s") for each in dashboards.values() for text in expressions(each)}
            bad: dict[str, Any] = {}

            async def answers() -> bool:
                some_traffic(metrics)
                bad.clear()
                for text in wanted:
                    found = (await watching.api("query", query=text))["result"]
                    values = [float(each["value"][1]) for each in found]
                    if not values or any(isnan(value) for value in values):
                        bad[text] = values
                return not bad

            try:
                await until(answers)
            except AssertionError:
                raise AssertionError(bad) from None
    finally:
        await server.stop()


async def test_no_query_answers_with_what_is_no_number_where_nothing_happens_any_more(
    dashboards: dict[str, dict[str, Any]], prometheus: str, tmp_path: Path
) -> None:
    metrics = full_metrics()
    some_traffic(metrics)
    server = AdminServer(FakeBackend(), metrics=metrics, audit=None, access=AdminAccess())
    port = await server.start("127.0.0.1", 0)
    try:
        async with watched(f"127.0.0.1:{port}", prometheus, tmp_path) as watching:

            async def is_scraped_often() -> bool:
                return (await watching.value('count_over_time(up{job="sessiongate"}[1m])') or 0) >= 10

            await until(is_scraped_often)
            queries = {without_variables(text, "1s") for each in dashboards.values() for text in expressions(each)}
            odd = {
                text: each["metric"]
                for text in queries
                for each in (await watching.api("query", query=text))["result"]
                if isnan(float(each["value"][1]))
            }
            assert odd == {}
    finally:
        await server.stop()


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


def test_panels_ops_were_promised_are_there(dashboards: dict[str, dict[str, Any]]) -> None:
    titles = {panel["title"] for each in dashboards.values() for panel in each["panels"]}
    assert {
        "Requests by outcome",
        "Verdicts by code",
        "Decision p50 and p99",
        "Upstream p50 and p99",
        "In flight",
        "Sessions by state",
        "Bundler health",
        "Ends by why",
        "Oldest in flight",
        "Reverted share",
        "Inclusion p50 and p99",
        "Past the gate",
        "Budgets of rules used",
        "State age",
        "Loop lag",
        "Queues",
        "Disk free",
    } <= titles


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    assert (DEPLOY / "METRICS.md").read_text() == page(), "python -m proxy.edge.telemetry.catalogue > deploy/METRICS.md"


def test_every_metric_named_anywhere_in_deploy_exists(exposed: dict[str, frozenset[str]]) -> None:
    texts = [path.read_text() for path in DEPLOY.rglob("*") if path.suffix in (".md", ".yml", ".yaml", ".json")]
    named = {name for text in texts for name in re.findall(r"\bsessiongate_[a-z_]+", text)}
    bases = {name.removesuffix(end) for name in exposed for end in ("_bucket", "_sum", "_count", "")} | set(exposed)
    assert named - bases - {"sessiongate_"} == set()


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
