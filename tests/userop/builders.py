"""A good operation, to change one thing about."""

from __future__ import annotations

from typing import Any

from proxy.userop import abi
from proxy.userop.emissary_abi import EmissaryConfig, EmissaryEnable
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, Selector
from proxy.userop.session_data import (
    ActionData,
    ChainDigest,
    EnableSession,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
    SessionData,
)
from proxy.userop.signature import SessionEnvelope, SessionMode
from proxy.userop.user_operation import UserOperation

V06, V07, V08, V09 = (ENTRY_POINT_BY_VERSION[version] for version in EntryPointVersion)
CHAIN_ID = 1868
MODULE = Address(bytes.fromhex("00000000008bdaba73cd9815d79069c247eb4bda"))
MODULES = frozenset({MODULE})
ACCOUNT = Address(b"\xac" * 20)
TOKEN = Address(b"\x70" * 20)
RECIPIENT = Address(b"\x4e" * 20)
PERMISSION_ID = Hash32(b"\x1d" * 32)

NEXUS_NONCE = int.from_bytes(b"\x12\x34\x56\x00" + MODULE + bytes(7) + b"\x05", "big")
SAFE_NONCE = int.from_bytes(MODULE + bytes(4) + bytes(7) + b"\x05", "big")
KERNEL_NONCE = int.from_bytes(b"\x00\x01" + MODULE + bytes(2) + bytes(7) + b"\x05", "big")
OWNER_NONCE = int.from_bytes(b"\x12\x34\x56\x00" + b"\x0f" * 20 + bytes(8), "big")

TRANSFER = Call(TOKEN, 0, bytes.fromhex("a9059cbb") + RECIPIENT.rjust(32, b"\0") + (10**6).to_bytes(32, "big"))
BATCH_TYPE = abi.tuple_of(abi.list_of(abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)))
EXECUTE_TYPE = abi.tuple_of(abi.BYTES32, abi.BYTES)


def execute(mode: bytes, execution_calldata: bytes) -> bytes:
    """execute(bytes32,bytes)."""
    return EXECUTE + abi.encode(EXECUTE_TYPE, [mode.ljust(32, b"\0"), execution_calldata])


def single(call: Call, mode: bytes = b"\x00") -> bytes:
    """Call data for one call."""
    return execute(mode, call.target + call.value.to_bytes(32, "big") + call.data)


def batch(*calls: Call, mode: bytes = b"\x01") -> bytes:
    """Call data for several calls."""
    return execute(mode, encode_calls(*calls))


def encode_calls(*calls: Call) -> bytes:
    return abi.encode(BATCH_TYPE, [[(call.target, call.value, call.data) for call in calls]])


def use_signature(permission_id: bytes = PERMISSION_ID, signature: bytes = b"\x51" * 65) -> bytes:
    return b"\x00" + permission_id + signature


def an_operation(**changes: Any) -> UserOperation:
    """A session's token transfer on a Nexus account."""
    fields: dict[str, Any] = {
        "sender": ACCOUNT,
        "nonce": NEXUS_NONCE,
        "call_data": single(TRANSFER),
        "signature": use_signature(),
        "call_gas_limit": 50_000,
        "verification_gas_limit": 200_000,
        "pre_verification_gas": 48_000,
        "max_fee_per_gas": 2 * 10**9,
        "max_priority_fee_per_gas": 10**9,
    }
    return UserOperation(**{**fields, **changes})


def a_session(**changes: Any) -> SessionData:
    """A session with something in every place."""
    fields: dict[str, Any] = {
        "session_validator": Address(b"\xba" * 20),
        "session_validator_init_data": b"\x01\x02\x03",
        "salt": Hash32(b"\x5a" * 32),
        "user_op_policies": (PolicyData(Address(b"\x01" * 20), b"\xaa" * 33),),
        "erc7739_policies": ERC7739Data(
            contexts=(ERC7739Context(Hash32(b"\xd0" * 32), ("Mail(string text)", "")),),
            erc1271_policies=(PolicyData(Address(b"\x02" * 20), b""),),
        ),
        "actions": (
            ActionData(Selector(b"\xa9\x05\x9c\xbb"), TOKEN, (PolicyData(Address(b"\x03" * 20), b"\x07" * 64),)),
            ActionData(Selector(b"\xff" * 4), RECIPIENT, ()),
        ),
        "permit_erc4337_paymaster": True,
    }
    return SessionData(**{**fields, **changes})


def an_enable_session(**changes: Any) -> EnableSession:
    fields: dict[str, Any] = {
        "chain_digest_index": 1,
        "digests": (ChainDigest(1, Hash32(b"\x01" * 32)), ChainDigest(CHAIN_ID, Hash32(b"\x02" * 32))),
        "session": a_session(),
        "permission_enable_signature": b"\x0e" * 85,
    }
    return EnableSession(**{**fields, **changes})


def an_enable_envelope(mode: SessionMode = SessionMode.ENABLE, **changes: Any) -> SessionEnvelope:
    enable = an_enable_session(**changes)
    return SessionEnvelope(mode=mode, permission_id=enable.session.permission_id, signature=b"\x51" * 65, enable=enable)


def an_emissary_enable(session: SessionData | None = None, **changes: Any) -> EmissaryEnable:
    """A grant as the SDK makes it, but with something in every place."""
    granted = session or a_session(user_op_policies=(), permit_erc4337_paymaster=False)
    fields: dict[str, Any] = {
        "config": EmissaryConfig(scope=0, reset_period=6, allocator=ZERO_ADDRESS, permission_id=granted.permission_id),
        "chain_digest_index": 1,
        "digests": (ChainDigest(1, Hash32(b"\x01" * 32)), ChainDigest(CHAIN_ID, Hash32(b"\x02" * 32))),
        "session": granted,
        "claim_policies": (PolicyData(Address(b"\x04" * 20), b"\x0c" * 5),),
        "expires": 2**256 - 1,
        "user_signature": b"\x0e" * 65,
        "allocator_signature": bytes(32),
    }
    return EmissaryEnable(**{**fields, **changes})


def an_emissary_envelope(**changes: Any) -> SessionEnvelope:
    """ENABLE with that grant."""
    enable = an_emissary_enable(**changes)
    return SessionEnvelope(
        mode=SessionMode.ENABLE, permission_id=enable.session.permission_id, signature=b"\x51" * 65, enable=enable
    )
