"""Operations of declared modules' sessions, signed as those want it."""

from __future__ import annotations

from dataclasses import replace

from coincurve import PrivateKey

from proxy.userop.key_forms import MESSAGE_KEY
from proxy.userop.primitives import Address, keccak256
from proxy.userop.secp256k1 import signed_message_hash
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation
from tests.bypass_list.desk import KEY, NEXUS_LANE, V07
from tests.session.declared_modules import CHAIN_ID

SESSION_KEY = Address(keccak256(KEY.public_key.format(compressed=False)[1:])[12:])


def nonce_at(module: Address, lane: int = 0) -> int:
    """A nonce of a Nexus account that names the module; each lane has its own."""
    own = (int.from_bytes(NEXUS_LANE, "big") + lane).to_bytes(3, "big")
    return int.from_bytes(own + b"\x00" + module + bytes(8), "big")


def key_signature(op: UserOperation, form: Address, key: PrivateKey = KEY) -> bytes:
    """65 bytes."""
    digest = user_op_hash(op, V07, CHAIN_ID)
    compact = key.sign_recoverable(signed_message_hash(digest) if form == MESSAGE_KEY else digest, hasher=None)
    return compact[:64] + bytes((compact[64] + 27,))


def signed(op: UserOperation, form: Address, *, key: PrivateKey = KEY, before: bytes = b"") -> UserOperation:
    """With the signature of the key, and what stands before it."""
    return replace(op, signature=before + key_signature(op, form, key))
