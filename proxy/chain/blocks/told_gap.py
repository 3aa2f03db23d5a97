"""What declared modules told in a stretch of blocks that was not followed: too long ago, or before this gate was there.

Only their own logs are asked for, so that a long stretch is few questions. An empty answer is asked for once more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from proxy.chain.blocks.source import BlockSource, LogFilter
from proxy.chain.declared_logs import told_by
from proxy.chain.logs import Log
from proxy.chain.settlement.slices import SessionTold
from proxy.errors import StateUnavailable
from proxy.userop.declared_module import declared_modules
from proxy.userop.primitives import Address

_LONGEST: Final = 5_000
_SHORTEST: Final = 50


async def told_between(
    source: BlockSource, modules: Collection[Address], chain_id: int, first: int, last: int
) -> AsyncIterator[SessionTold]:
    """In chain order, from block `first` to `last`, as it comes. Raises `StateUnavailable`."""
    declared = declared_modules(modules)
    telling = [module for module in declared.values() if module.events]
    if not telling:
        return
    topics = tuple(dict.fromkeys(topic for module in telling for topic in module.events))
    asked = LogFilter(addresses=tuple(sorted(module.address for module in telling)), topics=(topics,))
    span = _LONGEST
    while first <= last:
        end = min(first + span - 1, last)
        try:
            logs = await source.logs_between(first, end, asked) or await source.logs_between(first, end, asked)
        except StateUnavailable:
            if span <= _SHORTEST:
                raise
            span //= 4  # too many blocks or logs at once, by the limits of a node that we do not know
            continue
        for log in _in_order(logs):
            module = declared.get(log.address)
            for told in () if module is None else told_by(log, module, chain_id):
                yield told
        first = end + 1


def _in_order(logs: Sequence[Log]) -> list[Log]:
    return sorted((log for log in logs if not log.removed), key=lambda log: (log.block, log.log_index))
