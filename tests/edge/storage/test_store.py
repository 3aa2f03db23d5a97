"""What a restart does not forget."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.edge.storage.database import MIGRATIONS, Synchronous, open_database, open_prompt
from proxy.edge.storage.store import Store
from proxy.errors import StateUnavailable
from proxy.ledger import records
from proxy.ledger.operations import Ended, Mined
from proxy.ledger.records import record_from_json, record_to_json
from proxy.ledger.reservation import Reservation
from proxy.session.changes import Changes, SessionEnabled
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Source, Status
from proxy.userop.acts import SessionRemoved, SessionsCleared, Unreadable
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import ERC7739Context, ERC7739Data
from tests.chain.builders import accepted
from tests.session.builders import (
    ACCOUNT,
    SMART_SESSION,
    TOKEN,
    TRANSFER,
    action,
    enabled,
    gas,
    key_of,
    rule,
    session,
    spending,
    uni_action,
    usage,
)

GRANT = replace(
    session(
        action(TOKEN, TRANSFER, usage(3), spending((TOKEN, 2**256 - 1)), uni_action(rule(4, 0, 9, limit=8, used=2))),
        user_op=(gas(10, 10),),
    ),
    erc7739_policies=ERC7739Data((ERC7739Context(Hash32(b"\x0d" * 32), ("Permit(…)", "0x12")),), ()),
)
KEY = key_of(GRANT)
KNOWN = KnownSession(
    key=KEY,
    status=Status.IN_FORCE,
    source=Source.NODE,
    updated_at=12.5,
    state=enabled(GRANT),
    block=77,
)
COUNTER = Counter(SMART_SESSION, ACCOUNT, TOKEN, Hash32(b"\xc0" * 32), b"")
OPERATION = accepted(
    1,
    KEY,
    Charge(COUNTER, 2**200, 2**256 - 1),
    at_validation=(SessionEnabled(SMART_SESSION, GRANT), Unreadable(SMART_SESSION, Selector(b"\0\0\0\1"), "0x cut")),
    on_success=(SessionRemoved(SMART_SESSION, KEY.permission_id), SessionsCleared(SMART_SESSION)),
    valid_until=2**48 - 1,
)
FREEZE = Freeze(permission_id=KEY.permission_id, since=3.0, note="key leaked")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "known",
    [
        KNOWN,
        replace(KNOWN, status=Status.PENDING, source=Source.ENABLE, state=None, granted_by=Hash32(b"\x01" * 32)),
        replace(KNOWN, status=Status.REMOVED, source=Source.GRANT, block=None),
        replace(KNOWN, key=SessionKey(2**62, Address(bytes(20)), ACCOUNT, Hash32(bytes(32))), state=None),
    ],
    ids=["in force", "pending", "removed", "unread"],
)
async def test_a_session_comes_back_exactly(store: Store, path: Path, known: KnownSession) -> None:
    await store.save_session(known)
    again = Store(path)
    assert list(again.sessions()) == [known]
    again.close()


async def test_a_session_saved_again_is_kept_once_as_last_known(store: Store) -> None:
    await store.save_session(KNOWN)
    later = replace(KNOWN, status=Status.REMOVED, state=None, updated_at=13.0)
    await store.save_session(later)
    assert list(store.sessions()) == [later]


async def test_an_operation_in_flight_comes_back_exactly_until_it_has_ended(store: Store) -> None:
    await store.keep(Outcome(begun=OPERATION))
    assert store.operations_in_flight() == (OPERATION,)
    await store.keep(Outcome(ended=(OPERATION.name,)))
    assert store.operations_in_flight() == ()


async def test_what_ended_long_ago_is_forgotten_when_the_next_operation_ends(store: Store) -> None:
    mined = Mined(user_op_hash=OPERATION.user_op_hash, success=True, block=7, block_hash=None)
    for ended_at, kept in ((time.time() - 4_000.0, 0), (time.time() - 3_000.0, 1)):
        await store.keep(Outcome(begun=OPERATION))
        ended = Ended(operation=OPERATION, ended_at=ended_at, mined=mined, added=True)
        await store.keep(Outcome(ended=(OPERATION.name,), remembered=(ended,)))
        other = replace(OPERATION, reservation=replace(OPERATION.reservation, user_op_hash=Hash32(b"\x0e" * 32)))
        await store.keep(Outcome(begun=other))
        newest = Ended(operation=other, ended_at=time.time(), mined=mined, added=True)
        await store.keep(Outcome(ended=(other.name,), remembered=(newest,)))
        assert len(store.operations_ended()) == kept + 1


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_an_end_that_is_told_once_more_leaves_what_is_remembered_of_it(store: Store, is_at_once: bool) -> None:
    """As the store was slow, nobody knew whether it had been written."""
    mined = Mined(user_op_hash=OPERATION.user_op_hash, success=True, block=7, block_hash=None)
    ended = Ended(operation=OPERATION, ended_at=time.time(), mined=mined, added=True)
    outcome = Outcome(ended=(OPERATION.name,), remembered=(ended,))
    told = (Outcome(begun=OPERATION), outcome, replace(outcome, again=True))
    if is_at_once:
        await asyncio.gather(*(store.keep(each) for each in told))
    else:
        for each in told:
            await store.keep(each)
    assert [each.name for each in store.operations_ended()] == [OPERATION.name]
    assert [each.name for each in await store.recall([OPERATION.name])] == [OPERATION.name]


async def test_nothing_is_forgotten_by_a_time_of_day_that_was_set_a_while_ago(store: Store) -> None:
    mined = Mined(user_op_hash=OPERATION.user_op_hash, success=True, block=7, block_hash=None)
    other = replace(OPERATION, reservation=replace(OPERATION.reservation, user_op_hash=Hash32(b"\x0e" * 32)))
    store.may_forget = lambda: False
    for operation, ended_at in ((OPERATION, time.time() - 86_400.0), (other, time.time())):
        await store.keep(Outcome(begun=operation))
        ended = Ended(operation=operation, ended_at=ended_at, mined=mined, added=True)
        await store.keep(Outcome(ended=(operation.name,), remembered=(ended,)))
    await store.prune(removed_before=0.0, chains=[1])
    assert len(store.operations_ended()) == 2
    store.may_forget = lambda: True
    await store.prune(removed_before=0.0, chains=[1])
    assert len(store.operations_ended()) == 1


async def test_how_far_each_chain_is_settled_comes_back_as_last_kept(store: Store, path: Path) -> None:
    assert store.settled() == {}
    first, other, last = (
        SettledUpTo(chain_id, BlockName(number, Hash32(bytes([number % 251]) * 32)), 7, 1.5)
        for chain_id, number in ((1, 2**62), (10, 0), (1, 7))
    )
    for cursor in (first, other, last):
        await store.keep(Outcome(cursor=cursor))
    again = Store(path)
    assert again.settled() == {1: last, 10: other}
    again.close()


async def test_operations_come_back_in_the_order_they_were_accepted(store: Store) -> None:
    late, early = accepted(1, KEY, at=9.0), accepted(2, KEY, at=8.0)
    await store.keep(Outcome(begun=late))
    await store.keep(Outcome(begun=early))
    assert store.operations_in_flight() == (early, late)


async def test_what_ends_an_operation_is_kept_whole_or_not_at_all(store: Store) -> None:
    await store.keep(Outcome(begun=OPERATION))
    unwritable = replace(KNOWN, block=2**70)
    with pytest.raises(StateUnavailable):
        await store.keep(Outcome(sessions=(KNOWN, unwritable), declared_uses={COUNTER: 1}, ended=(OPERATION.name,)))
    assert store.operations_in_flight() == (OPERATION,)
    assert list(store.sessions()) == []
    assert store.declared_uses() == {}


async def test_one_bad_write_does_not_spoil_those_that_gathered_with_it(store: Store) -> None:
    keys = [KEY._replace(permission_id=Hash32(bytes([number]) * 32)) for number in range(20)]
    good = [replace(KNOWN, key=key, state=None) for key in keys]
    bad = replace(KNOWN, block=2**70)
    writes = [store.save_session(each) for each in (*good[:10], bad, *good[10:])]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [index for index, result in enumerate(results) if result is not None] == [10]
    assert isinstance(results[10], StateUnavailable)
    assert {each.key for each in store.sessions()} == set(keys)


async def test_uses_of_declared_sessions_come_back_as_last_counted(store: Store) -> None:
    await store.keep(Outcome(declared_uses={COUNTER: 1}))
    await store.keep(Outcome(declared_uses={COUNTER: 2, COUNTER._replace(slot=b"\x01"): 7}))
    assert store.declared_uses() == {COUNTER: 2, COUNTER._replace(slot=b"\x01"): 7}


async def test_freezes_come_back_in_order_and_go_by_scope(store: Store) -> None:
    scoped = replace(FREEZE, account=ACCOUNT, chain_id=1, since=2.0)
    await store.save_freeze(FREEZE)
    await store.save_freeze(scoped)
    assert store.freezes() == (scoped, FREEZE)
    again = replace(FREEZE, since=4.0, note="still")
    await store.save_freeze(again)
    assert store.freezes() == (scoped, again)
    await store.drop_freezes([scoped])
    assert store.freezes() == (again,)


async def test_another_process_sees_what_was_written(store: Store, path: Path) -> None:
    await store.save_freeze(FREEZE)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT note FROM freezes").fetchall() == [("key leaked",)]
    other.close()


async def test_a_write_whose_waiter_has_gone_is_made_all_the_same(store: Store) -> None:
    waiting = asyncio.create_task(store.save_freeze(FREEZE))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await store.check_writable()
    assert store.freezes() == (FREEZE,)


async def test_closing_writes_what_was_handed_over_and_refuses_what_comes_after(path: Path) -> None:
    store = Store(path)
    writes = [asyncio.create_task(store.save_freeze(replace(FREEZE, chain_id=number))) for number in range(1, 600)]
    await asyncio.sleep(0)
    store.close()
    store.close()
    await asyncio.gather(*writes)
    assert len(store.freezes()) == 599
    with pytest.raises(StateUnavailable):
        await store.check_writable()


async def test_a_store_that_cannot_be_written_says_so(store: Store, path: Path) -> None:
    await store.check_writable()
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StateUnavailable, match="could not be written"):
        await store.check_writable()


async def test_a_row_that_cannot_be_read_is_not_passed_over(store: Store, path: Path) -> None:
    await store.save_session(KNOWN)
    await store.keep(Outcome(begun=OPERATION))
    for damage in (
        "UPDATE sessions SET state = '{}'",
        "UPDATE sessions SET status = 'asleep'",
        "UPDATE sessions SET state = 'x'",
        "UPDATE operations_in_flight SET record = '{}'",
    ):
        with sqlite3.connect(path, isolation_level=None) as vandal:
            vandal.execute(damage)
        vandal.close()
        table = damage.split()[1]
        with pytest.raises(StateUnavailable):
            list(store.sessions()) if table == "sessions" else store.operations_in_flight()


def test_opening_twice_migrates_once(path: Path) -> None:
    for _ in range(2):
        connection = open_database(path)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_a_half_migrated_database_is_brought_up_to_date(path: Path) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(MIGRATIONS[0])
    old.execute("PRAGMA user_version = 1")
    old.close()
    connection = open_database(path)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert tables == {
        *("sessions", "freezes", "operations_in_flight", "operations_ended", "declared_uses", "probes"),
        *("rule_windows", "rule_marks", "rule_histories", "settled", "settled_blocks", "allowances"),
        *("session_uses", "operations_counted", "former_sessions", "counting_time", "doubts", "daybook", "rewound"),
    }


def test_a_database_of_a_newer_release_is_left_alone(path: Path) -> None:
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute("PRAGMA journal_mode = WAL")
    newer.execute("CREATE TABLE of_tomorrow (id INTEGER)")
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="this release knows"):
        open_database(path)
    assert path.read_bytes() == before


KILLED = """
import asyncio, sys
from proxy.edge.storage.store import Store
from tests.edge.storage.test_store import FREEZE, KNOWN, OPERATION, Outcome

async def main():
    store = Store(sys.argv[1])
    await store.save_freeze(FREEZE)
    await store.keep(Outcome(sessions=(KNOWN,), begun=OPERATION))
    print("kept", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def killed_when_it_has_kept_something(path: Path, program: str) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, cwd=root, text=True
    ) as gate:
        assert gate.stdout is not None
        assert gate.stdout.readline() == "kept\n"
        os.kill(gate.pid, signal.SIGKILL)


def test_what_was_kept_outlives_a_killed_process(path: Path) -> None:
    killed_when_it_has_kept_something(path, KILLED)
    store = Store(path)
    assert list(store.sessions()) == [KNOWN]
    assert store.freezes() == (FREEZE,)
    assert store.operations_in_flight() == (OPERATION,)
    store.close()


def test_what_a_first_gate_kept_is_there_although_its_log_was_removed(path: Path) -> None:
    """It stands in the daybook, which counts beside a database that has had one."""
    gate = KILLED.replace("Store(sys.argv[1])", "Store(sys.argv[1], synchronous=Synchronous.NORMAL, held=True)")
    killed_when_it_has_kept_something(path, f"from proxy.edge.storage.database import Synchronous\n{gate}")
    path.with_name(f"{path.name}-wal").unlink()
    store = Store(path, synchronous=Synchronous.NORMAL, held=True)
    assert list(store.sessions()) == [KNOWN]
    assert store.freezes() == (FREEZE,)
    assert store.operations_in_flight() == (OPERATION,)
    store.close()


def test_a_record_of_another_class_is_refused() -> None:
    text = record_to_json(OPERATION.reservation)
    assert record_from_json(text, Reservation) == OPERATION.reservation
    with pytest.raises(StateUnavailable, match="something else"):
        record_from_json(text, Changes)


def test_a_record_is_the_text_that_the_standard_library_would_print() -> None:
    reservation = OPERATION.reservation
    parts = (OPERATION, OPERATION.changes, reservation, replace(reservation, session=None), reservation.slot)
    for each in (*parts, *reservation.charges):
        assert records._print_labelled(type(each), each) == record_to_json(each)  # by hand as by the list of fields
    text = record_to_json(OPERATION)
    assert json.dumps(json.loads(text), separators=(",", ":")) == text


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '{"type":"Path","x":1}', '{"type":"Changes"}', '{"type":"Changes","user_op_hash":"0xz"}'],
)
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(StateUnavailable):
        record_from_json(text, Changes)


def test_only_listed_classes_are_written() -> None:
    with pytest.raises(TypeError, match="PosixPath"):
        record_to_json(Path("/"))


@pytest.mark.parametrize("opened", [open_database, open_prompt])
def test_what_is_deleted_is_not_overwritten_whatever_build_of_sqlite_it_is(
    opened: Callable[[Path], sqlite3.Connection], tmp_path: Path
) -> None:
    """Debian's writes zeros over it, which is a fifth of what an operation's rows take."""
    Store(tmp_path / "ledger.db").close()
    with closing(opened(tmp_path / "ledger.db")) as connection:
        assert connection.execute("PRAGMA secure_delete").fetchone() == (0,)
