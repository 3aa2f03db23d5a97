"""Several secp256k1 owners with a threshold.

Source: rhinestonewtf/core-modules `OwnableValidator.validateSignatureWithData` with rhinestonewtf/checknsignatures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxy.errors import Undecodable
from proxy.session.signers.secp256k1 import SIGNATURE, recover, signed_message_hash
from proxy.session.signers.verdict import BAD_INIT_DATA, INVALID, TOO_SHORT, UNKNOWN, VALID, SignatureVerdict
from proxy.userop import abi
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32

_MOST_SIGNATURES: Final = 64
"""Twice as many as the validator takes owners: nobody sends more, and each costs two recoveries."""
_OWNERS: Final = abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS))


@lru_cache(maxsize=4096)
def _owners(init_data: bytes) -> tuple[int, tuple[Address, ...]] | None:
    """threshold and owners of abi.encode(uint256, address[]); `None` when it does not decode."""
    try:
        threshold, owners = abi.decode(_OWNERS, init_data, "sessionValidatorInitData")
    except Undecodable:
        return None
    return threshold, owners


def check_ownable(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """threshold × 65 bytes in any order; fewer than 65 bytes at the end are ignored.

    Releases differ in whether the validator adds the EIP-191 prefix before all else, and the SDKs sign both ways at
    one address, so the prefixed hash is tried first and the bare one after it.
    """
    configured = _owners(init_data)
    if configured is None:
        return BAD_INIT_DATA
    threshold, owners = configured
    ascending = all(owners[index] < owners[index + 1] for index in range(len(owners) - 1))
    if threshold == 0 or not ascending:
        return INVALID
    if len(signature) < threshold * SIGNATURE:
        return TOO_SHORT
    if threshold > len(owners):
        return INVALID
    verdict = _count(signed_message_hash(digest), threshold, owners, signature)
    return verdict if verdict is not INVALID else _count(digest, threshold, owners, signature)


def _count(digest: Hash32, threshold: int, owners: tuple[Address, ...], signature: bytes) -> SignatureVerdict:
    """Releases also differ in whether signatures beyond the threshold are read: where that decides, ask the chain."""
    count = len(signature) // SIGNATURE
    if count > _MOST_SIGNATURES:
        return UNKNOWN
    verdict = _count_owners(digest, threshold, owners, signature[: threshold * SIGNATURE])
    if count == threshold:
        return verdict
    return verdict if _count_owners(digest, threshold, owners, signature[: count * SIGNATURE]) is verdict else UNKNOWN


def _count_owners(digest: Hash32, threshold: int, owners: tuple[Address, ...], signature: bytes) -> SignatureVerdict:
    signers = set()
    asks_contract = False
    for at in range(0, len(signature), SIGNATURE):
        single = signature[at : at + SIGNATURE]
        v = single[64]
        if v == 0:  # r is the address of a contract that is asked (ERC-1271)
            asks_contract = True
            signers.add(Address(single[12:32]))
        elif v > 30:  # eth_sign: the signer added the EIP-191 prefix itself
            signers.add(recover(signed_message_hash(digest), single[:64] + bytes((v - 4,))))
        else:
            signers.add(recover(digest, single))
    signers.discard(ZERO_ADDRESS)  # a signature of nobody, even where the zero address is an owner
    if len(signers.intersection(owners)) < threshold:
        return INVALID
    return UNKNOWN if asks_contract else VALID
