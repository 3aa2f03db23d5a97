"""Every decision is counted and written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.config.service import NamedSession
from proxy.edge.audit.reading import Trail, read_audit
from proxy.edge.audit.row import Forward
from proxy.edge.audit.writer import AuditWriter
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.recorder import EdgeRecorder
from proxy.happening import Happening, HappeningKind
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Allow, Mode
from proxy.methods import MethodClass
from proxy.ports import OperationEnd, Recorder, RequestContext, RequestOutcome
from proxy.session.outcome import Waived
from proxy.userop.primitives import print_bytes
from tests.edge.audit.trails import begin
from tests.edge.builders import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_PERMISSION,
    OUT_OF_SCOPE,
    PERMISSION,
    USER_OP_HASH,
    decision,
    gate_metrics,
)


class Heard:
    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def raise_(self, happening: Happening) -> None:
        self.happenings.append(happening)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    metrics.refresh()
    samples = [s for f in text_string_to_metric_families(metrics.render().decode()) for s in f.samples]
    (found,) = [s.value for s in samples if s.name == f"sessiongate_{name}" and s.labels == labels]
    return found


def test_it_is_what_the_gate_asks_for() -> None:
    recorder: Recorder = EdgeRecorder(gate_metrics(), None)
    recorder.forwarded("soneium-1", 0.01)


def test_a_decision_is_counted_and_on_file_with_its_answer(tmp_path: Path) -> None:
    metrics = gate_metrics()
    audit = AuditWriter(tmp_path / "gate.db")
    begin(audit)
    recorder = EdgeRecorder(metrics, audit)
    recorder.decided(decision("a"), forwarding=True, seconds=0.00004)
    recorder.decided(decision("b", verdict=OUT_OF_SCOPE, mode=Mode.SHADOW), forwarding=False, seconds=0.00004)
    recorder.answered("a", UpstreamAnswer(result="0x1"))
    audit.stop()
    first, second = read_audit(Trail(tmp_path / "gate.db"))
    assert (first.decision_id, first.forward, first.upstream) == ("a", Forward.ANSWERED, UpstreamAnswer(result="0x1"))
    assert (second.decision_id, second.forward) == ("b", Forward.NONE)
    assert value(metrics, "verdicts_total", chain="soneium", code="allow", mode="enforce") == 1
    assert value(metrics, "verdicts_total", chain="soneium", code="session_scope", mode="shadow") == 1
    assert value(metrics, "decision_seconds_count", chain="soneium") == 2


def test_every_end_of_a_request_is_counted_under_its_outcome() -> None:
    metrics = gate_metrics()
    recorder = EdgeRecorder(metrics, None)
    context = RequestContext("soneium", "trading-dapp", None)
    for outcome in RequestOutcome:
        recorder.ended(context, MethodClass.SUBMIT, outcome)
    for outcome in RequestOutcome:
        labels = {"chain": "soneium", "method_class": "submit", "outcome": outcome.value}
        assert value(metrics, "requests_total", **labels) == 1
    assert value(metrics, "requests_total", chain="soneium", method_class="submit", outcome="other") == 0


def test_records_the_audit_lost_are_counted_once_however_often_it_is_scraped(tmp_path: Path) -> None:
    metrics = gate_metrics()
    audit = AuditWriter(tmp_path / "gate.db")
    begin(audit)
    recorder = EdgeRecorder(metrics, audit)
    assert value(metrics, "audit_writable") == 1
    audit.stop()
    recorder.decided(decision("after the end"), forwarding=False, seconds=0.1)
    assert value(metrics, "audit_dropped_total") == 1
    assert value(metrics, "audit_dropped_total") == 1
    recorder.answered("after the end", UpstreamAnswer())
    assert value(metrics, "audit_dropped_total") == 2


def test_a_gate_without_a_trail_does_not_claim_that_writing_fails() -> None:
    metrics = gate_metrics()
    recorder = EdgeRecorder(metrics, None)
    recorder.decided(decision(), forwarding=True, seconds=0.1)
    recorder.answered("d-1", UpstreamAnswer())
    assert value(metrics, "audit_writable") == 1
    assert value(metrics, "audit_dropped_total") == 0


def test_what_passes_only_because_a_setting_lets_it_is_counted_as_failing_open() -> None:
    metrics = gate_metrics()
    recorder = EdgeRecorder(metrics, None)
    recorder.decided(decision(), forwarding=True, seconds=0.1)
    assert value(metrics, "fail_open_total", what="session") == 0
    recorder.decided(decision(verdict=Allow(waived=(Waived.SESSION, Waived.POLICY))), forwarding=True, seconds=0.1)
    assert [value(metrics, "fail_open_total", what=each) for each in Waived] == [1, 1, 0, 0]


def test_the_end_of_an_operation_is_logged_by_its_hash_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    recorder: Recorder = EdgeRecorder(gate_metrics(), None)
    with caplog.at_level("INFO"):
        recorder.operation_ended(OperationEnd(chain="soneium", user_op_hash=USER_OP_HASH, cause="mined", success=False))
    assert caplog.messages == [f"operation {print_bytes(USER_OP_HASH)} of soneium ended: mined, reverted"]


def test_the_ends_of_operations_are_counted_by_why_and_one_nobody_expects_is_told() -> None:
    metrics, heard = gate_metrics(), Heard()
    recorder = EdgeRecorder(metrics, None, alerts=heard)
    end = OperationEnd(chain="soneium", user_op_hash=USER_OP_HASH, cause="mined", success=False, seconds=2.0)
    recorder.operation_ended(end)
    recorder.operation_ended(end._replace(cause="unmined", success=None))
    shown = metrics.render().decode()
    assert 'sessiongate_operations_ended_total{cause="mined",chain="soneium"} 1.0' in shown
    assert 'sessiongate_operations_ended_total{cause="unmined",chain="soneium"} 1.0' in shown
    assert 'sessiongate_operations_reverted_total{chain="soneium"} 1.0' in shown
    assert 'sessiongate_inclusion_seconds_count{chain="soneium"} 1.0' in shown
    assert [each.kind for each in heard.happenings] == [HappeningKind.NEVER_MINED]


def test_a_session_that_the_settings_name_has_series_of_its_own_and_no_other_has() -> None:
    named = NamedSession.model_validate({"name": "mm", "permission_id": print_bytes(PERMISSION)})
    metrics = Metrics(chains=["soneium"], sessions=[named])
    recorder = EdgeRecorder(metrics, None)
    for each in (decision(), decision(verdict=OUT_OF_SCOPE), decision(permission_id=OTHER_PERMISSION)):
        recorder.decided(each, forwarding=False, seconds=0.001)
    assert value(metrics, "named_session_operations_total", session="mm", code="allow") == 1
    assert value(metrics, "named_session_operations_total", session="mm", code="session_scope") == 1
    assert OTHER_PERMISSION.hex() not in metrics.render().decode()
    assert PERMISSION.hex() not in metrics.render().decode()


def test_of_two_accounts_with_one_permission_id_the_named_one_is_counted() -> None:
    fields = {"name": "mm", "permission_id": print_bytes(PERMISSION), "account": print_bytes(ACCOUNT)}
    metrics = Metrics(chains=["soneium"], sessions=[NamedSession.model_validate(fields)])
    recorder = EdgeRecorder(metrics, None)
    for account in (ACCOUNT, OTHER_ACCOUNT):
        recorder.decided(decision(account=account), forwarding=False, seconds=0.001)
    assert value(metrics, "named_session_operations_total", session="mm", code="allow") == 1
