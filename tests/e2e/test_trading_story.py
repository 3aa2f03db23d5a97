"""One-click trading: of a limit of 100 USDC ten payments of 10 pass, and the eleventh hears what is left."""

from __future__ import annotations

from proxy.errors import Code
from tests.e2e.flow import Flow, run_flow
from tests.e2e.gate import Gate
from tests.e2e.rig import CHAIN_ID, Rig

TOKEN = "0x00000000000000000000000000000000DaDaDadA"
TOKENS = f"""
tokens:
  USDC: {{on: {{{CHAIN_ID}: {{address: "{TOKEN.lower()}", decimals: 6}}}}}}
"""
SETTINGS = "rules: [rules/*.yaml]\nsession_queries: true\n"


def test_ten_of_ten_pass_and_the_eleventh_hears_what_is_left(rig: Rig, own_gate: Gate) -> None:
    (own_gate.folder / "rules").mkdir(parents=True)
    (own_gate.folder / "rules" / "tokens.yaml").write_text(TOKENS)
    (own_gate.folder / "rules" / "none.yaml").write_text("rules: []\n")
    own_gate.start(rig, more=SETTINGS)
    flow = Flow("trading", "flows/trading.mjs")
    steps = run_flow(rig, flow, run="trading", bundler_url=own_gate.url, account_index=700)
    ended = {step.pop("step"): step for step in steps}

    assert all(ended[f"trade-{number}"]["mined"]["success"] for number in range(1, 11))
    refused, said = ended["trade-11"]["refused"], ended["trade-11"]["said"]
    assert refused["code"] == said["code"] == Code.LIMIT_EXCEEDED
    assert refused["message"].startswith("transfer of 10 USDC, 0 left of 100 in this session")
    assert "10000000, 0 left of 100000000" in refused["message"]
    assert said["reason"] == "limit_exceeded"
    assert said["remedy"] == "ask for less, or have the owner grant the session again with a higher limit"
    assert said["retryable"] is False
    sent = [line["step"] for line in rig.traffic("trading") if line["request"]["method"] == "eth_sendUserOperation"]
    assert "trade-10" in sent
    assert "trade-11" not in sent

    (session,) = ended["asked"]["answer"]
    assert session["status"] == "in_force"
    (limit,) = session["policies"][0]["limits"]
    assert limit["inUnits"] == {"symbol": "USDC", "limit": "100", "used": "100", "inFlight": "0", "left": "0"}
    assert (session["operations"]["mined"], session["operations"]["reverted"]) == (10, 0)
    assert int(session["operations"]["gasUsed"], 16) > 0
