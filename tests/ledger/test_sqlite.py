"""Reservations on disk: what was begun is held, what ended may come back, what is old is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from proxy.edge.storage.database import open_database
from proxy.errors import StateUnavailable
from proxy.ledger import sqlite as table
from proxy.ledger.group_commit import Statement
from proxy.ledger.operations import AcceptedOperation, Ended, Mined, Stage
from proxy.session.changes import Changes
from proxy.userop.primitives import Hash32
from tests.ledger.builders import ACCOUNT, operation_hash, reservation


def operation(number: int, at: float = 1.0) -> AcceptedOperation:
    name = operation_hash(number)
    changes = Changes(user_op_hash=name, chain_id=1868, account=ACCOUNT)
    return AcceptedOperation(reservation=reservation(number, 2**200, limit=2**255), changes=changes, accepted_at=at)


def ended(number: int, at: float, *, mined: bool = True) -> Ended:
    receipt = Mined(user_op_hash=operation_hash(number), success=False, block=7, block_hash=Hash32(b"\x07" * 32))
    return Ended(
        operation=operation(number),
        ended_at=at,
        mined=receipt if mined else None,
        added=mined,
        counted_at=9 if mined else None,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / "ledger.db")
    yield connection
    connection.close()


def run(database: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    for statement in statements:
        database.execute(*statement)


def test_what_was_begun_comes_back_exactly_with_how_far_it_came_oldest_first(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1, at=2.0)), table.begin(operation(2, at=1.0))])
    run(database, [table.advance(operation_hash(2), Stage.UNKNOWN)])
    assert list(table.in_flight(database)) == [
        (operation(2, at=1.0), Stage.UNKNOWN),
        (operation(1, at=2.0), Stage.FORWARDED),
    ]


def test_begun_again_it_stays_as_far_as_it_was(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1)), table.advance(operation_hash(1), Stage.ACCEPTED)])
    run(database, [table.begin(operation(1, at=9.0))])
    assert list(table.in_flight(database)) == [(operation(1), Stage.ACCEPTED)]


def test_what_ended_is_not_in_flight_and_is_remembered_exactly(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(number)) for number in (1, 2, 3)])
    remembered = [ended(1, 5.0), ended(2, 6.0, mined=False)]
    run(database, table.end([operation_hash(number) for number in (1, 2, 3)], remembered))
    assert list(table.in_flight(database)) == []
    assert list(table.ended(database)) == remembered


def test_what_is_revived_is_in_flight_and_no_longer_remembered(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1))])
    run(database, table.end([operation_hash(1)], [ended(1, 5.0)]))
    run(database, table.revive(operation(1)))
    assert list(table.in_flight(database)) == [(operation(1), Stage.ACCEPTED)]
    assert list(table.ended(database)) == []


def test_what_ended_before_a_time_is_pruned_and_nothing_else(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(number)) for number in (1, 2, 3)])
    run(database, table.end([operation_hash(1), operation_hash(2)], [ended(1, 5.0), ended(2, 6.0)]))
    run(database, [table.prune(6.0)])
    assert list(table.ended(database)) == [ended(2, 6.0)]
    assert [each.user_op_hash for each, _ in table.in_flight(database)] == [operation_hash(3)]


def test_a_stage_that_nobody_knows_is_not_passed_over(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1)), ("UPDATE operations_in_flight SET stage = 'dreaming'", ())])
    with pytest.raises(StateUnavailable, match="stage"):
        list(table.in_flight(database))
