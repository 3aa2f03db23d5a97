"""The page of metrics, printed for as many as ask for it at a time, so that no number of them takes the interpreter.

Printing goes to a thread, which takes the interpreter by turns with whoever judges: two of them at once leave it a
third, and a page that is printed over and over a half. So there is one at a time, and after each a rest; who comes
meanwhile shares the next one, which is begun after all of them came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from proxy.edge.telemetry.metrics import Metrics

_REST: Final = 9
"""So many times as long as it took nothing is printed: at most a tenth of the time is taken."""
_LONGEST_REST_SECONDS: Final = 1.0


class MetricsPage:
    """`clock` gives the seconds that the thread which asks has worked."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.thread_time) -> None:
        self._metrics = metrics
        self._clock = clock
        self._next: asyncio.Task[bytes] | None = None  # that has not begun to be printed
        self._rest: asyncio.Task[None] | None = None  # ends when the last one has been printed, and some time after

    async def print(self) -> bytes:
        """What is so when this is asked, or a little later."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._rest))
        return await asyncio.shield(self._next)  # whoever leaves takes it from nobody else

    async def _after(self, before: asyncio.Task[None] | None) -> bytes:
        if before is not None:
            await before
        self._next = None
        printed = asyncio.get_running_loop().create_future()
        self._rest = asyncio.ensure_future(self._rest_after(printed))
        took = 0.0
        try:
            # gauges are read where their truth may be read, on the loop
            for _ in self._metrics.refreshing():
                await asyncio.sleep(0)
            body, took = await asyncio.to_thread(self._render)
            return body
        finally:
            printed.set_result(took)

    def _render(self) -> tuple[bytes, float]:
        began = self._clock()
        return self._metrics.render(), self._clock() - began

    async def _rest_after(self, printed: asyncio.Future[float]) -> None:
        await asyncio.sleep(min(await printed * _REST, _LONGEST_REST_SECONDS))
