"""The entry point's nonces and events say what became of an operation."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from proxy.chain.node import Node
from proxy.chain.settlement.slices import BlockName
from proxy.chain.witness import GET_ENTRY_POINT_NONCE, USER_OPERATION_EVENT, Fate, NodeWitness
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop import abi
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.chain.builders import FakeNode, hash_of_block

ENTRY_POINT = Address(b"\xee" * 20)
SENDER = Address(b"\xac" * 20)
KEY = 0x1234
OP = Hash32(b"\x0b" * 32)
DATA = abi.tuple_of(abi.UINT256, abi.BOOL, abi.UINT256, abi.UINT256)


def slot(sequence: int, key: int = KEY) -> NonceSlot:
    return NonceSlot(1, ENTRY_POINT, SENDER, key << 64 | sequence)


def put_nonce(chain: FakeNode, sequence: int, key: int = KEY) -> None:
    chain.view(ENTRY_POINT, GET_ENTRY_POINT_NONCE, SENDER, key, returns=(key << 64 | sequence,))


def put_events(chain: FakeNode, *logs: dict[str, Any], most: int = 1_000) -> None:
    """`most`: of more events at once the node does not tell."""

    def reply(body: dict[str, Any]) -> web.StreamResponse | None:
        if body["method"] != "eth_getLogs":
            return None
        where = body["params"][0]
        told, named, senders = where["topics"]
        assert (told, senders) == ([print_bytes(USER_OPERATION_EVENT)], [print_bytes(SENDER.rjust(32, b"\0"))])
        first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
        fits = (log for log in logs if named is None or log["topics"][1] in named)
        found = [log for log in fits if first <= int(log["blockNumber"], 16) <= last]
        if len(found) > most:
            error = {"code": -32005, "message": "query returned more results than it may"}
            return web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": found})

    chain.reply = reply


def event(
    block: int, *, success: bool = True, removed: bool = False, op: Hash32 = OP, nonce: int = 5
) -> dict[str, Any]:
    return {
        "address": print_bytes(ENTRY_POINT),
        "topics": [
            print_bytes(USER_OPERATION_EVENT),
            print_bytes(op),
            print_bytes(SENDER.rjust(32, b"\0")),
            "0x" + "00" * 32,
        ],
        "data": print_bytes(abi.encode(DATA, (KEY << 64 | nonce, success, 1, 1))),
        "blockNumber": hex(block),
        "blockHash": print_bytes(hash_of_block(block)),
        "transactionHash": "0x" + "77" * 32,
        "logIndex": "0x0",
        "removed": removed,
    }


@pytest.mark.parametrize("is_ours", [True, False])
async def test_an_operation_of_an_account_that_executes_more_than_a_node_tells_at_once_is_found(
    chain: FakeNode, node: Node, is_ours: bool
) -> None:
    put_nonce(chain, 6)
    others = [event(block, op=Hash32(b"\x0c" * 32), nonce=100 + block) for block in range(60, 100) for _ in range(2)]
    by = OP if is_ours else Hash32(b"\x0d" * 32)
    put_events(chain, *others, event(70, op=by), most=5)
    fate = await NodeWitness(node).fate(slot(5), OP, since=0)
    assert isinstance(fate, Mined) if is_ours else fate is Fate.TAKEN


async def test_where_a_nonce_was_seen_to_be_used_the_node_looks_first_and_else_everywhere(
    chain: FakeNode, node: Node
) -> None:
    put_nonce(chain, 6)
    put_events(chain, event(70, op=Hash32(b"\x0d" * 32)), *(event(block, nonce=100) for block in range(60, 100)))
    for near, questions in ((70, 1), (71, 3)):
        asked = len(chain.asked)
        assert await NodeWitness(node).fate(slot(5), OP, since=0, near=near) is Fate.TAKEN
        assert [method for method, _ in chain.asked[asked:]].count("eth_getLogs") == questions
    put_events(chain, event(90))
    assert isinstance(await NodeWitness(node).fate(slot(5), OP, since=0, near=70), Mined)


async def test_a_nonce_is_used_when_the_next_one_is_beyond_it(chain: FakeNode, node: Node) -> None:
    put_nonce(chain, 5)
    put_nonce(chain, 0, key=9)
    slots = [slot(4), slot(5), slot(6), slot(0, key=9)]
    assert await NodeWitness(node).used(slots, BlockName(77, OP)) == {slot(4)}
    asked_at = [params[1]["blockHash"] for params in chain.calls_asked()]
    assert asked_at == [print_bytes(OP)] * 2  # one question for each key


async def test_an_unused_nonce_is_open(chain: FakeNode, node: Node) -> None:
    put_nonce(chain, 5)
    assert await NodeWitness(node).fate(slot(5), OP, since=0) is Fate.OPEN


async def test_of_a_node_that_is_behind_what_is_settled_nothing_is_believed(chain: FakeNode, node: Node) -> None:
    """A backend of a balancer that has not got the block of an operation yet finds its nonce unused."""
    put_nonce(chain, 5)
    with pytest.raises(StateUnavailable, match="before"):
        await NodeWitness(node).fate(slot(5), OP, since=chain.block + 1)
    assert await NodeWitness(node).fate(slot(5), OP, since=chain.block) is Fate.OPEN


@pytest.mark.parametrize("success", [True, False])
async def test_the_event_tells_that_it_was_mined_where_and_how(chain: FakeNode, node: Node, success: bool) -> None:
    put_nonce(chain, 6)
    put_events(chain, event(90, success=success))
    assert await NodeWitness(node).fate(slot(5), OP, since=0) == Mined(
        user_op_hash=OP, success=success, block=90, block_hash=hash_of_block(90), transaction=Hash32(b"w" * 32)
    )


async def test_the_event_of_another_operation_with_its_nonce_tells_that_it_was_taken(
    chain: FakeNode, node: Node
) -> None:
    put_nonce(chain, 6)
    put_events(chain, event(89, nonce=4), event(90, op=Hash32(b"\x0c" * 32)), event(91, op=OP, removed=True))
    assert await NodeWitness(node).fate(slot(5), OP, since=0) is Fate.TAKEN


async def test_a_used_nonce_that_no_event_tells_of_is_hidden(chain: FakeNode, node: Node) -> None:
    put_nonce(chain, 6)
    put_events(chain, event(90, nonce=4), event(90, removed=True))
    assert await NodeWitness(node).fate(slot(5), OP, since=0) is Fate.HIDDEN


async def test_an_event_of_long_ago_is_found(chain: FakeNode, node: Node) -> None:
    chain.block = 30_000
    put_nonce(chain, 6)
    put_events(chain, event(7))
    mined = await NodeWitness(node).fate(slot(5), OP, since=0)
    assert isinstance(mined, Mined)
    assert mined.block == 7


async def test_an_event_that_cannot_be_read_is_doubt(chain: FakeNode, node: Node) -> None:
    put_nonce(chain, 6)
    put_events(chain, {**event(90, success=True), "data": "0x"})
    with pytest.raises(StateUnavailable):
        await NodeWitness(node).fate(slot(5), OP, since=0)


async def test_an_entry_point_that_is_not_there_is_doubt(chain: FakeNode, node: Node) -> None:
    with pytest.raises(StateUnavailable):
        await NodeWitness(node).used([slot(1)], BlockName(77, OP))
