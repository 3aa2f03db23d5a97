"""An operation that is mined counts for its session once: however it was kept, and however often its end is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from proxy.edge.storage.database import open_database
from proxy.ledger import ending, sqlite
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, InFlight, Mined, Stage
from proxy.ledger.prompt_commit import entering
from proxy.ledger.session_uses import use_of
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import transact
from proxy.session.changes import Changes
from proxy.session.use import SessionUse
from tests.ledger.builders import ACCOUNT, SESSION, hold_name, operation_hash, reservation

ONCE = SessionUse(mined=1, reverted=0, gas=7, cost=5 * 10**9 + 3, last_used=60.0)


def operation(grant: int | None = None) -> AcceptedOperation:
    held = replace(reservation(1, 1), grant=grant)
    changes = Changes(user_op_hash=held.user_op_hash, chain_id=held.slot.chain_id, account=ACCOUNT)
    return AcceptedOperation(reservation=held, changes=changes, accepted_at=1.0)


def mined(grant: int | None = None) -> Ended:
    told = Mined(
        user_op_hash=operation_hash(1), success=True, block=6, timestamp=60, gas_used=7, gas_cost=5 * 10**9 + 3
    )
    return Ended(operation=operation(grant), ended_at=61.0, mined=told, cause=Cause.MINED, evidence=Evidence(block=6))


def end(ended: Ended) -> list[Statement]:
    return ending.end([ended.name], [ended])


class Tables:
    """What is written to them is entered folded, or `one_by_one`."""

    def __init__(self, connection: sqlite3.Connection, *, one_by_one: bool) -> None:
        self.connection = connection
        self._one_by_one = one_by_one

    def write(self, *jobs: Sequence[Statement]) -> None:
        if self._one_by_one:
            for job in jobs:
                transact(self.connection, job, None)
        else:
            list(entering(self.connection, jobs, ("SELECT 1", ()), None))

    @property
    def use(self) -> SessionUse:
        return use_of(self.connection, SESSION) or SessionUse()


@pytest.fixture(params=[True, False], ids=["one by one", "folded"])
def tables(request: pytest.FixtureRequest) -> Iterator[Tables]:
    with closing(open_database(":memory:")) as connection:
        yield Tables(connection, one_by_one=request.param)


def test_an_end_that_is_told_again_counts_no_more_and_leaves_what_is_remembered(tables: Tables) -> None:
    tables.write([sqlite.begin(operation())], end(mined()))
    tables.write(end(mined()))
    tables.write(end(mined()), end(mined()))
    assert tables.use == ONCE
    assert [each.name for each in sqlite.ended(tables.connection)] == [hold_name(1)]


def test_what_was_sent_although_it_could_not_be_kept_counts_once_however_often_its_end_is_told(tables: Tables) -> None:
    tables.write(end(mined()))
    tables.write(end(mined()), end(mined()))
    assert tables.use == ONCE


def test_what_the_chain_takes_back_counts_for_nothing_until_it_is_mined_again(tables: Tables) -> None:
    back = ending.revive(InFlight(operation=operation(), stage=Stage.ACCEPTED))
    tables.write([sqlite.begin(operation())], end(mined()), back)
    assert (tables.use.mined, tables.use.gas, tables.use.cost) == (0, 0, 0)
    tables.write(end(mined()))
    assert tables.use == ONCE
    tables.write(back, back)
    assert tables.use.mined == 0


def test_what_could_not_be_kept_is_taken_back_as_well(tables: Tables) -> None:
    tables.write(end(mined()))
    tables.write(ending.revive(InFlight(operation=operation(), stage=Stage.ACCEPTED)))
    assert tables.use.mined == 0


def test_as_a_grant_and_as_a_use_of_a_session_it_counts_once(tables: Tables) -> None:
    tables.write([sqlite.begin(operation(4))], [sqlite.begin(operation())])
    tables.write(end(mined(4)), end(mined()))
    assert tables.use == ONCE
    tables.write(ending.revive(InFlight(operation=operation(), stage=Stage.ACCEPTED)), end(mined()))
    assert tables.use == ONCE


def test_one_that_is_sent_again_and_ends_otherwise_stays_counted(tables: Tables) -> None:
    tables.write([sqlite.begin(operation())], end(mined()))
    tables.write([sqlite.begin(operation())])
    tables.write(end(mined()._replace(mined=None, cause=Cause.NONCE_USED)))
    assert tables.use == ONCE
    tables.write([sqlite.begin(operation())], end(mined()))
    assert tables.use == ONCE


def test_one_that_an_earlier_release_counted_counts_no_more_and_is_taken_back(tables: Tables) -> None:
    of_session = operation_hash(1), sqlite.print_claim(SESSION)
    tables.write([sqlite.begin(operation())], end(mined()))
    columns = "user_op_hash, claim, reverted, gas, gwei, wei, ended_at"
    transact(
        tables.connection,
        [
            ("UPDATE operations_ended SET reverted = NULL, gas = NULL, gwei = NULL, wei = NULL", ()),
            (f"INSERT INTO operations_counted ({columns}) VALUES (?, ?, 0, 7, 5, 3, 61.0)", of_session),  # ours
        ],
        None,
    )
    tables.write(end(mined()))
    assert tables.use == ONCE
    tables.write([sqlite.begin(operation())], end(mined()))
    assert tables.use == ONCE
    tables.write(ending.revive(InFlight(operation=operation(), stage=Stage.ACCEPTED)))
    assert tables.use.mined == 0
