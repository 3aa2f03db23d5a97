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


STRANGERS = """\
rules:
  - id: new-recipient
    description: Much goes to somebody new.
    match: {session: true, moves: any}
    learn: op.value < 1 ETH
    first_seen:
      of: recipient
      per: session
      after: 20 ops
      at_least: 250 USD
      known: {times: 3, over: 1d, at_least: 1 USD}
  - id: new-target
    description: A new contract.
    match: {session: true}
    first_seen: {of: target, per: account}
"""


def test_of_what_is_new_the_floor_what_is_known_and_what_teaches_are_said(tmp_path: Path) -> None:
    path = str(write_rules(tmp_path, STRANGERS, "cases: []\n"))
    said = run("explain", "new-recipient", path)
    assert said.exit_code == 0, said.stderr
    told = said.stdout
    assert (
        "fires: on a recipient not known, per session, who gets 250 USD (spend in USD) or more, after 20 operations of"
        " history; known is what 3 mined operations had, the first of them 1d ago or longer, each with 1 USD (spend in"
        " USD) or more" in told
    )
    assert "learns from: op.value < 1 ETH" in told
    assert "fires: on a target not seen before, per account\n" in run("explain", "new-target", path).stdout
