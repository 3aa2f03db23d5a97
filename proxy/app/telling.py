"""Who hears how operations end: the log, the metrics, the audit, and ops where it is worth telling at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proxy.chain.settlement.ends import End
from proxy.edge.telemetry.metrics import Metrics
from proxy.happening import Alerts, Happening, HappeningKind
from proxy.ledger.operations import Ended
from proxy.ports import OperationEnd, Recorder
from proxy.session.counters import SessionKey
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import print_bytes

_LOG: Final = logging.getLogger(__name__)


class Telling:
    """For one chain, by its name in the settings. `clock` gives unix seconds."""

    def __init__(
        self, chain: str, *, recorder: Recorder, metrics: Metrics, alerts: Alerts, clock: Callable[[], float]
    ) -> None:
        self._chain = chain
        self._recorder = recorder
        self._metrics = metrics
        self._alerts = alerts
        self._clock = clock

    def ended(self, end: End) -> None:
        """An operation has ended, or holds less from now on."""
        ended = end.ended
        operation, mined, evidence = ended.operation, ended.mined, ended.evidence
        session = operation.reservation.session
        at = ended.ended_at if evidence.timestamp is None else evidence.timestamp
        seconds = max(at - operation.accepted_at, 0.0)
        self._recorder.operation_ended(
            OperationEnd(
                chain=self._chain,
                user_op_hash=operation.user_op_hash,
                cause=ended.cause,
                account=operation.reservation.slot.sender,
                permission_id=None if session is None else session.permission_id,
                success=None if mined is None else mined.success,
                revert_reason=None
                if mined is None or mined.revert_reason is None
                else print_bytes(mined.revert_reason),
                transaction=evidence.transaction,
                block=evidence.block,
                gas_used=None if mined is None else mined.gas_used,
                cost=None if mined is None else mined.gas_cost,
                seconds=seconds,
            )
        )
        if end.late:
            self._tell_late(ended)

    def used_past_gate(self, key: SessionKey) -> None:
        """A session known here was used by an operation that did not come through here."""
        self._metrics.operations.past_gate(self._chain, "use")
        self._alerts.raise_(
            Happening(
                kind=HappeningKind.USE_PAST_GATE,
                severity=Severity.HIGH,
                unix_time=self._clock(),
                what="the session was used on chain by an operation that did not come through this gate",
                chain=self._chain,
                account=key.account,
                permission_id=key.permission_id,
            )
        )

    def _tell_late(self, ended: Ended) -> None:
        name = print_bytes(ended.operation.user_op_hash)
        what = f"operation {name}, of which something had been let go, has ended after all: {ended.cause}"
        _LOG.warning("%s", what)
        session = ended.operation.reservation.session
        self._alerts.raise_(
            Happening(
                kind=HappeningKind.NEVER_MINED,
                severity=Severity.HIGH,
                unix_time=ended.ended_at,
                what=what,
                chain=self._chain,
                account=ended.operation.reservation.slot.sender,
                permission_id=None if session is None else session.permission_id,
                user_op_hash=ended.operation.user_op_hash,
            )
        )
