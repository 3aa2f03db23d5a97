"""The audit trail being written, without ever holding a request up.

What is recorded waits in a bounded queue (`proxy.edge.audit.door`); one thread of its own takes what has gathered
every `commit_seconds`, prints it and commits it as one transaction. What that promises:

- A decision is in the queue before its operation is forwarded; the answer and the end are records of their own. Were
  the gate killed, each record older than `commit_seconds` plus one commit (milliseconds) is on file; of the youngest
  some may be missing. The write-ahead log is not synced at each commit, so this holds for the end of the process, and
  after a power cut for all but the last moments.
- A forwarded decision without an answer is `pending` while its gate runs, and `unknown` from the next start on.
- `stop` writes all that was recorded before it.
- When the disk is slower than the traffic, or refuses, records are lost from the full queue on. Every lost one is
  counted, and the trail itself says which: it has holes only where a gap record stands.
- The file never grows past its budget, and never into what of the disk is reserved for the ledger.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.edge.audit.appending import Appender, Head
from proxy.edge.audit.chain import GENESIS, NO_KEY, ChainKey
from proxy.edge.audit.door import Bounds, Door, Note, print_gap
from proxy.edge.audit.earlier import EarlierTrail
from proxy.edge.audit.printing import Columns, print_own
from proxy.edge.audit.sampling import RefusalRate
from proxy.edge.audit.schema import RecordKind, open_trail
from proxy.edge.audit.space import Disk, DiskBudget, cap, disk_of, used_bytes

_PRUNE_EVERY_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 0.5
_PRINTED_AT_ONCE: Final = 32
"""After so many the thread lets others have the interpreter."""

_log = logging.getLogger(__name__)


class DiskReservedError(sqlite3.OperationalError):
    """Only the reserve is left of the disk, and it is the ledger's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """What the configuration says of the trail. `told` goes into the record of each start."""

    key: ChainKey = NO_KEY
    budget: DiskBudget = field(default_factory=lambda: DiskBudget(max_bytes=1 << 30))
    bounds: Bounds = field(default_factory=Bounds)
    rate: RefusalRate = field(default_factory=RefusalRate)
    commit_seconds: float = 0.02
    told: Mapping[str, object] = field(default_factory=dict)


class AuditWriter:
    """Writes records to the trail at `path`; only one may, at any time.

    `earlier` is a database in which an earlier release kept its trail. `clock` gives unix seconds, `disk` the room on
    the file system of a path, `connect` an autocommit connection to the file.
    """

    def __init__(
        self,
        path: Path,
        settings: WriterSettings | None = None,
        *,
        earlier: Path | None = None,
        clock: Callable[[], float] = time.time,
        disk: Callable[[Path], Disk] = disk_of,
        connect: Callable[[Path], sqlite3.Connection] = open_trail,
    ) -> None:
        self._path = path
        self._settings = settings or WriterSettings()
        self._earlier = None if earlier is None else EarlierTrail(earlier)
        self._clock = clock
        self._disk = disk
        self._connect = connect
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped_by_thread = 0
        self._writable = False
        self._head: Head | None = None
        self._used = 0
        self._hold: int | None = None
        self.door = Door(self._settings.bounds, self._settings.rate, clock=clock)

    @property
    def dropped(self) -> int:
        """Records lost since the start."""
        # two numbers, each added to by one thread only
        return self.door.lost + self._dropped_by_thread

    @property
    def queued(self) -> int:
        """Records not yet on file."""
        return self.door.queued

    @property
    def writable(self) -> bool:
        """Whether the last transaction succeeded; false before the first."""
        return self._writable

    @property
    def head(self) -> Head | None:
        """The newest record on file."""
        return self._head

    @property
    def used(self) -> int:
        """Bytes that the records take."""
        return self._used

    @property
    def path(self) -> Path:
        """The file of the trail."""
        return self._path

    @property
    def budget(self) -> DiskBudget:
        """How much room the trail may take."""
        return self._settings.budget

    @property
    def key_name(self) -> str:
        """Which key the trail is written with."""
        return self._settings.key.name

    def room(self) -> Disk:
        """The file system that the trail is on. Raises `OSError`."""
        return self._disk(self._path.parent)

    def start(self) -> None:
        """Open the trail, made if it is not there, and start writing. Raises `sqlite3.Error`."""
        self._hold = _hold(self._path)
        try:
            connection = self._connect(self._path)
            try:
                cap(connection, self._settings.budget)
                appender = self._begin(connection)
            except sqlite3.Error:
                connection.close()
                raise
        except sqlite3.Error:
            self._let_go()
            raise
        self._writable = True
        self._thread = threading.Thread(target=self._run, args=(connection, appender), name="audit-writer", daemon=True)
        self._thread.start()

    def _begin(self, connection: sqlite3.Connection) -> Appender:
        first = 1 if self._earlier is None else self._earlier.newest_id() + 1
        appender = Appender(connection, self._settings.key, first_id=first)
        detail = {"writer": secrets.token_hex(8), **self._settings.told}
        if appender.head.hash == GENESIS:
            detail["begins"] = first
        try:
            appender.begin(self._clock(), **detail)
        except sqlite3.OperationalError as error:
            if not _is_full(error) or not appender.prune(older_than=None, unix_time=self._clock(), why="size"):
                raise
            appender.begin(self._clock(), **detail)
        self._head = appender.head
        self._used = used_bytes(connection)
        return appender

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Write what is queued and end. A disk that refuses is tried once more."""
        self._stopping.set()
        self.door.close()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        self._let_go()

    def _let_go(self) -> None:
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None

    # the thread

    def _run(self, connection: sqlite3.Connection, appender: Appender) -> None:
        prune_at = time.monotonic()
        try:
            while not self._stopping.is_set():
                if self.door.wait(max(prune_at - time.monotonic(), 0.0)):
                    # one wake-up per transaction, not per note
                    self._stopping.wait(self._settings.commit_seconds)
                    self._write(connection, appender, self.door.take())
                if time.monotonic() >= prune_at and not self._stopping.is_set():
                    self.door.tell_left_out()
                    more = self._prune_old(appender)
                    prune_at = time.monotonic() + (0.0 if more else _PRUNE_EVERY_SECONDS)
            self._write(connection, appender, self.door.take())
            with suppress(sqlite3.Error):
                self._append(appender, [(None, print_own(RecordKind.STOP, self._clock(), lost=self.dropped))])
        except Exception:
            # a promise of ours is broken: from here on all is lost, counted, and told by `writable`
            self._writable = False
            _log.exception("the audit trail is not written any more")
        finally:
            connection.close()

    def _write(self, connection: sqlite3.Connection, appender: Appender, notes: Sequence[Note]) -> None:
        records = self._printed(notes)
        if records:
            self._write_until_done(connection, appender, records)
        self.door.done(sum(note.weight > 0 for note in notes), sum(note.weight for note in notes))

    def _printed(self, notes: Sequence[Note]) -> list[tuple[int | None, Columns]]:
        records: list[tuple[int | None, Columns]] = []
        for number, note in enumerate(notes, start=1):
            try:
                columns = note.columns()
            except Exception:
                # one record that cannot be printed must not stop the trail
                self._dropped_by_thread += 1
                _log.exception("audit record lost")
                columns = print_gap(note.seq, note.seq, self._clock(), "not printable")
            records.append((note.seq, columns))
            if number % _PRINTED_AT_ONCE == 0:
                time.sleep(0)
        return records

    def _write_until_done(
        self, connection: sqlite3.Connection, appender: Appender, records: Sequence[tuple[int | None, Columns]]
    ) -> None:
        while True:
            stopping = self._stopping.is_set()
            try:
                self._append(appender, records)
            except sqlite3.OperationalError as error:  # full, locked, unwritable: it may pass
                if _is_full(error) and self._made_room_for(connection, appender):
                    continue
                if _is_full(error) and len(records) > 1:
                    # more at once than the budget holds, or so it may be
                    half = len(records) // 2
                    self._write_until_done(connection, appender, records[:half])
                    records = records[half:]
                    continue
                self._writable = False
                _log.error("audit not written, %d waiting: %s", self.queued, error)
                if stopping:
                    self._dropped_by_thread += len(records)
                    return
                self._stopping.wait(_RETRY_SECONDS)
            except sqlite3.Error as error:
                self._writable = False
                self._dropped_by_thread += len(records)
                _log.error("audit not written, %d lost: %s", len(records), error)
                return
            else:
                self._writable = True
                self._keep_within_budget(connection, appender)
                return

    def _append(self, appender: Appender, records: Sequence[tuple[int | None, Columns]]) -> None:
        with suppress(OSError):  # a disk that cannot be asked is tried
            disk = self.room()
            if disk.free < (reserve := self.budget.reserve_of(disk)):
                raise DiskReservedError(f"{disk.free} bytes left of the disk, {reserve} are the ledger's")
        appender.append(records)
        self._head = appender.head

    # room

    def _made_room_for(self, connection: sqlite3.Connection, appender: Appender) -> bool:
        """Whether the oldest went; they stay where it is not the trail that fills the disk."""
        return used_bytes(connection) > self.budget.max_bytes // 2 and self._made_room(appender)

    def _made_room(self, appender: Appender) -> bool:
        try:
            return appender.prune(older_than=None, unix_time=self._clock(), why="size") > 0
        except sqlite3.Error as error:
            _log.error("audit not pruned: %s", error)
            return False

    def _keep_within_budget(self, connection: sqlite3.Connection, appender: Appender) -> None:
        self._used = used_bytes(connection)
        while self._used > self.budget.prune_from and self._made_room(appender):
            self._head = appender.head
            self._used = used_bytes(connection)

    def _prune_old(self, appender: Appender) -> bool:
        """Take one batch of records past retention; whether there may be more."""
        if self.budget.retention_seconds is None:
            return False
        oldest = self._clock() - self.budget.retention_seconds
        try:
            gone = appender.prune(older_than=oldest, unix_time=self._clock(), why="age")
            earlier = 0 if self._earlier is None else self._earlier.prune(oldest)
        except sqlite3.Error as error:
            _log.error("audit not pruned: %s", error)
            return False
        self._head = appender.head
        return gone + earlier > 0


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _hold(path: Path) -> int:
    """A lock on the file for as long as its writer lives. Raises `sqlite3.Error` when another has it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open the audit trail {path}: {error.strerror}") from error
    try:
        # flock and not fcntl: SQLite's own locks on the same file are of the other kind
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise sqlite3.OperationalError(f"the audit trail {path} is being written by another gate") from None
    return descriptor
