"""In shadow nobody is refused; the audit and the metrics say who would have been."""

from __future__ import annotations

from collections import Counter

from tests.e2e.comparing import shape
from tests.e2e.conftest import FlowRuns
from tests.e2e.endings import ENDINGS, Rejected
from tests.e2e.flow import STARTALE, run_flow
from tests.e2e.gate import Gate


def test_shadow_changes_nothing_for_the_dapp_and_records_each_rejection(flows: FlowRuns, own_gate: Gate) -> None:
    own_gate.start(flows.rig, mode="shadow")
    steps = run_flow(flows.rig, STARTALE, run="startale-shadow", bundler_url=own_gate.url, account_index=400)

    assert {step.pop("step"): shape(step) for step in steps} == {
        step: shape(ended) for step, ended in flows.direct(STARTALE).items()
    }
    expected = Counter(ending.code for ending in ENDINGS[STARTALE].values() if isinstance(ending, Rejected))
    rejected = own_gate.audit("?verdict=reject&limit=1000")
    assert Counter(row["code"] for row in rejected) == expected
    assert {row["mode"] for row in rejected} == {"shadow"}
    counted = own_gate.verdicts()
    assert counted.pop("allow") > 0
    assert counted == {code.label: times for code, times in expected.items()}
