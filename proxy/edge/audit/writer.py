"""The audit trail being written, without ever holding a request up.

`record` and `answered` put a note into a bounded queue and return; one thread of its own takes what has gathered
every `commit_seconds` and commits it as one transaction. What that promises:

- A decision is in the queue before its operation is forwarded, as `pending`, and gets its answer later. Were the gate
  killed, each decision older than `commit_seconds` plus one commit (milliseconds) is on file; of the youngest some may
  be missing. The write-ahead log is not synced at each commit, so this holds for the end of the process, and after a
  power cut for all but the last moments.
- A row still `pending` when the gate starts is marked `unknown`: the operation may have been sent.
- `stop` writes all that was recorded before it.
- When the disk is slower than the traffic, or refuses, records are lost from the full queue on, and every lost one is
  counted: the trail has holes only where `dropped` says so.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from proxy.edge.audit.row import (
    ANSWER_FIELDS,
    AUDIT_FIELDS,
    AUDIT_SCHEMA,
    LATER_AUDIT_COLUMNS,
    Columns,
    Forward,
    answer_columns,
    row_of,
)
from proxy.judge.decision import Decision, UpstreamAnswer

_INSERT: Final = (
    f"INSERT INTO audit ({', '.join(AUDIT_FIELDS)})"  # noqa: S608  # names of this package only
    f" VALUES ({', '.join('?' * len(AUDIT_FIELDS))}) ON CONFLICT (decision_id) DO NOTHING"
)
_ANSWER: Final = (
    f"UPDATE audit SET {', '.join(f'{name} = ?' for name in ANSWER_FIELDS)}"  # noqa: S608  # names of this package only
    " WHERE decision_id = ?"
)
_ORPHANS: Final = f"UPDATE audit SET forward = '{Forward.UNKNOWN}' WHERE forward = '{Forward.PENDING}'"  # noqa: S608  # enum values only
_PRUNE: Final = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE unix_time < ? ORDER BY unix_time LIMIT ?)"

_PRUNE_BATCH: Final = 2_000
_PRUNE_EVERY_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Recorded:
    decision: Decision
    forward: Forward


@dataclass(frozen=True, slots=True)
class _Answered:
    decision_id: str
    answer: UpstreamAnswer


_Note = _Recorded | _Answered


class AuditWriter:
    """Writes decisions to the `audit` table through a connection of its own.

    `connect` gives an autocommit connection (`isolation_level=None`) that any thread may use. `queue_limit` is in notes
    (a decision and its answer are two), `retention_days` of `None` keeps everything. `record` and `answered` are for
    one thread, the event loop's.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        queue_limit: int = 20_000,
        commit_seconds: float = 0.02,
        retention_days: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._queue: SimpleQueue[_Note | None] = SimpleQueue()
        self._queue_limit = queue_limit
        self._commit_seconds = commit_seconds
        self._retention_days = retention_days
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped_at_door = 0
        self._dropped_by_thread = 0
        self._taken = 0
        self._done = 0
        self._writable = False

    @property
    def dropped(self) -> int:
        """Notes lost since the start."""
        # two numbers, each added to by one thread only; so are _taken and _done
        return self._dropped_at_door + self._dropped_by_thread

    @property
    def queued(self) -> int:
        """Notes not yet on file."""
        return self._taken - self._done

    @property
    def writable(self) -> bool:
        """Whether the last transaction succeeded; false before the first."""
        return self._writable

    def start(self) -> None:
        """Make the table if it is not there, close the last run's books, start writing. Raises `sqlite3.Error`."""
        connection = self._connect()
        try:
            # only a power cut could cost the last commits; syncing each would hold up the ledger's own
            connection.execute("PRAGMA synchronous = NORMAL")
            with _transaction(connection):
                for statement in AUDIT_SCHEMA:
                    connection.execute(statement)
                _add_later_columns(connection)
                connection.execute(_ORPHANS)
        except sqlite3.Error:
            connection.close()
            raise
        self._writable = True
        self._thread = threading.Thread(target=self._run, args=(connection,), name="audit-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Write what is queued and end. A disk that refuses is tried once more."""
        self._stopping.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def record(self, decision: Decision, *, forwarding: bool = False) -> bool:
        """Put a decision on record; `forwarding` when its operation is about to be sent. False when it is lost."""
        if decision.upstream is not None:
            return self._put(_Recorded(decision, Forward.ANSWERED))
        return self._put(_Recorded(decision, Forward.PENDING if forwarding else Forward.NONE))

    def answered(self, decision_id: str, answer: UpstreamAnswer) -> bool:
        """Put the upstream's answer to a decision recorded before. False when it is lost."""
        return self._put(_Answered(decision_id, answer))

    def _put(self, note: _Note) -> bool:
        if self._taken - self._done >= self._queue_limit or self._stopping.is_set():
            self._dropped_at_door += 1
            return False
        self._taken += 1
        self._queue.put(note)
        return True

    def _run(self, connection: sqlite3.Connection) -> None:
        prune_at = time.monotonic()
        with closing(connection):
            while (notes := self._gather(prune_at - time.monotonic())) is not None:
                if notes:
                    self._write_until_done(connection, notes)
                self._done += len(notes)
                if time.monotonic() >= prune_at and not self._stopping.is_set():
                    more = self._prune(connection)
                    prune_at = time.monotonic() + (0.0 if more else _PRUNE_EVERY_SECONDS)

    def _gather(self, patience_seconds: float) -> list[_Note] | None:
        """What has come in and what comes within `commit_seconds` of it; nothing when all is quiet, None at the end."""
        try:
            note = self._queue.get(timeout=max(patience_seconds, 0.0))
        except Empty:
            return []
        # one wake-up per transaction, not per note
        if note is not None:
            self._stopping.wait(self._commit_seconds)
        notes: list[_Note] = []
        while note is not None:
            notes.append(note)
            try:
                note = self._queue.get_nowait()
            except Empty:
                return notes
        if not notes:
            return None
        self._queue.put(None)  # the end, for the next round
        return notes

    def _write_until_done(self, connection: sqlite3.Connection, notes: Sequence[_Note]) -> None:
        rows, answers = self._prepare(notes)
        while True:
            stopping = self._stopping.is_set()
            try:
                self._write(connection, rows, answers)
            except sqlite3.OperationalError as error:  # full, locked, unwritable: it may pass
                self._writable = False
                _log.error("audit not written, %d waiting: %s", self.queued, error)
                if stopping:
                    self._dropped_by_thread += len(rows) + len(answers)
                    return
                self._stopping.wait(_RETRY_SECONDS)
            except sqlite3.Error as error:
                self._writable = False
                self._dropped_by_thread += len(rows) + len(answers)
                _log.error("audit not written, %d lost: %s", len(rows) + len(answers), error)
                return
            else:
                self._writable = True
                return

    def _prepare(self, notes: Sequence[_Note]) -> tuple[list[Columns], list[Columns]]:
        rows: dict[str, Columns] = {}
        answers: list[Columns] = []
        for note in notes:
            try:
                match note:
                    case _Recorded(decision, forward):
                        rows[decision.decision_id] = row_of(decision, forward)
                    case _Answered(decision_id, answer) if decision_id in rows:
                        rows[decision_id] = (*rows[decision_id][: -len(ANSWER_FIELDS)], *answer_columns(answer))
                    case _Answered(decision_id, answer):
                        answers.append((*answer_columns(answer), decision_id))
            except (TypeError, ValueError, OverflowError):
                # one record that cannot be printed must not stop the trail
                self._dropped_by_thread += 1
                _log.exception("audit record lost")
        return list(rows.values()), answers

    def _write(self, connection: sqlite3.Connection, rows: Sequence[Columns], answers: Sequence[Columns]) -> None:
        with _transaction(connection):
            inserted = connection.executemany(_INSERT, rows).rowcount if rows else 0
            if answers:
                connection.executemany(_ANSWER, answers)
        self._dropped_by_thread += len(rows) - inserted

    def _prune(self, connection: sqlite3.Connection) -> bool:
        """Delete one batch of rows past retention; whether there may be more."""
        if self._retention_days is None:
            return False
        oldest = self._clock() - self._retention_days * 86_400
        try:
            with _transaction(connection):
                return connection.execute(_PRUNE, (oldest, _PRUNE_BATCH)).rowcount == _PRUNE_BATCH
        except sqlite3.Error as error:
            _log.error("audit not pruned: %s", error)
            return False


def _add_later_columns(connection: sqlite3.Connection) -> None:
    there = {name for _, name, *_ in connection.execute("PRAGMA table_info(audit)")}
    for name, kind in LATER_AUDIT_COLUMNS.items():
        if name not in there:
            connection.execute(f"ALTER TABLE audit ADD COLUMN {name} {kind}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
