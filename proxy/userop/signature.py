"""What an operation's signature claims: the session envelope, and what accounts wrap around it.

Source: erc7579/smartsessions `EncodeLib.unpackMode`, `SmartSessionModeLib`; Nexus `LocalCallDataParserLib`;
Kernel v3 `ValidationManager`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop import abi, fastlz
from proxy.userop.budget import Budget
from proxy.userop.emissary_abi import EmissaryEnable, encode_emissary_enable
from proxy.userop.primitives import Address, Hash32
from proxy.userop.review import draw_review_of
from proxy.userop.session_abi import decode_enable, encode_enable
from proxy.userop.session_data import EnableSession

_WHERE: Final = "signature"
_PREPARATION: Final = abi.tuple_of(abi.BYTES32, abi.BYTES, abi.BYTES)
_PREPARE_MINIMUM: Final = 0xF9
_KERNEL_ENABLE: Final = abi.tuple_of(abi.BYTES, abi.BYTES, abi.BYTES, abi.BYTES, abi.BYTES)


class SessionMode(IntEnum):
    """The first byte of a session envelope."""

    USE = 0
    ENABLE = 1
    UNSAFE_ENABLE = 2

    @property
    def label(self) -> str:
        """`use`, `enable`, `unsafe_enable`."""
        return self.name.lower()


class SessionEnvelope(NamedTuple):
    """A permission id and the session key's signature; `enable` is what an ENABLE mode also grants.

    The permission id is not signed: a key that serves two permissions may claim either. `claim_policy_data` is there
    in the form in which the emissary takes signatures on claims ("notarized"): what its claim policies are handed.
    """

    mode: SessionMode
    permission_id: Hash32
    signature: bytes
    enable: EnableSession | EmissaryEnable | None = None
    claim_policy_data: bytes | None = None


@record(kw_only=True)
class ModuleEnable:
    """A module that a Nexus or Startale account installs before it validates (nonce mode 01)."""

    module: Address
    module_type: int
    init_data: bytes
    enable_signature: bytes
    inner: bytes


@record(kw_only=True)
class KernelEnable:
    """A validator that a Kernel v3 account installs before it validates (nonce mode 01)."""

    hook: Address
    validator_data: bytes
    hook_data: bytes
    selector_data: bytes
    enable_signature: bytes
    inner: bytes


@record(kw_only=True)
class AccountPreparation:
    """A bootstrap that a Nexus account runs before it validates (nonce mode 02)."""

    init_data: bytes
    inner: bytes


Wrapping = ModuleEnable | KernelEnable | AccountPreparation


def decode_session_envelope(signature: bytes, budget: Budget | None = None) -> SessionEnvelope:
    """Read the signature that the Smart Sessions module is handed.

    USE: 00 ‖ permissionId ‖ signature. ENABLE: 01 or 02 ‖ FastLZ(abi.encode(EnableSession, bytes signature)).
    Raises `Undecodable` wherever the module reverts, and for streams that only a careless decompressor accepts.
    """
    if not signature:
        raise Undecodable(_WHERE, "empty; a session signature starts with a mode byte")
    mode = signature[0]
    if mode == SessionMode.USE:
        if len(signature) < 33:
            raise Undecodable(_WHERE, "USE mode without a whole permission id")
        return SessionEnvelope(mode=SessionMode.USE, permission_id=Hash32(signature[1:33]), signature=signature[33:])
    if mode > SessionMode.UNSAFE_ENABLE:
        raise Undecodable(_WHERE, f"unknown session mode {mode}")
    enable, inner = decode_enable(fastlz.inflate(signature[1:], budget), budget)
    draw_review_of(budget, enable.session)
    return SessionEnvelope(
        mode=SessionMode(mode), permission_id=enable.session.permission_id, signature=inner, enable=enable
    )


def encode_session_envelope(envelope: SessionEnvelope) -> bytes:
    """The signature bytes; for an ENABLE mode the permission id follows from the session and is not written."""
    mode = bytes((envelope.mode,))
    if isinstance(envelope.enable, EmissaryEnable):
        return mode + fastlz.deflate(encode_emissary_enable(envelope.enable, envelope.signature))
    if envelope.enable is not None:
        return mode + fastlz.deflate(encode_enable(envelope.enable, envelope.signature))
    if envelope.claim_policy_data is not None:
        offset = (64 + len(envelope.signature)).to_bytes(32, "big")
        return mode + envelope.permission_id + offset + envelope.signature + envelope.claim_policy_data
    return mode + envelope.permission_id + envelope.signature


def decode_module_enable(signature: bytes) -> ModuleEnable:
    """module(20) ‖ moduleType(32) ‖ uint32 length ‖ initData ‖ uint32 length ‖ enableSignature ‖ inner signature.

    Raises `Undecodable`.
    """
    init_data, at = _counted(signature, 52)
    enable_signature, at = _counted(signature, at)
    return ModuleEnable(
        module=Address(signature[:20]),
        module_type=int.from_bytes(signature[20:52], "big"),
        init_data=init_data,
        enable_signature=enable_signature,
        inner=signature[at:],
    )


def encode_module_enable(enable: ModuleEnable) -> bytes:
    """The inverse of `decode_module_enable`."""
    return b"".join(
        (
            enable.module,
            enable.module_type.to_bytes(32, "big"),
            len(enable.init_data).to_bytes(4, "big"),
            enable.init_data,
            len(enable.enable_signature).to_bytes(4, "big"),
            enable.enable_signature,
            enable.inner,
        )
    )


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes after their uint32 length, and where they end."""
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    if at + 4 > len(data) or end > len(data):
        raise Undecodable(_WHERE, "module enable data reaches past the end")
    return data[at + 4 : end], end


def decode_kernel_enable(signature: bytes, budget: Budget | None = None) -> KernelEnable:
    """hook(20) ‖ abi.encode(validatorData, hookData, selectorData, enableSignature, inner signature).

    Raises `Undecodable`.
    """
    if len(signature) < 20:
        raise Undecodable(_WHERE, "Kernel enable data without a hook")
    validator_data, hook_data, selector_data, enable_signature, inner = abi.decode(
        _KERNEL_ENABLE, signature[20:], _WHERE, budget
    )
    return KernelEnable(
        hook=Address(signature[:20]),
        validator_data=validator_data,
        hook_data=hook_data,
        selector_data=selector_data,
        enable_signature=enable_signature,
        inner=inner,
    )


def encode_kernel_enable(enable: KernelEnable) -> bytes:
    """The inverse of `decode_kernel_enable`."""
    parts = (
        enable.validator_data,
        enable.hook_data,
        enable.selector_data,
        enable.enable_signature,
        enable.inner,
    )
    return enable.hook + abi.encode(_KERNEL_ENABLE, parts)


def decode_account_preparation(signature: bytes, budget: Budget | None = None) -> AccountPreparation:
    """salt and delegation word ‖ offset of initData ‖ offset of the inner signature ‖ both. Raises `Undecodable`."""
    if len(signature) < _PREPARE_MINIMUM:
        raise Undecodable(_WHERE, "account preparation data is too short")
    _, init_data, inner = abi.decode(_PREPARATION, signature, _WHERE, budget)
    return AccountPreparation(init_data=init_data, inner=inner)
