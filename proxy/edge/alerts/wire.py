"""Alerts as each kind of sink takes them: a URL, headers and bytes. Pure.

Alertmanager's API v2 (`api/v2/openapi.yaml` of prometheus/alertmanager: postableAlerts), PagerDuty's Events API v2, and
a webhook of our own form, signed.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from proxy.edge.alerts.message import Message, print_time
from proxy.session.lint.findings import Severity

_JSON: Final = {"Content-Type": "application/json", "User-Agent": "sessiongate"}
_LONGEST_SUMMARY: Final = 1_024  # of PagerDuty
_PAGERDUTY_SEVERITY: Final = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
    Severity.INFO: "info",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One HTTP POST. The URL and the headers may carry keys: neither is shown."""

    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Post({len(self.body)} bytes)"


def alertmanager_post(messages: Sequence[Message]) -> Post:
    """All of them in one."""
    alerts = [
        {
            "labels": dict(message.labels),
            "annotations": dict(message.annotations),
            "startsAt": print_time(message.starts),
            "endsAt": print_time(max(message.ends, message.starts)),
        }
        for message in messages
    ]
    return Post(headers=_JSON, body=json.dumps(alerts).encode())


def webhook_post(message: Message, *, secret: str, now: float) -> Post:
    """`X-Sessiongate-Signature` is `v1=` and the HMAC-SHA256, in hex, of timestamp, a full stop and the body.

    `dedupeKey` is the same for every message of one alert, and `X-Sessiongate-Delivery` for every try of one message.
    """
    status = "resolved" if message.resolved else "firing"
    body = json.dumps(
        {
            "version": 1,
            "status": status,
            "dedupeKey": message.digest,
            "labels": dict(message.labels),
            "annotations": dict(message.annotations),
            "startsAt": print_time(message.starts),
            "endsAt": print_time(message.ends),
            "count": message.count,
            "decisions": list(message.decisions),
        }
    ).encode()
    timestamp = str(int(now))
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, sha256).hexdigest()
    # by its beginning too: one that is over and begins anew counts from one again
    delivery = f"{message.digest}-{int(1_000 * message.starts)}-{message.count}-{status}"
    return Post(
        headers={
            **_JSON,
            "X-Sessiongate-Timestamp": timestamp,
            "X-Sessiongate-Signature": f"v1={signature}",
            "X-Sessiongate-Delivery": delivery,
        },
        body=body,
    )


def pagerduty_post(message: Message, *, routing_key: str) -> Post:
    """Trigger an incident, or resolve it; PagerDuty joins what has one `dedup_key`."""
    event: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": "resolve" if message.resolved else "trigger",
        "dedup_key": message.digest,
    }
    if not message.resolved:
        event["client"] = "sessiongate"
        event["payload"] = {
            "summary": message.annotations["summary"][:_LONGEST_SUMMARY],
            "source": message.labels["instance"],
            "severity": _PAGERDUTY_SEVERITY[Severity(message.severity)],
            "timestamp": print_time(message.starts),
            "component": message.labels.get("chain", "sessiongate"),
            "class": message.labels["alertname"],
            "group": message.labels.get("rule", message.labels["alertname"]),
            "custom_details": {**message.annotations, **message.labels, "count": message.count},
        }
    return Post(headers=_JSON, body=json.dumps(event).encode())
