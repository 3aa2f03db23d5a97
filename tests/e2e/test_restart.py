"""kill -9 at any moment: what the gate knew, it knows in its next life."""

from __future__ import annotations

from typing import Any

from proxy.errors import Code
from tests.e2e.comparing import refusal_of
from tests.e2e.endings import ENDINGS, Ending, Rejected
from tests.e2e.flow import STARTALE, RunningFlow
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig

UNKNOWN_PERMISSION = "0x" + "abab".rjust(64, "0")  # the one the flow invents


def memory(gate: Gate) -> dict[str, Any]:
    """Everything a gate remembers, as its admin listener tells it."""
    known = {kind: gate.show(f"/{kind}")[kind] for kind in ("sessions", "freezes")}
    return {**known, "audit": gate.audit()}


def code_or_success(ending: Ending) -> object:
    return ending.code if isinstance(ending, Rejected) else True


def outcome(step: dict[str, Any]) -> object:
    refusal = refusal_of(step)
    return refusal["code"] if refusal is not None else step["mined"]["success"]


def test_a_killed_gate_comes_back_with_its_sessions_freezes_and_audit(rig: Rig, own_gate: Gate) -> None:
    own_gate.start(rig)
    with RunningFlow(
        rig, STARTALE, run="startale-killed", bundler_url=own_gate.url, account_index=300, pause_after=("use-batch",)
    ) as flow:
        flow.until_paused("use-batch")
        own_gate.command("freeze", UNKNOWN_PERMISSION)
        before = memory(own_gate)
        assert all(before.values()), before

        own_gate.kill()
        own_gate.start(rig, node=False)  # without a node it can only know what it has kept

        assert memory(own_gate) == before
        flow.go_on()
        ended = {step["step"]: outcome(step) for step in flow.wait()}
    assert ended == {
        **{step: code_or_success(ending) for step, ending in ENDINGS[STARTALE].items()},
        "unknown-permission.send": Code.SESSION_REVOKED,  # frozen in the life before
    }
