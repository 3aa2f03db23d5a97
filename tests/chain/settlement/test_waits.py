"""What is sent is waited for by itself only once it is in flight for longer than most are."""

from __future__ import annotations

import asyncio

from proxy.chain.settlement.draft import OutcomeDraft
from proxy.ledger.operations import InFlight, Stage
from proxy.userop.primitives import Hash32
from tests.chain.settlement.builders import KEY, ONE_USE, Chain, Scene, accepted, block, mined, name

OTHER_KEY = KEY._replace(permission_id=Hash32(b"\x99" * 32))


def noted(scene: Scene) -> list[object]:
    """The stages of operations that the store was told of, by outcome."""
    return [outcome.stages for outcome in scene.shelf.kept if outcome.stages]


async def told(scene: Scene) -> Scene:
    """Blocks tell of what is mined there."""
    await scene.tell(9)
    return scene


def pass_seconds(scene: Scene, seconds: float) -> None:
    """And whoever looks after the settlement looks."""
    scene.monotonic.now += seconds
    scene.lookout.ask_due()


async def test_how_far_operations_have_come_is_noted_down_once_for_all_that_are_still_in_flight_after_a_while() -> None:
    scene = await told(Scene(chain=Chain()))
    for number in (1, 2, 3):
        await scene.accept(number, nonce=number)
    pass_seconds(scene, 4)
    assert noted(scene) == []
    await scene.tell(10, mined(name(2), 10, nonce=2))
    pass_seconds(scene, 1)
    assert noted(scene) == [tuple((accepted(number, KEY).name, Stage.ACCEPTED) for number in (1, 3))]


async def test_what_ends_within_seconds_leaves_nothing_that_is_asked_or_looked_at() -> None:
    scene = await told(Scene(chain=Chain()))
    await scene.accept(1, nonce=1)
    await scene.tell(10, mined(name(1), 10, nonce=1))
    pass_seconds(scene, 5)
    assert (noted(scene), scene.lookout.polling.next_due(), scene.bundler.asked) == ([], None, [])


async def test_where_no_blocks_tell_the_bundler_is_asked_as_soon_as_patience_says_from_when_it_was_sent() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    await scene.later(scene.patience.first - 0.1)
    assert scene.bundler.asked == []
    await scene.later(0.1)
    assert scene.bundler.asked == [op]


async def test_where_blocks_tell_no_more_what_was_sent_before_that_is_asked_about() -> None:
    scene = await told(Scene(chain=Chain()))
    op = await scene.accept(1, ONE_USE)
    pass_seconds(scene, scene.patience.quiet - 1)
    assert scene.bundler.asked == []
    later = await scene.accept(2, ONE_USE, nonce=2)
    await scene.later(1)
    assert scene.bundler.asked == [op, later]


async def test_whoever_looks_wakes_in_time_for_the_first_that_is_sent() -> None:
    scene = Scene()
    running = asyncio.create_task(scene.lookout.run())
    for _ in range(20):
        await asyncio.sleep(0)
    await scene.accept(1, ONE_USE)
    assert scene.settlement.awake.is_set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_where_looking_ends_how_far_operations_have_come_is_noted_down() -> None:
    scene = await told(Scene(chain=Chain()))
    running = asyncio.create_task(scene.lookout.run())
    await scene.accept(1)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert noted(scene) == [((accepted(1, KEY).name, Stage.ACCEPTED),)]


async def test_what_was_mined_before_it_was_noted_down_how_far_it_had_come_is_in_no_doubt_when_it_comes_back() -> None:
    scene = await told(Scene(chain=Chain()))
    op = await scene.accept(1, ONE_USE, nonce=1)
    await scene.tell(10, mined(op, 10, nonce=1))
    (ended,) = [each for outcome in scene.shelf.kept for each in outcome.remembered]
    draft = OutcomeDraft()
    scene.settlement.ends.undo(draft, [ended._replace(stage=Stage.FORWARDED)])  # as the disk has it
    assert [flight.stage for flight in draft.revived] == [Stage.ACCEPTED]


async def test_what_is_sent_again_after_a_restart_is_waited_for_by_itself_and_forgotten_when_it_ends() -> None:
    scene = await told(Scene(chain=Chain()))
    scene.settlement.restore([InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.FORWARDED)])
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    assert not scene.settlement.follow_now(operation.name, Stage.ACCEPTED)
    await scene.settlement.follow(operation)
    assert scene.lookout.polling.next_due() is not None
    await scene.tell(10, mined(name(1), 10, nonce=1))
    assert scene.lookout.polling.next_due() is None


async def test_what_was_let_go_is_not_waited_for_and_is_the_oldest_again_where_it_is_held_again() -> None:
    scene = Scene()
    op = await scene.accept(1, nonce=1)
    await scene.settlement.letting_go.release(op, "by alice")
    scene.clock.now += 10
    assert (scene.settlement.oldest_seconds(), scene.settlement.flights.let_go_now, len(scene.settlement)) == (0, 1, 1)
    await scene.accept(2, nonce=2)
    await scene.accept(1, nonce=1)
    assert (scene.settlement.oldest_seconds(), scene.settlement.flights.let_go_now, len(scene.settlement)) == (10, 0, 2)


async def test_what_came_under_a_second_claim_is_noted_down_as_far_as_it_had_come_under_the_first() -> None:
    scene = await told(Scene(chain=Chain()))
    await scene.accept(1, key=KEY)
    await scene.accept(1, key=OTHER_KEY)
    pass_seconds(scene, 5)
    stages = {stage for outcome in scene.shelf.kept for stage in outcome.stages}
    assert stages == {(accepted(1, key).name, Stage.ACCEPTED) for key in (KEY, OTHER_KEY)}


async def test_what_the_chain_takes_back_is_the_oldest_in_flight_if_it_was_sent_first() -> None:
    scene = await told(Scene(chain=Chain()))
    op = await scene.accept(1, nonce=1)
    await scene.tell(10, mined(op, 10, nonce=1))
    scene.clock.now += 10
    await scene.accept(2, nonce=2, at=scene.clock.now)
    await scene.taker.undo(block(9))
    assert scene.settlement.oldest_seconds() == 10
    await scene.tell(10, mined(op, 10, nonce=1, branch=1), branch=1)
    assert (scene.settlement.oldest_seconds(), len(scene.settlement)) == (0, 1)


async def test_of_several_that_are_held_again_that_one_is_the_oldest_that_was_sent_first() -> None:
    scene = Scene()
    begun = scene.clock.now
    for number in (1, 2):
        op = await scene.accept(number, nonce=number, at=scene.clock.now)
        await scene.settlement.letting_go.release(op, "by alice")
        scene.clock.now += 10
    for number in (1, 2):
        await scene.accept(number, nonce=number, at=begun)  # as it was kept
    assert scene.settlement.oldest_seconds() == 20
    await scene.settlement.letting_go.release(name(1), "by alice")
    assert scene.settlement.oldest_seconds() == 10
