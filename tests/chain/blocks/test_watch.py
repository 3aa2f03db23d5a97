"""The follower goes on whatever happens, and how old its knowledge is follows from what its looks came to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy.chain.age import ChainAge
from proxy.chain.blocks import watch
from proxy.chain.blocks.watch import BlockWatch
from proxy.chain.settlement.slices import BlockName
from tests.chain.blocks.builders import CHAIN_ID, Backend, Books, FakeChain, executed, follower_of
from tests.chain.builders import Clock
from tests.patience import patiently


class Scene:
    """A watch that is told each look by hand, or runs."""

    def __init__(self, *, poll_seconds: float = 0.001, **faults: object) -> None:
        self.chain = FakeChain()
        self.chain.mine(blocks=40)
        self.node = Backend(self.chain, **faults)  # type: ignore[arg-type]  # its own fields
        self.books = Books()
        self.clock = Clock()
        self.age = ChainAge(self.clock, bound=60)
        follower = follower_of(self.node, self.books, heard=self.age.heard)
        self.left: list[str] = []
        self.watch = BlockWatch(
            follower,
            self.node,
            self.books,
            self.age,
            chain_id=CHAIN_ID,
            poll_seconds=poll_seconds,
            clock=self.clock,
            leave=self._leave,
        )

    async def _leave(self, why: str, _least: int, _anchor: BlockName | None) -> bool:
        self.left.append(why)
        return True

    async def until(self, happens: Callable[[], bool]) -> None:
        """Run until it does."""
        running = asyncio.create_task(self.watch.run())
        try:
            for _ in patiently():
                if happens():
                    return
                await asyncio.sleep(0)
            raise AssertionError("it never happens")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_look_that_reached_the_newest_block_makes_what_is_known_new(scene: Scene) -> None:
    scene.clock.now += 50
    await scene.watch.catch_up()
    assert scene.age.seconds == 0
    assert scene.age.number == scene.chain.name().number
    assert scene.watch.lag_blocks == 0


async def test_that_what_is_known_grows_too_old_is_logged_once_and_so_is_its_end(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    scene.node.down = True
    scene.clock.now += 1_000
    await scene.until(lambda: any("too old to judge by" in message for message in caplog.messages))
    scene.node.down = False
    scene.chain.mine()
    await scene.until(lambda: any("new enough again" in message for message in caplog.messages))
    told = [message for message in caplog.messages if message.startswith("what is known of sessions")]
    assert [message.rpartition(" on chain ")[0] for message in told] == ["what is known of sessions"] * 2


async def test_a_look_that_came_to_nothing_leaves_it_as_old_as_it_is_and_says_why(scene: Scene) -> None:
    await scene.watch.catch_up()
    scene.node.down = True
    scene.clock.now += 50
    await scene.watch.catch_up()
    assert scene.age.seconds == 50
    assert scene.age.trouble == "down"
    scene.node.down = False
    await scene.watch.catch_up()
    assert scene.age.trouble is None


async def test_a_node_that_lies_about_its_logs_makes_nothing_new(scene: Scene) -> None:
    await scene.watch.catch_up()
    scene.node.answers_empty = True
    scene.chain.mine(executed(1))
    scene.clock.now += 61
    await scene.watch.catch_up()
    stale = scene.age.stale()
    assert stale is not None
    assert stale.readable
    assert scene.watch.lag_blocks == 1


async def test_a_node_that_lags_makes_nothing_new(scene: Scene) -> None:
    await scene.watch.catch_up()
    scene.node.behind = 3
    scene.clock.now += 50
    await scene.watch.catch_up()
    assert scene.age.seconds == 50


async def test_a_node_of_another_chain_is_told_and_nothing_begins() -> None:
    scene = Scene(of_chain=1)
    await scene.watch.catch_up()
    assert scene.age.trouble == f"the node is of chain 1, not {CHAIN_ID}"
    assert scene.books.started_at == []
    assert scene.age.number is None


async def test_a_node_frozen_since_before_the_start_is_told_from_the_first_look_on(scene: Scene) -> None:
    scene.clock.now = scene.chain.headers[-1].timestamp + 600.0
    await scene.watch.catch_up()
    assert scene.age.is_frozen
    assert scene.age.stale() is not None


async def test_who_comes_while_a_look_is_under_way_waits_for_that_one(scene: Scene) -> None:
    await asyncio.gather(*(scene.watch.catch_up() for _ in range(20)))
    assert [question[0] for question in scene.node.asked].count("head") == 2  # to learn of the chain, and to look


async def test_a_node_that_is_doubted_is_looked_at_and_left_only_where_its_word_is_in_vain(scene: Scene) -> None:
    await scene.watch.doubted()
    assert scene.left == []
    scene.node.null_blocks = True
    await scene.watch.doubted()
    assert len(scene.left) == 1


async def test_a_node_behind_what_is_settled_is_left_by_who_needs_that_now_and_by_nobody_else(scene: Scene) -> None:
    await scene.watch.catch_up()
    scene.node.behind = 3
    scene.chain.mine()
    looked = len(scene.node.asked)
    await scene.until(lambda: len(scene.node.asked) > looked + 2)
    assert scene.left == []
    await scene.watch.doubted()
    assert len(scene.left) == 1
    assert scene.left[0].startswith("its newest block is ")


async def test_who_needs_a_node_that_was_just_taken_and_fails_too_has_another_looked_for_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.node.null_blocks = True
    for seconds, left in ((3_600.0, 1), (0.0, 2)):
        monkeypatch.setattr(watch, "_DOUBT_SECONDS", seconds)
        for _ in range(2):
            await scene.watch.doubted()
        assert len(scene.left) >= left
    assert len(scene.left) == 3


async def test_no_failure_ends_it(scene: Scene) -> None:
    await scene.watch.catch_up()
    scene.books.broken = True
    scene.chain.mine(executed(1))
    await scene.until(lambda: scene.age.trouble == "the disk is full")
    scene.books.broken = False
    await scene.until(lambda: scene.books.mined == [1])


async def test_a_fault_of_ours_does_not_end_it(scene: Scene) -> None:
    await scene.watch.catch_up()
    scene.chain.mine(executed(1))
    kept, scene.books.cursor = scene.books.cursor, "broken"  # type: ignore[assignment]  # what no settlement says
    await scene.until(lambda: scene.age.trouble is not None)
    scene.books.cursor = kept
    await scene.until(lambda: scene.books.mined == [1])


async def test_what_was_heard_of_is_looked_at_without_waiting() -> None:
    scene = Scene(poll_seconds=300)
    await scene.watch.catch_up()
    scene.chain.mine(executed(1))

    def woken() -> bool:
        scene.watch.wake()
        return scene.books.mined == [1]

    await scene.until(woken)
