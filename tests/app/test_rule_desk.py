"""What ops ask of the rules of a running gate and do to them holds at once, after a restart too, and is on record."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner

from proxy.cli import application
from proxy.errors import Code
from tests.admission.builders import TWICE, known
from tests.app.builders import use_number
from tests.patience import patiently
from tests.running_gate import HonestBundler, RunningGate, running_gate

LIMIT = """\
rules:
  - id: few
    description: A session sends one operation a day.
    mode: {mode}
    match: {{session: true}}
    limit: {{count: ops, max: 1, per: session, window: 24h}}
"""
NEW_TARGET = """\
rules:
  - id: new-target
    description: A contract that was never called.
    mode: enforce
    match: {session: true}
    first_seen: {of: target, per: session}
"""


async def send(gate: RunningGate, number: int) -> int | None:
    """The code of the refusal, `None` when it went out."""
    error = (await gate.send(use_number(number))).get("error")
    return None if error is None else error["code"]


async def budget(gate: RunningGate, used: str) -> dict[str, str]:
    """The one budget of the rule, once so much of it is counted."""
    for _ in patiently():
        (row,) = (await gate.look("/rules/budget?rule=few"))["budgets"]
        if row["used"] == used:
            return row
        await asyncio.sleep(0.01)
    raise AssertionError(row)


async def on_record(gate: RunningGate, what: str) -> bool:
    for _ in patiently():
        if what in json.dumps(await gate.look("/audit?show=entries&limit=1000")):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_budget_says_what_is_held_and_left_and_for_whom(bundler: HonestBundler, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LIMIT.format(mode="enforce"))
    async with running_gate(bundler=bundler, rules=[str(tmp_path / "*.yaml")]) as gate:
        gate.running.registry.put(known(TWICE))
        assert await gate.look("/rules/budget") == {"keys": 0, "budgets": [], "doubtedBefore": None}
        assert await send(gate, 1) is None
        (row,) = (await gate.look("/rules/budget?rule=few"))["budgets"]
        told = [row[name] for name in ("rule", "mode", "limit", "used", "inFlight", "left", "percent")]
        assert told == ["few", "enforce", "1", "0", "1", "0", 100]
        assert set(row["for"]) == {"chainId", "module", "account", "permissionId"}


async def test_what_a_reload_would_change_is_told_and_not_put_in_force(bundler: HonestBundler, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(LIMIT.format(mode="alert"))
    async with running_gate(bundler=bundler, rules=[str(path)]) as gate:
        before = (await gate.look("/rules"))["digest"]
        path.write_text(LIMIT.format(mode="enforce"))
        told = await gate.look("/rules/difference")
        (change,) = told["difference"]["changed"]
        assert (change["rule"], change["countsAnew"], change["inherits"]) == ("few", False, True)
        assert told["inForce"] == before
        path.write_text("rules: [")
        told = await gate.look("/rules/difference")
        assert (told["ok"], len(told["faults"])) == (False, 1)


async def test_a_reset_forgets_what_was_counted_and_keeps_what_is_in_flight(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(LIMIT.format(mode="enforce"))
    settings = {"rules": [str(tmp_path / "*.yaml")], "ledger": tmp_path / "gate.db"}
    async with running_gate(bundler=bundler, **settings) as gate:
        gate.running.registry.put(known(TWICE))
        assert await send(gate, 1) is None
        assert await send(gate, 2) == Code.RULE_REJECTED
        assert (await gate.change("POST", "/rules/reset", {"rule": "few"}))["forgotten"] == 0
        (row,) = (await gate.look("/rules/budget?rule=few"))["budgets"]
        told = await gate.change("POST", "/rules/reset", {"rule": "few", "key": row["key"]})
        assert "all that is counted under it is in flight" in told["error"]
        told = await gate.change("POST", "/rules/reset", {"rule": "fewer"})
        assert 'did you mean "few"?' in told["error"]
        assert await send(gate, 2) == Code.RULE_REJECTED
        bundler.mine(use_number(1))
        row = await budget(gate, "1")
        assert row["inFlight"] == "0"
        told = await gate.change("POST", "/rules/reset", {"rule": "few", "key": row["key"]})
        assert told["forgotten"] == 1
        assert await gate.look("/rules/budget") == {"keys": 0, "budgets": [], "doubtedBefore": None}
    async with running_gate(bundler=bundler, **settings) as gate:
        assert await gate.look("/rules/budget") == {"keys": 0, "budgets": [], "doubtedBefore": None}


async def test_a_thing_allowed_by_hand_is_known_after_a_restart_too_until_it_is_taken_back(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(NEW_TARGET)
    settings = {"rules": [str(tmp_path / "*.yaml")], "ledger": tmp_path / "gate.db"}
    target = "0x" + use_number(1).call_data[100:120].hex()
    async with running_gate(bundler=bundler, **settings) as gate:
        gate.running.registry.put(known(TWICE))
        assert await send(gate, 1) == Code.RULE_REJECTED
        told = await gate.change(
            "POST", "/rules/allowances", {"rule": "new-target", "thing": target, "reason": "release 5"}
        )
        assert (told["thing"], told["ended"]) == (target, False)
        assert await send(gate, 1) is None
        assert await on_record(gate, "rules_allow")
    async with running_gate(bundler=bundler, **settings) as gate:
        (allowed,) = (await gate.look("/rules/allowances"))["allowances"]
        assert allowed["reason"] == "release 5"
        assert (await gate.change("DELETE", f"/rules/allowances?rule=new-target&thing={target}", None))["dropped"] == 1
        gate.running.registry.put(known(TWICE))
        assert await send(gate, 2) == Code.RULE_REJECTED


async def test_a_thing_allowed_by_hand_is_known_until_its_end_and_no_longer(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(NEW_TARGET)
    settings = {"rules": [str(tmp_path / "*.yaml")], "ledger": tmp_path / "gate.db"}
    target = "0x" + use_number(1).call_data[100:120].hex()
    async with running_gate(bundler=bundler, **settings) as gate:
        gate.running.registry.put(known(TWICE))
        told = {"rule": "new-target", "thing": target, "reason": "release 5"}
        error = (await gate.change("POST", "/rules/allowances", {**told, "until": time.time() - 1}))["error"]
        assert "until: that is past" in error
        assert await send(gate, 1) == Code.RULE_REJECTED
        await gate.change("POST", "/rules/allowances", {**told, "until": time.time() + 86_400})
        assert await send(gate, 1) is None
    with closing(sqlite3.connect(tmp_path / "gate.db")) as ledger, ledger:  # a day and a minute later
        ledger.execute("UPDATE allowances SET until = until - 86460")
    async with running_gate(bundler=bundler, **settings) as gate:
        (allowed,) = (await gate.look("/rules/allowances"))["allowances"]
        assert allowed["ended"] is True
        gate.running.registry.put(known(TWICE))
        assert await send(gate, 2) == Code.RULE_REJECTED


async def test_that_nothing_is_allowed_by_hand_is_said(tmp_path: Path) -> None:
    async with running_gate() as gate:
        settings = tmp_path / "sessiongate.yaml"
        settings.write_text(
            f"admin_listen: 127.0.0.1:{gate.running.admin_port}\n"
            "chains: {soneium: {chain_id: 1868, bundlers: [http://127.0.0.1:1]}}\n"
        )
        asked = ["rules", "allowances", "--config", str(settings)]
        result = await asyncio.to_thread(CliRunner().invoke, application, asked)
        assert (result.exit_code, result.stdout) == (0, "nothing is taken for known by hand\n")
