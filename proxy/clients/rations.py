"""How much of a thing a client may do in a second: a bucket for each, filled as time goes by."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from proxy.errors import RateLimited

BURST_SECONDS: Final = 10.0
"""What is not used is saved for so long: ten seconds' worth, and at least one, may come at once."""


class Ration(StrEnum):
    """What is counted, by the name of its setting under `rates`."""

    REQUESTS = "requests"  # of every kind; each element of a batch is one
    OPERATIONS = "operations"  # handed in, whatever the verdict
    ESTIMATES = "estimates"
    ABSENT_SESSIONS = "absent_sessions"  # permission ids that turn out not to be on the chain


class Rations:
    """The buckets of all clients, by their names: they outlive a reload of the settings.

    `clock` gives seconds; one that is set is no good. There are as many buckets as clients were ever configured.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[tuple[str, Ration], tuple[float, float]] = {}  # how much, and as of when

    def take(self, client: str, ration: Ration, a_second: float) -> None:
        """Use one. Raises `RateLimited`, which names the budget, when none is left."""
        now, most = self._clock(), max(a_second * BURST_SECONDS, 1.0)
        left, at = self._left.get((client, ration), (most, now))
        left = min(left + (now - at) * a_second, most)
        if left < 1.0:
            self._left[client, ration] = (left, now)
            raise RateLimited(budget_name(client, ration), a_second, wait_seconds=(1.0 - left) / a_second)
        self._left[client, ration] = (left - 1.0, now)


def budget_name(client: str, ration: Ration) -> str:
    """The setting that a refusal names: `clients.trading-dapp.rates.operations`."""
    return f"clients.{client}.rates.{ration}"
