"""What a command does to a gate that is not running goes on record all the same, in a run of its own."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from proxy.config import AuditBy, Config
from proxy.ports import Deed


def command_line() -> str:
    """Who types, for the record."""
    return f"the command line, user {os.getuid()}"


def put_on_record(config: Config, ledger: Path, deed: Deed) -> str | None:
    """Write it down; why that could not be done, `None` when it was."""
    # imported late: the other commands start without the server
    from proxy.app.settings import audit_writer  # noqa: PLC0415  # only a change without a gate needs it
    from proxy.edge.audit.holding import hold_trail  # noqa: PLC0415  # as above

    writer = audit_writer(config, ledger, AuditBy.THREAD)
    try:
        writer.start(asyncio.run(hold_trail(writer.path)))
    except sqlite3.Error as error:
        return f"this is not on record: {error}"
    writer.door.noted(deed)
    writer.stop()
    return "this is not on record: the audit trail takes no writes" if writer.dropped else None
