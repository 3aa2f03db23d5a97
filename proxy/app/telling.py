"""Who hears how operations end: the log, the metrics, the audit, and ops where it is worth telling at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proxy.chain.settlement.draft import End
from proxy.edge.telemetry.metrics import Metrics
from proxy.happening import Alerts, Happening, HappeningKind
from proxy.ledger.operations import AcceptedOperation, Cause, Ended
from proxy.ports import Deed, OperationEnd, Recorder
from proxy.refused_before import RefusedBefore
from proxy.session.counters import SessionKey
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed

_LOG: Final = logging.getLogger(__name__)
_SEQUENCE: Final = (1 << 64) - 1  # of a nonce
_USED: Final = (Cause.MINED, Cause.NONCE_USED)
_made: Final = tuple.__new__
"""Makes a named tuple without a call of Python's: there is one for every operation."""


class Telling:
    """For one chain, by its name in the settings. `clock` gives unix seconds."""

    def __init__(
        self,
        chain: str,
        *,
        recorder: Recorder,
        metrics: Metrics,
        alerts: Alerts,
        clock: Callable[[], float],
        refused: RefusedBefore,
    ) -> None:
        self._refused = refused
        self._chain = chain
        self._recorder = recorder
        self._metrics = metrics
        self._alerts = alerts
        self._clock = clock
        self._began = clock()

    def ended(self, end: End) -> None:
        """An operation has ended, or holds less from now on."""
        ended = end.ended
        operation, mined, evidence = ended.operation, ended.mined, ended.evidence
        reservation = operation.reservation
        session, account = reservation.session, reservation.slot.sender
        success = reason = gas_used = gas_cost = None
        if mined is not None:
            success, gas_used, gas_cost = mined.success, mined.gas_used, mined.gas_cost
            reason = None if mined.revert_reason is None else print_bytes(mined.revert_reason)
        told = (
            self._chain,
            reservation.user_op_hash,
            ended.cause._value_,  # plain text: the trail is packed, and of plain values only at once
            account,
            None if session is None else session.permission_id,
            success,
            reason,
            evidence.transaction,
            evidence.block,
            gas_used,
            gas_cost,
            max((ended.ended_at if evidence.timestamp is None else evidence.timestamp) - operation.accepted_at, 0.0),
        )
        self._recorder.operation_ended(_made(OperationEnd, told))
        if self._refused.known and ended.cause in _USED:
            self._refused.forget(account)  # what waited for that nonce may be taken now
        if end.late:
            self._tell_late(ended)

    def used_past_gate(self, key: SessionKey, transaction: Hash32, mined_at: float) -> None:
        """An account known here used a session by an operation that did not come through here; the time of its block
        in unix seconds. What was mined before this start may have come through a gate whose ledger is not this one."""
        self._metrics.operations.past_gate(self._chain, "use")
        where = f"in transaction {print_bytes(transaction)}"
        if mined_at < self._began:
            where += (
                ", before this gate started: it went past the gate, or ledger, mark and audit trail are all of a copy "
                "made before it, and what rules had counted since is gone (runbook: SessiongateLedgerRewound)"
            )
        self._tell_of_session(HappeningKind.USE_PAST_GATE, key, "used", where)

    def granted_past_gate(self, key: SessionKey, transaction: Hash32) -> None:
        """An account known here granted a session by nothing that came through here."""
        self._metrics.operations.past_gate(self._chain, "grant")
        self._tell_of_session(
            HappeningKind.GRANT_PAST_GATE, key, "granted", f"in transaction {print_bytes(transaction)}"
        )

    def behind_gap(self, key: SessionKey, user_op_hash: Hash32, missing: int) -> None:
        """An operation waits until this nonce, which is not in flight here, is used."""
        self._metrics.operations.nonce_gap(self._chain)
        sequence = missing & _SEQUENCE
        what = f"operation {print_bytes(user_op_hash)} waits behind nonce {sequence} of its key, which nobody sent here"
        _LOG.warning("%s, and holds what it charges until it is mined", what)
        self._alerts.raise_(
            Happening(
                kind=HappeningKind.NONCE_GAP,
                severity=Severity.MEDIUM,
                unix_time=self._clock(),
                what=f"{what}: it may be mined at any time later, and holds what it charges until then",
                chain=self._chain,
                account=key.account,
                permission_id=key.permission_id,
                user_op_hash=user_op_hash,
            )
        )

    def sent_unheld(self, operation: AcceptedOperation) -> None:
        """An operation is sent although the ledger could not keep what it holds."""
        session, account = operation.reservation.session, operation.reservation.slot.sender
        permission_id = None if session is None else session.permission_id
        name = print_bytes(operation.user_op_hash)
        why = "the ledger could not keep what it holds, and says fail: open"
        _LOG.warning("operation %s of %s is sent although %s", name, print_checksummed(account), why)
        self._metrics.failed_open("ledger")
        self._recorder.noted(
            Deed(
                what="sent_unheld",
                who="the gate",
                why=why,
                chain=self._chain,
                account=account,
                permission_id=permission_id,
                details={"user_op_hash": name},
            )
        )
        self._alerts.raise_(
            Happening(
                kind=HappeningKind.FAILED_OPEN,
                severity=Severity.CRITICAL,
                unix_time=self._clock(),
                what=f"the operation was sent although {why}",
                chain=self._chain,
                account=account,
                permission_id=permission_id,
                user_op_hash=operation.user_op_hash,
            )
        )

    def _tell_of_session(self, kind: HappeningKind, key: SessionKey, did: str, where: str) -> None:
        what = f"was {did} on chain by nothing that this gate saw, {where}"
        _LOG.warning("session %s of %s %s", print_bytes(key.permission_id), print_checksummed(key.account), what)
        self._alerts.raise_(
            Happening(
                kind=kind,
                severity=Severity.HIGH,
                unix_time=self._clock(),
                what=f"the session {what}",
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
