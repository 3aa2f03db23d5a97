"""What a bundler's receipt says of an operation (`eth_getUserOperationReceipt`, ERC-7769)."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import InvalidParams
from proxy.ledger.operations import Mined
from proxy.userop.primitives import parse_hash, parse_uint

Receipt = Mapping[str, object]
"""The `result` of `eth_getUserOperationReceipt`."""


def read_receipt(receipt: Receipt) -> Mined | None:
    """What a receipt says; `None` for one that cannot be read (and so ends nothing).

    `userOpHash` and `success` must be there; the block's number and hash are those of the bundle's receipt.
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
        )
    except InvalidParams:
        return None
