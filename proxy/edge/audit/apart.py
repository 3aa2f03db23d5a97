"""The trail written by a process of its own, which prints, hashes and commits: the interpreter that judges does not.

It is handed batches of plain values over a socket pair and says when each is on file. It holds the lock on the file
together with the gate, so that nobody else writes while either lives. It may end at any time: another is started, goes
on with the run that has begun, and is handed again what had not been acknowledged; of that it skips what is on file.
When the gate ends without a word, it writes what it was handed and ends too.
"""

from __future__ import annotations

import logging
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.edge.audit.appending import Head
from proxy.edge.audit.line import NoteBatch, PlainLine, SilentError
from proxy.edge.audit.scribe import TrailSettings

_LOG: Final = logging.getLogger(__name__)
_ERRORS: Final[dict[str, type[sqlite3.Error]]] = {
    each.__name__: each for each in (sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.Error)
}
_LONGEST_REST: Final = 5.0
_END_SECONDS: Final = 5.0
_SILENT_SECONDS: Final = 30


class _GoneError(Exception):
    """The process has ended."""


class ScribeApart:
    """See `proxy.edge.audit.writer.Hand`. `clock` gives unix seconds."""

    def __init__(
        self, path: Path, settings: TrailSettings, *, earlier: Path | None, clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._settings = settings
        self._earlier = earlier
        self._clock = clock
        self._lock = -1
        self._line: PlainLine | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._run: int | None = None
        self._lost_before = 0  # by those that have ended, and here
        self._lost = 0
        self.head: Head | None = None
        self.writable = False
        self.used = 0

    @property
    def dropped(self) -> int:
        """Records that were handed over and are lost."""
        return self._lost_before + self._lost

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None, "open comes first"  # noqa: S101 - our own promise
        return self._process.pid

    def open(self, lock: int) -> None:
        self._lock = lock
        try:
            self._begin()
        except sqlite3.Error:
            self.leave()
            raise
        except (_GoneError, OSError) as error:
            self.leave()
            raise sqlite3.OperationalError("the process that writes the audit trail does not start") from error

    def _begin(self) -> None:
        """Start the process. Raises `sqlite3.Error`, `_GoneError`, `OSError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "proxy.edge.audit.child", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and a module of this package
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), self._lock), start_new_session=True
            )
        self._line = PlainLine(ours)
        self._line.give_up_after(_SILENT_SECONDS)
        settings = self._settings
        budget = settings.budget
        self._ask(
            "open",
            str(self._path),
            None if self._earlier is None else str(self._earlier),
            (settings.key.secret, settings.key.name),
            (budget.max_bytes, budget.reserve_bytes, budget.retention_seconds),
            dict(settings.told),
            self._run,
        )

    def write(self, batch: NoteBatch) -> None:
        self._until_done("write", batch.first, batch.size, count=batch.records, after=batch.packed)

    def prune_old(self) -> bool:
        return bool(self._until_done("prune", count=0))

    def close(self, lost: int) -> None:
        self._until_done("close", lost, count=0)
        self.leave()

    def hurry(self) -> None:
        self._stopping.set()
        if self._line is not None:
            with suppress(OSError):
                self._line.send("hurry")

    def leave(self) -> None:
        line, process = self._line, self._process
        if line is not None:
            line.close()
        if process is not None:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _until_done(self, *message: object, count: int, after: memoryview | None = None) -> object:
        """Say it to a process that lives to answer it; of a gate that is being stopped, to one more at most."""
        rest = 0.0
        while True:
            try:
                return self._ask(*message, after=after)
            except (_GoneError, OSError):
                self.writable = False
                self._bury()
            while True:
                last = self._stopping.is_set()
                try:
                    self._begin()
                    break
                except (sqlite3.Error, _GoneError, OSError) as error:
                    _LOG.error("the process that writes the audit trail does not start: %s", error)
                    self._bury()
                    if last:
                        self._lost_before += count
                        return None
                    rest = min(2 * rest + 0.1, _LONGEST_REST)
                    self._stopping.wait(rest)

    def _bury(self) -> None:
        """The process has ended, or is made to: what it had lost is remembered."""
        self._lost_before, self._lost = self._lost_before + self._lost, 0
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            self._process.kill()
            code = self._process.wait()
            self._process = None
            _LOG.error("the process that writes the audit trail has ended (%d); another one goes on", code)

    def _ask(self, *message: object, after: memoryview | None = None) -> object:
        """Raises `_GoneError`, `OSError`; `sqlite3.Error` for a trail that cannot be opened."""
        if self._line is None:
            raise _GoneError
        self._line.send(*message, after=after)
        silent = False
        while True:
            try:
                answer = self._line.receive()
            except SilentError:
                self.writable = False
                if not silent:
                    silent = True
                    _LOG.error("the process that writes the audit trail has been silent for %d s", _SILENT_SECONDS)
                continue
            if answer is None:
                raise _GoneError
            what, *told = answer
            match what:
                case "refused":
                    kind, text = told
                    raise _ERRORS.get(kind, sqlite3.OperationalError)(text)
                case "waiting":
                    self.writable = False
                    _LOG.error("audit not written: %s", told[0])
                case _:
                    head, self.used, self.writable, self._lost, self._run, more = told
                    self.head = Head(*head)
                    return more
