"""One gate for all properties, on a loop of its own: each example is one request, not one gate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.patience import PATIENCE_SECONDS
from tests.running_gate import RunningGate, running_gate

_Result = TypeVar("_Result")


class Line:
    """Calls into the gate's loop from a test that is not asynchronous."""

    def __init__(self, gate: RunningGate, loop: asyncio.AbstractEventLoop) -> None:
        self.gate = gate
        self._loop = loop

    def __call__(self, work: Callable[..., Awaitable[_Result]], *arguments: Any) -> _Result:
        async def run() -> _Result:
            return await work(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = running_gate()
    gate = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
    yield Line(gate, loop)
    asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
