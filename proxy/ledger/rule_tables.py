"""What rules count and remember on disk: the windows, marks and histories of `proxy.ledger.rule_counts`, row by row.

A row is written as it stands, in the transaction that ends the operation that changed it. What is counted at once,
requests and rows of rejections, is written every few seconds and may be lost for the last moments before a crash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey
from proxy.judge.history import history_from_text, history_to_text
from proxy.judge.marks import Mark
from proxy.judge.windows import BucketRow, MarkRow
from proxy.ledger.reservation import HistoryRow, RuleRows
from proxy.ledger.statement import Statement

TABLES: Final = (
    """CREATE TABLE rule_windows (
        rule BLOB NOT NULL, grp BLOB NOT NULL, bucket INTEGER NOT NULL, amount TEXT NOT NULL, expires INTEGER NOT NULL,
        PRIMARY KEY (rule, grp, bucket)
    ) WITHOUT ROWID""",
    "CREATE INDEX rule_windows_expires ON rule_windows (expires)",
    """CREATE TABLE rule_marks (
        rule BLOB NOT NULL, grp BLOB NOT NULL, mark BLOB NOT NULL, expires INTEGER NOT NULL, times INTEGER NOT NULL,
        earlier INTEGER NOT NULL, PRIMARY KEY (rule, grp, mark)
    ) WITHOUT ROWID""",
    "CREATE INDEX rule_marks_expires ON rule_marks (expires)",
    """CREATE TABLE rule_histories (
        rule BLOB NOT NULL, grp BLOB NOT NULL, state TEXT NOT NULL, updated REAL NOT NULL, PRIMARY KEY (rule, grp)
    ) WITHOUT ROWID""",
    "CREATE INDEX rule_histories_updated ON rule_histories (updated)",
)
"""Statements that make the tables, for the list of migrations."""

_BY_GROUP: Final = {
    "rule_windows": (
        "bucket INTEGER NOT NULL, amount TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (grp, rule, bucket)"
    ),
    "rule_marks": (
        "mark BLOB NOT NULL, expires INTEGER NOT NULL, times INTEGER NOT NULL, earlier INTEGER NOT NULL,"
        " PRIMARY KEY (grp, rule, mark)"
    ),
    "rule_histories": "state TEXT NOT NULL, updated REAL NOT NULL, PRIMARY KEY (grp, rule)",
}

BY_GROUP: Final = (
    *(
        statement
        for name, columns in _BY_GROUP.items()
        for statement in (
            f"CREATE TABLE {name}_by_group (rule BLOB NOT NULL, grp BLOB NOT NULL, {columns}) WITHOUT ROWID",
            f"INSERT INTO {name}_by_group SELECT * FROM {name}",  # noqa: S608  # ours
            f"DROP TABLE {name}",
            f"ALTER TABLE {name}_by_group RENAME TO {name}",
        )
    ),
    "CREATE INDEX rule_windows_expires ON rule_windows (expires)",
    "CREATE INDEX rule_marks_expires ON rule_marks (expires)",
)
"""Statements that came later: what many rules count of one group stands in one place, so that an operation which they
all count writes one or two pages and not one for each. Histories are forgotten by `RuleCounts`, name by name."""

NAMES: Final = ("rule_windows", "rule_marks", "rule_histories")

BEFORE_ALL: Final = (b"", b"")
"""The place before the first group of the first rule: no rule is without a name."""
_LOOKED_AT_AT_ONCE: Final = 2_000

_GRACE_SECONDS: Final = 3_600.0
"""What has expired is kept a little longer, in case the clock is set back."""

# what is changed only: an index over a column that is set is written, too
_SAVE_BUCKET: Final = """INSERT INTO rule_windows VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (grp, rule, bucket) DO UPDATE SET amount = excluded.amount"""
_DROP_BUCKET: Final = "DELETE FROM rule_windows WHERE rule = ? AND grp = ? AND bucket = ?"
_SAVE_MARK: Final = """INSERT INTO rule_marks VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (grp, rule, mark)
    DO UPDATE SET expires = excluded.expires, times = excluded.times, earlier = excluded.earlier"""
_DROP_MARK: Final = "DELETE FROM rule_marks WHERE rule = ? AND grp = ? AND mark = ?"
_SAVE_HISTORY: Final = """INSERT INTO rule_histories VALUES (?, ?, ?, ?)
    ON CONFLICT (grp, rule) DO UPDATE SET state = excluded.state, updated = excluded.updated"""
_DROP_HISTORY: Final = "DELETE FROM rule_histories WHERE rule = ? AND grp = ?"

SAVE_BY_KEY: Final = {_SAVE_BUCKET: (3, 1), _SAVE_MARK: (3, 0), _SAVE_HISTORY: (2, 0)}
"""How many of the first values name the row, and how many of the last stay as they were when it was made."""
DROP_BY_KEY: Final = {_DROP_BUCKET: _SAVE_BUCKET, _DROP_MARK: _SAVE_MARK, _DROP_HISTORY: _SAVE_HISTORY}
"""What makes the row that each deletes, named by the same values."""


def save(rows: RuleRows) -> list[Statement]:
    """Keep these rows as they stand. Of several of one name, such as a block brings, the last alone is written."""
    return [
        *[
            (_SAVE_BUCKET, (*key, start, str(amount), expires)) if amount else (_DROP_BUCKET, (*key, start))
            for key, start, expires, amount in {row[:2]: row for row in rows.buckets}.values()
        ],
        *[
            (_DROP_MARK, (*key, mark)) if known is None else (_SAVE_MARK, (*key, mark, *known))
            for key, mark, known in {row[:2]: row for row in rows.marks}.values()
        ],
        *[
            (_DROP_HISTORY, key) if history is None else (_SAVE_HISTORY, (*key, history_to_text(history), updated))
            for key, history, updated in {row[0]: row for row in rows.histories}.values()
        ],
    ]


def prune(now: float) -> list[Statement]:
    """Forget what counts no more (unix seconds). Histories are dropped by name when they are forgotten."""
    return [
        ("DELETE FROM rule_windows WHERE expires < ?", (now - _GRACE_SECONDS,)),
        ("DELETE FROM rule_marks WHERE expires < ?", (now - _GRACE_SECONDS,)),
    ]


def named_after(connection: sqlite3.Connection, table: str, place: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The next groups of rules that have something in this table, after such a place: each a group, and a rule."""
    names = f"SELECT DISTINCT grp, rule FROM {table} WHERE (grp, rule) > (?, ?)"  # noqa: S608  # ours
    return connection.execute(f"{names} ORDER BY grp, rule LIMIT {_LOOKED_AT_AT_ONCE}", place).fetchall()


def drop(table: str, names: Iterable[tuple[bytes, bytes]]) -> list[Statement]:
    """Forget what this table has of these groups of rules."""
    return [(f"DELETE FROM {table} WHERE grp = ? AND rule = ?", name) for name in names]  # noqa: S608  # ours


def forget(rule: bytes, groups: Iterable[bytes]) -> list[Statement]:
    """Forget what a rule has counted and learnt of these groups."""
    names = [(group, rule) for group in groups]
    return [statement for table in NAMES for statement in drop(table, names)]


def load(connection: sqlite3.Connection) -> RuleRows:
    """All that is kept. Raises `StateUnavailable` at a row that cannot be read."""
    buckets = connection.execute("SELECT rule, grp, bucket, expires, amount FROM rule_windows ORDER BY bucket")
    marks = connection.execute("SELECT rule, grp, mark, expires, times, earlier FROM rule_marks")
    histories = connection.execute("SELECT rule, grp, state, updated FROM rule_histories")
    try:
        return RuleRows(
            tuple(BucketRow(CountKey(*row[:2]), row[2], row[3], int(row[4])) for row in buckets),
            tuple(MarkRow(CountKey(rule, grp), mark, Mark(*known)) for rule, grp, mark, *known in marks),
            tuple(HistoryRow(CountKey(rule, grp), history_from_text(text), at) for rule, grp, text, at in histories),
        )
    except (ValueError, TypeError) as error:
        what = f"a stored count of a rule cannot be read ({type(error).__name__})"
        raise StateUnavailable(what, fact="ledger") from error
