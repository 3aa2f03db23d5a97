"""Fee methods across bundlers: every SDK asks for one bundler's, and a bundler knows only its own.

What the client asked for is asked first and relayed unchanged when the bundler knows it. Otherwise the answer is made
from a fee method that it does know, or from the node. Shapes: `rundler_maxPriorityFeePerGas` is a quantity;
`pimlico_getUserOperationGasPrice` has `slow`, `standard` and `fast`, each with `maxFeePerGas` and
`maxPriorityFeePerGas`; `skandha_getGasPrice` and `voltaire_feesPerGas` are one such pair;
`rundler_getUserOperationGasPrice` carries one as `suggested`. All fees are in wei per gas.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.edge.http.upstream import UpstreamReply
from proxy.errors import InvalidParams, StateUnavailable
from proxy.jsonrpc import Reply
from proxy.userop.primitives import parse_uint, print_uint

_RUNDLER_PRIORITY: Final = "rundler_maxPriorityFeePerGas"
_RUNDLER_PRICE: Final = "rundler_getUserOperationGasPrice"
_PIMLICO: Final = "pimlico_getUserOperationGasPrice"
_SKANDHA: Final = "skandha_getGasPrice"
_VOLTAIRE: Final = "voltaire_feesPerGas"

FEE_METHODS: Final = frozenset({_RUNDLER_PRIORITY, _PIMLICO, _SKANDHA, _VOLTAIRE})
"""The methods that can be answered from another one. All take no params."""

_SOURCES: Final = (_PIMLICO, _RUNDLER_PRICE, _SKANDHA, _VOLTAIRE, _RUNDLER_PRIORITY)
_TIERS: Final = {"slow": 120, "standard": 150, "fast": 200}
"""Headroom over the base fee, in percent. The base fee grows by at most 12.5 % a block: 150 % lasts three blocks."""

_NO_PARAMS: Final = b"[]"


@dataclass(frozen=True, slots=True)
class FeePair:
    """What one user operation should offer, in wei per gas."""

    max_fee: int
    max_priority_fee: int


@dataclass(frozen=True, slots=True)
class NodeFees:
    """What the node says: the latest block's base fee and `eth_maxPriorityFeePerGas`, in wei per gas."""

    base_fee: int
    max_priority_fee: int


@dataclass(frozen=True, slots=True)
class Translated:
    """An answer made here; `result` is the JSON-RPC result in the shape of the method asked for."""

    result: object


class FeeUpstream(Protocol):
    """The part of `Upstream` that is used here."""

    @property
    def preferred(self) -> str:
        """The name of the endpoint the next request goes to."""

    async def post(self, method: str, params: bytes, *, submit: bool) -> UpstreamReply:
        """Ask it. Raises `UpstreamUnavailable`."""


class FeeTranslator:
    """Answers the fee methods of one chain. Remembers which of them each endpoint does not know."""

    def __init__(self, upstream: FeeUpstream, node_fees: Callable[[], Awaitable[NodeFees]] | None = None) -> None:
        """`node_fees` raises `StateUnavailable` when the node does not answer."""
        self._upstream = upstream
        self._node_fees = node_fees
        self._unknown: set[tuple[str, str]] = set()

    async def answer(self, method: str) -> UpstreamReply | Translated:
        """Answer one of `FEE_METHODS`. The bundler's own error is relayed when nothing can answer.

        Raises `UpstreamUnavailable`.
        """
        native = await self._ask(method)
        if native is not None and not _is_unknown_method(native.reply):
            return native
        result = await self._translate(method)
        if result is not None:
            return Translated(result)
        return native or await self._upstream.post(method, _NO_PARAMS, submit=False)

    async def _ask(self, method: str) -> UpstreamReply | None:
        """The bundler's answer; `None`, unasked, when it is known not to know the method."""
        if (self._upstream.preferred, method) in self._unknown:
            return None
        answer = await self._upstream.post(method, _NO_PARAMS, submit=False)
        if _is_unknown_method(answer.reply):
            self._unknown.add((answer.endpoint, method))
        return answer

    async def _translate(self, method: str) -> object | None:
        for source in _SOURCES:
            if source != method and (answer := await self._ask(source)) is not None and not answer.reply.is_error:
                tiers = await self._read(source, answer.reply.result)
                if tiers is not None:
                    return _print(method, tiers)
        node = await self._ask_node()
        return None if node is None else _print(method, _tiers_of(node))

    async def _read(self, source: str, result: object) -> dict[str, FeePair] | None:
        """A bundler's answer as three tiers; `None` when it cannot be used."""
        try:
            if source == _RUNDLER_PRIORITY:
                priority = parse_uint(result, source)
                node = await self._ask_node()
                # without a base fee the tiers would promise a max fee that nobody knows
                return None if node is None else _tiers_of(NodeFees(node.base_fee, priority))
            if source == _PIMLICO:
                return {tier: _read_pair(_member(result, tier), tier) for tier in _TIERS}
            pair = _read_pair(_member(result, "suggested") if source == _RUNDLER_PRICE else result, source)
        except InvalidParams:
            return None
        return dict.fromkeys(_TIERS, pair)

    async def _ask_node(self) -> NodeFees | None:
        if self._node_fees is None:
            return None
        try:
            return await self._node_fees()
        except StateUnavailable:
            return None


_UNKNOWN_CODES: Final = frozenset({-32601, -32004})  # JSON-RPC 2.0; EIP-1474 "method not supported"
_UNKNOWN_WORDS: Final = re.compile(
    r"method .{0,80}(not found|not supported|not available|does not exist|unknown)|(unknown|unsupported) method"
    r"|invalid discriminator",
    re.IGNORECASE,
)


def _is_unknown_method(reply: Reply) -> bool:
    return reply.is_error and (
        reply.error_code in _UNKNOWN_CODES or bool(_UNKNOWN_WORDS.search(reply.error_message or ""))
    )


def _member(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _read_pair(value: object, field: str) -> FeePair:
    return FeePair(
        parse_uint(_member(value, "maxFeePerGas"), f"{field}.maxFeePerGas"),
        parse_uint(_member(value, "maxPriorityFeePerGas"), f"{field}.maxPriorityFeePerGas"),
    )


def _tiers_of(fees: NodeFees) -> dict[str, FeePair]:
    return {
        tier: FeePair(-(-fees.base_fee * percent // 100) + fees.max_priority_fee, fees.max_priority_fee)
        for tier, percent in _TIERS.items()
    }


def _print(method: str, tiers: dict[str, FeePair]) -> object:
    if method == _RUNDLER_PRIORITY:
        return print_uint(tiers["standard"].max_priority_fee)
    printed = {
        tier: {
            "maxFeePerGas": print_uint(pair.max_fee),
            "maxPriorityFeePerGas": print_uint(pair.max_priority_fee),
        }
        for tier, pair in tiers.items()
    }
    return printed if method == _PIMLICO else printed["standard"]
