"""A running gate is told to read its rules again, or asked for them; the command says what came of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from proxy.cli.rules.list import list_rules
from proxy.cli.rules.reload import reload_rules
from tests.cli.conftest import Run
from tests.edge.builders import FAULTY, RELOADED, RULE, RULES, FakeBackend

commands = typer.Typer()
commands.command("reload")(reload_rules)
commands.command("list")(list_rules)


def rules(*arguments: str) -> Result:
    """`sessiongate rules ARGUMENTS`, in the folder of `run`."""
    result = CliRunner().invoke(commands, arguments)
    assert "hush" not in result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_reload_says_what_changed(run: Run, gate: FakeBackend) -> None:
    result = rules("reload")
    assert (result.exit_code, gate.reloads) == (0, 1)
    assert result.stdout.splitlines() == [
        "added new-target",
        "changed burst: mode alert → enforce",
        "in force: d2",
    ]
    assert json.loads(rules("reload", "--json").stdout) == RELOADED


def test_why_rules_are_read_again_is_told_to_the_gate(run: Run, gate: FakeBackend) -> None:
    assert rules("reload", "--reason", "a new limit").exit_code == 0
    assert gate.reloads == 1
    refused = rules("reload", "--reason", "x" * 501)
    assert (refused.exit_code, gate.reloads) == (1, 1)
    assert "note: longer than 500 characters" in refused.stderr


def test_a_rule_that_enforces_from_now_on_is_said_to_inherit_what_it_has_counted(run: Run, gate: FakeBackend) -> None:
    gate.reload = copy.deepcopy(RELOADED)
    gate.reload["difference"]["changed"][0]["inherits"] = True
    assert rules("reload").stdout.splitlines()[1] == (
        "changed burst: mode alert → enforce; it inherits what it has counted, and refuses at once where that is over"
        " its limit"
    )


def test_faults_are_told_with_their_place_and_cure_and_the_command_fails(run: Run, gate: FakeBackend) -> None:
    gate.reload = FAULTY
    result = rules("reload")
    assert result.exit_code == 1
    assert result.stdout == 'rules/a.yaml:4:12: unknown key "limt"; did you mean "limit"?\n'
    assert result.stderr == "the rule files are faulty; the set before stays in force: d1\n"
    told = rules("reload", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["faults"] == FAULTY["faults"]


def test_the_rules_in_force_are_listed(run: Run, gate: FakeBackend) -> None:
    result = rules("list")
    assert result.exit_code == 0
    heading, row = result.stdout.splitlines()
    assert heading.split() == ["rule", "mode", "severity", "hits", "written", "at"]
    assert row.split() == ["burst", "enforce", "(as", "alert)", "high", "7", "a.yaml:3"]
    assert json.loads(rules("list", "--json").stdout) == RULES


def test_every_page_is_listed_and_of_one_set_alone(run: Run, gate: FakeBackend) -> None:
    gate.rules = [{**RULE, "id": name} for name in ("burst", "night", "whale")]
    listed = json.loads(rules("list", "--json").stdout)
    assert [rule["id"] for rule in listed["rules"]] == ["burst", "night", "whale"]
    # another set takes its place after the first page
    gate.digests = ["", "d1", "d2"]
    listed = json.loads(rules("list", "--json").stdout)
    assert (listed["digest"], [rule["id"] for rule in listed["rules"]]) == ("d2", ["burst", "night", "whale"])


@pytest.mark.parametrize("command", ["reload", "list"])
def test_without_a_gate_nothing_is_pretended(run: Run, command: str) -> None:
    result = rules(command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no gate answers at 127.0.0.1:1" in result.stderr


def test_a_wrong_token_reloads_nothing(run: Run, gate: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "another-sixteen-letters")
    result = rules("reload")
    assert (result.exit_code, gate.reloads) == (1, 0)
    assert "the gate refuses: send authorization: Bearer" in result.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_faults_of_rules_are_told_with_those_of_the_settings(run: Run, tmp_path: Path, command: str) -> None:
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(settings.read_text() + "mod: shadow\nrules: [own.yaml]\n")
    (tmp_path / "own.yaml").write_text("rules:\n  - id: burst\n    descripton: Oh.\n")
    result = run(command)
    assert result.exit_code == (1 if command == "check" else 2)
    assert "unknown key 'mod'" in result.output
    assert "own.yaml:3:5: " in result.output
