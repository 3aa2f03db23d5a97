"""Status methods across bundlers: what became of an operation, in the words of the SDK that asks.

What the client asked for is asked first and relayed unchanged when the bundler knows it. Otherwise the receipt decides,
which every bundler has (ERC-7769); where there is none, a status method that the bundler does know, or else whether it
knows the operation by its hash. `STATUS_WORDS` is the map of words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proxy.edge.dialects.asking import Asking, DialectUpstream, Translated, is_unknown_method, member
from proxy.edge.http.upstream import UpstreamReply
from proxy.errors import InvalidParams
from proxy.jsonrpc import print_json
from proxy.userop.primitives import parse_hash, print_bytes

_PIMLICO: Final = "pimlico_getUserOperationStatus"
_BICONOMY: Final = "biconomy_getUserOperationStatus"
_RUNDLER: Final = "rundler_getUserOperationStatus"
_SKANDHA: Final = "skandha_userOperationStatus"

STATUS_METHODS: Final = frozenset({_PIMLICO, _BICONOMY, _RUNDLER, _SKANDHA})
"""The methods that can be answered from another one. The first param is the hash."""


class Stage(Enum):
    """How far an operation has come. `MINED` says nothing of its success: the receipt does."""

    UNKNOWN = "unknown"
    WAITING = "waiting"  # in the bundler's mempool
    SENT = "sent"  # its bundle is out
    MINED = "mined"
    BUNDLE_REVERTED = "bundle reverted"  # its bundle was mined and did nothing
    DROPPED = "dropped"


STATUS_WORDS: Final[Mapping[Stage, Mapping[str, str | None]]] = {
    # sources: alto src/types/schemas.ts, mempool and executor/bundleManager; @biconomy/abstractjs decorators/bundler
    # (CONFIRMED ends its waiting with the receipt, REJECTED with the message, all else goes on waiting); rundler
    # crates/rpc RpcUserOperationStatus; skandha packages/types MempoolEntryStatus, null for what it does not have
    Stage.UNKNOWN: {_PIMLICO: "not_found", _BICONOMY: "NOT_FOUND", _RUNDLER: "unknown", _SKANDHA: None},
    Stage.WAITING: {_PIMLICO: "not_submitted", _BICONOMY: "PENDING", _RUNDLER: "pending", _SKANDHA: "Pending"},
    Stage.SENT: {_PIMLICO: "submitted", _BICONOMY: "PENDING", _RUNDLER: "pendingBundle", _SKANDHA: "Submitted"},
    Stage.MINED: {_PIMLICO: "included", _BICONOMY: "CONFIRMED", _RUNDLER: "mined", _SKANDHA: "OnChain"},
    Stage.BUNDLE_REVERTED: {_PIMLICO: "failed", _BICONOMY: "REJECTED", _RUNDLER: "unknown", _SKANDHA: "Reverted"},
    Stage.DROPPED: {_PIMLICO: "rejected", _BICONOMY: "REJECTED", _RUNDLER: "unknown", _SKANDHA: "Cancelled"},
}
"""Each stage in each dialect's word."""

_READ: Final[Mapping[str, Mapping[str, Stage]]] = {
    # in lower case: skandha writes "pending", "Submitted" and "onChain"; the words of older releases beside today's
    _PIMLICO: {
        "not_found": Stage.UNKNOWN,
        "not_submitted": Stage.WAITING,
        "queued": Stage.WAITING,
        "submitted": Stage.SENT,
        "included": Stage.MINED,
        "failed": Stage.BUNDLE_REVERTED,
        "reverted": Stage.BUNDLE_REVERTED,
        "rejected": Stage.DROPPED,
    },
    _SKANDHA: {
        "new": Stage.WAITING,
        "pending": Stage.WAITING,
        "submitted": Stage.SENT,
        "onchain": Stage.MINED,
        "includedtochain": Stage.MINED,
        "finalized": Stage.MINED,
        "reverted": Stage.BUNDLE_REVERTED,
        "cancelled": Stage.DROPPED,
    },
    _RUNDLER: {
        "unknown": Stage.UNKNOWN,
        "pending": Stage.WAITING,
        "pendingbundle": Stage.SENT,
        "preconfirmed": Stage.SENT,
        "mined": Stage.MINED,
    },
    _BICONOMY: {
        "not_found": Stage.UNKNOWN,
        "bundler_mempool": Stage.WAITING,
        "pending": Stage.WAITING,
        "submitted": Stage.SENT,
        "confirmed": Stage.MINED,
        "failed": Stage.BUNDLE_REVERTED,
        "rejected": Stage.DROPPED,
        "dropped_from_bundler_mempool": Stage.DROPPED,
    },
}
_RECEIPT: Final = "eth_getUserOperationReceipt"
_BY_HASH: Final = "eth_getUserOperationByHash"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an operation stands. `receipt` is the bundler's, as it came; `MINED` always has one."""

    stage: Stage
    transaction: str | None = None
    receipt: object | None = None


class StatusTranslator:
    """Answers the status methods of one chain."""

    def __init__(self, upstream: DialectUpstream) -> None:
        self._asking = Asking(upstream)

    async def answer(self, method: str, params: list[object]) -> UpstreamReply | Translated:
        """Answer one of `STATUS_METHODS`. Raises `UpstreamUnavailable`, and `InvalidParams` for what is no hash."""
        user_op_hash = print_bytes(parse_hash(params[0] if params else None, "params[0]"))
        native = await self._asking.ask(method, print_json(params))
        if native is not None and not is_unknown_method(native.reply):
            return native
        return Translated(_print(method, await self._standing(method, user_op_hash)))

    async def _standing(self, asked: str, user_op_hash: str) -> Standing:
        params = print_json([user_op_hash])
        if isinstance(receipt := await self._asking.find(_RECEIPT, params), Mapping):
            return Standing(Stage.MINED, _hash_of(member(member(receipt, "receipt"), "transactionHash")), receipt)
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
            return Standing(Stage.UNKNOWN)
        transaction = _hash_of(found.get("transactionHash"))
        return Standing(Stage.WAITING if transaction is None else Stage.SENT, transaction)


def _read(method: str, result: object) -> Standing | None:
    """A foreign status; `None` when it cannot be used. Mined without a receipt to show is not mined yet."""
    word = member(result, "state" if method == _BICONOMY else "status")
    stage = _READ[method].get(word.lower()) if isinstance(word, str) else None
    if stage is None:
        return None
    told = (_hash_of(member(result, key)) for key in ("transactionHash", "transaction", "txHash"))
    transaction = next((found for found in told if found is not None), None)
    return Standing(Stage.SENT if stage is Stage.MINED else stage, transaction)


def _hash_of(value: object) -> str | None:
    try:
        return print_bytes(parse_hash(value, "transactionHash"))
    except InvalidParams:
        return None


def _print(method: str, standing: Standing) -> object | None:
    word = STATUS_WORDS[standing.stage][method]
    if method == _PIMLICO:
        return {"status": word, "transactionHash": standing.transaction}
    if method == _RUNDLER:
        sent = {"txHash": standing.transaction} if standing.stage is Stage.SENT else {}
        return {"status": word, "receipt": standing.receipt, **sent}
    if method == _SKANDHA:
        return None if word is None else {"status": word, "transaction": standing.transaction}
    answer: dict[str, object] = {"state": word, "message": f"the operation is {standing.stage.value}"}
    optional = {"transactionHash": standing.transaction, "userOperationReceipt": standing.receipt}
    return answer | {name: value for name, value in optional.items() if value is not None}
