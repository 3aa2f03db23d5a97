"""An error is not a refusal: what a bundler may have taken stays held until somebody knows better."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Code
from proxy.methods import METHODS, MethodClass
from proxy.session.known import Status
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, enabling, known
from tests.app.builders import GOOD, ONCE, status_of, use_number, used_of
from tests.bypass_list.desk import use
from tests.edge.recording_bundler import Answer
from tests.running_gate import SEND, RunningGate, hash_of, running_gate, submission

SUBMITS = sorted(name for name, method in METHODS.items() if method.method_class is MethodClass.SUBMIT)
ONE_A_DAY = """
rules:
  - id: one-a-day
    description: A session sends one operation a day.
    mode: enforce
    limit: {count: ops, max: 1, per: session, window: 24h}
"""
TIMED_OUT_WAITING = b'{"jsonrpc":"2.0","id":{id},"error":{"message":"Timed out while waiting for transaction with"}}'


def error(code: int, message: str, status: int = 200) -> Answer:
    return Answer(error={"code": code, "message": message}, status=status)


MAY_BE_THERE = {
    "HTTP 500 without a code": Answer(raw=TIMED_OUT_WAITING, status=500),
    "HTTP 504 with a JSON error": error(-32000, "upstream timed out", 504),
    "an internal error": error(-32603, "Internal error"),
    "already known": error(-32602, "Already known"),
    "already known, by a gateway": error(-32602, "Invalid fields, reason: Already known"),
    "a bundle that came to nothing": error(-32602, "unhandled error during bundle submission"),
    "perhaps itself in the mempool": error(-32602, "User op cannot be replaced: fee too low"),
    "null": Answer(result=None),
    "another hash": Answer(result="0x" + "ab" * 32),
    "HTML under 502": Answer(raw=b"<html>", status=502, content_type="text/html"),
}
IS_NOT_THERE = {
    "rejected by the entry point": error(-32500, "AA23 reverted: already known"),
    "rejected by the entry point under HTTP 500": error(-32500, "AA23 reverted", 500),
    "the account is there, the operation is not": error(-32500, "AA10 sender already constructed"),
    "invalid fields": error(-32602, "preVerificationGas is not enough, required: 2, got: 1"),
    "a precheck": error(-32000, "precheck failed: maxFeePerGas is 1 but must be at least 2"),
    "no key": error(-32603, "unauthorized", 401),
    "HTML under 401": Answer(raw=b"<html>", status=401, content_type="text/html"),
    "HTML under 403": Answer(raw=b"<html>", status=403, content_type="text/html"),
    "nothing under 429": Answer(raw=b"", status=429, content_type="text/plain"),
}


@pytest.fixture
async def ruled(tmp_path: Path) -> AsyncIterator[RunningGate]:
    """A gate without a node, one session, one enforcing rule."""
    path = tmp_path / "own.yaml"
    path.write_text(ONE_A_DAY)
    async with running_gate(rules=[str(path)]) as gate:
        gate.running.registry.put(known(TWICE))
        yield gate


async def told(gate: RunningGate, op: UserOperation, method: str = SEND) -> dict[str, Any]:
    """The answer to an operation, under whatever HTTP status."""
    _, raw = await gate.post(submission(op, method))
    answer: dict[str, Any] = json.loads(raw)
    return answer


async def can_send_another(gate: RunningGate, method: str = SEND) -> bool:
    """Whether the rule's one operation is still free."""
    gate.bundler.answers[method] = gate.bundler.answers["boost_sendUserOperation"]
    answer = await gate.send(use_number(1), method)
    assert "result" in answer or answer["error"]["code"] == Code.RULE_REJECTED
    return "result" in answer


@pytest.mark.parametrize("answer", MAY_BE_THERE)
async def test_what_may_be_on_its_way_stays_held_and_is_looked_for(ruled: RunningGate, answer: str) -> None:
    ruled.bundler.answers[SEND] = MAY_BE_THERE[answer]
    await told(ruled, GOOD)
    assert not await can_send_another(ruled)
    await ruled.until(lambda: "eth_getUserOperationReceipt" in ruled.bundler.methods, "its receipt is asked for")


@pytest.mark.parametrize("answer", IS_NOT_THERE)
async def test_what_was_refused_holds_nothing(ruled: RunningGate, answer: str) -> None:
    ruled.bundler.answers[SEND] = IS_NOT_THERE[answer]
    await told(ruled, GOOD)
    assert await can_send_another(ruled)


@pytest.mark.parametrize("method", SUBMITS)
async def test_it_is_so_for_every_method_that_submits(ruled: RunningGate, method: str) -> None:
    take = ruled.bundler.answers["boost_sendUserOperation"]
    ruled.bundler.answers[method] = MAY_BE_THERE["HTTP 500 without a code"]
    await told(ruled, GOOD, method)
    ruled.bundler.answers["boost_sendUserOperation"] = take
    assert not await can_send_another(ruled)


async def test_the_answer_arrives_as_the_bundler_gave_it(ruled: RunningGate) -> None:
    ruled.bundler.answers[SEND] = MAY_BE_THERE["already known"]
    assert (await ruled.send(GOOD))["error"] == {"code": -32602, "message": "Already known"}


async def test_first_an_error_without_a_code_then_already_known(ruled: RunningGate) -> None:
    for answer in ("HTTP 500 without a code", "already known"):
        ruled.bundler.answers[SEND] = MAY_BE_THERE[answer]
        await told(ruled, GOOD)
    assert not await can_send_another(ruled)


async def test_a_refused_resend_does_not_give_back_what_the_first_send_may_have_brought_in(ruled: RunningGate) -> None:
    for answer in (MAY_BE_THERE["HTTP 500 without a code"], error(-32500, "AA25 invalid account nonce")):
        ruled.bundler.answers[SEND] = answer
        await told(ruled, GOOD)
    assert not await can_send_another(ruled)


async def test_once_mined_it_is_counted_for_good(ruled: RunningGate) -> None:
    ruled.bundler.answers[SEND] = MAY_BE_THERE["HTTP 500 without a code"]
    await told(ruled, GOOD)
    ruled.bundler.mine(GOOD)
    await ruled.until(lambda: used_of(ruled) == 1, "it is settled")
    assert not await can_send_another(ruled)


@pytest.mark.parametrize("answer", MAY_BE_THERE)
async def test_an_enable_that_was_mined_after_such_an_answer_comes_into_force(answer: str) -> None:
    async with running_gate() as gate:
        first = enabling(TWICE, ONCE)
        gate.bundler.answers[SEND] = MAY_BE_THERE[answer]
        await told(gate, first)
        gate.bundler.answers[SEND] = gate.bundler.answers["boost_sendUserOperation"]
        assert status_of(gate) is Status.PENDING
        gate.bundler.mine(first)
        await gate.until(lambda: status_of(gate) is Status.IN_FORCE, "the session is in force")
        then = use(TWICE, ONCE, nonce=use_number(1).nonce)
        assert (await gate.send(then))["result"] == hash_of(then)
