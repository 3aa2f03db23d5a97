"""A gate that gets into trouble: its neighbours, whoever talks to it, and what a trouble is."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import lane
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import a_session, single, use
from tests.chaos.gates import GateProcess, send
from tests.edge.alerts.builders import RecordingSink
from tests.running_gate import HonestBundler
from tests.session.builders import OTHER_TOKEN, TOKEN, TRANSFER, action, transfer, usage

MANY = a_session(action(TOKEN, TRANSFER, usage(1_000_000)), salt=9)
"""The session that every gate knows."""
_NURSERY = threading.Lock()  # it is asked one thing at a time


@dataclass
class StagedGate(GateProcess):
    """A gate with settings of its chain besides."""

    of_chain: str = ""

    @property
    def instance(self) -> str:
        """What Prometheus calls it."""
        return self.admin.removeprefix("http://")

    def configure(self) -> Path:
        config = super().configure()
        config.write_text(config.read_text() + self.of_chain)
        return config

    def start(self, most_bytes: int = 0, *, astray: tuple[float, float] = (0, 0)) -> None:
        with _NURSERY:
            super().start(most_bytes, astray=astray)

    def end(self, number: int = signal.SIGKILL) -> int:
        with _NURSERY:
            return super().end(number)


@dataclass
class StagedNode(LiveNode):
    """A node that takes so many seconds more for an answer."""

    slow: float = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.slow)
        return await super().handle(request)


@dataclass
class Stage:
    """A gate, its neighbours, and whoever talks to it."""

    gate: StagedGate
    bundlers: list[HonestBundler]
    node: StagedNode | None
    http: aiohttp.ClientSession
    numbers: count[int] = field(default_factory=partial(count, 1))
    sinks: list[RecordingSink] = field(default_factory=list)

    @property
    def bundler(self) -> HonestBundler:
        return self.bundlers[0]

    @property
    def live(self) -> StagedNode:
        assert self.node is not None, "without a node"
        return self.node

    @property
    def pid(self) -> int:
        assert self.gate.pid is not None, "it has ended"
        return self.gate.pid

    def use(self, session: SessionData = MANY, token: Any = TOKEN) -> UserOperation:
        """A new operation of a session."""
        return use(session, single(transfer(1, token=token)), nonce=lane(next(self.numbers)))

    async def send(self, op: UserOperation | None = None) -> UserOperation:
        """Hand one in, whatever comes of it; which one."""
        op = self.use() if op is None else op
        await send(self.http, self.gate.url, op)
        return op

    async def refused(self) -> None:
        """Hand one in that its session does not allow."""
        await self.send(self.use(token=OTHER_TOKEN))

    async def change(self, path: str, body: dict[str, Any]) -> None:
        """Have the admin listener change something."""
        async with self.http.post(f"{self.gate.admin}{path}", json=body) as response:
            assert response.status < 300, await response.text()


Trouble = Callable[[Stage], AbstractAsyncContextManager[None]]


async def _none(_stage: Stage, _stack: AsyncExitStack) -> str:
    return ""


def fixed(settings: str) -> Callable[[Stage, AsyncExitStack], Awaitable[str]]:
    """These settings, whatever else is there."""

    async def told(_stage: Stage, _stack: AsyncExitStack) -> str:
        return settings

    return told


@dataclass(frozen=True)
class Fault:
    """One trouble, by its context: it begins with it and is mended with its end. `alerts` are what it has to raise."""

    name: str
    alerts: tuple[str, ...]
    trouble: Trouble
    settings: Callable[[Stage, AsyncExitStack], Awaitable[str]] = _none
    of_chain: str = ""
    node: bool = False
    bundlers: int = 1
    nursery: str = "tests.chaos.nursery"


@asynccontextmanager
async def again_and_again(do: Callable[[], Awaitable[object]], pause: float) -> AsyncIterator[None]:
    """Do it with such pauses, for as long as the context lasts."""

    async def on_and_on() -> None:
        while True:
            await do()
            await asyncio.sleep(pause)

    going = asyncio.create_task(on_and_on())
    try:
        yield
        if going.done():
            going.result()
    finally:
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going
