"""A loop whose clock goes on only when nothing is left to do: minutes pass at once, alike on any machine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class VirtualTime(asyncio.SelectorEventLoop):
    """Nothing from outside may be waited for: no socket, no thread."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]  # asyncio's own
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]  # asyncio's own
        super()._run_once()  # type: ignore[misc]  # asyncio's own


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """What it returns."""
    loop = VirtualTime()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
