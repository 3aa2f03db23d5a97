"""The audit trail is complete, holds nobody up, and says so when it is not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.edge.audit.door import Bounds
from proxy.edge.audit.reading import AuditFilter, Trail, read_audit
from proxy.edge.audit.remarks import Tampering
from proxy.edge.audit.row import Forward
from proxy.edge.audit.schema import open_trail
from proxy.edge.audit.space import DiskBudget
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import AuditWriter, WriterSettings
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Allow, Mode
from tests.edge.audit.trails import begin, record, rows, writing
from tests.edge.builders import NOW, OUT_OF_SCOPE, decision
from tests.patience import PATIENCE_SECONDS

ACCEPTED = UpstreamAnswer(result="0x" + "f1" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.db"


def keeping_days(days: int) -> WriterSettings:
    return WriterSettings(budget=DiskBudget(max_bytes=1 << 30, retention_seconds=days * 86_400.0))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.01)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else holds the write lock: a disk that is too slow."""
    connection = open_trail(path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_stopping_writes_everything_recorded_before(path: Path) -> None:
    with writing(path) as writer:
        for number in range(5_000):
            assert record(writer, decision(f"d-{number}"))
    assert [row.decision_id for row in rows(path)] == [f"d-{number}" for number in range(5_000)]
    assert writer.dropped == 0
    assert writer.queued == 0


def test_a_record_is_on_file_without_anybody_asking(path: Path) -> None:
    with writing(path) as writer:
        record(writer, decision())
        wait_until(lambda: len(rows(path)) == 1)


def test_a_forwarded_decision_is_pending_until_its_answer(path: Path) -> None:
    with writing(path) as writer:
        record(writer, decision(), forwarding=True)
        wait_until(lambda: len(rows(path)) == 1)
        assert rows(path)[0].forward is Forward.PENDING
        assert rows(path)[0].upstream is None
        writer.door.answered("d-1", ACCEPTED)
    (row,) = rows(path)
    assert row.forward is Forward.ANSWERED
    assert row.upstream == ACCEPTED


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(notes=100_000, bytes=400_000), Bounds(notes=1_000)])
def test_records_that_come_fast_are_let_gather_until_there_are_many_or_little_room_is_left(
    path: Path, bounds: Bounds
) -> None:
    with writing(path, settings=WriterSettings(bounds=bounds, commit_seconds=0, busy_seconds=3_600)) as writer:
        door = writer.door
        for number in range(3_000):
            wait_until(lambda: door.queued < 0.9 * bounds.notes and door.queued_bytes < 0.9 * bounds.bytes)
            record(writer, decision(f"d-{number}"), forwarding=True)
        wait_until(lambda: writer.queued < 1_000)
        assert writer.dropped == 0
    assert len(rows(path)) == 3_000  # what waits when the gate stops waits no longer
    assert verify_trail(path).remarks == []


def test_an_answer_in_the_same_transaction_as_its_decision_is_joined(path: Path) -> None:
    with writing(path, settings=WriterSettings(commit_seconds=0.2)) as writer:
        record(writer, decision("d-1"), forwarding=True)
        record(writer, decision("d-2"), forwarding=True)
        writer.door.answered("d-1", ACCEPTED)
        writer.door.answered("d-2", UpstreamAnswer(error_code=-32500, error_message="AA23 reverted"))
    first, second = rows(path)
    assert first.upstream == ACCEPTED
    assert second.upstream == UpstreamAnswer(error_code=-32500, error_message="AA23 reverted")


def test_a_rejection_that_nobody_forwards_has_no_upstream(path: Path) -> None:
    with writing(path) as writer:
        record(writer, decision(verdict=OUT_OF_SCOPE))
    (row,) = rows(path)
    assert row.forward is Forward.NONE
    assert row.upstream is None


def test_a_would_be_rejection_in_shadow_keeps_verdict_and_answer(path: Path) -> None:
    with writing(path) as writer:
        record(writer, decision(verdict=OUT_OF_SCOPE, mode=Mode.SHADOW, upstream=ACCEPTED))
    (row,) = rows(path)
    assert (row.mode, row.verdict, row.forward) == ("shadow", "reject", Forward.ANSWERED)


def test_a_full_queue_drops_at_once_and_counts_what_it_drops(path: Path) -> None:
    with writing(path, settings=WriterSettings(bounds=Bounds(notes=10))) as writer, locked(path):
        taken = [record(writer, decision(f"d-{number}")) for number in range(15)]
        assert taken == [True] * 10 + [False] * 5
        assert (writer.queued, writer.dropped) == (10, 5)
    assert len(rows(path)) == 10
    assert (writer.queued, writer.dropped) == (0, 5)


def test_a_disk_that_refuses_for_a_while_loses_nothing(path: Path) -> None:
    flaky = _Flaky(open_trail(path))
    writer = AuditWriter(path, connect=lambda _path: flaky)  # type: ignore[arg-type, return-value]  # stands in for a connection
    begin(writer)
    flaky.refuses = True
    record(writer, decision())
    wait_until(lambda: not writer.writable)
    assert writer.queued == 1
    flaky.refuses = False
    wait_until(lambda: writer.writable)
    writer.stop()
    assert len(rows(path)) == 1
    assert writer.dropped == 0


def test_what_a_refusing_disk_never_took_is_counted_at_the_end(path: Path) -> None:
    flaky = _Flaky(open_trail(path))
    writer = AuditWriter(path, connect=lambda _path: flaky)  # type: ignore[arg-type, return-value]  # stands in for a connection
    begin(writer)
    flaky.refuses = True
    record(writer, decision("d-1"))
    record(writer, decision("d-2"))
    writer.stop()
    assert writer.dropped == 2
    assert rows(path) == []


class _Flaky:
    """A connection whose disk can be full."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.refuses = False

    def execute(self, statement: str, *rest: object) -> sqlite3.Cursor:
        if self.refuses and statement.startswith("BEGIN"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *rest)  # type: ignore[arg-type]  # passed on

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def test_one_record_that_cannot_be_kept_does_not_stop_the_trail(path: Path) -> None:
    with writing(path) as writer:
        record(writer, decision("d-1"))
        record(writer, decision("d-2", verdict=Allow(notes=(object(),))))  # type: ignore[arg-type]  # the fault
        record(writer, decision("d-3"))
    assert [row.decision_id for row in rows(path)] == ["d-1", "d-3"]
    assert writer.dropped == 1


def test_nothing_is_taken_after_the_end(path: Path) -> None:
    with writing(path) as writer:
        pass
    assert not record(writer, decision())
    assert writer.dropped == 1


def test_a_file_that_is_no_database_is_refused_at_the_start(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError), writing(path):
        pytest.fail("must not start")


def test_rows_past_retention_go_and_younger_ones_stay(path: Path) -> None:
    day = 86_400
    with writing(path, clock=lambda: NOW - 31 * day) as writer:
        record(writer, decision("older", unix_time=NOW - 30 * day - 1))
        record(writer, decision("just-within", unix_time=NOW - 30 * day))
        record(writer, decision("fresh", unix_time=NOW))
    with writing(path, settings=keeping_days(30), clock=lambda: NOW):
        wait_until(lambda: len(rows(path)) == 2)
    assert [row.decision_id for row in rows(path)] == ["just-within", "fresh"]


def test_ids_are_not_reused_after_the_newest_row_was_pruned(path: Path) -> None:
    with writing(path, clock=lambda: 0) as writer:
        record(writer, decision("old", unix_time=0))
    (old,) = rows(path)
    with writing(path, settings=keeping_days(1)) as writer:
        wait_until(lambda: rows(path) == [])
        record(writer, decision("new", unix_time=time.time()))
    (new,) = rows(path)
    assert new.row_id > old.row_id


def test_recording_does_not_wait_for_a_locked_database(path: Path) -> None:
    done = threading.Event()
    with writing(path) as writer, locked(path):

        def record_many() -> None:
            for number in range(1_000):
                record(writer, decision(f"d-{number}"))
            done.set()

        threading.Thread(target=record_many).start()
        # the lock is still held: had one call waited for it, this would never come
        assert done.wait(PATIENCE_SECONDS)
    assert len(rows(path)) == 1_000


KILLED = """
import sys, time
from pathlib import Path
from proxy.edge.audit.writer import AuditWriter
from tests.edge.audit.trails import begin
from tests.edge.builders import decision

writer = AuditWriter(Path(sys.argv[1]))
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


def test_kill_9_loses_no_decision_that_was_on_file_and_marks_open_ones_unknown(path: Path) -> None:
    root = Path(__file__).parents[3]
    gate = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ}
    )
    assert gate.stdout is not None
    with gate.stdout:
        on_file = [int(gate.stdout.readline()) for _ in range(20)][-1]
        gate.send_signal(signal.SIGKILL)
        gate.wait()
    found = rows(path)
    assert [row.decision_id for row in found[:on_file]] == [f"d-{number}" for number in range(on_file)]
    assert {row.forward for row in found} == {Forward.PENDING}
    assert verify_trail(path).remarks == []
    with writing(path):
        assert {row.forward for row in rows(path)} == {Forward.UNKNOWN}
    # whoever looks later sees that this life of a gate was cut short, and that nobody changed a record
    assert [remark.what for remark in verify_trail(path).remarks] == [Tampering.CRASH]


def test_an_answer_that_no_decision_waits_for_changes_nothing(path: Path) -> None:
    with writing(path) as writer:
        record(writer, decision("d-1"))
        writer.door.answered("d-2", ACCEPTED)
    (row,) = rows(path)
    assert row.forward is Forward.NONE


def test_reading_goes_on_while_the_writer_writes(path: Path) -> None:
    with writing(path) as writer:
        for number in range(2_000):
            record(writer, decision(f"d-{number}"))
            if number % 200 == 0:
                assert len(list(read_audit(Trail(path), AuditFilter(limit=5)))) <= 5
    assert len(rows(path)) == 2_000
