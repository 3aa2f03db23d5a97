"""The commands on the rules of a running gate say what they did, and pretend nothing without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from xml.etree.ElementTree import parse

import pytest

from tests.cli.conftest import Run, write_settings
from tests.cli.rules_commands import run as run_here
from tests.cli.rules_commands import write_rules
from tests.rehearsal.builders import DAILY, DAILY_CASES

COMMANDS = [
    ("diff",),
    ("budget",),
    ("allowances",),
    ("reset", "a", "--all"),
    ("allow", "a", "0x01", "--reason", "r"),
    ("disallow", "a", "0x01"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_gate_nothing_is_pretended(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    write_settings(tmp_path, port=1)
    result = run("rules", *command)
    assert result.exit_code == 2
    assert "no gate answers" in result.stderr


@pytest.mark.parametrize("arguments", [("a",), ("a", "00", "--all")])
def test_a_reset_names_a_key_or_all(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_settings(tmp_path, port=1)
    result = run("rules", "reset", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "write --all" in result.stderr


def test_the_outcome_of_cases_is_written_for_other_programs(tmp_path: Path) -> None:
    wrong = DAILY_CASES.replace("spend: 1 USDC, expect: fires", "spend: 1 USDC, expect: passes")
    path = write_rules(tmp_path, DAILY, wrong)
    written = tmp_path / "rules.xml"
    assert run_here("test", str(path), "--junit", str(written)).exit_code == 1
    suite = parse(written).getroot()  # ours
    assert (suite.get("tests"), suite.get("failures")) == ("2", "2")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["the 500th USDC of a day passes, one more does not", "has a step that fires"]


@pytest.mark.parametrize(
    ("doubted", "warned"), [(None, ""), (0, "counts from before 1970-01-01 00:00 UTC may be missing")]
)
def test_a_gate_that_has_counted_nothing_yet_is_said_to_have_no_budget_to_show(
    run: Run, monkeypatch: pytest.MonkeyPatch, doubted: int | None, warned: str
) -> None:
    answer = SimpleNamespace(body={"keys": 0, "budgets": [], "doubtedBefore": doubted})
    monkeypatch.setattr("proxy.cli.rules.desk._asked", lambda *_: answer)
    result = run("rules", "budget")
    assert (result.exit_code, result.stdout) == (0, "no window has counted anything\n")
    assert result.stderr.startswith(warned)
    assert bool(result.stderr) is bool(warned)
