"""What an operation holds is given back when it is refused and kept when it is, or may be, on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.errors import Code
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Reject
from proxy.methods import METHODS, MethodClass
from proxy.ports import RequestOutcome
from proxy.session.freezes import Freeze
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, enabling, granting, lane
from tests.bypass_list.desk import single, use
from tests.gate_parts import (
    ESTIMATE,
    GOOD,
    HASH,
    TIMED_OUT,
    UNREACHED,
    Answered,
    Scene,
    error,
    result,
    scene,
)
from tests.session.builders import NOW, transfer

SUBMITS = [name for name, method in METHODS.items() if method.method_class is MethodClass.SUBMIT]
PREVIEWS = [name for name, method in METHODS.items() if method.method_class is MethodClass.PREVIEW]
PASSES = [name for name, method in METHODS.items() if method.method_class is MethodClass.PASS]

# what is held


async def test_of_ten_at_once_exactly_as_many_are_sent_as_the_limit_allows() -> None:
    gate = scene()
    answers = await asyncio.gather(*(gate.send(replace_nonce(number)) for number in range(10)))
    assert len(gate.upstream.sent) == 2
    assert sum("result" in answer for answer in answers) == 2
    assert {answer["error"]["code"] for answer in answers if "error" in answer} == {Code.LIMIT_EXCEEDED}


def replace_nonce(number: int) -> UserOperation:
    return use(TWICE, single(transfer(1)), nonce=lane(number))


async def test_an_accepted_operation_keeps_what_it_holds() -> None:
    gate = scene()
    await gate.send(GOOD)
    ((operation, reservation, nonce),) = gate.follower.accepted_
    assert (operation.op, nonce) == (GOOD, None)
    assert reservation is not None
    assert len(gate.room.ledger) == 1
    assert gate.recorder.answers == [("d-1", UpstreamAnswer(result=HASH))]


async def test_the_enable_nonce_goes_with_an_accepted_grant() -> None:
    gate = Scene()
    await gate.send(enabling(TWICE, single(transfer(1)), enable_nonce=4))
    ((_, _, nonce),) = gate.follower.accepted_
    assert nonce == 4


async def test_what_the_bundler_refuses_holds_nothing() -> None:
    gate = scene()
    gate.upstream.answers = [error(-32500, "AA23 reverted"), error(-32500, "AA23 reverted"), result(HASH)]
    for number in range(2):
        answer = await gate.send(replace_nonce(number))
        assert answer["error"] == {"code": -32500, "message": "AA23 reverted"}
    assert len(gate.room.ledger) == 0
    assert not gate.follower.accepted_
    refusal = UpstreamAnswer(error_code=-32500, error_message="AA23 reverted")
    assert gate.recorder.answers[0] == ("d-1", refusal)
    assert [answer for _, answer in gate.follower.refused_] == [refusal] * 2
    assert gate.recorder.outcomes == [RequestOutcome.UPSTREAM_ERROR] * 2
    await gate.send(replace_nonce(2))
    assert len(gate.room.ledger) == 1


async def test_what_never_left_holds_nothing_and_the_caller_is_told() -> None:
    gate = scene()
    gate.upstream.answers = [UNREACHED]
    refused = (await gate.send(GOOD))["error"]
    assert (refused["code"], refused["data"]["mayHaveBeenSent"]) == (Code.UPSTREAM_UNAVAILABLE, False)
    assert len(gate.room.ledger) == 0
    assert not gate.follower.accepted_
    assert gate.recorder.outcomes == [RequestOutcome.UNAVAILABLE]
    assert gate.recorder.answers == [("d-1", UpstreamAnswer(error_message=UNREACHED.problem))]


async def test_what_may_have_left_keeps_what_it_holds_and_the_caller_is_told() -> None:
    gate = scene()
    gate.upstream.answers = [TIMED_OUT]
    refused = (await gate.send(GOOD))["error"]
    assert refused["data"]["mayHaveBeenSent"] is True
    assert len(gate.room.ledger) == 1
    assert len(gate.follower.accepted_) == 1


async def test_an_estimate_nobody_answered_keeps_nothing() -> None:
    gate = scene()
    gate.upstream.answers = [TIMED_OUT]
    refused = (await gate.send(GOOD, ESTIMATE))["error"]
    assert "mayHaveBeenSent" not in refused["data"]
    assert not gate.follower.accepted_
    assert gate.recorder.answers == [("d-1", UpstreamAnswer(error_message=TIMED_OUT.problem))]


async def test_the_same_operation_twice_is_one_reservation_and_a_second_refusal_does_not_undo_it() -> None:
    gate = scene()
    gate.upstream.answers = [result(HASH), error(-32602, "already known")]
    await gate.send(GOOD)
    await gate.send(GOOD)
    assert len(gate.room.ledger) == 1
    assert "result" in await send_after(gate, replace_nonce(8), result("0x1"))
    assert (await gate.send(replace_nonce(9)))["error"]["code"] == Code.LIMIT_EXCEEDED


async def send_after(gate: Scene, op: UserOperation, answer: Answered) -> Any:
    gate.upstream.answers = [answer]
    return await gate.send(op)


async def test_a_replacement_takes_no_second_share() -> None:
    gate = scene()
    await gate.send(GOOD)
    await gate.send(use(TWICE, single(transfer(1)), max_fee_per_gas=3 * 10**9))
    assert "result" in await gate.send(replace_nonce(8))


async def test_a_session_frozen_while_its_operation_was_written_down_is_not_sent() -> None:
    gate = scene()
    freeze = Freeze(permission_id=TWICE.permission_id, since=float(NOW))
    gate.follower.on_holding = lambda: gate.room.registry.freezes.put(freeze)
    assert (await gate.send(GOOD))["error"]["code"] == Code.SESSION_REVOKED
    assert not gate.upstream.sent
    assert len(gate.room.ledger) == 0
    ((decision, forwarding),) = gate.recorder.decisions
    assert isinstance(decision.verdict, Reject)
    assert not forwarding


async def test_an_owners_operation_is_followed_for_what_it_grants() -> None:
    gate = Scene()
    await gate.send(granting(TWICE))
    ((operation, reservation, _),) = gate.follower.accepted_
    assert operation.acts
    assert reservation is not None
    assert (reservation.session, reservation.charges, reservation.rule_charges) == (None, (), ())


async def test_a_submission_that_waits_for_its_receipt_settles_with_it() -> None:
    gate = scene()
    receipt = {"userOpHash": HASH, "success": True, "receipt": {"blockNumber": "0x1"}}
    gate.upstream.answers = [result(receipt)]
    assert (await gate.send(GOOD, "pimlico_sendUserOperationNow"))["result"] == receipt
    assert len(gate.follower.accepted_) == 1
    assert gate.follower.observed == [receipt]
    assert gate.recorder.answers == [("d-1", UpstreamAnswer(result="receipt"))]


async def test_an_answer_that_tells_of_something_mined_is_noticed_and_no_other() -> None:
    gate = scene()
    receipt, found = {"userOpHash": HASH, "success": True}, {"blockNumber": "0x1"}
    gate.upstream.answers = [result(receipt), result(None), error(-32601, "not yet"), result(found), result(receipt)]
    for _ in range(3):
        await gate.ask("eth_getUserOperationReceipt", HASH)
    await gate.ask("eth_getUserOperationByHash", HASH)
    await gate.ask("skandha_config")
    assert gate.follower.observed == [receipt, found]


async def test_a_bundler_that_names_the_operation_otherwise_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    gate = scene()
    gate.upstream.answers = [result("0x" + "00" * 32)]
    await gate.send(GOOD)
    assert "soneium#0 names the operation of decision d-1 otherwise" in caplog.text
    caplog.clear()
    await send_after(gate, GOOD, result(HASH))
    assert not caplog.text


async def test_an_estimates_answer_is_on_record_as_what_it_is() -> None:
    gate = scene()
    gate.upstream.answers = [result({"callGasLimit": "0x1"})]
    await gate.send(GOOD, ESTIMATE)
    assert gate.recorder.answers == [("d-1", UpstreamAnswer(result="preview"))]
