"""`sessiongate rules explain` says a rule in words."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.rules_commands import run, write_rules


def test_a_rule_is_said_in_words(tmp_path: Path) -> None:
    result = run("explain", "daily", str(write_rules(tmp_path)))
    assert result.exit_code == 0
    for wanted in (
        "No session moves more than 500 USDC a day.",
        "effective mode: enforce",
        "fires: above 500 USDC (spend of USDC) in 24h, per session, what is in flight included".replace("24h", "1d"),
        "the 500th USDC of a day passes, one more does not (1 of 3 operations fire)",
    ):
        assert wanted in result.stdout


def test_json_tells_the_same_to_machines(tmp_path: Path) -> None:
    told = json.loads(run("explain", "daily", str(write_rules(tmp_path)), "--json").stdout)
    assert (told["rule"], told["mode"], told["severity"]) == ("daily", "enforce", "medium")
    assert told["matches"] == {"session": True, "preview": False, "verdicts": "allow"}


def test_a_rule_that_is_not_there_is_exit_code_1_with_the_nearest_one(tmp_path: Path) -> None:
    result = run("explain", "dayly", str(write_rules(tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no rule 'dayly'; did you mean \"daily\"?" in result.stderr
