"""Whether the audit trail and the disk under it are fit for service."""

from __future__ import annotations

from proxy.edge.admin.server import Check
from proxy.edge.audit.writer import AuditWriter

_NAME = "audit"


def check_audit(audit: AuditWriter) -> Check:
    """Whether records can be written, and whether the disk has room enough for the ledger.

    The trail leaves the ledger's reserve alone; where half of it is gone something else fills the disk.
    """
    try:
        disk = audit.room()
    except OSError as error:
        return Check(_NAME, ok=False, why=f"its disk cannot be asked: {error.strerror}")
    left = f"{disk.free} bytes left of the disk"
    if disk.free < audit.budget.reserve_of(disk) // 2:
        return Check(_NAME, ok=False, why=f"{left}: half of what is reserved for the ledger is gone")
    if not audit.writable:
        return Check(_NAME, ok=False, why=f"not writable, {audit.queued} records wait; {left}")
    return Check(_NAME, ok=True, why=f"writable, {audit.used} of at most {audit.budget.max_bytes} bytes; {left}")
