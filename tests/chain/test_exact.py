"""A reading and what is in flight add up to what was used: each operation is in exactly one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from proxy.chain.exact import ReadAnew, limits_met, tokens_of
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.chain.settlement.slices import BlockName
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.hindrance import Hindered, Hindrance
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NOTHING_USED, Basis, NonceSlot
from proxy.session.counters import Charge, Counter
from proxy.session.facts import PolicyConfigFact
from proxy.session.known import KnownSession
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.registry import Registry
from proxy.session.state import ConfigId
from proxy.userop.primitives import Hash32
from tests.admission.builders import TWICE, key_of, known
from tests.chain.builders import Clock, FakeNode, UpTo, accepted, hash_of_block
from tests.chain.on_chain import put_session
from tests.chain.test_reader import OPERATION, USES, after_uses
from tests.flat.pieces import Pieces
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import SPENDING, TOKEN, TRANSFER, USAGE, action, enabled, session, spending

KEY = key_of(TWICE)


class Used:
    """A witness that finds these nonces used at the block of a reading."""

    def __init__(self, *slots: NonceSlot) -> None:
        self.slots = frozenset(slots)
        self.blocks: list[BlockName] = []

    async def used(self, slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        self.blocks.append(block)
        return self.slots & frozenset(slots)

    async def fate(self, slot: NonceSlot, user_op_hash: Hash32, *, since: int, near: int | None = None) -> Mined | Fate:
        return Fate.OPEN

    async def block_hash(self, number: int) -> Hash32 | None:
        return None


class Scene:
    def __init__(self, chain: FakeNode, node: Node, *used: int) -> None:
        self.chain, self.registry, self.ledger = chain, Registry(), MemoryLedger()
        operations = [accepted(number, KEY, Charge(USES, 1, 2)) for number in (1, 2)]
        for operation in operations:
            self.ledger.reserve(operation.reservation, NOTHING_USED, 1_000.0)
        self.witness = Used(*(operations[number - 1].reservation.slot for number in used))
        self.operations = operations
        self.followed = UpTo()
        self.used_before: list[NonceSlot] = []
        self.reader = NodeReader(
            node,
            self.registry,
            self._keep,
            Clock(),
            ledger=self.ledger,
            witness_at=lambda _: self.witness,
            followed=self.followed,
            seconds=PATIENCE_SECONDS,
            used_before=self.used_before.extend,
        )

    async def _keep(self, session: KnownSession) -> None:
        return None

    def known(self) -> KnownSession:
        session = self.registry.get(KEY)
        assert session is not None
        return session

    @property
    def balance(self) -> tuple[int, int]:
        state = self.known().state
        assert state is not None
        return state.used.get(USES, 0), self.ledger.in_flight(USES)

    def mine(self, number: int, block: int) -> None:
        """Its receipt comes."""
        operation = self.operations[number - 1]
        self.registry.mined(
            operation.name,
            success=True,
            charges=operation.reservation.charges,
            block=block,
            counted=self.ledger.is_counted(operation.name),
            now=1.0,
        )
        self.ledger.settle(operation.reservation.slot)


async def test_what_the_reading_has_counted_is_not_in_flight_any_more(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    await scene.reader.session(KEY)
    assert scene.balance == (1, 1)
    assert scene.witness.blocks == [BlockName(100, hash_of_block(100))]
    scene.mine(1, block=100)
    assert scene.balance == (1, 1)
    scene.mine(2, block=101)
    assert scene.balance == (2, 0)


async def test_what_the_reading_has_not_counted_is_still_in_flight_whatever_block_its_receipt_names(
    chain: FakeNode, node: Node
) -> None:
    scene = Scene(chain, node)
    put_session(chain, after_uses(0))
    await scene.reader.session(KEY)
    assert scene.balance == (0, 2)
    scene.mine(1, block=99)  # a chain that has gone back since
    assert scene.balance == (1, 1)


async def test_each_reading_says_anew_what_it_has_counted(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    await scene.reader.session(KEY)
    scene.witness.slots = frozenset()
    put_session(chain, after_uses(0))
    await scene.reader.session(KEY)
    assert scene.balance == (0, 2)


async def test_a_node_behind_the_last_mined_operation_does_not_take_its_use_back(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node)
    scene.registry.put(known(TWICE))
    scene.mine(1, block=101)
    put_session(chain, after_uses(0))
    await scene.reader.session(KEY)
    assert scene.balance == (1, 1)
    chain.block = 101
    put_session(chain, after_uses(1))
    await scene.reader.session(KEY)
    assert scene.balance == (1, 1)
    assert scene.known().block == 101


async def test_a_chain_that_begins_anew_is_read_all_the_same(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node)
    scene.registry.put(known(TWICE, block=10_000))
    put_session(chain, after_uses(1))
    scene.followed.cursor = BlockName(100, hash_of_block(100))
    await scene.reader.session(KEY)
    assert scene.known().block == 100


async def test_a_node_far_behind_the_blocks_that_were_followed_takes_nothing_back(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node)
    scene.registry.put(known(TWICE, state=after_uses(1), block=10_000))
    put_session(chain, after_uses(0))
    scene.followed.cursor = BlockName(10_000, Hash32(bytes(32)))
    await scene.reader.session(KEY)
    assert scene.balance[0] == 1


async def test_while_many_blocks_are_caught_up_with_no_reading_from_before_what_a_question_has_shown_counts(
    chain: FakeNode, node: Node
) -> None:
    """A backend that lags is after what is settled, and before the block that a receipt has named."""
    scene = Scene(chain, node)
    scene.registry.put(known(TWICE))
    scene.followed.cursor = BlockName(20, hash_of_block(20))
    scene.mine(1, block=101)
    scene.followed.shown = (BlockName(101, hash_of_block(101)),)
    put_session(chain, after_uses(0))
    await scene.reader.session(KEY)
    assert scene.balance == (1, 1)
    chain.block = 101
    put_session(chain, after_uses(1))
    await scene.reader.session(KEY)
    assert (scene.balance, scene.known().block) == ((1, 1), 101)


async def test_after_a_restart_no_reading_from_before_what_was_settled_counts(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node)
    scene.registry.put(known(TWICE, state=after_uses(1)))
    scene.followed.restored_at = 101
    put_session(chain, after_uses(0))
    await scene.reader.session(KEY)
    assert scene.balance[0] == 1
    chain.block = 101
    await scene.reader.session(KEY)
    assert scene.balance[0] == 0


async def test_a_node_behind_is_doubt_where_nothing_else_is_known(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node)
    scene.registry.put(known(TWICE))
    scene.mine(1, block=101)
    scene.registry.put(replace(known(TWICE), state=None))
    put_session(chain, after_uses(0))
    with pytest.raises(StateUnavailable, match="behind"):
        await scene.reader.session(KEY)


async def test_a_counter_asked_for_while_operations_are_in_flight_is_read_with_all_the_others(
    chain: FakeNode, node: Node
) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    state = replace(after_uses(0), configs={})
    scene.registry.put(known(TWICE, state=state, block=90))
    ((policy, config_id),) = after_uses(0).configs
    assert policy == USAGE
    found = await scene.reader.find(OPERATION, state, [PolicyConfigFact(policy, config_id)])
    assert found.state is scene.known().state
    assert (scene.balance, scene.known().block) == ((1, 1), 100)


async def test_a_chain_that_goes_back_while_nonces_are_asked_for_makes_the_session_be_read_again(
    chain: FakeNode, node: Node
) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(2))

    def of_another_branch(body: dict[str, Any]) -> web.StreamResponse | None:
        if body["method"] != "eth_getBlockByNumber" or body["params"][0] == "latest":
            return None
        block = {"number": "0x64", "hash": "0x" + "ee" * 32, "parentHash": "0x" + "ed" * 32, "timestamp": "0x1"}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": block})

    async def used(slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        await node.head()
        chain.reply = of_another_branch  # from here on, for good
        return await Used.used(scene.witness, slots, block)

    scene.witness.used = used  # type: ignore[method-assign]  # what happens while it is asked
    with pytest.raises(ReadAnew):
        await scene.reader.session(KEY)
    assert scene.registry.get(KEY) is None


@pytest.mark.parametrize("block", [None, 90])
async def test_what_is_read_or_judged_while_a_chain_is_begun_anew_is_out_of_date(
    chain: FakeNode, node: Node, block: int | None
) -> None:
    """Of what was told before, the block may be another chain's, whatever its number."""
    scene = Scene(chain, node, 1)
    scene.ledger = MemoryLedger(sessions=scene.registry)
    put_session(chain, after_uses(1))
    scene.registry.put(known(TWICE, block=block))
    judged = Basis(used={USES: 0}, revision=scene.registry.revision(KEY))

    async def used(slots: Collection[NonceSlot], block: BlockName) -> frozenset[NonceSlot]:
        if not scene.witness.blocks:
            scene.registry.began_at([KEY], 100)
        return await Used.used(scene.witness, slots, block)

    scene.witness.used = used  # type: ignore[method-assign]  # what happens while it is asked
    await scene.reader.session(KEY)
    assert len(scene.witness.blocks) == 2
    sent = accepted(3, KEY, Charge(USES, 1, 2)).reservation
    assert scene.ledger.reserve(sent, judged, 1_000.0) == Hindered(Hindrance.STALE)


@pytest.mark.parametrize("times", [1, 1_000])
async def test_of_two_backends_of_which_one_has_another_block_in_that_place_a_session_is_not_read_half_from_each(
    chain: FakeNode, node: Node, times: int
) -> None:
    """By the block's number one would tell what was used, the other which nonces are."""
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    elsewhere = FakeNode()
    put_session(elsewhere, after_uses(0))
    left = [times]

    def by_the_other_one(body: dict[str, Any]) -> web.StreamResponse | None:
        if body["method"] != "eth_call" or not left[0]:
            return None
        if isinstance(body["params"][1], str):
            return web.json_response(elsewhere._response(body))
        left[0] -= 1
        error = {"code": -32000, "message": "header not found"}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": error})

    chain.reply = by_the_other_one
    if times == 1:
        await scene.reader.session(KEY)
        assert scene.balance == (1, 1)
    else:
        with pytest.raises(StateUnavailable):
            await scene.reader.session(KEY)
        assert (scene.registry.get(KEY), scene.ledger.in_flight(USES)) == (None, 2)


@pytest.mark.parametrize("settled", [99, 100])
async def test_what_is_in_flight_with_a_nonce_that_was_used_in_settled_blocks_is_told_of(
    chain: FakeNode, node: Node, settled: int
) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    scene.followed.cursor = BlockName(settled, hash_of_block(settled))
    await scene.reader.session(KEY)
    assert scene.used_before == ([] if settled < 100 else [scene.operations[0].reservation.slot])


async def test_a_reading_is_no_long_piece_of_work_where_thousands_are_in_flight(chain: FakeNode, node: Node) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    spent = Counter(KEY.module, KEY.account, SPENDING, Hash32(b"\xc0" * 32), TOKEN)
    await scene.reader.session(KEY)  # what is done once only
    for number in range(10, 10_000):
        scene.ledger.restore(accepted(number, KEY, Charge(spent, 1, 10**9), nonce=number << 64).reservation)
    with Pieces() as pieces:
        await asyncio.create_task(scene.reader.session(KEY))
    assert pieces.too_long(8_000) == {}
    assert scene.balance == (1, 1)


@pytest.mark.parametrize("is_restored", [False, True])
async def test_nor_is_it_one_to_note_that_it_has_counted_thousands_of_them_at_once(
    chain: FakeNode, node: Node, is_restored: bool
) -> None:
    scene = Scene(chain, node, 1)
    put_session(chain, after_uses(1))
    await scene.reader.session(KEY)  # what is done once only
    scene.followed.cursor = BlockName(100, hash_of_block(100))
    many = [accepted(number, KEY, Charge(USES, 1, 10**9), nonce=number << 64) for number in range(10, 4_000)]
    for each in many:
        if is_restored:
            scene.ledger.restore(each.reservation)
        else:
            scene.ledger.reserve(each.reservation, NOTHING_USED, 1_000.0)
    scene.witness.slots |= {each.reservation.slot for each in many}
    for read, slots in ((1 + len(many), scene.witness.slots), (1, frozenset({many[0].reservation.slot}))):
        put_session(chain, after_uses(read))
        scene.witness.slots = slots
        with Pieces() as pieces:
            await asyncio.create_task(scene.reader.session(KEY))
        assert pieces.too_long(8_000) == {}
        assert scene.balance == (read, 2 + len(many) - len(slots))


@pytest.mark.parametrize("met_in", ["what is known", "an operation in flight"])
async def test_tokens_that_were_met_before_are_read_with_the_session(chain: FakeNode, node: Node, met_in: str) -> None:
    """No view lists them."""
    scene, limited = Scene(chain, node), enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, 5)))))
    ((config, limits),) = limited.configs.items()
    assert isinstance(limits, SpendingLimits)
    put_session(chain, limited)
    bare = replace(limited, configs={config: SpendingLimits(complete=False)})
    in_force = replace(known(TWICE, block=90), key=limited.key, state=bare)
    scene.registry.put(in_force)
    if met_in == "what is known":
        scene.registry.put(replace(in_force, state=limited))
    else:
        spent = Counter(limited.key.module, limited.key.account, *config, TOKEN)
        scene.ledger.restore(accepted(9, limited.key, Charge(spent, 1, 5)).reservation)
    read = await scene.reader.session(limited.key)
    assert read is not None
    told = read.configs[config]
    assert isinstance(told, SpendingLimits)
    assert told.limits == {TOKEN: 5}


def test_the_tokens_to_read_are_those_known_and_those_in_flight() -> None:
    config = ConfigId(SPENDING, Hash32(b"\xc0" * 32))
    state = replace(after_uses(0), configs={config: SpendingLimits({TOKEN: 5}, complete=False)})
    other = ConfigId(SPENDING, Hash32(b"\xc1" * 32))
    counter = Counter(KEY.module, KEY.account, *other, b"\x99" * 20)
    in_flight = accepted(1, KEY, Charge(counter, 1, 2), Charge(USES, 1, 2)).reservation
    assert [*limits_met(state)] == [(config, TOKEN)]
    assert [*tokens_of(in_flight)] == [(other, b"\x99" * 20)]
