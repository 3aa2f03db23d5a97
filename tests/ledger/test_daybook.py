"""The daybook: whatever was written is entered once and in order, wherever the process ended."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.storage.database import Synchronous, open_database
from proxy.edge.storage.holding import hold
from proxy.edge.storage.store import Store
from proxy.ledger import daybook, ending, sqlite
from proxy.ledger.daybook import (
    Daybook,
    DayRecord,
    Entering,
    daybook_of,
    enter_what_is_missing,
    print_record,
    wait_until_entered,
)
from proxy.ledger.prompt_commit import entering
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import SlowDisk
from proxy.session.freezes import Freeze
from proxy.userop.primitives import Hash32
from tests.ledger.builders import hold_name
from tests.ledger.test_folding import operation

FIRST_LINE = b"sessiongate daybook 1\n"
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=40),
)
STATEMENTS = st.tuples(st.text(max_size=30), st.lists(VALUES, max_size=4).map(tuple))
JOBS = st.lists(st.lists(STATEMENTS, max_size=3), max_size=3)


class Word(StrEnum):
    SAID = "said"


@given(st.lists(JOBS, max_size=5), st.integers(0, 2**40), st.integers(0, 60))
def test_what_is_whole_is_read_back_and_a_record_cut_short_is_none(jobs: list[object], first: int, cut: int) -> None:
    records = [DayRecord(first + index, each) for index, each in enumerate(jobs)]  # type: ignore[arg-type]  # any
    printed = [print_record(record) for record in records]
    content = FIRST_LINE + b"".join(printed)
    assert daybook.read_records(content) == (records, False)
    if printed:
        short = content[: len(content) - min(cut + 1, len(printed[-1]))]
        assert daybook.read_records(short) == (records[:-1], False)


@given(st.lists(JOBS, min_size=1, max_size=4), st.data())
def test_a_byte_that_has_changed_is_noticed_and_nothing_from_there_on_is_read(
    jobs: list[object], data: st.DataObject
) -> None:
    records = [DayRecord(1 + index, each) for index, each in enumerate(jobs)]  # type: ignore[arg-type]  # any
    printed = [print_record(record) for record in records]
    content = bytearray(FIRST_LINE + b"".join(printed))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    found, damaged = daybook.read_records(bytes(content))
    assert found == records[: len(found)]
    assert damaged or len(found) < len(records)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(content: bytes) -> None:
    assert daybook.read_records(content)[0] == []
    daybook.read_records(FIRST_LINE + content)


def test_texts_and_numbers_of_other_classes_are_what_they_are_to_sqlite() -> None:
    record = DayRecord(1, [[("SQL", (Word.SAID, True, 1.5, None, b"x"))]])
    (found,), _ = daybook.read_records(FIRST_LINE + print_record(record))
    assert found.jobs == [[("SQL", ("said", True, 1.5, None, b"x"))]]
    assert type(found.jobs[0][0][1][0]) is str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(path, synchronous=Synchronous.NORMAL)
    connection.execute("CREATE TABLE seen (number INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO daybook VALUES (1, 0, 1)")
    yield connection
    connection.close()


def insert(number: int) -> Statement:
    return "INSERT INTO seen VALUES (?)", (number,)


def content_of(*jobs: list[list[Statement]], first: int = 1) -> bytes:
    return FIRST_LINE + b"".join(print_record(DayRecord(first + index, each)) for index, each in enumerate(jobs))


def seen(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM seen ORDER BY number")]


def test_what_is_missing_is_entered_in_order_and_once(connection: sqlite3.Connection) -> None:
    content = content_of([[insert(1)], [insert(2)]], [[("UPDATE seen SET number = number + 10", ())]], [[insert(1)]])
    assert enter_what_is_missing(connection, content) == Entering(3, 3, lost=False)
    assert seen(connection) == [1, 11, 12]
    assert enter_what_is_missing(connection, content) == Entering(3, 0, lost=False)
    assert seen(connection) == [1, 11, 12]


def test_what_was_entered_before_the_end_is_not_entered_again(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO seen VALUES (1)")
    connection.execute(*daybook.entered(1))
    assert enter_what_is_missing(connection, content_of([[insert(1)]], [[insert(2)]])) == Entering(2, 1, lost=False)
    assert seen(connection) == [1, 2]


def test_a_job_that_is_at_fault_does_not_keep_its_company_out(connection: sqlite3.Connection) -> None:
    content = content_of([[insert(1)], [insert(1)], [("INSERT INTO seen VALUES (?)", (2**70,))], [insert(2)]])
    assert enter_what_is_missing(connection, content) == Entering(1, 1, lost=False)
    assert seen(connection) == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        content_of([[insert(1)]], first=7),
        content_of([[insert(1)]])[:-1] + b"\xff" + content_of([[insert(2)]]),
    ],
    ids=["removed", "something else", "records before it are gone", "damaged in the middle"],
)
def test_a_daybook_that_has_lost_something_is_told_of(connection: sqlite3.Connection, content: bytes) -> None:
    assert enter_what_is_missing(connection, content).lost


def test_a_place_that_is_no_number_is_told_and_nothing_is_entered(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE daybook SET entered = 'x'")
    with pytest.raises(sqlite3.DatabaseError, match="how far"):
        enter_what_is_missing(connection, content_of([[insert(1)]]))
    assert seen(connection) == []


def test_after_a_good_end_a_daybook_that_is_gone_is_no_loss(connection: sqlite3.Connection) -> None:
    connection.execute(*daybook.entered(9, is_open=False))
    assert enter_what_is_missing(connection, b"") == Entering(9, 0, lost=False)


def test_whoever_looks_in_from_outside_waits_until_a_running_gate_has_entered_what_it_had_noted_down(
    path: Path, connection: sqlite3.Connection
) -> None:
    book, looks = Daybook(daybook.open_daybook(path), 0), iter((1, 2))
    for number in (1, 2):
        book.write([[insert(number)]])

    def enter_one(_seconds: float) -> None:
        book.write([[insert(7)]])  # more comes meanwhile
        connection.execute(*daybook.entered(next(looks)))

    assert not wait_until_entered(path, seconds=0.0, sleep=enter_one)
    assert wait_until_entered(path, seconds=60.0, sleep=enter_one)
    assert list(looks) == []
    connection.execute(*daybook.entered(0))
    book.close()
    assert wait_until_entered(path, seconds=0.0)  # nobody is there to wait for


class KilledError(BaseException):
    """Nothing is done any more, not even what tidies up."""


class MortalConnection(sqlite3.Connection):
    """Does so many statements, and then nothing more."""

    left = 10_000

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        self._live()
        return super().execute(*statement)

    def executemany(self, *statements: Any) -> sqlite3.Cursor:
        self._live()
        return super().executemany(*statements)

    def _live(self) -> None:
        if not self.left:
            raise KilledError
        self.left -= 1


@pytest.mark.parametrize("by_a_start", [False, True], ids=["by a gate", "by a start"])
def test_whoever_is_killed_between_any_two_statements_has_entered_everything_once(
    path: Path, connection: sqlite3.Connection, by_a_start: bool
) -> None:
    """How far it is entered is in the same transaction: what is entered twice would show."""
    records = [DayRecord(1, [[insert(1)], [insert(2)]]), DayRecord(2, [[("UPDATE seen SET number = number + 10", ())]])]
    content = FIRST_LINE + b"".join(map(print_record, records))
    jobs = [job for record in records for job in record.jobs]
    for lives in count():
        connection.execute("DELETE FROM seen")
        connection.execute(*daybook.entered(0))
        with closing(sqlite3.connect(path, isolation_level=None, factory=MortalConnection)) as mortal:
            mortal.left = lives
            try:
                if by_a_start:
                    enter_what_is_missing(mortal, content)
                else:
                    list(entering(mortal, jobs, daybook.entered(2), None))
                died = False
            except KilledError:
                died = True
        enter_what_is_missing(connection, content)
        assert seen(connection) == [11, 12], f"killed after {lives} statements"
        if not died:
            assert lives > 4
            return


def test_much_that_is_missing_is_entered_as_what_it_leaves(connection: sqlite3.Connection, path: Path) -> None:
    executed: list[str] = []
    connection.set_trace_callback(executed.append)
    jobs = [[[sqlite.begin(operation(number))], ending.end([hold_name(number)], [])] for number in range(400)]
    assert enter_what_is_missing(connection, content_of(*jobs)) == Entering(400, 400, lost=False)
    assert len([each for each in executed if each.startswith(("INSERT", "DELETE"))]) == 1  # how far it is entered


def test_a_record_that_does_not_fit_on_the_disk_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    book = Daybook(daybook.open_daybook(path), 0, SlowDisk(stopwatch=lambda: now[0]))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    assert book.write([[insert(1)]]) is None
    monkeypatch.undo()
    assert book.write([[insert(1)]]) is None  # not tried again at once
    now[0] = 6.0
    assert book.write([[insert(2)]]) == DayRecord(1, [[insert(2)]])
    assert daybook_of(path).read_bytes() == content_of([[insert(2)]])
    book.close()


def test_nothing_is_noted_down_behind_half_a_record_that_could_not_be_cut_off(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    book = Daybook(daybook.open_daybook(path), 0, SlowDisk(stopwatch=lambda: now[0]))
    write = os.write

    def refuse(_file: int, _size: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    monkeypatch.setattr(os, "ftruncate", refuse)
    assert book.write([[insert(1)]]) is None
    monkeypatch.setattr(os, "write", write)
    now[0] = 6.0
    assert book.write([[insert(1)]]) is None  # what came behind could never be read
    monkeypatch.undo()
    now[0] = 12.0
    assert book.write([[insert(2)]]) == DayRecord(1, [[insert(2)]])
    assert daybook_of(path).read_bytes() == content_of([[insert(2)]])
    book.close()


def a_freeze(number: int) -> Freeze:
    return Freeze(permission_id=Hash32(number.to_bytes(32, "big")), account=None, chain_id=None, since=1.0, note="")


def killed_in_the_middle(path: Path, freezes: int) -> None:
    """A gate that has written so much down, and ends before any of it is entered."""
    child = os.fork()
    if child == 0:
        hold(path)
        store = Store(path, synchronous=Synchronous.NORMAL, held=True)

        async def write() -> None:
            for number in range(freezes):
                await store.save_freeze(a_freeze(number))
            os._exit(0)

        asyncio.run(write())
    os.waitpid(child, 0)


def test_what_a_gate_wrote_before_it_was_killed_is_there_at_the_next_start(path: Path) -> None:
    killed_in_the_middle(path, 50)
    with closing(hold(path)), closing(Store(path, synchronous=Synchronous.NORMAL, held=True)) as store:
        assert len(store.freezes()) == 50
        assert store.missing == 0


def test_a_command_sees_what_a_killed_gate_wrote_and_what_it_writes_is_not_undone_by_that(path: Path) -> None:
    killed_in_the_middle(path, 3)
    with closing(Store(path)) as store:
        assert len(store.freezes()) == 3
        asyncio.run(store.drop_freezes([a_freeze(1)]))
    with closing(hold(path)), closing(Store(path, synchronous=Synchronous.NORMAL, held=True)) as store:
        assert {freeze.permission_id for freeze in store.freezes()} == {
            a_freeze(number).permission_id for number in (0, 2)
        }


def test_a_daybook_that_was_taken_away_from_a_killed_gate_is_told_of(path: Path) -> None:
    killed_in_the_middle(path, 3)
    daybook_of(path).unlink()
    with closing(hold(path)), closing(Store(path, synchronous=Synchronous.NORMAL, held=True)) as store:
        assert store.missing == 1


@pytest.mark.parametrize(("synchronous", "level"), [(Synchronous.FULL, 2), (Synchronous.EXTRA, 3)])
async def test_what_is_to_outlive_a_power_cut_is_told_when_it_is_committed_by_who_waits_for_the_disk(
    path: Path, synchronous: Synchronous, level: int
) -> None:
    with closing(hold(path)), closing(Store(path, synchronous=synchronous, held=True)) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (level,)  # it waits at each commit
        await store.save_freeze(a_freeze(1))
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT count(*) FROM freezes").fetchone() == (1,)
        assert daybook_of(path).read_bytes() in (b"", FIRST_LINE)


async def test_a_store_that_ended_well_leaves_nothing_to_enter(path: Path) -> None:
    with closing(hold(path)):
        for number in range(3):
            with closing(Store(path, synchronous=Synchronous.NORMAL, held=True)) as store:
                assert len(store.freezes()) == number
                assert store.missing == 0
                await store.save_freeze(a_freeze(number))
            assert daybook_of(path).read_bytes() == FIRST_LINE
