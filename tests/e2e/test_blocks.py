"""Blocks followed on a live chain: every operation and every session touched, each once, whatever is reorganised.

The contracts at the entry point's and the module's address log what they are told to: the follower sees real blocks,
real filters and real hashes, and no account has to be deployed for it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.chain.node import Node
from proxy.session.counters import SessionKey
from proxy.userop.primitives import print_bytes
from tests.chain.blocks.builders import V07, Books, Ledgerless, a_key, executed, follower_of, touched
from tests.e2e.children import Child
from tests.e2e.rig import anvil_binary
from tests.ports import free_port
from tests.session.builders import ACCOUNT, SMART_SESSION

CHAIN_ID = 1868
# calldata: the topics, then the data of one log
LOG_FOUR = "0x608036036080600037" + "606035604035602035600035" + "608036036000a400"
LOG_ONE = "0x602036036020600037" + "600035" + "602036036000a100"


class Chain:
    """An anvil, and the logs that are made on it."""

    def __init__(self, url: str, http: ClientSession) -> None:
        self.url = url
        self._http = http
        self.sender = ""

    async def ask(self, method: str, *params: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self._http.post(self.url, json=body) as response:
            answer = json.loads(await response.read())
        assert "error" not in answer, answer
        return answer["result"]

    async def begin(self) -> None:
        await self.ask("anvil_setCode", print_bytes(V07.address), LOG_FOUR)
        await self.ask("anvil_setCode", print_bytes(SMART_SESSION), LOG_ONE)
        self.sender = (await self.ask("eth_accounts"))[0]
        await self.ask("anvil_mine", hex(70))

    def transaction(self, log: Ledgerless) -> dict[str, str]:
        data = print_bytes(b"".join((*log.topics, log.data)))
        return {"from": self.sender, "to": print_bytes(log.address), "data": data, "gas": hex(500_000)}

    async def mine(self, *logs: Ledgerless, blocks: int = 1) -> None:
        """Add blocks; the logs are in the first of them."""
        for log in logs:
            await self.ask("eth_sendTransaction", self.transaction(log))
        await self.ask("anvil_mine", hex(blocks))

    async def reorganise(self, depth: int, *logs: Ledgerless) -> None:
        """Put others in place of the newest blocks, the logs in the first of them, and one more on top."""
        again = [[self.transaction(log), 0] for log in logs]
        await self.ask("anvil_reorg", depth, again)
        await self.ask("anvil_mine", hex(1))


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    port = free_port()
    options: Sequence[str] = ("--port", str(port), "--chain-id", str(CHAIN_ID), "--no-mining", "--silent")
    child = Child.start("anvil", [anvil_binary(), *options], tmp_path / "anvil.log", cwd=tmp_path)
    async with ClientSession() as http:
        made = Chain(f"http://127.0.0.1:{port}", http)
        child.wait_until(lambda: _listens(port), "answer")
        await made.begin()
        yield made
    child.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def node(chain: Chain) -> AsyncIterator[Node]:
    client = Node(chain.url, timeout_seconds=20)
    yield client
    await client.close()


async def test_what_live_blocks_say_is_told_once_and_in_order(chain: Chain, node: Node) -> None:
    books = Books()
    follower = follower_of(node, books)
    await follower.look()
    await chain.mine(executed(1), touched(a_key(1)), blocks=3)
    await follower.look()
    await chain.mine(executed(2), executed(3, sender=a_key(9).module), blocks=90)  # a stranger's among them
    await follower.look()
    await follower.look()
    assert books.mined == [1, 2]
    assert books.touched == [a_key(1)]
    assert books.undone_to == []


@pytest.mark.parametrize("depth", [1, 6, 64])
async def test_a_live_reorganisation_undoes_grants_revocations_and_spends(chain: Chain, node: Node, depth: int) -> None:
    books = Books()
    follower = follower_of(node, books)
    await follower.look()
    await chain.mine(executed(1), touched(a_key(1)), blocks=2)
    await follower.look()
    stands = books.cursor
    await chain.mine(executed(2), touched(a_key(2)), blocks=depth)
    await follower.look()
    assert books.mined == [1, 2]
    await chain.reorganise(depth, executed(3), touched(a_key(3)))
    await follower.look()
    assert books.undone_to == [stands]
    assert books.mined == [1, 3]
    assert set[SessionKey](books.touched) == {a_key(1), a_key(3)}
    head = await node.head()
    assert books.cursor == (head.number, head.hash)


async def test_after_a_long_rest_all_that_was_mined_meanwhile_is_told(chain: Chain, node: Node) -> None:
    books = Books()
    await follower_of(node, books).look()
    for number in range(1, 7):
        await chain.mine(executed(number, sender=ACCOUNT), blocks=75)  # 450 blocks: 15 minutes of two seconds
    await follower_of(node, books).look()
    assert books.mined == [1, 2, 3, 4, 5, 6]
