"""What a running gate does beside serving: its ledger is tried, its old data pruned, its sessions counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.admin.session_pages import FROZEN
from proxy.edge.audit.space import disk_of
from proxy.edge.storage.holding import HeldFile
from proxy.edge.storage.store import Store
from proxy.edge.telemetry.metrics import DECLARED, OTHER, Metrics
from proxy.errors import StateUnavailable
from proxy.ledger.counting_time import CountingTime, KeptTime
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.registry import Registry

_LOG: Final = logging.getLogger(__name__)
_PROBE_SECONDS: Final = 10.0
_SAVE_SECONDS: Final = 2.0
_WORTH_KEEPING: Final = 0.5
"""In seconds: by how much the time that is counted by has moved."""
LOOK_SECONDS: Final = 2.0
_FREEZES_A_PIECE: Final = 100
_PRUNE_SECONDS: Final = 3_600.0
_DAY: Final = 86_400.0


def count_sessions(metrics: Metrics, registry: Registry, names: Mapping[int, str]) -> Iterator[None]:
    """Set the gauges of sessions, a piece of work at a time; `names` are those of chains by their ids."""
    frozen: Counter[int] = Counter()
    done = count(1)
    for permission_id in tuple(registry.freezes.ids()):
        for chain_id, number in registry.directory.count_frozen(permission_id, registry.freezes):
            frozen[chain_id] += number
            if next(done) % _FREEZES_A_PIECE == 0:
                yield
    counts: dict[tuple[str, str], int] = {}
    for (chain_id, status), number in registry.directory.counts().items():
        name = names.get(chain_id, OTHER)
        counts[name, status] = counts.get((name, status), 0) + number
    for chain_id, number in registry.declarations.counts().items():
        name = names.get(chain_id, OTHER)
        counts[name, DECLARED] = counts.get((name, DECLARED), 0) + number
    for chain_id, number in (+frozen).items():
        name = names.get(chain_id, OTHER)
        counts[name, FROZEN] = counts.get((name, FROZEN), 0) + number
    metrics.sessions(counts)


def measure_disk(metrics: Metrics, ledger: Path) -> None:
    """Set how much room the ledger's disk has left; a disk that cannot be asked keeps the last value."""
    with suppress(OSError):
        disk = disk_of(ledger.parent)
        metrics.health.disk("ledger", free=disk.free, total=disk.total)


async def try_ledger(metrics: Metrics, store: Store) -> None:
    """Write something every few seconds, so that a ledger that takes no writes is seen before an operation needs it."""
    while True:
        try:
            await store.check_writable()
        except StateUnavailable:
            metrics.ledger_writable(writable=False)
        else:
            metrics.ledger_writable(writable=True)
        await asyncio.sleep(_PROBE_SECONDS)


async def watch_file(metrics: Metrics, held: HeldFile, store: Store) -> None:
    """Look every other second whether the database is where it was. While it is not, nothing new is held in it."""
    told: str | None = None
    while True:
        trouble = await asyncio.to_thread(held.trouble)
        if trouble != told:
            if trouble is None:
                _LOG.warning("the ledger %s is where it was again", held.path)
            else:
                _LOG.error(
                    "the ledger %s is not where it was: %s. What is held now would be lost at the next start: put the "
                    "file back, or stop the gate",
                    *(held.path, trouble),
                )
            told = trouble
            store.displaced(trouble)
        metrics.health.ledger_in_place(in_place=trouble is None)
        await asyncio.sleep(LOOK_SECONDS)


async def save_counts(counts: RuleCounts, counting: CountingTime, store: Store) -> None:
    """Every few seconds, and at last when cancelled, hand over what rules have counted of requests and rejections; and
    by which time, when that has changed."""
    kept: KeptTime | None = None
    try:
        while True:
            counting.now()
            now = counting.kept
            if now is not None and (kept is None or abs(now.offset - kept.offset) > _WORTH_KEEPING):
                kept = now
                store.note_time(kept)
            await asyncio.sleep(_SAVE_SECONDS)
            store.note(Outcome(rules=counts.take_unsaved()))
    finally:
        store.note(Outcome(rules=counts.take_unsaved()))


async def prune(
    registry: Registry, store: Store, counting: CountingTime, *, retention_days: int, chains: Collection[int]
) -> None:
    """Now and then forget what nobody needs, so that the ledger's size stays bounded."""
    while True:
        before = time.time() - retention_days * _DAY
        try:
            await store.prune(removed_before=before, chains=chains, counted=counting.now())
        except StateUnavailable as error:
            _LOG.warning("old data could not be pruned: %s", error.what)
        else:
            while registry.forget_removed(before):  # noqa: ASYNC110  # nothing is waited for
                await asyncio.sleep(0)
        await asyncio.sleep(_PRUNE_SECONDS)
