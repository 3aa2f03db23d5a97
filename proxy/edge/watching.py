"""The watcher of one chain as the gate runs it: its client at the node, its place on disk, its number to look at."""

from __future__ import annotations

import time
from typing import Final

from proxy.admission import Settlement
from proxy.chain.age import ChainAge
from proxy.chain.hydrate import is_readable
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.chain.refresh import refreshing
from proxy.chain.watcher import Watcher
from proxy.config import Chain
from proxy.edge.storage.store import Store
from proxy.edge.telemetry.metrics import Metrics
from proxy.session.registry import Registry

CALLS_AT_ONCE: Final = 4
"""Of the watcher's client: reading many sessions again is no reason to keep a request waiting."""


def watcher_of(
    name: str,
    chain: Chain,
    node: Node,
    reader: NodeReader,
    *,
    registry: Registry,
    store: Store,
    settlement: Settlement,
    metrics: Metrics,
    age: ChainAge,
) -> Watcher:
    """Watches the session modules of `chain` whose sessions can be read; takes up where it was before a restart."""
    watcher = Watcher(
        chain_id=chain.chain_id,
        modules=[module for module in chain.session_modules if is_readable(module)],
        source=node,
        registry=registry,
        refresh=refreshing(reader.reread, registry, settlement),
        keeper=store,
        clock=time.time,
        poll_seconds=chain.poll_seconds,
        cursor=store.cursors().get(chain.chain_id),
        age=age,
    )
    metrics.before_each_scrape(lambda: metrics.chain_state(name, age.seconds, stale=age.stale() is not None))
    return watcher
