"""However many operations cannot be proven, or are over at once, no piece of work is long for it."""

from __future__ import annotations

import asyncio

from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Mined
from proxy.session.counters import Charge
from tests.chain.settlement.builders import IN_FORCE, USES, Chain, Scene, block
from tests.flat.pieces import Pieces

MANY = 6_000
MOST_CALLS = 25_000
VALID_UNTIL = 2_000


class Silent(Chain):
    async def shown(self, *_: object, **__: object) -> dict[bytes, Mined | Fate]:  # type: ignore[override]  # raises
        raise StateUnavailable("no answer")


async def in_flight(**of_operation: object) -> Scene:
    scene = Scene(chain=Silent())
    scene.registry.put(IN_FORCE)
    for number in range(1, MANY + 1):
        await scene.accept(number, Charge(USES, 1, 2 * MANY), nonce=number, **of_operation)
    await scene.taker.start_at(block(100), 1_000)
    scene.settlement.unconfirmed.clear()
    scene.settlement.to_doubt.clear()
    return scene


async def test_no_piece_of_work_is_long_where_the_validity_of_many_is_over_that_are_to_be_proven_first() -> None:
    scene = await in_flight(valid_until=VALID_UNTIL)
    with Pieces() as pieces:
        await asyncio.create_task(scene.tell_block(101, timestamp=VALID_UNTIL + 1_000))
    assert (len(scene.settlement), scene.causes) == (MANY, [])
    assert pieces.too_long(MOST_CALLS) == {}


async def test_nor_where_a_node_that_tells_nothing_leaves_many_to_be_asked_about_again() -> None:
    scene = await in_flight()
    with Pieces() as pieces:
        await asyncio.create_task(scene.lookout._prove_all())
    assert len(scene.settlement.unproven) == MANY
    assert pieces.too_long(MOST_CALLS) == {}


async def test_nor_where_many_have_been_waited_for_long_enough_at_once() -> None:
    scene = await in_flight()
    scene.settlement.unproven.clear()
    scene.settlement.to_prove.clear()
    scene.settlement.known_seconds += 10_000
    with Pieces() as pieces:
        await asyncio.create_task(scene.tell_block(101))
    assert len(scene.settlement.to_prove) == MANY
    assert pieces.too_long(MOST_CALLS) == {}
