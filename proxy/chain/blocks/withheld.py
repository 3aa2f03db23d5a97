"""A block of which no node gives the logs, however often it is asked, does not hold up all that come after it.

Anybody may fill a block with more logs of a session module than a node gives, or than are taken here, at once. Such a
block is tried a few times, at every node; then what is known begins anew after it, as after blocks that were missed:
sessions are read before they are judged, and nonces tell of what was in flight.
"""

from __future__ import annotations

from typing import Final

from proxy.chain.settlement.slices import BlockName

_TRIES: Final = 8
_MOST_TRIES: Final = 1_024


class Withheld:
    """How often the logs after one block were asked for in vain. A node that gives none at all is tried ever longer
    before everything is read anew."""

    def __init__(self) -> None:
        self._after: BlockName | None = None
        self._tries = 0
        self._most = _TRIES

    def is_given_up(self, after: BlockName) -> bool:
        """Once more in vain. Whether that was often enough."""
        self._tries = self._tries + 1 if after == self._after else 1
        self._after = after
        if self._tries < self._most:
            return False
        self._most, self._tries = min(2 * self._most, _MOST_TRIES), 0
        return True

    def given(self) -> None:
        """Logs are given."""
        self._most, self._tries = _TRIES, 0
