"""What a node says of itself where it answers with an error: for the log, because no caller is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proxy.strict_json import shown

_LOG: Final = logging.getLogger(__name__)
_SHOWN: Final = 120
_SECONDS: Final = 60.0


class NodeComplaints:
    """Writes the first at once, and then one a minute: how many there are, strangers decide by what they ask.

    `stopwatch` gives monotonic seconds; `hide` its words without keys of ours, which a node may quote.
    """

    def __init__(self, chain_id: int, stopwatch: Callable[[], float], hide: Callable[[str], str] = str) -> None:
        self._chain_id = chain_id
        self._hide = hide
        self._stopwatch = stopwatch
        self._next: float | None = None
        self._untold = 0

    def __call__(self, words: str) -> None:
        """The node said this."""
        now = self._stopwatch()
        if self._next is not None and now < self._next:
            self._untold += 1
            return
        more = f" (and {self._untold} more errors since the last line)" if self._untold else ""
        said = shown(self._hide(words), _SHOWN)
        _LOG.warning("the node of chain %d answers with an error: %s%s", self._chain_id, said, more)
        self._next, self._untold = now + _SECONDS, 0
