"""A real Prometheus, with the configuration and the rules we ship, scraping a real admin listener."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.server import AdminServer
from proxy.edge.telemetry.metrics import Metrics
from proxy.judge.verdict import Allow, Mode
from tests.deploy.conftest import DEPLOY
from tests.edge.builders import REVOKED, FakeBackend, gate_metrics
from tests.ports import free_port

PATIENCE_SECONDS = 180.0


class Watching:
    """A Prometheus that scrapes one gate, asked over its HTTP API."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def api(self, path: str, **parameters: str) -> Any:
        async with self._http.get(f"{self._url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def value(self, query: str) -> float | None:
        """The value of a query with one result, None when there is none."""
        result = (await self.api("query", query=query))["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    async def is_ready(self) -> bool:
        try:
            async with self._http.get(f"{self._url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def has_scraped(self) -> bool:
        return await self.value('up{job="sessiongate"}') == 1

    async def firing(self) -> set[str]:
        alerts = (await self.api("alerts"))["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, "not reached in time"
        await asyncio.sleep(0.1)


def shipped_configuration(gate: str, pace: str = "200ms") -> dict[str, Any]:
    """The configuration as shipped, but for addresses and for the pace."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    content["global"] = {"scrape_interval": pace, "scrape_timeout": pace, "evaluation_interval": pace}
    content["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in content["rule_files"]]
    content["scrape_configs"][0]["static_configs"][0]["targets"] = [gate]
    del content["alerting"]
    return content


@asynccontextmanager
async def watched(gate: str, prometheus: str, folder: Path, pace: str = "200ms") -> AsyncIterator[Watching]:
    configuration = folder / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(shipped_configuration(gate, pace)))
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            prometheus,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            stdout=output,
            stderr=output,
        )
    try:
        async with aiohttp.ClientSession() as http:
            watching = Watching(http, f"http://{address}")
            await until(watching.is_ready)
            await until(watching.has_scraped)
            yield watching
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def gate() -> AsyncIterator[tuple[str, Metrics]]:
    """An admin listener and the metrics behind it."""
    metrics = gate_metrics()
    metrics.ledger_writable(writable=True)
    metrics.audit_state(queued=0, writable=True)
    server = AdminServer(FakeBackend(), metrics=metrics, audit=None, access=AdminAccess())
    port = await server.start("127.0.0.1", 0)
    yield f"127.0.0.1:{port}", metrics
    await server.stop()


async def test_prometheus_reads_every_series_and_loads_every_rule(
    gate: tuple[str, Metrics], prometheus: str, tmp_path: Path, alerts: list[dict[str, Any]], exposed: dict[str, Any]
) -> None:
    address, metrics = gate
    async with watched(address, prometheus, tmp_path) as watching:
        metrics.decided("soneium", Allow(), Mode.ENFORCE, 0.00004)
        metrics.request("soneium", "submit", "answered", "trading-dapp")
        labels = 'chain="soneium",method_class="submit",outcome="answered"'

        async def has_arrived() -> bool:
            return await watching.value(f"sessiongate_requests_total{{{labels}}}") == 1

        await until(has_arrived)
        names = set(await watching.api("label/__name__/values"))
        shown = {
            sample.name
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
        }
        assert len(shown & exposed.keys()) > 50
        assert shown <= names
        assert await watching.value('sessiongate_decision_seconds_bucket{chain="soneium",le="0.0001"}') == 1
        groups = (await watching.api("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [rule["name"] for rule in rules] == [alert["alert"] for alert in alerts]
        assert not [rule["lastError"] for rule in rules if rule.get("lastError")]


async def test_a_revoked_session_that_is_used_once_raises_the_alert(
    gate: tuple[str, Metrics], prometheus: str, tmp_path: Path
) -> None:
    address, metrics = gate
    async with watched(address, prometheus, tmp_path) as watching:
        assert "SessiongateRevokedSessionUsed" not in await watching.firing()
        metrics.decided("soneium", REVOKED, Mode.ENFORCE, 0.00004)

        async def fires() -> bool:
            return "SessiongateRevokedSessionUsed" in await watching.firing()

        await until(fires)
