"""Transactions in the thread of the event loop, as long as nothing makes them wait.

Where a commit need not outlive a power cut it is a few writes into the page cache: less, for some dozens of operations
at once, than waking another thread and having the interpreter back from it for each statement. What would have to
wait, for a lock, for a disk, or because it is long, is for the writing thread (`GroupCommit`), which also folds the
write-ahead log back into the file: both the checkpoint and the first commit after it wait for the disk.
"""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final

Statement = tuple[str, Sequence[object]]
Count = Callable[[sqlite3.Connection], Callable[[], None]]

MOST_STATEMENTS: Final = 256
"""In one transaction, the one that says how far it goes aside: two milliseconds' worth."""
_SLOW_SECONDS: Final = 0.02
_REST_SECONDS: Final = 5.0
_FOLD_EVERY: Final = 4_000
"""Statements, of which each changes a page or two: a log of some tens of megabytes at most."""


def transact(connection: sqlite3.Connection, statements: Sequence[Statement], count: Count | None) -> None:
    """All statements in one transaction, or none. `count` is called before it is committed, and what it returns
    afterwards."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            execute(sql, values)
        done = None if count is None else count(connection)
        execute("COMMIT")
    except BaseException:  # rolled back, and raised again
        if connection.in_transaction:
            execute("ROLLBACK")
        raise
    if done is not None:
        done()


def waits_so_far() -> int:
    """How often this thread has waited for something. To be set aside by others that run does not count."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class SlowDisk:
    """Whether the disk is so busy that writing to the page cache waits for it: then it rests from this thread.

    `stopwatch` gives seconds, `waits` how often the thread has waited: on a machine that is short of processors a
    write may take long and wait for nothing.
    """

    def __init__(
        self, stopwatch: Callable[[], float] = time.monotonic, waits: Callable[[], int] = waits_so_far
    ) -> None:
        self._stopwatch = stopwatch
        self._waits = waits
        self._began, self._waited = 0.0, 0
        self._rests_until = 0.0

    def begin(self) -> bool:
        """Whether something may be written now; then `end` it."""
        self._began, self._waited = self._stopwatch(), self._waits()
        return self._began >= self._rests_until

    def end(self) -> None:
        """It is written."""
        ended = self._stopwatch()
        if ended - self._began > _SLOW_SECONDS and self._waits() != self._waited:
            self._rests_until = ended + _REST_SECONDS

    def fail(self) -> None:
        """It could not be written."""
        self._rests_until = self._began + _REST_SECONDS


class PromptCommit:
    """`connection` must wait for no lock (a timeout of 0) and make no checkpoints; nobody else uses it."""

    def __init__(self, connection: sqlite3.Connection, disk: SlowDisk | None = None) -> None:
        self._connection = connection
        self._disk = disk or SlowDisk()
        self._since_fold = 0

    def close(self) -> None:
        """Nothing more is written here."""
        self._connection.close()

    def commit(self, statements: Sequence[Statement], count: Count | None) -> bool:
        """Whether the statements are committed. Otherwise nothing of them is: they are for somebody who may wait, and
        who tells what is wrong with them."""
        if len(statements) > MOST_STATEMENTS + 1 or not self._disk.begin():
            return False
        try:
            transact(self._connection, statements, count)
        except Exception:  # the writing thread tries it again, and tells what is wrong
            return False
        self._disk.end()
        return True

    def wants_fold(self, statements: int) -> bool:
        """So many more were written, here or elsewhere. Whether the log is long enough to be folded back now."""
        self._since_fold += statements
        if self._since_fold < _FOLD_EVERY:
            return False
        self._since_fold = 0
        return True


def fold(connection: sqlite3.Connection) -> None:
    """Bring what the write-ahead log holds into the file, as far as nobody is reading it."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
