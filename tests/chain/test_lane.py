"""A question to a node that was put has an end, whatever becomes of its way there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from proxy.chain.asking import Question, Response
from proxy.chain.lane import Lane
from proxy.chain.several import SeveralAsking
from proxy.errors import StateUnavailable
from tests.patience import PATIENCE_SECONDS

QUESTION = Question("eth_chainId", [])


class FaultyAsking:
    """Breaks a promise as often as it has `faults`: what it raises is not what it may. Then it answers."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults = list(faults)
        self.asked = 0

    async def one(self, _question: Question) -> Response:
        self.asked += 1
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        return {"result": "0x1"}

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        answer = await self.one(questions[0])
        return [answer for _ in questions]

    def tell_heads(self, _heard: Callable[[object], None]) -> None:
        return None

    async def close(self) -> None:
        return None


def _lane(asking: FaultyAsking | SeveralAsking) -> Lane:
    return Lane(asking, timeout_seconds=PATIENCE_SECONDS, places=1)


@pytest.mark.parametrize(
    "fault", [RuntimeError("Session is closed"), KeyError("id"), asyncio.CancelledError()], ids=repr
)
@pytest.mark.parametrize("many", [1, 2])
async def test_a_fault_on_the_way_to_a_node_is_a_missing_fact_and_breaks_off_nobody_who_asked(
    fault: BaseException, many: int
) -> None:
    lane = _lane(FaultyAsking(*[fault] * (1 + many)))  # together, and then each by itself
    asking = [asyncio.create_task(lane.ask(QUESTION, f"question {number}")) for number in range(many)]
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in ended] == [StateUnavailable] * many
    assert not any(each.cancelled() for each in asking)


async def test_what_waited_behind_a_question_whose_way_broke_is_asked_all_the_same() -> None:
    lane = _lane(FaultyAsking(RuntimeError("Session is closed")))
    first = asyncio.create_task(lane.ask(QUESTION, "the first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it is on its way by itself
    behind = asyncio.create_task(lane.ask(QUESTION, "the second"))
    assert [type(each) for each in await asyncio.gather(first, return_exceptions=True)] == [StateUnavailable]
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await behind == {"result": "0x1"}


async def test_whoever_asks_a_lane_that_is_closed_meanwhile_is_told_so_and_not_broken_off() -> None:
    lane = _lane(FaultyAsking())
    asking = [asyncio.create_task(lane.ask(QUESTION, "a question")) for _ in range(40)]
    await asyncio.sleep(0)
    await lane.close()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in ended} == {StateUnavailable}


async def test_an_exchange_that_is_broken_off_from_within_is_no_answer_of_that_node_and_another_is_asked() -> None:
    faulty, well = FaultyAsking(asyncio.CancelledError()), FaultyAsking()
    assert await _lane(SeveralAsking([faulty, well])).ask(QUESTION, "a question") == {"result": "0x1"}
    assert (faulty.asked, well.asked) == (1, 1)
