"""What keeping an eye on operations costs while nothing happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.slices import BlockName
from proxy.ledger.operations import Stage
from proxy.userop.primitives import Hash32
from tests.chain.builders import Bundler, accepted
from tests.chain.settlement.builders import IN_FORCE, KEY, Chain, Scene
from tests.patience import PATIENCE_SECONDS


async def test_operations_that_begin_while_a_question_is_due_anyway_make_no_task() -> None:
    scene = Scene()
    running = asyncio.create_task(scene.lookout.run())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def counted(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop)

    loop.set_task_factory(counted)  # type: ignore[arg-type]  # also called with a context by nobody here
    try:
        for number in range(20):
            await scene.accept(number)
            await asyncio.sleep(0)
    finally:
        loop.set_task_factory(None)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert made == []


async def test_whoever_looks_sleeps_while_a_session_is_read_and_what_is_left_to_be_proven_waits_its_turn() -> None:
    scene = Scene(chain=Chain(answers=asyncio.Event()))
    assert scene.chain is not None
    scene.registry.put(IN_FORCE)
    scene.client_goes_on.clear()
    scene.lookout.restored([], [KEY])
    client = asyncio.create_task(scene.lookout.reconciled(KEY))
    await scene.read_for_client.wait()
    running = asyncio.create_task(scene.lookout.run())
    for number in (1, 2, 3):
        sent = scene.reserve(number)
        await scene.settlement.hold(sent)
        await scene.settlement.follow(sent, Stage.UNKNOWN)
        if number == 2:
            await scene.chain.is_asked.wait()
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def counted(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop)

    loop.set_task_factory(counted)  # type: ignore[arg-type]  # also called with a context by nobody here
    try:
        for _ in range(200):
            await asyncio.sleep(0)  # nobody answers
        assert len(made) < 10
    finally:
        loop.set_task_factory(None)
        running.cancel()
        client.cancel()
        await asyncio.gather(running, client, return_exceptions=True)


class Overheard(Bundler):
    """Tells when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    async def receipt(self, user_op_hash: Hash32) -> Mapping[str, object] | None:
        self.heard.set()
        return await super().receipt(user_op_hash)


async def test_an_operation_that_begins_is_asked_about_when_its_time_has_come() -> None:
    bundler = Overheard()
    scene = Scene(bundler=bundler, patience=Patience(first=0.01))
    running = asyncio.create_task(scene.lookout.run())
    await asyncio.sleep(0)
    user_op_hash = await scene.accept(1)
    scene.monotonic.now += 1
    await bundler.heard.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bundler.asked[0] == user_op_hash


async def test_a_session_touched_while_another_one_is_read_is_read_as_soon_as_that_is_done() -> None:
    scene = Scene(chain=Chain())
    other = KEY._replace(permission_id=Hash32(b"\x1e" * 32))
    for key in (KEY, other):
        scene.registry.put(replace(IN_FORCE, key=key))
    scene.goes_on.clear()
    running = asyncio.create_task(scene.lookout.run())
    scene.settlement.to_read[KEY] = None
    scene.settlement.awake.set()
    await scene.is_reading.wait()
    scene.settlement.to_read[other] = None
    scene.settlement.awake.set()
    for _ in range(20):
        await asyncio.sleep(0)  # it was noticed, and one of its kind is under way
    assert not scene.settlement.awake.is_set()
    scene.is_reading.clear()
    scene.goes_on.set()
    await asyncio.wait_for(scene.is_reading.wait(), PATIENCE_SECONDS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert scene.reread == [KEY, other]


async def test_what_is_sent_and_answered_wakes_nobody_while_blocks_tell_of_everything() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    await scene.taker.start_at(BlockName(100, Hash32(bytes(32))), 1_000)
    running = asyncio.create_task(scene.lookout.run())
    for _ in range(20):
        await asyncio.sleep(0)  # whoever looks has nothing to do, and sleeps
    for number in range(20):
        await scene.accept(number)
        assert not scene.settlement.awake.is_set()
    sent = accepted(21, KEY)
    await scene.settlement.hold(sent)
    assert not scene.settlement.awake.is_set()
    await scene.settlement.follow(sent, Stage.UNKNOWN)
    assert scene.settlement.awake.is_set(), "nobody knows whether it arrived: the chain is to be asked"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_the_store_did_not_take_is_handed_over_again_although_nothing_else_comes() -> None:
    scene = Scene(chain=Chain(), patience=Patience(store=0.01))
    scene.registry.put(IN_FORCE)
    await scene.taker.start_at(BlockName(100, Hash32(bytes(32))), 1_000)
    running = asyncio.create_task(scene.lookout.run())
    for _ in range(20):
        await asyncio.sleep(0)
    scene.shelf.broken = True
    operation = accepted(1, KEY)
    await scene.settlement.follow(operation)
    scene.shelf.broken = False
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(each.begun == operation for each in scene.shelf.kept):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
