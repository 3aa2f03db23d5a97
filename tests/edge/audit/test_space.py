"""The trail keeps to its budget, and leaves the ledger its part of the disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.audit.remarks import Tampering
from proxy.edge.audit.space import Disk, DiskBudget
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import WriterSettings
from tests.edge.audit.trails import ROOMY, record, rows, writing
from tests.edge.builders import decision
from tests.patience import PATIENCE_SECONDS

MIB = 1 << 20


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.01)


def test_the_file_stays_below_its_budget_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    settings = WriterSettings(budget=DiskBudget(max_bytes=MIB))
    with writing(path, settings=settings) as writer:
        for number in range(3_000):
            record(writer, decision(f"d-{number}"))
            if number % 500 == 0:
                wait_until(lambda: writer.queued == 0)
    assert writer.dropped == 0
    assert path.stat().st_size <= MIB
    kept = [row.decision_id for row in rows(path)]
    assert kept[-1] == "d-2999"
    assert kept == [f"d-{number}" for number in range(3_000 - len(kept), 3_000)]
    # what went is vouched for, and what is there is whole
    checked = verify_trail(path)
    assert {remark.what for remark in checked.remarks} == {Tampering.PRUNE}


def test_a_restart_within_a_full_budget_makes_room_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    settings = WriterSettings(budget=DiskBudget(max_bytes=MIB))
    for life in range(3):
        with writing(path, settings=settings) as writer:
            for number in range(1_500):
                record(writer, decision(f"{life}-{number}"))
        assert writer.dropped == 0
    assert rows(path)[-1].decision_id == "2-1499"


def test_what_is_reserved_for_the_ledger_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    left = [ROOMY]
    with writing(path, disk=lambda _path: left[0]) as writer:
        record(writer, decision("before"))
        wait_until(lambda: writer.queued == 0)
        left[0] = Disk(total=1_000, free=99)
        size = path.stat().st_size
        record(writer, decision("meanwhile"))
        wait_until(lambda: not writer.writable)
        assert (path.stat().st_size, writer.queued) == (size, 1)
        left[0] = ROOMY
        wait_until(lambda: writer.writable)
    assert [row.decision_id for row in rows(path)] == ["before", "meanwhile"]


@pytest.mark.parametrize(
    ("budget", "total", "reserve"),
    [
        (DiskBudget(max_bytes=MIB), 40 * MIB, 4 * MIB),
        (DiskBudget(max_bytes=MIB), 1 << 40, 1 << 30),
        (DiskBudget(max_bytes=MIB, reserve_bytes=7), 40 * MIB, 7),
    ],
)
def test_a_tenth_of_the_disk_is_the_ledger_s_unless_it_is_said(budget: DiskBudget, total: int, reserve: int) -> None:
    assert budget.reserve_of(Disk(total=total, free=total)) == reserve


def test_a_database_of_another_kind_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(sqlite3.DatabaseError, match="no audit trail"), writing(path):
        pytest.fail("must not start")
