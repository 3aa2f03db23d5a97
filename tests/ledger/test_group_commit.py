"""Group commit: whoever waits hears the truth, and the order is that of handing over."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count as endless
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from proxy.errors import StateUnavailable
from proxy.ledger import daybook, prompt_commit
from proxy.ledger.backlog import FOLD_SECONDS, Backlog
from proxy.ledger.database_words import in_words
from proxy.ledger.group_commit import GroupCommit
from proxy.ledger.prompt_commit import Pieces, PromptCommit
from proxy.ledger.transactions import Count, SlowDisk
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "group.db"


@pytest.fixture
def connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.05)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE seen (number INTEGER PRIMARY KEY)")
    return connection


def with_daybook(connection: sqlite3.Connection, path: Path, count: Count | None = None) -> GroupCommit:
    connection.executescript(";".join(daybook.TABLES))
    own = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    own.execute("PRAGMA wal_autocheckpoint = 0")
    book = daybook.Daybook(daybook.open_daybook(path), 0)
    return GroupCommit(connection, count, prompt=PromptCommit(own), daybook=book)


@pytest.fixture
def writer(connection: sqlite3.Connection) -> Iterator[GroupCommit]:
    writer = GroupCommit(connection)
    yield writer
    writer.close()


@pytest.fixture(params=["by its thread", "with a daybook"])
def either(connection: sqlite3.Connection, path: Path, request: pytest.FixtureRequest) -> Iterator[GroupCommit]:
    writer = GroupCommit(connection) if request.param == "by its thread" else with_daybook(connection, path)
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


async def test_what_a_write_waited_for_can_be_read_once_it_is_settled(either: GroupCommit, path: Path) -> None:
    await asyncio.gather(*(either.write(insert(number)) for number in range(300)))
    await either.settled()
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
    either: GroupCommit, path: Path
) -> None:
    async def leave_at_once() -> None:
        either.post(insert(1))
        asyncio.get_running_loop().stop()

    ended = asyncio.new_event_loop()
    ended.run_until_complete(leave_at_once())
    ended.close()

    async def go_on() -> None:
        await either.write(insert(2))
        await either.settled()

    asyncio.run(go_on())
    assert seen(path) == [1, 2]


async def test_a_daybook_that_breaks_leaves_nobody_waiting(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_book: daybook.Daybook, _jobs: object) -> None:
        raise TypeError

    monkeypatch.setattr(daybook.Daybook, "write", broken)
    writer = with_daybook(connection, path)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(writer.write(insert(number)) for number in range(3)))
    assert not writer.write_now(insert(4))
    writer.close()
    assert seen(path) == [0, 1, 2]


async def test_what_nobody_waits_for_is_written_before_what_is_handed_over_later(
    either: GroupCommit, path: Path
) -> None:
    either.post(insert(1))
    await either.write([("DELETE FROM seen WHERE number = 1", ())])
    await either.settled()
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


async def test_with_a_daybook_no_other_thread_has_to_run_for_a_write(
    connection: sqlite3.Connection, path: Path
) -> None:
    writer = with_daybook(connection, path)
    threads: set[int] = set()
    connection.set_trace_callback(lambda _statement: threads.add(threading.get_ident()))
    await asyncio.gather(*(writer.write(insert(number)) for number in range(200)))
    await writer.settled()
    assert threads == set()
    assert seen(path) == list(range(200))
    writer.close()


async def test_what_is_written_now_comes_after_what_was_handed_over_and_outlives_the_process(
    connection: sqlite3.Connection, path: Path
) -> None:
    writer = with_daybook(connection, path)
    writer.post(insert(1))
    assert writer.write_now([("UPDATE seen SET number = number + 10", ())])
    (record,), damaged = daybook.read_records(daybook.daybook_of(path).read_bytes())
    assert (record.number, len(record.jobs), damaged) == (1, 2, False)  # one append for both
    await writer.settled()
    assert seen(path) == [11]
    writer.displaced = "it was removed"
    assert not writer.write_now(insert(2))
    writer.displaced = None
    writer.close()
    assert not writer.write_now(insert(3))
    assert seen(path) == [11]


async def test_what_nobody_waits_for_at_all_goes_with_what_is_written_next_or_by_itself_a_moment_later(
    either: GroupCommit, path: Path
) -> None:
    either.post(insert(1), idle=True)
    either.post([("UPDATE seen SET number = 2 WHERE number = 1", ())], idle=True)
    await either.write([("UPDATE seen SET number = 3 WHERE number = 2", ())])
    await either.settled()
    assert seen(path) == [3]
    either.post(insert(4), idle=True)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while seen(path) != [3, 4]:  # noqa: ASYNC110  # it is a timer's to do
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("last_now", [True, False])
async def test_what_nobody_waits_for_keeps_its_place_among_all_that_is_handed_over(
    either: GroupCommit, path: Path, last_now: bool
) -> None:
    def next_from(number: int) -> list[tuple[str, tuple[int, int]]]:
        return [("UPDATE seen SET number = ? WHERE number = ?", (number + 1, number))]

    either.post(insert(1), idle=True)
    either.post(next_from(1), idle=True)
    either.post(next_from(2))
    either.post(next_from(3), idle=True)
    either.post(next_from(4))
    if not (last_now and either.write_now(next_from(5))):
        await either.write(next_from(5))
    await either.settled()
    assert seen(path) == [6]


async def test_nothing_is_written_now_where_that_waits_for_a_thread(writer: GroupCommit) -> None:
    assert not writer.write_now(insert(1))


async def test_with_a_daybook_a_lock_holds_nobody_up_and_order_is_kept_behind_it(
    connection: sqlite3.Connection, path: Path
) -> None:
    connection.execute("PRAGMA busy_timeout = 20000")
    writer = with_daybook(connection, path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await writer.write(insert(1))
    settling = asyncio.create_task(writer.settled())
    await asyncio.sleep(0)
    writer.post([("UPDATE seen SET number = number + 10", ())])
    await writer.write(insert(1), probe=False)
    assert not settling.done()
    other.execute("ROLLBACK")
    other.close()
    await settling
    await writer.write([("UPDATE seen SET number = number + 100", ())])
    await writer.settled()
    assert seen(path) == [101, 111]
    writer.close()


async def test_with_a_daybook_a_lock_that_lasts_refuses_what_comes_and_keeps_what_was_taken(
    connection: sqlite3.Connection, path: Path
) -> None:
    writer = with_daybook(connection, path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    taken: list[int] = []

    async def write_on() -> None:
        for number in endless():
            await writer.write(insert(number))
            taken.append(number)
            await asyncio.sleep(0.01)

    with pytest.raises(StateUnavailable, match="locked"):
        await asyncio.wait_for(write_on(), PATIENCE_SECONDS)
    with pytest.raises(StateUnavailable, match="locked"):
        writer.check()
    other.execute("ROLLBACK")
    other.close()
    await writer.write(insert(9_999), probe=True)
    await writer.settled()
    assert taken
    assert seen(path) == [*taken, 9_999]
    writer.close()


@pytest.mark.parametrize(("waits", "committed"), [([0, 1, 1, 1, 2, 3], [0, 3]), ([0] * 9, [0, 1, 2, 3])])
async def test_a_disk_that_makes_one_wait_is_left_to_the_thread_for_a_while_and_a_busy_processor_is_not_one(
    path: Path, connection: sqlite3.Connection, waits: list[int], committed: list[int]
) -> None:
    times, told = iter([0.0, 0.5, 1.0, 5.4, 6.0, 6.001, 6.1, 6.2]), iter(waits)
    own = sqlite3.connect(path, isolation_level=None, timeout=0)
    prompt = PromptCommit(own, SlowDisk(stopwatch=lambda: next(times), waits=lambda: next(told)))
    for number in range(4):
        with suppress(BlockingIOError):
            assert prompt.go_on(prompt.begin([insert(number)], ("SELECT 1", ()), None)) == 1
    assert seen(path) == committed
    prompt.close()
    connection.close()


async def test_what_is_much_is_entered_a_piece_at_a_time_and_others_have_the_loop_in_between(
    path: Path, connection: sqlite3.Connection
) -> None:
    writer = with_daybook(connection, path)
    await writer.write([statement for number in range(1_000) for statement in insert(number)])
    turns: list[int] = []

    async def go_round() -> None:
        for turn in endless():
            turns.append(turn)
            await asyncio.sleep(0)

    others = asyncio.create_task(go_round())
    await writer.settled()
    others.cancel()
    assert len(turns) >= 7  # 128 statements at a time
    assert len(seen(path)) == 1_000
    writer.close()


async def test_what_takes_long_is_the_threads_behind_what_was_noted_down_before_and_ahead_of_what_was_after(
    path: Path, connection: sqlite3.Connection
) -> None:
    writer = with_daybook(connection, path)
    threads: set[int] = set()
    connection.set_trace_callback(lambda _statement: threads.add(threading.get_ident()))
    await writer.write(insert(1))
    long = asyncio.create_task(writer.write([("UPDATE seen SET number = number + 10", ())], long=True))
    await asyncio.sleep(0)
    await writer.write(insert(2))
    await long
    await writer.settled()
    assert threads
    assert threading.get_ident() not in threads
    assert seen(path) == [2, 11]
    writer.close()


async def test_a_busy_disk_has_its_rest_and_what_is_noted_down_is_entered_after_it_unless_somebody_waits(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, refused = with_daybook(connection, path), iter(range(2))
    threads: set[int] = set()
    connection.set_trace_callback(lambda _statement: threads.add(threading.get_ident()))
    go_on = PromptCommit.go_on

    def go_on_later(prompt: PromptCommit, pieces: Pieces) -> int | None:
        if next(refused, None) is not None:
            raise BlockingIOError
        return go_on(prompt, pieces)

    monkeypatch.setattr(PromptCommit, "go_on", go_on_later)
    await writer.write(insert(1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while seen(path) != [1]:  # noqa: ASYNC110  # it is a timer's to do
            await asyncio.sleep(0.01)
    assert threads == set()
    refused = iter(range(1_000))
    await writer.write(insert(2))
    await writer.settled()
    assert seen(path) == [1, 2]
    assert threads
    writer.close()


async def test_what_takes_long_is_ahead_of_what_was_noted_down_after_it_though_all_had_to_wait(
    path: Path, connection: sqlite3.Connection
) -> None:
    connection.execute("PRAGMA busy_timeout = 60000")
    writer = with_daybook(connection, path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    probe = asyncio.create_task(writer.write(insert(1_000), probe=True))  # the thread has something to do
    await asyncio.sleep(0)
    await writer.write(insert(1))
    long = asyncio.create_task(writer.write([("UPDATE seen SET number = number + 10", ())], long=True))
    await asyncio.sleep(0)
    await writer.write(insert(2))
    other.execute("ROLLBACK")
    other.close()
    await asyncio.gather(probe, long)
    await writer.settled()
    assert seen(path) == [2, 11, 1_010]
    writer.close()


async def test_a_probe_waits_for_nothing_that_is_noted_down(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rest(_prompt: PromptCommit, _pieces: Pieces) -> int | None:
        raise BlockingIOError

    writer = with_daybook(connection, path)
    with monkeypatch.context() as resting:
        resting.setattr(PromptCommit, "go_on", rest)
        assert writer.write_now(insert(1))
        await writer.write(insert(9), probe=True)
        assert seen(path) == [9]
    await writer.settled()
    assert seen(path) == [1, 9]
    writer.close()


async def test_what_is_noted_down_waits_for_more_to_come_with_it_and_not_for_longer_than_that_comes(
    path: Path, connection: sqlite3.Connection
) -> None:
    now = [0.0]
    writer = with_daybook(connection, path)
    own = sqlite3.connect(path, isolation_level=None, timeout=0)
    backlog = Backlog(PromptCommit(own), None, number=0, monotonic=lambda: now[0])
    backlog.add(daybook.DayRecord(1, [insert(1)]))
    assert not backlog.is_due()
    backlog.add(daybook.DayRecord(2, [insert(2)]))
    assert not backlog.is_due()  # more has come
    assert backlog.is_due()  # and no more
    backlog.add(daybook.DayRecord(3, [insert(3)]))
    assert not backlog.is_due()
    backlog.add(daybook.DayRecord(4, [insert(4)]))
    now[0] = FOLD_SECONDS
    assert backlog.is_due()
    assert backlog.enter_some() is not None
    assert (backlog.number, len(backlog), seen(path)) == (4, 0, [1, 2, 3, 4])
    own.close()
    writer.close()


async def test_what_a_write_of_many_turns_leaves_is_entered_without_anybody_asking(
    connection: sqlite3.Connection, path: Path
) -> None:
    writer = with_daybook(connection, path)
    for number in range(600):
        await writer.write(insert(number))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(seen(path)) < 600:  # noqa: ASYNC110  # it is a timer's to do
            await asyncio.sleep(0.01)
    writer.close()


async def test_the_log_is_folded_back_by_the_thread_and_begun_anew(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_commit, "_FOLD_EVERY", 200)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE commits (number INTEGER)")
    folded: list[int] = []

    def count(connection: sqlite3.Connection) -> Callable[[], None]:
        connection.execute("INSERT INTO commits VALUES (1)")
        return lambda: None

    def trace(statement: str) -> None:
        if "checkpoint" in statement:
            folded.append(threading.get_ident())

    writer = with_daybook(connection, path, count)
    connection.set_trace_callback(trace)
    log, number = path.with_name(f"{path.name}-wal"), 0

    def times_begun_anew() -> int:
        with log.open("rb") as file:  # its checkpoint sequence number (SQLite, file format, 4.1)
            return int.from_bytes(file.read(16)[12:], "big")

    # while the disk is slow nothing is written in the loop, and nothing folded; who reads, or writes in between, may
    # keep one fold or another from beginning the log anew
    async with asyncio.timeout(300):
        while times_begun_anew() < 2:
            await asyncio.gather(*(writer.write(insert(number + at)) for at in range(100)))
            await writer.settled()
            number += 100
    writer_thread = set(folded)
    assert threading.get_ident() not in writer_thread
    assert len(writer_thread) == 1
    writer.close()
    assert seen(path) == list(range(number))


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
