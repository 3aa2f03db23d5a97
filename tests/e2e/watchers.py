"""Prometheus and Alertmanager beside a gate on this machine, without containers, by the configurations we ship."""

from __future__ import annotations

import json
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.pace import shipped_rules
from tests.e2e.children import Child, is_ok
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
_OF_LATE = "5s"


def program(name: str) -> str | None:
    """Where a program is, also where Debian puts those of administrators."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass(frozen=True)
class Watchers:
    """The two, and where they listen."""

    prometheus: str
    alertmanager: str

    def firing(self) -> Mapping[str, Mapping[str, Any]]:
        """The newest alert of each name that Alertmanager holds."""
        return {alert["labels"]["alertname"]: alert for alert in _get(f"{self.alertmanager}/api/v2/alerts")}

    def all_firing(self) -> set[tuple[str, str]]:
        """Every alert that Alertmanager holds: its name, and whose it is (the instance; empty where it names none)."""
        found = (alert["labels"] for alert in _get(f"{self.alertmanager}/api/v2/alerts"))
        return {(labels["alertname"], labels.get("instance", "")) for labels in found}

    def is_over(self, alerts: Collection[str], instance: str) -> bool:
        """Whether none of these is held of that gate, nor fires nor is about to, though it was scraped every time of
        late: of what is not scraped nothing is told, and that is not over."""
        pending = _get(f"{self.prometheus}/api/v1/alerts")["data"]["alerts"]
        told = {(each["labels"]["alertname"], each["labels"].get("instance", "")) for each in pending}
        wanted = {(alert, instance) for alert in alerts}
        scraped = self.value(f'min_over_time(up{{instance="{instance}"}}[{_OF_LATE}])')
        return scraped == 1 and not wanted & (told | self.all_firing())

    def page(self, name: str) -> str:
        """Where Prometheus shows people its graphs or alerts: Debian's package has the classic pages alone."""
        usual = f"{self.prometheus}/{name}"
        return usual if is_ok(usual) else f"{self.prometheus}/classic/{name}"

    def value(self, query: str) -> float:
        """What Prometheus answers to a query, all series added up; 0 where there are none."""
        found = _get(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return sum(float(each["value"][1]) for each in found["data"]["result"])


def are_installed() -> bool:
    """Whether both can be started here."""
    return program("prometheus") is not None and program("prometheus-alertmanager") is not None


@contextmanager
def watching(
    folder: Path, alertmanager_port: int, *gates: str, pace: str = "1s", faster: int = 1, bounds: bool = False
) -> Iterator[Watchers]:
    """Both, for as long as the context lasts; `gates` are admin listeners' hosts and ports, scraped at `pace`. The
    rules are those we ship, with durations so many times shorter; with `bounds` also those that ages are held to."""
    server, manager = program("prometheus"), program("prometheus-alertmanager")
    assert server is not None, "Debian: apt-get install prometheus"
    assert manager is not None, "Debian: apt-get install prometheus-alertmanager"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    told = Watchers(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{alertmanager_port}")
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    content["global"] = {"scrape_interval": pace, "scrape_timeout": pace, "evaluation_interval": pace}
    rules = folder / "alerts.yml"
    rules.write_text(yaml.safe_dump(shipped_rules(faster, bounds=bounds)))
    content["rule_files"] = [str(rules)]
    content["scrape_configs"][0]["static_configs"][0]["targets"] = list(gates)
    content["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager_port}"]
    configuration = folder / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(content))
    children = [
        Child.start(
            "alertmanager",
            [
                manager,
                f"--config.file={DEPLOY / 'alertmanager' / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{alertmanager_port}",
                "--cluster.listen-address=",
            ],
            folder / "alertmanager.log",
            cwd=folder,
        ),
        Child.start(
            "prometheus",
            [
                server,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder / "prometheus.log",
            cwd=folder,
        ),
    ]
    try:
        for child, url in zip(children, (told.alertmanager, told.prometheus), strict=True):
            child.wait_until(lambda url=url: is_ok(f"{url}/-/ready"), "readiness")  # type: ignore[misc]
        yield told
    finally:
        for child in reversed(children):
            child.stop()


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
        return json.load(response)
