"""An alert in words and labels: who, what, how much, why, which decisions, and what to type next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proxy.edge.alerts.board import ActiveAlert
from proxy.happening import Happening, HappeningKind
from proxy.userop.primitives import print_bytes, print_checksummed

ALERT_NAMES: Final[Mapping[HappeningKind, str]] = {
    HappeningKind.RULE_FIRED: "SessiongateRuleHit",
    HappeningKind.REJECTED: "SessiongateRevokedSessionUse",
    HappeningKind.WOULD_REJECT: "SessiongateWouldHaveRejected",
    HappeningKind.FAILED_OPEN: "SessiongateFailOpenPass",
    HappeningKind.HOLD_RELEASED: "SessiongateHoldReleased",
    HappeningKind.NEVER_MINED: "SessiongateNeverMinedOperation",
    HappeningKind.USE_PAST_GATE: "SessiongateUsePastGate",
    HappeningKind.GRANT_PAST_GATE: "SessiongateGrantPastGate",
    HappeningKind.NONCE_GAP: "SessiongateNonceGap",
    HappeningKind.LEDGER_REWOUND: "SessiongateLedgerRewound",
    HappeningKind.CLOCK_JUMPED: "SessiongateClockJumped",
    HappeningKind.TEST: "SessiongateTest",
}
"""The `alertname` of each kind; none is the name of a rule of Prometheus' that we ship."""

RUNBOOKS: Final = "deploy/RUNBOOK.md"
"""Where each alert has its section, named by the alert in lower case."""

_AUDIT: Final = "sessiongate audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One alert as it is told. `digest` tells alerts apart, `ends` is when it is or was over; times in unix seconds."""

    digest: str
    resolved: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts: float
    ends: float
    count: int
    decisions: tuple[str, ...]

    @property
    def severity(self) -> str:
        """As rules write it: info to critical."""
        return self.labels["severity"]


def message_of(alert: ActiveAlert, *, ends: float, instance: str, resolved: bool = False) -> Message:
    """What is told of an alert. `instance` is what this gate is called."""
    return Message(
        digest=alert.key.digest,
        resolved=resolved,
        labels=_labels(alert, instance),
        annotations=_annotations(alert),
        starts=alert.first,
        ends=ends,
        count=alert.count,
        decisions=alert.decisions,
    )


def _labels(alert: ActiveAlert, instance: str) -> dict[str, str]:
    key = alert.key
    labels = {
        "alertname": ALERT_NAMES[key.kind],
        "job": "sessiongate",
        "instance": instance,
        "severity": key.severity.value,
        "chain": key.chain,
        "rule": key.rule,
        "mode": key.mode,
        "session": None if key.permission_id is None else print_bytes(key.permission_id),
        "account": None if key.account is None else print_checksummed(key.account),
        # commas on both sides: a matcher finds one tag whole with =~".*,money,.*"
        "tags": f",{','.join(key.tags)}," if key.tags else None,
        "owner": alert.latest.owner,
    }
    return {name: value for name, value in labels.items() if value}


def _annotations(alert: ActiveAlert) -> dict[str, str]:
    latest = alert.latest
    annotations = {
        "summary": _summary(alert),
        "description": _description(alert),
        "decisions": ", ".join(alert.decisions),
        "command": latest.command or command_for(latest),
        "runbook_url": latest.runbook or f"{RUNBOOKS}#{ALERT_NAMES[latest.kind].lower()}",
    }
    return {name: value for name, value in annotations.items() if value}


def _summary(alert: ActiveAlert) -> str:
    if alert.key.folded:
        return f"{_opening(alert.latest)} for many sessions, too many to name each."
    return _sentence(alert.latest.what)


def _opening(happening: Happening) -> str:
    subject = f"Rule {happening.rule} fired" if happening.rule else happening.kind.value.replace("_", " ").capitalize()
    return f"{subject} on {happening.chain}" if happening.chain else subject


def _description(alert: ActiveAlert) -> str:
    latest = alert.latest
    parts = []
    if alert.count > 1:
        parts.append(f"{alert.count} times since {print_time(alert.first)}, last at {print_time(alert.last)}.")
    if alert.key.folded:
        parts.append(f"The newest: {_sentence(latest.what)}")
    who = [
        f"session {print_bytes(latest.permission_id)}" if latest.permission_id is not None else "",
        f"account {print_checksummed(latest.account)}" if latest.account is not None else "",
        f"client {latest.client}" if latest.client else "",
        f"operation {print_bytes(latest.user_op_hash)}" if latest.user_op_hash is not None else "",
    ]
    if any(who):
        parts.append(_sentence(", ".join(each for each in who if each)))
    if alert.decisions:
        parts.append(f"Decisions: {', '.join(alert.decisions)}.")
    if latest.owner:
        parts.append(f"Ask {latest.owner}.")
    parts.append(f"Next: {latest.command or command_for(latest)}")
    return " ".join(parts)


def command_for(happening: Happening) -> str:
    """What to type next."""
    match happening.kind:
        case HappeningKind.RULE_FIRED | HappeningKind.REJECTED if happening.permission_id is not None:
            return f"{_AUDIT} --permission-id {print_bytes(happening.permission_id)} --since 1h"
        case HappeningKind.RULE_FIRED if happening.rule is not None:
            return f"sessiongate rules explain {happening.rule}"
        case HappeningKind.HOLD_RELEASED | HappeningKind.NEVER_MINED | HappeningKind.NONCE_GAP:
            if happening.user_op_hash is not None:
                return f"{_AUDIT} --user-op-hash {print_bytes(happening.user_op_hash)}"
            return "sessiongate ledger show"
        case HappeningKind.USE_PAST_GATE | HappeningKind.GRANT_PAST_GATE if happening.permission_id is not None:
            return f"sessiongate sessions show {print_bytes(happening.permission_id)}"
        case HappeningKind.LEDGER_REWOUND:
            return "sessiongate ledger verify"
        case HappeningKind.TEST:
            return "sessiongate alerts test"
    if happening.account is not None:
        return f"{_AUDIT} --account {print_checksummed(happening.account)} --since 1h"
    return f"{_AUDIT} --since 1h"


def print_time(unix_time: float) -> str:
    """As RFC 3339, to the millisecond, in UTC."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sentence(text: str) -> str:
    opened = f"{text[:1].upper()}{text[1:]}"
    return opened if opened.endswith(".") else f"{opened}."
