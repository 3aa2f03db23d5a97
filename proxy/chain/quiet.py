"""Sessions read again once they are quiet, and compared with what is known of them.

What is known is counted forward from a reading with each operation that is mined. A node may have answered wrongly
once (from another state than was asked for), so a session whose operations have all been settled for a while is read
anew; where that is not what is known, the reading stands, and is looked at in the same way a while later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, print_bytes

_LOG: Final = logging.getLogger(__name__)


class QuietReadings:
    """`reread` reads a session in the background, gives its state (`None` where it has none), and tells `taken` what
    came of it, unless the node that answered was behind what is known; `is_quiet` says that nothing of a session is in
    flight. There is nothing to read of sessions of `declared` modules. `monotonic` gives seconds.

    A session is due `seconds` after it was noted last; `pause` lies between two readings.
    """

    def __init__(
        self,
        reread: Callable[[SessionKey], Awaitable[object]],
        is_quiet: Callable[[SessionKey], bool],
        monotonic: Callable[[], float],
        *,
        differed: Callable[[SessionKey], None],
        declared: Collection[Address] = (),
        seconds: float = 30.0,
        pause: float = 0.25,
    ) -> None:
        self._reread = reread
        self._is_quiet = is_quiet
        self._monotonic = monotonic
        self._differed = differed
        self._declared = declared
        self._seconds = seconds
        self._pause = pause
        self._noted: OrderedDict[SessionKey, float] = OrderedDict()  # by when they were, the oldest first
        self._comparing: SessionKey | None = None
        self._is_compared = False

    def __len__(self) -> int:
        """How many are to be read."""
        return len(self._noted)

    def note(self, key: SessionKey) -> None:
        """Something of this session was settled."""
        if key.module in self._declared:
            return
        self._noted[key] = self._monotonic()
        self._noted.move_to_end(key)

    def taken(self, key: SessionKey, agrees: bool) -> None:  # as the reader tells it
        """A session was read, by whomever, and was as it was known or not."""
        if key != self._comparing:
            self.note(key)
            return
        self._is_compared = True
        if not agrees:
            _LOG.warning("session %s is not what it was known for: its reading stands", print_bytes(key.permission_id))
            self._differed(key)
            self.note(key)

    async def run(self) -> None:
        """Read until cancelled. No failure of the node ends it."""
        while True:
            was_due = await self.read_next()
            await asyncio.sleep(self._pause if was_due else min(self._seconds, 1.0))

    async def read_next(self) -> bool:
        """Read the session that has been due for longest. Whether there was one."""
        if not self._noted:
            return False
        key, noted_at = next(iter(self._noted.items()))
        if self._monotonic() - noted_at < self._seconds:
            return False
        if not self._is_quiet(key):
            self.note(key)
            return True
        del self._noted[key]
        self._comparing, self._is_compared = key, False
        try:
            if await self._reread(key) is not None and not self._is_compared:
                self.note(key)
        except StateUnavailable as error:
            _LOG.info("session %s could not be compared: %s", print_bytes(key.permission_id), error)
            self.note(key)
        except Exception:  # one session must not end the comparing of all others
            _LOG.exception("comparing session %s failed", print_bytes(key.permission_id))
        finally:
            self._comparing = None
        return True
