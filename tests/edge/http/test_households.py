"""However much one household has answered at once, in batches or over WebSockets, others wait for one thing of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.listener import Transport
from proxy.jsonrpc import Request
from proxy.ports import Answer, RequestContext
from tests.edge.http.corpus import post
from tests.edge.http.peers import EchoGate, listener, until
from tests.edge.http.test_intake import frame
from tests.edge.http.test_websocket import HANDSHAKE
from tests.virtual_time import run


@dataclass
class TurnedGate(EchoGate):
    """Notes in which turn of the loop it was asked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.turn = 0
        self.begun: list[int] = []

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    async def answer(self, request: Request, context: RequestContext) -> Answer | None:
        self.begun.append(self.turn)
        return await super().answer(request, context)


def many(count: int) -> bytes:
    return json.dumps([{"jsonrpc": "2.0", "id": number, "method": "echo"} for number in range(count)]).encode()


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("said", [post(many(20)), HANDSHAKE + frame(many(20))], ids=["batches", "WebSockets"])
async def test_of_all_batches_of_one_household_one_element_begins_in_a_turn_of_the_loop(
    transport: Transport, said: bytes
) -> None:
    gate = TurnedGate()
    async with listener(gate, transport) as line:
        counting = asyncio.create_task(gate.count_turns())
        for _ in range(5):
            await line.peer(said)
        await until(lambda: len(gate.begun) == 100)
        counting.cancel()
    # a turn is counted in the midst of it: what begins before that and what began after it in the last show one number
    assert all(later > earlier for earlier, later in pairwise(gate.begun[::2]))
    assert all(later > earlier for earlier, later in pairwise(gate.begun[1::2]))
    assert len(set(gate.begun)) > 80


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("said", [post(many(20)), HANDSHAKE + frame(many(20))], ids=["batches", "WebSockets"])
async def test_of_one_household_no_more_are_answered_at_once_than_it_may_have_connections(
    transport: Transport, said: bytes
) -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate, transport, connections_per_peer=10) as line:
        for _ in range(8):
            await line.peer(said)
        await until(lambda: len(gate.asked) == 10)
        alone = await line.peer(post())
        await until(lambda: len(gate.asked) == 11)  # who has one thing to ask is not kept waiting
        gate.open.set()
        assert (await alone.hear())[0] == 200
        await until(lambda: len(gate.asked) == 161)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 12)), max_size=30),
)
def test_whoever_leaves_or_is_given_up_leaves_its_place(most: int, asked: list[tuple[str, int, int]]) -> None:
    turns = HouseholdTurns(most)
    at_hand = dict.fromkeys("abc", 0)

    async def one(household: str, seconds: int) -> None:
        async with turns.turn(household):
            at_hand[household] += 1
            assert at_hand[household] <= most
            try:
                await asyncio.sleep(seconds)
            finally:
                at_hand[household] -= 1

    async def given_up(wait: Coroutine[None, None, None], seconds: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wait

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for household, seconds, patience in asked:
                group.create_task(given_up(one(household, seconds), patience))

    async def and_a_turn_later() -> None:
        await all_of_them()
        await asyncio.sleep(0)

    run(and_a_turn_later())
    assert all(each.is_idle for each in turns._households.values())


async def test_what_waits_of_a_batch_has_no_task() -> None:
    gate = EchoGate()
    gate.open.clear()
    async with listener(gate) as line:
        before = len(asyncio.all_tasks())
        for _ in range(20):
            await line.peer(post(many(40)))
        await until(lambda: len(gate.asked) == 20 * 8)
        assert len(asyncio.all_tasks()) - before <= 20 * 9
        gate.open.set()
        await until(lambda: len(gate.asked) == 20 * 40)


def _break_promise() -> None:
    raise RuntimeError("a promise is broken")


async def test_a_fault_in_what_stood_in_line_costs_nobody_else_his_turn() -> None:
    turns, served = HouseholdTurns(4, clock=lambda: 0.0), list[str]()

    def begin_again() -> None:
        turns.begin("one", lambda: served.append("begun in its own turn"))

    turns.charge("one", 1.0)
    assert turns.is_due
    turns.begin("one", _break_promise)
    turns.begin("one", begin_again)
    turns.begin("one", lambda: served.append("the last"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (sorted(served), turns.is_due) == (["begun in its own turn", "the last"], False)


async def test_what_begins_in_the_turn_of_the_only_one_in_line_has_its_own_turn_after_it() -> None:
    turns, served = HouseholdTurns(4, clock=lambda: 0.0), list[str]()
    turns.charge("one", 1.0)
    turns.begin("one", lambda: turns.begin("one", lambda: served.append("its own")))
    for _ in range(10):
        await asyncio.sleep(0)
    turns.charge("one", 1.0)
    turns.begin("one", lambda: served.append("later"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (served, turns.is_due) == (["its own", "later"], False)
