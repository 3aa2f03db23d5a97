"""Transactions in the thread of the event loop, as long as nothing makes them wait: many writes of many turns in one, a
piece of work at a time.

What would have to wait, for a lock, for a disk, or because it is long, is for the writing thread (`GroupCommit`), which
also folds the write-ahead log back into the file: both the checkpoint and the first commit after it wait for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from itertools import chain, islice
from threading import Lock
from typing import Final

from proxy.ledger.folding import HASHES_AT_ONCE, Fold, Known, look_up
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import Count, SlowDisk

_FOLD_EVERY: Final = 4_000
"""Statements, of which each changes a page or two: a log of some tens of megabytes at most."""
_A_PIECE: Final = 512
"""Statements that are looked at: less than a millisecond's worth, as of those below."""
_WORK_OF_ONE: Final = 8
"""To execute a statement is so many times the work of looking at it."""
_MUCH: Final = 256
"""Statements that were executed; to commit what more of them have changed takes some milliseconds by itself."""
_WORK_OF_LOOK: Final = 512
"""Likewise, to find which of `HASHES_AT_ONCE` operations are known: as many pages may have to be read."""


class LongCommit:
    """The end of a transaction, which takes the longer the more pages it has changed, and no interpreter: whichever
    thread comes first ends it, and who comes later waits for that."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = Lock()
        self._error: Exception | None = None
        self.is_over = False

    def run(self) -> None:
        """Commit, if nobody has and nobody has called it off. Never raises: see `finish`."""
        with self._lock:
            if not self.is_over:
                try:
                    self._connection.execute("COMMIT")
                except Exception as error:  # for who finishes it
                    self._error = error
                self.is_over = True

    def finish(self) -> None:
        """Returns when it is committed. Raises whatever went wrong."""
        self.run()
        if self._error is not None:
            raise self._error

    def call_off(self) -> bool:
        """Whether it is not committed, and will not be."""
        with self._lock:
            was_over, self.is_over = self.is_over, True
            return not was_over or self._error is not None


Pieces = Generator[LongCommit | None, None, int]


def entering(
    connection: sqlite3.Connection, jobs: Iterable[Sequence[Statement]], last: Statement, count: Count | None
) -> Pieces:
    """Enter what the jobs leave, folded, and the `last` statement behind them; how many statements that took. Between
    two pieces others may have the thread, but nobody the connection. Where there is much to commit, that is the last
    piece, and may be run in another thread before this goes on.

    Nothing of it is entered before it is at its end: where it is closed earlier, or raises, nothing is. `count` as
    `transact` takes it. Raises `sqlite3.Error` and what else values may cause.
    """
    fold, work = Fold(), 0
    statements = chain.from_iterable(jobs)
    while part := tuple(islice(statements, _A_PIECE)):
        fold.take(part)
        work += len(part)
        if work >= _A_PIECE:
            yield None
            work = 0
    execute, executed, commit = connection.execute, 0, LongCommit(connection)
    execute("BEGIN IMMEDIATE")
    try:
        known = Known(set(), set())
        hashes = fold.hashes()
        for first in range(0, len(hashes), HASHES_AT_ONCE):
            look_up(connection, hashes[first : first + HASHES_AT_ONCE], known)
            if (work := work + _WORK_OF_LOOK) >= _A_PIECE:
                yield None
                work = 0
        for sql, rows in fold.groups(known):
            if len(rows) == 1:
                execute(sql, rows[0])
            else:
                connection.executemany(sql, rows)
            executed += len(rows)
            if (work := work + _WORK_OF_ONE * len(rows)) >= _A_PIECE:
                yield None
                work = 0
        execute(*last)
        done = None if count is None else count(connection)
        if executed > _MUCH:
            yield commit
        commit.finish()
    except BaseException:  # rolled back, and raised again
        commit.call_off()
        if connection.in_transaction:
            execute("ROLLBACK")
        raise
    if done is not None:
        done()
    return executed


class PromptCommit:
    """`connection` must wait for no lock (a timeout of 0) and make no checkpoints; nobody else uses it."""

    def __init__(self, connection: sqlite3.Connection, disk: SlowDisk | None = None) -> None:
        self._connection = connection
        self._disk = disk or SlowDisk()
        self._since_fold = 0

    def close(self) -> None:
        """Nothing more is written here."""
        self._connection.close()

    def begin(self, jobs: Iterable[Sequence[Statement]], last: Statement, count: Count | None) -> Pieces:
        """A transaction of all of these, in pieces: to `go_on` with, or to close."""
        return entering(self._connection, jobs, last, count)

    def go_on(self, pieces: Pieces) -> int | LongCommit | None:
        """One piece; after the last one how many statements are committed. Otherwise nothing of them is, but what is
        left may be a commit that is to be finished: in this thread with the next piece, if no other one does it.

        Raises whatever went wrong: they are for somebody who may wait then, and who tells what is wrong with them.
        """
        if not self._disk.begin():
            raise BlockingIOError("the disk is slow")
        try:
            return next(pieces)
        except StopIteration as ended:
            return int(ended.value)
        finally:
            self._disk.end()

    def wants_fold(self, statements: int) -> bool:
        """So many more were written, here or elsewhere. Whether the log is long enough to be folded back now."""
        self._since_fold += statements
        if self._since_fold < _FOLD_EVERY:
            return False
        self._since_fold = 0
        return True
