"""However many ask at once, what ends keeps up with what is let in."""

from __future__ import annotations

import asyncio

import pytest

from proxy.chain.settlement import pace as pace_module
from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.pace import Pace
from proxy.chain.settlement.slices import MOST_ENDS
from proxy.session.counters import Charge
from tests.chain.settlement.builders import IN_FORCE, USES, Chain, Scene, mined
from tests.patience import PATIENCE_SECONDS, patiently

CLIENTS = 64
TURNS_OF_A_DISK = 3
USE = Charge(USES, 1, 1_000)


async def waiting(pace: Pace, many: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(pace.turn()) for _ in range(many)]
    await asyncio.sleep(0)
    return tasks


def let_in(tasks: list[asyncio.Task[None]]) -> int:
    return sum(task.done() for task in tasks)


async def test_where_no_block_is_being_settled_nobody_waits() -> None:
    assert let_in(await waiting(Pace(), 3)) == 3


async def test_while_a_block_is_being_settled_one_is_let_in_for_every_four_that_end_first_come_first_served() -> None:
    pace = Pace()
    pace.ended(2)
    tasks = await waiting(pace, 6)
    assert [task.done() for task in tasks] == [True, *[False] * 5]
    pace.ended(8)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, True, False, False, False]
    pace.rest()
    await asyncio.gather(*tasks)


async def test_who_comes_while_nobody_waits_has_the_turn_that_the_last_piece_left() -> None:
    pace = Pace()
    pace.ended(8)
    assert [pace.may_pass() for _ in range(3)] == [True, True, False]
    (first,) = await waiting(pace, 1)
    pace.ended(8)
    assert pace.may_pass(), "one of two turns was waited for"
    await first
    (second,) = await waiting(pace, 1)
    assert not pace.may_pass(), "nobody goes before who waits"
    pace.rest()
    assert pace.may_pass()
    await second


async def test_turns_that_nobody_took_are_not_hoarded() -> None:
    pace = Pace()
    for _ in range(100):
        pace.ended(MOST_ENDS)
    assert sum(pace.may_pass() for _ in range(100)) < 2 * MOST_ENDS / 4
    pace.rest()
    pace.ended(2)
    assert [pace.may_pass() for _ in range(2)] == [True, False], "nothing is left of the block before"


async def test_who_has_gone_away_takes_no_turn_from_others() -> None:
    pace = Pace()
    pace.ended(2)
    assert pace.may_pass()
    gone, *others = await waiting(pace, 2)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    pace.ended(2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*others)


async def test_a_settlement_that_hangs_keeps_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "_LONGEST_SECONDS", 0.01)
    pace = Pace()
    pace.ended(2)
    assert pace.may_pass()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await pace.turn()
    assert pace.is_settling


async def test_a_block_of_many_operations_is_settled_before_many_more_are_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each client asks again as soon as it was let in: without turns all of them would be, at each turn of the loop."""
    scene = Scene(chain=Chain())
    keep = scene.shelf.keep

    async def keep_as_a_disk_does(outcome: Outcome) -> None:
        for _ in range(TURNS_OF_A_DISK):
            await asyncio.sleep(0)
        await keep(outcome)

    monkeypatch.setattr(scene.shelf, "keep", keep_as_a_disk_does)
    scene.registry.put(IN_FORCE)
    many = 8 * MOST_ENDS
    names = [await scene.accept(number, USE) for number in range(1, many + 1)]
    came: list[int] = []

    async def client(number: int) -> None:
        while True:
            await scene.settlement.pace.turn()
            came.append(number)
            await asyncio.sleep(0)

    await scene.tell(9)
    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    telling = asyncio.create_task(
        scene.tell(10, *(mined(name, 10, nonce=nonce) for nonce, name in enumerate(names, start=1)))
    )
    in_flight = scene.ledger.in_flight
    for _ in patiently():
        if in_flight(USE.counter) < many:
            break
        await asyncio.sleep(0)
    before = len(came)
    for _ in patiently():
        if not in_flight(USE.counter):
            break
        await asyncio.sleep(0)
    assert not in_flight(USE.counter)
    assert len(came) - before <= many // 4 + 2 * CLIENTS
    await telling
    assert not scene.settlement.pace.is_settling
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
