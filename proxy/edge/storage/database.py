"""The gate's one database file: how it is opened, and the tables of the store.

The audit trail has a table of its own in the same file, which its writer makes (`proxy.edge.audit.row`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from proxy.ledger import daybook, doubts, rule_tables, session_uses
from proxy.ledger.bound_values import bind_as_they_are
from proxy.ledger.sqlite import BY_PREFIX, CLAIMS, GRANTS_TOLD, IN_ORDER, LATER_COLUMNS, TABLES, WITH_COUNTS

MIGRATIONS: Final = (
    """CREATE TABLE sessions (
        chain_id INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL, permission_id BLOB NOT NULL,
        status TEXT NOT NULL, source TEXT NOT NULL, state TEXT, granted_by BLOB, block INTEGER,
        updated_at REAL NOT NULL,
        PRIMARY KEY (chain_id, module, account, permission_id)
    ) WITHOUT ROWID""",
    """CREATE TABLE freezes (
        permission_id BLOB NOT NULL, account BLOB NOT NULL, chain_id INTEGER NOT NULL,
        since REAL NOT NULL, note TEXT NOT NULL,
        PRIMARY KEY (permission_id, account, chain_id)
    ) WITHOUT ROWID""",
    """CREATE TABLE operations_in_flight (
        user_op_hash BLOB NOT NULL PRIMARY KEY, accepted_at REAL NOT NULL, record TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE declared_uses (
        module BLOB NOT NULL, account BLOB NOT NULL, policy BLOB NOT NULL, config_id BLOB NOT NULL,
        slot BLOB NOT NULL, uses INTEGER NOT NULL,
        PRIMARY KEY (module, account, policy, config_id, slot)
    ) WITHOUT ROWID""",
    """CREATE TABLE cursors (
        chain_id INTEGER NOT NULL PRIMARY KEY, block INTEGER NOT NULL, block_hash BLOB NOT NULL
    ) WITHOUT ROWID""",
    *TABLES,
    "CREATE TABLE probes (id INTEGER NOT NULL PRIMARY KEY, written_at REAL NOT NULL)",
    *LATER_COLUMNS,
    *rule_tables.TABLES,
    """CREATE TABLE allowances (
        rule TEXT NOT NULL, mark BLOB NOT NULL, thing TEXT NOT NULL, since REAL NOT NULL, until REAL,
        reason TEXT NOT NULL, PRIMARY KEY (rule, mark)
    ) WITHOUT ROWID""",
    *CLAIMS,
    """CREATE TABLE settled (
        chain_id INTEGER NOT NULL PRIMARY KEY, block INTEGER NOT NULL, block_hash BLOB NOT NULL,
        timestamp INTEGER NOT NULL, known_seconds REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE settled_blocks (
        chain_id INTEGER NOT NULL, block INTEGER NOT NULL, block_hash BLOB NOT NULL, PRIMARY KEY (chain_id, block)
    ) WITHOUT ROWID""",
    "ALTER TABLE sessions ADD COLUMN since REAL",
    "DROP TABLE cursors",
    *session_uses.TABLES,
    """CREATE TABLE counting_time (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL, ahead REAL NOT NULL
    )""",
    *doubts.TABLES,
    *IN_ORDER,
    *session_uses.IN_ORDER,
    *daybook.TABLES,
    "CREATE TABLE rewound (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), at REAL NOT NULL)",
    *rule_tables.BY_GROUP,
    # from here on records of operations may be short ones: an earlier release does not open the file
    "UPDATE daybook SET open = open",
    *GRANTS_TOLD,
    *BY_PREFIX,
    *session_uses.BY_PREFIX,
    *WITH_COUNTS,
    "ALTER TABLE counting_time ADD COLUMN steady_since REAL",
    "ALTER TABLE settled ADD COLUMN unproven_until REAL",
    *doubts.READ_IN_ORDER,
)
"""Statements that made the tables, in order. Only ever appended to: `PRAGMA user_version` counts those done."""


class Synchronous(StrEnum):
    """What a committed write outlives."""

    NORMAL = "normal"  # the end of the process, `kill -9` included; a power cut may take the last moments
    FULL = "full"  # a power cut
    EXTRA = "extra"  # a power cut, on file systems that lose a directory's newest entries as well


def open_database(
    path: Path | str,
    *,
    synchronous: Synchronous = Synchronous.FULL,
    before: Callable[[sqlite3.Connection], None] = lambda _connection: None,
) -> sqlite3.Connection:
    """A connection to the gate's database, made and brought up to date when needed; what is to be done `before` that
    sees it as an earlier release left it.

    Write-ahead log, so that readers and the writer never wait for one another. May be used from any one thread at a
    time. Raises `sqlite3.Error`, also when the file was written by a newer release.
    """
    bind_as_they_are()
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous.name}")
        connection.execute(LEAVE_FREED)
        _schema_of(connection)
        before(connection)
        _migrate(connection)
    except BaseException:  # closed, and raised again
        connection.close()
        raise
    return connection


_BUSY_SECONDS: Final = 5.0
NO_CHECKPOINTS: Final = "PRAGMA wal_autocheckpoint = 0"
"""For who makes them when it suits."""
LEAVE_FREED: Final = "PRAGMA secure_delete = OFF"
"""Some builds of SQLite write zeros over all that is deleted or changed, which is a fifth of an operation's rows. There
is no secret in them."""
_PAGES: Final = "PRAGMA cache_size = -16384"
"""In KiB: of what has ended in an hour most pages that say whether an operation is known."""
_WRITE_ONCE: Final = "PRAGMA cache_spill = OFF"
"""A page that is written before its transaction ends, and again because more was to change in it, costs the log a third
writing: it has the sums of all that comes behind it."""


def open_prompt(path: Path | str) -> sqlite3.Connection:
    """One more connection to a database that is up to date, which waits neither for a lock nor for the disk."""
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {Synchronous.NORMAL.name}")
    connection.execute(NO_CHECKPOINTS)
    connection.execute(LEAVE_FREED)
    connection.execute(_PAGES)
    connection.execute(_WRITE_ONCE)
    return connection


def _schema_of(connection: sqlite3.Connection) -> int:
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    if done > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"database of schema {done}, this release knows {len(MIGRATIONS)}")
    return int(done)


def _migrate(connection: sqlite3.Connection) -> None:
    if _schema_of(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # read again under the lock: another connection may have migrated meanwhile
        for statement in MIGRATIONS[_schema_of(connection) :]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:  # rolled back, and raised again
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
