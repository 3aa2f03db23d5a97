"""`sessiongate rules coverage --cases` tells which rules fire in the cases beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.cli.rules.past import progress
from tests.cli.rules_commands import run, write_rules
from tests.rehearsal.builders import steps


def test_a_rule_that_fires_in_its_cases_is_covered(tmp_path: Path) -> None:
    result = run("coverage", str(write_rules(tmp_path)), "--cases")
    assert (result.exit_code, result.stdout) == (0, "daily (enforce): fired 1 time\n1 rules, 0 never fired\n")


def test_a_rule_that_never_fires_is_named(tmp_path: Path) -> None:
    path = write_rules(tmp_path, cases=steps("expect: passes"))
    assert run("coverage", str(path), "--cases").stdout == "daily (enforce): never fired\n1 rules, 1 never fired\n"
    (told,) = json.loads(run("coverage", str(path), "--cases", "--json").stdout)["rules"]
    assert (told["rule"], told["fired"], told["first"]) == ("daily", 0, None)


def test_into_a_pipe_no_bar_is_drawn_and_no_line_is_left_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading", 2) as bar:
        bar.advance(bar.task_ids[0])
    assert capsys.readouterr() == ("", "")
