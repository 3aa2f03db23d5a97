"""A running gate is told to read its settings again; the command says what came of it."""

from __future__ import annotations

import json

from typer.testing import CliRunner, Result

from proxy.cli.application import application
from tests.cli.conftest import Run
from tests.edge.builders import FakeBackend


def reload(*arguments: str) -> Result:
    """`sessiongate reload ARGUMENTS`, in the folder of `run`."""
    return CliRunner().invoke(application, ["reload", *arguments])


def test_what_is_in_force_and_what_needs_a_restart_is_told(run: Run, gate: FakeBackend) -> None:
    gate.settings = {"ok": True, "faults": [], "inForce": ["mode", "clients"], "needsRestart": ["listen"]}
    result = reload("--reason", "new key for the trading dapp")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["in force: mode", "in force: clients", "needs a restart: listen"]
    assert gate.told == [("token from 127.0.0.1", "new key for the trading dapp")]
    assert json.loads(reload("--json").stdout) == gate.settings


def test_that_nothing_has_changed_is_told(run: Run, gate: FakeBackend) -> None:
    gate.settings = {"ok": True, "faults": [], "inForce": [], "needsRestart": []}
    assert reload().stdout == "nothing has changed\n"


def test_faults_are_told_and_the_command_fails(run: Run, gate: FakeBackend) -> None:
    gate.settings = {"ok": False, "faults": ["gate.yaml:3: unknown key"], "inForce": [], "needsRestart": []}
    result = reload()
    assert (result.exit_code, result.stdout) == (1, "gate.yaml:3: unknown key\n")
    assert result.stderr == "the settings are faulty; those before stay in force\n"


def test_without_a_gate_nothing_is_read_again(run: Run) -> None:
    result = reload()
    assert result.exit_code == 2
    assert "no gate answers" in result.stderr
