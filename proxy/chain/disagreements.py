"""The bundler refuses a session operation that this gate had allowed: the session is not what it was taken for."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Final

from proxy.chain.refresh import Refresh
from proxy.errors import StateUnavailable
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.session.counters import SessionKey
from proxy.userop.primitives import print_bytes

_LOG: Final = logging.getLogger(__name__)
_MOST_AT_ONCE: Final = 16
_REJECTED: Final = -32500
_CODES: Final = frozenset({-32503, -32507})  # out of time range; signature failed
_ABOUT_THE_SESSION: Final = frozenset({"AA22", "AA23", "AA24"})  # expired or not due; reverted; signature error
_ENTRY_POINT_ERROR: Final = re.compile(r"\bAA[0-9]{2}\b")


def contradicts(answer: UpstreamAnswer) -> bool:
    """Whether a bundler's error says that the session does not allow the operation (ERC-7769, "Error Codes").

    -32500 covers everything that the entry point rejects; which of it, only the message tells. One that names no error
    of the entry point may be about the session.
    """
    if answer.error_code != _REJECTED:
        return answer.error_code in _CODES
    named = _ENTRY_POINT_ERROR.search(answer.error_message or "")
    return named is None or named.group() in _ABOUT_THE_SESSION


class Disagreements:
    """Counts them, and has the session read again in the background.

    `refresh` is `None` without a node; it must not read one session more often than is of use.
    """

    def __init__(self, *, count: Callable[[], None], refresh: Refresh | None) -> None:
        self._count = count
        self._refresh = refresh
        self._reading: dict[SessionKey, asyncio.Task[None]] = {}

    def note(self, key: SessionKey) -> None:
        """The bundler refused an operation of this session. Never waits, never raises."""
        self._count()
        if self._refresh is None or key in self._reading or len(self._reading) >= _MOST_AT_ONCE:
            return
        self._reading[key] = asyncio.create_task(self._read(key, self._refresh))

    async def close(self) -> None:
        """Stop reading."""
        tasks = tuple(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, key: SessionKey, refresh: Refresh) -> None:
        try:
            await refresh(key)
        except StateUnavailable as error:
            _LOG.info("session %s, of which a bundler knows better: %s", print_bytes(key.permission_id), error)
        except Exception:  # nobody waits for it: it must not end unheard
            _LOG.exception("reading session %s again failed", print_bytes(key.permission_id))
        finally:
            del self._reading[key]
