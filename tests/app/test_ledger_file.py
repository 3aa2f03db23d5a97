"""The ledger's file under a gate: one gate each, noticed when it goes away, and no stored row in what is said of it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.edge.storage import housekeeping
from proxy.errors import Code, StateUnavailable
from tests.admission.builders import TWICE, enabling, granting, known
from tests.app.builders import GOOD, ONCE, SESSION_ID, audited, use_number
from tests.bypass_list.desk import a_session
from tests.patience import patiently
from tests.running_gate import HonestBundler, RunningGate, hash_of, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, usage

SECRET = "hush-what-stands-in-a-row"  # of a test
RULES = """
rules:
  - id: few
    description: A session sends a hundred a day.
    mode: enforce
    limit: {count: ops, max: 100, per: session, window: 24h}
"""
READ_LATER = ("alerts", "sqlite_sequence")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.db"


def removed(path: Path) -> None:
    path.unlink()


def away(path: Path) -> None:
    path.rename(path.with_name("away.db"))


def back(path: Path) -> None:
    path.with_name("away.db").rename(path)


def replaced(path: Path) -> None:
    (other := path.with_name("other.db")).touch()
    other.replace(path)


MOVES = {"removed": removed, "renamed": away, "replaced": replaced}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that looks at its file all the time."""
    assert housekeeping.LOOK_SECONDS * 2 < 5
    monkeypatch.setattr(housekeeping, "LOOK_SECONDS", 0.01)


async def until_in_place(gate: RunningGate, value: float) -> None:
    for _ in range(3000):
        if f"sessiongate_ledger_in_place {value}" in await gate.look("/metrics"):
            return
    raise AssertionError("not noticed")


async def ready(gate: RunningGate) -> dict[str, Any]:
    async with gate.http.get(f"{gate.admin}/readyz") as response:
        answer: dict[str, Any] = await response.json()
    return next(check for check in answer["checks"] if check["name"] == "ledger")


async def test_a_second_gate_on_the_same_file_does_not_start_by_whatever_name(
    bundler: HonestBundler, path: Path
) -> None:
    async with running_gate(bundler=bundler, ledger=path):
        path.with_name("hard.db").hardlink_to(path)
        path.with_name("soft.db").symlink_to(path)
        for name in ("gate.db", "hard.db", "soft.db"):
            with pytest.raises(StateUnavailable, match="another gate holds it"):
                async with running_gate(bundler=bundler, ledger=path.with_name(name)):
                    pass


@pytest.mark.parametrize("how", MOVES)
async def test_a_ledger_that_goes_away_is_noticed_and_holds_nothing_new(
    path: Path, how: str, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gate(ledger=path) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        await until_in_place(gate, 1.0)
        MOVES[how](path)
        await until_in_place(gate, 0.0)
        refused = (await gate.send(use_number(1)))["error"]
        assert refused["code"] == Code.STATE_UNAVAILABLE
        assert len(gate.bundler.sent) == 1
        check = await ready(gate)
        assert not check["ok"]
        assert "the ledger is not where it was" in check["why"]
    assert "is not where it was" in caplog.text


async def test_put_back_it_is_used_again(path: Path, quick: None) -> None:
    async with running_gate(ledger=path) as gate:
        gate.running.registry.put(known(TWICE))
        away(path)
        await until_in_place(gate, 0.0)
        back(path)
        await until_in_place(gate, 1.0)
        assert "result" in await gate.send(GOOD)
        assert (await ready(gate))["ok"]


async def test_who_set_it_open_sends_without_holding_and_log_and_audit_name_what_was_sent(
    path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gate(ledger=path, ledger_fail="open") as gate:
        gate.running.registry.put(known(TWICE))
        removed(path)
        await until_in_place(gate, 0.0)
        assert "result" in await gate.send(GOOD)
        assert await gate.metric("fail_open_total", what="ledger") == 1
        assert hash_of(GOOD) in caplog.text
        (decision,) = await audited(gate, 1)
        deeds: list[Any] = []
        for _ in patiently():
            if deeds := (await gate.look("/audit?show=deeds"))["audit"]:
                break
            await asyncio.sleep(0.01)
        assert [deed["detail"]["what"] for deed in deeds] == ["sent_unheld"]
        assert deeds[0]["detail"]["user_op_hash"] == decision["userOpHash"] == hash_of(GOOD)


async def test_what_a_ledger_lost_is_told_at_the_start_and_the_gate_goes_on(
    bundler: HonestBundler, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gate(bundler=bundler, ledger=path) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.send(GOOD)
    removed(path)
    async with running_gate(bundler=bundler, ledger=path) as gate:
        assert "lacks the last" in caplog.text
        assert await gate.metric("happenings_total", kind="ledger_rewound") == 1
        assert (await ready(gate))["ok"]


# --- what cannot be read ------------------------------------------------------------------------------------------


async def fill(bundler: HonestBundler, path: Path, rules: Path) -> None:
    """A ledger with something in every table."""
    async with running_gate(bundler=bundler, ledger=path, rules=[str(rules)]) as gate:
        gate.running.registry.put(known(TWICE))
        other = a_session(action(TOKEN, TRANSFER, usage(4)), salt=9)
        for op in (GOOD, granting(other), enabling(a_session(action(TOKEN, TRANSFER, usage(4)), salt=10), ONCE)):
            await gate.send(op)
        bundler.mine(GOOD)
        await gate.until(lambda: gate.bundler.methods.count("eth_getUserOperationReceipt") > 5, "it is settled")
        await gate.change("POST", "/freezes", {"permissionId": SESSION_ID, "note": "n"})


def columns(path: Path) -> Iterator[tuple[str, str]]:
    """Everything that the gate reads at its start."""
    with closing(sqlite3.connect(path)) as reader:
        for (table,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in READ_LATER:
                for row in reader.execute(f"PRAGMA table_info({table})").fetchall():
                    yield table, row[1]


def copy_with_a_broken_column(path: Path, broken: Path, table: str, column: str) -> bool:
    """Whether the table took it."""
    for old in broken.parent.glob(f"{broken.name}*"):
        old.unlink()
    with closing(sqlite3.connect(path)) as reader, closing(sqlite3.connect(broken)) as writer:
        reader.backup(writer)
        with suppress(sqlite3.IntegrityError), writer:
            return writer.execute(f"UPDATE {table} SET {column} = ?", (SECRET,)).rowcount > 0
    return False


async def test_what_cannot_be_read_at_the_start_is_told_without_a_word_of_it(
    bundler: HonestBundler, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rules, broken = tmp_path / "own.yaml", tmp_path / "broken.db"
    write(rules)
    await fill(bundler, path, rules)
    said: dict[tuple[str, str], str] = {}
    for table, column in list(columns(path)):
        if copy_with_a_broken_column(path, broken, table, column):
            try:
                async with running_gate(bundler=bundler, ledger=broken, rules=[str(rules)]):
                    pass
            except (StateUnavailable, sqlite3.Error) as error:
                said[table, column] = str(error)
    assert {table for table, _ in said} >= {"sessions", "operations_in_flight"}
    assert SECRET not in f"{said}{caplog.text}"


def write(rules: Path) -> None:
    rules.write_text(RULES)
