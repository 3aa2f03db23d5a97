"""A session read again when no operation of it is waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.admission import RecentReads, Settlement
from proxy.session.counters import SessionKey
from proxy.session.registry import Registry
from proxy.session.state import SessionState

Refresh = Callable[[SessionKey], Awaitable[SessionState | None]]
"""Reads a session into the registry; `None` when it is not enabled. Raises `StateUnavailable`."""


def refreshing(read: Refresh, registry: Registry, settlement: Settlement) -> Refresh:
    """Reads by `read`, once the operations that may change the session have been settled as far as they are mined.

    Otherwise what such an operation used would be in the reading and in flight too, until its receipt comes.
    """

    async def refresh(key: SessionKey) -> SessionState | None:
        await settlement(registry.awaited(key))
        return await read(key)

    return refresh


def sparing(refresh: Refresh, reads: RecentReads) -> Refresh:
    """Reads a session, for nobody who waits, no more often than `reads` lets anyone."""

    async def refresh_sparingly(key: SessionKey) -> SessionState | None:
        return await reads.once(key, lambda: refresh(key), waits=False)

    return refresh_sparingly
