"""`sessiongate check` says what is wrong, or what the settings come to, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

FAULTY = Path(__file__).parents[1] / "config/files/four_faults_at_once.yaml"


def test_prints_every_fault_with_line_and_cure_and_fails(run: Run) -> None:
    result = run("check", str(FAULTY))
    assert result.exit_code == 1
    assert [line.split(":")[1] for line in result.stdout.splitlines()] == ["3", "7", "8", "9"]
    assert result.stderr == "4 faults\n"


def test_prints_faults_as_json(run: Run) -> None:
    result = run("check", str(FAULTY), "--json")
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert printed["ok"] is False
    assert printed["faults"][0] == {
        "file": str(FAULTY),
        "line": 3,
        "problem": "unknown key 'previevs'",
        "suggestion": 'did you mean "previews"?',
    }


def test_prints_what_sound_settings_come_to(run: Run) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert "sessiongate.yaml: no faults" in result.stdout
    assert "https://bundler.example/rpc\n" in result.stdout
    assert "admin token: set" in result.stdout


def test_prints_the_summary_as_json(run: Run) -> None:
    printed = json.loads(run("check", "--json").stdout)
    assert printed["ok"] is True
    assert printed["settings"]["chains"]["soneium"]["bundlers"] == ["https://bundler.example/rpc"]


def test_the_file_may_be_an_argument_an_option_or_a_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("check", "sessiongate.yaml").exit_code == 0
    assert run("check", "--config", str(FAULTY)).exit_code == 1
    monkeypatch.setenv("SESSIONGATE_CONFIG", str(FAULTY))
    assert run("check").exit_code == 1


def test_the_environment_overrides_the_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONGATE_MODE", "shadow")
    assert "mode: shadow" in run("check").stdout


@pytest.mark.parametrize(
    ("command", "faults"),
    [
        (["serve"], 4),
        (["freeze", "0x" + "ab" * 32], 4),
        # who only looks at what a gate has written needs none of its secrets
        (["audit"], 3),
        (["sessions", "list"], 3),
    ],
)
def test_other_commands_do_nothing_with_faulty_settings(run: Run, command: list[str], faults: int) -> None:
    result = run(*command, "--config", str(FAULTY))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("four_faults_at_once.yaml") == faults
