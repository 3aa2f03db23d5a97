"""Group commit: writes of many tasks, gathered by one thread into one SQLite transaction at a time.

While one transaction is being made durable the next one gathers, so that the cost of durability is shared by all
who wait for it, and nobody waits longer for company.

What is `owed` when the file cannot be written goes before whatever is written next, in the same transaction. So rows
that hold a sum never reach the disk without the records of all that went into it, and a process that dies meanwhile
leaves what it would have left a moment earlier.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Final

from proxy.errors import StateUnavailable

Statement = tuple[str, Sequence[object]]
Count = Callable[[sqlite3.Connection], Callable[[], None]]

_LOG: Final = logging.getLogger(__name__)
_MOST_JOBS_A_COMMIT: Final = 256
_MOST_PATIENT_A_COMMIT: Final = 2
"""Few, so that nobody waits long for them."""
_FRESH_SECONDS: Final = 10.0
_WORDS: Final = {
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked by another process",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk cannot be written, or is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is no database",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
}


def in_words(error: BaseException) -> str:
    """What went wrong with a database, in words an operator can act on; nothing of what was being written."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and (words := _WORDS.get(code & 0xFF)) is not None:
            return words
    return type(error).__name__


@dataclass(slots=True)
class _Job:
    statements: Sequence[Statement]
    loop: asyncio.AbstractEventLoop | None = None  # `None` when nobody waits
    done: asyncio.Future[None] | None = None
    probe: bool = False
    owed: bool = False
    patient: bool = False


class GroupCommit:
    """The one writer of a database. `connection` must not be in a transaction, nor be used by anybody else.

    `count` is called in each transaction before it is committed, and what it returns afterwards. As long as `displaced`
    says why the file is not where it should be, only what is owed is written.
    """

    def __init__(self, connection: sqlite3.Connection, count: Count | None = None) -> None:
        self.displaced: str | None = None
        self._connection = connection
        self._count = count
        self._jobs: SimpleQueue[Sequence[_Job] | None] = SimpleQueue()
        self._turn: list[_Job] = []  # what this turn of the loop writes
        self._loop: asyncio.AbstractEventLoop | None = None  # whose turn it is
        self._closed = False
        self._owed: list[_Job] = []  # the writing thread's own
        self._failure: tuple[str, float] | None = None  # of the last write: why, and when (monotonic)
        self._thread = Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was handed over and close the connection. Blocks until that is done."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._jobs.put(None)
            self._thread.join()
            self._connection.close()

    async def write(
        self, statements: Sequence[Statement], *, probe: bool = False, owed: bool = False, patient: bool = False
    ) -> None:
        """Returns when the statements, all or none, are committed. Raises `StateUnavailable`.

        The success of a `probe` does not make up for the failure of a write. What is `owed` is written later where
        the file cannot be written now, and no later than anything else; its caller hears of the failure all the same.

        What is `patient` has a lane of its own, of which little is written at a time: what is not never waits for
        more than that. Order is kept within a lane.

        A caller who stops waiting does not stop the write.
        """
        if not statements:
            return
        if self._closed:
            raise StateUnavailable("the ledger is closed", fact="ledger")
        if self.displaced is not None and not owed:
            raise StateUnavailable(f"the ledger is not where it was: {self.displaced}", fact="ledger")
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._add(_Job(statements, loop, done, probe, owed, patient), loop)
        await done

    def post(self, statements: Sequence[Statement], *, patient: bool = False) -> None:
        """Hand statements over that nobody waits for, to be written after all of their lane that were handed over
        before.

        A write that fails is logged and lost: only for what may be lost.
        """
        if statements and not self._closed:
            self._add(_Job(statements, patient=patient), asyncio.get_running_loop())

    def _add(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        """Waking the thread costs the loop more than the rest of a write: all of one turn goes over at once."""
        if not self._turn or self._loop is not loop:  # another loop may have ended before it handed over
            self._loop = loop
            loop.call_soon(self._hand_over)
        self._turn.append(job)

    def _hand_over(self) -> None:
        if self._turn:
            self._jobs.put(self._turn)
            self._turn = []

    def check(self) -> None:
        """Raises `StateUnavailable` when the last write failed, a moment ago: on a full disk a small one may still
        find room where those that matter do not."""
        if self._failure is not None and time.monotonic() - self._failure[1] < _FRESH_SECONDS:
            raise StateUnavailable(f"the ledger could not be written: {self._failure[0]}", fact="ledger")

    def _write(self) -> None:
        urgent: deque[_Job] = deque()
        patient: deque[_Job] = deque()
        last = False
        while True:
            while not last and (not self._jobs.empty() or not (urgent or patient)):
                jobs = self._jobs.get()
                if jobs is None:
                    last = True
                    continue
                for job in jobs:
                    (patient if job.patient else urgent).append(job)
            if urgent:
                self._commit(_taken(urgent, _MOST_JOBS_A_COMMIT))
            if patient:
                self._commit(_taken(patient, _MOST_PATIENT_A_COMMIT))
            if last and not urgent and not patient:
                break
        if self._owed:
            self._commit([])

    def _commit(self, jobs: Sequence[_Job]) -> None:
        owed, self._owed = self._owed, []
        try:
            self._transact([statement for job in (*owed, *jobs) for statement in job.statements])
        except sqlite3.OperationalError as error:
            # of the file, not of one job: locked, full, read-only
            self._failure = in_words(error), time.monotonic()
            self._owed = [*owed, *(_Job(job.statements, owed=True, patient=True) for job in jobs if job.owed)]
            _end(jobs, error)
        except Exception as error:
            # whatever it is, those who wait must hear of it
            if len(owed) + len(jobs) == 1:
                _end([*owed, *jobs], error)
                return
            # one of them is at fault: each for itself, so that the others are kept
            for job in (*owed, *jobs):
                self._commit([job])
        else:
            if any(job.done is not None and not job.probe for job in jobs):
                self._failure = None
            _end(jobs, None)

    def _transact(self, statements: Sequence[Statement]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                connection.execute(sql, values)
            done = None if self._count is None else self._count(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if done is not None:
            done()


def _taken(jobs: deque[_Job], most: int) -> list[_Job]:
    return [jobs.popleft() for _ in range(min(most, len(jobs)))]


def _end(jobs: Sequence[_Job], error: Exception | None) -> None:
    """Tell those who wait, one wake-up for each loop."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for job in jobs:
        if job.loop is not None and job.done is not None:
            waiting.setdefault(job.loop, []).append(job.done)
        elif error is not None:
            _LOG.warning("the ledger could not be written: %s", in_words(error))
    for loop, futures in waiting.items():
        try:
            loop.call_soon_threadsafe(_settle, futures, error)
        except RuntimeError:
            continue  # the loop is closed: nobody waits


def _settle(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue  # whoever waited has gone away
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(StateUnavailable(f"the ledger could not be written: {in_words(error)}", fact="ledger"))
