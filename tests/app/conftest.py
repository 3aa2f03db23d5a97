"""A gate to talk to, the bundler behind it, and a chain for its node."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.admission.builders import (
    TWICE,
    key_of,
    known,
)
from tests.chain.builders import FakeNode
from tests.chain.on_chain import put_absent
from tests.running_gate import (
    HonestBundler,
    RunningGate,
    running_gate,
)


@pytest.fixture
async def bundler() -> AsyncIterator[HonestBundler]:
    """A bundler that outlives the gates before it."""
    async with HonestBundler() as running:
        yield running


@pytest.fixture
async def gate() -> AsyncIterator[RunningGate]:
    """A gate without a node that knows TWICE."""
    async with running_gate() as running:
        running.running.registry.put(known(TWICE))
        yield running


@pytest.fixture
def chain() -> FakeNode:
    """A chain on which TWICE is not enabled."""
    node = FakeNode()
    put_absent(node, key_of(TWICE))
    return node


@pytest.fixture
async def node_url(chain: FakeNode) -> AsyncIterator[str]:
    """Where a node of that chain listens."""
    server = await chain.start()
    yield str(server.make_url("/"))
    await server.close()
