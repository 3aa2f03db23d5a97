"""The shipped rule packs in front of the SDKs as they are: they refuse nobody, and speak up where they should."""

from __future__ import annotations

from collections import Counter

from tests.e2e.flow import NEXUS, STARTALE, run_flow
from tests.e2e.gate import ROOT, Gate
from tests.e2e.rig import Rig

PACKS = f"rules: [{ROOT}/rules/*.yaml]\n"


def test_the_shipped_packs_hear_what_is_wrong_and_stay_quiet_about_the_rest(rig: Rig, own_gate: Gate) -> None:
    own_gate.start(rig, more=PACKS)
    for index, flow in enumerate((STARTALE, NEXUS)):
        run_flow(rig, flow, run=f"{flow.name}-packs", bundler_url=own_gate.url, account_index=600 + index)
    fired: Counter[tuple[str, str]] = Counter()
    for row in own_gate.audit("?limit=1000"):
        assert not any(reason.get("rule") for reason in row["reasons"]), "a pack refuses nobody"
        fired.update((hit["rule"], row["verdict"]) for hit in row["rules"])

    # the flows grant sudo actions, install the module and enable on the way: a reviewer wants to hear of each
    assert {rule for rule, verdict in fired if verdict == "allow"} == {
        "enabled-on-use",
        "grant-any-call",
        "grant-coin-uncapped",
        "grant-too-long",
        "modules-changed",
        "unsafe-enable",
    }
    assert {rule for rule, verdict in fired if verdict == "reject"} >= {
        "refused-by-the-session",
        "revoked-session-used",
        "session-key-calls-the-account",
        "session-limit-exceeded",
        "unknown-session",
    }
