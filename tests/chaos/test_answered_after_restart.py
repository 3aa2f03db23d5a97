"""Whoever asks a gate that was killed and has come back is answered in time, whatever its node does.

Tens of sessions are in doubt then, all are read at once, and blocks were missed. In virtual time: who waits for ever is
found at once.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxy.config import load_config
from proxy.errors import Code
from proxy.userop.primitives import print_bytes, print_checksummed
from tests import virtual_time
from tests.admission.builders import key_of, known
from tests.bypass_list.desk import CHAIN_ID, a_session
from tests.chaos.chain_world import ChainWorld
from tests.chaos.in_process import IN_TIME, GateInProcess, TimeOfDay
from tests.chaos.test_crash_loop_with_node import a_use
from tests.properties.chain_model import Disk
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, usage

USES = 24
GRANTS = [a_session(action(TOKEN, TRANSFER, usage(USES)), salt=501 + index) for index in range(40)]
FOR_EVER = 10_000.0
MAY_BE_TOLD = {None, int(Code.STATE_UNAVAILABLE), int(Code.RATE_LIMITED)}
"""Of sessions in force: that it went well, or that it is to be asked again."""


class Scene:
    """A gate whose sessions all have an operation in flight when it is killed."""

    def __init__(self, gate: GateInProcess, world: ChainWorld) -> None:
        self.gate = gate
        self.world = world
        self.numbers = itertools.count(1)
        self.codes: list[int | None] = []

    async def live_and_die(self) -> None:
        self.world.be_quiet()
        self.world.grant(GRANTS)
        await self.gate.begin()
        await asyncio.sleep(1.0)
        answers = await asyncio.gather(*(self.gate.send(a_use(grant, next(self.numbers))) for grant in GRANTS))
        assert all("result" in answer for answer in answers)
        await self.gate.kill()
        for _ in range(10):
            self.world.mine(0.1)  # while nobody follows

    async def hear(self, asking: Coroutine[Any, Any, dict[str, Any]]) -> None:
        answer = await asking
        self.codes.append(answer.get("error", {}).get("code"))

    async def ask_everything(self, pause: float) -> None:
        """Of each session, and several at once."""
        await asyncio.sleep(pause)
        asked = []
        for grant in GRANTS:
            name: list[object] = [print_checksummed(ACCOUNT), print_bytes(grant.permission_id)]
            asked += [self.hear(self.gate.send(a_use(grant, next(self.numbers)))) for _ in range(2)]
            asked += [self.hear(self.gate.ask("sessiongate_getSession", list(name))) for _ in range(2)]
        async with asyncio.timeout(FOR_EVER):
            await asyncio.gather(*asked)


def tell(
    tmp_path: Path, patch: pytest.MonkeyPatch, story: Callable[[Scene], Coroutine[Any, Any, None]], *, waits: bool
) -> Scene:
    nowhere = "http://127.0.0.1:9/"
    (tmp_path / "sessiongate.yaml").write_text(
        f"session_queries: true\nchains:\n  local:\n    chain_id: {CHAIN_ID}\n    bundlers: [{nowhere}]\n"
        f"    node: {nowhere}\n    poll_seconds: 0.5\n"
    )
    config = load_config(tmp_path / "sessiongate.yaml", {})
    loop, random = virtual_time.VirtualTime(), Random(1)
    patch.setattr(time, "time", TimeOfDay(loop))
    for clock in ("monotonic", "perf_counter"):
        patch.setattr(time, clock, loop.time)
    disk = Disk(sessions={key_of(grant): known(grant) for grant in GRANTS})
    limits = dict.fromkeys((grant.permission_id for grant in GRANTS), USES)
    world = ChainWorld(random, limits, lambda _: True)
    scene = Scene(GateInProcess(config, world, disk, random, patch, waits=waits), world)
    try:
        loop.run_until_complete(story(scene))
    finally:
        loop.close()
        patch.undo()
    assert world.faults == []
    return scene


@pytest.mark.parametrize("waits", [False, True], ids=["daybook", "writing thread"])
@pytest.mark.parametrize("seconds", [inf, 4.0, 0.0], ids=["a node that hangs", "a slow node", "a node that is well"])
def test_after_a_kill_every_request_is_answered_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, waits: bool
) -> None:
    async def story(scene: Scene) -> None:
        await scene.live_and_die()
        scene.gate.node_seconds = seconds
        await scene.gate.begin()
        # before, and while, all that is in doubt is read in the background
        await asyncio.gather(*(scene.ask_everything(pause) for pause in (0.0, 0.3, 1.0)))
        await scene.gate.kill()

    scene = tell(tmp_path, monkeypatch, story, waits=waits)
    assert len(scene.codes) == 3 * 4 * len(GRANTS)
    assert scene.gate.longest <= IN_TIME
    assert set(scene.codes) <= ({None} if not seconds else MAY_BE_TOLD)
