"""The audit trail read back: filters, order, following."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.audit.reading import AuditFilter, Trail, follow_audit, read_audit, read_entries
from proxy.edge.audit.row import Forward
from proxy.edge.audit.schema import OF_THE_TRAIL, open_trail
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import AuditWriter
from proxy.errors import Code
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.ports import Deed, OperationEnd
from proxy.userop.primitives import Hash32
from tests.edge.audit.trails import begin, record, writing
from tests.edge.builders import (
    ACCOUNT,
    NOW,
    OTHER_ACCOUNT,
    OTHER_PERMISSION,
    OUT_OF_SCOPE,
    PERMISSION,
    REVOKED,
    USER_OP_HASH,
    decision,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.db"


@pytest.fixture
def writer(path: Path) -> Iterator[AuditWriter]:
    writer = AuditWriter(path)
    begin(writer)
    yield writer
    writer.stop()


@pytest.fixture
def trail(path: Path) -> Path:
    writer = AuditWriter(path)
    begin(writer)
    record(writer, decision("a", unix_time=NOW))
    record(writer, decision("b", unix_time=NOW + 1, verdict=OUT_OF_SCOPE, client="other-dapp"))
    record(writer, decision("c", unix_time=NOW + 2, verdict=REVOKED, permission_id=OTHER_PERMISSION))
    record(writer, decision("d", unix_time=NOW + 3, account=OTHER_ACCOUNT, chain="base"))
    record(writer, decision("e", unix_time=NOW + 4, user_op_hash=Hash32(bytes(32)), permission_id=None))
    writer.stop()
    return path


def ids(path: Path, **wanted: object) -> str:
    rows = read_audit(Trail(path), AuditFilter(**wanted))  # type: ignore[arg-type]  # keyword fields
    return "".join(row.decision_id for row in rows)


def test_reads_everything_oldest_first(trail: Path) -> None:
    assert ids(trail) == "abcde"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"since": NOW + 1}, "bcde"),
        ({"since": NOW + 1.001}, "cde"),
        ({"until": NOW + 1}, "a"),
        ({"until": NOW + 1.001}, "ab"),
        ({"permission_id": PERMISSION}, "abd"),
        ({"permission_id": OTHER_PERMISSION}, "c"),
        ({"account": ACCOUNT}, "abce"),
        ({"account": OTHER_ACCOUNT}, "d"),
        ({"user_op_hash": USER_OP_HASH}, "abcd"),
        ({"decision_id": "d"}, "d"),
        ({"chain": "base"}, "d"),
        ({"client": "other-dapp"}, "b"),
        ({"verdict": "allow"}, "ade"),
        ({"verdict": "reject"}, "bc"),
        ({"code": int(Code.SESSION_REVOKED)}, "c"),
        ({"limit": 2}, "de"),
        ({"after_id": 4}, "de"),
        ({"until_id": 4}, "abc"),
        ({"permission_id": PERMISSION, "verdict": "allow", "limit": 1}, "d"),
        ({"chain": "nowhere"}, ""),
    ],
)
def test_each_filter_keeps_what_it_says(trail: Path, wanted: dict[str, object], expected: str) -> None:
    assert ids(trail, **wanted) == expected


def test_a_permission_id_joins_to_the_operations_it_signed(trail: Path) -> None:
    hashes = {row.user_op_hash for row in read_audit(Trail(trail), AuditFilter(permission_id=PERMISSION))}
    assert hashes == {USER_OP_HASH}
    permissions = {row.permission_id for row in read_audit(Trail(trail), AuditFilter(user_op_hash=USER_OP_HASH))}
    assert permissions == {PERMISSION, OTHER_PERMISSION}


def test_a_trail_that_does_not_exist_is_an_error_and_is_not_made(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_audit(Trail(path)))
    assert not path.exists()


def test_a_database_without_a_trail_is_an_empty_trail(path: Path) -> None:
    sqlite3.connect(path).close()
    assert list(read_audit(Trail(path))) == []
    assert list(follow_audit(Trail(path), until=lambda: True)) == []


def test_reading_cannot_write(trail: Path) -> None:
    before = trail.read_bytes()
    assert ids(trail, chain="base'; DELETE FROM records; --") == ""
    assert trail.read_bytes() == before


def test_what_the_trail_tells_of_itself_is_found_by_an_index(trail: Path) -> None:
    connection = open_trail(trail)
    for kind in ("checkpoint", "deed", "start"):
        condition = f"kind = '{kind}' AND {OF_THE_TRAIL} AND account IS NOT ?"
        query = f"EXPLAIN QUERY PLAN SELECT * FROM records WHERE {condition} ORDER BY id"
        plan = connection.execute(query, (b"",)).fetchall()
        assert "USING INDEX" in plan[0][3], (condition, plan)
    connection.close()


def test_a_trail_whose_index_of_itself_is_an_earlier_release_s_is_read_and_written_by_it(trail: Path) -> None:
    with closing(sqlite3.connect(trail)) as connection:
        connection.execute("DROP INDEX records_of_the_trail")
        connection.execute(
            "CREATE INDEX records_of_the_trail ON records (id) WHERE kind NOT IN ('decision', 'answer', 'end')"
        )
        connection.commit()
    with writing(trail) as writer:
        record(writer, decision("f"))
        writer.door.noted(Deed(what="freeze", who="ops", why="", account=ACCOUNT))
    assert ids(trail) == "abcdef"
    assert [entry.kind for entry in read_entries(Trail(trail), AuditFilter(account=ACCOUNT))] == ["deed"]
    with closing(sqlite3.connect(trail)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM records WHERE {OF_THE_TRAIL}").fetchall()
        assert "INDEX records" in plan[0][3], plan
    assert verify_trail(trail).remarks == []


def test_the_end_of_an_operation_is_told_of_what_it_came_after(path: Path) -> None:
    taken = UpstreamAnswer(result="0x1")
    with writing(path) as writer:
        record(writer, decision("a", upstream=taken))
        writer.door.ended(OperationEnd("soneium", USER_OP_HASH, "expired"))
        record(writer, decision("b", upstream=taken))
        record(writer, decision("c", upstream=taken, chain="base"))
    causes = [None if row.end is None else row.end.told["cause"] for row in read_audit(Trail(path))]
    assert causes == ["expired", None, None]
    with writing(path) as writer:
        writer.door.ended(OperationEnd("soneium", USER_OP_HASH, "mined"))
    causes = [None if row.end is None else row.end.told["cause"] for row in read_audit(Trail(path))]
    assert causes == ["mined", "mined", None]


def test_following_shows_what_was_there_and_then_what_comes(path: Path, writer: AuditWriter) -> None:
    record(writer, decision("a"))
    rows = follow_audit(Trail(path), poll_seconds=0.01)
    assert next(rows).decision_id == "a"
    record(writer, decision("b"))
    assert next(rows).decision_id == "b"
    record(writer, decision("c", chain="base"))
    assert next(rows).decision_id == "c"


def test_following_shows_a_forwarded_decision_once_with_its_answer(path: Path, writer: AuditWriter) -> None:
    record(writer, decision("a"), forwarding=True)
    record(writer, decision("b"))
    rows = follow_audit(Trail(path), poll_seconds=0.01)
    assert next(rows).decision_id == "b"
    writer.door.answered("a", UpstreamAnswer(result="0x1"))
    answered = next(rows)
    assert (answered.decision_id, answered.forward) == ("a", Forward.ANSWERED)
    record(writer, decision("c"))
    assert next(rows).decision_id == "c"


def test_following_does_not_wait_for_an_answer_for_ever(path: Path, writer: AuditWriter) -> None:
    record(writer, decision("a"), forwarding=True)
    rows = follow_audit(Trail(path), poll_seconds=0.01, patience_seconds=0)
    shown = next(rows)
    assert (shown.decision_id, shown.forward) == ("a", Forward.PENDING)


def test_following_heeds_the_filter_and_ends_when_told(trail: Path) -> None:
    rows = follow_audit(Trail(trail), AuditFilter(verdict="reject", limit=1), poll_seconds=0.01, until=lambda: True)
    assert [row.decision_id for row in rows] == ["c"]


def test_following_with_a_limit_still_shows_every_new_row(path: Path, writer: AuditWriter) -> None:
    for name in "abc":
        record(writer, decision(name))
    rows = follow_audit(Trail(path), AuditFilter(limit=1), poll_seconds=0.05)
    while next(rows).decision_id != "c":
        pass
    for name in "defg":
        record(writer, decision(name))
    assert [next(rows).decision_id for _ in range(4)] == ["d", "e", "f", "g"]
