"""Transactions of a database, and when a thread that must not wait may make one.

Where a commit need not outlive a power cut it is a few writes into the page cache: less, for some dozens of operations
at once, than waking another thread and having the interpreter back from it for each statement.
"""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from proxy.ledger import ending, rule_tables
from proxy.ledger.statement import Statement

Count = Callable[[sqlite3.Connection], Callable[[], None]]

STAND_FOR: Final[Mapping[str, Callable[[Sequence[Any]], Sequence[Statement]]]] = {
    ending.END: ending.spelled_out,
    rule_tables.ROWS: rule_tables.spelled_out,
}
"""Texts that stand for several statements, each with what spells them out."""

_SLOW_SECONDS: Final = 0.02
_REST_SECONDS: Final = 5.0


def transact(connection: sqlite3.Connection, statements: Sequence[Statement], count: Count | None) -> None:
    """All statements in one transaction, or none. `count` is called before it is committed, and what it returns
    afterwards."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            if (spelled_out := STAND_FOR.get(sql)) is not None:
                for each in spelled_out(values):
                    execute(*each)
            else:
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
        # for each write anew: what was waited a moment before it is not the disk's
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


def fold(connection: sqlite3.Connection) -> None:
    """Bring what the write-ahead log holds into the file, as far as nobody is reading it."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
