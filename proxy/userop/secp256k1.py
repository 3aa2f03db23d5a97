"""ECDSA over secp256k1 as contracts see it: the ecrecover precompile and the EIP-191 form of a hash."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxy.userop.libsecp256k1 import recover_point
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, keccak256

HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half of the order of the group: contracts that refuse malleable signatures refuse a larger s."""
SIGNATURE: Final = 65
"""Bytes of r(32) ‖ s(32) ‖ v(1)."""
PERSONAL_MESSAGE: Final = b"\x19Ethereum Signed Message:\n32"
"""Stands before 32 bytes that are signed as an EIP-191 personal message."""


def signed_message_hash(digest: bytes) -> Hash32:
    """The hash an EIP-191 personal message of 32 bytes is signed as."""
    return keccak256(PERSONAL_MESSAGE + digest)


def recover(digest: bytes, signature: bytes) -> Address:
    """The signer of r(32) ‖ s(32) ‖ v(1), or the zero address, as the ecrecover precompile has it: v is 27 or 28."""
    v = signature[64]
    if v not in (27, 28):
        return ZERO_ADDRESS
    point = recover_point(digest, signature, v - 27)
    return ZERO_ADDRESS if point is None else address_of(point)


@lru_cache(maxsize=1 << 13)
def address_of(point: bytes) -> Address:
    """The account of a public key as `recover_point` gives it."""
    return Address(keccak256(point[1:])[12:])


def expand_compact(signature: bytes) -> bytes:
    """The 65 bytes that the 64 bytes of ERC-2098 stand for: the parity of the curve point is the top bit of s."""
    parity = signature[32] >> 7
    return signature[:32] + bytes((signature[32] & 0x7F,)) + signature[33:] + bytes((27 + parity,))
