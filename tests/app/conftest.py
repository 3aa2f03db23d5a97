"""A gate to talk to, the bundler behind it, and a chain for its node."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.admission.builders import (
    TWICE,
    key_of,
    known,
)
from tests.app.live_node import LiveNode
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


@dataclass
class Hours:
    """The clocks of this machine, moved ahead when told. In place of the module `time`."""

    ahead: float = 0.0  # of both
    astray: float = 0.0  # of the time of day alone

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time() + self.ahead + self.astray

    def perf_counter(self) -> float:
        return time.perf_counter()

    def time_ns(self) -> int:
        return time.time_ns()


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    moved = Hours()
    for module in ("chain", "settling", "memory", "running"):
        monkeypatch.setattr(f"proxy.app.{module}.time", moved)
    return moved


@pytest.fixture
async def live() -> AsyncIterator[LiveNode]:
    """A chain on which TWICE is in force."""
    node = LiveNode()
    node.grant(TWICE)
    server = await node.serve()
    yield node
    await server.cleanup()
