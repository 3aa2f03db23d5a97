"""Passkeys: P-256 signatures in the envelope of a WebAuthn assertion, in the encodings of two generations.

Nothing of an assertion is bound to an origin on chain: what counts is the challenge, which must be the hash.

Sources: rhinestonewtf/core-modules `WebAuthnValidator.validateSignatureWithData`, base-org/webauthn-sol
`WebAuthn.verify` and solady `LibString.slice` (current); zerodevapp/kernel-7579-plugins `WebAuthn.verifySignature`,
`P256.verifySignature` (v0); W3C WebAuthn Level 2, sections 6.1 and 7.2.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from typing import Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.session.revert import INDEX_OUT_OF_RANGE, OVERFLOW, Revert
from proxy.session.signers import p256
from proxy.session.signers.verdict import (
    BAD_INIT_DATA,
    INVALID,
    UNDECODABLE,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    SignatureVerdict,
    reverts,
)
from proxy.userop import abi
from proxy.userop.primitives import Address, Hash32, keccak256

NOT_SORTED: Final = reverts(Revert("NotSorted"))
"""The session's credential ids do not ascend: no signature will ever pass."""

# clientDataJSON is a string, which Solidity decodes without asking whether it is UTF-8
ASSERTION: Final = abi.tuple_of(abi.BYTES, abi.BYTES, abi.UINT256, abi.UINT256, abi.UINT256, abi.UINT256)
"""WebAuthnAuth: authenticatorData, clientDataJSON, challengeIndex, typeIndex, r, s."""
_ASSERTIONS: Final = abi.tuple_of(abi.list_of(ASSERTION))
_CREDENTIAL: Final = abi.tuple_of(abi.UINT256, abi.UINT256, abi.BOOL)
_CONTEXT: Final = abi.tuple_of(
    abi.tuple_of(abi.BOOL, abi.UINT256, abi.list_of(abi.BYTES32), abi.list_of(_CREDENTIAL)), abi.ADDRESS
)
_V0: Final = abi.tuple_of(abi.BYTES, abi.BYTES, abi.UINT256, abi.UINT256, abi.UINT256, abi.BOOL)
"""authenticatorData, clientDataJSON, responseTypeLocation, r, s, usePrecompiled."""

_TYPE: Final = b'"type":"webauthn.get"'
_CHALLENGE_LENGTH: Final = 57
_V0_CHALLENGE_AT: Final = len(b'{"type":"webauthn.get",')
_FLAGS_AT: Final = 32
_V0_SHORTEST: Final = 37
_USER_PRESENT, _USER_VERIFIED, _BACKUP_ELIGIBLE, _BACKED_UP = 0x01, 0x04, 0x08, 0x10


@record()
class _Context:
    """The credentials of a session. `sound` tells whether their ids are theirs and the threshold can be met."""

    use_precompile: bool
    threshold: int
    credentials: tuple[tuple[int, int, bool], ...]
    sound: bool


@lru_cache(maxsize=4096)
def _context(init_data: bytes) -> _Context | SignatureVerdict:
    """abi.encode((bool usePrecompile, uint256 threshold, bytes32[] ids, (x, y, requireUV)[]), address account)."""
    try:
        (use_precompile, threshold, ids, credentials), account = abi.decode(
            _CONTEXT, init_data, "sessionValidatorInitData"
        )
    except Undecodable:
        return BAD_INIT_DATA
    if any(ids[index] >= ids[index + 1] for index in range(len(ids) - 1)):
        return NOT_SORTED
    expected = tuple(_credential_id(x, y, account) for x, y, _ in credentials)
    return _Context(use_precompile, threshold, credentials, ids == expected and 0 < threshold <= len(ids))


def fault_of_passkeys(init_data: bytes) -> str | None:
    """What is wrong with a session's passkeys, so that no signature satisfies them; `None` where nothing is."""
    context = _context(init_data)
    if context is NOT_SORTED:
        return "the ids of its passkeys do not ascend"
    if isinstance(context, SignatureVerdict):
        return (
            "its init data are not abi.encode((bool usePrecompile, uint256 threshold, bytes32[] credentialIds,"
            " (uint256 x, uint256 y, bool requireUV)[] credentials), address account)"
        )
    if not context.credentials:
        return "it names no key"
    return None if context.sound else "its threshold cannot be met, or an id is not that of its passkey and account"


def _credential_id(x: int, y: int, account: Address) -> Hash32:
    return keccak256(x.to_bytes(32, "big") + y.to_bytes(32, "big") + account.rjust(32, b"\0"))


def check_webauthn(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """abi.encode(WebAuthnAuth[]), one for each credential in the order of their ids, as a session validator takes it.

    The form an account's own validator takes, with credential ids in front, reverts here as it does on chain. A good
    signature is UNKNOWN when the session wants the RIP-7212 precompile: not every chain has it.
    """
    context = _context(init_data)
    if isinstance(context, SignatureVerdict):
        return context
    try:
        (assertions,) = abi.decode(_ASSERTIONS, signature, "signature")
    except Undecodable:
        return UNDECODABLE
    if not context.sound or len(assertions) < context.threshold:
        return INVALID
    valid = 0
    for index, assertion in enumerate(assertions):
        if index >= len(context.credentials):
            return reverts(INDEX_OUT_OF_RANGE)
        x, y, require_uv = context.credentials[index]
        verdict = check_assertion(assertion, digest, x, y, require_uv=require_uv)
        if verdict.outcome is SignatureOutcome.MALFORMED:
            return verdict
        valid += verdict is VALID
        if valid >= context.threshold:
            return UNKNOWN if context.use_precompile else VALID
    return INVALID


def check_assertion(
    assertion: tuple[bytes, bytes, int, int, int, int], challenge: bytes, x: int, y: int, *, require_uv: bool
) -> SignatureVerdict:
    """One `WebAuthnAuth` by the key at (x, y) over a challenge of 32 bytes. Checked in the order of the contract."""
    authenticator_data, client_data, challenge_index, type_index, r, s = assertion
    if s > p256.HALF_ORDER:
        return INVALID
    if type_index + len(_TYPE) >> 256:
        return reverts(OVERFLOW)
    if client_data[type_index : type_index + len(_TYPE)] != _TYPE:
        return INVALID
    if challenge_index + _CHALLENGE_LENGTH >> 256:
        return reverts(OVERFLOW)
    if client_data[challenge_index : challenge_index + _CHALLENGE_LENGTH] != _challenge_member(challenge):
        return INVALID
    if len(authenticator_data) <= _FLAGS_AT:
        return reverts(INDEX_OUT_OF_RANGE)
    wanted = _USER_PRESENT | _USER_VERIFIED if require_uv else _USER_PRESENT
    if authenticator_data[_FLAGS_AT] & wanted != wanted:
        return INVALID
    signed = authenticator_data + sha256(client_data).digest()
    return VALID if p256.is_signed(signed, r, s, x, y) else INVALID


def _challenge_member(challenge: bytes) -> bytes:
    return b'"challenge":"' + urlsafe_b64encode(challenge).rstrip(b"=") + b'"'


def check_webauthn_v0(init_data: bytes, digest: Hash32, signature: bytes) -> SignatureVerdict:
    """The older validator's encoding, for a key configured as abi.encode(x, y[, authenticatorIdHash]).

    Never VALID: whether the contract can be a session validator, and whether the P-256 verifier it calls is deployed,
    only the chain can tell.
    """
    if len(init_data) not in (64, 96):
        return UNKNOWN
    return check_assertion_v0(signature, (digest,), init_data[:64])


def check_assertion_v0(signature: bytes, challenges: tuple[bytes, ...], public_key: bytes) -> SignatureVerdict:
    """One v0 assertion by the key x(32) ‖ y(32) over any of `challenges`: UNKNOWN when good, otherwise refused."""
    try:
        authenticator_data, client_data, type_at, r, s, _ = abi.decode(_V0, signature, "signature")
    except Undecodable:
        return UNDECODABLE
    if len(authenticator_data) < _V0_SHORTEST or not _has_v0_flags(authenticator_data[_FLAGS_AT]):
        return INVALID
    # one release asks neither for type nor challenge where the location is 2^256 - 1, which marks a stub for gas
    # estimation: there any older signature of the key could be replayed, so it is refused here
    if client_data[type_at : type_at + len(_TYPE)] != _TYPE:
        return INVALID
    member = client_data[_V0_CHALLENGE_AT : _V0_CHALLENGE_AT + _CHALLENGE_LENGTH]
    if s > p256.HALF_ORDER or all(member != _challenge_member(challenge) for challenge in challenges):
        return INVALID
    x, y = int.from_bytes(public_key[:32], "big"), int.from_bytes(public_key[32:], "big")
    signed = authenticator_data + sha256(client_data).digest()
    return UNKNOWN if p256.is_signed(signed, r, s, x, y) else INVALID


def _has_v0_flags(flags: int) -> bool:
    verified = flags & _USER_PRESENT and flags & _USER_VERIFIED
    return bool(verified and (flags & _BACKUP_ELIGIBLE or not flags & _BACKED_UP))
