"""`sessiongate rules backtest` holds two sets against recorded traffic of real SDKs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.edge.audit.writer import AuditWriter
from proxy.judge.upstream_answer import UpstreamAnswer
from tests.cli.conftest import Run
from tests.cli.rules_commands import run as run_rules
from tests.cli.rules_commands import write_rules
from tests.edge.audit.trails import begin, record
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
    result = run_rules("backtest", "--old", old, "--new", new, "--traffic", str(TRAFFIC), "--json", "--rows", *more)
    assert result.exit_code == 0, result.output
    told: dict[str, object] = json.loads(result.stdout)
    return told


def test_a_rule_against_sessions_newly_rejects_them_and_back_again_newly_allows_them(sets: tuple[str, str]) -> None:
    forth, back = backtest(*sets), backtest(*reversed(sets))
    rejected, allowed = forth["newlyRejected"], forth["newlyAllowed"]
    assert isinstance(rejected, dict)
    assert isinstance(allowed, dict)
    assert rejected["rows"]
    assert all(change["rules"] == ["nobody"] and change["permissionId"] for change in rejected["rows"])
    assert (rejected["operations"], rejected["rules"]) == (len(rejected["rows"]), {"nobody": len(rejected["rows"])})
    assert allowed["rows"] == []
    assert rejected == back["newlyAllowed"]


def test_rows_are_told_on_demand_only(sets: tuple[str, str]) -> None:
    told = run_rules("backtest", "--old", sets[0], "--new", sets[1], "--traffic", str(TRAFFIC), "--json").stdout
    assert "rows" not in told
    assert json.loads(told)["newlyRejected"]["operations"] > 0


@pytest.mark.parametrize(
    "times",
    [
        [1_772_442_000, 1_772_442_600],
        [1_772_442_000_000, 1_772_442_600_000],
        ["2026-03-02T09:00:00Z", "2026-03-02T10:10:00+01:00"],
    ],
)
@pytest.mark.parametrize("name", ["time", "timestamp", "ts", "at"])
def test_traffic_is_judged_at_the_times_it_was_recorded_at(
    sets: tuple[str, str], tmp_path: Path, times: list[object], name: str
) -> None:
    lines = [json.loads(line) for line in TRAFFIC.read_text(encoding="utf-8").splitlines()]
    sends = [line for line in lines if line["request"]["method"] == "eth_sendUserOperation"][:2]
    path = tmp_path / "timed.jsonl"
    path.write_text("".join(json.dumps({**line, name: at}) + "\n" for line, at in zip(sends, times, strict=True)))
    told = json.loads(
        run_rules("backtest", "--old", sets[0], "--new", sets[1], "--traffic", str(path), "--json", "--rows").stdout
    )
    rows = told["newlyRejected"]["rows"] + told["newlyAllowed"]["rows"]
    assert told["withoutTime"] == 0
    assert set(told["days"]) == {"2026-03-02"}
    assert {row["time"] for row in rows} <= {1_772_442_000.0, 1_772_442_600.0}


def test_people_see_who_a_histogram_and_totals(sets: tuple[str, str], tmp_path: Path) -> None:
    alert = str(tmp_path / "rules" / "alert.yaml")
    printed = run_rules("backtest", "--old", sets[0], "--new", sets[1], "--traffic", str(TRAFFIC), "--rows").stdout
    assert "operations" in printed.splitlines()[0]
    assert "newly rejected: " in printed
    assert "  nobody: No operation of an owner" in printed
    assert "without a recorded time" in printed
    assert "█" in printed
    printed = run_rules("backtest", "--old", sets[0], "--new", alert, "--traffic", str(TRAFFIC)).stdout
    assert "newly rejected: 0\nnewly allowed: 0\n" in printed
    assert "alert nobody: " in printed


@pytest.mark.parametrize("which", ["--old", "--new"])
def test_a_misspelt_chain_or_client_of_either_set_is_a_fault_and_nothing_is_judged(
    sets: tuple[str, str], tmp_path: Path, which: str
) -> None:
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(f"{settings.read_text()}clients: [{{name: dapp, api_key: a-key-of-the-dapp}}]\n")
    misspelt = tmp_path / "rules" / "misspelt.yaml"
    misspelt.write_text("rules:\n  - {id: a, description: d, match: {chain: sonium, client: dap}}\n")
    files = {"--old": sets[0], "--new": sets[1], which: str(misspelt)}
    words = [word for pair in files.items() for word in pair]
    result = run_rules("backtest", *words, "--traffic", str(TRAFFIC), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no chain 'sonium'; did you mean \"soneium\"?" in result.stderr
    assert "there is no client 'dap'; did you mean \"dapp\"?" in result.stderr


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
    begin(writer)
    record(writer, decision("a", facts=facts(), upstream=UpstreamAnswer(result="0x01")))
    record(writer, decision("b", facts=facts(verdict="session_scope")))
    record(writer, decision("c"))
    writer.stop()
    result = run_rules("backtest", "--old", sets[0], "--new", sets[1], "--json")
    told = json.loads(result.stdout)
    assert (told["operations"], told["refusedByTheChain"], told["notReadable"]) == (2, 1, 1)
    assert told["newlyRejected"]["operations"] == 1
    printed = run_rules("coverage", sets[1]).stdout
    assert printed.startswith("nobody (enforce): fired 1 time, last 2026-03-02 09:00\n")
