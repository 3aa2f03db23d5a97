"""A node to ask, with the table it answers from."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.chain.node import Node
from tests.chain.builders import FakeNode


@pytest.fixture
def chain() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def node(chain: FakeNode) -> AsyncIterator[Node]:
    server = await chain.start()
    client = Node(str(server.make_url("/")), timeout_seconds=2.0)
    yield client
    await client.close()
    await server.close()
