"""The reservations of operations in flight on disk: SQLite, in the gate's one database file.

An operation's row is committed before its first byte is sent, so that it holds what it reserved after a `kill -9`
too. What becomes of it is written in the same transaction as what that does to its session. Operations that have
ended stay for a while, in case the chain takes their block back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from proxy.errors import StateUnavailable
from proxy.ledger.group_commit import Statement
from proxy.ledger.operations import AcceptedOperation, Ended, Mined, Stage
from proxy.ledger.records import record_from_json, record_to_json
from proxy.userop.primitives import Hash32

TABLES: Final = (
    "ALTER TABLE operations_in_flight ADD COLUMN stage TEXT NOT NULL DEFAULT 'accepted'",
    """CREATE TABLE operations_ended (
        user_op_hash BLOB NOT NULL PRIMARY KEY, ended_at REAL NOT NULL, success INTEGER, block INTEGER,
        block_hash BLOB, added INTEGER NOT NULL, accepted_at REAL NOT NULL, record TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX operations_ended_at ON operations_ended (ended_at)",
)
"""Statements that make the tables, for the list of migrations."""

LATER_COLUMNS: Final = ("ALTER TABLE operations_ended ADD COLUMN counted_at INTEGER",)
"""Statements that came later, likewise."""

_BEGIN: Final = "INSERT INTO operations_in_flight VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_STAGE: Final = "UPDATE operations_in_flight SET stage = ? WHERE user_op_hash = ?"
_DROP: Final = "DELETE FROM operations_in_flight WHERE user_op_hash = ?"
_REMEMBER: Final = """INSERT OR REPLACE INTO operations_ended
    SELECT user_op_hash, ?, ?, ?, ?, ?, accepted_at, record, ? FROM operations_in_flight WHERE user_op_hash = ?"""
_FORGET: Final = "DELETE FROM operations_ended WHERE user_op_hash = ?"
_PRUNE: Final = "DELETE FROM operations_ended WHERE ended_at < ?"


def begin(operation: AcceptedOperation, stage: Stage = Stage.FORWARDED) -> Statement:
    """Hold this operation; one that is held already stays as it is."""
    return _BEGIN, (operation.user_op_hash, operation.accepted_at, record_to_json(operation), stage)


def advance(user_op_hash: Hash32, stage: Stage) -> Statement:
    """The operation has come this far."""
    return _STAGE, (stage, user_op_hash)


def end(ended: Iterable[Hash32], remembered: Iterable[Ended]) -> list[Statement]:
    """Operations that hold nothing any more, some of them remembered."""
    statements: list[Statement] = []
    for each in remembered:
        mined = each.mined
        how = (None, None, None) if mined is None else (mined.success, mined.block, mined.block_hash)
        statements.append((_REMEMBER, (each.ended_at, *how, each.added, each.counted_at, each.operation.user_op_hash)))
    return statements + [(_DROP, (user_op_hash,)) for user_op_hash in ended]


def revive(operation: AcceptedOperation) -> tuple[Statement, Statement]:
    """The operation had ended and is in flight again."""
    return begin(operation, Stage.ACCEPTED), (_FORGET, (operation.user_op_hash,))


def prune(before: float) -> Statement:
    """Forget what ended before this time (unix seconds)."""
    return _PRUNE, (before,)


def in_flight(connection: sqlite3.Connection) -> Iterator[tuple[AcceptedOperation, Stage]]:
    """What a restart has to hold again, oldest first. Raises `StateUnavailable` at a row that cannot be read."""
    for record, stage in connection.execute("SELECT record, stage FROM operations_in_flight ORDER BY accepted_at"):
        yield record_from_json(record, AcceptedOperation), _stage(stage)


def ended(connection: sqlite3.Connection) -> Iterator[Ended]:
    """What a reorganisation could still bring back, oldest first. Raises `StateUnavailable` as above."""
    columns = "ended_at, success, block, block_hash, added, counted_at, record"
    for row in connection.execute(f"SELECT {columns} FROM operations_ended ORDER BY ended_at"):  # noqa: S608  # ours
        yield _ended(row)


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise StateUnavailable("the stage of a stored operation cannot be read", fact="ledger") from None


def _ended(row: Sequence[Any]) -> Ended:  # Any: what SQLite has in the columns
    ended_at, success, block, block_hash, added, counted_at, record = row
    operation = record_from_json(record, AcceptedOperation)
    mined = None
    if success is not None:
        mined = Mined(
            user_op_hash=operation.user_op_hash,
            success=bool(success),
            block=block,
            block_hash=None if block_hash is None else Hash32(block_hash),
        )
    return Ended(operation=operation, ended_at=ended_at, mined=mined, added=bool(added), counted_at=counted_at)
