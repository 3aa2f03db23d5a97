"""An alert says who, what, how much, why, which decisions and what to do next, in each sink's own form."""

from __future__ import annotations

import hashlib
import hmac
import shlex
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from proxy.cli import application
from proxy.edge.alerts.board import ActiveAlert, Board
from proxy.edge.alerts.message import ALERT_NAMES, Message, command_for, message_of
from proxy.edge.alerts.wire import alertmanager_post, pagerduty_post, webhook_post
from proxy.happening import HappeningKind
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import print_checksummed
from tests.edge.alerts.builders import ACCOUNT, NOW, happening, session

SECRET = "hush-hook-secret-of-ours"


def alert_of(**changes: Any) -> ActiveAlert:
    return Board(max_active=10, resolve_after_seconds=900).note(happening(**changes))


def message(*, resolved: bool = False, **changes: Any) -> Message:
    return message_of(alert_of(**changes), ends=NOW + 900, instance="gate-1", resolved=resolved)


def test_it_says_who_what_how_much_why_and_what_to_do_next() -> None:
    told = message(what="rule burst rejected 601 USDC, 400 left", owner="treasury", runbook="https://run.example/b")
    assert told.labels == {
        "alertname": "SessiongateRuleHit",
        "job": "sessiongate",
        "instance": "gate-1",
        "severity": "high",
        "chain": "soneium",
        "rule": "burst",
        "mode": "enforce",
        "session": "0x" + session(1).hex(),
        "account": print_checksummed(ACCOUNT),
        "tags": ",money,",
        "owner": "treasury",
    }
    assert told.annotations["summary"] == "Rule burst rejected 601 USDC, 400 left."
    for part in ("client trading-dapp", "d-1", "Ask treasury", f"0x{session(1).hex()}"):
        assert part in told.annotations["description"]
    assert told.annotations["runbook_url"] == "https://run.example/b"
    assert told.annotations["decisions"] == "d-1"
    assert told.annotations["command"].startswith("sessiongate audit --permission-id 0x")


def test_every_kind_has_a_name_and_a_section_of_the_runbook() -> None:
    assert set(ALERT_NAMES) == set(HappeningKind)
    assert len(set(ALERT_NAMES.values())) == len(ALERT_NAMES)
    assert message(kind=HappeningKind.FAILED_OPEN).annotations["runbook_url"] == (
        "deploy/RUNBOOK.md#sessiongatefailopenpass"
    )


def test_every_kind_is_one_that_something_happens_to_be() -> None:
    """Nobody waits for an alert, or reads in the runbook of one, that no gate ever tells."""
    proxy = Path(__file__).parents[3] / "proxy"
    apart = {proxy / "happening.py", proxy / "edge" / "alerts" / "message.py"}
    code = "".join(path.read_text() for path in sorted(proxy.rglob("*.py")) if path not in apart)
    assert [kind.name for kind in HappeningKind if f"HappeningKind.{kind.name}" not in code] == []


@pytest.mark.parametrize("kind", list(HappeningKind))
@pytest.mark.parametrize("bare", [False, True])
def test_the_next_command_of_every_kind_is_one_that_exists(kind: HappeningKind, bare: bool) -> None:
    nobody = {"permission_id": None, "account": None, "rule": None} if bare else {}
    program, *arguments = shlex.split(command_for(happening(kind=kind, user_op_hash=session(9), **nobody)))
    assert program == "sessiongate"
    done = CliRunner().invoke(application, [*arguments, "--config", "/nowhere/sessiongate.yaml"])
    # every option was understood: what is wrong is the file
    assert "/nowhere/sessiongate.yaml:1: cannot be read" in done.output.replace("\n", " ")


def test_many_sessions_in_one_alert_are_said_to_be_many() -> None:
    board = Board(max_active=1, resolve_after_seconds=900)
    board.note(happening(1))
    told = message_of(board.note(happening(2)), ends=NOW, instance="gate-1")
    assert "session" not in told.labels
    assert told.annotations["summary"] == "Rule burst fired on soneium for many sessions, too many to name each."


def test_a_webhook_can_prove_who_sent_it_and_when() -> None:
    post = webhook_post(message(), secret=SECRET, now=NOW)
    signed = post.headers["X-Sessiongate-Timestamp"].encode() + b"." + post.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert post.headers["X-Sessiongate-Signature"] == f"v1={expected}"
    assert post.headers["X-Sessiongate-Timestamp"] == str(int(NOW))
    assert SECRET not in repr(post)
    body = orjson.loads(post.body)
    assert (body["status"], body["startsAt"], body["count"]) == ("firing", "2023-11-14T22:13:20.000Z", 1)


def test_each_try_of_one_message_has_one_delivery_id_and_the_end_has_another() -> None:
    first, again = (webhook_post(message(), secret=SECRET, now=NOW + later) for later in (0, 30))
    over = webhook_post(message(resolved=True), secret=SECRET, now=NOW)
    assert first.headers["X-Sessiongate-Delivery"] == again.headers["X-Sessiongate-Delivery"]
    assert first.headers["X-Sessiongate-Delivery"] != over.headers["X-Sessiongate-Delivery"]
    assert orjson.loads(first.body)["dedupeKey"] == orjson.loads(over.body)["dedupeKey"]


def test_what_begins_anew_after_its_end_is_no_repeated_delivery_of_what_was_before() -> None:
    board = Board(max_active=10, resolve_after_seconds=900)
    posts = []
    for begins in (NOW, NOW + 2_000):
        alert = board.note(happening(unix_time=begins))
        for over in (False, True):
            told = message_of(alert, ends=begins + 900, instance="gate-1", resolved=over)
            posts.append(webhook_post(told, secret=SECRET, now=begins))
        assert list(board.take_ended(begins + 900)) == [alert]
    assert len({post.headers["X-Sessiongate-Delivery"] for post in posts}) == 4
    assert len({orjson.loads(post.body)["dedupeKey"] for post in posts}) == 1


@pytest.mark.parametrize(
    ("severity", "theirs"),
    list(zip(Severity, ["info", "info", "warning", "error", "critical"], strict=True)),
)
def test_pagerduty_gets_an_incident_of_its_own_severities(severity: Severity, theirs: str) -> None:
    body = orjson.loads(pagerduty_post(message(severity=severity), routing_key="r-key-123").body)
    assert (body["event_action"], body["routing_key"]) == ("trigger", "r-key-123")
    assert body["payload"]["severity"] == theirs
    assert len(body["dedup_key"]) <= 255
    assert body["payload"]["summary"]
    over = orjson.loads(pagerduty_post(message(severity=severity, resolved=True), routing_key="r-key-123").body)
    assert over == {"routing_key": "r-key-123", "event_action": "resolve", "dedup_key": body["dedup_key"]}


def test_a_summary_longer_than_pagerduty_takes_is_cut() -> None:
    body = orjson.loads(pagerduty_post(message(what="x" * 5_000), routing_key="r-key-123").body)
    assert len(body["payload"]["summary"]) == 1_024


def test_alertmanager_gets_labels_annotations_and_both_times() -> None:
    (alert,) = orjson.loads(alertmanager_post([message()]).body)
    assert alert["startsAt"] == "2023-11-14T22:13:20.000Z"
    assert alert["endsAt"] == "2023-11-14T22:28:20.000Z"
    assert alert["labels"]["alertname"] == "SessiongateRuleHit"
    assert all(isinstance(value, str) and value for value in alert["labels"].values())
    assert bytes(ACCOUNT).hex() in alert["labels"]["account"].lower()
