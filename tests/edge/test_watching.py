"""The watcher with the real parts around it: a node to ask, the store, the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.chain.age import ChainAge
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.chain.trail import Cursor
from proxy.config import Chain
from proxy.edge.storage.store import Store
from proxy.edge.watching import watcher_of
from proxy.ledger.memory import MemoryLedger
from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.registry import Registry
from proxy.userop.primitives import print_bytes
from tests.chain.builders import Clock, FakeNode, hash_of_block
from tests.chain.settlement.builders import a_lookout
from tests.edge.builders import gate_metrics

CHAIN = Chain.model_validate({"chain_id": 1, "bundlers": ["http://127.0.0.1:1"], "node": "http://127.0.0.1:2"})


@pytest.fixture
def chain() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def node(chain: FakeNode) -> AsyncIterator[Node]:
    server = await chain.start()
    client = Node(str(server.make_url("/")))
    yield client
    await client.close()
    await server.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "gate.db")
    yield opened
    opened.close()


async def test_the_readable_modules_are_watched_from_the_kept_block_on_and_the_lag_is_shown(
    chain: FakeNode, node: Node, store: Store
) -> None:
    await store.save_cursor(1, Cursor(90, hash_of_block(90)))
    registry, metrics = Registry(), gate_metrics()
    settle = a_lookout(MemoryLedger()).settle_now
    clock = Clock()
    watcher = watcher_of(
        "soneium",
        CHAIN,
        node,
        NodeReader(node, registry, store.save_session, clock),
        registry=registry,
        store=store,
        settlement=settle,
        metrics=metrics,
        age=ChainAge(clock, bound=60),
    )
    await watcher.look()
    ((query,),) = [params for method, params in chain.asked if method == "eth_getLogs"]
    readable = {module for module, kind in MODULE_KINDS.items() if kind is not ModuleKind.EMISSARY}
    assert set(query["address"]) == {print_bytes(module) for module in readable}
    assert (query["fromBlock"], query["toBlock"]) == (hex(90 + 1 - 8), hex(100))
    assert store.cursors() == {1: Cursor(100, hash_of_block(100))}
    clock.now += 61
    metrics.refresh()
    (line,) = [each for each in metrics.render().decode().splitlines() if 'watch_lag_seconds{chain="soneium"}' in each]
    assert float(line.split()[-1]) == 61
