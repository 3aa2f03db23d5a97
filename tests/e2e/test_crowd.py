"""200 operations of one session in the same moment, under a spending limit that fits 40 of them."""

from __future__ import annotations

from proxy.errors import Code
from tests.e2e.flow import Flow, run_flow
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig

CROWD, FITS, AMOUNT = 200, 40, 25
FLOW = Flow("crowd", "flows/crowd.mjs", (str(CROWD), str(FITS)))
SEND = "eth_sendUserOperation"


def test_exactly_as_many_are_mined_as_the_limit_fits_and_the_gate_turns_away_the_rest(rig: Rig, own_gate: Gate) -> None:
    own_gate.start(rig, more="session_queries: true\n")
    steps = run_flow(rig, FLOW, run="crowd", bundler_url=own_gate.url, account_index=400)
    crowd, receipts = steps[-2:]

    assert crowd["accepted"] == FITS
    assert len(crowd["refused"]) == CROWD - FITS
    # every one of them by the gate, none by the chain, and with what was left then: nothing
    for refusal in crowd["refused"]:
        assert refusal["code"] == Code.LIMIT_EXCEEDED, refusal
        assert (refusal["wanted"], refusal["got"]) == ("at most 0", str(AMOUNT)), refusal
    sent = [line for line in rig.traffic("crowd") if line["step"] == "crowd" and line["request"]["method"] == SEND]
    assert len(sent) == FITS

    # all that the bundler had was mined and succeeded: the chain refused nothing for the limit
    assert receipts["succeeded"] == FITS
    assert int(receipts["balance"], 16) == FITS * AMOUNT

    (session,) = receipts["session"]
    (limit,) = [limit for policy in session["policies"] for limit in policy["limits"]]
    assert [int(limit[name], 16) for name in ("limit", "used", "inFlight", "left")] == [FITS * AMOUNT] * 2 + [0, 0]
    assert session["operationsInFlight"] == []
