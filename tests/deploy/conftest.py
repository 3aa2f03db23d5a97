"""Real Prometheus programs, and the files they are held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.load import full_metrics

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def promtool(program: Callable[[str, str], str]) -> str:
    return program("promtool", "prometheus")


@pytest.fixture(scope="session")
def prometheus(program: Callable[[str, str], str]) -> str:
    return program("prometheus", "prometheus")


@pytest.fixture(scope="session")
def alertmanager(program: Callable[[str, str], str]) -> str:
    return program("prometheus-alertmanager", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def amtool(program: Callable[[str, str], str]) -> str:
    return program("amtool", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def alerts() -> list[dict[str, Any]]:
    """The alerting rules, in file order."""
    content = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard, by its uid."""
    folder = DEPLOY / "grafana" / "dashboards"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


@pytest.fixture(scope="session")
def exposed() -> dict[str, frozenset[str]]:
    """The labels of every metric a gate exposes, by name."""
    labels: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(full_metrics().render().decode()):
        for sample in family.samples:
            labels[sample.name] = labels.get(sample.name, frozenset()) | sample.labels.keys()
    return labels
