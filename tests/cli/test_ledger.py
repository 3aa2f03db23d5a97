"""`sessiongate ledger` checks, shows and prunes what a gate must not forget."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.edge.storage.store import Store
from proxy.ledger.operations import AcceptedOperation, Ended
from proxy.session.changes import Changes
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.userop.primitives import Hash32
from tests.cli.conftest import Run
from tests.ledger.builders import ACCOUNT, MODULE, operation_hash, reservation


def operation(number: int) -> AcceptedOperation:
    name = operation_hash(number)
    changes = Changes(user_op_hash=name, chain_id=1868, account=ACCOUNT)
    return AcceptedOperation(reservation=reservation(number, 40), changes=changes, accepted_at=1.0)


def removed(number: int, at: float, status: Status = Status.REMOVED) -> KnownSession:
    key = SessionKey(1868, MODULE, ACCOUNT, Hash32(number.to_bytes(32, "big")))
    return KnownSession(key=key, status=status, source=Source.NODE, updated_at=at)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"

    async def write(store: Store) -> None:
        await store.keep(Outcome(begun=operation(1)))
        await store.keep(Outcome(begun=operation(2)))
        gone = Ended(operation=operation(2), ended_at=time.time(), mined=None)
        sessions = (removed(1, 1.0), removed(2, time.time()), removed(3, 1.0, Status.IN_FORCE))
        await store.keep(Outcome(ended=(operation(2).name,), remembered=(gone,), sessions=sessions))
        for chain_id in (1868, 5):
            await store.keep(Outcome(cursor=SettledUpTo(chain_id, BlockName(1, Hash32(b"\x01" * 32)), 1, 0.0)))

    with closing(Store(path)) as store:
        asyncio.run(write(store))
    return path


def test_a_whole_ledger_is_found_whole(run: Run, kept: Path) -> None:
    result = run("ledger", "verify")
    assert result.exit_code == 0
    assert "every record can be read" in result.output
    assert json.loads(run("ledger", "verify", "--json").output) == {"ok": True, "faults": []}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE operations_in_flight SET record = '{}'", "operations in flight"),
        ("UPDATE operations_in_flight SET stage = 'x'", "operations in flight"),
        ("UPDATE operations_ended SET record = '[]'", "operations that have ended"),
        ("UPDATE sessions SET status = 'x'", "sessions"),
    ],
)
def test_a_record_that_cannot_be_read_is_found(run: Run, kept: Path, damage: str, told: str) -> None:
    with closing(sqlite3.connect(kept, isolation_level=None)) as vandal:
        vandal.execute(damage)
    result = run("ledger", "verify")
    assert result.exit_code == 1
    assert told in result.output


def test_a_damaged_file_is_found(run: Run, kept: Path) -> None:
    with kept.open("r+b") as file:
        file.truncate(6_000)
    result = run("ledger", "verify", "--json")
    assert result.exit_code == 1
    assert "damaged" in json.loads(result.output)["faults"][0]


def test_what_is_in_flight_is_shown_with_what_it_holds(run: Run, kept: Path) -> None:
    shown = json.loads(run("ledger", "show", "--json").output)
    (flying,) = shown["inFlight"]
    assert (flying["name"], flying["stage"]) == ("0x" + operation_hash(1).hex(), "forwarded")
    assert [held["amount"] for held in flying["holds"]] == ["40"]
    assert shown["records"]["sessions"] == 3
    assert shown["bytes"] >= kept.stat().st_size
    assert "forwarded" in run("ledger", "show").output


def test_only_what_nobody_needs_is_pruned(run: Run, kept: Path) -> None:
    pruned = json.loads(run("ledger", "prune", "--json").output)
    assert pruned["pruned"] == {
        "sessions": 1,
        "freezes": 0,
        "operations_in_flight": 0,
        "operations_ended": 0,
        "declared_uses": 0,
        "settled": 1,
        "rule_windows": 0,
        "rule_marks": 0,
        "rule_histories": 0,
    }
    with closing(Store(kept)) as store:
        assert {session.key for session in store.sessions()} == {removed(2, 0).key, removed(3, 0).key}
        assert store.operations_in_flight() == (operation(1),)


def test_a_gate_that_never_ran_has_no_ledger(run: Run) -> None:
    assert run("ledger", "show").exit_code == 1
