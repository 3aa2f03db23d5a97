"""What alerts of Prometheus stand on moves with what happens to a whole gate, and back when it is over."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from proxy.edge.storage.store import Store
from proxy.edge.telemetry.vigil import TICK_SECONDS
from proxy.errors import StateUnavailable
from tests.admission.builders import TWICE, known
from tests.app.builders import SESSION_ID, use_number
from tests.app.conftest import Hours
from tests.app.followed import settled
from tests.app.live_node import LiveNode
from tests.app.test_alerts import hook
from tests.deploy.conftest import DEPLOY
from tests.deploy.promql import names_in
from tests.edge.alerts.builders import recording_sink
from tests.edge.recording_bundler import Answer
from tests.patience import patiently
from tests.running_gate import RECEIPT, HonestBundler, RunningGate, request, running_gate

CHAIN = {"chain": "soneium"}
ROOT = Path(__file__).parents[2]


async def shown(gate: RunningGate, name: str, **labels: str) -> float | None:
    """A series of /metrics; `None` while there is none."""
    for line in (await gate.look("/metrics")).splitlines():
        series, _, value = line.rpartition(" ")
        found = dict(re.findall(r'(\w+)="([^"]*)"', series))
        if series.partition("{")[0] == f"sessiongate_{name}" and found == labels:
            return float(value)
    return None


async def becomes(gate: RunningGate, wanted: Callable[[float], bool], name: str, **labels: str) -> None:
    """Returns once a scrape shows a value that is as wanted."""
    for _ in patiently():
        value = await shown(gate, name, **labels)
        if value is not None and wanted(value):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name}{labels} is {value}")


async def test_an_operation_in_flight_ages_and_what_becomes_of_it_is_counted(tmp_path: Path) -> None:
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(use_number(1))
        await becomes(gate, lambda age: age > 0, "oldest_in_flight_seconds", **CHAIN)
        gate.bundler.mine(use_number(1), success=False)
        await becomes(gate, lambda age: age == 0, "oldest_in_flight_seconds", **CHAIN)
        assert await shown(gate, "operations_reverted_total", **CHAIN) == 1
        assert await shown(gate, "inclusion_seconds_count", **CHAIN) == 1
        assert await shown(gate, "operations_ended_total", cause="mined", **CHAIN) == 1
        assert await shown(gate, "decision_seconds_count", **CHAIN) == 1


async def test_the_fullest_window_of_a_rule_shows_by_its_share(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n  - {id: few, description: d, mode: enforce, severity: high, match: {session: true},"
        " limit: {count: ops, max: 2, per: session, window: 24h}}\n"
    )
    async with running_gate(rules=[str(rules)]) as gate:
        gate.running.registry.put(known(TWICE))
        for share in (0.5, 1.0):
            assert "result" in await gate.send(use_number(int(share * 2)))
            assert await shown(gate, "rule_budget_used_ratio", rule="few", severity="high") == share


async def test_a_window_that_was_full_shows_as_empty_once_what_it_counted_has_left_it_though_nobody_comes_back(
    tmp_path: Path,
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n  - {id: few, description: d, mode: enforce, severity: high, match: {session: true},"
        " limit: {count: ops, max: 2, per: session, window: 1s}}\n"
    )
    async with running_gate(rules=[str(rules)]) as gate:
        gate.running.registry.put(known(TWICE))
        sent = [use_number(1), use_number(2)]
        for op in sent:
            assert "result" in await gate.send(op)
        full = {"rule": "few", "severity": "high"}
        await becomes(gate, lambda share: share == 1, "rule_budget_used_ratio", **full)
        for op in sent:
            gate.bundler.mine(op)
        await becomes(gate, lambda share: share == 0, "rule_budget_used_ratio", **full)


async def test_a_limit_that_is_raised_shows_at_once_how_little_of_it_is_used(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    text = (
        "rules:\n  - {id: few, description: d, mode: enforce, severity: high, match: {session: true},"
        " limit: {count: ops, max: 1, per: session, window: 24h}}\n"
    )
    rules.write_text(text)
    async with running_gate(rules=[str(rules)]) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(use_number(1))
        assert await shown(gate, "rule_budget_used_ratio", rule="few", severity="high") == 1
        rules.write_text(text.replace("max: 1", "max: 10"))
        assert (await gate.change("POST", "/rules/reload"))["ok"]
        assert await shown(gate, "rule_budget_used_ratio", rule="few", severity="high") == 0.1


async def test_an_operation_given_up_unmined_is_not_the_oldest_in_flight_for_ever(hours: Hours) -> None:
    async with running_gate(chain={"unmined_after": "60"}) as gate:
        gate.running.registry.put(known(TWICE))
        gate.bundler.answers["eth_getUserOperationByHash"] = Answer(result=None)
        assert "result" in await gate.send(use_number(1))
        await becomes(gate, lambda age: age > 0, "oldest_in_flight_seconds", **CHAIN)
        for _ in patiently():
            hours.ahead += 5
            if await shown(gate, "operations_ended_total", cause="unmined", **CHAIN):
                break
            await asyncio.sleep(0.05)
        await becomes(gate, lambda age: age == 0, "oldest_in_flight_seconds", **CHAIN)
        assert await shown(gate, "operations_in_flight", **CHAIN) == 1
        assert await shown(gate, "operations_let_go", **CHAIN) == 1


async def test_rule_files_that_are_faulty_show_until_they_are_mended(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: []\n")
    async with running_gate(rules=[str(rules)]) as gate:
        assert await shown(gate, "rules_last_reload_successful") == 1
        rules.write_text("rules: [")
        assert not (await gate.change("POST", "/rules/reload"))["ok"]
        assert await shown(gate, "rules_last_reload_successful") == 0
        rules.write_text("rules: []\n")
        assert (await gate.change("POST", "/rules/reload"))["ok"]
        assert await shown(gate, "rules_last_reload_successful") == 1
        assert await shown(gate, "alerts_configured") == 0


async def test_a_loop_that_is_held_up_shows_how_long() -> None:
    held = 0.5
    async with running_gate() as gate:
        for _ in patiently():
            time.sleep(held)  # noqa: ASYNC251  # that is what holds it up
            lag = await shown(gate, "loop_lag_seconds")
            if lag is not None and lag >= held - TICK_SECONDS:  # the tick it met was due within one
                return
    raise AssertionError("nobody noticed")


async def test_the_room_on_the_disks_is_the_disks(tmp_path: Path) -> None:
    async with running_gate(ledger=tmp_path / "gate.db") as gate:
        disk = shutil.disk_usage(tmp_path)
        for what in ("ledger", "audit"):
            await becomes(gate, lambda free: abs(free - disk.free) < disk.total / 20, "disk_free_bytes", what=what)
            await becomes(gate, lambda free: abs(free - disk.free / disk.total) < 0.05, "disk_free_ratio", what=what)


async def test_a_ledger_that_takes_no_writes_shows_before_an_operation_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(_store: Store) -> None:
        raise StateUnavailable("ledger")

    monkeypatch.setattr("proxy.edge.storage.housekeeping._PROBE_SECONDS", 0.02)
    async with running_gate(ledger=tmp_path / "gate.db") as gate:
        await becomes(gate, lambda writable: writable == 1, "ledger_writable")
        with monkeypatch.context() as locked:
            locked.setattr(Store, "check_writable", refuses)
            await becomes(gate, lambda writable: writable == 0, "ledger_writable")
        await becomes(gate, lambda writable: writable == 1, "ledger_writable")


async def test_a_sink_that_hangs_shows_how_long_it_keeps_what_waits_and_what_found_no_room(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n" + "".join(f"  - {{id: r{n}, description: d, mode: alert}}\n" for n in range(5)))
    async with recording_sink(hang=True) as sink:
        alerts = {"webhooks": [hook(sink)], "queue_limit": 1}
        async with running_gate(rules=[str(rules)], alerts=alerts) as gate:
            gate.running.registry.put(known(TWICE))
            assert "result" in await gate.send(use_number(1))
            await becomes(gate, lambda seconds: seconds > 0, "alerts_waiting_seconds", sink="soc")
            await becomes(gate, lambda dropped: dropped > 0, "alerts_dropped_total", sink="soc")
            await becomes(gate, lambda waiting: waiting > 0, "queue_depth", queue="alerts")
            assert await shown(gate, "alerts_configured") == 1
            sink.hang = False
            sink.released.set()
            await becomes(gate, lambda seconds: seconds == 0, "alerts_waiting_seconds", sink="soc")


async def test_what_is_known_of_a_chain_ages_while_its_node_is_silent_and_is_new_when_it_speaks(
    live: LiveNode, hours: Hours
) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
        await becomes(gate, lambda stale: stale == 0, "chain_state_stale", **CHAIN)
        live.refuses = True
        hours.ahead += 90
        await becomes(gate, lambda stale: stale == 1, "chain_state_stale", **CHAIN)
        await becomes(gate, lambda seconds: seconds > 60, "watch_lag_seconds", **CHAIN)
        assert "error" in await gate.send(use_number(2))
        assert await shown(gate, "state_unavailable_total", what="node") == 1
        live.refuses = False
        live.mine()
        await becomes(gate, lambda stale: stale == 0, "chain_state_stale", **CHAIN)
        await becomes(gate, lambda seconds: seconds < 60, "watch_lag_seconds", **CHAIN)


async def test_a_block_that_a_bundler_names_and_the_node_has_not_got_is_counted_and_in_the_log_by_its_number(
    live: LiveNode, hours: Hours, caplog: pytest.LogCaptureFixture
) -> None:
    bundler = HonestBundler()
    async with bundler, running_gate(bundler=bundler, node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        await settled(gate, live)
        name = bundler.mine(use_number(1), block=10**6)
        await gate.ask(request(RECEIPT, name))
        for _ in range(10):
            hours.ahead += 2
            live.mine()
            await settled(gate, live)
        await becomes(gate, lambda count: count == 1, "misnamed_blocks_total", **CHAIN)
    assert "names block 1000000;" in caplog.text


async def test_a_session_that_was_used_unseen_is_counted_when_it_is_read_again_and_named_in_the_log(
    live: LiveNode, hours: Hours, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gate(node_url=live.url) as gate:
        assert "result" in await gate.send(use_number(1))
        live.mine(use_number(1))
        await settled(gate, live)
        live.unseen_uses = 1
        live.mine()
        await settled(gate, live)
        hours.ahead += 40
        await becomes(gate, lambda count: count == 1, "session_drift_total", **CHAIN)
    assert f"session {SESSION_ID} is not what it was known for" in caplog.text


ELSEWHERE = {
    "sessiongate_upstream_up": "tests/app/test_settings_reload.py",
    "sessiongate_upstream_resting": "tests/app/test_bundlers.py",
    "sessiongate_upstream_full_total": "tests/app/test_bundler_shares.py",
    "sessiongate_ledger_in_place": "tests/app/test_ledger_file.py",
    "sessiongate_audit_writable": "tests/chaos/test_telling_trouble.py",
    "sessiongate_audit_dropped_total": "tests/chaos/test_telling_trouble.py",
    "sessiongate_fail_open_total": "tests/app/test_following.py",
    "sessiongate_past_gate_total": "tests/app/test_following.py",
    "sessiongate_rule_hits_total": "tests/app/test_rule_reload.py",
    "sessiongate_rule_opened_total": "tests/app/test_rules_in_words.py",
    "sessiongate_verdicts_total": "tests/app/test_requests.py",
    "sessiongate_requests_total": "tests/app/test_requests.py",
}
"""Series that another test reads from a whole gate."""


def test_of_every_series_that_an_alert_stands_on_some_test_looks_at_a_whole_gate() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    named = {name for group in groups for rule in group["rules"] for name in names_in(rule["expr"]).metrics} - {"up"}
    here = Path(__file__).read_text()
    for name in named:
        short = re.sub(r"_bucket$", "_count", name.removeprefix("sessiongate_"))
        text = here if name not in ELSEWHERE else (ROOT / ELSEWHERE[name]).read_text()
        assert re.search(rf"\b(sessiongate_)?{short}\b", text.partition("ELSEWHERE = ")[0]), name
