"""What a client was told through the gate counts for what it sends next, however rarely the gate looks by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from proxy.errors import Code
from proxy.userop.primitives import print_bytes, print_uint
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, key_of, known
from tests.app.builders import ONCE, use_number
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import a_session, use
from tests.edge.recording_bundler import Answer
from tests.patience import patiently
from tests.running_gate import BY_HASH, RECEIPT, HonestBundler, RunningGate, hash_of, request, running_gate
from tests.session.builders import TOKEN, TRANSFER, action, usage

SELDOM = {"poll_seconds": "300", "max_state_age": "86400"}
FOREIGN = "0x" + "f0" * 32  # an operation that did not come through the gate: an owner's, sent elsewhere
NOW = "pimlico_sendUserOperationNow"
OTHER = a_session(action(TOKEN, TRANSFER, usage(2)), salt=7)


@pytest.fixture
async def live() -> AsyncIterator[LiveNode]:
    """A chain on which TWICE and OTHER are in force."""
    node = LiveNode()
    node.grant(TWICE)
    node.grant(OTHER)
    server = await node.serve()
    yield node
    await server.cleanup()


def in_newest_block(live: LiveNode, name: str = FOREIGN, *, higher: int = 0) -> dict[str, Any]:
    """A receipt of an operation there, or in one so many blocks `higher`."""
    head = live.chain.headers[-1]
    number, block_hash = print_uint(head.number + higher), print_bytes(head.hash)
    block = {"blockNumber": number} if higher else {"blockNumber": number, "blockHash": block_hash}
    return {"userOpHash": name, "success": True, "receipt": {**block, "transactionHash": "0x" + "cd" * 32}}


async def looked_once(gate: RunningGate) -> None:
    """Returns when the first look is over: after that the gate looks no more by itself."""
    assert "result" in await gate.send(use_number(1))
    for _ in patiently():
        async with gate.http.get(f"{gate.admin}/readyz/soneium") as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.01)
    raise AssertionError("the gate is not ready")


def looks(live: LiveNode) -> int:
    """How often the node was asked for its newest block."""
    return sum(method == "eth_getBlockByNumber" and params[0] == "latest" for method, params in live.asked)


async def _by_receipt(gate: RunningGate, live: LiveNode) -> None:
    gate.bundler.receipts[FOREIGN] = in_newest_block(live)
    assert (await gate.ask(request(RECEIPT, FOREIGN)))["result"] == in_newest_block(live)


async def _by_hash(gate: RunningGate, live: LiveNode) -> None:
    gate.bundler.answers[BY_HASH] = Answer(result={"userOperation": {}, **in_newest_block(live)["receipt"]})
    assert "result" in await gate.ask(request(BY_HASH, FOREIGN))


async def _by_rundler_status(gate: RunningGate, live: LiveNode) -> None:
    told = {"status": "mined", "receipt": in_newest_block(live)}
    gate.bundler.answers["rundler_getUserOperationStatus"] = Answer(result=told)
    assert (await gate.ask(request("rundler_getUserOperationStatus", FOREIGN)))["result"] == told


async def _by_status_from_a_receipt(gate: RunningGate, live: LiveNode) -> None:
    gate.bundler.receipts[FOREIGN] = in_newest_block(live)
    gate.bundler.answers["pimlico_getUserOperationStatus"] = Answer(error={"code": -32601, "message": "unknown method"})
    answer = await gate.ask(request("pimlico_getUserOperationStatus", FOREIGN))
    assert answer["result"]["status"] == "included"


async def _by_status_alone(gate: RunningGate, _live: LiveNode) -> None:
    told = {"status": "included", "transactionHash": "0x" + "cd" * 32}
    gate.bundler.answers["pimlico_getUserOperationStatus"] = Answer(result=told)
    name = hash_of(use_number(1))  # of an operation that is in flight here
    assert (await gate.ask(request("pimlico_getUserOperationStatus", name)))["result"] == told


async def _by_sending_and_waiting(gate: RunningGate, live: LiveNode) -> None:
    op = use(OTHER, ONCE, nonce=use_number(8).nonce)
    gate.bundler.answers[NOW] = Answer(result=in_newest_block(live, hash_of(op)))
    assert "result" in await gate.send(op, NOW)


async def _by_transaction(gate: RunningGate, live: LiveNode) -> None:
    receipt = in_newest_block(live)["receipt"]
    gate.bundler.answers["eth_getTransactionReceipt"] = Answer(result=receipt)
    assert (await gate.ask(request("eth_getTransactionReceipt", "0x" + "cd" * 32)))["result"] == receipt


@pytest.mark.parametrize(
    "told",
    [
        _by_receipt,
        _by_hash,
        _by_rundler_status,
        _by_status_from_a_receipt,
        _by_status_alone,
        _by_sending_and_waiting,
        _by_transaction,
    ],
    ids=lambda told: told.__name__.strip("_"),
)
async def test_who_was_told_of_a_block_is_judged_by_what_it_holds(
    live: LiveNode, told: Callable[[RunningGate, LiveNode], Any]
) -> None:
    chain = {**SELDOM, "allow_methods": ["eth_getTransactionReceipt"], "status_methods": "translate"}
    async with running_gate(node_url=live.url, chain=chain) as gate:
        await looked_once(gate)
        live.mine(use_number(1))
        live.revoke(TWICE)
        await told(gate, live)
        assert (await gate.send(use_number(2)))["error"]["code"] == Code.SESSION_REVOKED


async def test_many_who_are_told_of_one_block_wait_for_one_look(live: LiveNode) -> None:
    async with running_gate(node_url=live.url, chain=SELDOM) as gate:
        await looked_once(gate)
        live.mine()
        gate.bundler.receipts[FOREIGN] = in_newest_block(live)
        before = looks(live)
        await asyncio.gather(*(gate.ask(request(RECEIPT, FOREIGN)) for _ in range(40)))
        assert looks(live) - before == 1


async def test_a_block_that_the_node_shows_a_little_later_is_waited_for(live: LiveNode) -> None:
    async with running_gate(node_url=live.url, chain=SELDOM) as gate:
        await looked_once(gate)
        live.behind = 1
        live.revoke(TWICE)
        gate.bundler.receipts[FOREIGN] = in_newest_block(live)
        before = looks(live)
        asking = asyncio.create_task(gate.ask(request(RECEIPT, FOREIGN)))
        await gate.until(lambda: looks(live) > before, "the gate has looked, and not found it")
        live.behind = 0
        await asking
        assert (await gate.send(use_number(2)))["error"]["code"] == Code.SESSION_REVOKED


async def test_a_number_that_is_made_up_is_waited_for_once_and_not_by_every_request(live: LiveNode) -> None:
    async with running_gate(node_url=live.url, chain=SELDOM) as gate:
        await looked_once(gate)
        gate.bundler.receipts[FOREIGN] = in_newest_block(live, higher=10**9)
        await asyncio.gather(*(gate.ask(request(RECEIPT, FOREIGN)) for _ in range(40)))
        looked = looks(live)
        for _ in range(40):
            assert "result" in await gate.ask(request(RECEIPT, FOREIGN))
        # a second or two pass meanwhile on a busy machine, and as many waits
        assert looks(live) - looked < 40
        live.revoke(TWICE)
        gate.bundler.receipts[FOREIGN] = in_newest_block(live)
        await gate.ask(request(RECEIPT, FOREIGN))
        assert (await gate.send(use_number(2)))["error"]["code"] == Code.SESSION_REVOKED


async def test_while_the_node_is_in_trouble_nobody_waits_for_it(live: LiveNode) -> None:
    async with running_gate(node_url=live.url, chain=SELDOM) as gate:
        await looked_once(gate)
        live.reply = lambda _body: web.Response(status=502, text="bad gateway")
        gate.bundler.receipts[FOREIGN] = in_newest_block(live, higher=1)
        await gate.ask(request(RECEIPT, FOREIGN))  # it is found out here that it is
        looked = looks(live)
        for _ in range(20):
            assert "result" in await gate.ask(request(RECEIPT, FOREIGN))
        assert looks(live) == looked


def spent(gate: RunningGate) -> int:
    """How often TWICE has been used, as far as is known."""
    session = gate.running.registry.get(key_of(TWICE))
    assert session is not None
    assert session.state is not None
    return sum(session.state.used.values())


async def test_without_a_node_the_gate_asks_for_a_receipt_itself_before_the_client_has_it() -> None:
    async with running_gate(chain=SELDOM) as gate:
        gate.running.registry.put(known(TWICE))
        op: UserOperation = use_number(1)
        assert "result" in await gate.send(op)
        name = gate.bundler.mine(op)
        await gate.ask(request(RECEIPT, name))
        assert spent(gate) == 1
        assert isinstance(gate.bundler, HonestBundler)
