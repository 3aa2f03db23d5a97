"""Records put at the end of the trail, linked to what stands there, and pruned from its beginning."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import orjson

from proxy.edge.audit.chain import GENESIS, ChainKey
from proxy.edge.audit.postings import IndexWriter, Posted, posted
from proxy.edge.audit.printing import Columns, print_own
from proxy.edge.audit.schema import CONTENT, RecordKind, transaction

Row = tuple[Any, ...]
_COLUMNS: Final = (*CONTENT, "hash")
_OPERATION: Final = frozenset({"chain", "user_op_hash", "account", "permission_id"})
_ALWAYS: Final = frozenset({"id", "run", "seq", "kind", "unix_time", "hash"})
_NEVER: Final[Mapping[str, frozenset[str]]] = {
    RecordKind.ANSWER.value: frozenset(CONTENT) - _ALWAYS - {"decision_id", "detail"},
    RecordKind.END.value: frozenset(CONTENT) - _ALWAYS - _OPERATION - {"detail"},
}
"""Columns that are empty in all records of kinds of which there are many: not to name them is faster than to bind
nothing to them."""


def _inserting(never: frozenset[str] = frozenset()) -> tuple[str, Callable[[Row], Row]]:
    """The statement for records without some columns, and what takes the others out of a row."""
    names = [name for name in _COLUMNS if name not in never]
    # names of this package only
    statement = f"INSERT INTO records ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  # as said
    return statement, itemgetter(*map(_COLUMNS.index, names))


_INSERT: Final = _inserting()[0]
_SHORTER: Final[Mapping[object, tuple[str, Callable[[Row], Row]]]] = {
    kind: _inserting(never) for kind, never in _NEVER.items()
}
_FIRED: Final = "INSERT OR IGNORE INTO fired VALUES (?, ?)"
_HEAD: Final = "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)"
_KIND: Final = CONTENT.index("kind")
_RULES: Final = CONTENT.index("rules")

_PRUNE_BATCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its place in the chain, and its hash."""

    id: int
    hash: bytes


class Appender:
    """The end of a trail, for the one thread that writes it. `first_id` is where a new trail begins."""

    def __init__(self, connection: sqlite3.Connection, key: ChainKey, *, first_id: int = 1) -> None:
        self._connection = connection
        self._key = key
        self._run = 0
        newest = connection.execute("SELECT id, hash FROM records ORDER BY id DESC LIMIT 1").fetchone()
        sealed = connection.execute("SELECT id, hash FROM head").fetchone()
        # where the two differ records were cut off: their places stay empty, so that it shows for good
        ends = [Head(*found) for found in (sealed, newest) if found is not None]
        self.head = max(ends, key=lambda head: head.id, default=Head(first_id - 1, GENESIS))
        self._index = IndexWriter(connection, self.head.id)

    def begin(self, unix_time: float, **detail: object) -> None:
        """Start a run: what is written from now on belongs to it. Raises `sqlite3.Error`."""
        self._run = self.head.id + 1
        self.append([(None, print_own(RecordKind.START, unix_time, key=self._key.name, **detail))])

    @property
    def run(self) -> int:
        """The run that is written, by the record of its start."""
        return self._run

    def resume(self, run: int) -> bool:
        """Go on with a run that has begun. Whether it has, in this file. Raises `sqlite3.Error`."""
        query = "SELECT 1 FROM records WHERE id = ? AND kind = ?"
        if self._connection.execute(query, (run, RecordKind.START.value)).fetchone() is None:
            return False
        self._run = run
        return True

    def newest_seq(self) -> int:
        """The highest number of the run that is on file, 0 for none. Raises `sqlite3.Error`."""
        query = "SELECT seq FROM records WHERE id > ? AND run = ? AND seq IS NOT NULL ORDER BY id DESC LIMIT 1"
        found = self._connection.execute(query, (self._run, self._run)).fetchone()
        return 0 if found is None else int(found[0])

    def append(self, records: Sequence[tuple[int | None, Columns]]) -> None:
        """Write records, each with its number from the queue, in one transaction. Raises `sqlite3.Error`."""
        with transaction(self._connection):
            head, unindexed = self._insert(records)
        self._commit(head, unindexed)

    def _commit(self, head: Head, unindexed: list[Posted]) -> None:
        self.head = head
        self._index.keep(unindexed)

    def _insert(self, records: Sequence[tuple[int | None, Columns]]) -> tuple[Head, list[Posted]]:
        at, before = self.head.id, self.head.hash
        index: list[Posted] = []
        fired: list[tuple[str, int]] = []
        insert = self._connection.cursor().execute
        run, link = self._run, self._key.link
        for seq, columns in records:
            at += 1
            content = (at, run, seq, *columns)
            index.append(posted(content))
            before = link(before, content)
            if (shorter := _SHORTER.get(content[_KIND])) is None:
                insert(_INSERT, (*content, before))
            else:
                statement, of = shorter
                insert(statement, of((*content, before)))
            if (rules := content[_RULES]) is not None:
                fired += [(hit["rule"], at) for hit in orjson.loads(str(rules))]
        if fired:
            self._connection.executemany(_FIRED, fired)
        self._connection.execute(_HEAD, (at, before, self._key.seal(at, before)))
        return Head(at, before), self._index.add(index)

    def prune(self, *, older_than: float | None, unix_time: float, why: str) -> int:
        """Take one batch of records from the beginning; the newest always stays.

        With `older_than` (unix seconds) only those before it. A checkpoint tells in their place through which record,
        by its hash. Returns how many went. Raises `sqlite3.Error`.
        """
        with transaction(self._connection):
            batch = self._connection.execute(
                "SELECT id, unix_time, hash FROM records ORDER BY id LIMIT ?", (_PRUNE_BATCH + 1,)
            ).fetchall()
            gone = batch[: min(_PRUNE_BATCH, max(len(batch) // 2, 1))] if older_than is None else batch[:_PRUNE_BATCH]
            if older_than is not None:
                young = next((place for place, row in enumerate(gone) if row[1] >= older_than), len(gone))
                gone = gone[:young]
            if not gone or gone[-1][0] >= self.head.id:
                gone = gone[:-1]
            if not gone:
                return 0
            through, _, last_hash = gone[-1]
            self._connection.execute("DELETE FROM records WHERE id <= ?", (through,))
            self._connection.execute("DELETE FROM fired WHERE id <= ?", (through,))
            self._index.prune(through)
            checkpoint = print_own(
                RecordKind.CHECKPOINT,
                unix_time,
                through=through,
                hash=last_hash.hex(),
                records=len(gone),
                why=why,
            )
            head, unindexed = self._insert([(None, checkpoint)])
        self._commit(head, unindexed)
        return len(gone)
