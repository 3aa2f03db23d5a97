"""A long commit holds no loop up: another thread ends it, once, and whoever needs it waits for that and no longer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.ledger import daybook
from proxy.ledger.backlog import Backlog
from proxy.ledger.daybook import DayRecord
from proxy.ledger.group_commit import GroupCommit
from proxy.ledger.prompt_commit import LongCommit, PromptCommit
from proxy.ledger.statement import Statement
from tests.patience import PATIENCE_SECONDS

MUCH = 400


def insert(number: int) -> list[Statement]:
    return [("INSERT INTO seen VALUES (?)", (number,))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "much.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE seen (number INTEGER PRIMARY KEY)")
        connection.executescript(";".join(daybook.TABLES))
    return path


@pytest.fixture
def own(path: Path) -> Iterator[sqlite3.Connection]:
    own = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    own.execute("PRAGMA wal_autocheckpoint = 0")
    yield own
    own.close()


@pytest.fixture
def backlog(own: sqlite3.Connection) -> Backlog:
    """With much in it."""
    backlog = Backlog(PromptCommit(own), None, number=0)
    for number in range(1, MUCH + 1):
        backlog.add(DayRecord(number, [insert(number)]))
    return backlog


def how_many(path: Path) -> int:
    with closing(sqlite3.connect(path)) as reader:
        return int(reader.execute("SELECT count(*) FROM seen").fetchone()[0])


def the_commit_of(backlog: Backlog) -> Callable[[], None]:
    """Enter all of it but for that."""
    commits: list[Callable[[], None]] = []
    while not commits:
        assert backlog.enter_some(apart=commits.append) is None
    return commits[0]


def test_what_is_committed_by_another_thread_is_entered_and_nothing_is_before_that(
    backlog: Backlog, path: Path
) -> None:
    commit = the_commit_of(backlog)
    assert backlog.is_committing
    assert (how_many(path), backlog.number) == (0, 0)
    other = threading.Thread(target=commit)
    other.start()
    other.join()
    assert not backlog.is_committing
    assert backlog.enter_some() is not None
    assert (how_many(path), backlog.number, len(backlog)) == (MUCH, MUCH, 0)


def test_who_cannot_wait_for_the_other_thread_commits_and_that_finds_it_done(backlog: Backlog, path: Path) -> None:
    commit = the_commit_of(backlog)
    assert backlog.enter_some() is not None
    assert how_many(path) == MUCH
    commit()
    assert how_many(path) == MUCH


def test_what_is_given_up_before_it_is_committed_never_is_and_all_of_it_is_somebody_elses(
    backlog: Backlog, path: Path
) -> None:
    commit = the_commit_of(backlog)
    assert len(backlog.take()) == MUCH
    commit()
    assert how_many(path) == 0


def test_what_is_given_up_too_late_is_entered_and_nobody_enters_it_again(backlog: Backlog, path: Path) -> None:
    commit = the_commit_of(backlog)
    backlog.add(DayRecord(MUCH + 1, [insert(MUCH + 1)]))
    commit()
    assert [record.number for record in backlog.take()] == [MUCH + 1]
    assert (how_many(path), backlog.is_under_way) == (MUCH, False)


def test_a_commit_that_fails_elsewhere_is_told_where_it_was_begun_and_leaves_nothing(
    backlog: Backlog, own: sqlite3.Connection, path: Path
) -> None:
    own.execute("PRAGMA foreign_keys = ON")
    own.execute("CREATE TABLE of (number INTEGER REFERENCES seen (number) DEFERRABLE INITIALLY DEFERRED)")
    backlog.add(DayRecord(MUCH + 1, [[("INSERT INTO of VALUES (-5)", ())]]))
    the_commit_of(backlog)()
    with pytest.raises(sqlite3.IntegrityError):
        backlog.enter_some()
    assert not backlog.is_under_way
    assert (how_many(path), len(backlog), own.in_transaction) == (0, MUCH + 1, False)


def test_a_commit_is_called_off_or_over_and_never_both(own: sqlite3.Connection) -> None:
    own.execute("BEGIN")
    called_off, ended = LongCommit(own), LongCommit(own)
    assert called_off.call_off()
    called_off.run()
    assert own.in_transaction
    ended.run()
    assert not own.in_transaction
    assert not ended.call_off()


async def test_the_loop_goes_on_while_much_is_committed_and_closing_leaves_nothing_behind(
    path: Path, own: sqlite3.Connection
) -> None:
    committing: list[int] = []

    def trace(statement: str) -> None:
        if statement == "COMMIT":
            committing.append(threading.get_ident())

    own.set_trace_callback(trace)
    writes = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    book = daybook.Daybook(daybook.open_daybook(path), 0)
    writer = GroupCommit(writes, prompt=PromptCommit(own), daybook=book)
    for number in range(MUCH):
        assert writer.write_now(insert(number))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while how_many(path) < MUCH:  # noqa: ASYNC110  # it is a timer's to do
            await asyncio.sleep(0.01)
    assert committing
    assert threading.get_ident() not in committing
    for number in range(MUCH, 2 * MUCH):
        assert writer.write_now(insert(number))
    writer.close()
    assert how_many(path) == 2 * MUCH
