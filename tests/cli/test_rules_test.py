"""`sessiongate rules test` runs the cases beside the rules; a failure reads as a diff and is exit code 1."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.rules_commands import run, write_rules
from tests.rehearsal.builders import DAILY_CASES, steps

WRONG = DAILY_CASES.replace("spend: 1 USDC, expect: fires", "spend: 1 USDC, expect: passes")


def test_cases_that_hold_are_exit_code_0(tmp_path: Path) -> None:
    result = run("test", str(write_rules(tmp_path)))
    assert (result.exit_code, result.stdout) == (0, "1 rules, 1 cases, 3 steps\n")


def test_a_failing_step_is_shown_as_a_diff_with_its_place_and_counts(tmp_path: Path) -> None:
    path = write_rules(tmp_path, cases=WRONG)
    result = run("test", str(path))
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].endswith("a.cases.yaml:6:9: daily: the 500th USDC of a day passes, one more does not")
    assert lines[1:3] == ["    step 2, 23h after the start", "  - passes"]
    assert lines[3].startswith("  + fires: ")
    assert "500 USDC" in lines[3]
    assert lines[4] == "    counted before: 500 USDC"
    assert lines[-1] == "1 rules, 1 cases, 3 steps, 1 of them not as expected"


def test_json_tells_the_same_to_machines(tmp_path: Path) -> None:
    result = run("test", str(write_rules(tmp_path, cases=WRONG)), "--json")
    told = json.loads(result.stdout)
    (failure,) = told["failures"]
    # the only step that was to fire is not expected to any more
    assert (result.exit_code, told["ok"], told["withoutFiring"]) == (1, False, ["daily"])
    assert (failure["line"], failure["expected"], failure["got"]) == (6, "passes", "fires")
    assert failure["counted"] == ["500 USDC"]


def test_what_no_call_data_tell_is_said_to_be_taken_as_written(tmp_path: Path) -> None:
    told = steps(
        "spend: 501 USDC, verdict: session_scope, expect: fires",
        "moves: [{kind: spend, asset: erc20, token: 0x00000000000000000000000000000000000000dc, amount: 5}], "
        "verdict: session_scope, repeat: 3, expect: passes",
    )
    path = write_rules(tmp_path, cases=told)
    line = "taken as written, for no call data tell it: verdict (4), moves (3)"
    assert run("test", str(path)).stdout.splitlines()[-1] == line
    assert json.loads(run("test", str(path), "--json").stdout)["takenAsWritten"] == {"verdict": 4, "moves": 3}


@pytest.mark.parametrize(("step", "missing"), [("spend: 1 USDC, expect: passes", "fires"), ("spend: 501 USDC, expect: fires", "passes")])  # fmt: skip  # noqa: E501
def test_a_rule_without_a_firing_or_a_passing_case_is_exit_code_1(tmp_path: Path, step: str, missing: str) -> None:
    result = run("test", str(write_rules(tmp_path, cases=steps(step))))
    assert result.exit_code == 1
    assert f"rule daily has no case with a step that {missing}" in result.stdout


def test_a_rule_without_a_case_file_has_no_cases(tmp_path: Path) -> None:
    path = write_rules(tmp_path)
    path.with_suffix(".cases.yaml").unlink()
    result = run("test", str(path))
    assert (result.exit_code, result.stdout.count("has no case")) == (1, 2)


def test_every_fault_of_a_case_file_is_told_on_stderr(tmp_path: Path) -> None:
    result = run("test", str(write_rules(tmp_path, cases=steps("expct: passes", "expect: passes", rule="dayly"))))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a.cases.yaml:5:10: unknown key 'expct'; did you mean \"expect\"?" in result.stderr
    assert "there is no rule 'dayly'" in result.stderr


def test_faulty_rules_are_told_and_no_case_is_run(tmp_path: Path) -> None:
    result = run("test", str(write_rules(tmp_path, rules="rules:\n  - id: daily\n    limt: 5\n")))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a.yaml:3" in result.stderr


def test_faults_of_rules_and_of_cases_are_json_too(tmp_path: Path) -> None:
    for written, line in ((write_rules(tmp_path, rules="rules: ["), 1), (write_rules(tmp_path, cases="cases: 1"), 1)):
        result = run("test", str(written), "--json")
        told = json.loads(result.stdout)
        assert (result.exit_code, told["ok"], told["faults"][0]["line"]) == (1, False, line)
        assert told["faults"][0]["problem"] in result.stderr


def test_a_pipe_in_the_place_of_cases_is_not_waited_for(tmp_path: Path) -> None:
    path = write_rules(tmp_path)
    cases = path.with_suffix(".cases.yaml")
    cases.unlink()
    os.mkfifo(cases)
    result = run("test", str(path))
    assert result.exit_code != 0
    assert "it is no file" in result.stderr
