"""Shares of a limit, held from the verdict to the receipt, whatever the bundler does in between."""

from __future__ import annotations

import asyncio

from proxy.errors import Code
from tests.admission.builders import (
    TWICE,
    known,
    lane,
)
from tests.app.builders import (
    GOOD,
    ONCE,
    refusal,
    use_number,
    used_of,
)
from tests.bypass_list.desk import a_session, use
from tests.edge.recording_bundler import Answer
from tests.running_gate import (
    SEND,
    RunningGate,
    hash_of,
    running_gate,
)
from tests.session.builders import TOKEN, TRANSFER, action, usage


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
    for number in range(4, 6):
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


async def test_an_operator_lets_go_of_a_hold_by_name_and_with_a_reason(gate: RunningGate) -> None:
    gate.bundler.hang_up = True
    await gate.send(GOOD)
    gate.bundler.hang_up = False
    path = f"/operations/{hash_of(GOOD)}/release"
    assert "note" in (await gate.change("POST", path, {}))["error"]
    assert await gate.change("POST", path, {"note": "its bundler is gone"}) == {"released": True}
    assert "error" in await gate.change("POST", path, {"note": "again"})
    assert await gate.metric("operations_ended_total", chain="soneium", cause="released") == 1
    for number in (1, 2):
        assert "result" in await gate.send(use_number(number)), "its share is free"
