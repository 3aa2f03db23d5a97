"""The shipped rule packs in front of the SDKs as they are: they refuse nobody, and speak up where they should."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from tests.e2e.flow import NEXUS, STARTALE, run_flow
from tests.e2e.gate import ROOT, Gate
from tests.e2e.rig import Rig

PACKS = f"rules: [{ROOT}/rules/*.yaml]\n"
OFF_HOURS = "off-hours"


def hears_what_is_off_hours(rows: list[dict[str, Any]]) -> None:
    """The one shipped rule that the hour decides: it may run at any. Sessions move value in every run."""
    heard = [any(hit["rule"] == OFF_HOURS for hit in row["rules"]) for row in rows]
    if all(in_business_hours(row["time"]) for row in rows):
        assert not any(heard)
    elif not any(in_business_hours(row["time"]) for row in rows):
        assert any(heard)
    for row, off in zip(rows, heard, strict=True):
        assert not off or not in_business_hours(row["time"] - 1) or not in_business_hours(row["time"] + 1)


def in_business_hours(unix_time: float) -> bool:
    """Monday to Friday, 06:00 to 22:00 in UTC, as `rules/anomaly.yaml` has it."""
    moment = datetime.fromtimestamp(unix_time, UTC)
    return moment.weekday() < 5 and 6 <= moment.hour < 22


def test_the_shipped_packs_hear_what_is_wrong_and_stay_quiet_about_the_rest(rig: Rig, own_gate: Gate) -> None:
    own_gate.start(rig, more=PACKS)
    for index, flow in enumerate((STARTALE, NEXUS)):
        run_flow(rig, flow, run=f"{flow.name}-packs", bundler_url=own_gate.url, account_index=600 + index)
    fired: Counter[tuple[str, str]] = Counter()
    rows = own_gate.audit("?limit=1000")
    for row in rows:
        assert not any(reason.get("rule") for reason in row["reasons"]), "a pack refuses nobody"
        fired.update((hit["rule"], row["verdict"]) for hit in row["rules"] if hit["rule"] != OFF_HOURS)
    hears_what_is_off_hours(rows)

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
