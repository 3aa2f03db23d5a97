"""Status methods across bundlers: what became of an operation, in the words of the SDK that asks.

What the client asked for is asked first and relayed unchanged when the bundler knows it. Otherwise the receipt decides,
which every bundler has (ERC-7769); where there is none, a status method that the bundler does know, or else whether it
knows the operation by its hash. `STATUS_WORDS` is the map of words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proxy.edge.dialects.asking import DialectUpstream, KnownMethods, Translated, is_unknown_method, member
from proxy.edge.http.exchange import UpstreamReply
from proxy.errors import InvalidParams
from proxy.jsonrpc import print_json
from proxy.userop.primitives import parse_hash, print_bytes

_PIMLICO: Final = "pimlico_getUserOperationStatus"
_BICONOMY: Final = "biconomy_getUserOperationStatus"
_RUNDLER: Final = "rundler_getUserOperationStatus"
_SKANDHA: Final = "skandha_userOperationStatus"

STATUS_METHODS: Final = frozenset({_PIMLICO, _BICONOMY, _RUNDLER, _SKANDHA})
"""The methods that can be answered from another one. The first param is the hash."""


class StatusStage(Enum):
    """How far an operation has come. `MINED` says nothing of its success: the receipt does."""

    UNKNOWN = "unknown"
    WAITING = "waiting"  # in the bundler's mempool
    SENT = "sent"  # its bundle is out
    MINED = "mined"
    BUNDLE_REVERTED = "bundle reverted"  # its bundle was mined and did nothing
    DROPPED = "dropped"


STATUS_WORDS: Final[Mapping[StatusStage, Mapping[str, str | None]]] = {
    # sources: alto src/types/schemas.ts, mempool and executor/bundleManager; @biconomy/abstractjs decorators/bundler
    # (CONFIRMED ends its waiting with the receipt, REJECTED with the message, all else goes on waiting); rundler
    # crates/rpc RpcUserOperationStatus; skandha packages/types MempoolEntryStatus, null for what it does not have
    StatusStage.UNKNOWN: {_PIMLICO: "not_found", _BICONOMY: "NOT_FOUND", _RUNDLER: "unknown", _SKANDHA: None},
    StatusStage.WAITING: {_PIMLICO: "not_submitted", _BICONOMY: "PENDING", _RUNDLER: "pending", _SKANDHA: "Pending"},
    StatusStage.SENT: {_PIMLICO: "submitted", _BICONOMY: "PENDING", _RUNDLER: "pendingBundle", _SKANDHA: "Submitted"},
    StatusStage.MINED: {_PIMLICO: "included", _BICONOMY: "CONFIRMED", _RUNDLER: "mined", _SKANDHA: "OnChain"},
    StatusStage.BUNDLE_REVERTED: {_PIMLICO: "failed", _BICONOMY: "REJECTED", _RUNDLER: "unknown", _SKANDHA: "Reverted"},
    StatusStage.DROPPED: {_PIMLICO: "rejected", _BICONOMY: "REJECTED", _RUNDLER: "unknown", _SKANDHA: "Cancelled"},
}
"""Each stage in each dialect's word."""

_READ: Final[Mapping[str, Mapping[str, StatusStage]]] = {
    # in lower case: skandha writes "pending", "Submitted" and "onChain"; the words of older releases beside today's
    _PIMLICO: {
        "not_found": StatusStage.UNKNOWN,
        "not_submitted": StatusStage.WAITING,
        "queued": StatusStage.WAITING,
        "submitted": StatusStage.SENT,
        "included": StatusStage.MINED,
        "failed": StatusStage.BUNDLE_REVERTED,
        "reverted": StatusStage.BUNDLE_REVERTED,
        "rejected": StatusStage.DROPPED,
    },
    _SKANDHA: {
        "new": StatusStage.WAITING,
        "pending": StatusStage.WAITING,
        "submitted": StatusStage.SENT,
        "onchain": StatusStage.MINED,
        "includedtochain": StatusStage.MINED,
        "finalized": StatusStage.MINED,
        "reverted": StatusStage.BUNDLE_REVERTED,
        "cancelled": StatusStage.DROPPED,
    },
    _RUNDLER: {
        "unknown": StatusStage.UNKNOWN,
        "pending": StatusStage.WAITING,
        "pendingbundle": StatusStage.SENT,
        "preconfirmed": StatusStage.SENT,
        "mined": StatusStage.MINED,
    },
    _BICONOMY: {
        "not_found": StatusStage.UNKNOWN,
        "bundler_mempool": StatusStage.WAITING,
        "pending": StatusStage.WAITING,
        "submitted": StatusStage.SENT,
        "confirmed": StatusStage.MINED,
        "failed": StatusStage.BUNDLE_REVERTED,
        "rejected": StatusStage.DROPPED,
        "dropped_from_bundler_mempool": StatusStage.DROPPED,
    },
}
_RECEIPT: Final = "eth_getUserOperationReceipt"
_BY_HASH: Final = "eth_getUserOperationByHash"
_RECEIPT_IN: Final = {_BICONOMY: "userOperationReceipt", _RUNDLER: "receipt"}

Observe = Callable[[Mapping[str, object]], Awaitable[None]]


async def _to_nobody(_receipt: Mapping[str, object]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class OperationStanding:
    """Where an operation stands. `receipt` is the bundler's, as it came; `MINED` always has one."""

    stage: StatusStage
    transaction: str | None = None
    receipt: object | None = None


class StatusTranslator:
    """Answers the status methods of one chain. `observe` is handed each receipt that shows an operation mined."""

    def __init__(self, upstream: DialectUpstream, observe: Observe = _to_nobody) -> None:
        self._asking = KnownMethods(upstream)
        self._observe = observe

    async def answer(self, method: str, params: list[object]) -> UpstreamReply | Translated:
        """Answer one of `STATUS_METHODS`. Raises `UpstreamUnavailable`, and `InvalidParams` for what is no hash."""
        user_op_hash = print_bytes(parse_hash(params[0] if params else None, "params[0]"))
        native = await self._asking.ask(method, print_json(params))
        if native is not None and not is_unknown_method(native.reply):
            if isinstance(receipt := member(native.reply.result, _RECEIPT_IN.get(method, "")), Mapping):
                await self._observe(receipt)
            return native
        return Translated(_print(method, await self._standing(method, user_op_hash)))

    async def _standing(self, asked: str, user_op_hash: str) -> OperationStanding:
        params = print_json([user_op_hash])
        if isinstance(receipt := await self._asking.find(_RECEIPT, params), Mapping):
            await self._observe(receipt)
            return OperationStanding(
                StatusStage.MINED, _hash_of(member(member(receipt, "receipt"), "transactionHash")), receipt
            )
        for method in _READ:
            if method == asked:
                continue
            answer = await self._asking.ask(method, params)
            if answer is not None and not answer.reply.is_error:
                standing = _read(method, answer.reply.result)
                if standing is not None:
                    return standing
        found = await self._asking.find(_BY_HASH, params)
        if not isinstance(found, Mapping):
            return OperationStanding(StatusStage.UNKNOWN)
        transaction = _hash_of(found.get("transactionHash"))
        return OperationStanding(StatusStage.WAITING if transaction is None else StatusStage.SENT, transaction)


def _read(method: str, result: object) -> OperationStanding | None:
    """A foreign status; `None` when it cannot be used. Mined without a receipt to show is not mined yet."""
    word = member(result, "state" if method == _BICONOMY else "status")
    stage = _READ[method].get(word.lower()) if isinstance(word, str) else None
    if stage is None:
        return None
    told = (_hash_of(member(result, key)) for key in ("transactionHash", "transaction", "txHash"))
    transaction = next((found for found in told if found is not None), None)
    return OperationStanding(StatusStage.SENT if stage is StatusStage.MINED else stage, transaction)


def _hash_of(value: object) -> str | None:
    try:
        return print_bytes(parse_hash(value, "transactionHash"))
    except InvalidParams:
        return None


def _print(method: str, standing: OperationStanding) -> object | None:
    word = STATUS_WORDS[standing.stage][method]
    if method == _PIMLICO:
        return {"status": word, "transactionHash": standing.transaction}
    if method == _RUNDLER:
        sent = {"txHash": standing.transaction} if standing.stage is StatusStage.SENT else {}
        return {"status": word, "receipt": standing.receipt, **sent}
    if method == _SKANDHA:
        return None if word is None else {"status": word, "transaction": standing.transaction}
    answer: dict[str, object] = {"state": word, "message": f"the operation is {standing.stage.value}"}
    optional = {"transactionHash": standing.transaction, "userOperationReceipt": standing.receipt}
    return answer | {name: value for name, value in optional.items() if value is not None}
