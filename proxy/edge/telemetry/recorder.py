"""The one place where every request is counted and every decision is written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from proxy.edge.alerts.sources import happening_of_end, is_of_note
from proxy.edge.audit.writer import AuditWriter
from proxy.edge.telemetry.logs import OperationLog
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.rule_metrics import RuleName
from proxy.errors import Code
from proxy.happening import Alerts, Silence
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import ALLOWED, Allow, Reject
from proxy.methods import MethodClass, is_preview
from proxy.ports import Deed, OperationEnd, Repeat, RequestContext, RequestOutcome
from proxy.userop.primitives import print_bytes

_LOG: Final = logging.getLogger(__name__)
_MINED: Final = "mined"


class EdgeRecorder:
    """See `proxy.ports.Recorder` for the meaning of each call. `audit` is `None` where no trail is kept.

    `tell` is handed each decision that ops may want to hear of at once; it never waits and never raises. `alerts` hears
    of operations whose end nobody expects, `log` has a line of operations.
    """

    def __init__(
        self,
        metrics: Metrics,
        audit: AuditWriter | None,
        tell: Callable[[Decision], None] | None = None,
        alerts: Alerts | None = None,
        log: OperationLog | None = None,
    ) -> None:
        self._log = log
        self._alerts = Silence() if alerts is None else alerts
        self._metrics = metrics
        self._audit = audit
        self._door = None if audit is None else audit.door
        self._tell = tell
        self._dropped = 0
        metrics.before_each_scrape(self._refresh)

    def write(self, log: OperationLog) -> None:
        """From now on operations have lines of this log."""
        self._log = log

    def decided(self, decision: Decision, *, forwarding: bool, seconds: float) -> None:
        metrics = self._metrics
        _, _, mode, verdict, chain = decision[:5]  # in one go: to ask for each by its name takes twice as long
        metrics.decided(chain, verdict, mode, seconds)
        if metrics.names_sessions and decision.permission_id is not None:
            metrics.session_decided(decision.permission_id, decision.account, verdict)
        if self._door is not None:
            self._door.decided(decision, forwarding=forwarding)
        if verdict is not ALLOWED or decision.hits or decision.opened:
            self._tell_more(decision, seconds)
        elif self._log is not None and self._log.has_all:
            self._log.decided(decision, seconds)

    def _tell_more(self, decision: Decision, seconds: float) -> None:
        """Of what may be more than an operation that was allowed and nothing else."""
        verdict = decision.verdict
        if self._log is not None:
            self._log.decided(decision, seconds)
        if decision.hits or decision.opened:
            hits = [RuleName(hit.rule.id, hit.mode, hit.rule.severity) for hit in decision.hits]
            self._metrics.rules_decided(hits, decision.opened)
        if isinstance(verdict, Reject) and verdict.first.code is Code.STATE_UNAVAILABLE:
            self._metrics.state_unavailable(verdict.first.missing or "node")
        elif isinstance(verdict, Allow):
            for each in verdict.waived:
                self._metrics.failed_open(each)
            if verdict.elsewhere is not None and not is_preview(decision.method):
                self._metrics.operations.enforced_elsewhere(decision.chain, verdict.elsewhere)
        if self._tell is not None and is_of_note(decision):
            self._tell(decision)

    def forwarded(self, endpoint: str, seconds: float) -> None:
        self._metrics.upstream_answered(endpoint, seconds)

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> None:
        if self._door is not None:
            self._door.answered(decision_id, answer)

    def ended(self, context: RequestContext, method_class: MethodClass, outcome: RequestOutcome) -> None:
        self._metrics.request(context.chain, method_class, outcome, context.client)

    def repeated(self, context: RequestContext, repeat: Repeat) -> None:
        self._metrics.operations.repeated(context.chain)
        if (
            repeat.times > 1 or repeat.decision_id is None
        ):  # once for each refusal is enough; what nobody judged has none
            return
        code = "without a code" if repeat.code is None else str(repeat.code)
        self.noted(
            Deed(
                what="refused_operation_repeated",
                who=context.client,
                why=f"the bundler had just refused it ({code}), and was not asked again",
                chain=context.chain,
                account=repeat.account,
                details={"decision_id": repeat.decision_id, "method": repeat.method, "code": repeat.code},
            )
        )

    def operation_ended(self, end: OperationEnd) -> None:
        if _LOG.isEnabledFor(logging.INFO):
            _LOG.info(
                "operation %s of %s ended: %s%s",
                *(print_bytes(end.user_op_hash), end.chain, end.cause, ", reverted" if end.success is False else ""),
            )
        if end.cause == _MINED:
            self._metrics.operations.mined(end.chain, success=end.success is not False, seconds=end.seconds)
        else:
            self._metrics.operations.ended(end.chain, end.cause)
            if (happening := happening_of_end(end, time.time())) is not None:
                self._alerts.raise_(happening)
        if self._door is not None:
            self._door.ended(end)

    def noted(self, deed: Deed) -> None:
        _LOG.info("%s by %s%s", deed.what, deed.who, f": {deed.why}" if deed.why else "")
        if self._door is not None:
            self._door.noted(deed)

    def _refresh(self) -> None:
        if self._audit is None:
            self._metrics.audit_state(queued=0, writable=True)
            return
        dropped = self._audit.dropped
        self._metrics.audit_dropped(dropped - self._dropped)
        self._dropped = dropped
        self._metrics.audit_state(queued=self._audit.queued, writable=self._audit.writable)
        self._metrics.health.queue("audit", self._audit.queued)
        self._metrics.audit_left_out(self._audit.door.left_out)
        with suppress(OSError):  # a disk that cannot be asked keeps the last value
            disk = self._audit.room()
            self._metrics.health.disk("audit", free=disk.free, total=disk.total)
