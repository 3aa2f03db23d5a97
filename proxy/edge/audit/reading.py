"""The audit trail read back: once, or followed as it grows. Written by `proxy.edge.audit.writer`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from proxy.edge.audit.row import AUDIT_FIELDS, AuditRow, Forward, read_row
from proxy.userop.primitives import Address, Hash32


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which rows to read; every field given must match. `limit` keeps the newest that many."""

    since: float | None = None  # unix seconds, inclusive
    until: float | None = None  # unix seconds, exclusive
    chain: str | None = None
    client: str | None = None
    account: Address | None = None
    permission_id: Hash32 | None = None
    user_op_hash: Hash32 | None = None
    decision_id: str | None = None
    verdict: str | None = None  # allow | reject
    code: int | None = None
    after_id: int | None = None  # exclusive
    until_id: int | None = None  # inclusive
    limit: int | None = None

    def where(self) -> tuple[str, list[object]]:
        """The SQL condition and its parameters."""
        terms: tuple[tuple[str, object], ...] = (
            ("unix_time >= ?", self.since),
            ("unix_time < ?", self.until),
            ("id > ?", self.after_id),
            ("id <= ?", self.until_id),
            *((f"{name} = ?", getattr(self, name)) for name in _EQUAL),
        )
        given = [(term, value) for term, value in terms if value is not None]
        return " AND ".join(term for term, _ in given) or "1", [value for _, value in given]


_EQUAL: Final = ("chain", "client", "account", "permission_id", "user_op_hash", "decision_id", "verdict", "code")


def read_audit(path: Path, wanted: AuditFilter | None = None) -> Iterator[AuditRow]:
    """The rows that match, oldest first; with `limit` the newest that many, still oldest first.

    Reads beside a running gate without holding it up. Raises `FileNotFoundError` when there is no database.
    """
    with closing(_open_reader(path)) as connection:
        yield from _rows(connection, wanted or AuditFilter())


def follow_audit(
    path: Path,
    wanted: AuditFilter | None = None,
    *,
    poll_seconds: float = 0.25,
    patience_seconds: float = 30.0,
    until: Callable[[], bool] = lambda: False,
) -> Iterator[AuditRow]:
    """The rows that match, then each new one, until `until()` says so.

    A row whose answer is still to come is held back for up to `patience_seconds`, so that each decision is shown
    once and, as a rule, complete. Nothing else waits for it.
    """
    wanted = wanted or AuditFilter()
    waiting: dict[int, float] = {}
    with closing(_open_reader(path)) as connection:
        while True:
            last_round = until()
            newest = _newest_id(connection)
            fresh = list(_rows(connection, wanted))
            now = time.monotonic()
            for row in [*_reread(connection, waiting), *fresh]:
                since = waiting.setdefault(row.row_id, now)
                if row.forward is not Forward.PENDING or now - since >= patience_seconds or last_round:
                    del waiting[row.row_id]
                    yield row
            if last_round:
                return
            # rows committed after `newest` was read may be among the fresh ones already
            wanted = replace(wanted, limit=None, after_id=max([newest, *(row.row_id for row in fresh)]))
            time.sleep(poll_seconds)


def _open_reader(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(path)
    # mode=rw and not ro: reading a WAL database takes part in its shared memory file
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _has_trail(connection: sqlite3.Connection) -> bool:
    # the table is made by the first gate that keeps a trail in this database
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'audit'").fetchone())


def _newest_id(connection: sqlite3.Connection) -> int:
    if not _has_trail(connection):
        return 0
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM audit").fetchone()
    return int(newest)


def _reread(connection: sqlite3.Connection, row_ids: Collection[int]) -> Iterator[AuditRow]:
    for row_id in list(row_ids):
        # a row that was pruned meanwhile is gone; it stays in `row_ids`, which costs one lookup a round
        yield from _rows(connection, AuditFilter(after_id=row_id - 1, until_id=row_id))


def _rows(connection: sqlite3.Connection, wanted: AuditFilter) -> Iterator[AuditRow]:
    if not _has_trail(connection):
        return
    condition, parameters = wanted.where()
    columns = f"id, {', '.join(AUDIT_FIELDS)}"
    # only names and conditions written in this file are put together here; every value is bound
    query = f"SELECT {columns} FROM audit WHERE {condition}"  # noqa: S608
    if wanted.limit is None:
        query += " ORDER BY id"
    else:
        query = f"SELECT * FROM ({query} ORDER BY id DESC LIMIT ?) ORDER BY id"  # noqa: S608
        parameters.append(wanted.limit)
    for columns_of_row in connection.execute(query, parameters):
        yield read_row(columns_of_row)
