"""What a bundler says of an operation's end (`eth_getUserOperationReceipt`, `eth_getUserOperationByHash`, ERC-7769)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.errors import InvalidParams
from proxy.ledger.operations import Mined
from proxy.userop.primitives import Hash32, parse_hash, parse_uint, print_bytes

Receipt = Mapping[str, object]
"""The `result` of `eth_getUserOperationReceipt`."""

MINED_WORDS: Final = frozenset({"included", "mined", "onchain", "includedtochain", "confirmed", "finalized"})
"""How status methods say that an operation was mined, in lower case; sources: `proxy.edge.dialects.statuses`."""
_RECEIPT_IN: Final = ("receipt", "userOperationReceipt")  # of rundler's status method and of Biconomy's


class ToldMined(NamedTuple):
    """What somebody was told to be mined, as far as he was: an operation, and in which block."""

    user_op_hash: Hash32 | None
    block: int | None
    block_hash: Hash32 | None


def read_receipt(receipt: Receipt) -> Mined | None:
    """What a receipt says; `None` for one that cannot be read (and so ends nothing).

    `userOpHash` and `success` must be there; the block's number and hash are those of the bundle's receipt. Gas, cost
    and transaction are taken where they can be read.
    """
    bundle = receipt.get("receipt")
    bundle = bundle if isinstance(bundle, Mapping) else {}
    number, block_hash = bundle.get("blockNumber"), bundle.get("blockHash")
    success = receipt.get("success")
    if not isinstance(success, bool):
        return None
    try:
        return Mined(
            user_op_hash=parse_hash(receipt.get("userOpHash"), "userOpHash"),
            success=success,
            block=None if number is None else parse_uint(number, "receipt.blockNumber", 64),
            block_hash=None if block_hash is None else parse_hash(block_hash, "receipt.blockHash"),
            transaction=hash_of(bundle.get("transactionHash")),
            gas_used=_amount(receipt.get("actualGasUsed")),
            gas_cost=_amount(receipt.get("actualGasCost")),
        )
    except InvalidParams:
        return None


def told_by(answer: object) -> ToldMined | None:
    """What an answer of any bundler's status method, of `eth_getUserOperationByHash`, or of a node about a transaction
    tells of a block; `None` when it tells of none."""
    if not isinstance(answer, Mapping):
        return None
    held = next((held for held in map(answer.get, _RECEIPT_IN) if named_in(held) is not None), answer)
    answer = held if isinstance(held, Mapping) else answer
    bundle = answer.get("receipt")
    place = bundle if isinstance(bundle, Mapping) else answer
    name, number = named_in(answer), _amount(place.get("blockNumber"), bits=64)
    words = (answer.get("status"), answer.get("state"))
    is_mined = "success" in answer or any(isinstance(word, str) and word.lower() in MINED_WORDS for word in words)
    if number is None and not is_mined:
        return None
    return ToldMined(name, number, hash_of(place.get("blockHash")))


def named_in(receipt: object) -> Hash32 | None:
    """Which operation a receipt is about, if it is one."""
    return hash_of(receipt.get("userOpHash")) if isinstance(receipt, Mapping) else None


def receipt_of_inclusion(found: Mapping[str, object], user_op_hash: Hash32) -> Receipt | None:
    """The receipt that an answer of `eth_getUserOperationByHash` stands for; `None` when it names no block.

    It does not tell how the execution ended. The chain counts at validation, so it counts as one that succeeded: what
    nobody can deny was used is used.
    """
    if found.get("blockNumber") is None:
        return None
    block = {"blockNumber": found.get("blockNumber"), "blockHash": found.get("blockHash")}
    return {"userOpHash": print_bytes(user_op_hash), "success": True, "receipt": block}


def hash_of(value: object) -> Hash32 | None:
    """The hash that this is, if it is one."""
    try:
        return parse_hash(value, "hash")
    except InvalidParams:
        return None


def _amount(value: object, bits: int = 256) -> int | None:
    try:
        return parse_uint(value, "amount", bits)
    except InvalidParams:
        return None
