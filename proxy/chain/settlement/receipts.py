"""What a bundler says of an operation's end (`eth_getUserOperationReceipt`, `eth_getUserOperationByHash`, ERC-7769)."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import InvalidParams
from proxy.ledger.operations import Mined
from proxy.userop.primitives import Hash32, parse_hash, parse_uint, print_bytes

Receipt = Mapping[str, object]
"""The `result` of `eth_getUserOperationReceipt`."""


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
            transaction=_hash(bundle.get("transactionHash")),
            gas_used=_amount(receipt.get("actualGasUsed")),
            gas_cost=_amount(receipt.get("actualGasCost")),
        )
    except InvalidParams:
        return None


def named_in(receipt: object) -> Hash32 | None:
    """Which operation a receipt is about, if it is one."""
    return _hash(receipt.get("userOpHash")) if isinstance(receipt, Mapping) else None


def receipt_of_inclusion(found: Mapping[str, object], user_op_hash: Hash32) -> Receipt | None:
    """The receipt that an answer of `eth_getUserOperationByHash` stands for; `None` when it names no block.

    It does not tell how the execution ended. The chain counts at validation, so it counts as one that succeeded: what
    nobody can deny was used is used.
    """
    if found.get("blockNumber") is None:
        return None
    block = {"blockNumber": found.get("blockNumber"), "blockHash": found.get("blockHash")}
    return {"userOpHash": print_bytes(user_op_hash), "success": True, "receipt": block}


def _hash(value: object) -> Hash32 | None:
    try:
        return parse_hash(value, "hash")
    except InvalidParams:
        return None


def _amount(value: object) -> int | None:
    try:
        return parse_uint(value, "amount", 256)
    except InvalidParams:
        return None
