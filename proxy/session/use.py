"""What became of a session's operations, kept longer than the session: counts, gas, what it had before its removal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from proxy.record import record
from proxy.session.counters import SessionKey
from proxy.session.state import SessionState


@record(kw_only=True)
class SessionUse:
    """Of the operations that this gate saw mined: how many, how many of them without success, gas and wei in all.

    `last_used` is the time of the newest one's block, in unix seconds; `None` before the first.
    """

    mined: int = 0
    reverted: int = 0
    gas: int = 0
    cost: int = 0
    last_used: float | None = None


UNUSED = SessionUse()


@record()
class SessionRecord:
    """What is on file of one session beside its state. `former` is its state before it was removed."""

    use: SessionUse = UNUSED
    former: SessionState | None = None


class SessionRecords(Protocol):
    """Where they are kept."""

    async def records_of(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        """The record of each of these sessions that has one. Raises `StateUnavailable`."""
