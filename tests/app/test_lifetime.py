"""A gate starts, answers for itself, ends, and knows in its next life what it knew."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from proxy.app import explain_once
from proxy.chain.witness import GET_ENTRY_POINT_NONCE
from proxy.edge.http.listener import ListenerSettings
from proxy.errors import Code
from proxy.judge.verdict import Allow, Reject
from proxy.ledger.daybook import daybook_of
from proxy.ledger.operations import Stage
from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import (
    TWICE,
    granting,
    known,
)
from tests.app.builders import (
    DECLARED,
    GOOD,
    ONCE,
    OUTSIDE,
    audited,
    refusal,
    rows_of,
    use_number,
    used_of,
)
from tests.bypass_list.desk import CHAIN_ID, V07, a_session, use
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_session
from tests.running_gate import (
    BY_HASH,
    ENTRY_POINT,
    RECEIPT,
    HonestBundler,
    RunningGate,
    hash_of,
    request,
    running_gate,
    settings,
    submission,
)
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, enabled, usage

# a new life


async def test_a_restart_keeps_sessions_freezes_what_is_in_flight_and_the_audit(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    ledger = tmp_path / "gate.db"
    grant, other = granting(TWICE), a_session(action(TOKEN, TRANSFER, usage(2)), salt=5)
    async with running_gate(bundler=bundler, ledger=ledger) as gate:
        await gate.send(grant)
        bundler.mine(grant)
        assert "result" in await gate.send(GOOD)
        await gate.change("POST", "/freezes", {"permissionId": print_bytes(other.permission_id), "note": "why"})
        rows = await audited(gate, 2)
        sessions = await gate.look("/sessions")
        freezes = await gate.look("/freezes")
    async with running_gate(bundler=bundler, ledger=ledger) as gate:
        assert await gate.look("/sessions") == sessions
        assert await gate.look("/freezes") == freezes
        assert (await gate.look("/audit"))["audit"] == rows
        assert refusal(await gate.send(use(other, ONCE))) == (Code.SESSION_REVOKED, False)
        assert "result" in await gate.send(use_number(1))
        assert refusal(await gate.send(use_number(2))) == (Code.LIMIT_EXCEEDED, True)
        bundler.mine(GOOD)
        await gate.until(lambda: used_of(gate) == 1, "what was in flight before the restart is settled")


async def test_a_restart_keeps_a_grant_that_is_not_mined_yet(bundler: HonestBundler, tmp_path: Path) -> None:
    grant = granting(TWICE)
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db") as gate:
        await gate.send(grant)
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db") as gate:
        assert refusal(await gate.send(GOOD)) == (Code.SESSION_UNKNOWN, True)
        bundler.mine(grant)
        assert "result" in await gate.send(GOOD)


async def test_a_restart_keeps_what_was_used_of_declared_sessions(bundler: HonestBundler, tmp_path: Path) -> None:
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db", sessions=[DECLARED]) as gate:
        await gate.send(GOOD)
        bundler.mine(GOOD)
        await gate.until(lambda: bool(rows_of(tmp_path / "gate.db", "operations_ended")), "it is settled")
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db", sessions=[DECLARED]) as gate:
        assert refusal(await gate.send(use_number(1))) == (Code.LIMIT_EXCEEDED, False)


async def test_what_an_operation_holds_is_on_disk_before_the_bundler_has_answered(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db") as gate:
        gate.running.registry.put(known(TWICE))
        bundler.hold()
        sending = asyncio.create_task(gate.send(GOOD))
        await gate.until(lambda: bool(bundler.sent), "it is at the bundler")
        noted = daybook_of(tmp_path / "gate.db").read_bytes()  # first: what is entered leaves it
        entered = rows_of(tmp_path / "gate.db", "operations_in_flight")
        bundler.release()
        await sending
    user_op_hash = bytes.fromhex(hash_of(GOOD)[2:])
    assert user_op_hash in noted or any(user_op_hash in row for row in entered)
    assert len(rows_of(tmp_path / "gate.db", "operations_in_flight")) == 1


async def test_a_request_under_way_is_finished_before_the_gate_ends(bundler: HonestBundler) -> None:
    async with running_gate(bundler=bundler) as gate:
        gate.running.registry.put(known(TWICE))
        bundler.hold()
        sending = asyncio.create_task(gate.send(GOOD))
        await gate.until(lambda: bool(bundler.sent), "it is at the bundler")
        asyncio.get_running_loop().call_later(0.05, bundler.release)
        # the listener goes first and waits; the client's session is closed before it, so wait here for the answer
        assert (await sending)["result"] == hash_of(GOOD)


async def test_what_was_sent_stays_held_when_the_gate_ends_before_its_bundler_has_answered(
    bundler: HonestBundler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: Any = ListenerSettings.__init__
    monkeypatch.setitem(bounds.__kwdefaults__, "shutdown_seconds", 0.05)
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db") as gate:
        gate.running.registry.put(known(TWICE))
        bundler.hold()
        sending = asyncio.create_task(gate.send(GOOD))
        await gate.until(lambda: bool(bundler.sent), "it is at the bundler")
    bundler.release()
    (left,) = await asyncio.gather(sending, return_exceptions=True)
    assert isinstance(left, ClientError), "its caller was left without an answer"
    ((*_, stage, _),) = rows_of(tmp_path / "gate.db", "operations_in_flight")
    assert stage == Stage.UNKNOWN


# explain


async def test_explain_tells_the_verdict_and_leaves_no_trace(gate: RunningGate) -> None:
    question = {"operation": print_user_operation(OUTSIDE), "entryPoint": ENTRY_POINT, "chain": "soneium"}
    told = await gate.change("POST", "/explain", question)
    assert (told["verdict"], told["reason"]) == ("reject", "session_scope")
    told = await gate.change("POST", "/explain", {**question, "operation": print_user_operation(GOOD), "chain": None})
    assert told["verdict"] == "allow"
    assert not gate.bundler.sent
    assert (await gate.look("/audit"))["audit"] == []
    for number in (1, 2):
        assert "result" in await gate.send(use_number(number))
    told = await gate.change("POST", "/explain", {**question, "operation": print_user_operation(GOOD)})
    assert told["reason"] == "limit_exceeded"


async def test_explain_names_what_it_cannot_read(gate: RunningGate) -> None:
    told = await gate.change("POST", "/explain", {"operation": {}, "entryPoint": ENTRY_POINT, "chain": "base"})
    assert "soneium" in told["error"]
    told = await gate.change("POST", "/explain", {"operation": {}, "entryPoint": "0x", "chain": "soneium"})
    assert "entryPoint" in told["error"]


async def test_explain_without_a_gate_knows_the_ledger_and_writes_nothing_into_it(
    bundler: HonestBundler, tmp_path: Path, chain: FakeNode, node_url: str
) -> None:
    ledger = tmp_path / "gate.db"
    async with running_gate(bundler=bundler, ledger=ledger) as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        bundler.mine(grant)
        for number in (1, 2):
            assert "result" in await gate.send(use_number(number))
    before = {table: rows_of(ledger, table) for table in ("sessions", "operations_in_flight")}
    asked = len(bundler.requests)
    put_session(chain, enabled(TWICE))
    chain.chain_id, chain.timestamp = CHAIN_ID, int(time.time())
    for number in (1, 2):
        nonce = use_number(number).nonce
        chain.view(V07.address, GET_ENTRY_POINT_NONCE, ACCOUNT, nonce >> 64, returns=(nonce,))
    config = settings(bundler.url, node_url=node_url, ledger=f"sqlite://{ledger}")
    question = {"chain": "soneium", "operation": print_user_operation(GOOD), "entryPoint": ENTRY_POINT}
    decision = await asyncio.to_thread(explain_once, config, question)
    assert isinstance(decision.verdict, Reject)
    assert decision.verdict.first.code is Code.LIMIT_EXCEEDED
    grant_again = {**question, "operation": print_user_operation(granting(TWICE))}
    assert isinstance((await asyncio.to_thread(explain_once, config, grant_again)).verdict, Allow)
    assert {table: rows_of(ledger, table) for table in before} == before
    assert {request.method for request in bundler.requests[asked:]} <= {RECEIPT, BY_HASH}


# ready or not


async def test_a_gate_is_ready_when_everything_it_needs_answers(gate: RunningGate) -> None:
    ready = await gate.look("/readyz")
    assert ready["ready"] is True
    assert {check["name"] for check in ready["checks"]} >= {"ledger", "upstream soneium"}


async def test_a_gate_without_its_bundler_is_not_ready(gate: RunningGate) -> None:
    await gate.bundler.stop()
    await gate.ask(request("eth_chainId"))
    async with gate.http.get(f"{gate.admin}/readyz") as response:
        assert response.status == 503


async def test_two_chains_are_two_gates(bundler: HonestBundler) -> None:
    config: dict[str, Any] = {"chain_id": "10", "bundlers": [bundler.url], "poll_seconds": "0.05"}
    chains = {"soneium": {**config, "chain_id": "1"}, "other": config}
    async with running_gate(bundler=bundler, chains=chains) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        # the bundler is of another chain than the second one says, and that one alone is not ready
        statuses = []
        for path in ("/readyz/soneium", "/readyz/other", "/readyz"):
            async with gate.http.get(f"{gate.admin}{path}") as ready:
                statuses.append(ready.status)
        assert statuses == [200, 503, 503]
        async with gate.http.post(
            f"http://127.0.0.1:{gate.running.rpc_port}/other", json=submission(use_number(1))
        ) as response:
            # its operation hash is another there, and so is its session
            assert (await response.json())["error"]["code"] == Code.SESSION_UNKNOWN
