"""Whether a session key signed: the session validators whose rules are known, checked without the chain.

Source: rhinestonewtf/core-modules `OwnableValidator.validateSignatureWithData` with rhinestonewtf/checknsignatures;
Nexus `K1Validator.validateSignatureWithData`, Startale `ECDSAValidator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from coincurve import PublicKey

from proxy.errors import Undecodable
from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.revert import BARE, Revert
from proxy.userop import abi
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, keccak256


class SignatureOutcome(StrEnum):
    """What a session validator says."""

    VALID = "valid"
    INVALID = "invalid"  # the module returns 1: AA24
    MALFORMED = "malformed"  # the validator reverts
    UNKNOWN = "unknown"  # only the chain can tell: another validator, or a contract as signer


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    """An outcome; `revert` goes with MALFORMED and with nothing else."""

    outcome: SignatureOutcome
    revert: Revert | None = None


VALID: Final = SignatureVerdict(SignatureOutcome.VALID)
INVALID: Final = SignatureVerdict(SignatureOutcome.INVALID)
UNKNOWN: Final = SignatureVerdict(SignatureOutcome.UNKNOWN)
TOO_SHORT: Final = SignatureVerdict(SignatureOutcome.MALFORMED, Revert("InvalidSignature"))
"""Fewer signatures than the threshold: OwnableValidator reverts with InvalidSignature()."""
BAD_INIT_DATA: Final = SignatureVerdict(SignatureOutcome.MALFORMED, BARE)
"""The session's own configuration cannot be decoded: no signature will ever pass."""

_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_SIGNATURE: Final = 65
_OWNERS: Final = abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS))


def check_session_signature(
    validator: Address, init_data: bytes, user_op_hash: Hash32, signature: bytes
) -> SignatureVerdict:
    """What the session validator says to the session key's signature over `user_op_hash`.

    `init_data` is the session's validator configuration. `UNKNOWN` is not a pass: it means ask the chain.
    """
    match VALIDATOR_KINDS.get(validator):
        case ValidatorKind.OWNABLE:
            return _check_ownable(init_data, user_op_hash, signature)
        case ValidatorKind.ECDSA:
            return _check_ecdsa(init_data, user_op_hash, signature)
        case _:
            return UNKNOWN


def signed_message_hash(digest: bytes) -> Hash32:
    """The hash an EIP-191 personal message of 32 bytes is signed as."""
    return keccak256(b"\x19Ethereum Signed Message:\n32" + digest)


def recover(digest: bytes, signature: bytes) -> Address:
    """The signer of r(32) ‖ s(32) ‖ v(1), or the zero address, as the ecrecover precompile has it: v is 27 or 28."""
    v = signature[64]
    if v not in (27, 28):
        return ZERO_ADDRESS
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes((v - 27,)), digest, hasher=None)
    except ValueError:
        return ZERO_ADDRESS
    return Address(keccak256(key.format(compressed=False)[1:])[12:])


@lru_cache(maxsize=4096)
def _owners(init_data: bytes) -> tuple[int, tuple[Address, ...]] | None:
    """threshold and owners of abi.encode(uint256, address[]); `None` when it does not decode."""
    try:
        threshold, owners = abi.decode(_OWNERS, init_data, "sessionValidatorInitData")
    except Undecodable:
        return None
    return threshold, owners


def _check_ownable(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """threshold × 65 bytes, more are ignored. A v above 30 says that the signer added the EIP-191 prefix itself.

    Releases differ in whether the validator adds that prefix before all else, and the SDKs sign both ways at one
    address, so the prefixed hash is tried first and the bare one after it.
    """
    configured = _owners(init_data)
    if configured is None:
        return BAD_INIT_DATA
    threshold, owners = configured
    ascending = all(owners[index] < owners[index + 1] for index in range(len(owners) - 1))
    if threshold == 0 or not ascending:
        return INVALID
    if len(signature) < threshold * _SIGNATURE:
        return TOO_SHORT
    if threshold > len(owners):
        return INVALID
    prefixed = signed_message_hash(digest)
    verdict = _count_owners(prefixed, threshold, owners, signature)
    return verdict if verdict is not INVALID else _count_owners(digest, threshold, owners, signature)


def _count_owners(digest: Hash32, threshold: int, owners: tuple[Address, ...], signature: bytes) -> SignatureVerdict:
    signers = set()
    asks_contract = False
    for at in range(0, threshold * _SIGNATURE, _SIGNATURE):
        single = signature[at : at + _SIGNATURE]
        v = single[64]
        if v == 0:  # r is the address of a contract that is asked (ERC-1271)
            asks_contract = True
            signers.add(Address(single[12:32]))
        elif v > 30:
            signers.add(recover(signed_message_hash(digest), single[:64] + bytes((v - 4,))))
        else:
            signers.add(recover(digest, single))
    if len(signers.intersection(owners)) < threshold:
        return INVALID
    return UNKNOWN if asks_contract else VALID


def _check_ecdsa(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """65 bytes, or 64 in the form of ERC-2098, by the one owner over the hash or its EIP-191 form; s must be low."""
    if len(init_data) != 20:
        return BAD_INIT_DATA
    if int.from_bytes(signature[32:64].ljust(32, b"\0"), "big") > _HALF_ORDER:
        return INVALID
    if len(signature) == 64:
        signature += b"\x1b"  # the parity bit of the compact form would make s high
    if len(signature) != _SIGNATURE:
        return INVALID
    signed = (signed_message_hash(digest), digest)
    return VALID if any(recover(each, signature) == init_data for each in signed) else INVALID
