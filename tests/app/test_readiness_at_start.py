"""Whoever balances load is not told that a gate is ready before it listens."""

from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp
import pytest

from proxy.app import start
from proxy.edge.http.server import RpcServer
from tests.ports import free_port
from tests.running_gate import HonestBundler, settings


async def test_nobody_is_told_that_a_gate_is_ready_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port, listen, told = free_port(), RpcServer.start, list[tuple[int, str]]()

    async def readiness() -> tuple[int, str]:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status, await response.text()

    async def asked_before(server: RpcServer, *where: object) -> None:
        told.append(await readiness())
        await listen(server, *where)  # type: ignore[arg-type]  # handed on as they come

    monkeypatch.setattr(RpcServer, "start", asked_before)
    async with AsyncExitStack() as stack:
        bundler = await stack.enter_async_context(HonestBundler())
        await start(settings(bundler.url, admin_listen=f"127.0.0.1:{port}"), stack)
        told.append(await readiness())
    (before, why), (after, _) = told
    assert (before, after) == (503, 200)
    assert "does not listen for operations yet" in why
