"""A start after blocks were missed: many sessions to be read, and many operations to be proven, in few exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from proxy.chain.asking import Asking, Question, Response
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.readings import SettledReadings
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import BlockName
from proxy.chain.together import in_turn
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import Charge, SessionKey
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32
from tests.chain.builders import Clock, FakeNode, Shelf
from tests.chain.on_chain import put_session
from tests.chain.settlement.builders import IN_FORCE, KEY, USES, Chain, Scene, block, name
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import TOKEN, TRANSFER, action, enabled, session, usage

MANY = 300
PATIENT = Patience(timeout=PATIENCE_SECONDS)


class Exchanges(Asking):
    """Answers a table's way, and counts how often it is asked."""

    def __init__(self, *, batches: bool = True) -> None:
        self.table = FakeNode()
        self.count = 0
        self.batches = batches

    async def one(self, question: Question) -> Response:
        self.count += 1
        await asyncio.sleep(0)
        return self.table._answer(question.method, question.params)

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        self.count += 1
        await asyncio.sleep(0)
        return [self.table._answer(each.method, each.params) for each in questions]

    async def close(self) -> None:
        await asyncio.sleep(0)


class Unconfirmed:
    """Sessions from before blocks that were missed, at a node that has them."""

    def __init__(self, count: int) -> None:
        self.asking, self.registry = Exchanges(), Registry()
        self.keys: list[SessionKey] = []
        for salt in range(count):
            state = enabled(session(action(TOKEN, TRANSFER, usage(3)), salt=salt))
            put_session(self.asking.table, state)
            self.registry.put(replace(IN_FORCE, key=state.key, state=state))
            self.keys.append(state.key)
        node, clock = Node(self.asking, concurrency=4), Clock()
        reader = NodeReader(node, self.registry, _kept, clock)
        self.settlement = Settlement(
            registry=self.registry,
            ledger=MemoryLedger(sessions=self.registry),
            keeper=Shelf(),
            clock=clock,
            patience=Patience(),
            tell=lambda _: None,
        )
        self.readings = SettledReadings(
            self.settlement, self.registry, reader.reread, clock, clock, at_once=lambda: node.at_once // 2
        )
        self.settlement.unconfirmed |= dict.fromkeys(self.keys)


async def _kept(_session: KnownSession) -> None:
    return None


async def exchanges_for(count: int) -> int:
    there = Unconfirmed(count)
    await there.readings.confirm_all()
    assert there.settlement.unconfirmed == {}
    known = [there.registry.get(key) for key in there.keys]
    assert all(each is not None and each.state is not None and each.block == 100 for each in known)
    return there.asking.count


async def test_many_sessions_are_confirmed_in_fewer_exchanges_than_there_are_sessions() -> None:
    few, many = await exchanges_for(MANY // 2), await exchanges_for(MANY)
    assert many - few < MANY - MANY // 2, "once it is under way; each session takes more than a dozen questions"


def many_sessions(scene: Scene, count: int) -> list[SessionKey]:
    keys = [KEY._replace(permission_id=name(1_000 + number)) for number in range(count)]
    for key in keys:
        scene.registry.put(replace(IN_FORCE, key=key))
    scene.settlement.unconfirmed |= dict.fromkeys(keys)
    return keys


async def test_one_session_whose_reading_hangs_holds_up_no_other() -> None:
    scene = Scene(chain=Chain())
    keys = many_sessions(scene, 50)
    hung, goes_on = keys[7], asyncio.Event()

    async def read(key: SessionKey) -> None:
        if key == hung:
            await goes_on.wait()
        await scene._read_now(key)

    readings = SettledReadings(scene.settlement, scene.registry, read, scene.clock, scene.monotonic)
    confirming = asyncio.create_task(readings.confirm_all())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(scene.settlement.unconfirmed) > 1:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)
    assert set(scene.settlement.unconfirmed) == {hung}
    goes_on.set()
    await confirming
    assert scene.settlement.unconfirmed == {}


async def test_those_that_cannot_be_read_are_not_judged_by_and_all_others_are_confirmed() -> None:
    scene = Scene(chain=Chain())
    keys = many_sessions(scene, 60)
    lost = set(keys[::7])

    async def read(key: SessionKey) -> None:
        await asyncio.sleep(0)
        if key in lost:
            raise StateUnavailable("no answer")
        await scene._read_now(key)

    readings = SettledReadings(
        scene.settlement, scene.registry, read, scene.clock, scene.monotonic, at_once=lambda: 128
    )
    await readings.confirm_all()
    known = {key: scene.registry.get(key) for key in keys}
    assert {key for key, each in known.items() if each is not None and each.state is None} == lost
    assert all(each is not None and each.status is Status.IN_FORCE for each in known.values())
    lost.clear()
    scene.monotonic.now += 60
    await readings.read_all()
    assert all((each := scene.registry.get(key)) is not None and each.state is not None for key in keys)


@pytest.mark.parametrize("fails", [False, True])
async def test_as_many_are_read_at_a_time_as_the_node_takes_and_few_while_readings_fail(fails: bool) -> None:
    scene = Scene(chain=Chain())
    many_sessions(scene, 200)
    under_way = most = 0

    async def read(key: SessionKey) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if fails:
            raise StateUnavailable("no answer in time")
        await scene._read_now(key)

    readings = SettledReadings(scene.settlement, scene.registry, read, scene.clock, scene.monotonic, at_once=lambda: 64)
    await readings.confirm_all()
    assert scene.settlement.unconfirmed == {}
    assert most == (4 if fails else 32)


# proving


def proven_in(number: int, at: int, branch: int = 0) -> Mined:
    there = block(at, branch)
    return Mined(user_op_hash=name(number), success=True, block=there.number, block_hash=there.hash)


async def in_flight(scene: Scene, count: int) -> list[Hash32]:
    assert scene.chain is not None
    scene.registry.put(IN_FORCE)
    hashes = [await scene.accept(number, Charge(USES, 1, 1_000), nonce=number) for number in range(1, count + 1)]
    await scene.taker.start_at(block(100), 1_000)
    scene.settlement.unconfirmed.clear()
    return hashes


async def test_what_became_of_many_operations_is_asked_for_together_and_only_of_what_that_does_not_tell_alone() -> None:
    scene = Scene(chain=Chain())
    assert scene.chain is not None
    await scene.tell(89)
    hashes = await in_flight(scene, MANY)
    scene.chain.fates |= {name(number): proven_in(number, 90) for number in range(1, MANY + 1)}
    scene.chain.fates[hashes[0]] = Fate.TAKEN
    scene.chain.fates[hashes[1]] = Fate.OPEN
    scene.chain.fates[hashes[2]] = StateUnavailable("no answer")
    await scene.lookout.round()
    assert scene.chain.asked == [hashes[2]]
    assert sum(scene.chain.together) == MANY
    assert set(scene.settlement.flights.hashes()) == {hashes[1], hashes[2]}
    assert scene.settlement.unproven == {hashes[2]}
    scene.chain.fates[hashes[2]] = Fate.OPEN
    await scene.later(60)
    assert scene.settlement.unproven == set()


async def test_a_node_that_tells_nothing_at_all_is_asked_about_none_of_them_and_about_all_again_later() -> None:
    class Silent(Chain):
        async def shown(self, *_: object, **__: object) -> dict[Hash32, Mined | Fate]:
            raise StateUnavailable("no answer")

    scene = Scene(chain=Silent())
    assert scene.chain is not None
    hashes = await in_flight(scene, 20)
    await scene.lookout.round()
    assert (scene.chain.asked, scene.settlement.unproven) == ([], set(hashes))
    scene.chain.shown = Chain(fates=scene.chain.fates).shown  # type: ignore[method-assign]  # it answers again
    await scene.later(60)
    assert scene.settlement.unproven == set()


async def test_what_the_node_shows_in_a_block_that_was_taken_back_meanwhile_is_not_believed() -> None:
    scene = Scene(chain=Chain(answers=asyncio.Event()), patience=PATIENT)
    assert scene.chain is not None
    assert scene.chain.answers is not None
    hashes = await in_flight(scene, 8)
    scene.chain.fates |= {each: proven_in(number, 101) for number, each in enumerate(hashes, 1)}
    proving = asyncio.create_task(scene.lookout._prove_all())
    await scene.chain.is_asked.wait()
    await scene.tell_block(101, branch=1)
    scene.chain.answers.set()
    await proving
    assert len(scene.settlement.flights.hashes()) == 8
    assert scene.balance[1] == 8
    scene.chain.fates.clear()
    await scene.later(60)
    assert scene.settlement.unproven == set()
    assert scene.balance == (0, 8)


async def test_where_blocks_were_missed_again_while_it_was_asked_for_nothing_counts_as_proven() -> None:
    scene = Scene(chain=Chain(answers=asyncio.Event()), patience=PATIENT)
    assert scene.chain is not None
    assert scene.chain.answers is not None
    hashes = await in_flight(scene, 8)
    proving = asyncio.create_task(scene.lookout._prove_all())
    await scene.chain.is_asked.wait()
    await scene.taker.start_at(block(5_000), 9_000)
    scene.chain.answers.set()
    await proving
    assert scene.settlement.unproven == set(hashes)
    assert scene.shelf.kept[-1].cursor is None
    await scene.lookout.round()
    assert scene.settlement.unproven == set()


async def test_what_is_hidden_is_not_ended_where_blocks_were_missed_while_its_nonce_was_asked_for() -> None:
    scene = Scene(chain=Chain(), patience=PATIENT)
    chain = scene.chain
    assert chain is not None
    hashes = await in_flight(scene, 3)
    scene.settlement.unproven.clear()
    chain.fates |= dict.fromkeys(hashes, Fate.HIDDEN)
    chain.used_by_now = {1, 2, 3}
    await scene.lookout.round()
    await scene.tell_block(101)

    async def used(slots: Collection[NonceSlot], at: BlockName) -> frozenset[NonceSlot]:
        await scene.taker.start_at(block(5_000), 9_000)
        return await Chain.used(chain, slots, at)

    chain.used = used  # type: ignore[method-assign]  # what happens while it is asked
    scene.monotonic.now += 60
    await scene.lookout._prove_all()
    assert chain.looks, "it was asked"
    assert set(scene.settlement.flights.hashes()) == set(hashes)


# in turn


async def test_what_is_done_in_turn_is_done_once_and_never_for_more_at_a_time_than_is_said() -> None:
    under_way, most, done = 0, 0, list[int]()

    async def work(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done.append(number)

    await in_turn(iter(range(40)), work, lambda: 5)
    assert (sorted(done), most) == (list(range(40)), 5)
    await in_turn(iter(range(3)), work, lambda: 0)
    assert len(done) == 43


async def test_the_first_failure_in_turn_is_raised_and_nothing_goes_on_after_it() -> None:
    begun: list[int] = []
    never = asyncio.Event()

    async def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise StateUnavailable("no answer")
        await never.wait()

    with pytest.raises(StateUnavailable):
        await in_turn(iter(range(9)), work, lambda: 3)
    assert begun == [0, 1, 2]
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
