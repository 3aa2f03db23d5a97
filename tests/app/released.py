"""Sessions of the session validators that were measured, their operations, and a gate's answer to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.enable_digest import multichain_digest, session_digest
from proxy.userop.primitives import Address
from proxy.userop.session_data import ChainDigest, EnableSession, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import lane
from tests.bypass_list.desk import CHAIN_ID, V07, a_session, an_operation, single
from tests.running_gate import RunningGate
from tests.session.builders import ACCOUNT, SMART_SESSION, TOKEN, TRANSFER, action, transfer, usage
from tests.session.signers.keys import Key, owners_data

RELEASE = Address(bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98"))
BETA = Address(bytes.fromhex("0000000000E9E6E96Bcaa3c113187CdB7E38AED9"))
OLDEST = Address(bytes.fromhex("2483DA3A338895199E5e538530213157e931Bf06"))
UNLISTED = Address(b"\x77" * 20)
OLDER_MODULE = next(module for module, kind in MODULE_KINDS.items() if kind is ModuleKind.V1)
FIRST, SECOND = sorted((Key(number) for number in (1, 2)), key=lambda key: key.address)
STRANGER = Key(99)
PAY = single(transfer(1))

Sign = Callable[[bytes], bytes]


def of(validator: Address, *owners: Key, threshold: int = 1, salt: int = 1) -> SessionData:
    """A session of these keys."""
    configured = owners_data(threshold, *(owner.address for owner in owners or (FIRST,)))
    grant = a_session(action(TOKEN, TRANSFER, usage(100)), salt=salt)
    return replace(grant, session_validator=validator, session_validator_init_data=configured)


def used(grant: SessionData, sign: Sign, number: int = 0) -> UserOperation:
    op = an_operation(PAY, nonce=lane(number))
    return replace(op, signature=b"\0" + grant.permission_id + sign(user_op_hash(op, V07, CHAIN_ID)))


def enabled_by(
    grant: SessionData,
    sign: Sign = FIRST.sign,
    *,
    owner: Sign = lambda _: b"\x05" * 65,
    call_data: bytes = PAY,
    number: int = 0,
    module: Address = SMART_SESSION,
) -> UserOperation:
    """The first operation of a session, with its grant; `owner` signs that, `sign` the operation."""
    digest = session_digest(grant, account=ACCOUNT, smart_session=module, mode=SessionMode.ENABLE, nonce=0)
    digests = (ChainDigest(CHAIN_ID, digest),)
    signed = EnableSession(
        chain_digest_index=0,
        digests=digests,
        session=grant,
        permission_enable_signature=owner(multichain_digest(digests)),
    )
    named = int.from_bytes(lane(number).to_bytes(32, "big").replace(SMART_SESSION, module), "big")
    op = an_operation(call_data, nonce=named)
    envelope = SessionEnvelope(
        mode=SessionMode.ENABLE,
        permission_id=grant.permission_id,
        signature=sign(user_op_hash(op, V07, CHAIN_ID)),
        enable=signed,
    )
    return replace(op, signature=encode_session_envelope(envelope))


async def asked(gate: RunningGate, op: UserOperation, method: str = "eth_sendUserOperation") -> dict[str, Any] | None:
    """The error of an answer; `None` where there is none."""
    error: dict[str, Any] | None = (await gate.send(op, method)).get("error")
    return error


def sized(size: int, *, salt: int = 1) -> SessionData:
    """A session whose validator's init data have so many bytes: as many owners as fit, and what is over."""
    keys = [Key(number) for number in range(1, 1 + (size - 96) // 32)]
    owners = sorted(keys, key=lambda key: key.address)
    grant = of(RELEASE, *owners, salt=salt)
    return replace(grant, session_validator_init_data=grant.session_validator_init_data.ljust(size, b"\0"))
