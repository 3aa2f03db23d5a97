"""Work that goes on beside the requests, until the gate stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack


def run_in_background(work: Awaitable[None], stack: AsyncExitStack) -> None:
    """Begin it now; leaving `stack` ends it."""
    task = asyncio.ensure_future(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
