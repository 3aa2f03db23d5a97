"""One bad answer of a node never makes a count wrong for good: sessions are read again once they are quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from proxy.chain.quiet import QuietReadings
from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address
from tests.chain.blocks.builders import a_key
from tests.chain.builders import Clock
from tests.patience import patiently


class Scene:
    """Counts by session as they are known, and as the chain has them."""

    def __init__(self, declared: Collection[Address] = ()) -> None:
        self.clock = Clock()
        self.known: dict[SessionKey, int] = {}
        self.on_chain: dict[SessionKey, int] = {}
        self.busy: set[SessionKey] = set()
        self.read: list[SessionKey] = []
        self.differed: list[SessionKey] = []
        self.down = False
        self.behind = False  # the node, what is known
        self.wrong: list[int] = []  # what the next readings answer instead
        self.readings = QuietReadings(
            self.reread,
            lambda key: key not in self.busy,
            self.clock,
            differed=self.differed.append,
            declared=declared,
            seconds=30,
            pause=0,
        )

    async def reread(self, key: SessionKey) -> int | None:
        if self.down:
            raise StateUnavailable("the node does not answer")
        self.read.append(key)
        if self.behind:
            return self.known.get(key)
        count = self.wrong.pop() if self.wrong else self.on_chain.get(key, 0)
        agrees, self.known[key] = self.known.get(key) == count, count
        self.readings.taken(key, agrees)
        return count

    async def after(self, seconds: float) -> None:
        """So much later all that is due is read."""
        self.clock.now += seconds
        for _ in range(20):
            if not await self.readings.read_next():
                return


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_session_is_read_once_it_was_quiet_for_a_while_and_then_left_alone(scene: Scene) -> None:
    scene.known[a_key()] = scene.on_chain[a_key()] = 3
    scene.readings.note(a_key())
    await scene.after(29)
    assert scene.read == []
    scene.readings.note(a_key())
    await scene.after(29)
    assert scene.read == []
    await scene.after(1)
    await scene.after(1_000)
    assert scene.read == [a_key()]
    assert scene.differed == []


async def test_a_wrong_reading_is_mended_by_the_next_and_told(scene: Scene) -> None:
    scene.on_chain[a_key()] = 3
    scene.wrong = [7]
    await scene.reread(a_key())  # for a request, and wrong
    assert scene.known[a_key()] == 7
    await scene.after(31)
    assert scene.known[a_key()] == 3
    assert scene.differed == [a_key()]
    await scene.after(31)
    await scene.after(31)
    assert scene.differed == [a_key()]
    assert len(scene.read) == 3


async def test_a_wrong_reading_of_the_comparison_itself_is_mended_too(scene: Scene) -> None:
    scene.known[a_key()] = scene.on_chain[a_key()] = 3
    scene.wrong = [9]
    scene.readings.note(a_key())
    await scene.after(31)
    assert scene.known[a_key()] == 9
    await scene.after(31)
    assert scene.known[a_key()] == 3


async def test_a_session_with_operations_in_flight_is_not_compared_yet(scene: Scene) -> None:
    scene.readings.note(a_key())
    scene.busy.add(a_key())
    await scene.after(31)
    assert scene.read == []
    scene.busy.clear()
    await scene.after(31)
    assert scene.read == [a_key()]


async def test_a_busy_session_does_not_keep_a_quiet_one_waiting(scene: Scene) -> None:
    scene.readings.note(a_key(1))
    scene.readings.note(a_key(2))
    scene.busy.add(a_key(1))
    await scene.after(31)
    assert scene.read == [a_key(2)]


async def test_a_node_that_is_down_is_asked_again_later(scene: Scene) -> None:
    scene.readings.note(a_key())
    scene.down = True
    await scene.after(31)
    scene.down = False
    await scene.after(31)
    assert scene.read == [a_key()]


async def test_the_word_of_a_node_behind_what_is_known_compares_nothing_and_the_session_is_read_again(
    scene: Scene,
) -> None:
    scene.known[a_key()], scene.on_chain[a_key()] = 9, 3
    scene.readings.note(a_key())
    scene.behind = True
    await scene.after(31)
    scene.behind = False
    await scene.after(31)
    assert scene.known[a_key()] == 3
    assert scene.differed == [a_key()]


async def test_a_session_that_is_known_no_more_is_read_once(scene: Scene) -> None:
    scene.readings.note(a_key())
    scene.behind = True
    await scene.after(31)
    await scene.after(31)
    assert scene.read == [a_key()]


async def test_a_session_of_a_declared_module_is_never_read() -> None:
    scene = Scene(declared=(a_key().module,))
    scene.readings.note(a_key())
    await scene.after(31)
    assert scene.read == []


async def test_it_runs_until_it_is_stopped(scene: Scene) -> None:
    scene.known[a_key()] = 0
    scene.readings.note(a_key())
    scene.clock.now += 31
    running = asyncio.create_task(scene.readings.run())
    for _ in patiently():
        if scene.read:
            break
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert scene.read == [a_key()]
    assert len(scene.readings) == 0
