"""Trails written for tests, and how decisions get into them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxy.edge.audit.holding import hold_trail
from proxy.edge.audit.reading import Trail, read_audit
from proxy.edge.audit.row import AuditRow
from proxy.edge.audit.space import Disk
from proxy.edge.audit.writer import AuditWriter, WriterSettings
from proxy.judge.decision import Decision

ROOMY = Disk(total=1 << 40, free=1 << 39)


def record(writer: AuditWriter, made: Decision, *, forwarding: bool = False) -> bool:
    """Put a decision on record, and its answer when it has one."""
    taken = writer.door.decided(made, forwarding=forwarding or made.upstream is not None)
    if made.upstream is not None:
        writer.door.answered(made.decision_id, made.upstream)
    return taken


def begin(writer: AuditWriter) -> None:
    """Have it write, as soon as nobody else does."""
    writer.start(asyncio.run(hold_trail(writer.path)))


@contextmanager
def writing(path: Path, *, settings: WriterSettings | None = None, **parts: Any) -> Iterator[AuditWriter]:
    """A writer at work."""
    writer = AuditWriter(path, settings, **({"disk": lambda _path: ROOMY} | parts))
    begin(writer)
    try:
        yield writer
    finally:
        writer.stop()


def rows(path: Path) -> list[AuditRow]:
    """Every decision of a trail."""
    return list(read_audit(Trail(path)))
