"""Reads of the chain for SDKs that have one URL for everything: a closed list, served from the node, bounded by client.

The node is the one that sessions are read from, and judging comes first: each household of a client has a budget of
reads, so that no caller uses up what a client has, or all who need no key; past what the client has in a second each
household that asks has an even part of it. All of them together have few connections, which are not those of the gate's
own questions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from proxy.bundler_answers import TOOK_NOTHING
from proxy.edge.dialects.asking import DialectUpstream
from proxy.edge.http.exchange import UpstreamReply
from proxy.edge.http.households import WORKED_FOR
from proxy.errors import ReadsSpent, UpstreamUnavailable
from proxy.jsonrpc import print_json
from proxy.methods import NODE_READS

__all__ = ["NODE_READS", "NodeReads"]

READS_PER_SECOND: Final = 20.0
READS_AT_ONCE: Final = 60.0
READS_OF_CLIENT: Final = 200
"""In a second, by all of its households: past it each has an even part of it, so that a newcomer is answered."""
MOST_OF_CLIENT: Final = 2 * READS_OF_CLIENT
"""In a second, however many households there are."""
CONNECTIONS: Final = 16
LONGEST_ANSWER: Final = 4 * 1024 * 1024
_MOST_BUDGETS: Final = 4_096


_OF_THE_CALL: Final = frozenset({3, -32000, -32001, -32015, -32600, -32601, -32602})
"""Codes by which nodes say that a call reverted, or what is wrong with what was asked (EIP-1474, geth, Nethermind)."""
_OWN_FAULT: Final = 500


def is_of_itself(answer: UpstreamReply) -> bool:
    """Whether a node, or a gateway before it, speaks of itself: its quota, its keys, its faults. What a contract
    reverted with is of the call, whatever code stands by it."""
    reply = answer.reply
    if not reply.is_error:
        return False
    if answer.status in TOOK_NOTHING or answer.status >= _OWN_FAULT:
        return True
    return reply.error_code not in _OF_THE_CALL and not (reply.error_data or "").startswith("0x")


@dataclass(slots=True)
class _Budget:
    left: float
    at: float  # monotonic seconds


@dataclass(slots=True)
class _Second:
    """What a client's households have asked since `began`."""

    began: float
    asked: Counter[str | None] = field(default_factory=Counter)
    all: int = 0


class NodeReads:
    """Serves the list. `stopwatch` gives monotonic seconds. Clients' names are the settings', so few are remembered."""

    def __init__(
        self,
        node: DialectUpstream,
        stopwatch: Callable[[], float],
        complained: Callable[[str], None] = lambda _words: None,
    ) -> None:
        """`complained` hears what the node says of itself."""
        self._node = node
        self._stopwatch = stopwatch
        self._complained = complained
        self._budgets: OrderedDict[tuple[str, str | None], _Budget] = OrderedDict()  # who asked last is last
        self._seconds: dict[str, _Second] = {}

    async def answer(self, method: str, params: list[object], client: str) -> UpstreamReply:
        """The node's reply. Raises `ReadsSpent` past the budget of who asks, and `UpstreamUnavailable`."""
        self._charge(client, WORKED_FOR.get())
        answer = await self._node.post(method, print_json(params), submission=None)
        if is_of_itself(answer):
            reply = answer.reply
            self._complained(f"{reply.error_code} {reply.error_message}")
            raise UpstreamUnavailable(f"{answer.endpoint} answers with an error of its own", may_have_been_sent=False)
        return answer

    def _charge(self, client: str, household: str | None) -> None:
        now = self._stopwatch()
        budget = self._budgets.setdefault((client, household), _Budget(READS_AT_ONCE, now))
        self._budgets.move_to_end((client, household))
        budget.left = min(READS_AT_ONCE, budget.left + (now - budget.at) * READS_PER_SECOND)
        budget.at = now
        if budget.left < 1:
            message = f"who calls may ask the node {READS_PER_SECOND:g} times a second; ask later, or a node itself"
            raise ReadsSpent(message, data={"reason": ReadsSpent.code.label, "retryable": True})
        self._count(client, household, now)
        budget.left -= 1
        if len(self._budgets) > _MOST_BUDGETS:
            self._forget_some(now)

    def _count(self, client: str, household: str | None, now: float) -> None:
        second = self._seconds.get(client)
        if second is None or now - second.began >= 1:
            second = self._seconds[client] = _Second(now)
        others = len(second.asked) + (household not in second.asked)
        has_its_part = second.asked[household] >= max(1, READS_OF_CLIENT // others)
        if second.all >= (READS_OF_CLIENT if has_its_part else MOST_OF_CLIENT):
            message = f"all who call so may ask the node {READS_OF_CLIENT} times a second; ask later, or a node itself"
            raise ReadsSpent(message, data={"reason": ReadsSpent.code.label, "retryable": True})
        second.asked[household] += 1
        second.all += 1

    def _forget_some(self, now: float) -> None:
        """Who has not asked for so long that nothing is missing of the budget; or else whoever asked longest ago."""
        for key in list(islice(self._budgets, 2)):
            budget = self._budgets[key]
            is_whole = budget.left + (now - budget.at) * READS_PER_SECOND >= READS_AT_ONCE
            if is_whole or len(self._budgets) > 2 * _MOST_BUDGETS:
                del self._budgets[key]
