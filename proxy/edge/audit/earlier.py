"""The trail as earlier releases kept it: a table `audit` in the ledger's database. Read, and pruned by age, no more.

Its records were updated in place and are bound by no hash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from proxy.edge.audit.schema import has_table, open_trail_reader

EARLIER_FIELDS: Final = (
    *("decision_id", "unix_time", "chain", "client", "method", "mode", "verdict", "code", "reasons", "notes"),
    *("user_op_hash", "account", "permission_id", "session_mode", "calls", "facts", "rules"),
    *("forward", "upstream_result", "upstream_error_code", "upstream_error_message"),
)
"""The columns of the table but its id. The oldest tables lack `facts` and `rules`."""

_PRUNE: Final = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE unix_time < ? ORDER BY unix_time LIMIT 2000)"
_BUSY_SECONDS: Final = 1.0


class EarlierTrail:
    """The table in the database at `path`; there may be none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest_id(self) -> int:
        """The highest id ever given, 0 without a table."""
        if not self._path.exists():
            return 0
        with closing(open_trail_reader(self._path)) as connection:
            if not has_table(connection, "audit"):
                return 0
            query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'audit'"
            (newest,) = connection.execute(query).fetchone()
        return int(newest)

    def rows(
        self, condition: str, parameters: list[object], *, limit: int | None, newest_first: bool
    ) -> Iterator[dict[str, Any]]:
        """The rows that match, in the order of their `id`, at most `limit`."""
        if not self._path.exists():
            return
        with closing(open_trail_reader(self._path)) as connection:
            if not has_table(connection, "audit"):
                return
            connection.row_factory = sqlite3.Row
            # conditions come from this package; every value is bound
            order = "DESC" if newest_first else "ASC"
            there = {row[1] for row in connection.execute("PRAGMA table_info(audit)")}
            missing = "".join(f", NULL AS {name}" for name in EARLIER_FIELDS if name not in there)
            query = f"SELECT * FROM (SELECT *{missing} FROM audit) WHERE {condition} ORDER BY id {order} LIMIT ?"  # noqa: S608  # only our own conditions; every value is bound
            parameters = [*parameters, -1 if limit is None else limit]
            for row in connection.execute(query, parameters):
                yield dict(row)

    def prune(self, older_than: float) -> int:
        """Delete one batch of rows before this time; how many went. Raises `sqlite3.Error`."""
        if not self._path.exists():
            return 0
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            if not has_table(connection, "audit"):
                return 0
            return connection.execute(_PRUNE, (older_than,)).rowcount
