"""The file of the audit trail: its tables, and how it is opened.

`records` is only ever appended to, and pruned from its old end. `id` is a record's place in the chain, without holes;
`seq` the number it was given when it was queued, counted anew in each run of a gate, so that what was lost on the way
to the disk leaves a hole that a `gap` record accounts for. What the gate writes of its own accord has no `seq`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from proxy.ledger.bound_values import bind_as_they_are


class RecordKind(StrEnum):
    """What a record tells."""

    START = "start"  # a gate began to write; `run` is this record's own id
    DECISION = "decision"
    ANSWER = "answer"  # what the bundler said to the operation of a decision
    END = "end"  # what became of an operation
    DEED = "deed"  # what people, files and signals did to the gate
    SAMPLED = "sampled"  # refusals past the rate: counted, not kept
    GAP = "gap"  # records lost before they were written
    CHECKPOINT = "checkpoint"  # the oldest records were pruned
    STOP = "stop"  # a gate ended in good order


CONTENT: Final = (
    *("id", "run", "seq", "kind", "unix_time", "decision_id", "chain", "client", "method", "mode", "verdict", "code"),
    *("user_op_hash", "account", "permission_id", "session_mode", "forwarding", "estimate"),
    *("reasons", "notes", "calls", "facts", "rules", "detail"),
)
"""The columns that a record's hash covers, in that order."""

DECISIONS: Final = f"kind = '{RecordKind.DECISION}' AND verdict IS NOT NULL"
"""The condition for decisions, in words that their indexes are known by."""

OF_THE_TRAIL: Final = (
    f"kind NOT IN ('{RecordKind.DECISION}', '{RecordKind.ANSWER}', '{RecordKind.END}')"
    " AND decision_id IS NULL AND user_op_hash IS NULL"
)
"""The condition for what is neither of an operation nor of a decision; in the words of earlier releases' index, too."""

_SEGMENTS: Final = (
    "CREATE TABLE segments (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, oldest REAL NOT NULL,"
    " newest REAL NOT NULL, postings BLOB NOT NULL)"
)

SCHEMA: Final = (
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL, seq INTEGER, kind TEXT NOT NULL, unix_time REAL NOT NULL,
        decision_id TEXT, chain TEXT, client TEXT, method TEXT, mode TEXT, verdict TEXT, code INTEGER,
        user_op_hash BLOB, account BLOB, permission_id BLOB, session_mode TEXT, forwarding INTEGER, estimate INTEGER,
        reasons TEXT, notes TEXT, calls TEXT, facts TEXT, rules TEXT, detail TEXT,
        hash BLOB NOT NULL
    )""",
    # by what is missing, not by the kind: that is asked of every record that is written
    "CREATE INDEX records_of_the_trail ON records (id) WHERE decision_id IS NULL AND user_op_hash IS NULL",
    # the others find records by what they are of and when: see `proxy.edge.audit.postings`
    _SEGMENTS,
    # found again from the records themselves: an index by rule, of which a decision may have many
    "CREATE TABLE fired (rule TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (rule, id)) WITHOUT ROWID",
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, hash BLOB NOT NULL,"
    " seal BLOB NOT NULL)",
)

_OF_SCHEMA_1: Final = (
    *(f"DROP INDEX IF EXISTS records_by_{name}" for name in ("time", "decision", "operation", "account", "session")),
    _SEGMENTS,
)
"""What makes a trail of the first schema one of the second."""

_VERSION: Final = 2
_APPLICATION: Final = 0x53474154  # "SGAT"
_BUSY_SECONDS: Final = 5.0


def open_trail(path: Path | str) -> sqlite3.Connection:
    """A connection to the trail for its writer, the tables made when needed. Any one thread at a time may use it.

    Raises `sqlite3.Error`, also for a file that is no trail or one of a newer release.
    """
    bind_as_they_are()
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # only a power cut could cost the last commits
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        with transaction(connection):
            _make(connection)
    except BaseException:  # closed, and raised again
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application not in (0, _APPLICATION) or (version and not application):
        raise sqlite3.DatabaseError("the file is a database of another kind, no audit trail")
    if version > _VERSION:
        raise sqlite3.DatabaseError(f"audit trail of schema {version}, this release knows {_VERSION}")
    if version < _VERSION:
        for statement in SCHEMA if version == 0 else _OF_SCHEMA_1:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def open_trail_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises `FileNotFoundError` when there is no file."""
    if not path.exists():
        raise FileNotFoundError(path)
    # mode=rw and not ro: reading a database with a write-ahead log takes part in its shared memory file
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the database has such a table."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
    return bool(found.fetchone())


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # rolled back, and raised again
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
