"""Without a node the bundler is asked again about the blocks that it named, however many they are, in a time that is
bounded, and within the budget of all questions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.patience import Patience
from proxy.ledger.operations import Ended
from proxy.session.counters import Charge, HoldName
from proxy.userop.primitives import Hash32
from tests.chain.builders import Bundler, Shelf, a_receipt, accepted
from tests.chain.settlement.builders import IN_FORCE, KEY, USES, Scene, block
from tests.flat.pieces import Pieces
from tests.patience import patiently

MANY = 2_000
MOST_CALLS = 16_000


class LargeShelf(Shelf):
    """Finds what has ended without a look at all that was kept."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[HoldName, Ended] = {}

    async def keep(self, outcome: Outcome) -> None:
        await super().keep(outcome)
        self._found |= {ended.name: ended for ended in outcome.remembered}

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        return tuple(self._found[name] for name in names if name in self._found)


class AwayBundler(Bundler):
    """Others come before its answers do."""

    async def receipt(self, user_op_hash: Hash32) -> Mapping[str, object] | None:
        await asyncio.sleep(0)
        return await super().receipt(user_op_hash)


async def mined_in(blocks: int, *, a_second: float = 1e6) -> tuple[Scene, list[Hash32]]:
    """As many operations by the word of the bundler, each in a block of its own."""
    scene = Scene(patience=Patience(a_second=a_second, at_once=blocks), shelf=LargeShelf(), bundler=AwayBundler())
    scene.registry.put(IN_FORCE)
    hashes = [await scene.accept(number, Charge(USES, 1, MANY), nonce=number) for number in range(1, blocks + 1)]
    for number, each in enumerate(hashes):
        scene.bundler.mine(each, block=200 + number, block_hash=block(200 + number).hash)
    scene.monotonic.now += 1
    while len(scene.settlement):
        await scene.lookout.round()
    scene.bundler.asked.clear()
    return scene, hashes


def leaves(scene: Scene, user_op_hash: Hash32, number: int) -> None:
    """The chain has another block in the place of that one."""
    scene.bundler.receipts[user_op_hash] = a_receipt(user_op_hash, block=number, block_hash=block(number, 1).hash)


async def steps_of_a_look(blocks: int) -> int:
    """At the newest of so many, which is gone, alone."""
    scene, hashes = await mined_in(blocks)
    leaves(scene, hashes[-1], 200 + blocks - 1)
    ended = scene.settlement.remembered.mined(hashes[-1])
    assert ended is not None
    scene.lookout._rechecks.hurry(ended)
    with Pieces(counts_steps=True) as pieces:
        await asyncio.create_task(scene.lookout._rechecks.look())
    assert scene.settlement.flights.get(hashes[-1]) is not None
    return sum(piece.steps for name, piece in pieces.most.items() if "look" in name)


async def test_a_block_that_is_gone_takes_as_many_steps_however_many_blocks_below_it_are_looked_after() -> None:
    few, many = await steps_of_a_look(10), await steps_of_a_look(1_000)
    assert many <= 1.2 * few


async def test_no_piece_of_work_is_long_where_all_of_many_blocks_are_gone_and_each_is_asked_about_once() -> None:
    scene, hashes = await mined_in(MANY)
    for number, each in enumerate(hashes):
        leaves(scene, each, 200 + number)
    scene.monotonic.now += 4
    with Pieces() as pieces:
        await asyncio.create_task(scene.lookout._rechecks.look())
    assert len(scene.settlement) == MANY
    assert scene.bundler.asked == hashes
    assert pieces.too_long(MOST_CALLS) == {}


async def test_the_blocks_above_one_that_is_gone_are_asked_about_at_once_and_those_below_are_not() -> None:
    scene, hashes = await mined_in(6)
    scene.monotonic.now += 4
    await scene.lookout.round()  # all of them are there
    leaves(scene, hashes[3], 203)
    leaves(scene, hashes[5], 205)
    ended = scene.settlement.remembered.mined(hashes[3])
    assert ended is not None
    scene.lookout._rechecks.hurry(ended)
    scene.bundler.asked.clear()
    await scene.lookout._rechecks.look()
    assert scene.bundler.asked == hashes[3:]
    assert {each for each in hashes if scene.settlement.flights.get(each)} == {hashes[3], hashes[5]}


async def test_questions_about_blocks_are_within_the_budget_of_those_about_operations() -> None:
    scene, hashes = await mined_in(5, a_second=5)
    op = await scene.accept(6, Charge(USES, 1, MANY), nonce=6)
    scene.monotonic.now += 4
    await scene.lookout._rechecks.look()
    assert scene.bundler.asked == hashes
    assert not scene.lookout.ask_due()
    scene.monotonic.now += 1
    await asyncio.gather(*scene.lookout.ask_due())
    assert scene.bundler.asked[-1] == op


async def test_a_question_that_is_not_answered_keeps_no_other_block_from_being_asked_about() -> None:
    scene, hashes = await mined_in(40)
    leaves(scene, hashes[-1], 239)
    silent, over = set(hashes[:3]), asyncio.Event()
    at_once = [0, 0]

    async def receipt(user_op_hash: Hash32) -> Mapping[str, object] | None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        if user_op_hash in silent:
            await over.wait()
        await asyncio.sleep(0)
        at_once[0] -= 1
        return scene.bundler.receipts.get(user_op_hash)

    scene.lookout.polling._ask = receipt
    scene.monotonic.now += 4
    looking = asyncio.create_task(scene.lookout._rechecks.look())
    for _ in patiently():
        if looking.done() or len(scene.settlement):
            break
        await asyncio.sleep(0)
    assert scene.settlement.flights.get(hashes[-1]) is not None
    assert not looking.done()
    assert 3 < at_once[1] < 33
    over.set()
    await looking
    assert len(scene.settlement) == 1


async def test_a_look_that_is_given_up_asks_nobody_any_more() -> None:
    scene, _ = await mined_in(3)
    scene.bundler.hangs = asyncio.Event()
    scene.monotonic.now += 4
    looking = asyncio.create_task(scene.lookout._rechecks.look())
    for _ in patiently():
        if scene.bundler.asked:
            break
        await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait((looking,))
    assert looking.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_nothing_is_kept_to_be_read_where_nobody_can_read() -> None:
    scene, hashes = await mined_in(1)
    assert scene.settlement.remembered.mined(hashes[0]) is not None
    await scene.settlement.bring_back([accepted(1, KEY).name])
    assert len(scene.settlement) == 1
    assert (scene.settlement.to_read, scene.lookout._readings.are_due) == ({}, False)
