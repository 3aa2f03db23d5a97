"""What a bundler refused and a client hands in again at once, by whatever way, reaches the bundler once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.refused_before import REMEMBERED_SECONDS, RefusedBefore
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known
from tests.app.builders import audited, use_number
from tests.bypass_list.desk import an_operation, single
from tests.edge.recording_bundler import Answer
from tests.patience import patiently
from tests.running_gate import SEND, RunningGate, request, running_gate, submission
from tests.session.builders import transfer

HEADER = "X-Sessiongate-Decision-Id"
REFUSAL = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund", "data": {"why": [1]}})
AGAIN = 4
"""A first time and three times more, as viem does."""


@dataclass
class Watch:
    """The time by which refusals are forgotten; a test winds it, so that no machine is too slow."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    wound = Watch()
    monkeypatch.setattr("proxy.app.chain.RefusedBefore", lambda _: RefusedBefore(wound))
    return wound


@pytest.fixture(params=["enforce", "shadow", "off"])
async def gate(request: pytest.FixtureRequest, watch: Watch) -> AsyncIterator[RunningGate]:
    async with running_gate(mode=request.param) as made:
        made.running.registry.put(known(TWICE))
        yield made


@pytest.fixture
async def enforcing(watch: Watch) -> AsyncIterator[RunningGate]:
    async with running_gate() as made:
        made.running.registry.put(known(TWICE))
        yield made


@contextmanager
def refusing(gate: RunningGate) -> Iterator[None]:
    """The bundler refuses what is handed in meanwhile, and is as honest as ever after it."""
    honest = gate.bundler.answers[SEND]
    gate.bundler.answers[SEND] = REFUSAL
    yield
    gate.bundler.answers[SEND] = honest


async def by_post(gate: RunningGate, op: UserOperation) -> list[Any]:
    return [await gate.send(op) for _ in range(AGAIN)]


async def by_socket(gate: RunningGate, op: UserOperation) -> list[Any]:
    async with gate.http.ws_connect(gate.url.replace("http", "ws")) as socket:
        answers = []
        for _ in range(AGAIN):
            await socket.send_json(submission(op))
            answers.append(await socket.receive_json())
        return answers


async def by_batch(gate: RunningGate, op: UserOperation) -> list[Any]:
    batch = [submission(op), request("eth_chainId", request_id=2)]
    return [(await gate.ask(batch))[0] for _ in range(AGAIN)]


OPERATIONS = {
    "a session's": use_number(1),
    "a foreign one": an_operation(single(transfer(1)), nonce=1 << 64, signature=b"\1" * 65),
}


@pytest.mark.parametrize("way", [by_post, by_socket, by_batch], ids=lambda way: way.__name__)
@pytest.mark.parametrize("whose", OPERATIONS)
async def test_it_hears_the_same_answer_and_the_bundler_hears_of_it_once(
    gate: RunningGate, way: Any, whose: str
) -> None:
    with refusing(gate):
        answers = await way(gate, OPERATIONS[whose])
    assert answers == [{"jsonrpc": "2.0", "id": 1, "error": REFUSAL.error}] * AGAIN
    assert len(gate.bundler.sent) == 1
    assert await gate.metric("refusals_repeated_total", chain="soneium") == AGAIN - 1


async def test_it_holds_nothing_and_is_judged_no_second_time(enforcing: RunningGate) -> None:
    with refusing(enforcing):
        await by_post(enforcing, use_number(1))
    assert len(await audited(enforcing, 1)) == 1
    verdicts = await enforcing.metric("verdicts_total", chain="soneium", code="allow", mode="enforce")
    ended = await enforcing.metric("operations_ended_total", chain="soneium", cause="refused")
    assert (verdicts, ended) == (1, 1)
    assert await enforcing.metric("operations_in_flight", chain="soneium") == 0


async def test_each_names_the_decision_it_was_sent_by_and_the_audit_tells_of_it_once(enforcing: RunningGate) -> None:
    named: Counter[str] = Counter()
    with refusing(enforcing):
        for _ in range(AGAIN):
            async with enforcing.http.post(enforcing.url, json=submission(use_number(1))) as response:
                named[response.headers[HEADER]] += 1
    ((decision_id, times),) = named.items()
    assert times == AGAIN
    (row,) = await audited(enforcing, 1)
    assert row["decisionId"] == decision_id
    (deed,) = await deeds(enforcing)
    assert deed["detail"]["decision_id"] == decision_id
    assert deed["detail"]["who"] == "anonymous"
    assert deed["detail"]["what"] == "refused_operation_repeated"


async def deeds(gate: RunningGate) -> list[Any]:
    for _ in patiently():
        if told := (await gate.look("/audit?show=deeds"))["audit"]:
            return list(told)
        await asyncio.sleep(0.01)
    raise AssertionError("nothing of it is in the audit")


async def test_when_two_seconds_are_over_what_is_cured_goes_through(gate: RunningGate, watch: Watch) -> None:
    op = use_number(1)
    with refusing(gate):
        await gate.send(op)
    assert "error" in await gate.send(op)
    watch.now += REMEMBERED_SECONDS
    assert "error" not in await gate.send(op)
    assert len(gate.bundler.sent) == 2


async def test_what_waited_for_another_of_its_account_goes_through_when_that_one_is_taken(gate: RunningGate) -> None:
    later, sooner = use_number(2), use_number(1)
    with refusing(gate):
        await gate.send(later)
    assert "error" not in await gate.send(sooner)
    assert "error" not in await gate.send(later)


async def test_what_waited_for_another_of_its_account_goes_through_when_that_one_is_mined(
    enforcing: RunningGate,
) -> None:
    later, sooner = use_number(2), use_number(1)
    await enforcing.send(sooner)
    with refusing(enforcing):
        await enforcing.send(later)
    user_op_hash = enforcing.bundler.mine(sooner)
    await enforcing.ask(request("eth_getUserOperationReceipt", user_op_hash))
    for _ in patiently():
        if await enforcing.metric("operations_ended_total", chain="soneium", cause="mined"):
            break
        await asyncio.sleep(0.01)
    assert "error" not in await enforcing.send(later)


async def test_an_estimate_is_no_operation_handed_in(gate: RunningGate) -> None:
    op = use_number(1)
    with refusing(gate):
        await gate.send(op)
    gate.bundler.answers["eth_estimateUserOperationGas"] = Answer(result={"callGasLimit": "0x1"})
    assert "result" in await gate.send(op, "eth_estimateUserOperationGas")


async def test_a_gateway_that_turns_it_away_has_refused_nothing(gate: RunningGate) -> None:
    op = use_number(1)
    gate.bundler.answers[SEND] = Answer(error={"code": -32005, "message": "slow down"}, status=429)
    for _ in range(2):
        _, raw = await gate.post(submission(op))
        assert json.loads(raw)["error"]["code"] == -32005
    assert len(gate.bundler.sent) == 2
