"""The whole gate in one process, from a client's bytes to the bundler's and back, with the admin listener beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.app import explain_once
from proxy.edge.audit import read_audit
from proxy.errors import Code
from proxy.judge.verdict import Allow, Reject
from proxy.session.known import Status
from proxy.userop.execution import Call
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import (
    SESSION_KEY_ADDRESS,
    TWICE,
    enabling,
    granting,
    key_of,
    known,
    lane,
    removing,
)
from tests.bypass_list.desk import OWNER_NONCE, STRANGERS_KEY, a_session, an_operation, single, use
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_absent, put_session
from tests.edge.recording_bundler import Answer
from tests.running_gate import (
    BUNDLER_KEY,
    ENTRY_POINT,
    ESTIMATE,
    GAS,
    NODE_KEY,
    RECEIPT,
    SEND,
    HonestBundler,
    RunningGate,
    hash_of,
    request,
    running_gate,
    settings,
    submission,
)
from tests.session.builders import ACCOUNT, STRANGER, TOKEN, TRANSFER, action, enabled, transfer, usage

ONCE = single(transfer(1))
GOOD = use(TWICE, ONCE)
OUTSIDE = use(TWICE, single(Call(STRANGER, 0, bytes.fromhex("a9059cbb"))))
SESSION_ID = print_bytes(TWICE.permission_id)


def use_number(number: int) -> Any:
    return use(TWICE, ONCE, nonce=lane(number))


@pytest.fixture
async def bundler() -> AsyncIterator[HonestBundler]:
    """A bundler that outlives the gates before it."""
    async with HonestBundler() as running:
        yield running


@pytest.fixture
async def gate() -> AsyncIterator[RunningGate]:
    """A gate without a node that knows TWICE."""
    async with running_gate() as running:
        running.running.registry.put(known(TWICE))
        yield running


@pytest.fixture
def chain() -> FakeNode:
    """A chain on which TWICE is not enabled."""
    node = FakeNode()
    put_absent(node, key_of(TWICE))
    return node


@pytest.fixture
async def node_url(chain: FakeNode) -> AsyncIterator[str]:
    """Where a node of that chain listens."""
    server = await chain.start()
    yield str(server.make_url("/"))
    await server.close()


def refusal(answer: Any) -> tuple[int, bool]:
    """Code and retryable of an error."""
    return answer["error"]["code"], answer["error"]["data"]["retryable"]


# what arrives at the bundler


async def test_the_bundler_receives_our_own_print_of_what_was_judged(gate: RunningGate) -> None:
    odd = dict(reversed(print_user_operation(GOOD).items()))
    odd["callData"] = "0x" + str(odd["callData"])[2:].upper()
    odd["sender"] = print_checksummed(ACCOUNT)
    odd["nonce"] = "0x" + str(odd["nonce"])[2:].rjust(64, "0")
    odd["paymaster"] = None
    body = json.dumps({**request(SEND, odd, ENTRY_POINT.lower()), "id": 7}, indent=3).encode()
    assert (await gate.ask(b" \n" + body + b"\r\n\t"))["result"] == hash_of(GOOD)
    (sent,) = gate.bundler.sent
    canonical = request(SEND, print_user_operation(GOOD), ENTRY_POINT.lower(), request_id=sent.json["id"])
    assert sent.body == json.dumps(canonical, separators=(",", ":")).encode()


async def test_no_header_of_the_clients_goes_up(gate: RunningGate) -> None:
    strange = {
        "x-rundler-trusted": "true",
        "X-Rundler-Permissions": "{}",
        "authorization": "Bearer hush",
        "cookie": "hush=1",
        "user-agent": "dapp/1",
        "origin": "https://dapp.example",
    }
    await gate.ask(submission(GOOD), **strange)
    (sent,) = gate.bundler.sent
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"] == "sessiongate"
    assert not [name for name in sent.headers if name.startswith("x-") or name in ("authorization", "cookie", "origin")]


@pytest.mark.parametrize("mode", ["off", "shadow", "alert", "enforce"])
async def test_permissions_beside_an_operation_never_go_up(mode: str) -> None:
    async with running_gate(mode=mode) as gate:
        answer = await gate.ask(request(SEND, print_user_operation(GOOD), ENTRY_POINT, {"trusted": True}))
        assert answer["error"]["code"] == Code.INVALID_PARAMS
        assert not gate.bundler.sent


@pytest.mark.parametrize(
    "literal", ['"x"', '""', '"\\u00e9\\n"', "1", "0", "-1", "null", "1.0", "1e2", "18446744073709551617", "9" * 400]
)
@pytest.mark.parametrize("operation", [GOOD, OUTSIDE])
async def test_every_answer_comes_under_the_very_id_it_was_asked_under(
    gate: RunningGate, literal: str, operation: Any
) -> None:
    body = json.dumps(submission(operation)).replace('"id": 1', f'"id": {literal}')
    _, raw = await gate.post(body.encode())
    assert f'"id":{literal}'.encode().replace(b"\\u00e9", "é".encode()) in raw


async def test_a_batch_is_answered_element_by_element_in_order_and_never_goes_up_as_one(gate: RunningGate) -> None:
    batch = [
        request("eth_chainId", request_id="a"),
        submission(GOOD, request_id=1),
        {"jsonrpc": "2.0", "id": 2},
        submission(OUTSIDE, request_id=3),
        17,
        {key: value for key, value in submission(use_number(5)).items() if key != "id"},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        submission(GOOD, ESTIMATE, request_id=None),
        request("eth_sendTransaction", request_id=4.5),
    ]
    answers = await gate.ask(batch)
    assert [answer["id"] for answer in answers] == ["a", 1, 2, 3, None, None, None, 4.5]
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes == [
        *(None, None, Code.INVALID_REQUEST, Code.SESSION_SCOPE, Code.INVALID_REQUEST, Code.INVALID_REQUEST, None),
        Code.METHOD_NOT_FOUND,
    ]
    assert answers[6]["result"] == GAS
    assert "batch" not in gate.bundler.methods
    assert [sent.params[0] for sent in gate.bundler.sent] == [print_user_operation(GOOD)]


async def test_notifications_alone_are_answered_with_nothing(gate: RunningGate) -> None:
    assert await gate.post([{"jsonrpc": "2.0", "method": "eth_chainId"}]) == (204, b"")
    assert await gate.post({"jsonrpc": "2.0", "method": "eth_chainId"}) == (204, b"")


async def test_a_submission_in_a_batch_counts_against_the_next_one_in_it(gate: RunningGate) -> None:
    answers = await gate.ask([submission(use_number(number), request_id=number) for number in range(10)])
    assert sum("result" in answer for answer in answers) == 2
    assert len(gate.bundler.sent) == 2


# modes and counting


@pytest.mark.parametrize("mode", ["shadow", "alert"])
async def test_below_enforce_all_is_forwarded_and_what_would_be_rejected_is_counted_and_audited(mode: str) -> None:
    async with running_gate(mode=mode) as gate:
        gate.running.registry.put(known(TWICE))
        assert (await gate.send(OUTSIDE))["result"] == hash_of(OUTSIDE)
        assert (await gate.send(GOOD))["result"] == hash_of(GOOD)
        assert await gate.metric("verdicts_total", chain="soneium", code="session_scope", mode=mode) == 1
        assert await gate.metric("verdicts_total", chain="soneium", code="allow", mode=mode) == 1
        rows = await audited(gate, 2)
        assert [(row["verdict"], row["mode"], row["forward"]) for row in rows] == [
            ("reject", mode, "answered"),
            ("allow", mode, "answered"),
        ]
        assert rows[0]["reason"] == "session_scope"


async def audited(gate: RunningGate, count: int) -> list[dict[str, Any]]:
    """The audit's rows, once there are so many and none waits for its answer any more."""
    for _ in range(500):
        rows: list[dict[str, Any]] = (await gate.look("/audit"))["audit"]
        if len(rows) >= count and all(row["forward"] != "pending" for row in rows):
            return rows
        await asyncio.sleep(0.01)
    raise AssertionError(rows)


async def test_enforcing_a_rejection_is_answered_counted_and_audited_under_one_decision_id(gate: RunningGate) -> None:
    error = (await gate.send(OUTSIDE))["error"]
    assert error["code"] == Code.SESSION_SCOPE
    data = error["data"]
    assert (data["reason"], data["permissionId"], data["account"], data["userOpHash"], data["call"]) == (
        *("session_scope", SESSION_ID, print_checksummed(ACCOUNT)),
        *(hash_of(OUTSIDE), 0),
    )
    assert data["remedy"]
    assert data["retryable"] is False
    (row,) = await audited(gate, 1)
    assert row["decisionId"] == data["decisionId"]
    assert (row["forward"], row["client"], row["sessionMode"]) == ("none", "anonymous", "use")
    assert await gate.metric("verdicts_total", chain="soneium", code="session_scope", mode="enforce") == 1
    labels = {"chain": "soneium", "method_class": "submit", "outcome": "rejected"}
    assert await gate.metric("requests_total", **labels) == 1
    assert not gate.bundler.sent


async def test_mode_off_judges_nothing() -> None:
    async with running_gate(mode="off") as gate:
        assert (await gate.send(OUTSIDE))["result"] == hash_of(OUTSIDE)
        assert (await gate.look("/audit"))["audit"] == []


async def test_previews_that_pass_are_not_judged() -> None:
    async with running_gate(previews="pass") as gate:
        assert (await gate.send(OUTSIDE, ESTIMATE))["result"] == GAS
        assert (await gate.send(OUTSIDE))["error"]["code"] == Code.SESSION_UNKNOWN


async def test_a_stub_signature_is_not_held_against_an_estimate(gate: RunningGate) -> None:
    stub = an_operation(ONCE, signature=b"\0" + TWICE.permission_id + b"\xff" * 65)
    assert (await gate.send(stub, ESTIMATE))["result"] == GAS
    assert (await gate.send(stub))["error"]["code"] == Code.SESSION_SCOPE


# what is held


async def test_of_ten_at_once_the_bundler_gets_exactly_as_many_as_the_limit_allows(gate: RunningGate) -> None:
    four = a_session(action(TOKEN, TRANSFER, usage(4)), salt=9)
    gate.running.registry.put(known(four))
    gate.bundler.hold()
    sending = [asyncio.create_task(gate.send(use(four, ONCE, nonce=lane(number)))) for number in range(10)]
    await gate.until(lambda: sum(task.done() for task in sending) == 6 and len(gate.bundler.sent) == 4, "four are held")
    gate.bundler.release()
    answers = await asyncio.gather(*sending)
    assert sum("result" in answer for answer in answers) == 4
    assert {refusal(answer) for answer in answers if "error" in answer} == {(Code.LIMIT_EXCEEDED, True)}
    assert len(gate.bundler.sent) == 4


async def test_what_the_bundler_refuses_gives_its_share_back(gate: RunningGate) -> None:
    take = gate.bundler.answers[SEND]
    gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund"})
    for number in range(4):
        answer = await gate.send(use_number(number))
        assert answer["error"] == {"code": -32500, "message": "AA21 didn't pay prefund"}
    gate.bundler.answers[SEND] = take
    for number in range(2):
        assert "result" in await gate.send(use_number(number))
    assert refusal(await gate.send(use_number(7))) == (Code.LIMIT_EXCEEDED, True)


async def test_a_bundler_that_cannot_be_reached_costs_nothing_and_the_caller_learns_it(gate: RunningGate) -> None:
    await gate.bundler.stop()
    for number in range(3):
        error = (await gate.send(use_number(number)))["error"]
        assert (error["code"], error["data"]["mayHaveBeenSent"]) == (Code.UPSTREAM_UNAVAILABLE, False)
    await gate.bundler.start()
    for number in range(2):
        assert "result" in await gate.send(use_number(number))


async def test_a_bundler_that_hangs_up_may_have_taken_it_and_the_share_stays_held(gate: RunningGate) -> None:
    gate.bundler.hang_up = True
    for number in range(2):
        error = (await gate.send(use_number(number)))["error"]
        assert error["data"]["mayHaveBeenSent"] is True
    gate.bundler.hang_up = False
    assert refusal(await gate.send(use_number(7))) == (Code.LIMIT_EXCEEDED, True)
    assert len(gate.bundler.sent) == 2


async def test_a_bundler_that_does_not_answer_in_time_may_have_taken_it() -> None:
    async with running_gate(limits={"request_seconds": "0.2"}) as gate:
        gate.running.registry.put(known(TWICE))
        gate.bundler.hold()
        error = (await gate.send(GOOD))["error"]
        assert error["data"]["mayHaveBeenSent"] is True
        gate.bundler.release()
        gate.bundler.mine(GOOD)
        uses = used_of(gate)
        await gate.until(lambda: used_of(gate) == uses + 1, "its receipt is found all the same")


def used_of(gate: RunningGate) -> int:
    session = gate.running.registry.get(key_of(TWICE))
    assert session is not None
    assert session.state is not None
    return sum(session.state.used.values())


async def test_the_same_operation_twice_uses_one_share(gate: RunningGate) -> None:
    assert [(await gate.send(GOOD))["result"] for _ in range(3)] == [hash_of(GOOD)] * 3
    assert "result" in await gate.send(use_number(1))
    assert refusal(await gate.send(use_number(2))) == (Code.LIMIT_EXCEEDED, True)


async def test_a_replacement_uses_the_share_of_what_it_replaces(gate: RunningGate) -> None:
    await gate.send(GOOD)
    assert "result" in await gate.send(use(TWICE, ONCE, max_fee_per_gas=3 * 10**9))
    assert "result" in await gate.send(use_number(1))
    assert "error" in await gate.send(use_number(2))


async def test_a_mined_operation_has_used_its_share_for_good_even_when_it_reverted(gate: RunningGate) -> None:
    await gate.send(GOOD)
    gate.bundler.mine(GOOD, success=False)
    await gate.until(lambda: used_of(gate) == 1, "it is settled")
    assert "result" in await gate.send(use_number(1))
    assert (await gate.send(use_number(2)))["error"]["code"] == Code.LIMIT_EXCEEDED


# sessions come and go


async def test_a_grant_is_in_force_once_it_is_mined_and_not_before() -> None:
    async with running_gate() as gate:
        grant = granting(TWICE)
        assert refusal(await gate.send(GOOD)) == (Code.SESSION_UNKNOWN, True)
        assert (await gate.send(grant))["result"] == hash_of(grant)
        answer = await gate.send(GOOD)
        assert refusal(answer) == (Code.SESSION_UNKNOWN, True)
        assert f"{hash_of(grant)}, which is not mined yet" in answer["error"]["message"]
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert (shown["status"], shown["grantedBy"]) == ("pending", hash_of(grant))
        gate.bundler.mine(grant)
        assert (await gate.send(GOOD))["result"] == hash_of(GOOD)
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert shown["status"] == "in_force"


async def test_a_receipt_that_a_client_fetches_brings_the_grant_into_force() -> None:
    async with running_gate(chain={"poll_seconds": "300"}) as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        name = gate.bundler.mine(grant)
        assert (await gate.ask(request(RECEIPT, name)))["result"]["success"] is True
        session = gate.running.registry.get(key_of(TWICE))
        assert session is not None
        assert session.status is Status.IN_FORCE


async def test_a_grant_that_failed_grants_nothing() -> None:
    async with running_gate() as gate:
        grant = granting(TWICE)
        await gate.send(grant)
        gate.bundler.mine(grant, success=False)
        await gate.until(lambda: status_of(gate) is Status.REMOVED, "it is settled")
        assert (await gate.send(GOOD))["error"]["code"] in (Code.SESSION_UNKNOWN, Code.SESSION_REVOKED)
        assert len(gate.bundler.sent) == 1


def status_of(gate: RunningGate) -> Status | None:
    session = gate.running.registry.get(key_of(TWICE))
    return None if session is None else session.status


async def test_a_grant_the_bundler_refused_grants_nothing() -> None:
    async with running_gate() as gate:
        gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA24 signature error"})
        await gate.send(granting(TWICE))
        assert status_of(gate) is None


async def test_an_enable_stands_once_it_is_mined_although_its_execution_reverted() -> None:
    async with running_gate() as gate:
        first = enabling(TWICE, ONCE)
        assert (await gate.send(first))["result"] == hash_of(first)
        assert refusal(await gate.send(use_number(1))) == (Code.SESSION_UNKNOWN, True)
        gate.bundler.mine(first, success=False)
        assert "result" in await gate.send(use_number(2))
        assert (await gate.send(use_number(3)))["error"]["code"] == Code.LIMIT_EXCEEDED


async def test_a_session_removed_through_the_gate_is_refused_once_that_is_mined(gate: RunningGate) -> None:
    removal = removing(TWICE)
    await gate.send(removal)
    (shown,) = (await gate.look("/sessions"))["sessions"]
    assert (shown["status"], shown["removalPending"]) == ("in_force", True)
    assert "result" in await gate.send(GOOD)
    gate.bundler.mine(removal)
    await gate.until(lambda: status_of(gate) is Status.REMOVED, "it is settled")
    assert refusal(await gate.send(use_number(1))) == (Code.SESSION_REVOKED, False)


async def test_a_freeze_refuses_at_once_and_lifting_it_restores(gate: RunningGate) -> None:
    frozen = await gate.change("POST", "/freezes", {"permissionId": SESSION_ID, "note": "lost phone"})
    assert frozen["permissionId"] == SESSION_ID
    answer = await gate.send(GOOD)
    assert refusal(answer) == (Code.SESSION_REVOKED, False)
    assert "lost phone" in answer["error"]["message"]
    assert (await gate.send(GOOD, ESTIMATE))["error"]["code"] == Code.SESSION_REVOKED
    assert await gate.metric("sessions", chain="soneium", state="frozen") == 1
    assert (await gate.change("DELETE", f"/freezes/{SESSION_ID}"))["lifted"] == 1
    assert "result" in await gate.send(GOOD)


@pytest.mark.parametrize(("setting", "passes"), [("reject", False), ("alert", True), ("allow", True)])
async def test_an_unknown_session_goes_as_the_settings_say(setting: str, passes: bool) -> None:
    async with running_gate(chain={"unknown_session": setting}) as gate:
        assert ("result" in await gate.send(GOOD)) is passes


async def test_a_strict_account_must_be_readable_throughout() -> None:
    opaque = an_operation(b"\x12\x34\x56\x78" + bytes(32), nonce=OWNER_NONCE, signature=b"\x0e" * 65)
    async with running_gate(chain={"strict_accounts": [print_checksummed(ACCOUNT)]}) as gate:
        assert (await gate.send(opaque))["error"]["code"] == Code.UNDECODABLE
        assert "result" in await gate.send(granting(TWICE))
    async with running_gate() as gate:
        assert "result" in await gate.send(opaque)


DECLARED = {
    "permissionId": SESSION_ID,
    "account": print_checksummed(ACCOUNT),
    "chain": "soneium",
    "sessionKey": print_checksummed(SESSION_KEY_ADDRESS),
    "actions": [{"target": print_checksummed(TOKEN), "selector": "transfer(address,uint256)", "maxUses": "1"}],
}


async def test_a_declared_session_works_without_a_node_as_often_as_declared() -> None:
    async with running_gate(sessions=[DECLARED]) as gate:
        assert (await gate.send(use(TWICE, ONCE, key=STRANGERS_KEY)))["error"]["code"] == Code.SESSION_SCOPE
        assert "result" in await gate.send(GOOD)
        assert refusal(await gate.send(use_number(1))) == (Code.LIMIT_EXCEEDED, True)


# the node


async def test_a_session_enabled_outside_the_gate_works_at_once(chain: FakeNode, node_url: str) -> None:
    put_session(chain, enabled(TWICE))
    async with running_gate(node_url=node_url) as gate:
        assert "result" in await gate.send(GOOD)
        (shown,) = (await gate.look("/sessions"))["sessions"]
        assert (shown["status"], shown["source"]) == ("in_force", "node")


async def test_a_session_the_chain_does_not_have_is_refused_after_one_reading(chain: FakeNode, node_url: str) -> None:
    async with running_gate(node_url=node_url) as gate:
        for number in range(5):
            assert refusal(await gate.send(use_number(number))) == (Code.SESSION_UNKNOWN, True)
        readings = [params for params in chain.calls_asked() if params[0]["data"].startswith("0x")]
        assert len(readings) == 2  # enabled or not, and its enable nonce


async def test_while_the_node_is_down_known_sessions_are_judged_and_others_are_doubt(bundler: HonestBundler) -> None:
    stranger = a_session(action(TOKEN, TRANSFER, usage(2)), salt=5)
    async with running_gate(bundler=bundler, node_url="http://127.0.0.1:9/") as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        assert refusal(await gate.send(OUTSIDE)) == (Code.SESSION_SCOPE, False)
        for number in range(2):
            answer = await gate.send(use(stranger, ONCE, nonce=lane(number)))
            assert refusal(answer) == (Code.STATE_UNAVAILABLE, True)
        assert await gate.metric("state_unavailable_total", what="node") == 2


async def test_with_a_node_the_chain_must_have_a_declared_session_too(chain: FakeNode, node_url: str) -> None:
    async with running_gate(node_url=node_url, sessions=[DECLARED]) as gate:
        assert refusal(await gate.send(GOOD)) == (Code.SESSION_UNKNOWN, True)
    put_session(chain, enabled(TWICE))
    async with running_gate(node_url=node_url, sessions=[DECLARED]) as gate:
        assert "result" in await gate.send(GOOD)


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
        await gate.until(lambda: not rows_of(tmp_path / "gate.db", "operations_in_flight"), "it is settled")
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db", sessions=[DECLARED]) as gate:
        assert refusal(await gate.send(use_number(1))) == (Code.LIMIT_EXCEEDED, False)


def rows_of(path: Path, table: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as reader:
        return list(reader.execute(f"SELECT * FROM {table}"))


async def test_an_operation_in_flight_is_on_disk_before_its_sender_hears_of_it(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    async with running_gate(bundler=bundler, ledger=tmp_path / "gate.db") as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
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
    before = {table: rows_of(ledger, table) for table in ("sessions", "operations_in_flight", "audit")}
    asked = len(bundler.requests)
    put_session(chain, enabled(TWICE))
    config = settings(bundler.url, node_url=node_url, ledger=f"sqlite://{ledger}")
    question = {"chain": "soneium", "operation": print_user_operation(GOOD), "entryPoint": ENTRY_POINT}
    decision = await asyncio.to_thread(explain_once, config, question)
    assert isinstance(decision.verdict, Reject)
    assert decision.verdict.first.code is Code.LIMIT_EXCEEDED
    grant_again = {**question, "operation": print_user_operation(granting(TWICE))}
    assert isinstance((await asyncio.to_thread(explain_once, config, grant_again)).verdict, Allow)
    assert {table: rows_of(ledger, table) for table in before} == before
    assert {request.method for request in bundler.requests[asked:]} <= {RECEIPT}


# secrets


async def test_no_key_and_no_signature_is_told_to_anyone(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clients = [{"name": "dapp", "api_key": "hush-client-key"}]
    ledger = tmp_path / "gate.db"
    heard: list[str] = []
    async with running_gate(
        bundler=bundler,
        ledger=ledger,
        node_url="http://127.0.0.1:9/",
        clients=clients,
        headers={"x-api-key": "hush-client-key"},
    ) as gate:
        gate.running.registry.put(known(TWICE))
        unsigned = replace(GOOD, signature=b"\0" + TWICE.permission_id + b"\x5e" * 65)
        unknown = use(a_session(action(TOKEN, TRANSFER, usage(2)), salt=5), ONCE)

        async def hear(body: object, **headers: str) -> None:
            heard.append((await gate.post(body, **headers))[1].decode())

        for op in (GOOD, OUTSIDE, unsigned, unknown, replace(GOOD, signature=b"\x07" + b"\x5e" * 64)):
            await hear(submission(op, SEND))
            await hear(submission(op, ESTIMATE))
        await hear(submission(GOOD), **{"x-api-key": "hush-wrong-key"})
        bundler.hang_up = True
        await hear(submission(use_number(1)))
        await bundler.stop()
        await hear(submission(use_number(2)))
        await hear(request("eth_chainId"))
        shown = ("/metrics", "/sessions", f"/sessions/{SESSION_ID}", "/freezes", "/audit")
        heard += [str(await gate.look(path)) for path in shown]
        async with gate.http.get(f"{gate.admin}/readyz") as response:
            heard.append(await response.text())
        await bundler.start()
    rows = [row.as_json() for row in read_audit(ledger)]
    assert len(rows) >= 10
    heard += [json.dumps(rows), caplog.text, repr(settings(bundler.url, node_url="http://127.0.0.1:9/"))]
    everything = "".join(heard)
    for secret in (BUNDLER_KEY, NODE_KEY, "hush", "5e" * 64, GOOD.signature[33:].hex(), OUTSIDE.signature[33:].hex()):
        assert secret not in everything, secret


async def test_the_settings_show_no_key() -> None:
    clients = [{"name": "dapp", "api_key": "hush-client-key"}]
    config = settings("https://bundler.example/rpc", node_url="https://node.example/v2", clients=clients)
    assert "hush" not in repr(config)
    assert "hush" not in str(config)


# ready or not


async def test_a_gate_is_ready_when_everything_it_needs_answers(gate: RunningGate) -> None:
    ready = await gate.look("/readyz")
    assert ready["ready"] is True
    assert {check["name"] for check in ready["checks"]} >= {"ledger", "upstream soneium"}


async def test_a_gate_without_its_bundler_is_not_ready(gate: RunningGate) -> None:
    await gate.bundler.stop()
    async with gate.http.get(f"{gate.admin}/readyz") as response:
        assert response.status == 503


async def test_two_chains_are_two_gates(bundler: HonestBundler) -> None:
    config: dict[str, Any] = {"chain_id": "10", "bundlers": [bundler.url], "poll_seconds": "0.05"}
    chains = {"soneium": {**config, "chain_id": "1"}, "other": config}
    async with running_gate(bundler=bundler, chains=chains) as gate:
        gate.running.registry.put(known(TWICE))
        assert "result" in await gate.send(GOOD)
        async with gate.http.post(
            f"http://127.0.0.1:{gate.running.rpc_port}/other", json=submission(use_number(1))
        ) as response:
            # its operation hash is another there, and so is its session
            assert (await response.json())["error"]["code"] == Code.SESSION_UNKNOWN
