"""A bundler that hangs keeps whoever waits for a verdict no longer than said, in virtual time, and is asked once for
all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from proxy.chain.settlement.patience import Patience
from proxy.userop.primitives import Hash32
from tests.chain.builders import Bundler
from tests.chain.settlement.builders import IN_FORCE, KEY, ONE_USE, Chain, Scene, block
from tests.virtual_time import run

MANY = 40
CHARGE = replace(ONE_USE, limit=MANY)


async def before_a_hanging_bundler(chain: Chain | None = None) -> tuple[Scene, list[Hash32]]:
    scene = Scene(bundler=Bundler(hangs=asyncio.Event()), chain=chain)
    scene.registry.put(IN_FORCE)
    return scene, [await scene.accept(number, CHARGE, nonce=number) for number in range(1, MANY + 1)]


async def waited(work: Awaitable[object]) -> float:
    loop = asyncio.get_running_loop()
    before = loop.time()
    await work
    return loop.time() - before


async def ends(scene: Scene) -> None:
    assert scene.bundler.hangs is not None
    scene.bundler.hangs.set()
    await scene.lookout.polling.close()


def test_before_a_reading_nobody_waits_for_a_bundler_longer_than_a_client_is_kept() -> None:
    async def live() -> float:
        scene, ops = await before_a_hanging_bundler(Chain())
        scene.monotonic.now += 1  # so that the background has begun as well
        asking = [*scene.lookout.polling.ask_due(), asyncio.create_task(scene.lookout.settle_now(ops))]
        seconds = await waited(scene.lookout.settle_now(ops))
        assert scene.balance == (0, MANY)
        await ends(scene)
        await asyncio.gather(*asking, return_exceptions=True)
        return seconds

    assert run(live()) <= Patience().told


def test_after_a_restart_without_a_node_a_verdict_waits_no_longer_than_one_question_may_take() -> None:
    async def live() -> tuple[float, tuple[int, int]]:
        scene, ops = await before_a_hanging_bundler()
        scene.lookout.restored(ops, [KEY])
        scene.monotonic.now += 1
        scene.lookout.polling.ask_due()
        seconds, found = await waited(scene.lookout.reconciled(KEY)), scene.balance
        await ends(scene)
        return seconds, found

    seconds, found = run(live())
    assert seconds <= Patience().timeout
    assert found == (0, MANY)


async def test_who_asks_about_what_is_being_asked_waits_for_that_answer() -> None:
    scene, (first, *_) = await before_a_hanging_bundler()
    scene.bundler.mine(first, block_hash=block(200).hash)
    asking = [asyncio.create_task(scene.lookout.polling.ask_now(first)) for _ in range(5)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert scene.bundler.asked == [first]
    assert scene.bundler.hangs is not None
    scene.bundler.hangs.set()
    await asyncio.gather(*asking)
    assert scene.balance == (1, MANY - 1)
