"""What a start finds on disk, and where what becomes known is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from proxy.chain.tracker import Outcome as TrackedOutcome
from proxy.config import Config
from proxy.edge.storage.store import Store
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.known import KnownSession
from proxy.session.registry import Registry


class Memory(Protocol):
    """What becomes known while serving, as far as it outlives this process. See `Store`."""

    async def keep(self, outcome: TrackedOutcome) -> None: ...

    def note(self, outcome: TrackedOutcome) -> None: ...

    async def save_session(self, session: KnownSession) -> None: ...


class NoMemory:
    """For a look at things that leaves no trace: a running gate may be using the same file."""

    async def keep(self, outcome: TrackedOutcome) -> None:  # noqa: ARG002  # to forget is the point
        return None

    def note(self, outcome: TrackedOutcome) -> None:  # noqa: ARG002  # to forget is the point
        return None

    async def save_session(self, session: KnownSession) -> None:  # noqa: ARG002  # to forget is the point
        return None


def restored_registry(config: Config, store: Store) -> Registry:
    """What was known before the restart, and what the configuration declares."""
    registry = Registry()
    for key, packed in store.packed_sessions():
        registry.restore(key, packed)
    for freeze in store.freezes():
        registry.freezes.put(freeze)
    registry.restore_declared_uses(store.declared_uses())
    registry.declare(config.declared_sessions())
    return registry


def restored_counts(store: Store) -> RuleCounts:
    """What rules had counted and learnt before the restart."""
    counts = RuleCounts()
    counts.restore(store.rule_rows())
    return counts


async def keep_counts_of(counts: RuleCounts, store: Store, identities: Collection[bytes]) -> None:
    """Forget what rules have counted that are gone."""
    counts.keep_only(identities)
    await store.keep_only(identities)


def ledger_path(config: Config, stack: AsyncExitStack) -> Path:
    """Where the database is; a ledger in memory is a file that nobody finds again."""
    if config.ledger.path is not None:
        config.ledger.path.parent.mkdir(parents=True, exist_ok=True)
        return config.ledger.path
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sessiongate-"))
    return Path(folder) / "ledger.db"
