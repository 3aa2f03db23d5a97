"""A process of its own writes the trail: it writes the same, and whichever of the two is killed, nothing that was on
record is lost, written twice, or taken for tampering."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.audit.apart import ScribeApart
from proxy.edge.audit.facts import IN_COLUMNS, MOST_ITEMS, cut_to, facts_of, plain_facts, print_facts
from proxy.edge.audit.line import pack, unpack
from proxy.edge.audit.plain import plain_decision
from proxy.edge.audit.printing import print_plain
from proxy.edge.audit.reading import Trail, read_entries
from proxy.edge.audit.remarks import Tampering
from proxy.edge.audit.row import Forward
from proxy.edge.audit.schema import CONTENT
from proxy.edge.audit.space import DiskBudget
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import AuditWriter, WriterSettings
from proxy.judge.facts import CallFacts, Facts, GrantFacts, MoveFacts
from proxy.judge.facts_json import facts_to_json
from proxy.judge.verdict import Allow
from proxy.ports import Deed, OperationEnd
from proxy.session.outcome import Waived
from proxy.userop.primitives import Address, Hash32, Selector
from tests.edge.audit.test_writer import ACCEPTED, wait_until
from tests.edge.audit.trails import begin, record, rows, writing
from tests.edge.builders import ACCOUNT, OUT_OF_SCOPE, PERMISSION, USER_OP_HASH, decision
from tests.judge.builders import facts
from tests.patience import PATIENCE_SECONDS

ROOMY = WriterSettings(budget=DiskBudget(max_bytes=1 << 30, reserve_bytes=0))


@contextmanager
def written_apart(path: Path, settings: WriterSettings = ROOMY) -> Iterator[tuple[AuditWriter, ScribeApart]]:
    """A writer whose trail another process writes."""
    hand = ScribeApart(path, settings.trail, earlier=None, clock=time.time)
    writer = AuditWriter(path, settings, hand=hand)
    begin(writer)
    try:
        yield writer, hand
    finally:
        writer.stop()


def content(path: Path) -> list[tuple[object, ...]]:
    """Every record that came out of the queue, but for its place and its time."""
    names = ", ".join(name for name in CONTENT if name not in ("id", "run", "unix_time"))
    with closing(sqlite3.connect(path)) as reader:
        return list(reader.execute(f"SELECT {names} FROM records WHERE seq IS NOT NULL ORDER BY id"))


def tell_all(writer: AuditWriter) -> None:
    """One of everything that may go on record."""
    record(writer, decision("d-1", upstream=ACCEPTED))
    record(writer, decision("d-2", verdict=OUT_OF_SCOPE, facts=facts()))
    waived = Allow(notes=("let pass",), waived=(Waived.VALIDATOR,))
    record(writer, decision("d-3", verdict=waived, opened=("cap",), facts=facts()))
    writer.door.ended(OperationEnd(chain="soneium", user_op_hash=USER_OP_HASH, cause="mined", cost=10**30, block=7))
    writer.door.noted(Deed(what="freeze", who="ops", why="lost phone", account=ACCOUNT, permission_id=PERMISSION))


def test_what_another_process_writes_is_what_the_gate_itself_would_write(tmp_path: Path) -> None:
    here, apart = tmp_path / "here.db", tmp_path / "apart.db"
    with writing(here) as writer:
        tell_all(writer)
    with written_apart(apart) as (writer, _):
        tell_all(writer)
    assert content(apart) == content(here)
    assert len(content(apart)) == 6
    assert verify_trail(apart).remarks == []


def test_an_operation_that_passed_without_a_fact_or_a_rule_is_named_on_record(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with writing(path) as writer:
        tell_all(writer)
    passed = {row.decision_id: row.passed_without for row in rows(path)}
    assert passed == {"d-1": {}, "d-2": {}, "d-3": {"facts": ["validator"], "rules": ["cap"]}}


def test_facts_reach_the_other_process_whole() -> None:
    made = facts()
    plain = unpack(pack(plain_decision(decision(facts=made), False)))
    assert facts_to_json(facts_of(plain[-2])) == facts_to_json(made)


def anything(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Any record of facts, with lists as long as are kept whole."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: _VALUES[str(hint)] for name, hint in hints.items() if str(hint) in _VALUES})


_NUMBERS = st.integers(-(2**256), 2**256)
_TIMES = st.floats(0, 1e12)
_NAMES = st.binary(max_size=33)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    str(int): _NUMBERS,
    str(int | None): st.none() | _NUMBERS,
    str(float): _TIMES,
    str(float | None): st.none() | _TIMES,
    str(bytes): _NAMES,
    str(Address): _NAMES,
    str(Address | None): st.none() | _NAMES,
    str(Hash32): _NAMES,
    str(Hash32 | None): st.none() | _NAMES,
    str(Selector): _NAMES,
    str(tuple[str, ...]): st.lists(st.text(max_size=5), max_size=34).map(tuple),
    str(tuple[Address, ...]): st.lists(_NAMES, max_size=9).map(tuple),
    str(tuple[GrantFacts, ...]): st.just(()),
}
for _kind in (CallFacts, MoveFacts):
    _VALUES[str(tuple[_kind, ...])] = st.lists(anything(_kind), max_size=34).map(tuple)  # type: ignore[valid-type]  # one of two
_GRANTS = st.lists(anything(GrantFacts), min_size=1, max_size=3).map(tuple)


@given(anything(Facts), st.just(()) | _GRANTS, st.booleans())
def test_facts_printed_the_short_way_read_as_those_printed_the_long_way(
    made: Facts, grants: tuple[GrantFacts, ...], told: bool
) -> None:
    made = made._replace(grants=grants)
    flat = [getattr(made, name) for name in IN_COLUMNS]
    columns = tuple(flat) if told else (*flat[:-1], "another")
    printed, cut = print_facts(plain_facts(made), columns)
    expected, gone = cut_to(facts_to_json(made), MOST_ITEMS)
    named = dict(zip(IN_COLUMNS, zip(flat, columns, strict=True), strict=True))
    for name, (fact, column) in named.items():
        if fact == column:
            expected.pop(name, None)
        elif fact is None:
            expected[name] = None
    assert orjson.loads(printed) == orjson.loads(orjson.dumps(expected))
    assert cut == gone


@given(st.text(), st.text(), st.integers(), st.binary(max_size=40))
def test_whatever_text_and_numbers_a_decision_has_they_arrive(method: str, note: str, amount: int, name: bytes) -> None:
    made = decision(
        method=method,
        verdict=Allow(notes=(note,)),
        permission_id=name,
        facts=facts()._replace(max_cost=amount),
    )
    plain = plain_decision(made, True)
    assert print_plain(unpack(pack(plain))) == print_plain(plain)


def test_a_writer_that_is_killed_again_and_again_loses_nothing_and_writes_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with written_apart(path) as (writer, hand):
        for life in range(3):
            for number in range(200):
                assert record(writer, decision(f"d-{life}-{number}"))
                if number == 100:
                    os.kill(hand.pid, signal.SIGKILL)
            wait_until(lambda: writer.queued == 0)
            assert writer.writable
    assert [row.decision_id for row in rows(path)] == [f"d-{life}-{n}" for life in range(3) for n in range(200)]
    assert writer.dropped == 0
    assert verify_trail(path).remarks == []


def test_a_writer_that_was_killed_after_its_commit_is_not_handed_it_a_second_time(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with written_apart(path) as (writer, hand):
        record(writer, decision("d-1"))
        wait_until(lambda: len(rows(path)) == 1)
        os.kill(hand.pid, signal.SIGKILL)
        record(writer, decision("d-2"))
    assert [row.decision_id for row in rows(path)] == ["d-1", "d-2"]


def test_it_hears_of_nothing_that_is_said_to_the_gate(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with written_apart(path) as (writer, hand):
        before = hand.pid
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(before, number)
        record(writer, decision())
        wait_until(lambda: len(rows(path)) == 1)
        assert hand.pid == before
        assert os.getpgid(before) != os.getpgid(0)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with written_apart(tmp_path / "audit.db") as (_, hand):
        pid = hand.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_two_gates_cannot_write_one_trail_while_the_process_of_one_lives(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with written_apart(path), pytest.raises(sqlite3.OperationalError, match="written by another gate"):
        begin(AuditWriter(path))
    with writing(path):
        pass


def test_a_file_that_is_no_trail_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"), written_apart(path):
        pytest.fail("must not start")


def test_what_a_refusing_disk_never_took_is_told_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    full = WriterSettings(budget=DiskBudget(max_bytes=1 << 30, reserve_bytes=1 << 60))
    with written_apart(path, full) as (writer, _):
        record(writer, decision("d-1"))
        record(writer, decision("d-2"))
        wait_until(lambda: not writer.writable)
        assert writer.queued == 2
    assert writer.dropped == 2
    assert rows(path) == []


def test_one_record_that_cannot_be_handed_over_does_not_stop_the_trail(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with written_apart(path) as (writer, _):
        record(writer, decision("d-1"))
        record(writer, decision("d-2", verdict=Allow(notes=(object(),))))  # type: ignore[arg-type]  # the fault
        record(writer, decision("d-3"))
    assert [row.decision_id for row in rows(path)] == ["d-1", "d-3"]
    assert writer.dropped == 1
    assert [remark.what for remark in verify_trail(path).remarks] == [Tampering.GAP]


def test_the_oldest_records_go_when_it_is_asked_to_prune(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with writing(path, clock=lambda: 0.0) as writer:
        record(writer, decision("old", unix_time=0))
        record(writer, decision("new", unix_time=time.time()))
    young = replace(ROOMY, budget=replace(ROOMY.budget, retention_seconds=86_400.0))
    with written_apart(path, young):
        wait_until(lambda: len(rows(path)) == 1)
    assert [row.decision_id for row in rows(path)] == ["new"]


KILLED = """
import sys, time
from pathlib import Path
from proxy.edge.audit.apart import ScribeApart
from proxy.edge.audit.writer import AuditWriter, WriterSettings
from tests.edge.audit.trails import begin
from tests.edge.builders import decision

path, settings = Path(sys.argv[1]), WriterSettings()
writer = AuditWriter(path, settings, hand=ScribeApart(path, settings.trail, earlier=None, clock=time.time))
begin(writer)
number = 0
while True:
    for _ in range(50):
        writer.door.decided(decision(f"d-{number}"), forwarding=True)
        number += 1
    while writer.queued:
        time.sleep(0.001)
    print(number, flush=True)
"""


def test_a_gate_that_is_killed_leaves_all_that_was_on_file_and_its_writer_makes_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.db"
    root = Path(__file__).parents[3]
    gate = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert gate.stdout is not None
    with gate.stdout:
        on_file = [int(gate.stdout.readline()) for _ in range(10)][-1]
        gate.send_signal(signal.SIGKILL)
        gate.wait(PATIENCE_SECONDS)
    with written_apart(path):
        found = rows(path)
        assert [row.decision_id for row in found[:on_file]] == [f"d-{number}" for number in range(on_file)]
        assert {row.forward for row in found} == {Forward.UNKNOWN}
    assert [remark.what for remark in verify_trail(path).remarks] == [Tampering.CRASH]
    assert [entry.kind for entry in read_entries(Trail(path))] == ["start", "start", "stop"]
