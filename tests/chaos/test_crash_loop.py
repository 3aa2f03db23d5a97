"""kill -9 at random moments under load: no reservation is lost, none counts twice, nothing is overspent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp

from proxy.errors import Code
from proxy.userop.primitives import Hash32
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.bypass_list.desk import reading
from tests.chaos.gates import (
    GateProcess,
    a_nursery,
    a_transfer,
    in_flight_on_disk,
    send,
    spender,
    until_ready,
    used_on_disk,
)
from tests.chaos.world import Spending, World

LIVES = 60
LIVES_OF_A_SESSION = 12
LIMIT = 150
CLIENTS = 6
GRANTS = [spender(LIMIT, salt=1 + index) for index in range(LIVES // LIVES_OF_A_SESSION)]


def operations(random: Random, grant: SessionData, number: Iterator[int]) -> Iterator[UserOperation]:
    """New operations, and now and then one that was sent before."""
    sent: list[UserOperation] = []
    while True:
        if sent and random.random() < 0.15:
            yield random.choice(sent)
        else:
            sent.append(a_transfer(grant, next(number), random.randint(1, 3)))
            yield sent[-1]


@dataclass
class Seen:
    """What the clients sent, the codes of refusals, and how often they heard nothing."""

    codes: set[int] = field(default_factory=set)
    sent: dict[Hash32, UserOperation] = field(default_factory=dict)
    unanswered: int = 0


async def load(client: aiohttp.ClientSession, url: str, ops: Iterator[UserOperation], seen: Seen) -> None:
    """One client that never stops; when the gate does not answer it goes on with the next operation."""
    while True:
        op = next(ops)
        seen.sent[reading(op).user_op_hash] = op
        answer = await send(client, url, op)
        if answer is None:
            seen.unanswered += 1
            await asyncio.sleep(0.01)
        elif "error" in answer:
            seen.codes.add(answer["error"]["code"])
            if answer["error"]["code"] == Code.LIMIT_EXCEEDED:
                await asyncio.sleep(0.005)


async def one_life(gate: GateProcess, world: World, random: Random, ops: Iterator[UserOperation], seen: Seen) -> None:
    gate.start()
    async with aiohttp.ClientSession() as client:
        clients = [asyncio.create_task(load(client, gate.url, ops, seen)) for _ in range(CLIENTS)]
        left = random.uniform(0.02, 0.35)
        while left > 0:
            await asyncio.sleep(min(left, 0.03))
            left -= 0.03
            world.mine(0.1)
        await asyncio.to_thread(gate.end)
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def quiet(gate: GateProcess) -> None:
    """Until the gate has seen the end of all that was in flight."""
    async with asyncio.timeout(30):
        while await asyncio.to_thread(in_flight_on_disk, gate):  # noqa: ASYNC110  # it is another process's to say
            await asyncio.sleep(0.05)


async def crash_and_recover(gate: GateProcess, world: World, random: Random) -> Seen:
    numbers, seen = iter(range(1, 1_000_000)), Seen()
    async with world.bundler() as bundler:
        gate.bundler = bundler.url
        for index in range(LIVES):
            grant = GRANTS[index // LIVES_OF_A_SESSION]
            if index % LIVES_OF_A_SESSION == 0:
                ops = operations(random, grant, numbers)
            await one_life(gate, world, random, ops, seen)
        world.troubled = False
        world.mine(1.0)
        gate.start()
        async with aiohttp.ClientSession() as client:
            await until_ready(client, gate)
            # of some neither their arrival nor their refusal was written down: those come again, as clients do it
            for user_op_hash in await asyncio.to_thread(in_flight_on_disk, gate):
                await send(client, gate.url, seen.sent[user_op_hash])
            world.mine(1.0)
            await quiet(gate)
            for grant in GRANTS:
                await spend_the_rest(client, gate, world, grant, numbers)
            world.mine(1.0)
            await quiet(gate)
        await asyncio.to_thread(gate.end, signal.SIGTERM)
    return seen


async def spend_the_rest(
    client: aiohttp.ClientSession, gate: GateProcess, world: World, grant: SessionData, numbers: Iterator[int]
) -> None:
    """What the chain still allows, this gate allows, and not one unit more."""
    session = world.sessions[grant.permission_id]
    left = session.limit - session.used
    answer = await send(client, gate.url, a_transfer(grant, next(numbers), left + 1))
    assert answer is not None
    assert answer["error"]["code"] == Code.LIMIT_EXCEEDED
    assert answer["error"]["data"]["wanted"].split()[:3] == ["at", "most", str(left)]
    if left:
        last = a_transfer(grant, next(numbers), left)
        answer = await send(client, gate.url, last)
        assert answer is not None
        assert answer["result"] == "0x" + reading(last).user_op_hash.hex()


def test_nothing_is_lost_doubled_or_overspent_over_sixty_lives(tmp_path: Path) -> None:
    random = Random(4337)
    with a_nursery() as nursery:
        gate = GateProcess(nursery, tmp_path, bundler="")
        gate.know(GRANTS)
        sessions = {grant.permission_id: Spending(LIMIT) for grant in GRANTS}
        world = World(random, sessions, gate.database)
        seen = asyncio.run(crash_and_recover(gate, world, random))
    assert world.faults == [], gate.tail()
    # the load did what it is for: every session was used up, over many lives, with refusals of both kinds
    assert seen.codes >= {Code.LIMIT_EXCEEDED, -32500}
    assert seen.unanswered
    for grant in GRANTS:
        assert world.sessions[grant.permission_id].used == LIMIT
        assert used_on_disk(gate, grant) == LIMIT
    assert world.arrived > len(GRANTS) * 50
