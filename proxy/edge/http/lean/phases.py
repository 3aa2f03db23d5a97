"""Where a connection may stand."""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import Final


class Entrance(Enum):
    """What becomes of a new connection."""

    WELCOME = auto()
    TOO_MANY_OF_PEER = auto()
    FULL = auto()
    ONE_OF_MANY_TURNED_AWAY = auto()


class ConnectionPhase(IntEnum):
    """Where a connection stands, and where its phase's queue stands. In each but `SERVING` it is given up after a
    time."""

    WAITING = 0  # between two requests
    HEAD = 1  # a head has begun, or the first one has not yet
    BODY = 2
    LEAVING = 3  # answered for the last time: the answer is on its way out, and nothing more is read
    SERVING = 4


SERVING: Final = ConnectionPhase.SERVING
WAITING: Final = ConnectionPhase.WAITING
"""By names of their own: they are asked for several times for every request."""
