"""What is waited for on behalf of somebody who waits: for so long, and then he is told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from proxy.errors import StateUnavailable

_LOG: Final = logging.getLogger(__name__)
_READINGS: Final = 3
"""That one request may wait for, one after the other,"""
_BESIDE_SECONDS: Final = 5.0
"""and what it waits for beside them: ledger and bundler."""


def seconds_in_all(node_seconds: float) -> float:
    """For all that one request asks before it is sent on, where one question to the node may take `node_seconds`."""
    return _READINGS * node_seconds + _BESIDE_SECONDS


@asynccontextmanager
async def in_time(seconds: float, what: str, *, fact: str = "node") -> AsyncIterator[None]:
    """So many seconds for all that is waited for within. Raises `StateUnavailable` when they are over: `what` has to
    say what was not had, and `fact` who should have had it."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StateUnavailable(f"{what} within {seconds:g} s", fact=fact) from None


@asynccontextmanager
async def in_all(seconds: float, what: str) -> AsyncIterator[None]:
    """The same for what has deadlines of its own: it is told, and the log has where it was waited for."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        _LOG.error("%s within %g s, which its parts have deadlines for", what, seconds, exc_info=error)
        raise StateUnavailable(f"{what} within {seconds:g} s") from None
