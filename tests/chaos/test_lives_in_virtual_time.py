"""The crash loop before a node without waiting: a gate in this process lives many short lives in virtual time, and its
backends lag. A failure comes again with its seed and PYTHONHASHSEED=0, as `make crash-loop` has it; without, sets are
gone through in another order each time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random as random_of_its_own
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from proxy.config import load_config
from proxy.errors import Code
from proxy.userop.primitives import Hash32
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests import virtual_time
from tests.admission.builders import key_of, known
from tests.bypass_list.desk import CHAIN_ID, reading
from tests.chaos.chain_world import ChainWorld
from tests.chaos.gates import so_many_a_day
from tests.chaos.in_process import IN_TIME, GateInProcess, TimeOfDay
from tests.chaos.test_crash_loop_with_node import (
    ASTRAY,
    BY_CHAIN,
    BY_RULE,
    CLIENTS,
    DEPTHS,
    GRANTS,
    MOST_SENDS,
    USES,
    a_use,
    under,
)
from tests.properties.chain_model import Disk

LIVES = 20
FIRST_SEED = int(os.environ.get("CRASH_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("CRASH_SEEDS", "2")))
LIMITS = dict.fromkeys((each.permission_id for each in BY_CHAIN), USES) | dict.fromkeys(
    (each.permission_id for each in BY_RULE), MOST_SENDS
)
PACES = (0.2, 1, 1, 3)
STEPS = (0.003, 0.03, 0.03, 0.1)
MOST_STEPS = 25
PATIENCE = 400.0
"""Seconds of virtual time."""


@dataclass
class Story:
    """What happens to a gate, by one seed."""

    random: Random
    day: TimeOfDay
    gate: GateInProcess
    world: ChainWorld
    disk: Disk
    log: list[logging.LogRecord]
    """Of what went wrong, so far."""
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    sent: list[UserOperation] = field(default_factory=list)
    claims: dict[Hash32, list[UserOperation]] = field(default_factory=dict)  # the same under each session, by hash

    async def load(self, grant: SessionData) -> None:
        """One client that never stops."""
        while True:
            is_old = self.sent and self.random.random() < 0.15
            op = self.random.choice(self.sent) if is_old else a_use(grant, next(self.numbers))
            self.sent.append(op)
            if self.random.random() < 0.15:
                op = under(op, self.random.choice(GRANTS))
            self.claims.setdefault(reading(op).user_op_hash, []).append(op)
            answer = await self.gate.send(op)
            await asyncio.sleep((0.03 if "error" in answer else 0.01) * self.random.choice(PACES))

    async def life(self, grant: SessionData) -> None:
        random, world = self.random, self.world
        world.be_troubled()
        await self.gate.begin()
        clients = [asyncio.create_task(self.load(grant)) for _ in range(CLIENTS)]
        for _ in range(random.randint(1, MOST_STEPS)):
            await asyncio.sleep(random.choice(STEPS))
            if random.random() < 0.1:  # of a session that the chain itself hardly bounds
                world.go_past(a_use(random.choice(BY_RULE), next(self.numbers)))
            if random.random() < 0.1:
                self.day.astray = random.choice(ASTRAY)
            if random.random() < 0.1:
                world.be_troubled()
            world.mine(0.3)
            if random.random() < 0.2:
                world.go_back(random.choice(DEPTHS))
        await asyncio.sleep(random.uniform(0, 0.03))
        await self.gate.kill()
        assert not any(client.done() and not client.cancelled() for client in clients)
        assert [each.getMessage() for each in self.log if is_of_a_fault(each)] == []
        if random.random() < 0.3:
            world.go_back(random.choice(DEPTHS))  # while nobody follows
        self.day.astray = random.choice(ASTRAY)

    async def until_settled(self) -> None:
        """Until the gate has seen the end of all that was in flight; what never arrived comes again."""
        async with asyncio.timeout(PATIENCE):
            while self.disk.in_flight:
                for name in tuple(self.disk.in_flight):
                    if name.user_op_hash not in self.world.operations:
                        for claim in self.claims.get(name.user_op_hash, ()):
                            await self.gate.send(claim)
                self.world.mine(1.0)
                await asyncio.sleep(0.1)

    async def spend_the_rest(self) -> None:
        """What is left of each session this gate allows, and not one use more."""
        for grant in GRANTS:
            over = Code.LIMIT_EXCEEDED if grant in BY_CHAIN else Code.RULE_REJECTED
            for _ in range(LIMITS[grant.permission_id] - self.world.committed(grant.permission_id)):
                assert "result" in await self.gate.send(a_use(grant, next(self.numbers)))
            assert (await self.gate.send(a_use(grant, next(self.numbers))))["error"]["code"] == over

    async def tell(self) -> None:
        self.world.grant(GRANTS)
        self.day.astray = self.random.choice(ASTRAY)  # when the gate first starts too
        for index in range(LIVES):
            await self.life(GRANTS[index * len(GRANTS) // LIVES])
        self.world.be_quiet()
        self.day.astray = 0.0
        await self.gate.begin()
        self.world.mine(1.0)
        await asyncio.sleep(1.0)
        await self.until_settled()
        await self.spend_the_rest()
        await self.until_settled()
        await self.gate.kill()


def is_of_a_fault(record: logging.LogRecord) -> bool:
    """Whether the gate says that it failed itself, at a request or at anything else."""
    return record.name == "proxy.replies" or record.exc_info is not None


def is_on(disk: Disk, user_op_hash: Hash32) -> bool:
    """Whether a gate that begins with it would find this operation in flight, or mined."""
    mined = (name for name, each in disk.ended.items() if each.mined is not None)
    return any(name.user_op_hash == user_op_hash for name in (*disk.in_flight, *mined))


def counted_for_several(disk: Disk) -> Counter[Hash32]:
    """How many operations of each session another session held as well when a receipt showed them, which does not say
    whose they were: rules count them for both, as it may have been either."""
    claims: dict[Hash32, set[Hash32]] = {}
    for name, ended in disk.ended.items():
        if ended.mined is not None and name.session is not None:
            claims.setdefault(name.user_op_hash, set()).add(name.session.permission_id)
    return Counter(session for sessions in claims.values() if len(sessions) > 1 for session in sessions)


@pytest.mark.parametrize("waits", [False, True], ids=["daybook", "writing thread"])
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_overspent_over_many_short_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seed: int, waits: bool
) -> None:
    (tmp_path / "ours.yaml").write_text(so_many_a_day(MOST_SENDS))
    nowhere = "http://127.0.0.1:9/"
    (tmp_path / "sessiongate.yaml").write_text(
        f"rules: [ours.yaml]\nchains:\n  local:\n    chain_id: {CHAIN_ID}\n    bundlers: [{nowhere}]\n"
        f"    node: {nowhere}\n    poll_seconds: 0.05\n"
    )
    config = load_config(tmp_path / "sessiongate.yaml", {})
    random_of_its_own.seed(seed)
    loop, random = virtual_time.VirtualTime(), Random(seed)
    monkeypatch.setattr(time, "time", day := TimeOfDay(loop))
    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, loop.time)
    disk = Disk(sessions={key_of(grant): known(grant) for grant in GRANTS})
    world = ChainWorld(random, LIMITS, lambda user_op_hash: is_on(disk, user_op_hash))
    gate = GateInProcess(config, world, disk, random, monkeypatch, waits=waits)
    try:
        with caplog.at_level(logging.ERROR):
            loop.run_until_complete(Story(random, day, gate, world, disk, caplog.records).tell())
    finally:
        loop.close()
        monkeypatch.undo()
    assert world.faults == []
    assert gate.longest <= IN_TIME
    assert {name: world.used(name) for name in LIMITS} == LIMITS
    assert (world.reorganised > LIVES, world.came_back > LIVES) == (True, True)
    for grant in BY_CHAIN:
        state = disk.sessions[key_of(grant)].state
        assert state is None or sum(state.used.values()) == USES
    counted: dict[Hash32, int] = {}
    for row in disk.buckets.values():
        session = Hash32(row.key.group[-32:])
        counted[session] = counted.get(session, 0) + row.amount
    of_both = counted_for_several(disk)
    assert counted.keys() == LIMITS.keys()
    assert all(made <= counted[session] <= made + of_both[session] for session, made in LIMITS.items())
