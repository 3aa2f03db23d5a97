"""A node to ask, with the table it answers from."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.chain.node import Node
from tests.chain.builders import FakeNode
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
def chain() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def node(chain: FakeNode) -> AsyncIterator[Node]:
    server = await chain.start()
    client = Node(str(server.make_url("/")), timeout_seconds=PATIENCE_SECONDS)
    yield client
    await client.close()
    await server.close()
