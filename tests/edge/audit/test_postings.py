"""Whatever is on record is found by what it is of, however long the trail is, and without looking through all of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.audit import reading
from proxy.edge.audit.appending import Appender
from proxy.edge.audit.beyond import sent_since
from proxy.edge.audit.chain import chain_key
from proxy.edge.audit.plain import plain_answer, plain_decision, plain_end
from proxy.edge.audit.postings import MERGED, SEGMENT, Segment, is_true, places, places_of, segment_of
from proxy.edge.audit.printing import Columns, print_plain
from proxy.edge.audit.reading import AuditFilter, Trail, read_audit, read_entries
from proxy.edge.audit.remarks import Tampering
from proxy.edge.audit.schema import RecordKind, open_trail, open_trail_reader
from proxy.edge.audit.verify import verify_trail
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.ports import OperationEnd
from proxy.userop.primitives import Address, Hash32
from tests.edge.audit.trails import record, writing
from tests.edge.builders import NOW, decision

KEY = chain_key("a secret of some length")
OPERATIONS = (MERGED + 2 * SEGMENT) // 3 + 500  # one merged segment, more beside it, and some in none
ACCOUNTS = 700
SCHEMA_1 = (
    "DROP TABLE segments",
    "CREATE INDEX records_by_time ON records (unix_time)",
    "CREATE INDEX records_by_decision ON records (decision_id) WHERE decision_id IS NOT NULL",
    "CREATE INDEX records_by_operation ON records (user_op_hash) WHERE user_op_hash IS NOT NULL",
    "CREATE INDEX records_by_account ON records (account, id) WHERE account IS NOT NULL AND verdict IS NOT NULL",
    "CREATE INDEX records_by_session ON records (permission_id, id)"
    " WHERE permission_id IS NOT NULL AND verdict IS NOT NULL",
    "PRAGMA user_version = 1",
)
"""What makes of a trail one as the release before this laid it out."""


def account_of(number: int) -> Address:
    return Address((number % ACCOUNTS).to_bytes(20, "big"))


def session_of(number: int) -> Hash32:
    return Hash32((number % ACCOUNTS).to_bytes(32, "big"))


def hash_of(number: int) -> Hash32:
    return Hash32((number * 7_919).to_bytes(32, "little"))


def told(number: int) -> list[Columns]:
    """An operation that was sent, taken, and mined; every second later than the one before."""
    at = NOW + number
    made = decision(
        f"d-{number}",
        unix_time=at,
        account=account_of(number),
        permission_id=session_of(number),
        user_op_hash=hash_of(number),
    )
    end = OperationEnd("soneium", hash_of(number), "mined", account_of(number), session_of(number), True)
    return [
        print_plain(plain_decision(made, forwarding=True)),
        print_plain(plain_answer(f"d-{number}", UpstreamAnswer(result="0x01"), at)),
        print_plain(plain_end(end, at)),
    ]


def write(path: Path, first: int, last: int, *, at_once: int = 1_000) -> None:
    with closing(open_trail(path)) as connection:
        appender = Appender(connection, KEY)
        appender.begin(NOW)
        records = [(None, columns) for number in range(first, last) for columns in told(number)]
        for start in range(0, len(records), at_once):
            appender.append(records[start : start + at_once])


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "audit.db"
    write(path, 0, OPERATIONS)
    return path


@pytest.fixture
def copied(long: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(long, tmp_path / "audit.db"))


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def segments(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT first, last FROM segments ORDER BY first").fetchall()


def numbers(path: Path, **wanted: object) -> list[int]:
    rows = read_audit(Trail(path), AuditFilter(**wanted))  # type: ignore[arg-type]  # keyword fields
    return [int(row.decision_id.removeprefix("d-")) for row in rows]


def is_found_by_all(path: Path, number: int) -> None:
    of_the_account = list(range(number % ACCOUNTS, OPERATIONS, ACCOUNTS))
    assert numbers(path, decision_id=f"d-{number}") == [number]
    assert numbers(path, user_op_hash=hash_of(number)) == [number]
    assert numbers(path, account=account_of(number)) == of_the_account
    assert numbers(path, permission_id=session_of(number)) == of_the_account
    assert numbers(path, account=account_of(number), limit=2) == of_the_account[-2:]
    assert numbers(path, since=NOW + number, until=NOW + number + 3) == list(range(number, min(number + 3, OPERATIONS)))
    (row,) = read_audit(Trail(path), AuditFilter(decision_id=f"d-{number}"))
    assert row.upstream == UpstreamAnswer(result="0x01")
    assert row.end is not None
    wanted = AuditFilter(user_op_hash=hash_of(number), since=NOW + number)
    assert len(list(read_entries(Trail(path), wanted, kinds=[RecordKind.END]))) == 1


SOME = (0, 1, SEGMENT // 3, MERGED // 3 - 1, MERGED // 3, MERGED // 3 + 1, OPERATIONS - 1)


@pytest.mark.parametrize("number", SOME)
def test_a_decision_in_a_long_trail_is_found_with_its_answer_and_its_end(long: Path, number: int) -> None:
    is_found_by_all(long, number)


def test_full_segments_are_merged_and_the_youngest_records_are_in_none(long: Path) -> None:
    ends = [MERGED - 1, MERGED + SEGMENT - 1, MERGED + 2 * SEGMENT - 1]
    # the first place that a record has is 1: the segment of places 0 to 2,047 has one record less
    assert segments(long) == [(0, ends[0]), (ends[0] + 1, ends[1]), (ends[1] + 1, ends[2])]
    assert verify_trail(long, [KEY]).remarks == []


def test_a_search_does_not_look_through_the_trail(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = [0]

    def count() -> int:
        looked[0] += 100
        return 0

    def counting(path: Path) -> sqlite3.Connection:
        connection = open_trail_reader(path)
        connection.set_progress_handler(count, 100)
        return connection

    monkeypatch.setattr(reading, "open_trail_reader", counting)
    for wanted in (
        {"decision_id": "d-9"},
        {"user_op_hash": hash_of(9)},
        {"account": account_of(9)},
        {"permission_id": session_of(9)},
        {"since": NOW + OPERATIONS - 10},
    ):
        looked[0] = 0
        assert numbers(long, **wanted)
        # steps of SQLite's machine, of which each record that is looked at takes several
        assert looked[0] < MERGED / 2, wanted


@pytest.mark.parametrize("at_once", [1, 7, SEGMENT + 1])
def test_however_records_come_each_is_found(tmp_path: Path, at_once: int) -> None:
    path = tmp_path / "audit.db"
    amount = SEGMENT // 3 + 50
    for first in range(0, amount, 300):  # a run each
        write(path, first, min(first + 300, amount), at_once=at_once)
    for number in (0, 299, 300, SEGMENT // 3, amount - 1):
        assert numbers(path, user_op_hash=hash_of(number)) == [number]
    assert segments(path) == [(0, SEGMENT - 1)]
    found = verify_trail(path, [KEY]).remarks
    assert {each.what for each in found} == {Tampering.CRASH}  # no run said that it stops


def test_what_a_disk_refused_is_found_once_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with closing(open_trail(path)) as connection:
        appender = Appender(connection, KEY)
        appender.begin(NOW)
        records = [(None, columns) for number in range(SEGMENT // 3 + 9) for columns in told(number)]
        connection.execute(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.head BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
        with pytest.raises(sqlite3.Error, match="full"):
            appender.append(records)
        connection.execute("DROP TRIGGER refuse")
        appender.append(records[:100])
        appender.append(records[100:])
    for number in (0, 33, 34, SEGMENT // 3 + 8):
        assert numbers(path, user_op_hash=hash_of(number)) == [number]
    assert verify_trail(path, [KEY]).remarks == []


def test_what_is_pruned_leaves_the_index_and_the_rest_is_found(copied: Path) -> None:
    with closing(open_trail(copied)) as connection:
        appender = Appender(connection, KEY)
        while appender.prune(older_than=NOW + MERGED // 3 + 100, unix_time=NOW, why="age"):
            pass
    assert segments(copied)[0] == (MERGED, MERGED + SEGMENT - 1)
    kept = MERGED // 3 + 100
    for number in (kept, OPERATIONS - 1):
        assert numbers(copied, user_op_hash=hash_of(number)) == [number]
    assert numbers(copied, user_op_hash=hash_of(kept - 1)) == []
    assert {each.what for each in verify_trail(copied, [KEY]).remarks} == {Tampering.PRUNE}


# trails of the release before


def test_a_trail_of_the_release_before_is_read_as_it_is(copied: Path) -> None:
    change(copied, *SCHEMA_1)
    for number in SOME:
        is_found_by_all(copied, number)
    assert verify_trail(copied, [KEY]).remarks == []


def test_a_trail_of_the_release_before_is_taken_over_with_all_that_is_in_it(copied: Path, long: Path) -> None:
    change(copied, *SCHEMA_1)
    with closing(open_trail(copied)) as connection:
        Appender(connection, KEY)
        left = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    assert left == [("records_of_the_trail",)]
    assert segments(copied) == segments(long)
    for number in SOME:
        is_found_by_all(copied, number)
    assert verify_trail(copied, [KEY]).remarks == []


def test_a_gate_goes_on_with_a_trail_of_the_release_before(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with writing(path) as writer:
        record(writer, decision("d-1", upstream=UpstreamAnswer(result="0x01")))
    change(path, *SCHEMA_1)
    with writing(path) as writer:
        record(writer, decision("d-2", upstream=UpstreamAnswer(result="0x02")))
    assert numbers(path, account=decision().account) == [1, 2]
    assert verify_trail(path).remarks == []


# whoever changes the index


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE segments SET postings = x'' WHERE first = 0",
        "UPDATE segments SET postings = substr(postings, 9) WHERE first = 0",
        "UPDATE segments SET postings = postings || x'ffffffffffffffff' WHERE first = 0",
        "UPDATE segments SET postings = 'none' WHERE first = 0",
        "UPDATE segments SET newest = 'never' WHERE first = 0",
        "UPDATE segments SET last = 'last' WHERE first = 0",
        "UPDATE segments SET newest = oldest WHERE first = 0",
        "UPDATE segments SET last = 1e6 WHERE first = 0",
        f"INSERT INTO segments VALUES (1, {MERGED}, 0, 0, x'')",
        "INSERT INTO segments VALUES (1e6, 2e6, 0, 0, x'0000000000000000')",
    ],
)
def test_an_index_that_was_changed_is_found_out(copied: Path, statement: str) -> None:
    change(copied, statement)
    assert {each.what for each in verify_trail(copied, [KEY]).remarks} == {Tampering.INDEX}
    numbers(copied, account=account_of(0), since=NOW)  # which may find less, and does not fail


def test_a_record_that_was_changed_is_no_fault_of_the_index(copied: Path) -> None:
    change(copied, "UPDATE records SET decision_id = 'd-x' WHERE id = 5")
    found = [(each.what, each.first) for each in verify_trail(copied, [KEY]).remarks]
    assert found == [(Tampering.EDIT, 5)]


def test_where_the_index_was_taken_away_the_records_are_looked_through(copied: Path) -> None:
    change(copied, "DELETE FROM segments")
    is_found_by_all(copied, 5)
    assert verify_trail(copied, [KEY]).remarks == []


# the newest operation that a bundler took


def test_the_newest_operation_that_was_taken_is_found_behind_many_that_were_not(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with writing(path) as writer:
        record(writer, decision("d-1", upstream=UpstreamAnswer(result="0x01"), user_op_hash=hash_of(1)))
        for number in range(2, 300):
            refused = UpstreamAnswer(error_code=-32500, error_message="no")
            record(writer, decision(f"d-{number}", upstream=refused, user_op_hash=hash_of(number)))
    found = sent_since(path, NOW - 1, lambda _: False)
    assert found is not None
    assert found.user_op_hash == hash_of(1)
    assert sent_since(path, NOW - 1, lambda _: True) is None


# segments by themselves

CHECKSUMS: st.SearchStrategy[bytes | None] = st.none() | st.sampled_from([bytes([each]) * 20 for each in range(4)])
POSTED = st.lists(
    st.tuples(st.floats(0, 1e10), st.none() | st.text(max_size=3), st.sampled_from([None, "allow"]), *[CHECKSUMS] * 3),
    max_size=40,
)


@given(POSTED, st.integers(0, 1 << 40), st.integers(-1, 45))
def test_a_segment_leads_to_every_record_that_is_of_what_is_looked_for(
    made: list[tuple[float, str | None, str | None, bytes | None, bytes | None, bytes | None]], first: int, pruned: int
) -> None:
    records = [(first + number, *each) for number, each in enumerate(made)]
    segment = segment_of(first, first + SEGMENT - 1, records)
    for lookup, column in LOOKUPS:
        for wanted in {each[column] for each in records} - {None}:
            there = [each[0] for each in records if each[column] == wanted and (column < 5 or each[3] is not None)]
            assert set(places_of(segment, {lookup(wanted)})) >= set(there)
    left = [each for each in records if each[0] > first + pruned]
    assert is_true(segment, left, pruned=first + pruned)
    if any(each[2] is not None for each in left):
        assert not is_true(segment, left[:-1] if left[-1][2] is not None else [], pruned=first + pruned)


LOOKUPS: tuple[tuple[Callable[..., int], int], ...] = (
    (reading.of_decision, 2),
    (reading.of_operation, 4),
    (reading.of_account, 5),
    (reading.of_session, 6),
)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_every_place_is_in_a_segment_or_looked_through(bounds: list[tuple[int, int]], first: int, last: int) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE segments (first INTEGER PRIMARY KEY, last, oldest, newest, postings BLOB)")
        for start, length in bounds:
            row = Segment(start, start + length, 0.0, 1.0, segment_of(0, 0, []).postings)
            connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?)", row)
        covered = {
            at for start, end in connection.execute("SELECT first, last FROM segments") for at in range(start, end + 1)
        }
        looked = places(connection, {7}, first=first, last=last)
        anywhen = places(connection, since=0.5, first=first, last=last)
    assert {at for each in looked for at in each} == set(range(first, last + 1)) - covered
    assert [at for each in anywhen for at in each] == list(range(first, last + 1))
