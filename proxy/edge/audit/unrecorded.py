"""What the trail would tell of a decision that is on no record."""

from __future__ import annotations

from proxy.edge.audit.plain import plain_decision
from proxy.edge.audit.printing import print_plain
from proxy.edge.audit.row import AuditRow, decision_row
from proxy.edge.audit.schema import CONTENT
from proxy.judge.decision import Decision


def row_of(decision: Decision, *, forwarding: bool = False) -> AuditRow:
    """The row of it, were it recorded."""
    columns = dict(zip(CONTENT, (0, 0, None, *print_plain(plain_decision(decision, forwarding))), strict=True))
    return decision_row(columns, answer=decision.upstream, end=None, open_run=True)
