"""Where a connection may stand."""

from __future__ import annotations

from enum import Enum, auto


class Entrance(Enum):
    """What becomes of a new connection."""

    WELCOME = auto()
    TOO_MANY_OF_PEER = auto()
    FULL = auto()


class ConnectionPhase(Enum):
    """Where a connection stands. In each but `SERVING` it is given up after a time."""

    WAITING = auto()  # between two requests
    HEAD = auto()  # a head has begun, or the first one has not yet
    BODY = auto()
    SERVING = auto()
    LEAVING = auto()  # answered for the last time: the answer is on its way out, and nothing more is read
