"""What a command does not need it does not import: a command that only reads files starts without the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from proxy.cli.application import application

SERVER = ("aiohttp", "asyncio", "prometheus_client", "uvloop", "web3")
GATE = ("eth_abi", "coincurve", "sqlite3", "yaml", "rich", "proxy.config", "proxy.judge")
RULES = "rules: [{id: one, description: One., mode: alert, match: {session: true}, when: op.value > 1 ETH}]\n"
SAY = """
import sys
from proxy.cli import application
try:
    application(sys.argv[1:], prog_name="sessiongate")
except SystemExit as end:
    print(end.code, " ".join(sys.modules), file=sys.stderr)
"""


def imported_by(*words: str, folder: Path) -> set[str]:
    """All modules that a process has imported when the command is through."""
    done = subprocess.run([sys.executable, "-c", SAY, *words], cwd=folder, capture_output=True, text=True, check=True)
    *told, last = done.stderr.splitlines()
    code, *modules = last.split()
    assert code == "0", told
    return set(modules)


def every_group(command: Any, *path: str) -> list[tuple[str, ...]]:
    found = [path]
    for name, each in command.commands.items():
        found += every_group(each, *path, name) if hasattr(each, "commands") else []
    return found


GROUPS = every_group(typer.main.get_command(application))


def test_there_are_groups_to_look_at() -> None:
    assert len(GROUPS) == 6


@pytest.mark.parametrize("group", [each for each in GROUPS if each != ("audit",)], ids=" ".join)
def test_an_overview_imports_nothing_of_the_gate(group: tuple[str, ...], tmp_path: Path) -> None:
    imported = imported_by(*group, "--help", folder=tmp_path)
    assert imported & {*SERVER, *GATE} == set()


def test_rules_are_checked_without_the_server(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    imported = imported_by("rules", "check", "rules.yaml", folder=tmp_path)
    assert imported & {*SERVER, "sqlite3", "rich", "proxy.app"} == set()
    assert "proxy.judge" in imported


@pytest.mark.parametrize(
    "words", ["audit", "audit verify", "audit replay", "decode", "rules explain", "rules backtest"]
)
def test_what_reads_files_alone_starts_without_the_server(words: str, tmp_path: Path) -> None:
    assert imported_by(*words.split(), "--help", folder=tmp_path) & {*SERVER, "proxy.app"} == set()


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_an_overview_has_a_whole_sentence_for_each_of_its_commands(group: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(application)
    for name in group:
        command = command.commands[name]
    told = command.get_help(command.make_context("sessiongate", [], resilient_parsing=True, terminal_width=80))
    lines = dict(line.split(maxsplit=1) for line in told.partition("Commands:\n")[2].splitlines())
    assert list(lines) == list(command.commands)
    assert all(line.endswith(".") and not line.endswith("..") for line in lines.values())


def test_a_misspelt_command_is_told_the_nearest_one() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "rules", "chek"], check=False, capture_output=True, text=True
    )
    assert said.returncode == 2
    assert "No such command 'chek'. Did you mean 'check'?" in said.stderr
