"""Reads of the chain for SDKs that have one URL for everything: a closed list, served from the node, bounded by client.

The node is the one that sessions are read from, and judging comes first: a client has a budget of reads, all of them
together have few connections, which are not those of the gate's own questions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.edge.dialects.asking import DialectUpstream
from proxy.edge.http.exchange import UpstreamReply
from proxy.errors import ReadsSpent
from proxy.jsonrpc import print_json
from proxy.methods import NODE_READS

__all__ = ["NODE_READS", "NodeReads"]

READS_PER_SECOND: Final = 20.0
READS_AT_ONCE: Final = 60.0
CONNECTIONS: Final = 16
LONGEST_ANSWER: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class _Budget:
    left: float
    at: float  # monotonic seconds


class NodeReads:
    """Serves the list. `stopwatch` gives monotonic seconds. Clients' names are the settings', so few are remembered."""

    def __init__(self, node: DialectUpstream, stopwatch: Callable[[], float]) -> None:
        self._node = node
        self._stopwatch = stopwatch
        self._budgets: dict[str, _Budget] = {}

    async def answer(self, method: str, params: list[object], client: str) -> UpstreamReply:
        """The node's reply. Raises `ReadsSpent` past the client's budget, and `UpstreamUnavailable`."""
        self._charge(client)
        return await self._node.post(method, print_json(params), submit=False)

    def _charge(self, client: str) -> None:
        now = self._stopwatch()
        budget = self._budgets.setdefault(client, _Budget(READS_AT_ONCE, now))
        budget.left = min(READS_AT_ONCE, budget.left + (now - budget.at) * READS_PER_SECOND)
        budget.at = now
        if budget.left < 1:
            message = f"this client may ask the node {READS_PER_SECOND:g} times a second; ask later, or a node itself"
            raise ReadsSpent(message, data={"reason": ReadsSpent.code.label, "retryable": True})
        budget.left -= 1
