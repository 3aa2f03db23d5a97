"""Happenings, and a sink that writes down what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from proxy.happening import Happening, HappeningKind
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import Address, Hash32
from tests.patience import patiently
from tests.stopping import AppRunner

NOW = 1_700_000_000.0
ACCOUNT = Address(bytes.fromhex("a1" * 20))


def session(number: int) -> Hash32:
    return Hash32(number.to_bytes(32, "big"))


def happening(number: int = 1, **changes: Any) -> Happening:
    """A rule that fired on an operation of session `number`, with `changes`."""
    fields: dict[str, Any] = {
        "kind": HappeningKind.RULE_FIRED,
        "severity": Severity.HIGH,
        "unix_time": NOW,
        "what": "rule burst rejected an operation",
        "chain": "soneium",
        "client": "trading-dapp",
        "account": ACCOUNT,
        "permission_id": session(number),
        "decision_id": f"d-{number}",
        "rule": "burst",
        "mode": "enforce",
        "tags": ("money",),
    }
    return Happening(**(fields | changes))


@dataclass
class Received:
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


@dataclass
class RecordingSink:
    """An HTTP server that answers as `answers` say, then 200. `hang` keeps every request waiting."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hang: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.arrived.set()
        if self.hang:
            await self.released.wait()
        status = self.answers.pop(0) if self.answers else 200
        if 200 <= status < 300:
            self.received.append(Received(dict(request.headers), raw))
        return web.Response(status=status)

    async def until(self, ready: Callable[[], bool], what: str) -> None:
        for _ in patiently():
            if ready():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited in vain until {what}; got {[each.raw for each in self.received]}")


@asynccontextmanager
async def recording_sink(**state: Any) -> AsyncIterator[RecordingSink]:
    sink = RecordingSink(**state)
    app = web.Application()
    app.router.add_post("/{tail:.*}", sink.handle)
    runner = AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield sink
    finally:
        sink.released.set()
        await runner.cleanup()
