"""The daybook: what is written is on disk here at once, and entered into the database some moments later, many at
a time.

To make one operation's rows safe against `kill -9` costs SQLite a transaction of several pages; here it is one append
of a few hundred bytes to a file beside it. What is entered says in the same transaction up to which number it goes, so
that a start enters just what is missing, in order.

The file is a line of ASCII and then records: length of the content and CRC-32 of number and content, each 4 bytes big
endian; the number, 8 bytes, one more than the last; the content. That is a list of jobs, each a list of pairs (SQL,
values), as Python's `marshal` prints them in its version 2 (earlier releases: 4); every Python reads both. What follows
the last whole record was being written when the process ended, and nobody was told that it is safe.
"""

from __future__ import annotations

import marshal
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final, NamedTuple, cast
from zlib import crc32

from proxy.ledger.prompt_commit import entering
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import SlowDisk, transact

TABLES: Final = (
    """CREATE TABLE daybook (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), entered INTEGER NOT NULL, open INTEGER NOT NULL
    )""",
)
"""Statements that make the table, for the list of migrations. `entered` is the number of the last record that is in
the database, `open` whether a gate had a daybook when it ended."""

_ENTERED: Final = "INSERT OR REPLACE INTO daybook VALUES (1, ?, ?)"
_FIRST_LINE: Final = b"sessiongate daybook 1\n"
_HEAD: Final = struct.Struct(">II")
_NUMBER: Final = struct.Struct(">Q")
_LOOK_SECONDS: Final = 0.1
_VERSION: Final = 2
"""The newest one that does not look for what occurs twice, which takes longer than to write it twice."""
_made: Final = tuple.__new__
"""Makes a named tuple without a call of Python's: there is one for every operation."""
_dumps: Final[Callable[[object, int], bytes]] = marshal.dumps  # type: ignore[assignment]  # raises for what it cannot

Jobs = Sequence[Sequence[Statement]]


class DayRecord(NamedTuple):
    """What one turn of the loop has written: the statements of each job, under a number."""

    number: int
    jobs: Jobs


def entered(number: int, *, is_open: bool = True) -> Statement:
    """All up to this record is in the database with the transaction that this is part of."""
    return _ENTERED, (number, int(is_open))


def daybook_of(database: Path) -> Path:
    """The daybook's file beside the database, whatever link leads there."""
    real = database.resolve()
    return real.with_name(f"{real.name}-daybook")


def open_daybook(database: Path) -> int:
    """The daybook's file, made if it is not there, and locked: a descriptor. Waits for a command that is at it, which
    takes moments. Raises `OSError`."""
    file = os.open(daybook_of(database), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        flock(file, LOCK_EX)
    except OSError:
        os.close(file)
        raise
    return file


class Daybook:
    """Takes records, each on disk when `write` returns. `last` is the number of the last one so far.

    Making one empties the `file` (see `open_daybook`): what it held must have been entered. Raises `OSError`.
    """

    def __init__(self, file: int, last: int, disk: SlowDisk | None = None) -> None:
        self.last = last
        self._disk = disk or SlowDisk()
        self._file = file
        self._is_torn = False  # half a record is at the end: what came behind it could not be read
        if os.pread(file, len(_FIRST_LINE), 0) != _FIRST_LINE:
            os.ftruncate(file, 0)
            os.write(file, _FIRST_LINE)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was written: all of it is entered. Raises `OSError`."""
        os.ftruncate(self._file, len(_FIRST_LINE))
        self.size, self._is_torn = len(_FIRST_LINE), False

    def write(self, jobs: Jobs) -> DayRecord | None:
        """Write a record; `None` when it could not be, and nothing of it is there."""
        if not self._disk.begin() or (self._is_torn and not self._mend()):
            return None
        record = _made(DayRecord, (self.last + 1, jobs))
        printed = print_record(record)
        try:
            done = os.write(self._file, printed)
        except OSError:
            done = 0
        if done != len(printed):
            self._mend()
            self._disk.fail()
            return None
        self.last, self.size = record.number, self.size + done
        self._disk.end()
        return record

    def _mend(self) -> bool:
        """Cut off what was not written whole; whether that could be done."""
        try:
            os.ftruncate(self._file, self.size)
        except OSError:
            self._disk.fail()
            self._is_torn = True
        else:
            self._is_torn = False
        return not self._is_torn

    def close(self) -> None:
        """Nothing more is written."""
        os.close(self._file)


def print_record(record: DayRecord) -> bytes:
    """The record as it stands in the file."""
    number, jobs = record
    try:
        content = _dumps(jobs, _VERSION)
    except ValueError:  # a text or a number of a class of its own
        content = _dumps([[(sql, tuple(map(_plain, values))) for sql, values in job] for job in jobs], _VERSION)
    numbered = _NUMBER.pack(number) + content
    return _HEAD.pack(len(content), crc32(numbered)) + numbered


def read_records(content: bytes) -> tuple[list[DayRecord], bool]:
    """The whole records of a file, and whether what is behind them was once more than a record being written."""
    records: list[DayRecord] = []
    if not content.startswith(_FIRST_LINE):
        return records, bool(content)
    at, ahead = len(_FIRST_LINE), _HEAD.size + _NUMBER.size
    while at + ahead <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        numbered = content[at + _HEAD.size : at + ahead + length]
        if len(numbered) < _NUMBER.size + length:
            break
        if crc32(numbered) != checksum:
            return records, True
        (number,) = _NUMBER.unpack_from(numbered)
        records.append(DayRecord(number, cast(Jobs, marshal.loads(numbered[_NUMBER.size :]))))  # noqa: S302  # ours, and whole by its checksum
        at += ahead + length
    return records, False


class Entering(NamedTuple):
    """What a start finds: the number of the last record, how many it had to enter, and whether any are known to be
    lost."""

    last: int
    missing: int
    lost: bool


NOTHING_FOUND: Final = Entering(0, 0, lost=False)


def enter_what_is_missing(connection: sqlite3.Connection, content: bytes) -> Entering:
    """Enter what the `content` of a daybook has and the database has not, before anything else is read of that or
    changed in it. Only for who holds both. Raises `sqlite3.Error`.
    """
    row = None
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'daybook'").fetchone() is not None:
        row = connection.execute("SELECT entered, open FROM daybook").fetchone()
    if row is None:  # never one here: a file that lies there is another database's
        return NOTHING_FOUND
    done, was_open = row
    if not isinstance(done, int):
        raise sqlite3.DatabaseError("how far its daybook is entered cannot be read")
    records, lost = read_records(content)
    missing = [record for record in records if record.number > done]
    if missing:
        _enter_all(connection, missing)
    lost |= bool(was_open) and not content
    lost |= bool(missing) and missing[0].number != done + 1
    return Entering(max([done, *(record.number for record in missing)]), len(missing), lost)


def read_daybook(file: int) -> bytes:
    """All that is in it."""
    return os.pread(file, os.fstat(file).st_size, 0)


def enter_alone(database: Path) -> None:
    """Enter what a gate that was killed has left, for a command; not while a gate runs, which does it by itself.
    Raises `sqlite3.Error`, `OSError`."""
    try:
        file = os.open(daybook_of(database), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        flock(file, LOCK_EX | LOCK_NB)
        content = read_daybook(file)
        with closing(sqlite3.connect(database, timeout=10.0, isolation_level=None)) as connection:
            enter_what_is_missing(connection, content)
    except BlockingIOError:
        return
    finally:
        os.close(file)


def wait_until_entered(database: Path, *, seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Whether what a gate that runs has noted down by now is in the database, or becomes so within that time: it
    enters what it has noted down every few seconds. True where no gate runs. Raises `sqlite3.Error`, `OSError`."""
    wanted: int | None = None
    until = time.monotonic() + seconds
    while True:
        try:
            file = os.open(daybook_of(database), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            wanted = _last_number(read_daybook(file)) if wanted is None else wanted
        else:
            return True
        finally:
            os.close(file)
        with closing(sqlite3.connect(database, timeout=10.0)) as connection:
            if wanted <= max([0, *(number for (number,) in connection.execute("SELECT entered FROM daybook"))]):
                return True
        if time.monotonic() >= until:
            return False
        sleep(_LOOK_SECONDS)


def _last_number(content: bytes) -> int:
    """Of the last whole record, 0 where there is none; none of them is read."""
    number, at, ahead = 0, len(_FIRST_LINE), _HEAD.size + _NUMBER.size
    while at + ahead <= len(content):
        length, _ = _HEAD.unpack_from(content, at)
        if at + ahead + length <= len(content):
            (number,) = _NUMBER.unpack_from(content, at + _HEAD.size)
        at += ahead + length
    return int(number)


def _enter_all(connection: sqlite3.Connection, records: Sequence[DayRecord]) -> None:
    """All of them at once; one by one where that cannot be, so that what is at fault is by itself."""
    jobs = (job for record in records for job in record.jobs)
    try:
        for _ in entering(connection, jobs, entered(records[-1].number), None):
            continue
    except Exception:  # an earlier release's tables, or a job at fault: what is wrong shows below
        for record in records:
            _enter(connection, record)


def _enter(connection: sqlite3.Connection, record: DayRecord) -> None:
    """One record; a job that the database refuses is at fault by itself, and would have been left out before too."""
    statements = [(sql, values) for job in record.jobs for sql, values in job]
    try:
        transact(connection, [*statements, entered(record.number)], None)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.Error, OverflowError):
        for job in record.jobs:
            with suppress(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, OverflowError):
                transact(connection, job, None)
        transact(connection, [entered(record.number)], None)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else value
