"""What a whole gate writes down, and how little a stranger can make it write."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.audit.session_again import NotRecomputableError, judge_session_again
from proxy.edge.audit.chain import chain_key
from proxy.edge.audit.head_lines import read_heads
from proxy.edge.audit.reading import Trail, read_audit
from proxy.edge.audit.verify import verify_trail
from proxy.errors import Code
from proxy.judge.facts import ALLOWED
from proxy.ports import OperationEnd
from proxy.session.outcome import Accepted, Refused
from proxy.userop.execution import Call
from proxy.userop.primitives import Hash32, print_bytes
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, SESSION_ID, audited, use_number
from tests.bypass_list.desk import CHAIN_ID, batch, use
from tests.patience import patiently
from tests.running_gate import ESTIMATE, HonestBundler, RunningGate, hash_of, running_gate, submission
from tests.session.builders import STRANGER, transfer

LEFT_OUT = "sessiongate_audit_refusals_left_out_total"
KEY = "a key for the audit of tests"


def trail_of(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.stem}.audit.db")


def bytes_of(path: Path) -> int:
    """What the records take, all columns added up."""
    with closing(sqlite3.connect(path)) as reader:
        names = [row[1] for row in reader.execute("PRAGMA table_info(records)")]
        size = " + ".join(f"coalesce(length(cast({name} AS BLOB)), 0)" for name in names)
        (total,) = reader.execute(f"SELECT coalesce(sum({size}), 0) FROM records").fetchone()
    return int(total)


async def entries(gate: RunningGate) -> list[dict[str, Any]]:
    return list((await gate.look("/audit?show=entries&limit=1000"))["audit"])


async def until_entry(gate: RunningGate, what: str) -> dict[str, Any]:
    for _ in patiently():
        for entry in await entries(gate):
            if entry["detail"].get("what") == what or entry["kind"] == what:
                return entry
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {what}")


@pytest.mark.parametrize("count", [1, 600])
async def test_an_operation_of_half_a_megabyte_is_a_small_record(tmp_path: Path, count: int) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger) as gate:
        gate.running.registry.put(known(TWICE))
        long = Call(STRANGER, 0, transfer(1).data + bytes(240_000 - 256 * count))
        calls = batch(long, *(Call(STRANGER, 0, transfer(1).data) for _ in range(count - 1)))
        body = submission(use(TWICE, calls))
        assert len(json.dumps(body)) > 420_000
        assert "error" in await gate.ask(body)
        await audited(gate, 1)
    assert bytes_of(trail_of(ledger)) < 16_384


async def test_what_a_stranger_writes_into_the_audit_is_a_fraction_of_what_they_send(tmp_path: Path) -> None:
    ledger = tmp_path / "gate.db"
    sent = 0
    count = 700
    async with running_gate(ledger=ledger, audit={"refusals_per_second": 1}) as gate:
        gate.running.registry.put(known(TWICE))
        body = submission(GOOD)
        body["params"][0]["callData"] = "0x" + "5e" * 5_000
        raw = json.dumps(body).encode()
        for _ in range(count):
            sent += len(raw)
            await gate.post(raw)
        metrics = await gate.look("/metrics")
        (counted,) = [line.split()[1] for line in metrics.splitlines() if line.startswith(f"{LEFT_OUT} ")]
        assert "result" in await gate.send(use_number(1))
    assert sent > 7_000_000
    assert bytes_of(trail_of(ledger)) < sent // 20
    with closing(sqlite3.connect(trail_of(ledger))) as reader:
        (kept,) = reader.execute(
            "SELECT count(*) FROM records WHERE kind = 'decision' AND verdict = 'reject'"
        ).fetchone()
        told = reader.execute("SELECT detail FROM records WHERE kind = 'sampled'").fetchall()
    left_out = sum(json.loads(detail)["refusals"] for (detail,) in told)
    # none is lost count of
    assert kept + left_out == count
    assert left_out == float(counted)


async def test_the_end_of_an_operation_stands_beside_its_decision(gate: RunningGate) -> None:
    await gate.send(GOOD)
    (row,) = await audited(gate, 1)
    assert row["end"] is None
    end = OperationEnd(
        chain="soneium",
        user_op_hash=Hash32(bytes.fromhex(hash_of(GOOD)[2:])),
        cause="mined",
        success=False,
        revert_reason="no such thing",
        transaction=Hash32(b"\x07" * 32),
        block=200,
        gas_used=50_000,
        cost=2**70,
        seconds=2.5,
    )
    gate.running.recorder.operation_ended(end)
    for _ in patiently():
        (row,) = await audited(gate, 1)
        if row["end"] is not None:
            break
        await asyncio.sleep(0.01)
    assert {name: row["end"][name] for name in ("cause", "success", "block", "gasUsed", "cost", "seconds")} == {
        "cause": "mined",
        "success": False,
        "block": 200,
        "gasUsed": "50000",
        "cost": str(2**70),
        "seconds": 2.5,
    }
    assert row["end"]["transaction"] == print_bytes(b"\x07" * 32)
    assert row["end"]["revertReason"] == "no such thing"


async def test_what_people_do_to_the_gate_is_on_record_with_who_and_why(gate: RunningGate) -> None:
    await gate.change("POST", "/freezes", {"permissionId": SESSION_ID, "note": "seen twice"})
    frozen = await until_entry(gate, "freeze")
    assert frozen["kind"] == "deed"
    assert frozen["permissionId"] == SESSION_ID
    assert (frozen["detail"]["why"], frozen["detail"]["who"]) == ("seen twice", "this machine from 127.0.0.1")
    assert frozen["detail"]["status"] == "201"
    await gate.change("DELETE", f"/freezes/{SESSION_ID}")
    await until_entry(gate, "unfreeze")
    await gate.change("POST", "/freezes", {"permissionId": "0x00"})
    failed = await until_entry(gate, "admin_write")
    assert (failed["detail"]["request"], failed["detail"]["status"]) == ("POST /freezes", "400")
    await gate.change("POST", "/rules/reload", {"note": "a new limit"})
    told = (await until_entry(gate, "rules_reload"))["detail"]
    assert (told["who"], told["why"]) == ("this machine from 127.0.0.1", "a new limit")
    assert (await until_entry(gate, "rules_reloaded"))["detail"]["faults"] == "0"


async def test_a_question_is_no_deed(gate: RunningGate) -> None:
    await gate.change("POST", "/explain", {"operation": {}, "entryPoint": "0x", "chain": "soneium"})
    await gate.change("DELETE", f"/freezes/{SESSION_ID}")
    await until_entry(gate, "unfreeze")
    assert [entry["kind"] for entry in await entries(gate)] == ["start", "deed"]


async def test_estimates_are_told_apart_from_sends(gate: RunningGate) -> None:
    await gate.ask(submission(GOOD, ESTIMATE))
    await gate.send(GOOD)
    await audited(gate, 2)
    sends, estimates = [(await gate.look(f"/audit?asked={asked}"))["audit"] for asked in ("sends", "estimates")]
    assert [row["method"] for row in sends] == ["eth_sendUserOperation"]
    assert [row["method"] for row in estimates] == [ESTIMATE]


async def test_a_gate_that_ends_in_good_order_leaves_an_intact_trail(bundler: HonestBundler, tmp_path: Path) -> None:
    ledger, heads = tmp_path / "gate.db", tmp_path / "heads.jsonl"
    for _ in range(2):
        async with running_gate(
            bundler=bundler, ledger=ledger, audit={"key": KEY, "heads": {"file": str(heads)}}
        ) as gate:
            gate.running.registry.put(known(TWICE))
            await gate.send(OUTSIDE)
            await gate.change("POST", "/freezes", {"permissionId": SESSION_ID})
    told = read_heads(heads.read_text())
    found = verify_trail(trail_of(ledger), [chain_key(KEY)], told)
    assert (len(told), found.remarks, found.keyed) == (2, [], True)
    assert told[-1].id == found.last


async def test_a_disk_that_is_nearly_full_is_told_before_it_is_and_costs_no_operation(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    # a reserve larger than any disk: for the trail there is no room
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db", audit={"reserve_bytes": 2**50}) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        async with gate.http.get(f"{gate.admin}/readyz") as response:
            checks = {check["name"]: check for check in (await response.json())["checks"]}
            assert response.status == 503
        assert checks["ledger"]["ok"]
        assert "reserved for the ledger" in checks["audit"]["why"]
        assert await gate.metric("disk_free_bytes", what="audit") > 0
        await gate.until(lambda: not gate.running.audit.writable, "the trail is not written")
        assert "result" in await gate.send(use_number(1))


@pytest.mark.parametrize(
    ("query", "status"),
    [("format=csv", 200), ("format=jsonl", 200), ("format=xml", 400), ("since=2026-13-40", 400), ("code=nothing", 400)],
)
async def test_the_audit_is_given_out_in_several_forms(gate: RunningGate, query: str, status: int) -> None:
    await gate.send(GOOD)
    await audited(gate, 1)
    async with gate.http.get(f"{gate.admin}/audit?{query}") as response:
        text = await response.text()
    assert response.status == status
    if status == 200:
        assert hash_of(GOOD) in text


async def test_pages_go_back_to_the_beginning_without_a_record_twice_or_missing(gate: RunningGate) -> None:
    for number in range(7):
        await gate.send(use_number(number))
    expected = [row["id"] for row in await audited(gate, 7)]
    seen: list[int] = []
    before = ""
    while True:
        page = await gate.look(f"/audit?limit=3{before}")
        seen = [row["id"] for row in page["audit"]] + seen
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert seen == expected


@pytest.mark.parametrize(("op", "verdict"), [(GOOD, "allow"), (OUTSIDE, "session_scope")], ids=["allowed", "refused"])
async def test_a_trail_that_keeps_call_data_lets_the_session_s_verdict_be_given_again(
    tmp_path: Path, op: UserOperation, verdict: str
) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger, audit={"keep": "calldata"}) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.send(use_number(7))  # in flight beside it
        await gate.send(op)
        await audited(gate, 2)
    row = list(read_audit(Trail(trail_of(ledger))))[-1]
    assert row.whole is not None
    assert row.whole["operation"]["callData"] == print_bytes(op.call_data)
    again = judge_session_again(row, CHAIN_ID)
    assert isinstance(again, Accepted | Refused)
    assert (ALLOWED if isinstance(again, Accepted) else again.reason.code.label) == verdict
    with closing(sqlite3.connect(trail_of(ledger))) as reader:
        details = [detail for (detail,) in reader.execute("SELECT detail FROM records WHERE kind = 'decision'")]
    assert not [detail for detail in details if op.signature[-65:].hex() in detail]


async def test_what_was_in_flight_is_among_the_grounds(tmp_path: Path) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger, audit={"keep": "calldata"}) as gate:
        gate.running.registry.put(known(TWICE))
        for number in range(3):
            await gate.send(use_number(number))
        await audited(gate, 3)
    first, _, third = read_audit(Trail(trail_of(ledger)))
    assert isinstance(judge_session_again(first, CHAIN_ID), Accepted)
    refused = judge_session_again(third, CHAIN_ID)
    assert isinstance(refused, Refused)
    assert refused.reason.code is Code.LIMIT_EXCEEDED


async def test_a_trail_that_keeps_facts_only_says_that_a_verdict_cannot_be_given_again(tmp_path: Path) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(ledger=ledger) as gate:
        gate.running.registry.put(known(TWICE))
        await gate.send(GOOD)
        await audited(gate, 1)
    (row,) = read_audit(Trail(trail_of(ledger)))
    assert row.whole is None
    with pytest.raises(NotRecomputableError, match="facts only"):
        judge_session_again(row, CHAIN_ID)


def children() -> set[int]:
    """The processes that the thread of this test has started, and those that tests before it left running."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def test_a_trail_written_by_a_process_of_its_own_outlives_that_process(tmp_path: Path) -> None:
    ledger, of_others = tmp_path / "gate.db", children()
    async with running_gate(ledger=ledger, audit={"written_by": "process"}) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(use_number(1))
        (child,) = children() - of_others
        os.kill(child, signal.SIGKILL)
        assert "result" in await gate.send(use_number(2))
        await audited(gate, 2)
        assert (await gate.look("/readyz"))["ready"]
    assert verify_trail(trail_of(ledger)).remarks == []
