"""What is entered folded leaves the tables as if one statement after the other had been entered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.storage.database import Synchronous, open_database
from proxy.judge.counts import CountKey, Row
from proxy.judge.marks import Mark
from proxy.judge.windows import BucketRow, MarkRow
from proxy.ledger import ending, rule_tables, sqlite
from proxy.ledger.daybook import Jobs
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, InFlight, Mined, Stage
from proxy.ledger.prompt_commit import entering
from proxy.ledger.reservation import HistoryRow, RuleRows
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import transact
from proxy.session.changes import Changes
from tests.ledger.builders import ACCOUNT, hold_name, operation_hash, reservation

_TABLES = (
    "operations_in_flight",
    "operations_ended",
    "operations_counted",
    "session_uses",
    "rule_windows",
    "rule_marks",
    "rule_histories",
)


def operation(number: int, grant: int | None = None) -> AcceptedOperation:
    held = replace(reservation(number, 1), grant=grant)
    changes = Changes(user_op_hash=held.user_op_hash, chain_id=held.slot.chain_id, account=ACCOUNT)
    return AcceptedOperation(reservation=held, changes=changes, accepted_at=float(number))


def mined(number: int, block: int, stage: Stage, grant: int | None = None) -> Ended:
    return Ended(
        operation=operation(number, grant),
        ended_at=float(block),
        mined=Mined(
            user_op_hash=operation_hash(number), success=block < 5, block=block, gas_used=block, gas_cost=7**20
        ),
        cause=Cause.MINED,
        evidence=Evidence(block=block),
        stage=stage,
    )


def _ended(ended: Ended) -> list[Statement]:
    return ending.end([ended.name], [ended])


def not_mined(number: int, grant: int | None) -> Ended:
    return mined(number, 3, Stage.ACCEPTED, grant)._replace(mined=None, cause=Cause.NONCE_USED)


def _revived(number: int, stage: Stage, grant: int | None) -> list[Statement]:
    flight = InFlight(operation=operation(number, grant), stage=stage)
    return ending.revive(flight)


def _row_of_rules(number: int, amount: int, expires: int) -> list[Statement]:
    key, known = CountKey(b"rule", bytes([number])), Mark(expires, amount, 0) if amount else None
    buckets = (BucketRow(key, expires - 5, expires, amount),)  # when it began tells when it ends
    histories = (HistoryRow(key, Row(length=amount) if amount else None, float(expires)),)
    return rule_tables.save(RuleRows(buckets, (MarkRow(key, b"mark", known),), histories))


_NUMBERS = st.integers(1, 3)
_STAGES = st.sampled_from(Stage)
_GRANTS = st.none() | st.integers(4, 5)
_OF_SESSIONS = (
    st.builds(lambda number, grant, stage: [sqlite.begin(operation(number, grant), stage)], _NUMBERS, _GRANTS, _STAGES),
    st.builds(lambda number, stage: [sqlite.advance(hold_name(number), stage)], _NUMBERS, _STAGES),
    st.builds(lambda number, grant: ending.end([hold_name(number, grant)], []), _NUMBERS, _GRANTS),
    st.builds(_ended, st.builds(mined, _NUMBERS, st.integers(1, 9), _STAGES, _GRANTS)),
    st.builds(_ended, st.builds(not_mined, _NUMBERS, _GRANTS)),
    st.builds(lambda number, grant: ending.end([], [mined(number, 4, Stage.ACCEPTED, grant)]), _NUMBERS, _GRANTS),
    st.builds(_revived, _NUMBERS, _STAGES, _GRANTS),
    st.builds(lambda number, mark: [sqlite.move(hold_name(number), mark)], _NUMBERS, st.text(max_size=3)),
    st.builds(lambda number, seconds: [sqlite.silence(hold_name(number), seconds)], _NUMBERS, st.floats(0, 9)),
)
_STEPS = st.one_of(
    *_OF_SESSIONS,
    st.builds(lambda before: [sqlite.prune(before)], st.floats(0, 9)),
    st.builds(lambda before: [sqlite.prune_some(before)], st.floats(0, 9)),
    st.builds(_row_of_rules, _NUMBERS, st.integers(0, 3), st.integers(1, 3)),
    st.builds(lambda number: rule_tables.forget(b"rule", [bytes([number])]), _NUMBERS),
    st.just([("UPDATE operations_in_flight SET silent = length(stage)", ())]),  # of nobody now: it reads what is folded
)
_LIVES = st.permutations(range(1, 6)).map(
    lambda numbers: [
        [statement for number in numbers for statement in step(number)]
        for step in (
            lambda number: [sqlite.begin(operation(number))],
            lambda number: [sqlite.advance(hold_name(number), Stage.ACCEPTED)],
            lambda number: _ended(mined(number, number, Stage.ACCEPTED)),
        )
    ]
)
"""What nearly all of a batch is."""
_FEW = st.lists(_STEPS, max_size=3)
_HISTORY = st.one_of(st.lists(_STEPS, max_size=14), st.builds(lambda some, lives: [*some, *lives], _FEW, _LIVES))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A database with nothing in it, to be copied."""
    path: Path = tmp_path_factory.mktemp("folding") / "empty.db"
    with closing(open_database(path, synchronous=Synchronous.NORMAL)) as connection:
        yield connection


def left(empty: sqlite3.Connection, batches: Sequence[Jobs], *, at_once: bool) -> list[list[tuple[object, ...]]]:
    """The rows of each table after these batches of jobs, but for their numbers."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        empty.backup(connection)
        for batch in batches:
            if at_once:
                list(entering(connection, batch, ("SELECT 1", ()), None))
            else:
                for statement in (statement for job in batch for statement in job):
                    transact(connection, [statement], None)
        return [_rows(connection, table) for table in _TABLES]


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    kept = [place for place, column in enumerate(cursor.description) if column[0] != "id"]
    return sorted((tuple(row[place] for place in kept) for row in cursor), key=repr)


def written(empty: sqlite3.Connection, batches: Sequence[Jobs]) -> list[str]:
    """What is executed for the last of these batches that changes a table: its first three words."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        empty.backup(connection)
        executed: list[str] = []
        for batch in batches:
            executed.clear()
            connection.set_trace_callback(executed.append)
            for _ in entering(connection, batch, ("SELECT 1", ()), None):
                continue
        changes = ("INSERT", "UPDATE", "DELETE")
        return [" ".join(text.split()[:3]) for text in executed if text.startswith(changes)]


@given(before=_HISTORY, history=_HISTORY, at=st.integers(0, 20))
def test_what_is_entered_folded_is_what_is_entered_one_by_one(
    empty: sqlite3.Connection, before: Jobs, history: Jobs, at: int
) -> None:
    batches = [before, history[:at], history[at:]]
    assert left(empty, batches, at_once=True) == left(empty, batches, at_once=False)


@given(history=st.lists(st.one_of(*_OF_SESSIONS), max_size=20), at=st.integers(0, 20))
def test_a_session_has_the_sums_of_what_is_counted_and_of_each_operation_once(
    empty: sqlite3.Connection, history: Jobs, at: int
) -> None:
    tables = left(empty, [history[:at], history[at:]], at_once=True)
    _, ended, counted, uses = tables[:4]
    amounts = [(row[0], *row[-4:]) for row in ended if row[-1] is not None] + [(row[0], *row[2:6]) for row in counted]
    assert len({name for name, *_ in amounts}) == len(amounts)
    sums = [sum(column) for column in zip(*[each[1:] for each in amounts], strict=True)] or [0, 0, 0, 0]
    assert [row[4:9] for row in uses if row[4]] == ([(len(amounts), *sums)] if amounts else [])


def test_an_operation_of_which_one_claim_was_moved_counts_once_for_its_session_however_many_have_ended(
    empty: sqlite3.Connection,
) -> None:
    history = [
        *([sqlite.begin(operation(1, grant))] for grant in (None, 4)),
        [sqlite.move(hold_name(1), "another")],
        *(_ended(mined(1, 3, Stage.ACCEPTED, grant)) for grant in (None, 4)),
    ]
    folded = left(empty, [history], at_once=True)
    assert folded == left(empty, [history], at_once=False)
    assert [row[4] for row in folded[3]] == [1]


def test_an_operation_that_was_answered_in_the_batch_in_which_it_began_is_written_once(
    empty: sqlite3.Connection,
) -> None:
    begun, answered = [sqlite.begin(operation(1))], [sqlite.advance(hold_name(1), Stage.ACCEPTED)]
    assert written(empty, [[begun, answered]]) == ["INSERT INTO operations_in_flight"]


def test_one_that_was_refused_in_it_is_not_written(empty: sqlite3.Connection) -> None:
    assert written(empty, [[[sqlite.begin(operation(1))], ending.end([hold_name(1)], [])]]) == []


def test_one_that_was_mined_in_it_is_written_as_what_has_ended_and_its_session_once_for_all(
    empty: sqlite3.Connection,
) -> None:
    batch = [
        *([sqlite.begin(operation(number))] for number in (1, 2)),
        *([sqlite.advance(hold_name(number), Stage.ACCEPTED)] for number in (1, 2)),
        *(_ended(mined(number, 7, Stage.ACCEPTED)) for number in (1, 2)),
    ]
    assert written(empty, [batch]) == [
        *["INSERT INTO operations_ended"] * 2,
        "INSERT INTO session_uses",
    ]


def test_of_one_that_had_begun_before_its_end_moves_its_row_and_its_session_has_its_sums_once_for_all(
    empty: sqlite3.Connection,
) -> None:
    before = [[sqlite.begin(operation(number))] for number in (1, 2)]
    assert written(empty, [before, [_ended(mined(number, 7, Stage.FORWARDED)) for number in (1, 2)]]) == [
        *["INSERT INTO operations_ended", "INSERT INTO operations_counted", "DELETE FROM operations_in_flight"] * 2,
        "INSERT INTO session_uses",
    ]


def test_one_that_the_tables_know_is_written_statement_by_statement(empty: sqlite3.Connection) -> None:
    again = [[sqlite.begin(operation(1))], _ended(mined(1, 7, Stage.ACCEPTED))]
    assert written(empty, [again, again])[0] == "INSERT INTO operations_in_flight"


def test_what_rules_count_of_one_group_is_written_as_it_stands_in_the_end(empty: sqlite3.Connection) -> None:
    rows = [_row_of_rules(1, amount, 5) for amount in (1, 2, 3)]
    assert written(empty, [rows]) == [
        "INSERT INTO rule_windows",
        "INSERT INTO rule_marks",
        "INSERT INTO rule_histories",
    ]


def test_what_rules_count_of_many_groups_is_entered_in_pieces_too(empty: sqlite3.Connection) -> None:
    def rows(amount: int) -> RuleRows:
        keys = [CountKey(b"rule", number.to_bytes(2, "big")) for number in range(3_000)]
        return RuleRows(tuple(BucketRow(key, 0, 60, amount) for key in keys))

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        empty.backup(connection)
        for amount in (1, 2, 0):
            assert len(list(entering(connection, [rule_tables.save(rows(amount))], ("SELECT 1", ()), None))) > 20
            assert len(_rows(connection, "rule_windows")) == (3_000 if amount else 0)


def test_what_says_nothing_of_operations_is_entered_as_it_came(empty: sqlite3.Connection) -> None:
    other: list[Statement] = [("INSERT OR REPLACE INTO probes VALUES (1, ?)", (5.0,))]
    assert len(written(empty, [[other, other]])) == 2


def test_what_is_much_is_entered_in_pieces_and_not_at_all_before_the_last(empty: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        empty.backup(connection)
        jobs = [[sqlite.begin(operation(number))] for number in range(3_000)]
        pieces = entering(connection, jobs, ("INSERT INTO rewound VALUES (1, 5)", ()), None)
        for _ in range(20):
            next(pieces)
        pieces.close()
        assert not connection.in_transaction
        assert _rows(connection, "operations_in_flight") == []
        assert len(list(entering(connection, jobs, ("INSERT INTO rewound VALUES (1, 5)", ()), None))) > 20
        assert len(_rows(connection, "operations_in_flight")) == 3_000
        assert _rows(connection, "rewound") == [(5.0,)]
