"""Names and values in other spellings than a request's: what programs make of the members of an operation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from proxy.strict_json import NumberLiteral

_BOUNDARY: Final = re.compile(r"_([a-z0-9])")
_AMOUNT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) (gwei|wei|ether)\Z")
_UNITS: Final = {"wei": 1, "gwei": 10**9, "ether": 10**18}
_INTEGER: Final = re.compile(r"(?:#bigint\.)?([0-9]+(?:_[0-9]+)*|[0-9]{1,3}(?:,[0-9]{3})+)(?:n|#__bigint)?\Z")
"""Decimal, as a JavaScript literal, as `ox` and `wagmi` write a bigint into JSON, or in groups of three."""
_NUMBER_NAMES: Final = ("hex", "_hex", "value", "__value", "_value", "$bigint", "bigint", "__bigint__", "$numberLong")
_MOST_TAGS: Final = 3
_LONGEST_QUANTITY: Final = 160
"""A word has 78 digits, what parts them and what tags them comes on top; Python reads no number of 4,300."""
_BARE_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")


def our_name(key: str) -> str:
    """A member's name as requests have it; of snake case, as Python and Rust print it, and of Go's capitals."""
    return _BOUNDARY.sub(lambda match: match[1].upper(), key[:1].lower() + key[1:])


def member_named(value: Mapping[str, object], *names: str) -> object:
    """The first member that is there under one of these names, in whatever spelling; `None` where none is."""
    spelt = {our_name(key): item for key, item in value.items()}
    return next((spelt[name] for name in names if spelt.get(name) is not None), None)


def quantity(value: object) -> int | None:
    """A quantity in another spelling than a request's; `None` for one that is spelt so, or is none."""
    if isinstance(value, NumberLiteral):
        return _integral(value.text)
    if isinstance(value, Mapping):
        return _tagged_number(value)
    if not isinstance(value, str) or len(value) > _LONGEST_QUANTITY:
        return None
    if value == "0x":
        return 0
    if (integer := _INTEGER.match(value)) is not None:
        return int(integer[1].replace("_", "").replace(",", ""))
    if (amount := _AMOUNT.match(value)) is not None:
        return _integral(str(Decimal(amount[1]) * _UNITS[amount[2]]))
    return None


def _tagged_number(value: Mapping[str, object]) -> int | None:
    """ethers' BigNumber and what JSON makes of it, or a bigint as replacers for JSON write one, its type beside it."""
    named = [value[name] for name in _NUMBER_NAMES if name in value]
    if len(named) != 1 or len(value) > _MOST_TAGS:
        return None
    if isinstance(inner := named[0], str) and re.fullmatch(r"0x[0-9a-fA-F]{1,64}", inner):
        return int(inner, 16)
    return None if isinstance(inner, Mapping) or {"hex", "_hex"} & value.keys() else quantity(inner)


def _integral(text: str) -> int | None:
    """A number without a fraction; `None` for a negative one, a fraction, or one that no field can hold."""
    if len(text) > 100:
        return None
    number = Decimal(text)
    if number < 0 or number.adjusted() > 100 or number != number.to_integral_value():
        return None
    return int(number)


def as_bytes(value: object) -> bytes | None:
    """Bytes as Node prints them, alone or by their places, an empty text, or hex without its 0x; `None` for anything
    else."""
    if isinstance(value, str):
        return bytes.fromhex(value) if _BARE_HEX.match(value) else None
    members: object = value
    if isinstance(value, Mapping):
        places = [str(place) for place in range(len(value))]
        members = value.get("data") if value.get("type") == "Buffer" else list(value.values())
        if value.get("type") != "Buffer" and list(value) != places:
            return None
    if not isinstance(members, Sequence) or isinstance(members, str | NumberLiteral):
        return None
    numbers = [each for each in map(quantity, members) if each is not None and each < 256]
    return bytes(numbers) if len(numbers) == len(members) else None
