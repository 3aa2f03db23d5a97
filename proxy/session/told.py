"""What the registry knows at modules that the settings declare, of which only calls and events tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import chain, islice
from typing import Final

from proxy.session.changes import Changes, Grant
from proxy.session.counters import Charge, SessionKey
from proxy.session.known import KnownSession, Source, Status, after_change
from proxy.session.registry import Registry
from proxy.session.state import SessionState, ToldAt
from proxy.userop.primitives import Address, Hash32

MOST_NAMES: Final = 8
"""Sessions that one operation is held against which does not say whose it is."""

_MOST_LOOKED_AT: Final = 64
MOST_TOLD: Final = 1_000_000
"""Sessions of a chain, past which nothing is learnt of further accounts by events."""


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
    registry: Registry, changes: Changes, told_at: ToldAt, now: float
) -> list[tuple[SessionKey, KnownSession | None, KnownSession]]:
    """Make changes that the chain told of. Each session that changed, as it was known before and after.

    What a session was told before it is not told again: a block may be offered once more after the gate has died in it.
    """
    made = []
    for change in changes.that_stand(success=True):
        for key in registry.keys_touched(changes, change):
            before = registry.get(key)
            if _knows(before, told_at) or (before is None and _is_full(registry, key)):
                continue
            after = after_change(before, key, change, now)
            if after is None:
                continue
            source = Source.EVENT if isinstance(change, Grant) else after.source
            state = None if after.state is None else replace(after.state, told_at=told_at)
            after = replace(after, source=source, state=state, block=None if state is None else told_at.block)
            registry.put(after)
            made.append((key, before, after))
    return made


def _knows(known: KnownSession | None, told_at: ToldAt) -> bool:
    if known is None or known.state is None or known.state.told_at is None:
        return False
    return known.state.told_at >= told_at


def _is_full(registry: Registry, key: SessionKey) -> bool:
    """Whether so much is known that an account which nobody here has heard of is none of this gate's business: anybody
    may make a module tell of sessions."""
    counts = registry.directory.counts().items()
    number = sum(count for (chain_id, _), count in counts if chain_id == key.chain_id)
    return number >= MOST_TOLD and not registry.knows_account(key.account)


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


def told_since(registry: Registry, chain_id: int, modules: Collection[Address], block: int) -> list[SessionKey]:
    """The sessions at these modules that changed by what was told at `block` or later. Looks at every session: for a
    start."""
    names = registry.keys()
    there = (key for key in names if key.chain_id == chain_id and key.module in modules)
    return [key for key in there if (registry.block_of(key) or -1) >= block]


def doubt_told_after(registry: Registry, keys: Iterable[SessionKey], block: int, now: float) -> list[KnownSession]:
    """What was told of these after `block` stood on blocks that are gone, and nobody remembers what was before it:
    nothing is judged by that until their module tells of them again."""
    doubted = []
    for key in keys:
        known = registry.get(key)
        if known is not None and known.status is Status.IN_FORCE and (known.block or -1) > block:
            doubted.append(replace(known, state=None, block=None, updated_at=now))
            registry.put(doubted[-1])
    return doubted
