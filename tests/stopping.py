"""Servers of tests that leave no connection behind when they stop, nor one that is being accepted.

One that asyncio has accepted is made in the next turn of the loop. Where its server was closed meanwhile that fails,
and its socket stays open until it is collected: in another test, which then has the warning.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import test_utils, web

_TURNS: Final = 3
"""Of the loop, until what was accepted is known to its server, and what was closed has closed its socket."""


async def stop_accepting(server: asyncio.Server) -> None:
    """What was accepted is known to whoever serves it when this returns, and nothing comes after it: then `close`."""
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening)
    await _a_few_turns()


class _Stopping(web.BaseRunner):
    async def cleanup(self) -> None:
        """Accept nothing more, and close all that was accepted."""
        for site in self.sites:
            server: Any = site._server  # who listens is told nowhere else
            await stop_accepting(server)
        await super().cleanup()
        await _a_few_turns()


async def _a_few_turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)  # nobody tells of a connection before its protocol hears of it


class ServerRunner(_Stopping, web.ServerRunner):
    """For what answers without an application."""


class AppRunner(_Stopping, web.AppRunner):
    """For an application."""


class TestServer(test_utils.TestServer):
    """For an application, and for whoever wants to know its port and URLs."""

    async def _make_runner(self, **how: Any) -> web.BaseRunner:
        return AppRunner(self.app, **how)
