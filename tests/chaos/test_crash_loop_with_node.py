"""kill -9 under load before a chain that goes back, a node that is dead, behind, or one of several of which one is, and
a time of day that jumps; operations come under two sessions, and some go past the gate."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import aiohttp

from proxy.edge.storage.store import Store
from proxy.errors import Code
from proxy.session.counters import Counter
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import key_of, lane
from tests.bypass_list.desk import a_session, reading, single, use
from tests.chaos.chain_world import ChainWorld
from tests.chaos.gates import (
    GateProcess,
    a_nursery,
    counted_on_disk,
    in_flight_on_disk,
    is_entered,
    send,
    so_many_a_day,
    until_ready,
)
from tests.chaos.journal import Journal
from tests.chaos.world import is_on_disk
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import TOKEN, TRANSFER, USAGE, action, enabled, transfer, usage

LIVES = int(os.environ.get("CRASH_LIVES", "60"))
SEED = int(os.environ.get("CRASH_SEED", "9"))
CLIENTS = 3
USES, MOST_SENDS = 24, 30
FAR = 10_000
BY_CHAIN = [a_session(action(TOKEN, TRANSFER, usage(USES)), salt=201 + index) for index in range(3)]
BY_RULE = [a_session(action(TOKEN, TRANSFER, usage(FAR)), salt=301 + index) for index in range(2)]
GRANTS = [BY_CHAIN[0], BY_RULE[0], BY_CHAIN[1], BY_RULE[1], BY_CHAIN[2]]
ASTRAY = (0, 0, -86_400, -60, 900, 2 * 86_400)
"""Seconds by which the time of day may be wrong."""
DEPTHS = (1, 2, 6)


def a_use(grant: SessionData, number: int) -> UserOperation:
    return use(grant, single(transfer(1)), nonce=lane(number))


def under(op: UserOperation, grant: SessionData) -> UserOperation:
    """The same as another session's: its hash does not cover which."""
    return replace(op, signature=op.signature[:1] + grant.permission_id + op.signature[33:])


@dataclass
class Heard:
    """What the clients sent, and heard, and where it is written down."""

    journal: Journal
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))
    sent: dict[bytes, UserOperation] = field(default_factory=dict)
    claims: dict[bytes, list[UserOperation]] = field(default_factory=dict)  # the same under each session, by hash
    answered: int = 0
    claimed_twice: int = 0
    went_past: int = 0


async def load(client: aiohttp.ClientSession, url: str, grant: SessionData, random: Random, heard: Heard) -> None:
    while True:
        is_old = heard.sent and random.random() < 0.15
        op = random.choice(list(heard.sent.values())) if is_old else a_use(grant, next(heard.numbers))
        heard.sent.setdefault(reading(op).user_op_hash, op)
        if random.random() < 0.15:
            op = under(op, random.choice(GRANTS))
            heard.claimed_twice += 1
        claims = heard.claims.setdefault(reading(op).user_op_hash, [])
        if op not in claims:
            claims.append(op)
        answer = await send(client, url, op)
        heard.answered += answer is not None
        await asyncio.sleep(0.03 if answer is None or "error" in answer else 0.01)


async def one_life(gate: GateProcess, world: ChainWorld, grant: SessionData, random: Random, heard: Heard) -> None:
    world.be_troubled()
    gate.start(astray=(random.choice(ASTRAY), random.choice(ASTRAY)))
    heard.journal.life(gate)
    async with aiohttp.ClientSession() as client:
        clients = [asyncio.create_task(load(client, gate.url, grant, random, heard)) for _ in range(CLIENTS)]
        if random.random() < 2 / 3:
            async with asyncio.timeout(PATIENCE_SECONDS):
                before = heard.answered
                while heard.answered == before:  # noqa: ASYNC110  # it is another process's to say
                    await asyncio.sleep(0.005)
        for _ in range(random.randint(1, 8)):
            await asyncio.sleep(0.03)
            if random.random() < 0.1:  # of a session that the chain itself hardly bounds
                world.go_past(a_use(random.choice(BY_RULE), next(heard.numbers)))
                heard.went_past += 1
            world.mine(0.3)
            if random.random() < 0.2:
                world.go_back(random.choice(DEPTHS))
        await asyncio.to_thread(gate.end)
        heard.journal.life(gate)
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    if random.random() < 0.3:
        world.go_back(random.choice(DEPTHS))  # while nobody follows


async def until_settled(client: aiohttp.ClientSession, gate: GateProcess, world: ChainWorld, heard: Heard) -> None:
    """Until the gate has seen the end of all that was in flight. Of some neither their arrival nor their refusal was
    written down: those come again, as clients do it."""
    async with asyncio.timeout(120):
        while True:
            while not await asyncio.to_thread(is_entered, gate):  # noqa: ASYNC110  # it is another process's to say
                await asyncio.sleep(0.05)
            if not (left := await asyncio.to_thread(in_flight_on_disk, gate)):
                return
            for user_op_hash in left:
                if user_op_hash not in world.operations:
                    for claim in heard.claims.get(user_op_hash, ()):  # whichever of them it is that is held
                        await send(client, gate.url, claim)
            world.mine(1.0)
            await asyncio.sleep(0.1)


async def spend_the_rest(client: aiohttp.ClientSession, gate: GateProcess, world: ChainWorld, heard: Heard) -> None:
    """What is left of each session this gate allows, and not one use more."""
    for grant in GRANTS:
        left = world.limits[grant.permission_id] - world.committed(grant.permission_id)
        over = Code.LIMIT_EXCEEDED if grant in BY_CHAIN else Code.RULE_REJECTED
        for _ in range(left):
            answer = await send(client, gate.url, a_use(grant, next(heard.numbers)))
            assert answer is not None
            assert "result" in answer, answer
        answer = await send(client, gate.url, a_use(grant, next(heard.numbers)))
        assert answer is not None
        assert answer["error"]["code"] == over, answer


async def crash_and_recover(gate: GateProcess, world: ChainWorld, random: Random, journal: Journal) -> Heard:
    heard = Heard(journal)
    world.grant(GRANTS)
    server = await world.live.serve()
    gate.node = world.live.url
    async with world.bundler() as bundler:
        gate.bundler = bundler.url
        for index in range(LIVES):
            await one_life(gate, world, GRANTS[index * len(GRANTS) // LIVES], random, heard)
        world.be_quiet()
        gate.start()
        heard.journal.life(gate)
        async with aiohttp.ClientSession() as client:
            world.mine(1.0)
            await until_ready(client, gate)
            await until_settled(client, gate, world, heard)
            await spend_the_rest(client, gate, world, heard)
            await until_settled(client, gate, world, heard)
        await asyncio.to_thread(gate.end)
    await server.cleanup()
    return heard


def used_on_disk(gate: GateProcess, grant: SessionData) -> int | None:
    """What the gate has written down as used of a session; `None` where it is to be read first."""
    store = Store(gate.database)
    try:
        known = next(each for each in store.sessions() if each.key == key_of(grant))
    finally:
        store.close()
    ((action_id, _),) = enabled(grant).actions.items()
    counter = Counter(*enabled(grant).config_key(USAGE, enabled(grant).action_config_id(action_id)), b"")
    return None if known.state is None else known.state.used.get(counter, 0)


def test_nothing_is_lost_doubled_or_overspent_over_sixty_lives_of_a_chain_that_goes_back(tmp_path: Path) -> None:
    random = Random(SEED)
    limits = dict.fromkeys((each.permission_id for each in BY_CHAIN), USES)
    limits |= dict.fromkeys((each.permission_id for each in BY_RULE), MOST_SENDS)
    with a_nursery() as nursery:
        gate = GateProcess(nursery, tmp_path, bundler="", settings="rules: [ours.yaml]\n")
        (tmp_path / "ours.yaml").write_text(so_many_a_day(MOST_SENDS))
        gate.know(GRANTS)
        journal = Journal(tmp_path, gate.database)
        world = ChainWorld(random, limits, partial(is_on_disk, gate.database), journal)
        with journal.explaining(gate):
            heard = asyncio.run(crash_and_recover(gate, world, random, journal))
            assert_all_of_it_was_right(gate, world, heard)


def assert_all_of_it_was_right(gate: GateProcess, world: ChainWorld, heard: Heard) -> None:
    assert world.faults == []
    assert {name: world.used(name) for name in world.limits} == world.limits
    assert (world.reorganised > LIVES // 4, world.came_back > 0) == (True, True)
    assert min(heard.claimed_twice, heard.went_past) > LIVES // 6
    for grant in BY_CHAIN:
        assert used_on_disk(gate, grant) in (USES, None)
    (counted,) = counted_on_disk(gate).values()
    assert {name: counted[name] for name in world.limits} == world.limits
