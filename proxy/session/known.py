"""One known session, and what becomes of it when the chain has made a change."""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum
from typing import Final

from proxy.record import record
from proxy.session.changes import Grant, SessionChange, SessionEnabled, make_change
from proxy.session.counters import SessionKey
from proxy.session.granted import left_after
from proxy.session.revert import Revert
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.acts import SessionRemoved, SessionsCleared, Unreadable
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation
from proxy.userop.primitives import Hash32


class Status(StrEnum):
    """Where a session stands. A closed set, fit for a metric label."""

    PENDING = "pending"  # an operation that the bundler accepted grants it, and is not mined yet
    IN_FORCE = "in_force"
    REMOVED = "removed"


NOT_GRANTED: Final = "not_granted"
"""How a session stands whose grant was mined without success, or never mined, or which never had one."""


class Source(StrEnum):
    """How the state of a session became known. Declared sessions are kept beside: see `Registry.declared`."""

    GRANT = "grant"  # an owner's operation seen here
    ENABLE = "enable"  # an ENABLE envelope seen here
    NODE = "node"  # read from the chain
    EVENT = "event"  # told by an event of its module


@record(kw_only=True)
class KnownSession:
    """One session as last known.

    `state` is what the chain stores; `None` when it has to be read there before the session can be judged.
    `granted_by` is the operation that a pending session waits for. `block` is the block at which `state` was read,
    `None` when it came about by what was seen here. `updated_at` is in unix seconds, and so is `since`, when this gate
    first knew of it; the registry sees to that one.
    """

    key: SessionKey
    status: Status
    source: Source
    updated_at: float
    state: SessionState | None = None
    granted_by: Hash32 | None = None
    block: int | None = None
    since: float | None = field(default=None, compare=False)

    @property
    def standing(self) -> str:
        """The status in a word for people: one whose grant failed was never there to be removed."""
        never = self.state is not None and self.state.status is SessionStatus.NEVER_ENABLED
        return NOT_GRANTED if self.status is Status.REMOVED and never else self.status.value


def read_since(known: KnownSession, block: int | None) -> bool:
    """Whether the state was read from the chain when the operation of `block` had already been mined."""
    return known.state is not None and known.block is not None and block is not None and known.block >= block


def source_of(change: SessionChange) -> Source:
    """How a session that `change` grants became known."""
    return Source.ENABLE if isinstance(change, SessionEnabled) else Source.GRANT


def after_change(known: KnownSession | None, key: SessionKey, change: SessionChange, now: float) -> KnownSession | None:
    """What is known of a session when a change has been made; `None` where it stays as it was."""
    if isinstance(change, Grant):
        return _after_grant(known, key, change, now)
    if known is not None and known.status is Status.PENDING:
        # its grant is still to be mined, so nothing that was mined before it can have touched it
        return None
    if _ends(known, change):
        unseen = SessionState(key=key, status=SessionStatus.ENABLED)
        state = unseen if known is None or known.state is None else known.state
        source = Source.GRANT if known is None else known.source
        return KnownSession(key=key, status=Status.REMOVED, source=source, state=_made(state, change), updated_at=now)
    if known is None or known.status is not Status.IN_FORCE or known.state is None:
        return None
    state_after = None if isinstance(change, Unreadable) else _made(known.state, change)
    return replace(known, state=state_after, updated_at=now)


def _ends(known: KnownSession | None, change: SessionChange) -> bool:
    """Whether nothing is left of the session. Of one that is not known, a revocation of a part is one of the whole."""
    if isinstance(change, DeclaredRevocation):
        state = None if known is None else known.state
        return state is None or left_after(state, change) is None
    return isinstance(change, SessionRemoved | SessionsCleared)


def _after_grant(known: KnownSession | None, key: SessionKey, change: Grant, now: float) -> KnownSession:
    # what a declared module grants anew is the whole of it, unless it adds
    tells_all = isinstance(change, DeclaredGrant) and not change.adds
    unread = known is not None and known.status is Status.IN_FORCE and known.state is None and not tells_all
    before = SessionState(key=key) if known is None or known.state is None else known.state
    return KnownSession(
        key=key,
        status=Status.IN_FORCE,
        source=source_of(change),
        # a grant adds to what was there: of a session that has yet to be read it does not tell the whole
        state=None if unread else _made(before, change),
        updated_at=now,
    )


def _made(state: SessionState, change: SessionChange) -> SessionState | None:
    """The state after a change that the chain made; `None` when it should have reverted as we see it."""
    after = make_change(state, change)
    return None if isinstance(after, Revert) else after
