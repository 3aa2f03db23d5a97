"""A gate before neighbours of whom one after the other fails, killed in the middle: it counts what the chain has."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import pytest

from tests.app.live_node import a_chain
from tests.chaos.gates import GateProcess, a_nursery
from tests.weather.__main__ import summary
from tests.weather.course import SETTINGS, Plan, spend_time
from tests.weather.world import World

SHORT = Plan(
    seconds=8,
    rate=12,
    known=40,
    parked=20,
    a_round=8,
    a_spell=0.3,
    a_life=1.5,
    a_block=1,
    idle=0,
    in_mempool=6,
    killed_in=(0,),
    spent=0,
    on_time=False,
)


async def test_in_every_weather_nothing_is_lost_overspent_or_sent_twice_and_at_rest_the_ledger_is_the_chain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiohttp.server")  # who hangs is left
    world = World(Random(1), a_chain(SHORT.a_block))
    with a_nursery() as nursery:
        gate = GateProcess(nursery, tmp_path, bundler="", settings=SETTINGS)
        await spend_time(gate, world, SHORT)
    assert world.faults == [], summary(world.faults)
    assert len(world.operations) > 100
