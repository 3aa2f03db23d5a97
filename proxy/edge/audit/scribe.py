"""Whoever writes the file of a trail: one thread of the gate, or a process of its own.

It opens, appends, keeps within the budget, prunes by age and closes. Nothing here knows where records come from.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from proxy.edge.audit.appending import Appender, Head
from proxy.edge.audit.chain import GENESIS, NO_KEY, ChainKey
from proxy.edge.audit.earlier import EarlierTrail
from proxy.edge.audit.line import unpack
from proxy.edge.audit.printing import Columns, print_gap, print_own, print_plain
from proxy.edge.audit.schema import RecordKind, open_trail
from proxy.edge.audit.space import Disk, DiskBudget, cap, disk_of, used_bytes

_RETRY_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)

Record = tuple[int | None, Columns]
"""A record with its number from the queue."""


class DiskReservedError(sqlite3.OperationalError):
    """Only the reserve is left of the disk, and it is the ledger's."""


class Pause(Protocol):
    """How a scribe waits for a disk that refuses, and knows that it must not wait for long any more."""

    def is_set(self) -> bool:
        """Whether the gate is being stopped."""

    def wait(self, seconds: float) -> bool:
        """So long, or until the gate is being stopped; whether it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailSettings:
    """What the configuration says of the file. `told` goes into the record of each start."""

    key: ChainKey = NO_KEY
    budget: DiskBudget = field(default_factory=lambda: DiskBudget(max_bytes=1 << 30))
    told: Mapping[str, object] = field(default_factory=dict)


class Scribe:
    """Writes the trail at `path`; whoever uses it sees to it that nobody else does.

    `earlier` is a database in which an earlier release kept its trail. `clock` gives unix seconds, `disk` the room on
    the file system of a path, `connect` an autocommit connection to the file. `refused` hears of a disk that does not
    take what waits for it, again at each try.
    """

    def __init__(
        self,
        path: Path,
        settings: TrailSettings,
        pause: Pause,
        *,
        earlier: Path | None,
        clock: Callable[[], float],
        disk: Callable[[Path], Disk] = disk_of,
        connect: Callable[[Path], sqlite3.Connection] = open_trail,
        refused: Callable[[sqlite3.Error], None] = lambda _error: None,
    ) -> None:
        self._path = path
        self._settings = settings
        self._pause = pause
        self._earlier = None if earlier is None else EarlierTrail(earlier)
        self._clock = clock
        self._disk = disk
        self._connect = connect
        self._refused = refused
        self._connection: sqlite3.Connection | None = None
        self._appender: Appender | None = None
        self.writable = False  # whether the last transaction succeeded; false before the first
        self.used = 0  # bytes that the records take
        self.dropped = 0  # records that were handed over and are lost

    @property
    def head(self) -> Head | None:
        """The newest record on file."""
        return None if self._appender is None else self._appender.head

    @property
    def run(self) -> int:
        """The run that is written."""
        return self._at_work().run

    def _at_work(self) -> Appender:
        assert self._appender is not None, "open comes first"  # noqa: S101 - our own promise
        return self._appender

    def open(self, run: int | None = None) -> None:
        """Open the trail, made if it is not there, and begin a run, or go on with the one that has begun.

        Raises `sqlite3.Error`.
        """
        connection = self._connect(self._path)
        try:
            cap(connection, self._settings.budget)
            self._appender = self._begin(connection, run)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        self.used = used_bytes(connection)
        self.writable = True

    def _begin(self, connection: sqlite3.Connection, run: int | None) -> Appender:
        first = 1 if self._earlier is None else self._earlier.newest_id() + 1
        appender = Appender(connection, self._settings.key, first_id=first)
        if run is not None and appender.resume(run):
            return appender
        detail = {"writer": secrets.token_hex(8), **self._settings.told}
        if appender.head.hash == GENESIS:
            detail["begins"] = first
        try:
            appender.begin(self._clock(), **detail)
        except sqlite3.OperationalError as error:
            if not _is_full(error) or not appender.prune(older_than=None, unix_time=self._clock(), why="size"):
                raise
            appender.begin(self._clock(), **detail)
        return appender

    def close(self, lost: int) -> None:
        """End the run in good order; `lost` records found no way here at all."""
        with suppress(sqlite3.Error):
            stop = print_own(RecordKind.STOP, self._clock(), lost=self.dropped + lost)
            self._append([(None, stop)])
        self.leave()

    def leave(self) -> None:
        """End without a word: what was written stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def newest_seq(self) -> int:
        """The highest number of this run that is on file, 0 for none."""
        return self._at_work().newest_seq()

    def print_all(self, first: int, packed: bytes | memoryview, *, after: int = 0) -> list[Record]:
        """The records of a batch, numbered from `first` on, with a number above `after`; in place of what cannot be
        printed stands a gap."""
        records: list[Record] = []
        for seq, plain in enumerate(unpack(packed), first):
            if seq <= after:
                continue
            try:
                columns = print_plain(plain)
            except Exception:  # one record that cannot be printed must not stop the trail
                # one record that cannot be printed must not stop the trail
                self.dropped += 1
                _log.exception("audit record lost")
                columns = print_gap(seq, seq, self._clock(), "not printable")
            records.append((seq, columns))
        return records

    def write(self, records: Sequence[Record]) -> None:
        """Append them, however long the disk refuses; when the gate is being stopped it is tried once more."""
        while records:
            stopping = self._pause.is_set()
            try:
                self._append(records)
            except sqlite3.OperationalError as error:  # full, locked, unwritable: it may pass
                if _is_full(error) and self._made_room_for():
                    continue
                if _is_full(error) and len(records) > 1:
                    # more at once than the budget holds, or so it may be
                    half = len(records) // 2
                    self.write(records[:half])
                    records = records[half:]
                    continue
                self.writable = False
                self._refused(error)
                if stopping:
                    self.dropped += len(records)
                    return
                self._pause.wait(_RETRY_SECONDS)
            except sqlite3.Error as error:
                self.writable = False
                self.dropped += len(records)
                _log.error("audit not written, %d lost: %s", len(records), error)
                return
            else:
                self.writable = True
                self._keep_within_budget()
                return

    def _append(self, records: Sequence[Record]) -> None:
        with suppress(OSError):  # a disk that cannot be asked is tried
            disk, budget = self._disk(self._path.parent), self._settings.budget
            if disk.free < (reserve := budget.reserve_of(disk)):
                raise DiskReservedError(f"{disk.free} bytes left of the disk, {reserve} are the ledger's")
        self._at_work().append(records)

    # room

    def _made_room_for(self) -> bool:
        """Whether the oldest went; they stay where it is not the trail that fills the disk."""
        return self._used_now() > self._settings.budget.max_bytes // 2 and self._made_room()

    def _used_now(self) -> int:
        assert self._connection is not None  # noqa: S101 - our own promise
        return used_bytes(self._connection)

    def _made_room(self) -> bool:
        try:
            return self._at_work().prune(older_than=None, unix_time=self._clock(), why="size") > 0
        except sqlite3.Error as error:
            _log.error("audit not pruned: %s", error)
            return False

    def _keep_within_budget(self) -> None:
        self.used = self._used_now()
        while self.used > self._settings.budget.prune_from and self._made_room():
            self.used = self._used_now()

    def prune_old(self) -> bool:
        """Take one batch of records past retention; whether there may be more."""
        retention = self._settings.budget.retention_seconds
        if retention is None:
            return False
        oldest = self._clock() - retention
        try:
            gone = self._at_work().prune(older_than=oldest, unix_time=self._clock(), why="age")
            earlier = 0 if self._earlier is None else self._earlier.prune(oldest)
        except sqlite3.Error as error:
            _log.error("audit not pruned: %s", error)
            return False
        return gone + earlier > 0


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
