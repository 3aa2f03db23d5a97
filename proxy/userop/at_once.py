"""The fields that an operation must have, read in one go where they are plain beyond doubt, which they nearly always
are. Nothing is refused here: what is not plain is read field by field, to be taken all the same or to be named."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

from proxy.userop.primitives import Address

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


_PAYMASTER_LIMITS: Final = ("paymasterVerificationGasLimit", "paymasterPostOpGasLimit")
_MEMBERS: Final = {
    9: itemgetter("sender", "nonce", *GAS_FIELDS),
    11: itemgetter("sender", "nonce", *GAS_FIELDS, *_PAYMASTER_LIMITS),
    13: itemgetter("sender", "nonce", *GAS_FIELDS, *_PAYMASTER_LIMITS, "paymaster"),
}
"""What has a fixed form in an operation of so many members, whose others are bytes."""
_NO_PAYMASTER: Final = ("0x0", "0x0")
_HALF, _WORD = (rf",0x(?:0|[1-9a-f][0-9a-f]{{0,{digits}}})" for digits in (31, 63))
_PRINTED_PATTERN: Final = re.compile(
    rf"0x[0-9a-f]{{40}}{_WORD}{_HALF}{_HALF}{_WORD}{_HALF}{_HALF}(?:{_HALF}{_HALF}(?:,0x[0-9a-f]{{40}})?)?\Z"
)


def read_as_printed(value: Mapping[str, Any]) -> dict[str, object] | None:
    """The fields of an operation for entry points from v0.7 on, by their names in `UserOperation`, if it is written as
    we print it, digit for digit and with nothing more, so that to print it would make the same of it; or `None`."""
    seen = _seen_as_printed(value)
    if seen is None:
        return None
    plain, call_data, signature, paymaster_data = seen
    fields: dict[str, object] = {
        "sender": unhexlify(plain[0][2:]),
        "nonce": int(plain[1], 16),
        "call_data": call_data,
        "signature": signature,
        "call_gas_limit": int(plain[2], 16),
        "verification_gas_limit": int(plain[3], 16),
        "pre_verification_gas": int(plain[4], 16),
        "max_fee_per_gas": int(plain[5], 16),
        "max_priority_fee_per_gas": int(plain[6], 16),
    }
    if len(plain) > 7:
        fields["paymaster_verification_gas_limit"] = int(plain[7], 16)
        fields["paymaster_post_op_gas_limit"] = int(plain[8], 16)
        if paymaster_data is not None:
            fields["paymaster"] = unhexlify(plain[9][2:])
            fields["paymaster_data"] = paymaster_data
    return fields


def place_as_printed(value: Mapping[str, Any]) -> tuple[Address, int] | None:
    """Sender and nonce of an operation that `read_as_printed` reads; `None` of any other."""
    seen = _seen_as_printed(value)
    if seen is None:
        return None
    plain = seen[0]
    return Address(unhexlify(plain[0][2:])), int(plain[1], 16)


def _seen_as_printed(value: Mapping[str, Any]) -> tuple[tuple[str, ...], bytes, bytes, bytes | None] | None:
    """What has a fixed form, as it is written; call data, signature, and the paymaster's data where there is one."""
    members = _MEMBERS.get(len(value))
    if members is None:
        return None
    paymaster_data: bytes | None = None
    try:
        plain: tuple[str, ...] = members(value)
        call_data, signature = _BYTES(value)
        if not _PRINTED_PATTERN.match(",".join(plain)) or call_data[:2] != "0x" or signature[:2] != "0x":
            return None
        if not (call_data.islower() and signature.islower()):
            return None
        if len(plain) > 9:
            data = value["paymasterData"]
            if data[:2] != "0x" or not data.islower():
                return None
            paymaster_data = unhexlify(data[2:])
        elif len(plain) > 7 and plain[7:9] != _NO_PAYMASTER:
            return None  # they say something of a paymaster that there is none of
        return plain, unhexlify(call_data[2:]), unhexlify(signature[2:]), paymaster_data
    except (KeyError, TypeError, ValueError):
        return None


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
