"""Prints the dashboards of `boards.yaml` into `dashboards/`: `python deploy/grafana/build.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
BUILD_INFO = "sessiongate_build_info"
REQUESTS = "sessiongate_requests_total"

Panel = Mapping[str, Any]
Board = Mapping[str, Any]


def expression(text: str) -> str:
    """With what the short forms stand for."""
    for short, whole in (
        ("{@", '{instance=~"$instance", chain=~"$chain"'),
        ("{$", '{instance=~"$instance"'),
        (", $}", ', instance=~"$instance"}'),
        ("[~]", "[$__rate_interval]"),
        ("[#]", "[$__range]"),
    ):
        text = text.replace(short, whole)
    return text


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    defaults: dict[str, Any] = {"color": {"mode": "palette-classic"}, "unit": panel["unit"], "mappings": []}
    if panel["kind"] == "timeseries":
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
    if panel["kind"] == "state-timeline":
        defaults["color"] = {"mode": "thresholds"}
        defaults["custom"] = {"fillOpacity": 70, "lineWidth": 0}
        steps = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
        if "1 " in panel["text"]:
            steps = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return defaults


_REDUCE = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _REDUCE, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
    "bargauge": {"reduceOptions": _REDUCE, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True},
    "state-timeline": {
        "showValue": "never",
        "mergeValues": True,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
HIDDEN = {"Time": True, "Value": True, "__name__": True, "job": True}


def _panel(panel: Panel, number_: int, x: int, y: int) -> dict[str, Any]:
    instant = panel["kind"] in ("bargauge", "table")
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": expression(query["expr"]),
            "legendFormat": query["legend"],
            "range": not instant,
            "instant": instant,
            **({"format": "table"} if panel["kind"] == "table" else {}),
        }
        for index, query in enumerate(panel["queries"])
    ]
    made: dict[str, Any] = {
        "id": number_,
        "type": panel["kind"],
        "title": panel["title"],
        "description": panel["text"],
        "datasource": SOURCE,
        "gridPos": {"h": panel["height"], "w": panel["width"], "x": x, "y": y},
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": OPTIONS[panel["kind"]],
        "targets": targets,
    }
    if panel["kind"] == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": HIDDEN}}]
    return made


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard(board: Board) -> dict[str, Any]:
    """As Grafana takes it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in board["rows"]:
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row["row"],
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        y, x, tallest = y + 1, 0, 0
        for panel in row["panels"]:
            if x + panel["width"] > 24:
                y, x, tallest = y + tallest, 0, 0
            panels.append(_panel(panel, len(panels) + 1, x, y))
            x, tallest = x + panel["width"], max(tallest, panel["height"])
        y += tallest
    firing = 'ALERTS{alertname=~"Sessiongate.*", alertname!="SessiongateHeartbeat", alertstate="firing"}'
    return {
        "uid": board["uid"],
        "title": board["title"],
        "description": board["text"],
        "tags": ["sessiongate"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "tags": ["sessiongate"], "title": "sessiongate", "asDropdown": True}],
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _variable("instance", "Gate", f"label_values({BUILD_INFO}, instance)"),
                _variable("chain", "Chain", f"label_values({REQUESTS}, chain)"),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": firing,
                    "step": "60s",
                    "titleFormat": "{{alertname}}",
                    "tagKeys": "severity,chain,upstream",
                }
            ]
        },
        "panels": panels,
    }


def printed() -> dict[str, str]:
    """Every dashboard, by the name of its file."""
    boards = yaml.safe_load((HERE / "boards.yaml").read_text(encoding="utf-8"))
    return {f"{board['uid']}.json": json.dumps(dashboard(board), indent=1) + "\n" for board in boards}


if __name__ == "__main__":
    for name, text in printed().items():
        (HERE / "dashboards" / name).write_text(text, encoding="utf-8")
