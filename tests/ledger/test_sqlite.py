"""Reservations on disk: what was begun is held, what ended may come back, what is old is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.chain.settlement.ends import name_of
from proxy.edge.storage.database import MIGRATIONS, open_database
from proxy.errors import StateUnavailable
from proxy.ledger import ending
from proxy.ledger import sqlite as table
from proxy.ledger.folding import Known, look_up
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, InFlight, Mined, Stage
from proxy.ledger.reservation import UNKNOWN_NONCE
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import transact
from proxy.session.changes import Changes
from proxy.userop.primitives import Hash32
from tests.ledger.builders import ACCOUNT, SESSION, hold_name, operation_hash, reservation


def operation(number: int, at: float = 1.0) -> AcceptedOperation:
    name = operation_hash(number)
    changes = Changes(user_op_hash=name, chain_id=1868, account=ACCOUNT)
    return AcceptedOperation(reservation=reservation(number, 2**200, limit=2**255), changes=changes, accepted_at=at)


def ended(number: int, at: float, *, mined: bool = True) -> Ended:
    block_hash = Hash32(b"\x07" * 32)
    receipt = Mined(user_op_hash=operation_hash(number), success=False, block=7, block_hash=block_hash, timestamp=70)
    return Ended(
        operation=operation(number),
        ended_at=at,
        mined=receipt if mined else None,
        cause=Cause.MINED if mined else Cause.NONCE_USED,
        evidence=Evidence(block=7, block_hash=block_hash, timestamp=70, by=None if mined else operation_hash(8)),
        added=mined,
        counted_at=9 if mined else None,
        stage=Stage.FORWARDED,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / "ledger.db")
    yield connection
    connection.close()


def run(database: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    transact(database, statements, None)


def granting(number: int, nonce: int) -> AcceptedOperation:
    plain = operation(number)
    return replace(plain, reservation=replace(plain.reservation, grant=nonce))


def test_one_operation_as_a_grant_and_as_a_use_has_a_row_for_each(database: sqlite3.Connection) -> None:
    grant, use = granting(1, 4), operation(1)
    run(database, [table.begin(grant), table.begin(use), table.begin(use)])
    assert [each.operation for each in table.in_flight(database)] == [grant, use]
    over = Ended(operation=grant, ended_at=5.0, mined=None, cause=Cause.GRANT_USED, evidence=Evidence(block=7))
    run(database, ending.end([grant.name], [over]))
    assert [each.operation for each in table.in_flight(database)] == [use]
    assert [each.name for each in table.ended_names(database)] == [grant.name]
    assert [each.operation for each in table.ended(database, [grant.name, use.name])] == [grant]


def test_grants_of_a_release_that_held_them_as_uses_are_held_as_grants(tmp_path: Path) -> None:
    path, before = tmp_path / "older.db", MIGRATIONS.index(table.GRANTS_TOLD[0])
    with closing(open_database(path)) as older:
        run(older, [table.begin(granting(1, 4)), table.begin(operation(2)), table.begin(granting(3, UNKNOWN_NONCE))])
        run(older, ending.end([granting(3, UNKNOWN_NONCE).name], [ended(3, 5.0)._replace(operation=granting(3, -1))]))
        for each in ("operations_in_flight", "operations_ended"):
            older.execute(f"UPDATE {each} SET claim = ?", (table.print_claim(SESSION),))  # ours
        for each in ("reverted", "gas", "gwei", "wei"):
            older.execute(f"ALTER TABLE operations_ended DROP COLUMN {each}")
        older.execute("ALTER TABLE counting_time DROP COLUMN steady_since")
        older.execute("ALTER TABLE settled DROP COLUMN unproven_until")
        older.execute("DROP INDEX doubts_read")
        older.execute(f"PRAGMA user_version = {before}")
    with closing(open_database(path)) as database:
        assert [each.name for each in table.ended_names(database)] == [hold_name(3, UNKNOWN_NONCE)]
        run(database, ending.end([hold_name(1, 4), hold_name(2)], []))
        assert list(table.in_flight(database)) == []


def test_what_was_begun_comes_back_exactly_with_how_far_it_came_oldest_first(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1, at=2.0)), table.begin(operation(2, at=1.0))])
    run(database, [table.advance(hold_name(2), Stage.UNKNOWN)])
    assert list(table.in_flight(database)) == [
        InFlight(operation=operation(2, at=1.0), stage=Stage.UNKNOWN),
        InFlight(operation=operation(1, at=2.0), stage=Stage.FORWARDED),
    ]


def test_begun_again_it_stays_as_far_as_it_was(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1)), table.advance(hold_name(1), Stage.ACCEPTED)])
    run(database, [table.begin(operation(1, at=9.0))])
    assert list(table.in_flight(database)) == [InFlight(operation=operation(1), stage=Stage.ACCEPTED)]


def test_what_ended_is_not_in_flight_and_is_remembered_exactly(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(number)) for number in (1, 2, 3)])
    remembered = [ended(1, 5.0), ended(2, 6.0, mined=False)]
    run(database, ending.end([hold_name(number) for number in (1, 2, 3)], remembered))
    assert list(table.in_flight(database)) == []
    assert list(table.ended(database)) == remembered


def test_what_is_revived_is_in_flight_and_no_longer_remembered(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1))])
    run(database, ending.end([hold_name(1)], [ended(1, 5.0)]))
    run(database, ending.revive(InFlight(operation=operation(1), stage=Stage.ACCEPTED)))
    assert list(table.in_flight(database)) == [InFlight(operation=operation(1), stage=Stage.ACCEPTED)]
    assert list(table.ended(database)) == []


def test_what_ended_before_a_time_is_pruned_and_nothing_else(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(number)) for number in (1, 2, 3)])
    run(database, ending.end([hold_name(1), hold_name(2)], [ended(1, 5.0), ended(2, 6.0)]))
    run(database, [table.prune(6.0)])
    assert list(table.ended(database)) == [ended(2, 6.0)]
    assert [each.operation.user_op_hash for each in table.in_flight(database)] == [operation_hash(3)]


def test_a_stage_that_nobody_knows_is_not_passed_over(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1)), ("UPDATE operations_in_flight SET stage = 'dreaming'", ())])
    with pytest.raises(StateUnavailable, match="stage"):
        list(table.in_flight(database))


def test_each_claim_on_one_operation_is_kept_and_ends_for_itself(database: sqlite3.Connection) -> None:
    one = operation(1)
    other = replace(one, reservation=replace(one.reservation, session=None))
    run(database, [table.begin(one), table.begin(other)])
    run(database, [table.advance(other.name, Stage.UNMINED), table.silence(other.name, 61.5)])
    run(database, ending.end([one.name], [ended(1, 5.0)]))
    left = [InFlight(operation=other, stage=Stage.UNMINED, silent_seconds=61.5)]
    assert list(table.in_flight(database)) == left
    assert list(table.ended(database, [one.name, other.name])) == [ended(1, 5.0)]


def test_what_a_start_keeps_at_hand_of_an_end_is_what_the_whole_of_it_says(database: sqlite3.Connection) -> None:
    run(database, [table.begin(operation(1)), table.begin(operation(2))])
    run(database, ending.end([hold_name(1), hold_name(2)], [ended(1, 5.0), ended(2, 6.0, mined=False)]))
    assert list(table.ended_names(database)) == [name_of(ended(1, 5.0)), name_of(ended(2, 6.0, mined=False))]


def test_an_operation_is_found_by_its_hash_however_many_there_are(database: sqlite3.Connection) -> None:
    executed: list[str] = []
    database.set_trace_callback(executed.append)
    look_up(database, [operation_hash(1)], Known(set(), set()))
    run(database, ending.end([hold_name(1)], [ended(1, 5.0)]))
    run(database, ending.revive(InFlight(operation=operation(1), stage=Stage.ACCEPTED)))
    assert list(table.ended(database, [hold_name(1)])) == []
    database.set_trace_callback(None)
    steps = [row[3] for text in executed for row in database.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert sum("USING" in step and "INDEX operations_" in step for step in steps) > 8
    assert not [step for step in steps if step.startswith("SCAN operations_")]
