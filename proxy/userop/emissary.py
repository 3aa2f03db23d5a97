"""Signatures of the Rhinestone SDK's newer sessions, as the emissary reads them.

It shares the first byte of its envelopes with the Smart Sessions module and nothing else, so which reading applies is
told by the module's address and never by the bytes.

Source: @rhinestone/sdk `smart-sessions`; rhinestonewtf/smart-sessions-v2 `EncodeLibV2.sol`, `SmartSessionMixin.sol`.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import Undecodable
from proxy.userop import abi, fastlz
from proxy.userop.budget import Budget
from proxy.userop.emissary_abi import EMISSARIES, decode_emissary_enable
from proxy.userop.primitives import Address, Hash32
from proxy.userop.review import draw_review_of
from proxy.userop.signature import SessionEnvelope, SessionMode, decode_session_envelope

_WHERE: Final = "signature"
_ECDSA: Final = 65

_ASSERTION: Final = abi.tuple_of(abi.BYTES, abi.STRING, *(abi.UINT256,) * 4)
_ABI_SIGNATURES: Final = (
    abi.tuple_of(abi.list_of(abi.BYTES32), abi.BOOL, abi.list_of(_ASSERTION)),  # passkeys
    abi.tuple_of(abi.list_of(_ASSERTION)),  # the same for a stateless validator
    abi.tuple_of(abi.BYTES, abi.STRING, *(abi.UINT256,) * 3, abi.BOOL),  # one passkey, the older encoding
    abi.tuple_of(abi.list_of(abi.tuple_of(abi.BYTES32, abi.BYTES))),  # several validators
)
"""What session validators of the SDK take besides one or more ECDSA signatures."""


def decode_envelope(module: Address, signature: bytes, budget: Budget | None = None) -> SessionEnvelope:
    """The session envelope as `module` reads it. Raises `Undecodable`."""
    if module in EMISSARIES:
        return decode_emissary_envelope(signature, budget)
    return decode_session_envelope(signature, budget)


def decode_emissary_envelope(signature: bytes, budget: Budget | None = None) -> SessionEnvelope:
    """Read the signature that the emissary is handed.

    USE: 00 ‖ permissionId ‖ signature. Notarized: 00 ‖ permissionId ‖ uint256(64 + length) ‖ signature ‖ policy data.
    ENABLE: 01 ‖ FastLZ(abi.encode(enable data, config, bytes signature)).

    Of the two forms that start with 00 the contract takes the first for executions and the second for claims, so
    bytes that both could mean have to be told apart by what session validators take: see `_use_or_notarized`. Raises
    `Undecodable` where that fails, wherever the emissary reverts, and for what only a careless decompressor accepts.
    """
    if not signature:
        raise Undecodable(_WHERE, "empty; a session signature starts with a mode byte")
    mode = signature[0]
    if mode == SessionMode.USE:
        if len(signature) < 33:
            raise Undecodable(_WHERE, "USE mode without a whole permission id")
        return _use_or_notarized(Hash32(signature[1:33]), signature[33:], budget)
    if mode != SessionMode.ENABLE:
        raise Undecodable(_WHERE, f"session mode {mode}, which the emissary does not have")
    enable, inner = decode_emissary_enable(fastlz.inflate(signature[1:], budget), budget)
    draw_review_of(budget, enable.session, enable.claim_policies)
    return SessionEnvelope(
        mode=SessionMode.ENABLE, permission_id=enable.session.permission_id, signature=inner, enable=enable
    )


def without_emissary_prefix(data: bytes) -> tuple[Address, bytes] | None:
    """The emissary and its envelope, of a signature as it travels outside operations: address(20) ‖ envelope.

    `None` for anything else.
    """
    emissary = Address(data[:20])
    return (emissary, data[20:]) if emissary in EMISSARIES else None


def _use_or_notarized(permission_id: Hash32, rest: bytes, budget: Budget | None) -> SessionEnvelope:
    """Which of the two forms it is.

    Unless the first word of `rest` is an offset into it, only USE is possible. If it is, `rest` as a whole could
    still be an ABI-encoded signature (no ECDSA signature has so small an r), and the part that the offset bounds a
    signature of any kind: the one reading whose signature some validator of the SDK takes is meant.
    """
    use = SessionEnvelope(mode=SessionMode.USE, permission_id=permission_id, signature=rest)
    # the policy data begin there, counted from the permission id: in `rest` it is 32 bytes less
    end = int.from_bytes(rest[:32], "big") - 32 if len(rest) >= 32 else 0
    if not 32 <= end <= len(rest):
        return use
    inner = rest[32:end]
    is_use = _is_abi_signature(rest, budget)
    is_notarized = (bool(inner) and len(inner) % _ECDSA == 0) or _is_abi_signature(inner, budget)
    if is_use == is_notarized:
        raise Undecodable(_WHERE, "may be a session key's signature as well as one on a claim")
    if is_use:
        return use
    return SessionEnvelope(
        mode=SessionMode.USE, permission_id=permission_id, signature=inner, claim_policy_data=rest[end:]
    )


def _is_abi_signature(data: bytes, budget: Budget | None) -> bool:
    """Whether this is, to the byte, how the SDK encodes a signature that is no plain ECDSA."""
    for types in _ABI_SIGNATURES:
        try:
            if abi.encode(types, abi.decode(types, data, _WHERE, budget)) == data:
                return True
        except Undecodable:
            continue
    return False
