"""A rule's way into force: written, checked, tested, tried on the past, watched in shadow, enforced by a reload."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from proxy.errors import Code
from tests.e2e.flow import Flow, RunningFlow
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig
from tests.patience import PATIENCE_SECONDS

STEPS = ("without-the-rule", "in-shadow", "enforced", "relaxed")
FLOW = Flow("rules", "flows/rules.mjs", STEPS)
TOKENS = """
tokens:
  COIN: {on: {1946: {address: "0x00000000000000000000000000000000dadadada", decimals: 0}}}
"""
RULE = """
rules:
  - id: small-change
    description: A session sends at most 20 COIN at once.
    mode: %s
    severity: high
    match: {session: true, moves: COIN}
    limit: {each: spend, token: COIN, max: %d}
"""
CASES = """
chains: {local: 1946}
defaults: {chain: local}
cases:
  - rule: small-change
    name: twenty pass, one more does not
    steps:
      - {spend: 20 COIN, to: alice, expect: passes}
      - {spend: 21 COIN, to: alice, expect: fires}
"""


def write(gate: Gate, mode: str, *, most: int = 20, where: str = "rules") -> Path:
    folder = gate.folder / where
    folder.mkdir(exist_ok=True)
    (folder / "tokens.yaml").write_text(TOKENS)
    (folder / "ours.cases.yaml").write_text(CASES)
    path = folder / "ours.yaml"
    path.write_text(RULE % (mode, most))
    return path


def hits(gate: Gate) -> dict[str, list[str]]:
    """Modes in which the rule fired, by the verdict of the operation."""
    fired: dict[str, list[str]] = {}
    for row in gate.audit():
        for hit in row["rules"]:
            fired.setdefault(row["verdict"], []).append(hit["mode"])
    return fired


def until_in_force(gate: Gate, mode: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        rules: list[dict[str, Any]] = gate.show("/rules")["rules"]
        if [rule["mode"] for rule in rules] == [mode]:
            return
        time.sleep(0.1)
    raise AssertionError(f"the rule is not in force as {mode}: {rules}")


def test_the_same_operation_is_allowed_before_a_rule_and_rejected_after_it(rig: Rig, own_gate: Gate) -> None:
    (own_gate.folder / "rules").mkdir(parents=True)
    (own_gate.folder / "rules" / "none.yaml").write_text("rules: []\n")
    own_gate.start(rig, more="rules: [rules/*.yaml]\n")
    with RunningFlow(
        rig, FLOW, run="rules", bundler_url=own_gate.url, account_index=500, pause_after=STEPS[:-1]
    ) as flow:
        flow.until_paused("without-the-rule")

        # written aside, checked, tested, and tried on what has passed so far
        aside = str(write(own_gate, "enforce", where="aside"))
        assert f"{aside}: 1 rule" in own_gate.command("rules", "check", aside)
        own_gate.command("rules", "test", aside)
        own_gate.audit()  # what was decided is on file
        past = json.loads(own_gate.command("rules", "backtest", "--new", aside, "--json"))
        assert past["newlyRejected"]["rules"] == {"small-change": 1}, past
        rule = write(own_gate, "shadow")
        until_in_force(own_gate, "shadow")
        assert hits(own_gate) == {}
        flow.go_on()

        flow.until_paused("in-shadow")
        assert hits(own_gate) == {"allow": ["shadow"]}
        write(own_gate, "enforce")
        until_in_force(own_gate, "enforce")
        flow.go_on()

        flow.until_paused("enforced")
        # a broken file changes nothing
        rule.write_text("rules: [{id: broken}]\n")
        time.sleep(2.5)
        until_in_force(own_gate, "enforce")
        write(own_gate, "enforce", most=30)
        own_gate.command("rules", "reload")
        flow.go_on()
        ended = {step["step"]: step for step in flow.wait()}

    assert ended["without-the-rule"]["mined"]["success"]
    assert ended["in-shadow"]["mined"]["success"]
    refused = ended["enforced"]["refused"]
    assert (refused["code"], refused["data"]["rule"]) == (Code.RULE_REJECTED, "small-change")
    assert (refused["data"]["wanted"], refused["data"]["got"]) == ("at most 20 COIN", "30 COIN")
    assert ended["relaxed"]["mined"]["success"]
    sent = [line["step"] for line in rig.traffic("rules") if line["request"]["method"] == "eth_sendUserOperation"]
    assert sent.count("enforced") == 0
