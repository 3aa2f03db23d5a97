"""What earlier releases wrote into the ledger's database is read with the trail, in one order, until it is too old."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.audit.reading import Asked, AuditFilter, Trail, follow_audit, read_audit
from proxy.edge.audit.row import Forward
from proxy.edge.audit.space import DiskBudget
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import WriterSettings
from tests.edge.audit.trails import record, writing
from tests.edge.builders import ACCOUNT, NOW, PERMISSION, USER_OP_HASH, decision
from tests.patience import PATIENCE_SECONDS

# as the last release that had it made the table
TABLE = """CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, decision_id TEXT NOT NULL UNIQUE, unix_time REAL NOT NULL,
    chain TEXT NOT NULL, client TEXT NOT NULL, method TEXT NOT NULL, mode TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'reject')), code INTEGER, reasons TEXT NOT NULL,
    notes TEXT NOT NULL, user_op_hash BLOB, account BLOB, permission_id BLOB, session_mode TEXT, calls TEXT NOT NULL,
    {later}
    forward TEXT NOT NULL, upstream_result TEXT, upstream_error_code INTEGER, upstream_error_message TEXT
)"""
INSERT = """INSERT INTO audit (decision_id, unix_time, chain, client, method, mode, verdict, code, reasons, notes,
    user_op_hash, account, permission_id, session_mode, calls, forward, upstream_result)
    VALUES (?, ?, 'soneium', 'trading-dapp', 'eth_sendUserOperation', 'enforce', 'allow', NULL, '[]', '["seen"]',
    ?, ?, ?, 'use', ?, ?, ?)"""


@pytest.fixture(params=["facts TEXT, rules TEXT,", ""], ids=["with facts", "before facts"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "gate.db"
    calls = json.dumps([["c0" * 20, "a9059cbb", "0x5"]])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(TABLE.format(later=request.param))
        for number, (forward, result) in enumerate([("answered", "0x01"), ("pending", None), ("none", None)]):
            values = (f"old-{number}", NOW + number, USER_OP_HASH, ACCOUNT, PERMISSION, calls, forward, result)
            connection.execute(INSERT, values)
        if request.param:
            facts = json.dumps({"preview": True, "nonce": 2**200})
            hit = json.dumps([{"rule": "burst", "mode": "alert", "severity": "low", "sentence": "fast"}])
            connection.execute("UPDATE audit SET facts = ?, rules = ? WHERE decision_id = 'old-2'", (facts, hit))
    return path


def ids(trail: Trail, **wanted: object) -> list[str]:
    return [row.decision_id for row in read_audit(trail, AuditFilter(**wanted))]  # type: ignore[arg-type]  # keywords


def test_a_ledger_of_an_earlier_release_is_read_before_a_gate_has_started(earlier: Path, tmp_path: Path) -> None:
    trail = Trail(tmp_path / "gate.audit.db", earlier)
    first, second, _ = read_audit(trail)
    assert (first.forward, first.upstream and first.upstream.result, first.notes) == (
        Forward.ANSWERED,
        "0x01",
        ("seen",),
    )
    assert [(call.target, call.value) for call in first.calls] == [(b"\xc0" * 20, 5)]
    # nobody answers it any more
    assert second.forward is Forward.UNKNOWN


def test_the_new_trail_goes_on_after_the_old_ids(earlier: Path, tmp_path: Path) -> None:
    trail = Trail(tmp_path / "gate.audit.db", earlier)
    with writing(trail.path, earlier=earlier) as writer:
        record(writer, decision("new", unix_time=NOW + 9))
    assert ids(trail) == ["old-0", "old-1", "old-2", "new"]
    rows = [row.row_id for row in read_audit(trail)]
    assert rows == sorted(rows)
    assert ids(trail, limit=2) == ["old-2", "new"]
    assert ids(trail, after_id=rows[1]) == ["old-2", "new"]
    assert ids(trail, permission_id=PERMISSION, until=NOW + 1) == ["old-0"]
    assert [row.decision_id for row in follow_audit(trail, until=lambda: True)] == ["old-0", "old-1", "old-2", "new"]
    assert verify_trail(trail.path).remarks == []


def test_old_rows_are_found_by_rule_and_by_what_was_asked(earlier: Path, tmp_path: Path) -> None:
    trail = Trail(tmp_path / "gate.audit.db", earlier)
    with closing(sqlite3.connect(earlier)) as connection:
        has_facts = "facts" in [row[1] for row in connection.execute("PRAGMA table_info(audit)")]
    if has_facts:
        assert ids(trail, rule="burst") == ["old-2"]
        assert ids(trail, asked=Asked.ESTIMATES) == ["old-2"]
        assert ids(trail, asked=Asked.SENDS) == ["old-0", "old-1"]
    else:
        assert ids(trail, rule="burst") == []
        assert len(ids(trail, asked=Asked.SENDS)) == 3


def test_old_rows_go_when_they_are_too_old(earlier: Path, tmp_path: Path) -> None:
    trail = Trail(tmp_path / "gate.audit.db", earlier)
    settings = WriterSettings(budget=DiskBudget(max_bytes=1 << 30, retention_seconds=100.0))
    with writing(trail.path, settings=settings, earlier=earlier, clock=lambda: NOW + 101.5):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(ids(trail)) > 1:
            assert time.monotonic() < deadline
    assert ids(trail) == ["old-2"]
