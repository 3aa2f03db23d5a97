"""What a client posts and what the bundler receives: our own print, one operation at a time, in every mode."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.primitives import print_checksummed
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import (
    TWICE,
    known,
)
from tests.app.builders import (
    GOOD,
    ONCE,
    OUTSIDE,
    SESSION_ID,
    audited,
    use_number,
)
from tests.bypass_list.desk import an_operation, single
from tests.running_gate import (
    ENTRY_POINT,
    ESTIMATE,
    GAS,
    SEND,
    RunningGate,
    hash_of,
    request,
    running_gate,
    submission,
)
from tests.session.builders import ACCOUNT, transfer

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


async def test_operations_under_a_kernel_permission_pass_and_are_counted_as_enforced_by_nobody_here(
    gate: RunningGate,
) -> None:
    permission = int.from_bytes(bytes.fromhex("0002765eb9c3") + bytes(26), "big")
    elsewhere = {"chain": "soneium", "product": "kernel_permission"}
    assert await gate.metric("enforced_elsewhere_total", **elsewhere) == 0
    op = an_operation(single(transfer(1)), nonce=permission, signature=b"\x5e" * 65)
    assert "result" in await gate.send(op)
    assert "result" in await gate.send(GOOD)
    rows = {row["userOpHash"]: row["notes"] for row in await audited(gate, 2)}
    assert any("0x765eb9c3 of a Kernel account, which is not enforced here" in note for note in rows[hash_of(op)])
    assert not any("Kernel" in note for note in rows[hash_of(GOOD)])
    assert await gate.metric("enforced_elsewhere_total", **elsewhere) == 1
