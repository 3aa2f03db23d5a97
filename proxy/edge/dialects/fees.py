"""Fee methods across bundlers: every SDK asks for one bundler's, and a bundler knows only its own.

What the client asked for is asked first and relayed unchanged when the bundler knows it. Otherwise the answer is made
from a fee method that it does know, or from the node. All fees are in wei per gas.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proxy.edge.dialects.asking import DialectUpstream, KnownMethods, Translated, is_unknown_method, member
from proxy.edge.http.exchange import UpstreamReply
from proxy.errors import InvalidParams, StateUnavailable
from proxy.userop.primitives import parse_uint, print_uint


class FeeShape(Enum):
    """How a fee method answers. A pair is `maxFeePerGas` with `maxPriorityFeePerGas`."""

    PRIORITY = "priority"  # one quantity, the priority fee
    PAIR = "pair"
    TIERS = "tiers"  # `slow`, `standard` and `fast`, each a pair
    TIERS_AND_PAIR = "tiers and pair"  # both in one object: one name that SDKs read in two ways
    SUGGESTED = "suggested"  # a pair as `suggested`, beside the `priorityFee` on its own


@dataclass(frozen=True, slots=True)
class FeeDialect:
    """One fee method: its name, its shape, who asks for it or answers so."""

    method: str
    shape: FeeShape
    source: str


FEE_DIALECTS: Final = (
    # in the order in which a bundler is asked for them: what tells most comes first
    FeeDialect(
        "pimlico_getUserOperationGasPrice",
        FeeShape.TIERS,
        "alto src/rpc/methods; permissionless actions/pimlico; @rhinestone/sdk accounts/utils reads `fast`",
    ),
    FeeDialect(
        "zd_getUserOperationGasPrice",
        FeeShape.TIERS_AND_PAIR,
        "@zerodev/sdk actions/account-client reads `standard`; its bundlers stand behind Pimlico's shape",
    ),
    FeeDialect(
        "biconomy_getGasFeeValues",
        FeeShape.TIERS_AND_PAIR,
        "@biconomy/abstractjs decorators/bundler reads the tiers, @biconomy/account bundler/Bundler the pair",
    ),
    FeeDialect("thirdweb_getUserOperationGasPrice", FeeShape.PAIR, "thirdweb wallets/smart/lib/bundler"),
    FeeDialect("rundler_getUserOperationGasPrice", FeeShape.SUGGESTED, "rundler crates/rpc; @alchemy/aa-infra"),
    FeeDialect(
        "skandha_getGasPrice",
        FeeShape.PAIR,
        "@etherspot/modular-sdk base/HttpRpcClient; permissionless actions/etherspot; skandha packages/api",
    ),
    FeeDialect("voltaire_feesPerGas", FeeShape.PAIR, "voltaire rpc/rpc_http_server"),
    FeeDialect(
        "rundler_maxPriorityFeePerGas",
        FeeShape.PRIORITY,
        "@startale-scs/aa-sdk decorators/bundler; @account-kit/infra middleware; rundler crates/rpc",
    ),
)
"""Every fee method that is translated. viem, userop.js and abstractionkit ask for none: they read fees from a node
(`node_reads` serves those that have one URL for everything)."""

FEE_METHODS: Final = frozenset(dialect.method for dialect in FEE_DIALECTS)
"""The methods that can be answered from another one. All take no params."""

_TIERS: Final = {"slow": 120, "standard": 150, "fast": 200}
"""Headroom over the base fee, in percent. The base fee grows by at most 12.5 % a block: 150 % lasts three blocks."""

_NO_PARAMS: Final = b"[]"
_SHAPES: Final = {dialect.method: dialect.shape for dialect in FEE_DIALECTS}


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


class FeeTranslator:
    """Answers the fee methods of one chain. Remembers which of them each endpoint does not know."""

    def __init__(self, upstream: DialectUpstream, node_fees: Callable[[], Awaitable[NodeFees]] | None = None) -> None:
        """`node_fees` raises `StateUnavailable` when the node does not answer."""
        self._asking = KnownMethods(upstream)
        self._node_fees = node_fees

    async def answer(self, method: str) -> UpstreamReply | Translated:
        """Answer one of `FEE_METHODS`. The bundler's own error is relayed when nothing can answer.

        Raises `UpstreamUnavailable`.
        """
        native = await self._asking.ask(method, _NO_PARAMS)
        if native is not None and not is_unknown_method(native.reply):
            return native
        result = await self._translate(method)
        if result is not None:
            return Translated(result)
        return native or await self._asking.insist(method, _NO_PARAMS)

    async def _translate(self, method: str) -> object | None:
        for dialect in FEE_DIALECTS:
            if dialect.method == method:
                continue
            answer = await self._asking.ask(dialect.method, _NO_PARAMS)
            if answer is not None and not answer.reply.is_error:
                tiers = await self._read(dialect, answer.reply.result)
                if tiers is not None:
                    return _print(_SHAPES[method], tiers)
        node = await self._ask_node()
        return None if node is None else _print(_SHAPES[method], _tiers_of(node))

    async def _read(self, dialect: FeeDialect, result: object) -> dict[str, FeePair] | None:
        """A bundler's answer as three tiers; `None` when it cannot be used."""
        try:
            if dialect.shape is FeeShape.PRIORITY:
                priority = parse_uint(result, dialect.method)
                node = await self._ask_node()
                # without a base fee the tiers would promise a max fee that nobody knows
                return None if node is None else _tiers_of(NodeFees(node.base_fee, priority))
            if member(result, "standard") is not None:
                return {tier: _read_pair(member(result, tier), tier) for tier in _TIERS}
            pair = member(result, "suggested") if dialect.shape is FeeShape.SUGGESTED else result
            return dict.fromkeys(_TIERS, _read_pair(pair, dialect.method))
        except InvalidParams:
            return None

    async def _ask_node(self) -> NodeFees | None:
        if self._node_fees is None:
            return None
        try:
            return await self._node_fees()
        except StateUnavailable:
            return None


def _read_pair(value: object, field: str) -> FeePair:
    return FeePair(
        parse_uint(member(value, "maxFeePerGas"), f"{field}.maxFeePerGas"),
        parse_uint(member(value, "maxPriorityFeePerGas"), f"{field}.maxPriorityFeePerGas"),
    )


def _tiers_of(fees: NodeFees) -> dict[str, FeePair]:
    return {
        tier: FeePair(-(-fees.base_fee * percent // 100) + fees.max_priority_fee, fees.max_priority_fee)
        for tier, percent in _TIERS.items()
    }


def _print(shape: FeeShape, tiers: dict[str, FeePair]) -> object:
    standard = _print_pair(tiers["standard"])
    match shape:
        case FeeShape.PRIORITY:
            return standard["maxPriorityFeePerGas"]
        case FeeShape.PAIR:
            return standard
        case FeeShape.TIERS:
            return {tier: _print_pair(pair) for tier, pair in tiers.items()}
        case FeeShape.TIERS_AND_PAIR:
            return {tier: _print_pair(pair) for tier, pair in tiers.items()} | standard
        case FeeShape.SUGGESTED:
            return {"priorityFee": standard["maxPriorityFeePerGas"], "suggested": standard}


def _print_pair(pair: FeePair) -> dict[str, str]:
    return {"maxFeePerGas": print_uint(pair.max_fee), "maxPriorityFeePerGas": print_uint(pair.max_priority_fee)}
