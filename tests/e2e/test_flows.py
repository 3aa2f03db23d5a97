"""Real SDKs, a real bundler, a real chain: what a session allows passes through the gate, what it forbids does not."""

from __future__ import annotations

import pytest

from tests.e2e.comparing import contains, refusal_of, shape
from tests.e2e.conftest import FlowRuns
from tests.e2e.endings import ENDINGS, Answered, Bundlers, Rejected, Same
from tests.e2e.flow import ZERODEV, Flow

SEND = "eth_sendUserOperation"
ESTIMATE = "eth_estimateUserOperationGas"

ALL = [(flow, step, ending) for flow, steps in ENDINGS.items() for step, ending in steps.items()]


def of_kind(kind: type) -> pytest.MarkDecorator:
    rows = [pytest.param(*row, id=f"{row[0].name}-{row[1]}") for row in ALL if isinstance(row[2], kind)]
    return pytest.mark.parametrize(("flow", "step", "ending"), rows)


@pytest.mark.parametrize("flow", ENDINGS, ids=lambda flow: flow.name)
def test_every_step_of_a_flow_has_its_ending_written_down(flows: FlowRuns, flow: Flow) -> None:
    assert set(flows.direct(flow)) == set(flows.gated(flow)) == set(ENDINGS[flow])


@of_kind(Same)
def test_a_step_the_gate_does_not_mind_ends_as_at_the_bundler(
    flows: FlowRuns, flow: Flow, step: str, ending: Same
) -> None:
    assert shape(flows.gated(flow)[step]) == shape(flows.direct(flow)[step])


@of_kind(Rejected)
def test_a_step_the_session_forbids_is_rejected_with_reason_and_remedy(
    flows: FlowRuns, flow: Flow, step: str, ending: Rejected
) -> None:
    refusal = refusal_of(flows.gated(flow)[step])
    assert refusal is not None, flows.gated(flow)[step]
    assert refusal["code"] == ending.code, refusal
    assert refusal["data"].keys() >= {"decisionId", "reason", "remedy", "retryable"}


@of_kind(Rejected)
def test_the_bundler_never_receives_a_rejected_operation(
    flows: FlowRuns, flow: Flow, step: str, ending: Rejected
) -> None:
    assert step in flows.gated(flow)
    assert flows.asked_of_bundler(flow, step, SEND) == 0
    assert flows.asked_of_bundler(flow, step, ESTIMATE) == int(ending.estimated)


@of_kind(Rejected)
def test_the_bundler_would_have_refused_what_the_gate_rejects(
    flows: FlowRuns, flow: Flow, step: str, ending: Rejected
) -> None:
    assert refusal_of(flows.direct(flow)[step]) is not None


@of_kind(Answered)
def test_a_step_the_gate_answers_itself_has_its_own_answer(
    flows: FlowRuns, flow: Flow, step: str, ending: Answered
) -> None:
    ended = flows.gated(flow)[step]
    assert contains(ended.get("answer", ended), ending.answer), ended


@of_kind(Bundlers)
def test_a_step_that_hangs_on_the_bundlers_haste_reaches_it_and_gets_its_answer(
    flows: FlowRuns, flow: Flow, step: str, ending: Bundlers
) -> None:
    refusal = refusal_of(flows.gated(flow)[step])
    assert refusal is None or "data" not in refusal, refusal
    assert refusal is None or "AA25" in refusal["message"], refusal
    assert flows.asked_of_bundler(flow, step, SEND) == 1


def test_what_is_enforced_elsewhere_alone_is_counted(flows: FlowRuns) -> None:
    permitted = [step for step in flows.gated(ZERODEV) if step.startswith("permission")]
    counted = flows.gate.counted("sessiongate_enforced_elsewhere_total", product="kernel_permission")
    assert counted == len(permitted)
