"""Every alert we ship fires and resolves: real Prometheus and Alertmanager, the rule file with its durations scaled."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from proxy.edge.admin.guard import AdminAccess
from proxy.edge.admin.server import AdminServer
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.rule_metrics import RuleName
from proxy.judge.verdict import Mode
from proxy.ports import RequestOutcome
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, SESSION_ID
from tests.deploy.conftest import DEPLOY
from tests.deploy.load import ALICE, CHAIN, RULES, SOME, calm, full_metrics
from tests.deploy.pace import scaled, shipped_rules
from tests.deploy.test_scrape import shipped_configuration, until
from tests.edge.builders import OUT_OF_SCOPE, REVOKED, FakeBackend
from tests.ports import free_port
from tests.running_gate import running_gate

FASTER = 120


def test_only_durations_are_scaled_and_all_of_them() -> None:
    assert scaled("increase(a[1h] offset 5m) / 12 > 600", FASTER) == "increase(a[30000ms] offset 2500ms) / 12 > 600"
    left = [
        rule
        for group in shipped_rules(FASTER)["groups"]
        for rule in group["rules"]
        if re.search(r"\d[mh]\b", rule["expr"])
    ]
    assert left == []


@asynccontextmanager
async def running(program: str, folder: Path, *arguments: str) -> AsyncIterator[None]:
    with (folder / f"{Path(program).name}.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=output, stderr=output, cwd=folder)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


class Manager:
    """What an Alertmanager knows, asked over its API."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url

    async def alerts(self) -> list[dict[str, Any]]:
        try:
            async with self._http.get(f"{self.url}/api/v2/alerts") as response:
                found: list[dict[str, Any]] = await response.json()
                return found
        except aiohttp.ClientConnectionError:
            return []

    async def is_ready(self) -> bool:
        try:
            async with self._http.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in await self.alerts()}


@asynccontextmanager
async def watched(gate: str, prometheus: str, alertmanager: str, folder: Path) -> AsyncIterator[Manager]:
    """The two programs, with our configurations at another pace."""
    rules = folder / "alerts.yml"
    rules.write_text(yaml.safe_dump(shipped_rules(FASTER)))
    address, own = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    configuration = shipped_configuration(gate)
    configuration["rule_files"] = [str(rules)]
    configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    manager = (
        alertmanager,
        folder,
        f"--config.file={DEPLOY / 'alertmanager' / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    server = (
        prometheus,
        folder,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={own}",
        "--rules.alert.resend-delay=1s",
    )
    async with running(*manager), running(*server), aiohttp.ClientSession() as http:
        told = Manager(http, f"http://{address}")
        await until(told.is_ready)
        yield told


def lasting_trouble(metrics: Metrics) -> None:
    """Every gauge as it is when things are bad."""
    metrics.ledger_writable(writable=False)
    metrics.audit_state(queued=9, writable=False)
    metrics.upstream_up("soneium#0", up=False)
    metrics.upstream_up("soneium#1", up=False)
    metrics.upstream_rests("soneium#0", "send", True)
    metrics.chain_state(CHAIN, 90.0, stale=True)
    metrics.operations.in_flight(CHAIN, 9, 900.0)
    metrics.health.loop_lag(0.4)
    metrics.health.ledger_in_place(in_place=False)
    metrics.health.queue("audit", 9_000)
    metrics.health.disk("ledger", free=5 * SOME, total=100 * SOME)
    metrics.health.waiting("soc", 400.0)
    metrics.rules.read(good=False, now=1_700_000_000.0)
    metrics.rules.budget_used("cap", 90, 100, ALICE)


def passing_trouble(metrics: Metrics) -> None:
    """Everything that may happen, once."""
    for verdict, mode in ((REVOKED, Mode.ENFORCE), (OUT_OF_SCOPE, Mode.ALERT), (OUT_OF_SCOPE, Mode.ENFORCE)):
        for _ in range(10):
            metrics.decided(CHAIN, verdict, mode, 0.2)
    metrics.failed_open("policy")
    metrics.state_unavailable("node")
    metrics.request(CHAIN, "submit", RequestOutcome.INTERNAL_ERROR, "trading-dapp")
    metrics.audit_dropped(3)
    metrics.drifted(CHAIN)
    metrics.misnamed(CHAIN)
    metrics.rules_decided([RuleName(*RULES[0][:3])], ["cap"])
    metrics.operations.ended(CHAIN, "unmined")
    for _ in range(10):
        metrics.operations.mined(CHAIN, success=False, seconds=400.0)
    metrics.operations.past_gate(CHAIN, "use")
    metrics.health.dropped("soc", 2)


def mended(metrics: Metrics) -> None:
    calm(metrics)
    metrics.rules.read(good=True, now=1_700_000_001.0)
    metrics.rules.budget_used("cap", 10, 100, ALICE)


async def happening_on(metrics: Metrics, until_it: Callable[[], bool]) -> None:
    while not until_it():
        passing_trouble(metrics)
        await asyncio.sleep(0.2)


async def test_every_alert_fires_and_every_alert_resolves(
    prometheus: str, alertmanager: str, tmp_path: Path, alerts: list[dict[str, Any]]
) -> None:
    # a gate without `alerts:`: whatever it counts, Prometheus has to tell
    metrics = full_metrics(sinks=())
    names = {alert["alert"] for alert in alerts}
    server = AdminServer(FakeBackend(), metrics=metrics, audit=None, access=AdminAccess())
    port = free_port()
    seen: set[str] = set()
    async with watched(f"127.0.0.1:{port}", prometheus, alertmanager, tmp_path) as manager:

        async def has_seen(wanted: set[str]) -> bool:
            seen.update(await manager.firing())
            return wanted <= seen

        await until(lambda: has_seen({"SessiongateDown"}))
        await server.start("127.0.0.1", port)
        try:
            await until(lambda: has_seen({"SessiongateHeartbeat"}))
            lasting_trouble(metrics)
            over = False
            trouble = asyncio.ensure_future(happening_on(metrics, lambda: over))
            wanted = names - {"SessiongateAlertsLost", "SessiongateAlertsWaiting"}
            await until(lambda: has_seen(wanted))
            over = True
            await trouble
            mended(metrics)

            async def is_calm() -> bool:
                return await manager.firing() == {"SessiongateHeartbeat"}

            await until(is_calm)
        finally:
            await server.stop()


async def test_alerts_about_sinks_fire_at_a_gate_that_has_some_and_what_it_tells_itself_is_left_to_it(
    prometheus: str, alertmanager: str, tmp_path: Path
) -> None:
    metrics = full_metrics()
    server = AdminServer(FakeBackend(), metrics=metrics, audit=None, access=AdminAccess())
    port = await server.start("127.0.0.1", 0)
    async with watched(f"127.0.0.1:{port}", prometheus, alertmanager, tmp_path) as manager:
        try:
            await until_firing(manager, {"SessiongateHeartbeat"})
            lasting_trouble(metrics)
            over = False
            trouble = asyncio.ensure_future(happening_on(metrics, lambda: over))
            await until_firing(manager, {"SessiongateAlertsLost", "SessiongateAlertsWaiting", "SessiongateDiskFilling"})
            assert not await manager.firing() & {"SessiongateRuleFired", "SessiongateUsedPastGate"}
            over = True
            await trouble
            mended(metrics)

            async def is_calm() -> bool:
                return await manager.firing() == {"SessiongateHeartbeat"}

            await until(is_calm)
        finally:
            await server.stop()


async def until_firing(manager: Manager, wanted: set[str]) -> None:
    async def fires() -> bool:
        return wanted <= await manager.firing()

    await until(fires)


@pytest.mark.parametrize("name", ["alertmanager.yml"])
def test_the_shipped_prometheus_names_the_shipped_alertmanager(name: str) -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (target,) = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert target == "alertmanager:9093"
    assert (DEPLOY / "alertmanager" / name).exists()


async def test_what_a_gate_tells_itself_arrives_at_alertmanager_named_and_ends(
    alertmanager: str, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {id: small, description: d, mode: alert, severity: high, match: {session: true}}\n")
    address = f"127.0.0.1:{free_port()}"
    arguments = (
        f"--config.file={DEPLOY / 'alertmanager' / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    alerts = {"alertmanager": f"http://{address}", "resolve_after_seconds": "5", "resend_seconds": "0.2"}
    async with running(alertmanager, tmp_path, *arguments), aiohttp.ClientSession() as http:
        manager = Manager(http, f"http://{address}")
        await until(manager.is_ready)
        async with running_gate(rules=[str(rules)], alerts=alerts) as gate:
            gate.running.registry.put(known(TWICE))
            assert "result" in await gate.send(GOOD)
            await until_firing(manager, {"SessiongateRuleHit"})
            (alert,) = await manager.alerts()
            assert alert["labels"]["session"] == SESSION_ID
            assert alert["labels"]["severity"] == "high"
            assert alert["annotations"]["command"].startswith("sessiongate audit --permission-id 0x")

            async def is_over() -> bool:
                return await manager.firing() == set()

            await until(is_over)
