"""The HTTP servers' own log. What they would quote of a broken request (headers, URLs) may carry keys: none is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

_A_SECOND: Final = 5.0
_AT_ONCE: Final = 50.0


class Discreet(logging.Filter):
    """Lets a record say only that something happened, at most once a line, and nothing that came off the wire.

    Strangers decide how many there are: past five a second they are counted, and the next line says how many. What is
    graver than `INFO` has a line each. `stopwatch` gives monotonic seconds.
    """

    def __init__(self, stopwatch: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._stopwatch = stopwatch
        self._left, self._at = _AT_ONCE, stopwatch()
        self._untold = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.INFO and not self._has_room():
            self._untold += 1
            return False
        kind = record.exc_info[0] if record.exc_info else None
        record.msg = f"a request was answered without being read: {kind.__name__ if kind else 'broken HTTP'}"
        if self._untold:
            record.msg += f" (and {self._untold} more without a line)"
            self._untold = 0
        record.args, record.exc_info, record.exc_text, record.stack_info = None, None, None, None
        return True

    def _has_room(self) -> bool:
        now = self._stopwatch()
        self._left, self._at = min(_AT_ONCE, self._left + (now - self._at) * _A_SECOND), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _logger() -> logging.Logger:
    logger = logging.getLogger("proxy.edge.http")
    logger.addFilter(Discreet())
    return logger


HTTP_LOG: Final = _logger()
"""Handed to aiohttp's servers in place of its own."""
