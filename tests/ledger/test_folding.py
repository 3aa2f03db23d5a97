"""What is entered folded leaves the tables as if one statement after the other had been entered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.storage.database import Synchronous, open_database
from proxy.ledger import session_uses, sqlite
from proxy.ledger.folding import folded
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, InFlight, Mined, Stage
from proxy.ledger.prompt_commit import Statement, transact
from proxy.session.changes import Changes
from tests.ledger.builders import ACCOUNT, hold_name, operation_hash, reservation

_TABLES = ("operations_in_flight", "operations_ended", "operations_counted", "session_uses")


def operation(number: int) -> AcceptedOperation:
    held = reservation(number, 1)
    changes = Changes(user_op_hash=held.user_op_hash, chain_id=held.slot.chain_id, account=ACCOUNT)
    return AcceptedOperation(reservation=held, changes=changes, accepted_at=float(number))


def mined(number: int, block: int, stage: Stage) -> Ended:
    return Ended(
        operation=operation(number),
        ended_at=float(block),
        mined=Mined(user_op_hash=operation_hash(number), success=True, block=block),
        cause=Cause.MINED,
        evidence=Evidence(block=block),
        stage=stage,
    )


def _ended(ended: Ended) -> list[Statement]:
    return [*sqlite.end([ended.name], [ended]), *session_uses.count([ended])]


def _revived(number: int, stage: Stage) -> list[Statement]:
    flight = InFlight(operation=operation(number), stage=stage)
    return [*sqlite.revive(flight), *session_uses.take_back(hold_name(number))]


_NUMBERS = st.integers(1, 3)
_STAGES = st.sampled_from(Stage)
_STEPS = st.one_of(
    st.builds(lambda number, stage: [sqlite.begin(operation(number), stage)], _NUMBERS, _STAGES),
    st.builds(lambda number, stage: [sqlite.advance(hold_name(number), stage)], _NUMBERS, _STAGES),
    st.builds(lambda number: sqlite.end([hold_name(number)], []), _NUMBERS),
    st.builds(lambda number, block, stage: _ended(mined(number, block, stage)), _NUMBERS, st.integers(1, 9), _STAGES),
    st.builds(_revived, _NUMBERS, _STAGES),
    st.builds(lambda number, mark: [sqlite.move(hold_name(number), mark)], _NUMBERS, st.text(max_size=3)),
    st.builds(lambda number, seconds: [sqlite.silence(hold_name(number), seconds)], _NUMBERS, st.floats(0, 9)),
    st.builds(lambda before: [sqlite.prune(before)], st.floats(0, 9)),
    st.just([("UPDATE operations_in_flight SET silent = length(stage)", ())]),  # of nobody now: it reads what is folded
)
_HISTORY = st.lists(_STEPS, max_size=14).map(lambda steps: [statement for step in steps for statement in step])


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A database with nothing in it, to be copied."""
    path: Path = tmp_path_factory.mktemp("folding") / "empty.db"
    with closing(open_database(path, synchronous=Synchronous.NORMAL)) as connection:
        yield connection


def left(empty: sqlite3.Connection, batches: Sequence[Sequence[Statement]]) -> list[list[tuple[object, ...]]]:
    """The rows of each table after these transactions, but for their numbers."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        empty.backup(connection)
        for batch in batches:
            transact(connection, batch, None)
        return [_rows(connection, table) for table in _TABLES]


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    kept = [place for place, column in enumerate(cursor.description) if column[0] != "id"]
    return sorted((tuple(row[place] for place in kept) for row in cursor), key=repr)


@given(before=_HISTORY, history=_HISTORY, at=st.integers(0, 40))
def test_what_is_entered_folded_is_what_is_entered_one_by_one(
    empty: sqlite3.Connection, before: list[Statement], history: list[Statement], at: int
) -> None:
    one_by_one = [before, *([statement] for statement in history)]
    assert left(empty, [before, folded(history[:at]), folded(history[at:])]) == left(empty, one_by_one)


def test_an_operation_that_was_answered_in_the_batch_in_which_it_began_is_written_once() -> None:
    begun, answered = sqlite.begin(operation(1)), sqlite.advance(hold_name(1), Stage.ACCEPTED)
    where_it_is, written = folded([begun, answered])
    assert where_it_is == answered  # of one that had begun before
    assert written[1] == sqlite.begin(operation(1), Stage.ACCEPTED)[1]


def test_one_that_was_refused_in_it_is_not_written(empty: sqlite3.Connection) -> None:
    statements = [sqlite.begin(operation(1)), *sqlite.end([hold_name(1)], [])]
    assert folded(statements) == statements[1:]
    assert left(empty, [folded(statements)]) == left(empty, [])


def test_what_says_nothing_of_operations_is_entered_as_it_came() -> None:
    other: Statement = ("INSERT INTO probes VALUES (1, ?)", (5.0,))
    assert folded([other, other]) == [other, other]
