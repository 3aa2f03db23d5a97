"""kill -9 at random moments under load: no reservation is lost, none counts twice, nothing is overspent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp

from proxy.errors import Code
from proxy.userop.primitives import Hash32, print_checksummed
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.bypass_list.desk import CHAIN_ID, reading
from tests.chaos.gates import (
    GateProcess,
    a_nursery,
    a_transfer,
    counted_on_disk,
    in_flight_on_disk,
    is_entered,
    send,
    spender,
    until_ready,
    used_on_disk,
)
from tests.chaos.world import Spending, World
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import TOKEN

LIVES = int(os.environ.get("CRASH_LIVES", "60"))
LIVES_OF_A_SESSION = 12
LIMIT = 150
CLIENTS = 6
GRANTS = [spender(LIMIT, salt=1 + index) for index in range(LIVES // LIVES_OF_A_SESSION)]

MOST_SPENT, MOST_OPERATIONS = 100, 80
FAR = 10_000  # the chain would allow more
BY_RULES = [spender(FAR, salt=101 + index) for index in range(3)]
LIVES_BY_RULES = LIVES * 9 // 10
TOKENS = f"""
tokens:
  COIN: {{on: {{{CHAIN_ID}: {{address: "{print_checksummed(TOKEN)}", decimals: 0}}}}}}
"""
RULES = f"""
rules:
  - id: spend
    description: A session spends so much in a day.
    mode: enforce
    match: {{session: true, moves: COIN}}
    limit: {{sum: spend, token: COIN, max: {MOST_SPENT}, per: session, window: 24h}}
  - id: operations
    description: A session sends so many operations in a day.
    mode: enforce
    match: {{session: true}}
    limit: {{count: ops, max: {MOST_OPERATIONS}, per: session, window: 24h}}
"""


@dataclass(frozen=True)
class Plan:
    """Sessions one after the other, each over as many lives, and between what its operations spend."""

    grants: Sequence[SessionData]
    lives: int
    amounts: Sequence[tuple[int, int]]

    def of_life(self, index: int) -> tuple[SessionData, tuple[int, int]]:
        place = index * len(self.grants) // self.lives
        return self.grants[place], self.amounts[place]


BY_CHAIN = Plan(GRANTS, LIVES, [(1, 3)] * len(GRANTS))
# one that spends too much, one that sends too often, one whose operations revert often
UNDER_RULES = Plan(BY_RULES, LIVES_BY_RULES, [(1, 3), (1, 1), (2, 4)])


def operations(
    random: Random, grant: SessionData, amounts: tuple[int, int], number: Iterator[int]
) -> Iterator[UserOperation]:
    """New operations, and now and then one that was sent before."""
    sent: list[UserOperation] = []
    while True:
        if sent and random.random() < 0.15:
            yield random.choice(sent)
        else:
            sent.append(a_transfer(grant, next(number), random.randint(*amounts)))
            yield sent[-1]


@dataclass
class Seen:
    """What the clients sent, the codes of refusals, and how often they heard something and nothing."""

    codes: set[int] = field(default_factory=set)
    sent: dict[Hash32, UserOperation] = field(default_factory=dict)
    answered: int = 0
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
            continue
        seen.answered += 1
        if "error" in answer:
            seen.codes.add(answer["error"]["code"])
            if answer["error"]["code"] in (Code.LIMIT_EXCEEDED, Code.RULE_REJECTED):
                await asyncio.sleep(0.005)


async def one_life(gate: GateProcess, world: World, random: Random, ops: Iterator[UserOperation], seen: Seen) -> None:
    """It ends at a random moment: of one in three while it may still be starting, of the others after it answered,
    so that a slow machine ends them in the middle of work as well."""
    gate.start()
    async with aiohttp.ClientSession() as client:
        clients = [asyncio.create_task(load(client, gate.url, ops, seen)) for _ in range(CLIENTS)]
        left = random.uniform(0.02, 0.25)
        if random.random() < 2 / 3:
            async with asyncio.timeout(PATIENCE_SECONDS):
                before = seen.answered
                while seen.answered == before:  # noqa: ASYNC110  # it is another process's to say
                    await asyncio.sleep(0.005)
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
    async with asyncio.timeout(PATIENCE_SECONDS):
        # it is another process's to say
        while not await asyncio.to_thread(is_entered, gate) or await asyncio.to_thread(in_flight_on_disk, gate):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def crash_and_recover(gate: GateProcess, world: World, random: Random, plan: Plan) -> Seen:
    numbers, seen = iter(range(1, 1_000_000)), Seen()
    ops: dict[Hash32, Iterator[UserOperation]] = {}
    async with world.bundler() as bundler:
        gate.bundler = bundler.url
        for index in range(plan.lives):
            grant, amounts = plan.of_life(index)
            if grant.permission_id not in ops:
                ops[grant.permission_id] = operations(random, grant, amounts, numbers)
            await one_life(gate, world, random, ops[grant.permission_id], seen)
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
            for grant in plan.grants:
                await (spend_the_rest if plan is BY_CHAIN else do_what_is_left)(client, gate, world, grant, numbers)
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


async def do_what_is_left(
    client: aiohttp.ClientSession, gate: GateProcess, world: World, grant: SessionData, numbers: Iterator[int]
) -> None:
    """What the rules still allow, this gate allows, and not one unit and not one operation more."""
    session = world.sessions[grant.permission_id]
    left, sends_left = MOST_SPENT - session.spent, MOST_OPERATIONS - len(session.mined)
    assert await code_of(client, gate, a_transfer(grant, next(numbers), left + 1)) == Code.RULE_REJECTED
    if left and sends_left:
        lasting = (a_transfer(grant, number, left) for number in numbers)
        op = next(each for each in lasting if not session.reverts(reading(each).user_op_hash))
        assert await code_of(client, gate, op) is None
    assert await code_of(client, gate, a_transfer(grant, next(numbers), 1)) == Code.RULE_REJECTED


async def code_of(client: aiohttp.ClientSession, gate: GateProcess, op: UserOperation) -> int | None:
    answer = await send(client, gate.url, op)
    assert answer is not None
    return None if "result" in answer else int(answer["error"]["code"])


def test_nothing_is_lost_doubled_or_overspent_over_sixty_lives(tmp_path: Path) -> None:
    random = Random(4337)
    with a_nursery() as nursery:
        gate = GateProcess(nursery, tmp_path, bundler="")
        gate.know(GRANTS)
        sessions = {grant.permission_id: Spending(LIMIT) for grant in GRANTS}
        world = World(random, sessions, gate.database)
        seen = asyncio.run(crash_and_recover(gate, world, random, BY_CHAIN))
    assert world.faults == [], gate.tail()
    # the load did what it is for: every session was used up, over many lives, with refusals of both kinds
    assert seen.codes >= {Code.LIMIT_EXCEEDED, -32500}
    assert seen.unanswered
    for grant in GRANTS:
        assert world.sessions[grant.permission_id].used == LIMIT
        assert used_on_disk(gate, grant) == LIMIT
    assert world.arrived > len(GRANTS) * 50


def test_what_rules_count_is_neither_lost_nor_doubled_nor_overspent_over_fifty_lives(tmp_path: Path) -> None:
    random = Random(4337)
    with a_nursery() as nursery:
        gate = GateProcess(nursery, tmp_path, bundler="", settings="rules: [rules/*.yaml]\n")
        (tmp_path / "rules").mkdir()
        (tmp_path / "rules" / "tokens.yaml").write_text(TOKENS)
        (tmp_path / "rules" / "ours.yaml").write_text(RULES)
        gate.know(BY_RULES)
        sessions = {
            grant.permission_id: Spending(FAR, MOST_SPENT, MOST_OPERATIONS, reverting=grant is BY_RULES[2])
            for grant in BY_RULES
        }
        world = World(random, sessions, gate.database)
        seen = asyncio.run(crash_and_recover(gate, world, random, UNDER_RULES))
    assert world.faults == [], gate.tail()
    assert seen.codes >= {Code.RULE_REJECTED, -32500}
    assert seen.unanswered
    spent = {name: session.spent for name, session in sessions.items()}
    mined = {name: len(session.mined) for name, session in sessions.items()}
    # the rules turned each of them away in the end, the second one for its many operations
    assert [spent[grant.permission_id] == MOST_SPENT for grant in BY_RULES] == [True, False, True]
    assert mined[BY_RULES[1].permission_id] == MOST_OPERATIONS
    assert sessions[BY_RULES[2].permission_id].used > MOST_SPENT  # what reverted was given back
    counted = list(counted_on_disk(gate).values())
    assert counted in ([spent, mined], [mined, spent])
    assert [used_on_disk(gate, grant) for grant in BY_RULES] == [each.used for each in sessions.values()]
