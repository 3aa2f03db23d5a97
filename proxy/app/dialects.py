"""Who answers the methods of single bundlers' dialects on one chain."""

from __future__ import annotations

import time
from functools import partial

from proxy.admission.in_time import in_time
from proxy.chain.complaints import NodeComplaints
from proxy.chain.node import Node
from proxy.config import Chain, Dialects
from proxy.edge.dialects.asking import Translated
from proxy.edge.dialects.fees import FEE_METHODS, FeeTranslator, NodeFees
from proxy.edge.dialects.node_reads import CONNECTIONS, LONGEST_ANSWER, NODE_READS, NodeReads
from proxy.edge.dialects.statuses import STATUS_METHODS, Observe, StatusTranslator
from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.listener import Transport
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import StateUnavailable
from proxy.gate import DialectAnswer
from proxy.ports import Forwarded


def dialects_of(
    upstream: HttpUpstream, node: Node | None, observe: Observe, reads: NodeReads | None = None, *, seconds: float
) -> dict[str, DialectAnswer]:
    """By method: who can answer it. `translated_of` says which of them do. `observe` hears of receipts;
    the node has so many `seconds` to tell its fees."""
    fees = FeeTranslator(upstream, None if node is None else partial(_node_fees, node, seconds))
    statuses = StatusTranslator(upstream, observe)
    return {
        **dict.fromkeys(FEE_METHODS, partial(_answer_fees, fees)),
        **dict.fromkeys(STATUS_METHODS, partial(_answer_status, statuses)),
        **({} if reads is None else dict.fromkeys(NODE_READS, reads.answer)),
    }


def translated_of(chain: Chain) -> frozenset[str]:
    """The methods that the settings leave to the translators."""
    fees = FEE_METHODS if chain.fee_methods is Dialects.TRANSLATE else frozenset()
    statuses = STATUS_METHODS if chain.status_methods is Dialects.TRANSLATE else frozenset()
    return fees | statuses | reads_of(chain)


def reads_of(chain: Chain) -> frozenset[str]:
    """The reads that are served from the node."""
    return NODE_READS if chain.node_reads else frozenset()


def node_upstream(name: str, chain: Chain, seconds: float, transport: Transport) -> HttpUpstream | None:
    """Whom dapps' reads are put to: the chain's nodes by connections of their own; `None` where that is off."""
    if chain.node is None or not chain.node_reads:
        return None
    bounds = UpstreamSettings(
        total_seconds=seconds, max_connections=CONNECTIONS, max_reply_bytes=LONGEST_ANSWER, transport=transport
    )
    return HttpUpstream(
        f"{name}/node", chain.node.urls, chain_id=chain.chain_id, entry_points=frozenset(), settings=bounds
    )


def reads_from(node: HttpUpstream | None, chain_id: int) -> NodeReads | None:
    """Who serves these reads, and tells the log what the node says of itself."""
    return None if node is None else NodeReads(node, time.monotonic, NodeComplaints(chain_id, time.monotonic))


async def _answer_fees(
    translator: FeeTranslator, method: str, _params: list[object], _client: str
) -> Forwarded | object:
    answered = await translator.answer(method)
    return answered.result if isinstance(answered, Translated) else answered


async def _answer_status(
    translator: StatusTranslator, method: str, params: list[object], _client: str
) -> Forwarded | object:
    answered = await translator.answer(method, params)
    return answered.result if isinstance(answered, Translated) else answered


async def _node_fees(node: Node, seconds: float) -> NodeFees:
    async with in_time(seconds, "the node did not tell its fees"):
        head = await node.head()
        if head.base_fee is None:
            raise StateUnavailable("the newest block has no base fee")
        return NodeFees(base_fee=head.base_fee, max_priority_fee=await node.max_priority_fee())
