"""A session that ends without the gate, at another bundler, is refused by the gate and never reaches its own."""

from __future__ import annotations

import time
import urllib.request
from typing import Any

from proxy.errors import Code
from tests.e2e.comparing import refusal_of
from tests.e2e.flow import Flow, RunningFlow
from tests.e2e.gate import CHAIN, Gate
from tests.e2e.rig import Rig
from tests.patience import PATIENCE_SECONDS

ELSEWHERE = Flow("elsewhere", "flows/elsewhere.mjs")


def wait_until_removed(gate: Gate, count: int) -> list[str]:
    """Returns the statuses of all sessions once `count` of them are removed: no request has asked about them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        statuses = sorted(session["status"] for session in gate.show("/sessions")["sessions"])
        if statuses.count("removed") >= count or time.monotonic() > deadline:
            return statuses
        time.sleep(0.05)


def metrics(gate: Gate) -> list[str]:
    with urllib.request.urlopen(f"{gate.admin}/metrics", timeout=PATIENCE_SECONDS) as response:
        text: str = response.read().decode()
        return text.splitlines()


def sends(rig: Rig, step: str) -> int:
    """How often the gate's bundler was handed an operation in this step."""
    lines = rig.traffic("elsewhere")
    return sum(line["step"] == step and line["request"]["method"] == "eth_sendUserOperation" for line in lines)


def test_sessions_ended_past_the_gate_while_it_runs_and_while_it_is_down_are_refused_by_it(
    rig: Rig, own_gate: Gate
) -> None:
    own_gate.start(rig)
    pauses = ("first-removed", "second-still", "second-removed")
    flow = RunningFlow(rig, ELSEWHERE, run="elsewhere", bundler_url=own_gate.url, account_index=400, pause_after=pauses)

    flow.until_paused("first-removed")
    assert wait_until_removed(own_gate, 1) == ["in_force", "removed"]
    flow.go_on()

    flow.until_paused("second-still")
    assert f'sessiongate_disagreements_total{{chain="{CHAIN}"}} 1.0' in metrics(own_gate)
    own_gate.kill()
    flow.go_on()
    flow.until_paused("second-removed")
    own_gate.start(rig)
    assert wait_until_removed(own_gate, 2) == ["removed", "removed"]
    flow.go_on()

    steps: dict[str, Any] = {step["step"]: step for step in flow.wait()}
    for step in ("first", "second", "second-still"):
        assert steps[step]["mined"]["success"], steps[step]
        assert sends(rig, step) == 1
    for step in ("first-after.send", "second-after.send"):
        refusal = refusal_of(steps[step])
        assert refusal is not None, steps[step]
        assert refusal["code"] == Code.SESSION_REVOKED, refusal
        assert sends(rig, step) == 0
    refusal = refusal_of(steps["too-little-gas.send"])
    assert refusal is not None
    assert "AA23" in refusal["message"], "the bundler's own, and the gate had allowed it"
    for step in ("first-removed", "second-removed"):
        assert steps[step]["mined"]["success"], steps[step]
        assert sends(rig, step) == 0, "it went past the gate"
