"""What following operations costs the upstreams, and how soon they are settled: minutes of traffic, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from proxy.chain.age import ChainAge
from proxy.chain.blocks.follower import BlockFollower
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import LogFilter, Transaction
from proxy.chain.blocks.watch import BlockWatch
from proxy.chain.logs import Log
from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.patience import Patience
from proxy.ledger.operations import Ended
from proxy.session.counters import HoldName
from proxy.userop.primitives import Address, Hash32
from tests.bypass_list.desk import V07
from tests.chain.blocks.builders import Backend, FakeChain, Knowledge, executed
from tests.chain.builders import Bundler, Clock, Shelf, accepted
from tests.chain.settlement.builders import IN_FORCE, KEY, ONE_USE, Chain, Scene, name
from tests.session.builders import ACCOUNT
from tests.virtual_time import run

A_SECOND, SECONDS = 60, 20
BLOCK_SECONDS, FAR_AWAY = 2.0, 0.1
CHARGE = replace(ONE_USE, limit=10**9)


class FarBundler(Bundler):
    """A tenth of a second away. It knows when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at: list[float] = []

    async def receipt(self, user_op_hash: Hash32) -> object:  # type: ignore[override]  # a mapping
        self.asked_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(FAR_AWAY)
        return await super().receipt(user_op_hash)


class Quick(Shelf):
    """Forgets what it is told at once."""

    async def keep(self, outcome: Outcome) -> None:
        return None

    def keep_now(self, outcome: Outcome) -> bool:
        return True

    def note(self, outcome: Outcome) -> None:
        return None

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        return ()


class Now(Clock):
    """The loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self) -> float:
        return 1_000 + self._loop.time()


class Traffic:
    """Operations that come at a rate, and blocks that have all that was there a moment before."""

    def __init__(self, scene: Scene) -> None:
        self.senders = False  # each of an account of its own
        self.scene = scene
        self.waiting: list[Hash32] = []
        self.mined_at: dict[Hash32, float] = {}
        self.settled_after: list[float] = []
        scene.registry.put(IN_FORCE)
        gone = scene.settlement.flights.on_gone

        def noted(user_op_hash: Hash32) -> None:
            gone(user_op_hash)
            self.settled_after.append(asyncio.get_running_loop().time() - self.mined_at[user_op_hash])

        scene.settlement.flights.on_gone = noted

    async def begin(self, number: int) -> Hash32:
        """An operation that the bundler takes."""
        return await self.scene.accept(number, CHARGE, nonce=number)

    def add(self, mined: Sequence[Hash32]) -> None:
        """A block with these."""
        for each in mined:
            self.scene.bundler.mine(each)

    async def live(self) -> None:
        """So many a second for so long, until all of them are settled."""
        looking = asyncio.create_task(self.scene.lookout.run())
        mining = asyncio.create_task(self._mine())
        for number in range(1, A_SECOND * SECONDS + 1):
            self.waiting.append(await self.begin(number))
            await asyncio.sleep(1 / A_SECOND)
        while len(self.scene.settlement):  # noqa: ASYNC110  # its time is nobody's
            await asyncio.sleep(BLOCK_SECONDS)
        for task in (looking, mining):
            task.cancel()
        await asyncio.gather(looking, mining, return_exceptions=True)

    async def _mine(self) -> None:
        while True:
            await asyncio.sleep(BLOCK_SECONDS)
            mined, self.waiting = self.waiting, []
            self.mined_at |= dict.fromkeys(mined, asyncio.get_running_loop().time())
            self.add(mined)


class FarNode(Backend):
    """A tenth of a second away."""

    async def head(self) -> Header:
        await asyncio.sleep(FAR_AWAY)
        return await super().head()

    async def headers(self, numbers: Sequence[int]) -> tuple[Header | None, ...]:
        await asyncio.sleep(FAR_AWAY)
        return await super().headers(numbers)

    async def logs_of(self, block: Hash32, wanted: LogFilter) -> tuple[Log, ...]:
        await asyncio.sleep(FAR_AWAY)
        return await super().logs_of(block, wanted)

    async def transactions(self, hashes: Sequence[Hash32]) -> tuple[Transaction | None, ...]:
        self.asked.append(("transactions", len(hashes)))
        await asyncio.sleep(FAR_AWAY)
        return await super().transactions(hashes)


class Followed(Traffic):
    """The same before a node whose blocks are read."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        scene = Scene(shelf=Quick(), bundler=FarBundler(), chain=Chain(), monotonic=Now(loop), clock=Now(loop))
        super().__init__(scene)
        self.chain = FakeChain()
        self.node = FarNode(self.chain, of_chain=KEY.chain_id, most_logs=100_000)
        age = ChainAge(loop.time, bound=60)
        follower = BlockFollower(
            chain_id=KEY.chain_id,
            modules=(KEY.module,),
            entry_points=[V07],
            source=self.node,
            taker=scene.taker,
            knows=Knowledge(ours={name(number) for number in range(1, A_SECOND * SECONDS + 1)}),
            heard=age.heard,
        )
        self.watch = BlockWatch(
            follower,
            self.node,
            scene.taker,
            age,
            chain_id=KEY.chain_id,
            poll_seconds=BLOCK_SECONDS,
            clock=loop.time,
        )

    async def begin(self, number: int) -> Hash32:
        operation = accepted(number, KEY, CHARGE, nonce=number)
        slot = operation.reservation.slot._replace(entry_point=V07.address)
        if self.senders:
            slot = slot._replace(sender=Address(number.to_bytes(20, "big")))
        operation = self.scene.reserved(replace(operation, reservation=replace(operation.reservation, slot=slot)))
        await self.scene.settlement.hold(operation)
        await self.scene.settlement.follow(operation)
        return operation.user_op_hash

    def add(self, mined: Sequence[Hash32]) -> None:
        numbers = (int.from_bytes(each, "big") for each in mined)
        self.chain.mine(*(executed(number, name=name(number), sender=ACCOUNT) for number in numbers))


async def without_a_node() -> Traffic:
    loop = asyncio.get_running_loop()
    traffic = Traffic(Scene(shelf=Quick(), bundler=FarBundler(), monotonic=Now(loop), clock=Now(loop)))
    await traffic.live()
    return traffic


def test_without_a_node_sixty_a_second_are_settled_within_the_budget_of_questions() -> None:
    traffic = run(without_a_node())
    assert len(traffic.settled_after) == A_SECOND * SECONDS
    asked = traffic.scene.bundler.asked_at
    budget = Patience().a_second
    for first, _ in enumerate(asked):  # in no stretch of time more than so many a second, and what was saved before
        last = min(first + 1_000, len(asked) - 1)
        assert last - first <= budget * (1 + asked[last] - asked[first]) + 1
    assert max(traffic.settled_after) <= 4 * BLOCK_SECONDS


@pytest.mark.parametrize("a_second", [5, 49])
def test_without_a_node_nothing_is_more_than_two_polls_behind_at_less_than_half_the_budget(
    monkeypatch: pytest.MonkeyPatch, a_second: int
) -> None:
    monkeypatch.setattr(f"{__name__}.A_SECOND", a_second)
    settled_after = run(without_a_node()).settled_after
    assert len(settled_after) == a_second * SECONDS
    patience = Patience()
    asked_after = [patience.first * patience.growth**number for number in range(3)]
    assert sum(asked_after) >= BLOCK_SECONDS, "mined by the third poll"
    assert max(settled_after) <= 2 * asked_after[-1]


def test_with_a_node_sixty_a_second_are_settled_within_two_blocks_and_no_bundler_is_asked() -> None:
    async def live() -> Followed:
        traffic = Followed()
        watching = asyncio.create_task(traffic.watch.run())
        await traffic.live()
        watching.cancel()
        return traffic

    traffic = run(live())
    assert len(traffic.settled_after) == A_SECOND * SECONDS
    assert max(traffic.settled_after) <= 2 * BLOCK_SECONDS
    assert traffic.scene.bundler.asked == []
    # a poll: the newest block, what lies between, its logs and the bundles that had them
    assert len(traffic.node.asked) <= 6 * SECONDS / BLOCK_SECONDS + 20


@pytest.mark.parametrize("senders", [False, True], ids=["in one session", "of many accounts"])
def test_what_a_node_is_asked_does_not_grow_with_what_is_in_flight(senders: bool) -> None:
    async def asked(in_flight: int) -> int:
        traffic = Followed()
        traffic.senders = senders
        await traffic.watch.catch_up()
        for number in range(1, in_flight + 1):
            await traffic.begin(number)
        before = len(traffic.node.asked)
        looking = asyncio.create_task(traffic.scene.lookout.run())
        for _ in range(10):
            traffic.chain.mine()
            await asyncio.sleep(BLOCK_SECONDS)
            await traffic.watch.catch_up()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        assert traffic.scene.bundler.asked == []
        return len(traffic.node.asked) - before

    one = run(asked(1))
    assert one > 0
    assert [run(asked(1_000)), run(asked(10_000))] == [one, one]


def test_without_a_node_what_bundlers_are_asked_has_one_bound_however_much_is_in_flight() -> None:
    async def asked(in_flight: int) -> int:
        loop = asyncio.get_running_loop()
        traffic = Traffic(Scene(shelf=Quick(), bundler=FarBundler(), monotonic=Now(loop), clock=Now(loop)))
        for number in range(1, in_flight + 1):
            await traffic.begin(number)
        looking = asyncio.create_task(traffic.scene.lookout.run())
        await asyncio.sleep(60)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        assert len(traffic.scene.settlement) == in_flight
        return len(traffic.scene.bundler.asked_at)

    few, many, most = run(asked(1)), run(asked(1_000)), run(asked(10_000))
    assert few <= 12
    assert many <= most <= 61 * Patience().a_second
