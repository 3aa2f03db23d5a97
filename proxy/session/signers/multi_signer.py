"""Several signers of different kinds who must all sign: secp256k1 keys and passkeys.

Source: erc7579/smartsessions `MultiKeySigner.validateSignatureWithData` with `SignerEncode` and `PasskeyHelper`. Two
generations share their configuration and their rule for secp256k1 keys, and differ in how a passkey signs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxy.errors import Undecodable
from proxy.session.revert import BARE, INDEX_OUT_OF_RANGE, Revert
from proxy.session.signers.verdict import (
    INVALID,
    UNDECODABLE,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    SignatureVerdict,
    reverts,
)
from proxy.session.signers.webauthn import ASSERTION, check_assertion, check_assertion_v0
from proxy.userop import abi
from proxy.userop.primitives import ZERO_ADDRESS, Hash32
from proxy.userop.secp256k1 import SIGNATURE, expand_compact, recover, signed_message_hash

_LENGTHS: Final = {0: 20, 1: 64}
"""Bytes of a signer by its type: an address, or x(32) ‖ y(32)."""
_SIGNATURES: Final = abi.tuple_of(abi.list_of(abi.BYTES))
_PASSKEY: Final = abi.tuple_of(ASSERTION)
_COMPACT: Final = 64


@lru_cache(maxsize=4096)
def _signers(init_data: bytes) -> tuple[bytes, ...] | SignatureVerdict:
    """count(1) ‖ (type(1) ‖ signer)…; trailing bytes are ignored."""
    if not init_data:
        return reverts(INDEX_OUT_OF_RANGE)
    signers = []
    at = 1
    for _ in range(init_data[0]):
        if at >= len(init_data):
            return reverts(INDEX_OUT_OF_RANGE)
        length = _LENGTHS.get(init_data[at])
        if length is None:
            return reverts(Revert("UnknownSignerType"))
        if at + 1 + length > len(init_data):
            return reverts(BARE)
        signers.append(init_data[at + 1 : at + 1 + length])
        at += 1 + length
    return tuple(signers)


def check_multi_signer(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """abi.encode(bytes[]), one signature for each configured signer in their order.

    No signer at all is INVALID although the contract is content with it: such a session is anybody's. Passkeys make
    a good signature UNKNOWN, since it cannot be told which generation stands at an address.
    """
    signers = _signers(init_data)
    if isinstance(signers, SignatureVerdict):
        return signers
    try:
        (signatures,) = abi.decode(_SIGNATURES, signature, "signature")
    except Undecodable:
        return UNDECODABLE
    if len(signatures) != len(signers):
        return reverts(Revert("InvalidSignatureLength"))
    verdict = VALID if signers else INVALID
    for signer, single in zip(signers, signatures, strict=True):
        check = _check_passkey if len(signer) == _LENGTHS[1] else _check_key
        said = check(signer, digest, single)
        if said.outcome not in (SignatureOutcome.VALID, SignatureOutcome.UNKNOWN):
            return said
        verdict = verdict if said is VALID else said
    return verdict


def _check_key(owner: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """65 bytes, or 64 in the form of ERC-2098, over the EIP-191 form; a high s is accepted (solady ECDSA.recover)."""
    if len(signature) == _COMPACT:
        signature = expand_compact(signature)
    signer = recover(signed_message_hash(digest), signature) if len(signature) == SIGNATURE else ZERO_ADDRESS
    if signer == ZERO_ADDRESS:
        return reverts(Revert("InvalidSignature"))
    return VALID if signer == owner else INVALID


def _check_passkey(public_key: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """abi.encode(WebAuthnAuth) over the hash, or the v0 encoding over its EIP-191 form; the user must be verified."""
    older = check_assertion_v0(signature, (signed_message_hash(digest), digest), public_key)
    if older is UNKNOWN:
        return UNKNOWN
    try:
        (assertion,) = abi.decode(_PASSKEY, signature, "signature")
    except Undecodable:
        return older
    x, y = int.from_bytes(public_key[:32], "big"), int.from_bytes(public_key[32:], "big")
    current = check_assertion(assertion, digest, x, y, require_uv=True)
    return UNKNOWN if current is VALID else current
