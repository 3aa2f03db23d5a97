"""The HTTP servers' own log. What they would quote of a broken request (headers, URLs) may carry keys: none is kept."""

from __future__ import annotations

import logging
from typing import Final


class _Discreet(logging.Filter):
    """Lets a record say only that something happened, at most once a line, and nothing that came off the wire."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        record.msg = f"a request was answered without being read: {kind.__name__ if kind else 'broken HTTP'}"
        record.args, record.exc_info, record.exc_text, record.stack_info = None, None, None, None
        return True


def _logger() -> logging.Logger:
    logger = logging.getLogger("proxy.edge.http")
    logger.addFilter(_Discreet())
    return logger


HTTP_LOG: Final = _logger()
"""Handed to aiohttp's servers in place of its own."""
