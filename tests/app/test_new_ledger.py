"""A ledger that is not there is not made in silence: a mistyped path would forget every freeze and hold. One of another
release is brought up to date, or left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.edge.storage.test_migration import RECORDED
from tests.running_gate import HonestBundler, RunningGate, running_gate

SAID = "begins with a new one and remembers nothing"


async def test_a_new_ledger_is_told_with_its_path_and_one_that_was_there_is_not(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = tmp_path / "mistyped" / "gate.db"
    async with running_gate(bundler=bundler, ledger=ledger):
        assert f"there is no ledger at {ledger} yet" in caplog.text
    caplog.clear()
    async with running_gate(bundler=bundler, ledger=ledger):
        assert SAID not in caplog.text


async def test_a_gate_that_starts_on_the_ledger_of_an_earlier_release_serves_by_what_is_in_it(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    ledger = tmp_path / "gate.db"
    with closing(sqlite3.connect(ledger)) as recorded:
        recorded.executescript(RECORDED.read_text())

    async def shown(gate: RunningGate) -> tuple[float, int]:
        sessions = (await gate.look("/sessions"))["sessions"]
        return await gate.metric("operations_in_flight", chain="soneium"), len(sessions)

    for _ in range(2):  # once it is brought up to date it is an ordinary ledger
        async with running_gate(bundler=bundler, ledger=ledger) as gate:
            assert await shown(gate) == (4, 1)


def _bring_forward(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("written_by", ["thread", "process"])
@pytest.mark.parametrize("which", ["gate.db", "gate.audit.db"])
async def test_a_gate_does_not_start_on_what_a_newer_release_has_changed_and_leaves_it_as_it_was(
    bundler: HonestBundler, tmp_path: Path, which: str, written_by: str
) -> None:
    ledger, audit = tmp_path / "gate.db", {"written_by": written_by}
    async with running_gate(bundler=bundler, ledger=ledger, audit=audit):
        pass
    _bring_forward(tmp_path / which)
    before = (tmp_path / which).read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="this release knows"):
        async with running_gate(bundler=bundler, ledger=ledger, audit=audit):
            pytest.fail("must not start")
    assert (tmp_path / which).read_bytes() == before
