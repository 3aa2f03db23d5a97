"""The fields that an operation must have, read in one go where they are plain beyond doubt, which they nearly always
are. Nothing is refused here: what is not plain is read field by field, to be taken all the same or to be named."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping, Sequence
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


_PAYMASTER_LIMITS: Final = ("paymasterVerificationGasLimit", "paymasterPostOpGasLimit")
_NEEDED: Final = ("callData", "signature", "sender", "nonce", *GAS_FIELDS)
_MEMBERS: Final = {
    9: itemgetter(*_NEEDED),
    11: itemgetter(*_NEEDED, *_PAYMASTER_LIMITS),
    13: itemgetter(*_NEEDED, *_PAYMASTER_LIMITS, "paymaster"),
}
"""Of an operation of so many members: call data and signature, then what has a fixed form. All others are bytes."""
_NO_PAYMASTER: Final = ["0x0", "0x0"]
_NO_FACTORY: Final = (None, None, None, None)  # of the old shape two fields, of the later ones two
_NONE_PAYS: Final = (*_NO_FACTORY, None, 0, 0)
_HALF, _WORD = (rf",0x(?:0|[1-9a-f][0-9a-f]{{0,{digits}}})" for digits in (31, 63))
_is_printed: Final = re.compile(
    rf"0x[0-9a-f]{{40}}{_WORD}{_HALF}{_HALF}{_WORD}{_HALF}{_HALF}(?:{_HALF}{_HALF}(?:,0x[0-9a-f]{{40}})?)?\Z"
).match


def read_as_printed(value: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The first fields of an operation for entry points from v0.7 on, in the order of `UserOperation`, if it is written
    as we print it, digit for digit and with nothing more, so that to print it would make the same of it; or `None`.

    Any: each is what its parser makes of it."""
    members = _MEMBERS.get(len(value))
    if members is None:
        return None
    try:
        written = members(value)
        call_data, signature, sender, nonce, call, verification, before, fee, tip, *paying = written
        if not _is_printed(",".join(written[2:])) or call_data[:2] != "0x" or signature[:2] != "0x":
            return None
        if call_data.lower() != call_data or signature.lower() != signature:  # `islower` takes ten times as long
            return None
        fields = (
            unhexlify(sender[2:]),
            int(nonce, 16),
            unhexlify(call_data[2:]),
            unhexlify(signature[2:]),
            int(call, 16),
            int(verification, 16),
            int(before, 16),
            int(fee, 16),
            int(tip, 16),
        )
        if paying:
            if paying == _NO_PAYMASTER:
                return fields + _NONE_PAYS
            if len(paying) == len(_NO_PAYMASTER):
                return None  # they say something of a paymaster that there is none of
            fields += _paying_as_printed(paying, value)
    except (KeyError, TypeError, ValueError):
        return None
    return fields


def _paying_as_printed(paying: Sequence[str], value: Mapping[str, Any]) -> tuple[Any, ...]:
    """The paymaster's fields, and those before them. Raises for data that are not written as we print them, as what
    takes bytes apart does."""
    post_op, verification, paymaster, data = paying[1], paying[0], paying[2], value["paymasterData"]
    if data[:2] != "0x" or data.lower() != data:
        raise ValueError("not written as we print it")
    said = unhexlify(paymaster[2:]), int(verification, 16), int(post_op, 16), unhexlify(data[2:])
    return _NO_FACTORY + said


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
