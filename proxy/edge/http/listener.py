"""What carries the bytes, and what every listener is bounded by, whichever server it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_TOLD_TO_GO: Final = 8
"""Connections of one household that are told at a time why they have to go, and waited for; others are cut off."""


class Transport(StrEnum):
    """What carries the bytes."""

    LEAN = "lean"  # protocols on the event loop
    AIOHTTP = "aiohttp"  # the reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Bounds on connections, in seconds, bytes and numbers.

    `stalled_seconds` is how long a caller may take no part of its answer. `waiting_bytes` bounds what has arrived of
    requests that are not whole and of WebSocket messages that are not answered, `unread_bytes` the answers that callers
    do not take, each over all connections.
    """

    head_seconds: float = 10.0  # from the first connection on, or from the first byte of a later request
    body_seconds: float = 10.0
    keepalive_seconds: float = 75.0
    stalled_seconds: float = 20.0
    linger_seconds: float = 2.0
    shutdown_seconds: float = 30.0
    head_bytes: int = 16 * 1024
    unread_bytes: int = 64 * 1024 * 1024
    waiting_bytes: int = 64 * 1024 * 1024
    connections: int = 1024
    connections_per_peer: int = 256
    backlog: int = 1024


def places_of_one(most: int, most_of_one: int, taken: int, *, households: int) -> int:
    """How many connections one household may have, of `most` of which so many are taken, the newcomer's aside.

    Where there are others, no more than are free: so N households that want all of them leave one part in N + 1, and
    a newcomer turns out nobody. Each may have one.
    """
    return most_of_one if households < 2 else min(most_of_one, max(most - taken, 1))
