"""Another node is asked when one does not answer; one that is on another chain is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.chain import contract_abi, several
from proxy.chain.blocks.events import USER_OPERATION_EVENT
from proxy.chain.blocks.source import LogFilter
from proxy.chain.node import Node
from proxy.chain.settlement.slices import BlockName
from proxy.chain.several import NodeChoice, SeveralAsking
from proxy.chain.web3_asking import MOST_ANSWER_BYTES, Web3Asking
from proxy.chain.witness import GET_ENTRY_POINT_NONCE, Fate, NodeWitness
from proxy.errors import NotGiven, StateUnavailable
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.chain.builders import FakeNode, hash_of_block
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import ACCOUNT

SLOT = NonceSlot(1868, Address(b"\xee" * 20), ACCOUNT, 4)


class Pair:
    """Two nodes of a chain and a client for both."""

    def __init__(self, servers: list[TestServer], tables: list[FakeNode]) -> None:
        self.servers = servers
        self.first, self.second = tables
        self.asking = SeveralAsking([Web3Asking(str(server.make_url("/"))) for server in servers])
        self.node = Node(self.asking, timeout_seconds=PATIENCE_SECONDS)

    async def stop_first(self) -> None:
        await self.servers[0].close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    tables = [FakeNode(), FakeNode()]
    servers = [await table.start() for table in tables]
    made = Pair(servers, tables)
    yield made
    await made.node.close()
    for server in servers:
        await server.close()


def elsewhere(table: FakeNode) -> None:
    """Its blocks have other hashes from here on."""

    def reply(body: dict[str, object]) -> web.StreamResponse | None:
        if body["method"] != "eth_getBlockByNumber":
            return None
        block = {"number": "0x64", "hash": "0x" + "ee" * 32, "parentHash": "0x" + "ed" * 32, "timestamp": "0x1"}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": block})

    table.reply = reply


async def test_a_node_whose_answer_is_too_long_or_that_takes_no_batches_is_not_changed_for_another(pair: Pair) -> None:
    pair.first.reply = lambda _: web.Response(body=b" " * (MOST_ANSWER_BYTES + 1))
    with pytest.raises(NotGiven, match="cannot be taken"):
        await pair.node.logs_between(1, 100, LogFilter())
    pair.first.reply, pair.first.batches = (lambda _: None), False
    await asyncio.gather(*(pair.node.chain_id() for _ in range(10)))
    assert (pair.asking.at, pair.second.asked) == (0, [])


async def test_the_first_is_asked_while_it_answers(pair: Pair) -> None:
    for _ in range(3):
        assert (await pair.node.head()).hash == hash_of_block(100)
    assert pair.second.asked == []


async def test_another_is_asked_in_the_same_question_when_one_is_gone(pair: Pair) -> None:
    await pair.node.head()
    await pair.stop_first()
    assert await pair.node.chain_id() == 1868
    assert pair.asking.at == 1
    assert ("eth_getBlockByNumber", ["0x64", False]) in pair.second.asked
    assert (await pair.node.head()).number == 100


def misnames(body: dict[str, Any]) -> web.StreamResponse | None:
    """A block that is asked for by its number is another one."""
    if body["method"] != "eth_getBlockByNumber" or body["params"][0] == "latest":
        return None
    block = {"number": "0x1", "hash": "0x" + "ee" * 32, "parentHash": "0x" + "ed" * 32, "timestamp": "0x1"}
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": block})


async def test_another_is_asked_in_the_same_question_when_one_names_another_block_than_it_was_asked_for(
    pair: Pair,
) -> None:
    await pair.node.head()
    pair.first.reply = misnames
    headers = await pair.node.headers(list(range(90, 95)))
    assert [header and header.hash for header in headers] == [hash_of_block(number) for number in range(90, 95)]
    assert pair.asking.at == 1


@pytest.mark.parametrize("second", [misnames, elsewhere])
async def test_a_block_that_no_other_node_names_either_is_doubt(pair: Pair, second: Any) -> None:
    await pair.node.head()
    pair.first.reply = misnames
    if second is elsewhere:
        elsewhere(pair.second)
    else:
        pair.second.reply = second
    with pytest.raises(StateUnavailable, match="something else"):
        await pair.node.header(90)
    assert pair.asking.at == 0


async def test_a_block_under_another_number_is_no_proof_of_what_other_nodes_should_have(pair: Pair) -> None:
    """What it named would keep every node that has the chain from being asked."""
    pair.first.reply = misnames
    assert await pair.node.header(90) is not None
    await pair.node.head()
    await pair.servers[1].close()
    pair.first.reply = lambda _: None
    assert await pair.node.chain_id() == 1868


async def test_a_node_with_other_blocks_is_not_asked(pair: Pair) -> None:
    await pair.node.head()
    elsewhere(pair.second)
    await pair.stop_first()
    with pytest.raises(StateUnavailable):
        await pair.node.chain_id()
    assert pair.asking.at == 0
    assert {method for method, _ in pair.second.asked} == {"eth_getBlockByNumber"}


async def test_a_node_that_has_not_got_the_blocks_yet_is_not_asked(pair: Pair) -> None:
    await pair.node.head()
    pair.second.block = 90
    await pair.stop_first()
    with pytest.raises(StateUnavailable):
        await pair.node.chain_id()
    pair.second.block = 100
    assert await pair.node.chain_id() == 1868


async def test_nodes_may_differ_over_the_newest_blocks(pair: Pair) -> None:
    await pair.node.headers(list(range(80, 101)))
    pair.second.block = 95
    await pair.stop_first()
    assert await pair.node.chain_id() == 1868


async def test_a_node_that_hangs_is_left_after_a_while(pair: Pair) -> None:
    await pair.node.head()
    pair.first.hangs = True
    node = Node(pair.asking, timeout_seconds=0.02)
    for _ in range(2):
        with pytest.raises(StateUnavailable, match="did not answer"):
            await node.chain_id()
    assert await Node(pair.asking, timeout_seconds=PATIENCE_SECONDS).chain_id() == 1868
    assert pair.asking.at == 1


async def test_who_waits_for_a_node_that_is_late_is_answered_by_another_one(pair: Pair) -> None:
    await pair.node.head()
    pair.first.hangs = True
    assert await pair.node.chain_id() == 1868
    assert (pair.asking.at, await pair.node.chain_id()) == (1, 1868)


async def test_a_late_node_is_not_left_for_one_with_other_blocks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.node.head()
    elsewhere(pair.second)
    monkeypatch.setattr(several, "_LATE_SECONDS", 0.0)
    for _ in range(3):
        assert await pair.node.chain_id() == 1868
    assert (pair.asking.at, len(pair.second.asked)) == (0, 1)  # it is not asked again at once


async def test_logs_may_take_their_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.node.head()
    monkeypatch.setattr(several, "_LATE_SECONDS", 0.0)
    assert await pair.node.logs_between(1, 100, LogFilter()) == ()
    assert pair.asking.at == 0
    await pair.node.chain_id()
    assert pair.asking.at == 1


def used_on(table: FakeNode, next_nonce: int) -> None:
    key = SLOT.nonce >> 64
    table.view(SLOT.entry_point, GET_ENTRY_POINT_NONCE, SLOT.sender, key, returns=(next_nonce,))
    table.reply = rivals_event


def rivals_event(body: dict[str, Any]) -> web.StreamResponse | None:
    """Another operation is shown to have used the nonce."""
    if body["method"] != "eth_getLogs":
        return None
    event = {
        "address": print_bytes(SLOT.entry_point),
        "topics": [
            print_bytes(each) for each in (USER_OPERATION_EVENT, b"\x02" * 32, SLOT.sender.rjust(32, b"\0"), bytes(32))
        ],
        "data": print_bytes(contract_abi.encode(("uint256", "bool", "uint256", "uint256"), (SLOT.nonce, True, 1, 1))),
        "blockNumber": body["params"][0]["toBlock"],
        "blockHash": print_bytes(hash_of_block(90)),
        "transactionHash": print_bytes(b"\x77" * 32),
        "logIndex": "0x0",
    }
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": [event]})


@pytest.mark.parametrize(("second", "told"), [(5, True), (4, False)])
async def test_before_a_nonce_counts_as_taken_two_nodes_have_to_say_so(pair: Pair, second: int, told: bool) -> None:
    used_on(pair.first, 5)
    used_on(pair.second, second)
    witness = NodeWitness(pair.node)
    if told:
        assert await witness.fate(SLOT, Hash32(b"\x01" * 32), since=0) is Fate.TAKEN
    else:
        with pytest.raises(StateUnavailable, match="two nodes"):
            await witness.fate(SLOT, Hash32(b"\x01" * 32), since=0)


async def test_an_operation_that_is_open_needs_no_second_opinion(pair: Pair) -> None:
    used_on(pair.first, 4)
    assert await NodeWitness(pair.node).fate(SLOT, Hash32(b"\x01" * 32), since=0) is Fate.OPEN
    assert pair.second.asked == []


def shows_nothing(body: dict[str, Any]) -> web.StreamResponse | None:
    """As a node does that keeps no older logs."""
    if body["method"] != "eth_getLogs":
        return None
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": []})


@pytest.mark.parametrize(("op", "told"), [(b"\x02", True), (b"\x01", False)])
async def test_what_one_node_shows_no_event_of_another_one_may_show(pair: Pair, op: bytes, told: bool) -> None:
    used_on(pair.first, 5)
    used_on(pair.second, 5)
    pair.first.reply = shows_nothing
    fate = await NodeWitness(pair.node).fate(SLOT, Hash32(op * 32), since=0)
    assert isinstance(fate, Mined) if told else fate is Fate.TAKEN


async def test_a_nonce_that_only_one_node_has_for_used_is_doubt_also_where_nothing_shows_by_what(pair: Pair) -> None:
    used_on(pair.first, 5)
    used_on(pair.second, 4)
    pair.first.reply = shows_nothing
    with pytest.raises(StateUnavailable, match="two nodes"):
        await NodeWitness(pair.node).fate(SLOT, Hash32(b"\x01" * 32), since=0)
    used_on(pair.second, 5)
    pair.second.reply = shows_nothing
    assert await NodeWitness(pair.node).fate(SLOT, Hash32(b"\x01" * 32), since=0) is Fate.HIDDEN


ANCHOR = BlockName(92, hash_of_block(92))


async def test_what_answers_in_vain_is_left_for_what_has_the_chain(pair: Pair) -> None:
    await pair.node.head()
    pair.second.block = 101
    assert await pair.node.leave(1868, "it stands still", 101, ANCHOR)
    assert (pair.asking.at, (await pair.node.head()).number) == (1, 101)


@pytest.mark.parametrize("fault", ["no further", "another chain", "another branch", "unlinked", "gone"])
async def test_it_is_not_left_for_one_that_is_no_better(pair: Pair, fault: str) -> None:
    await pair.node.head()
    pair.second.block = 101
    if fault == "no further":
        pair.second.block = 100
    elif fault == "another chain":
        pair.second.chain_id = 1
    elif fault == "another branch":
        elsewhere(pair.second)
    elif fault == "unlinked":
        pair.second.reply = unlinked
    else:
        await pair.servers[1].close()
    assert not await pair.node.leave(1868, "it stands still", 101, ANCHOR)
    assert (pair.asking.at, (await pair.node.head()).number) == (0, 100)


def unlinked(body: dict[str, object]) -> web.StreamResponse | None:
    """Its newest block is of no chain that it has."""
    if body["method"] != "eth_getBlockByNumber" or body["params"] != ["latest", False]:
        return None
    block = {"number": "0x65", "hash": "0x" + "ee" * 32, "parentHash": "0x" + "ed" * 32, "timestamp": "0x1"}
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": block})


async def test_a_block_that_neither_has_is_no_argument_for_the_one_that_is_asked(pair: Pair) -> None:
    elsewhere(pair.first)
    assert await pair.node.leave(1868, "no block is the parent of the next", 0, BlockName(92, Hash32(b"\xab" * 32)))
    assert pair.asking.at == 1


async def test_all_who_share_a_choice_ask_the_same_node(pair: Pair) -> None:
    choice = NodeChoice()
    urls = [str(server.make_url("/")) for server in pair.servers]
    one, other = (Node(urls, timeout_seconds=PATIENCE_SECONDS, choice=choice) for _ in range(2))
    assert await one.leave(1868, "it stands still", 0, None)
    pair.first.asked.clear()
    assert (await other.head()).number == 100
    assert pair.first.asked == []
    await one.close()
    await other.close()
