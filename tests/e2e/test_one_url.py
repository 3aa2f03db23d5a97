"""An SDK that has one URL for everything, the node's questions included: it works through the gate as with a node."""

from __future__ import annotations

from proxy.errors import Code
from tests.e2e.flow import Flow, run_flow
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig

SEND = "eth_sendUserOperation"
MINED = ("install", "grant", "use", "batch", "rest")
REFUSED = {
    "overstep": Code.LIMIT_EXCEEDED,
    "overstep.send": Code.LIMIT_EXCEEDED,
    "stranger.send": Code.SESSION_SCOPE,
}


def test_an_owner_grants_and_a_session_acts_to_its_limit_by_alchemys_sdk_at_the_gates_url_alone(
    rig: Rig, own_gate: Gate
) -> None:
    own_gate.start(rig, of_chain="    node_reads: true\n")
    flow = Flow("one-url", "flows/aa-sdk.mjs", ("one-url",))
    steps = run_flow(rig, flow, run="one-url", bundler_url=own_gate.url, account_index=900)
    ended = {step.pop("step"): step for step in steps}
    assert set(ended) == {*MINED, *REFUSED}
    for step in MINED:
        assert ended[step]["mined"]["success"], step
    for step, code in REFUSED.items():
        assert ended[step]["refused"]["code"] == code, step
        assert ended[step]["said"]["code"] == code, step  # what dapps/gate-error.mjs finds in the SDK's error
    assert ended["overstep"]["refused"]["data"]["wanted"] == "at most 300"
    sent = [line["step"] for line in rig.traffic("one-url") if line["request"]["method"] == SEND]
    assert sent == list(MINED)  # each once, and nothing that was refused
