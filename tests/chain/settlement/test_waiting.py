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
    bundler = Bundler(hangs=asyncio.Event())
    scene = Scene(bundler=bundler, inclusion=bundler.receipt, chain=chain)
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
        asking = [*scene.lookout.ask_due(), asyncio.create_task(scene.lookout.settle_now(ops))]
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
        scene.lookout.ask_due()
        seconds, found = await waited(scene.lookout.reconciled(KEY)), scene.balance
        await ends(scene)
        return seconds, found

    seconds, found = run(live())
    assert seconds <= Patience().timeout
    assert found == (0, MANY)


def test_after_a_restart_without_a_node_all_verdicts_on_an_account_share_that_one_wait() -> None:
    """The bundler may hang in both questions about each, and more may be in flight than are asked about at a time."""

    async def live() -> tuple[float, float, bool, tuple[int, int]]:
        scene, ops = await before_a_hanging_bundler()
        beside = KEY._replace(permission_id=Hash32(b"\x0e" * 32))
        scene.lookout.restored(ops, [KEY])
        at_once = asyncio.gather(*(scene.lookout.reconciled(key) for key in (KEY, beside, KEY)))
        first = await waited(at_once)
        is_reconciled = scene.lookout.is_reconciled(beside)
        later = sum([await waited(scene.lookout.reconciled(key)) for key in (KEY, beside, KEY)])
        found = scene.balance
        await ends(scene)
        return first, later, is_reconciled, found

    first, later, is_reconciled, found = run(live())
    assert first <= Patience().timeout
    assert (later, is_reconciled) == (0, True)
    assert found == (0, MANY)


def test_who_gave_up_waiting_after_a_restart_ends_nobody_elses_wait() -> None:
    async def live() -> tuple[float, tuple[int, int]]:
        scene, ops = await before_a_hanging_bundler()
        scene.lookout.restored(ops, [KEY])
        impatient = asyncio.create_task(scene.lookout.reconciled(KEY))
        patient = asyncio.create_task(waited(scene.lookout.reconciled(KEY)))
        await asyncio.sleep(1)
        impatient.cancel()
        assert scene.bundler.hangs is not None
        scene.bundler.mine(ops[0], block_hash=block(200).hash)
        scene.bundler.hangs.set()
        seconds = await patient
        found = scene.balance
        await scene.lookout.polling.close()
        return seconds, found

    assert run(live()) == (1.0, (1, MANY - 1))


async def test_after_a_restart_a_word_that_cannot_be_taken_in_fails_no_verdict_and_leaves_all_in_flight() -> None:
    told = Bundler()
    scene = Scene(inclusion=told.receipt)
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE)
    scene.lookout.restored([op], [KEY])
    told.mine(op)
    scene.shelf.unreadable = True
    for _ in range(2):
        await scene.lookout.reconciled(KEY)
        assert scene.balance == (0, 1)
    scene.shelf.unreadable = False
    scene.bundler.mine(op)
    await scene.later(60)
    assert scene.balance == (1, 0)


async def test_who_asks_about_what_is_being_asked_waits_for_that_answer() -> None:
    scene, (first, *_) = await before_a_hanging_bundler()
    scene.bundler.mine(first, block_hash=block(200).hash)
    scene.lookout._waits.begin_now(first)
    asking = [asyncio.create_task(scene.lookout.polling.ask_now(first)) for _ in range(5)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert scene.bundler.asked == [first]
    assert scene.bundler.hangs is not None
    scene.bundler.hangs.set()
    await asyncio.gather(*asking)
    assert scene.balance == (1, MANY - 1)
