"""`sessiongate ledger` checks, shows and prunes what a gate must not forget."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.edge.storage.store import Store
from proxy.ledger.daybook import Daybook, open_daybook
from proxy.ledger.operations import AcceptedOperation, Ended, Stage
from proxy.session.changes import Changes
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.userop.primitives import Hash32
from tests.cli.conftest import Run
from tests.edge.builders import FakeBackend
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


# what is held, and letting go of it


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Operations that have come so far, each a second after the other."""
    path = tmp_path / "ledger.db"

    async def write(store: Store) -> None:
        for number, stage in enumerate(Stage, 1):
            valid_until = 1_900_000_000 if number == 1 else None
            kept = replace(operation(number), accepted_at=float(number))
            kept = replace(kept, reservation=replace(kept.reservation, valid_until=valid_until))
            await store.keep(Outcome(begun=kept))
            await store.keep(Outcome(stages=((kept.name, stage),)))

    with closing(Store(path)) as store:
        asyncio.run(write(store))
    return path


def test_what_is_held_is_listed_by_which_operation_why_and_until_when(run: Run, held: Path) -> None:
    listed = json.loads(run("ledger", "list", "--json").output)["held"]
    assert [each["name"] for each in listed] == [f"0x{operation_hash(number).hex()}" for number in range(1, 6)]
    assert [each["why"] for each in listed] == [
        "it was about to be sent, or was sent within the last seconds",
        "the bundler took it",
        "no answer came: it may be on its way",
        "not found for long: only what rules and declared limits count is held",
        "an operator let go of it: nothing is held",
    ]
    assert listed[0]["until"] == "its nonce is used, or its chain is a minute past 2030-03-17T17:46:40+00:00"
    assert {each["until"] for each in listed[1:]} == {"its nonce is used"}
    assert [hold["amount"] for hold in listed[1]["holds"]] == ["40"]
    assert listed[1]["chainId"] == reservation(2, 40).slot.chain_id
    printed = run("ledger", "list").output
    assert "no answer came" in printed
    assert operation_hash(3).hex()[:16] in printed


def test_what_is_held_is_listed_in_pages_the_oldest_first(run: Run, held: Path) -> None:
    pages = [json.loads(run("ledger", "list", "--json", "--limit", "2", "--skip", skip).output) for skip in "024"]
    assert [[each["since"] for each in page["held"]] for page in pages] == [[1.0, 2.0], [3.0, 4.0], [5.0]]
    assert run("ledger", "list", "--limit", "0").exit_code != 0


def test_of_a_gate_that_has_not_entered_its_last_moments_that_is_said(
    run: Run, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.cli.ledger_file._ENTER_SECONDS", 0.0)
    book = Daybook(open_daybook(held), 0)
    book.write([[("SELECT 1", ())]])
    listed = run("ledger", "list", "--json")
    assert len(json.loads(listed.stdout)["held"]) == 5
    assert "its last moments are not shown" in listed.stderr
    book.close()


def test_where_nothing_is_held_that_is_said(run: Run, tmp_path: Path) -> None:
    Store(tmp_path / "ledger.db").close()
    assert run("ledger", "list").stderr == "nothing is held\n"
    assert run("ledger", "list", "--skip", "99").stderr == "no more than 99 are held\n"


def test_an_operator_lets_go_of_an_operation_and_says_why(run: Run, gate: FakeBackend) -> None:
    name = "0x" + operation_hash(1).hex()
    gate.held.add(operation_hash(1))
    result = run("ledger", "release", name, "--reason", "its bundler is gone", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"released": name})
    assert gate.released == [(operation_hash(1), "by the admin listener: its bundler is gone")]
    assert "nothing is held for it" in run("ledger", "release", name, "--reason", "again").stdout


def test_what_holds_nothing_cannot_be_let_go_of_and_a_reason_is_asked_for(run: Run, gate: FakeBackend) -> None:
    name = "0x" + operation_hash(1).hex()
    result = run("ledger", "release", name, "--reason", "its bundler is gone")
    assert result.exit_code == 1
    assert "no such operation holds anything" in result.stderr
    assert run("ledger", "release", name).exit_code != 0
    assert "HASH" in run("ledger", "release", "0x12", "--reason", "mistyped").stderr
    assert len(gate.released) == 1


def test_nothing_is_let_go_of_behind_the_back_of_a_gate_that_does_not_run(run: Run, held: Path) -> None:
    result = run("ledger", "release", "0x" + operation_hash(1).hex(), "--reason", "its bundler is gone")
    assert result.exit_code != 0
    with closing(Store(held)) as store:
        assert len(store.flights()) == 5
