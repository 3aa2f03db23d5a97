"""The operations of the load: a handful as an SDK sent them, and as many of their kind as a run needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import count as endless
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_hash.auto import keccak

from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.session.enable_digest import session_digest
from proxy.userop import abi
from proxy.userop.acts import SessionsEnabled
from proxy.userop.decode import decode_operation
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, EntryPoint
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, parse_address
from proxy.userop.session_data import ChainDigest, EnableSession, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation, parse_user_operation
from tests.bypass_list.desk import batch, single

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "operations.json").read_text())
CHAIN_ID: int = RECORDED["chainId"]
ENTRY_POINT: EntryPoint = ENTRY_POINT_BY_ADDRESS[parse_address(RECORDED["entryPoint"], "entryPoint")]
ACCOUNT: Address = parse_address(RECORDED["grant"]["sender"], "sender")

_KEY = PrivateKey(bytes.fromhex(RECORDED["sessionKey"][2:]))
_ENVELOPE_HEAD = 33  # mode and permission id, before the session key's signature
_LANE_SHIFT = 232  # the first three bytes of the nonce
_FIRST_GRANT = 1 << 22  # lanes of grants: no load has so many operations
_CALLS = 5
_PACKED = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)


def read(recorded: dict[str, Any]) -> UserOperation:
    return parse_user_operation(recorded, ENTRY_POINT.version)


def accounts(many: int) -> list[Address]:
    """So many accounts that grant the recorded session, the recorded one first."""
    return [ACCOUNT, *(Address(keccak(b"account" + number.to_bytes(8, "big"))[12:]) for number in range(1, many))]


def grants(of: Sequence[Address]) -> Iterator[UserOperation]:
    """The owners' operations that grant the recorded session, one for each account."""
    recorded = read(RECORDED["grant"])
    for number, account in enumerate(of):
        yield replace(recorded if number == 0 else _on_lane(recorded, _FIRST_GRANT + number), sender=account)


def distinct_uses(count: int, of: Sequence[Address] = (ACCOUNT,), *, first: int = 0) -> Iterator[UserOperation]:
    """Session operations on a nonce lane each, signed: what a busy dapp sends, no two of the same hash."""
    templates = [read(recorded) for recorded in RECORDED["use"]]
    return _signed_uses(templates, count, of, first)


def distinct_batches(count: int, of: Sequence[Address] = (ACCOUNT,), *, first: int = 0) -> Iterator[UserOperation]:
    """Likewise, each of five calls."""
    template = read(RECORDED["use"][0])
    (call,) = decode_operation(template, ENTRY_POINT, CHAIN_ID, SESSION_MODULES).calls
    of_five = replace(template, call_data=batch(*[call] * _CALLS))
    return _signed_uses([of_five], count, of, first)


def distinct_owner_operations(
    count: int, of: Sequence[Address] = (ACCOUNT,), *, first: int = 0
) -> Iterator[UserOperation]:
    """Operations that the account's owner signed: a transfer of value."""
    template = read(RECORDED["grant"])
    transfer = replace(template, call_data=single(Call(Address(b"\xc0" * 20), 1, b"")))
    for lane, account in zip(range(first, first + count), cycle(of), strict=False):
        yield replace(_on_lane(transfer, lane), sender=account)


def distinct_enables(count: int, of: Sequence[Address] = (ACCOUNT,), *, first: int = 0) -> Iterator[UserOperation]:
    """The first operations of as many sessions, each of which brings its grant along."""
    template = read(RECORDED["use"][0])
    for lane, account in zip(range(first, first + count), cycle(of), strict=False):
        grant = replace(_session(), salt=Hash32(lane.to_bytes(32, "big")))
        digest = session_digest(grant, account=account, smart_session=SMART_SESSION, mode=SessionMode.ENABLE, nonce=0)
        enable = EnableSession(
            chain_digest_index=0,
            digests=(ChainDigest(CHAIN_ID, digest),),
            session=grant,
            permission_enable_signature=b"\x05" * 65,
        )
        op = replace(_on_lane(template, lane), sender=account)
        envelope = SessionEnvelope(
            mode=SessionMode.ENABLE, permission_id=grant.permission_id, signature=_signed(op), enable=enable
        )
        yield replace(op, signature=encode_session_envelope(envelope))


def _signed_uses(
    templates: Sequence[UserOperation], count: int, of: Sequence[Address], first: int
) -> Iterator[UserOperation]:
    for lane, template, account in islice(zip(endless(first), cycle(templates), cycle(of), strict=False), count):
        unsigned = replace(_on_lane(template, lane), sender=account)
        yield replace(unsigned, signature=template.signature[:_ENVELOPE_HEAD] + _signed(unsigned))


def _on_lane(op: UserOperation, lane: int) -> UserOperation:
    return replace(op, nonce=lane << _LANE_SHIFT | op.nonce & ((1 << _LANE_SHIFT) - 1))


@cache
def _session() -> SessionData:
    grant = decode_operation(read(RECORDED["grant"]), ENTRY_POINT, CHAIN_ID, SESSION_MODULES)
    (act,) = [act for act in grant.acts if isinstance(act, SessionsEnabled)]
    (session,) = act.sessions
    return session


def hash_of(op: UserOperation) -> Hash32:
    return user_op_hash(op, ENTRY_POINT, CHAIN_ID)


def packed(op: UserOperation) -> bytes:
    """The operation as it stands in a bundle's call data."""
    assert op.verification_gas_limit is not None
    assert op.call_gas_limit is not None
    gas_limits = op.verification_gas_limit << 128 | op.call_gas_limit
    assert op.max_priority_fee_per_gas is not None
    assert op.max_fee_per_gas is not None
    fees = op.max_priority_fee_per_gas << 128 | op.max_fee_per_gas
    words = (gas_limits.to_bytes(32, "big"), op.pre_verification_gas, fees.to_bytes(32, "big"))
    paymaster = op.packed_paymaster_and_data()
    return abi.encode(
        _PACKED, (op.sender, op.nonce, op.packed_init_code(), op.call_data, *words, paymaster, op.signature)
    )


def _signed(op: UserOperation) -> bytes:
    """EIP-191 over the operation's hash, as the SDKs' `signMessage` does it."""
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + hash_of(op))
    signature = _KEY.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def submission(op: dict[str, object], method: str = "eth_sendUserOperation") -> bytes:
    """One request about an operation."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": [op, RECORDED["entryPoint"]],
    }
    return json.dumps(body, separators=(",", ":")).encode()
