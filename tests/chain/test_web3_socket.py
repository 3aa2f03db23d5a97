"""A node reached by WebSocket answers like any other, and tells of its new blocks by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.chain.node import Node, Reverted
from proxy.errors import StateUnavailable
from proxy.userop.primitives import Address
from tests.chain.builders import FakeNode, Reverts, hash_of_block
from tests.patience import PATIENCE_SECONDS
from tests.stopping import TestServer

CONTRACT = Address(b"\xc0" * 20)


class SocketNode:
    """The table's answers, over WebSockets."""

    def __init__(self) -> None:
        self.table = FakeNode()
        self.sockets: list[web.WebSocketResponse] = []
        self.heads = asyncio.Event()
        self.garbage = False

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            body = json.loads(message.data)
            if self.garbage:
                await socket.send_str("{")
            elif isinstance(body, list):
                await socket.send_json([self.table._response(each) for each in reversed(body)])
            elif body["method"] == "eth_subscribe":
                assert body["params"] == ["newHeads"]
                await socket.send_json({"jsonrpc": "2.0", "id": body["id"], "result": "0x1"})
                self.heads.set()
            else:
                await socket.send_json(self.table._response(body))
        return socket

    async def tell(self) -> None:
        """Of a new block."""
        news = {"subscription": "0x1", "result": {"number": "0x65"}}
        await self.sockets[-1].send_json({"jsonrpc": "2.0", "method": "eth_subscription", "params": news})


@pytest.fixture
async def far() -> AsyncIterator[tuple[SocketNode, Node]]:
    made = SocketNode()
    app = web.Application()
    app.router.add_get("/", made.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    node = Node(str(server.make_url("/")).replace("http://", "ws://"), timeout_seconds=PATIENCE_SECONDS)
    yield made, node
    await node.close()
    await server.close()


async def test_questions_are_answered_alone_and_together_over_one_connection(far: tuple[SocketNode, Node]) -> None:
    made, node = far
    made.table.calls[CONTRACT, b"\x01"] = b"\xaa"
    made.table.calls[CONTRACT, b"\x02"] = Reverts(b"\xbb")
    assert (await node.head()).hash == hash_of_block(100)
    calls = (node.call(CONTRACT, bytes([data])) for data in (1, 2, 3))
    assert await asyncio.gather(*calls) == [b"\xaa", Reverted(b"\xbb"), b""]
    assert len(made.sockets) == 1


async def test_new_blocks_are_told_by_the_node_itself(far: tuple[SocketNode, Node]) -> None:
    made, node = far
    heard = asyncio.Event()
    node.tell_heads(lambda _head: heard.set())
    await node.chain_id()
    await made.heads.wait()
    await made.tell()
    await asyncio.wait_for(heard.wait(), PATIENCE_SECONDS)


async def test_after_a_connection_has_ended_there_is_another_that_tells_again(far: tuple[SocketNode, Node]) -> None:
    made, node = far
    node.tell_heads(lambda _head: None)
    await node.chain_id()
    await made.heads.wait()
    made.heads.clear()
    await made.sockets[-1].close()
    assert await node.chain_id() == 1868
    await made.heads.wait()
    assert len(made.sockets) == 2


async def test_what_cannot_be_read_is_a_missing_fact_and_the_connection_is_left(far: tuple[SocketNode, Node]) -> None:
    made, node = far
    made.garbage = True
    with pytest.raises(StateUnavailable, match="could not be asked"):
        await node.chain_id()
    made.garbage = False
    assert await node.chain_id() == 1868


async def test_a_node_that_is_gone_is_a_missing_fact_that_names_no_url() -> None:
    node = Node("ws://127.0.0.1:9/hush")
    with pytest.raises(StateUnavailable, match="could not be asked") as refused:
        await node.chain_id()
    assert "hush" not in str(refused.value)
    await node.close()
