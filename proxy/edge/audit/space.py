"""How much room the trail may take, and what it leaves to the ledger."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_RESERVE_PART: Final = 10
_MOST_RESERVE: Final = 1 << 30
_FULL: Final = 0.9
"""Of the budget: the rest is for the write-ahead log and for pages between two looks."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of a file system."""

    total: int
    free: int


def disk_of(path: Path) -> Disk:
    """The file system that holds `path`. Raises `OSError`."""
    found = os.statvfs(path)
    return Disk(total=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


@dataclass(frozen=True, slots=True)
class DiskBudget:
    """The settings of it: bytes of the trail, and bytes of the disk that are the ledger's alone.

    Without `reserve_bytes` a tenth of the disk is reserved, at most 1 GiB.
    """

    max_bytes: int
    reserve_bytes: int | None = None
    retention_seconds: float | None = None

    def reserve_of(self, disk: Disk) -> int:
        """What the trail must leave free."""
        if self.reserve_bytes is not None:
            return self.reserve_bytes
        return min(disk.total // _RESERVE_PART, _MOST_RESERVE)

    @property
    def prune_from(self) -> int:
        """Used bytes from which the oldest records go."""
        return int(self.max_bytes * _FULL)


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the records take, pages that are free again not counted."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def cap(connection: sqlite3.Connection, budget: DiskBudget) -> None:
    """Have the database itself refuse to grow past the budget."""
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count = {max(budget.max_bytes // size, 64)}")
