"""The command as a whole: help with examples, versions, exit codes."""

from __future__ import annotations

import pytest

from proxy import __version__
from tests.cli.conftest import Run

COMMANDS = (
    *(["serve"], ["check"], ["decode"], ["explain"], ["freeze"], ["unfreeze"], ["audit"]),
    *(["sessions", "list"], ["sessions", "show"]),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(run: Run, command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples:")[2]
    assert f"sessiongate {' '.join(command)}" in examples


def test_the_overview_names_every_command(run: Run) -> None:
    overview = run("--help").stdout
    assert all(command[0] in overview for command in COMMANDS)


def test_prints_its_version(run: Run) -> None:
    assert run("--version").stdout == f"sessiongate {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["freeze", "0xab"],
        ["freeze", "0x" + "ab" * 32, "--account", "vitalik.eth"],
        ["audit", "--since", "the day before"],
        ["audit", "--verdict", "maybe"],
        ["decode", "0x00", "--entry-point", "v1.0"],
        ["decode", "no such file"],
        ["sessions", "list", "--chain", "nowhere"],
    ],
)
def test_arguments_that_make_no_sense_exit_with_2(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
