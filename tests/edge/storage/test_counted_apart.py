"""A ledger of a release that counted what was mined in a table apart, left by a gate that was killed with half of it in
its daybook: each operation counts for its session once, as before."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.storage.database import MIGRATIONS, Synchronous
from proxy.edge.storage.store import Store
from proxy.ledger.daybook import daybook_of
from proxy.ledger.operations import InFlight, Stage
from proxy.session.use import SessionUse
from tests.ledger.builders import SESSION, hold_name, operation_hash

RECORDED = Path(__file__).parent / "recorded" / "ledger_that_counted_apart.sql"
AS_RECORDED = SessionUse(
    mined=4, reverted=1, gas=400 + 1 + 2 + 3 + 5, cost=11 * 10**9 + 11, last_used=1_005.0
)  # operations 1, 2, 3 and 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gate.db"
    with closing(sqlite3.connect(path)) as recorded:
        recorded.executescript(RECORDED.read_text())
    shutil.copy(RECORDED.with_suffix(".daybook"), daybook_of(path))
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path, synchronous=Synchronous.NORMAL, held=True)) as opened:
        opened.may_forget = lambda: False
        yield opened


def use(store: Store) -> SessionUse:
    return store.session_records([SESSION])[SESSION].use


def test_what_was_counted_and_what_its_daybook_counts_is_in_the_sums(store: Store) -> None:
    assert not store.missing
    assert use(store) == AS_RECORDED
    assert [flight.operation.name for flight in store.flights()] == [hold_name(4)]
    assert {each.name for each in store.ended_names()} == {hold_name(number) for number in (1, 2, 3, 5)}


async def test_none_of_it_counts_again_when_its_end_is_told_again(store: Store) -> None:
    ended = store.operations_ended()
    again = tuple(each._replace(mined=each.mined._replace(gas_used=9)) for each in ended if each.mined is not None)
    await store.keep(Outcome(ended=tuple(each.name for each in again), remembered=again, again=True))
    assert (await store.records_of([SESSION]))[SESSION].use == AS_RECORDED


async def test_what_the_chain_takes_back_is_taken_off_and_what_is_mined_then_is_counted(store: Store) -> None:
    (first,) = await store.recall([hold_name(1)])
    await store.keep(Outcome(revived=(InFlight(operation=first.operation, stage=Stage.ACCEPTED),)))
    assert first.mined is not None
    at = first._replace(mined=first.mined._replace(gas_used=1_001, gas_cost=0))
    await store.keep(Outcome(ended=(first.name,), remembered=(at,)))
    then = (await store.records_of([SESSION]))[SESSION].use
    assert (then.mined, then.gas) == (AS_RECORDED.mined, AS_RECORDED.gas + 900)
    assert store.knows(operation_hash(1))


def test_a_release_that_does_not_know_its_schema_says_so_and_leaves_what_it_has(path: Path) -> None:
    before = daybook_of(path).read_bytes()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(sqlite3.DatabaseError, match=f"schema {len(MIGRATIONS) + 1}, this release knows"):
        Store(path, synchronous=Synchronous.NORMAL, held=True)
    assert daybook_of(path).read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT entered FROM daybook").fetchone() == (5,)
