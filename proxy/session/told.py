"""What the registry knows at modules that the settings declare, of which only calls and events tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, islice
from typing import Final

from proxy.session.changes import Changes, Grant
from proxy.session.counters import Charge, SessionKey
from proxy.session.known import KnownSession, Source, Status, after_change
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.primitives import Address, Hash32

MOST_NAMES: Final = 8
"""Sessions that one operation is held against which does not say whose it is."""

_MOST_LOOKED_AT: Final = 64


def names_at(registry: Registry, chain_id: int, module: Address, account: Address) -> tuple[Hash32, ...]:
    """The sessions of an account at a module that are not over, as far as so many are known: the newest first."""
    names = [
        session.permission_id
        for session in registry.declarations.of_account(chain_id, account)
        if session.module in (None, module)
    ]
    known = registry.directory.newest_of_account(account, at=[(chain_id, module)])
    in_force = (
        key.permission_id for key in islice(known, _MOST_LOOKED_AT) if registry.status_of(key) is not Status.REMOVED
    )
    return tuple(dict.fromkeys(islice(chain(in_force, names), MOST_NAMES)))


def tell(
    registry: Registry, changes: Changes, block: int, now: float
) -> list[tuple[SessionKey, KnownSession | None, KnownSession]]:
    """Make changes that the chain told of at `block`. Each session that changed, as it was known before and after."""
    made = []
    for change in changes.that_stand(success=True):
        for key in registry.keys_touched(changes, change):
            before = registry.get(key)
            after = after_change(before, key, change, now)
            if after is None:
                continue
            source = Source.EVENT if isinstance(change, Grant) else after.source
            after = replace(after, source=source, block=None if after.state is None else block)
            registry.put(after)
            made.append((key, before, after))
    return made


def take_back(
    registry: Registry, key: SessionKey, before: KnownSession | None, charges: Iterable[Charge], now: float
) -> KnownSession:
    """The chain has taken back what changed a session: it is as it was `before`, without the `charges` of operations
    that were taken back with it."""
    if before is None:
        never = SessionState(key=key)
        before = KnownSession(key=key, status=Status.REMOVED, source=Source.EVENT, updated_at=now, state=never)
    state = None if before.state is None else before.state.without_charges(charges)
    restored = replace(before, state=state, updated_at=now)
    registry.put(restored)
    return restored
