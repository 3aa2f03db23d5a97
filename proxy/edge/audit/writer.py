"""The audit trail being written, without ever holding a request up.

What is recorded waits in a bounded queue (`proxy.edge.audit.door`); one thread takes what has gathered within
`commit_seconds` and hands it to whoever writes it: a process of its own (`proxy.edge.audit.apart`), or this thread.
It is committed as one transaction. Where much comes it is let gather for `busy_seconds`, or until there is as much as
is committed at once: a few large transactions take half of what many small ones take. What that promises:

- A decision is in the queue before its operation is forwarded; the answer and the end are records of their own. Were
  the gate killed, each record older than `commit_seconds` (where much comes: `busy_seconds`) plus one commit
  (milliseconds) is on file; of the youngest some may be missing. The write-ahead log is not synced at each commit, so
  this holds for the end of the process, and after a power cut for all but the last moments.
- A forwarded decision without an answer is `pending` while its gate runs, and `unknown` from the next start on.
- `stop` writes all that was recorded before it.
- When the disk is slower than the traffic, or refuses, records are lost from the full queue on. Every lost one is
  counted, and the trail itself says which: it has holes only where a gap record stands.
- A process that writes and ends is started anew, and given again what it may not have written; nothing is lost by that
  as long as the queue has room, and nothing is written twice.
- The file never grows past its budget, and never into what of the disk is reserved for the ledger.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from proxy.edge.audit.appending import Head
from proxy.edge.audit.chain import NO_KEY, ChainKey
from proxy.edge.audit.door import MOST_AT_ONCE, Bounds, Door
from proxy.edge.audit.holding import HeldTrail
from proxy.edge.audit.line import NoteBatch
from proxy.edge.audit.sampling import RefusalRate
from proxy.edge.audit.schema import open_trail
from proxy.edge.audit.scribe import Scribe, TrailSettings
from proxy.edge.audit.space import Disk, DiskBudget, disk_of

_PRUNE_EVERY_SECONDS: Final = 600.0
_BUSY: Final = 8
"""Records that came within `commit_seconds`: from so many on more are waited for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """What the configuration says of the trail. `told` goes into the record of each start."""

    key: ChainKey = NO_KEY
    budget: DiskBudget = field(default_factory=lambda: DiskBudget(max_bytes=1 << 30))
    bounds: Bounds = field(default_factory=Bounds)
    rate: RefusalRate = field(default_factory=RefusalRate)
    commit_seconds: float = 0.02
    busy_seconds: float = 0.25
    told: Mapping[str, object] = field(default_factory=dict)

    @property
    def trail(self) -> TrailSettings:
        """What of it concerns the file."""
        return TrailSettings(key=self.key, budget=self.budget, told=self.told)


class Hand(Protocol):
    """What writes for a gate. One thread uses it, but for `hurry` and `leave`."""

    @property
    def writable(self) -> bool:
        """Whether the last transaction succeeded; false before the first."""

    @property
    def used(self) -> int:
        """Bytes that the records take."""

    @property
    def dropped(self) -> int:
        """Records that were handed over and are lost."""

    @property
    def head(self) -> Head | None:
        """The newest record on file."""

    def open(self, lock: int) -> None:
        """Begin a run; `lock` is the descriptor that keeps others away. Raises `sqlite3.Error`."""

    def write(self, batch: NoteBatch) -> None:
        """Put them on file; returns when they are, or are lost."""

    def prune_old(self) -> bool:
        """Take one batch of records past retention; whether there may be more."""

    def hurry(self) -> None:
        """The gate is being stopped: a disk that refuses is tried once more, and not for longer."""

    def close(self, lost: int) -> None:
        """End the run in good order; `lost` records found no room."""

    def leave(self) -> None:
        """End it, whatever is under way."""


class _Here:
    """Writes on the thread of the writer itself."""

    def __init__(self, scribe: Scribe, stopping: threading.Event) -> None:
        self._scribe = scribe
        self._stopping = stopping

    @property
    def writable(self) -> bool:
        return self._scribe.writable

    @property
    def used(self) -> int:
        return self._scribe.used

    @property
    def dropped(self) -> int:
        return self._scribe.dropped

    @property
    def head(self) -> Head | None:
        return self._scribe.head

    def open(self, lock: int) -> None:  # noqa: ARG002  # this process has it
        self._scribe.open()

    def write(self, batch: NoteBatch) -> None:
        self._scribe.write(self._scribe.print_all(batch.first, batch.packed))

    def prune_old(self) -> bool:
        return self._scribe.prune_old()

    def hurry(self) -> None:
        self._stopping.set()

    def close(self, lost: int) -> None:
        self._scribe.close(lost)

    def leave(self) -> None:
        return None


class AuditWriter:
    """Writes records to the trail at `path`; only one may, at any time.

    `earlier` is a database in which an earlier release kept its trail. `clock` gives unix seconds, `disk` the room on
    the file system of a path, `connect` an autocommit connection to the file. `hand` writes in place of this process.
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
        hand: Hand | None = None,
    ) -> None:
        self._path = path
        self._settings = settings or WriterSettings()
        self._disk = disk
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._hold: HeldTrail | None = None
        self._broken = False
        self.door = Door(self._settings.bounds, self._settings.rate, clock=clock)
        self._hand: Hand = hand or _Here(
            Scribe(
                path,
                self._settings.trail,
                self._stopping,
                earlier=earlier,
                clock=clock,
                disk=disk,
                connect=connect,
                refused=self._say_refused,
            ),
            self._stopping,
        )

    @property
    def dropped(self) -> int:
        """Records lost since the start."""
        # two numbers, each added to by one thread only
        return self.door.lost + self._hand.dropped

    @property
    def queued(self) -> int:
        """Records not yet on file."""
        return self.door.queued

    @property
    def writable(self) -> bool:
        """Whether the last transaction succeeded; false before the first."""
        return self._hand.writable and not self._broken

    @property
    def head(self) -> Head | None:
        """The newest record on file."""
        return self._hand.head

    @property
    def used(self) -> int:
        """Bytes that the records take."""
        return self._hand.used

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

    def start(self, held: HeldTrail) -> None:
        """Open the trail, which is held and let go when this stops, and start writing. Raises `sqlite3.Error`, and has
        let it go then."""
        self._hold = held
        try:
            self._hand.open(held.writers)
        except sqlite3.Error:
            self._let_go()
            raise
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Write what is queued and end. A disk that refuses is tried once more."""
        self._stopping.set()
        self.door.close()
        if self._thread is not None:
            self._hand.hurry()
            self._thread.join(timeout_seconds)
            if self._thread.is_alive():
                self._hand.leave()
        self._let_go()

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.let_go()
            self._hold = None

    def _say_refused(self, error: sqlite3.Error) -> None:
        _log.error("audit not written, %d waiting: %s", self.queued, error)

    # the thread

    def _run(self) -> None:
        prune_at = time.monotonic()
        try:
            while not self._stopping.is_set():
                if self.door.wait(max(prune_at - time.monotonic(), 0.0)):
                    self._let_gather()
                    self._write(self.door.take())
                if time.monotonic() >= prune_at and not self._stopping.is_set():
                    self.door.tell_left_out()
                    more = self._hand.prune_old()
                    prune_at = time.monotonic() + (0.0 if more else _PRUNE_EVERY_SECONDS)
            self._write(self.door.take())
            self._hand.close(self.door.lost)
        except Exception:  # a promise of ours is broken: from here on all is lost, and counted
            # a promise of ours is broken: from here on all is lost, counted, and told by `writable`
            self._broken = True
            _log.exception("the audit trail is not written any more")
            self._hand.leave()

    def _let_gather(self) -> None:
        """One wake-up a transaction, not one a record."""
        settings = self._settings
        self._stopping.wait(settings.commit_seconds)
        if self.door.queued >= _BUSY:
            self.door.wait_for(MOST_AT_ONCE, max(settings.busy_seconds - settings.commit_seconds, 0.0))

    def _write(self, batches: list[NoteBatch]) -> None:
        for batch in batches:
            self._hand.write(batch)
            self.door.done(batch)
