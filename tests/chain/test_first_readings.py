"""However many ids are named that do not exist, another session's first use waits for little longer than alone.

The node here answers everything that was asked once each step, as a node does that is far away and not busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxy.admission.sources import RecentReads
from proxy.admission.turns import AbsentBudget, Asker, FirstReadings, Turns
from proxy.app.chain import FIRST_READINGS_AT_ONCE
from proxy.app.settling import CALLS_FOR_REQUESTS
from proxy.chain.asking import Asking, NotAsked, Question, Response
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.session.counters import SessionKey
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32
from tests.admission.builders import TWICE, key_of
from tests.chain.builders import Clock, FakeNode
from tests.chain.on_chain import put_absent, put_session
from tests.session.builders import NOW, enabled, word

KEY = key_of(TWICE)


@dataclass
class StepwiseNode(Asking):
    """Answers a table's way at each `step`, to all who had asked by then."""

    table: FakeNode
    batches: bool = True
    waiting: list[asyncio.Event] = field(default_factory=list)
    exchanges: int = 0

    async def one(self, question: Question) -> Response:
        await self._turn()
        return self.table._answer(question.method, question.params)

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        if not self.batches:
            raise NotAsked("no batches")
        await self._turn()
        return [self.table._answer(each.method, each.params) for each in questions]

    def tell_heads(self, heard: Callable[[], None]) -> None:
        return None

    async def close(self) -> None:
        await asyncio.sleep(0)

    async def _turn(self) -> None:
        self.exchanges += 1
        turn = asyncio.Event()
        self.waiting.append(turn)
        await turn.wait()

    async def step(self) -> None:
        due, self.waiting = self.waiting, []
        for turn in due:
            turn.set()
        for _ in range(60):  # everybody has said what comes next
            await asyncio.sleep(0)


class Scene:
    """A reader at that node, and who comes to it."""

    def __init__(self, *, batches: bool = True) -> None:
        self.asking = StepwiseNode(FakeNode(), batches=batches)
        put_session(self.asking.table, enabled(TWICE))
        self.registry = Registry()
        self.reader = NodeReader(
            Node(self.asking, concurrency=CALLS_FOR_REQUESTS), self.registry, _keep, lambda: float(NOW), seconds=60
        )
        clock = Clock()
        self.reads = RecentReads(2.0, clock)
        self.first = FirstReadings(Turns(FIRST_READINGS_AT_ONCE), AbsentBudget(1e9, clock), seconds=60)
        self.tasks: list[asyncio.Task[object]] = []

    def come(self, key: SessionKey, asker: Asker) -> asyncio.Task[object]:
        async def read() -> bool:
            return await self.reads.once(key, lambda: self.reader.session(key)) is not None

        task: asyncio.Task[object] = asyncio.create_task(self.first.look(asker, read))
        self.tasks.append(task)
        return task

    def flood(self, first: int, count: int) -> None:
        """Connections of one client from one address, each with ids and accounts of its own."""
        for number in range(first, first + count):
            account = Address(word(number)[12:])
            key = SessionKey(KEY.chain_id, KEY.module, account, Hash32(word(number)))
            put_absent(self.asking.table, key)
            self.come(key, Asker("dapp", "10.0.0.1", account))

    async def steps_until(self, task: asyncio.Task[object], *, flooding: int = 0) -> int:
        """How many steps of the node a first use takes; that many connections name their next id once answered."""
        await asyncio.sleep(0)
        for steps in range(1, 1_000):
            busy = sum(not each.done() for each in self.tasks if each is not task)
            self.flood(10_000 * steps, max(flooding - busy, 0))
            await self.asking.step()
            if task.done():
                task.result()
                return steps
        raise AssertionError("never answered")

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _keep(_session: object) -> None:
    return None


async def steps_alone(*, batches: bool) -> int:
    scene = Scene(batches=batches)
    return await scene.steps_until(scene.come(KEY, Asker("dapp", "10.0.0.1", KEY.account)))


async def test_80_connections_of_random_ids_do_not_double_another_first_use() -> None:
    scene = Scene()
    scene.flood(1_000, 80)
    await scene.asking.step()
    task = scene.come(KEY, Asker("dapp", "10.0.0.1", KEY.account))
    assert await scene.steps_until(task, flooding=80) <= 2 * await steps_alone(batches=True)
    await scene.end()


async def test_nor_those_of_another_address_where_the_node_takes_no_batches() -> None:
    scene = Scene(batches=False)
    scene.flood(1_000, 80)
    await scene.asking.step()
    task = scene.come(KEY, Asker("other", "10.0.0.2", KEY.account))
    assert await scene.steps_until(task, flooding=80) <= 2 * await steps_alone(batches=False)
    await scene.end()


async def test_strange_ids_that_come_together_are_asked_about_together() -> None:
    scene = Scene()
    scene.flood(1_000, FIRST_READINGS_AT_ONCE)
    await scene.steps_until(scene.tasks[-1])
    # one by one it were three for each
    assert scene.asking.exchanges <= FIRST_READINGS_AT_ONCE / 2
    await scene.end()


async def test_those_who_name_the_same_id_share_one_reading() -> None:
    scene = Scene()
    tasks = [scene.come(KEY, Asker(str(number), "10.0.0.1", KEY.account)) for number in range(30)]
    await scene.steps_until(tasks[0])
    asked = scene.asking.exchanges
    await asyncio.gather(*tasks)
    alone = Scene()
    await alone.steps_until(alone.come(KEY, Asker("dapp", "10.0.0.1", KEY.account)))
    assert asked == alone.asking.exchanges
