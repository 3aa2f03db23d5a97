"""Typed bytes and integers, and the one place where hex becomes them and they become hex.

The strict profile: `0x` in lower case, digits of either case, an even count for bytes, 40 for an address, at least
one and no more than 64 for a quantity, which is printed back minimal. Everything that a bundler somewhere reads
leniently (separators, whitespace, odd lengths, JSON numbers, missing prefixes) is refused, because two readers
would disagree about its meaning.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NewType, Protocol, cast

from eth_hash.backends.pysha3 import keccak256 as _keccak256
from sha3 import keccak_256 as _keccak_256

from proxy.errors import InvalidParams

Address = NewType("Address", bytes)
"""20 bytes."""
Hash32 = NewType("Hash32", bytes)
"""32 bytes: a hash, a permission id, an action id, a salt."""
Selector = NewType("Selector", bytes)
"""The first 4 bytes of call data."""

ZERO_ADDRESS: Final = Address(bytes(20))
UINT256_MAX: Final = 2**256 - 1


class _Hash(Protocol):
    def digest(self) -> bytes: ...


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_ASCII_LIMIT = 40


sha3: Final = cast(Callable[[bytes], _Hash], _keccak_256)
"""The same before its digest is asked for: where steps of Python count."""
keccak256: Final = cast(Callable[[bytes], Hash32], _keccak256)
"""Keccak-256 as Ethereum uses it (not SHA3-256). The library's own function: it is called for every operation."""


def _refuse(value: object, field: str, wanted: str) -> InvalidParams:
    if isinstance(value, str):
        shown = value if len(value) <= _ASCII_LIMIT else f"{value[:_ASCII_LIMIT]}… ({len(value)} characters)"
        return InvalidParams(field, f"wanted {wanted}, got {shown!a}")
    return InvalidParams(field, f"wanted {wanted}, got {json_type(value)}")


def json_type(value: object) -> str:
    """The JSON name of a parsed value's type, for error messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return "a number"


def parse_bytes(value: object, field: str) -> bytes:
    """Bytes from `0x` and an even count of hex digits. Raises `InvalidParams` that names `field`."""
    # type() and not isinstance(): only what the JSON reader made of a JSON string is one
    if type(value) is str and value.startswith("0x"):
        try:
            # takes pairs of ASCII hex digits and nothing else, and long call data far faster than a pattern does
            return unhexlify(value[2:])
        except ValueError:
            pass
    raise _refuse(value, field, "0x-prefixed hex with an even number of digits")


def parse_address(value: object, field: str) -> Address:
    """An address from `0x` and 40 hex digits; the case of the digits (EIP-55) carries no meaning here."""
    if type(value) is not str or not _ADDRESS.match(value):
        raise _refuse(value, field, "an address of 0x and 40 hex digits")
    return Address(unhexlify(value[2:]))


def parse_hash(value: object, field: str) -> Hash32:
    """32 bytes from `0x` and 64 hex digits."""
    if type(value) is str and len(value) == 66 and value.startswith("0x"):  # nearly always
        try:
            return cast(Hash32, unhexlify(value[2:]))
        except ValueError:
            pass
    parse_bytes(value, field)
    raise _refuse(value, field, "32 bytes of 0x-prefixed hex")


def parse_uint(value: object, field: str, bits: int = 256) -> int:
    """An unsigned integer of at most `bits` bits from a hex quantity; leading zeros are read, never printed."""
    if type(value) is not str or not _QUANTITY.match(value):
        raise _refuse(value, field, "a hex quantity such as 0x5208")
    number = int(value, 16)
    if number >> bits:
        raise _refuse(value, field, f"a quantity of at most {bits} bits")
    return number


def print_bytes(data: bytes) -> str:
    """`0x` and lower-case digits."""
    return "0x" + data.hex()


def print_uint(number: int) -> str:
    """The minimal hex quantity: `0x0`, `0x5208`."""
    return hex(number)


@lru_cache(maxsize=1_024)  # whoever reviews or refuses something names the same few addresses again and again
def print_checksummed(address: bytes) -> str:
    """The address with the checksum of EIP-55, for people."""
    digits = address.hex()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(map(_CASED.__getitem__, zip(digits, digest, strict=False)))


_DIGITS: Final = "0123456789abcdef"
_CASED: Final = {(digit, nibble): digit.upper() if nibble >= "8" else digit for digit in _DIGITS for nibble in _DIGITS}
"""A digit of an address by itself and by the digit of the digest in its place."""
