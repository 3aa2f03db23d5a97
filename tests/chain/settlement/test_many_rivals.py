"""A thousand operations whose nonces were used by something else are proven by few questions to the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from proxy.chain.node import Node
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.slices import BlockName
from proxy.chain.several import SeveralAsking
from proxy.chain.witness import Fate, NodeWitness
from proxy.ledger.operations import Cause, Evidence, Mined
from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import Charge
from proxy.userop.primitives import Hash32
from tests.chain import test_witness_of_many as of_many
from tests.chain.builders import FakeNode
from tests.chain.settlement.builders import IN_FORCE, USES, Chain, Scene, block
from tests.patience import PATIENCE_SECONDS

MANY = 1_000
FEW = MANY // 4
"""Exchanges: asked about one by one they take two or three each."""
HEAD = of_many.HEAD


class AtNodes(Chain):
    """What the nodes say over JSON-RPC."""

    def __init__(self, *nodes: of_many.Chain) -> None:
        asking = nodes[0] if len(nodes) == 1 else SeveralAsking(nodes)
        node = Node(asking, concurrency=4, timeout_seconds=PATIENCE_SECONDS)
        super().__init__(several=len(nodes) > 1, at_once=lambda: node.at_once)
        self.there = NodeWitness(node)

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32, *, since: int, near: int | None = None) -> Mined | Fate:
        self.asked.append(user_op_hash)
        return await self.there.fate(slot, user_op_hash, since=since, near=near)

    async def shown(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        return await self.there.shown(slots, since=since)

    async def used_by(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, Mined | Fate]:
        return await self.there.used_by(slots, since=since)

    async def used(self, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        return await self.there.used(slots, block)


async def a_thousand(*nodes: of_many.Chain, shown: tuple[bool, ...]) -> tuple[Scene, list[Hash32]]:
    """In flight when a gate begins anew, with nonces that are used: of each node whether it shows by what."""
    scene = Scene(chain=AtNodes(*nodes), patience=Patience(timeout=PATIENCE_SECONDS))
    scene.registry.put(IN_FORCE)
    hashes = [await scene.accept(number, Charge(USES, 1, 2 * MANY), nonce=number) for number in range(1, MANY + 1)]
    slots = [flight.slot for op in hashes if (flight := scene.settlement.flights.get(op)) is not None]
    for node, is_shown in zip(nodes, shown, strict=True):
        node.use(slots[-1], is_used=True)
        if is_shown:
            node.logs += [of_many.event(of_many.STRANGER, each, HEAD - number) for number, each in enumerate(slots)]
    await scene.taker.start_at(block(HEAD), 1_000)
    scene.settlement.unconfirmed.clear()
    return scene, hashes


def nodes_of(count: int) -> list[of_many.Chain]:
    return [of_many.Chain(FakeNode(block=HEAD)) for _ in range(count)]


async def test_a_thousand_rivals_are_proven_together() -> None:
    (node,) = nodes_of(1)
    scene, _ = await a_thousand(node, shown=(True,))
    await scene.lookout.round()
    assert (len(scene.settlement), scene.causes) == (0, [Cause.NONCE_USED] * MANY)
    assert scene.settlement.unproven == set()
    assert node.exchanges < FEW


async def test_so_are_nonces_that_nothing_is_shown_to_have_used_as_soon_as_the_next_block_is_settled() -> None:
    (node,) = nodes_of(1)
    scene, _ = await a_thousand(node, shown=(False,))
    await scene.lookout.round()
    assert len(scene.settlement) == MANY  # they may have been mined in blocks that were missed
    assert node.exchanges < FEW
    scene.settlement.unproven.clear()
    for number in (HEAD + 1, HEAD + 2):
        node.table.block = number
        await scene.tell_block(number)
        await scene.later(60)
    assert (len(scene.settlement), scene.causes) == (0, [Cause.NONCE_USED] * MANY)
    assert node.exchanges < 3 * FEW


@pytest.mark.parametrize(("second", "left"), [(True, 0), (False, MANY)])
async def test_two_nodes_are_both_heard_about_a_thousand_together(second: bool, left: int) -> None:
    nodes = nodes_of(2)
    scene, _ = await a_thousand(*nodes, shown=(True, second))
    await scene.lookout.round()
    assert len(scene.settlement) == left
    assert nodes[0].exchanges + nodes[1].exchanges < 2 * FEW


async def test_a_second_node_is_asked_together_about_all_whose_nonces_were_seen_to_be_used() -> None:
    nodes = nodes_of(2)
    scene, hashes = await a_thousand(*nodes, shown=(True, True))
    scene.settlement.unproven.clear()
    scene.settlement.unseconded |= dict.fromkeys(hashes, Evidence(block=HEAD, block_hash=block(HEAD).hash))
    await scene.lookout.round()
    assert isinstance(scene.chain, AtNodes)
    assert (len(scene.settlement), scene.chain.asked) == (0, [])
    assert nodes[0].exchanges + nodes[1].exchanges < FEW
