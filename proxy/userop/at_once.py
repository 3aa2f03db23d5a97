"""The fields that an operation must have, read in one go where they are plain beyond doubt, which they nearly always
are. Nothing is refused here: what is not plain is read field by field, to be taken all the same or to be named."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

GAS_FIELDS: Final = {
    "callGasLimit": "call_gas_limit",
    "verificationGasLimit": "verification_gas_limit",
    "preVerificationGas": "pre_verification_gas",
    "maxFeePerGas": "max_fee_per_gas",
    "maxPriorityFeePerGas": "max_priority_fee_per_gas",
}
"""The gas fields by their names in requests, as `UserOperation` calls them."""

_BYTES: Final = itemgetter("callData", "signature")
_PLAIN: Final = itemgetter("sender", "nonce", *GAS_FIELDS)
_PLAIN_PATTERN: Final = re.compile(
    r"0x[0-9a-fA-F]{40},0x[0-9a-fA-F]{1,64}(?:,0x[0-9a-fA-F]{1,32}){2},0x[0-9a-fA-F]{1,64}(?:,0x[0-9a-fA-F]{1,32}){2}\Z"
)
"""Of two gas limits, and of two fees, each has half a word."""


def read_at_once(value: Mapping[str, Any]) -> dict[str, object] | None:
    """The nine fields by their names in `UserOperation`, for entry points from v0.7 on; or `None`."""
    try:
        call_data, signature = _BYTES(value)
        plain = _PLAIN(value)
        if not _PLAIN_PATTERN.match(",".join(plain)) or call_data[:2] != "0x" or signature[:2] != "0x":
            return None
        sender, nonce, call, verification, before, fee, tip = plain
        return {
            "sender": unhexlify(sender[2:]),
            "nonce": int(nonce, 16),
            "call_data": unhexlify(call_data[2:]),
            "signature": unhexlify(signature[2:]),
            "call_gas_limit": int(call, 16),
            "verification_gas_limit": int(verification, 16),
            "pre_verification_gas": int(before, 16),
            "max_fee_per_gas": int(fee, 16),
            "max_priority_fee_per_gas": int(tip, 16),
        }
    except (KeyError, TypeError, ValueError):
        return None
