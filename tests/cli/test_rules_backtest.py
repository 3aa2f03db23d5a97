"""`sessiongate rules backtest` holds two sets against recorded traffic of real SDKs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.edge.audit.writer import AuditWriter
from proxy.judge.decision import UpstreamAnswer
from tests.cli.conftest import Run
from tests.cli.rules_commands import run as run_rules
from tests.cli.rules_commands import write_rules
from tests.edge.audit.trails import record
from tests.edge.builders import decision
from tests.rehearsal.builders import facts

TRAFFIC = next((Path(__file__).parents[1] / "traffic" / "sample").glob("*.jsonl"))
RULE = "rules:\n  - id: nobody\n    description: No operation of an owner.\n    mode: {}\n    match: {{session: {}}}\n"


@pytest.fixture
def sets(run: Run, tmp_path: Path) -> tuple[str, str]:
    write_rules(tmp_path, "rules: []\n")
    for name, mode in (("reject", "enforce"), ("alert", "alert")):
        (tmp_path / "rules" / f"{name}.yaml").write_text(RULE.format(mode, "true"), encoding="utf-8")
    return str(tmp_path / "rules" / "a.yaml"), str(tmp_path / "rules" / "reject.yaml")


def backtest(old: str, new: str, *more: str) -> dict[str, object]:
    result = run_rules("backtest", "--old", old, "--new", new, "--traffic", str(TRAFFIC), "--json", *more)
    assert result.exit_code == 0, result.output
    told: dict[str, object] = json.loads(result.stdout)
    return told


def test_a_rule_against_sessions_newly_rejects_them_and_back_again_newly_allows_them(sets: tuple[str, str]) -> None:
    forth, back = backtest(*sets), backtest(*reversed(sets))
    assert isinstance(forth["newlyRejected"], list)
    assert forth["newlyRejected"]
    assert all(change["rules"] == ["nobody"] and change["permissionId"] for change in forth["newlyRejected"])
    assert (forth["newlyAllowed"], back["newlyRejected"]) == ([], [])
    assert forth["newlyRejected"] == back["newlyAllowed"]


def test_people_see_who_a_histogram_and_totals(sets: tuple[str, str], tmp_path: Path) -> None:
    alert = str(tmp_path / "rules" / "alert.yaml")
    printed = run_rules("backtest", "--old", sets[0], "--new", sets[1], "--traffic", str(TRAFFIC)).stdout
    assert printed.startswith("newly rejected: ")
    assert "  nobody: No operation of an owner" in printed
    assert "1970-01-01  old" in printed
    assert "█" in printed
    printed = run_rules("backtest", "--old", sets[0], "--new", alert, "--traffic", str(TRAFFIC)).stdout
    assert printed.startswith("newly rejected: 0\nnewly allowed: 0\n")
    assert "alert nobody: " in printed


def test_an_unreadable_line_is_counted_and_stops_nothing(sets: tuple[str, str], tmp_path: Path) -> None:
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{\n[]\n{"request": 5}\n{"request": {"method": "eth_sendUserOperation", "params": []}}\n')
    result = run_rules("backtest", "--old", sets[0], "--new", sets[1], "--traffic", str(odd), "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["operations"], told["notReadable"]) == (0, 0, 4)


def test_a_ledger_that_is_not_there_is_said(sets: tuple[str, str]) -> None:
    result = run_rules("backtest", "--new", sets[1], "--old", sets[0])
    assert result.exit_code == 1
    assert "there is no audit trail" in result.stderr


def test_the_audit_trail_is_judged_again_and_rows_without_facts_are_counted(
    sets: tuple[str, str], tmp_path: Path
) -> None:
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    writer.start()
    record(writer, decision("a", facts=facts(), upstream=UpstreamAnswer(result="0x01")))
    record(writer, decision("b", facts=facts(verdict="session_scope")))
    record(writer, decision("c"))
    writer.stop()
    result = run_rules("backtest", "--old", sets[0], "--new", sets[1], "--json")
    told = json.loads(result.stdout)
    assert (told["operations"], told["refusedByTheChain"], told["notReadable"]) == (2, 1, 1)
    assert len(told["newlyRejected"]) == 1
    printed = run_rules("coverage", sets[1]).stdout
    assert printed.startswith("nobody (enforce): fired 1 time, last 2026-03-02 09:00\n")
