"""A ledger put back from a copy is noticed: what rules had counted since is gone, and windows that reach back there are
not judged by what is left, until they have passed or an operator takes it as it is."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.errors import Code
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, audited, use_number
from tests.running_gate import HonestBundler, RunningGate, running_gate

RULES = """
rules:
  - id: few
    description: A session sends a hundred a day.
    mode: enforce
    fail: {fail}
    limit: {{count: ops, max: 100, per: session, window: 24h}}
"""


def rules(folder: Path, fail: str = "closed") -> list[str]:
    path = folder / "rules.yaml"
    path.write_text(RULES.format(fail=fail))
    return [str(path)]


async def restored(bundler: HonestBundler, path: Path, wanted: list[str]) -> None:
    """A gate sent something after a copy of its ledger was made, and the copy is in its place now."""
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        gate.running.registry.put(known(TWICE))
        copy = path.with_name("copy.db")
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        assert "result" in await gate.send(GOOD)
        bundler.mine(GOOD)
        await audited(gate, 1)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    copy.replace(path)


async def sent(gate: RunningGate, number: int) -> dict[str, object]:
    gate.running.registry.put(known(TWICE))
    answer: dict[str, object] = await gate.send(use_number(number))
    return answer


async def test_rules_whose_windows_reach_back_fail_as_they_say_and_a_restart_changes_nothing_about_that(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    await restored(bundler, path, wanted)
    for number in (1, 2):
        async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
            error = (await sent(gate, number))["error"]
            assert isinstance(error, dict)
            assert error["code"] == Code.RULE_REJECTED
            assert "may lack counts from before" in error["message"]
            assert (await gate.look("/rules/budget"))["doubtedBefore"] is not None
    assert "an older copy took its place" in caplog.text


async def test_a_rule_that_fails_open_lets_pass_and_names_the_operation(bundler: HonestBundler, tmp_path: Path) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path, "open")
    await restored(bundler, path, wanted)
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        assert "result" in await sent(gate, 1)
        row = (await audited(gate, 2))[-1]
        assert row["passedWithout"] == {"rules": ["few"]}
        assert await gate.metric("rule_opened_total", rule="few") == 1


async def test_a_copy_that_came_without_its_mark_is_not_taken_for_whole(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    await restored(bundler, path, wanted)
    elsewhere = tmp_path / "elsewhere" / "gate.db"
    elsewhere.parent.mkdir()
    for end in ("", "-daybook"):
        path.with_name(path.name + end).rename(elsewhere.with_name(path.name + end))
    for number in (1, 2):
        async with running_gate(bundler=bundler, ledger=elsewhere, rules=wanted) as gate:
            assert "may lack counts from before" in str(await sent(gate, number))
    assert "without gate.db-mark" in caplog.text


async def put_back_with_its_mark(bundler: HonestBundler, path: Path, wanted: list[str], op: UserOperation) -> str:
    """The ledger and its mark are those of a moment ago, whole, and this operation was sent since; its decision."""
    async with running_gate(bundler=bundler, ledger=path, rules=wanted):
        await alive(path)
    files = [path.with_name(path.name + end) for end in ("", "-mark", "-daybook", "-wal", "-shm")]
    copies = {file: file.read_bytes() for file in files if file.exists()}
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.send(op)
        decision: str = (await audited(gate, 1))[0]["decisionId"]
    for file in files:
        file.unlink(missing_ok=True)
    for file, content in copies.items():
        file.write_bytes(content)
    return decision


async def alive(path: Path) -> None:
    """The ledger has shown that it can be written, as it does when a gate starts and every ten seconds."""
    for _ in range(1_000):
        with closing(sqlite3.connect(path)) as ledger:
            if ledger.execute("SELECT 1 FROM probes").fetchone() is not None:
                return
        await asyncio.sleep(0.01)
    raise AssertionError("no sign of life")


async def test_a_copy_that_came_with_its_mark_is_found_out_by_what_the_trail_tells(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    decision = await put_back_with_its_mark(bundler, path, wanted, GOOD)
    for number in (1, 2):
        async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
            assert "may lack counts from before" in str(await sent(gate, number))
            assert (await gate.look("/rules/budget"))["doubtedBefore"] is not None
    assert f"held after its last write, the newest of them in decision {decision}" in caplog.text


async def test_a_ledger_that_knows_what_the_trail_tells_is_whole_whatever_the_time_of_day_was(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        assert "result" in await sent(gate, 1)
        await audited(gate, 1)
        await alive(path)
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("UPDATE probes SET written_at = written_at - 3600")
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        assert "result" in await sent(gate, 2)


async def test_what_was_refused_says_nothing_of_the_ledgers_age(bundler: HonestBundler, tmp_path: Path) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    await put_back_with_its_mark(bundler, path, wanted, OUTSIDE)
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        assert "result" in await sent(gate, 1)


async def test_an_operator_takes_the_counts_as_they_are_and_that_is_on_record(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    await restored(bundler, path, wanted)
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        assert "error" in await sent(gate, 1)
        told = await gate.change("POST", "/rules/accept", {"note": "limits are small"})
        assert told["doubtedBefore"] is not None
        assert "result" in await sent(gate, 1)
        await audited(gate, 3)
        (deed,) = (await gate.look("/audit?show=deeds"))["audit"]
        assert (deed["detail"]["what"], deed["detail"]["why"]) == ("counts_accepted", "limits are small")
    async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
        assert "result" in await sent(gate, 2)


async def test_a_ledger_that_was_only_stopped_and_started_is_whole(bundler: HonestBundler, tmp_path: Path) -> None:
    path, wanted = tmp_path / "gate.db", rules(tmp_path)
    for number in (1, 2):
        async with running_gate(bundler=bundler, ledger=path, rules=wanted) as gate:
            assert "result" in await sent(gate, number)
            assert (await gate.look("/rules/budget"))["doubtedBefore"] is None
