"""Group commit: whoever waits hears the truth, and the order is that of handing over."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from proxy.errors import StateUnavailable
from proxy.ledger.group_commit import GroupCommit, in_words


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "group.db"


@pytest.fixture
def connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.05)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE seen (number INTEGER PRIMARY KEY)")
    return connection


@pytest.fixture
def writer(connection: sqlite3.Connection) -> Iterator[GroupCommit]:
    writer = GroupCommit(connection)
    yield writer
    writer.close()


def seen(path: Path) -> list[int]:
    reader = sqlite3.connect(path)
    try:
        return [number for (number,) in reader.execute("SELECT number FROM seen ORDER BY number")]
    finally:
        reader.close()


def insert(number: int) -> list[tuple[str, tuple[int]]]:
    return [("INSERT INTO seen VALUES (?)", (number,))]


async def test_what_a_write_waited_for_is_committed(writer: GroupCommit, path: Path) -> None:
    await asyncio.gather(*(writer.write(insert(number)) for number in range(300)))
    assert seen(path) == list(range(300))


async def test_what_is_written_in_one_turn_of_the_loop_is_one_transaction(connection: sqlite3.Connection) -> None:
    transactions: list[None] = []

    def count(_connection: sqlite3.Connection) -> Callable[[], None]:
        return lambda: transactions.append(None)

    writer = GroupCommit(connection, count)
    await asyncio.gather(*(writer.write(insert(number)) for number in range(100)))
    writer.close()
    assert len(transactions) == 1


def test_what_a_loop_that_ended_did_not_hand_over_is_written_with_what_comes_next(
    writer: GroupCommit, path: Path
) -> None:
    async def leave_at_once() -> None:
        writer.post(insert(1))
        asyncio.get_running_loop().stop()

    ended = asyncio.new_event_loop()
    ended.run_until_complete(leave_at_once())
    ended.close()
    asyncio.run(writer.write(insert(2)))
    assert seen(path) == [1, 2]


async def test_what_nobody_waits_for_is_written_before_what_is_handed_over_later(
    writer: GroupCommit, path: Path
) -> None:
    writer.post(insert(1))
    await writer.write([("DELETE FROM seen WHERE number = 1", ())])
    assert seen(path) == []


async def test_one_that_fails_does_not_take_its_company_along(writer: GroupCommit, path: Path) -> None:
    results = await asyncio.gather(*(writer.write(insert(number)) for number in (1, 2, 2, 3)), return_exceptions=True)
    assert [type(result) for result in results].count(StateUnavailable) == 1
    assert seen(path) == [1, 2, 3]


async def test_a_lock_fails_all_that_wait_for_it_and_the_last_failure_is_remembered_until_a_write_succeeds(
    writer: GroupCommit, path: Path
) -> None:
    writer.check()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(*(writer.write(insert(number)) for number in (1, 2)), return_exceptions=True)
    other.execute("ROLLBACK")
    other.close()
    assert [str(result) for result in results] == [
        "the ledger could not be written: it is locked by another process"
    ] * 2
    assert all(isinstance(result, StateUnavailable) and result.fact == "ledger" for result in results)
    await writer.write(insert(3), probe=True)
    with pytest.raises(StateUnavailable, match="locked"):
        writer.check()
    await writer.write(insert(4))
    writer.check()


async def test_what_is_owed_goes_before_whatever_is_written_next(writer: GroupCommit, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for statements in (insert(1), [("UPDATE seen SET number = number + 10", ())]):
        with pytest.raises(StateUnavailable, match="locked"):
            await writer.write(statements, owed=True)
    with pytest.raises(StateUnavailable, match="locked"):
        await writer.write(insert(2))
    other.execute("ROLLBACK")
    other.close()
    await writer.write(insert(3))
    assert seen(path) == [3, 11]
    await writer.write(insert(4))
    assert seen(path) == [3, 4, 11]


async def test_what_is_owed_and_can_never_be_written_does_not_stop_the_rest(writer: GroupCommit, path: Path) -> None:
    await writer.write(insert(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in (1, 2):
        with pytest.raises(StateUnavailable, match="locked"):
            await writer.write(insert(number), owed=True)
    other.execute("ROLLBACK")
    other.close()
    await writer.write(insert(3))
    assert seen(path) == [1, 2, 3]


async def test_what_is_owed_at_the_end_is_tried_once_more(writer: GroupCommit, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable, match="locked"):
        await writer.write(insert(1), owed=True)
    other.execute("ROLLBACK")
    other.close()
    writer.close()
    assert seen(path) == [1]


async def test_after_closing_nothing_is_taken(writer: GroupCommit) -> None:
    writer.close()
    writer.post(insert(1))
    with pytest.raises(StateUnavailable, match="closed"):
        await writer.write(insert(1))


def test_what_is_told_of_a_failure_is_never_what_was_being_written() -> None:
    assert in_words(ValueError("a secret")) == "ValueError"
    assert in_words(sqlite3.OperationalError("near 'secret'")) == "OperationalError"


async def test_what_is_not_patient_is_not_behind_a_long_row_of_what_is(connection: sqlite3.Connection) -> None:
    stood: list[set[int]] = [set()]  # after each transaction
    writing, go_on = Event(), Event()

    def count(connection: sqlite3.Connection) -> Callable[[], None]:
        stood.append({number for (number,) in connection.execute("SELECT number FROM seen")})
        writing.set()
        go_on.wait()
        return lambda: None

    writer = GroupCommit(connection, count)
    row = [asyncio.create_task(writer.write(insert(number), patient=True)) for number in range(1, 201)]
    await asyncio.sleep(0)
    await asyncio.to_thread(writing.wait)
    late = asyncio.create_task(writer.write(insert(0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it is handed over at the end of this turn
    go_on.set()
    await asyncio.gather(late, *row)
    writer.close()
    assert 0 in stood[2]
    assert all(len(after - before) <= 2 for before, after in pairwise(stood))
    assert stood[-1] == set(range(201))
