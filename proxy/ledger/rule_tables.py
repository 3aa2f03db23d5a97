"""What rules count and remember on disk: the windows, marks and histories of `proxy.ledger.rule_counts`, row by row.

A row is written as it stands, in the transaction that ends the operation that changed it. What is counted at once,
requests and rows of rejections, is written every few seconds and may be lost for the last moments before a crash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

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

_UNKNOWN: Final = (None, None, None)
# what is changed only, and when a bucket expires never is: an index over a column that is set is written, too
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

ROWS: Final = "rows of rules"
"""Stands for the statements that keep buckets, marks and histories as they stand: its three values, each a sequence of
plain rows that begin with what names them. A bucket that holds nothing, and a mark or history of which nothing is
known, is forgotten."""

_Row = tuple[Any, ...]


def save(rows: RuleRows) -> list[Statement]:
    """Keep these rows as they stand. What one history has learnt of several operations, such as a block brings, is
    printed once."""
    if not any(rows):
        return []
    buckets = [(*key, start, expires, amount) for key, start, expires, amount in rows.buckets]
    marks = [(*key, mark, *(known or _UNKNOWN)) for key, mark, known in rows.marks]
    histories = [
        (*key, None if history is None else history_to_text(history), updated)
        for key, history, updated in {row[0]: row for row in rows.histories}.values()
    ]
    return [(ROWS, (buckets, marks, histories))]


def spelled_out(values: Sequence[Any]) -> list[Statement]:
    """The statements that `ROWS` stands for."""
    buckets, marks, histories = values
    return [
        *[
            (_SAVE_BUCKET, (rule, group, start, str(amount), expires))
            if amount
            else (_DROP_BUCKET, (rule, group, start))
            for rule, group, start, expires, amount in buckets
        ],
        *[(_DROP_MARK, row[:3]) if row[3] is None else (_SAVE_MARK, row) for row in marks],
        *[(_DROP_HISTORY, row[:2]) if row[2] is None else (_SAVE_HISTORY, row) for row in histories],
    ]


class FoldedRows:
    """Such rows as they are left in the end."""

    def __init__(self) -> None:
        self._kept: tuple[dict[_Row, _Row], dict[_Row, _Row], dict[_Row, _Row]] = {}, {}, {}

    def add(self, values: Sequence[Any]) -> None:
        """These come next: the values of `ROWS`."""
        new_buckets, new_marks, new_histories = values
        buckets, marks, histories = self._kept
        buckets.update([(row[:3], row) for row in new_buckets])
        marks.update([(row[:3], row) for row in new_marks])
        histories.update([(row[:2], row) for row in new_histories])

    def take(self, most: int) -> Iterator[list[Statement]]:
        """What is to be executed for all of them, once: so many statements at a time, which are spelled out when they
        are asked for. Those of one text come together."""
        kept, self._kept = self._kept, ({}, {}, {})
        for table, of_table in enumerate(kept):
            rows = [*of_table.values()]
            for first in range(0, len(rows), most):
                values: list[Sequence[_Row]] = [(), (), ()]
                values[table] = rows[first : first + most]
                yield sorted(spelled_out(values), key=itemgetter(0))


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
