"""Whether the database still has all that was once committed to it: a count inside, and the same count beside it.

A write-ahead log that was removed, cut short or damaged takes committed transactions with it, and SQLite opens what is
left without a word; so does an older copy put in its place. Each commit counts itself in the same transaction, and
writes the number into a file of its own, `…-mark`, when it is done. That survives the end of the process; a power cut
may leave the mark behind the database, or under `ledger_synchronous: normal` ahead of it.

A database that counts commits and has no mark beside it came here without it: a copy, of which nobody can tell how old
it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

_TABLE: Final = "CREATE TABLE IF NOT EXISTS commits (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), count INTEGER)"
_COUNT: Final = (
    "INSERT INTO commits VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET count = coalesce(count, 0) + 1 RETURNING count"
)
_DIGITS: Final = 20


class Tally:
    """Of one connection. `missing` is how many commits the mark knows of and the database does not; `is_unmarked` that
    there are commits and no mark. Only who has the database `held` for a gate begins a mark where there should be one:
    a command that did would hide that it was gone."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, held: bool) -> None:
        connection.execute(_TABLE)
        row = connection.execute("SELECT count FROM commits").fetchone()
        count = row[0] if row is not None and isinstance(row[0], int) else 0
        self._mark: int | None = None
        self.missing, self.is_unmarked = 0, False
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if held or not count else 0)
        try:
            self._mark = os.open(f"{os.path.realpath(path)}-mark", flags, 0o640)
            marked = self._read(self._mark)
            if marked is None:
                self.is_unmarked = count > 0  # until the first commit, which is to tell of it
                if not count:
                    os.pwrite(self._mark, b"%0*d\n" % (_DIGITS, 0), 0)
            else:
                self.missing = max(0, marked - count)
        except FileNotFoundError:
            self.is_unmarked = True
        except OSError:
            return  # where no file can be made beside it the database says so itself

    def count(self, connection: sqlite3.Connection) -> Callable[[], None]:
        """Count the transaction that is about to be committed; what comes back is to be called when it is."""
        (count,) = connection.execute(_COUNT).fetchone()

        def mark() -> None:
            if self._mark is not None:
                try:
                    os.pwrite(self._mark, b"%0*d\n" % (_DIGITS, count), 0)
                except OSError:
                    self.close()  # a full disk, most likely: better no mark than one that lags behind unnoticed

        return mark

    def close(self) -> None:
        """No more marks."""
        if self._mark is not None:
            os.close(self._mark)
            self._mark = None

    @staticmethod
    def _read(mark: int) -> int | None:
        text = os.pread(mark, _DIGITS + 1, 0).strip()
        return int(text) if text.isdigit() else None
