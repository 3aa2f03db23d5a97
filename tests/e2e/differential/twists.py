"""What can be wrong with an operation, one table for each step at which it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy.session.addresses import SMART_SESSION
from proxy.userop import abi
from proxy.userop.execution import EXECUTE, EXECUTE_USER_OP, Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import FLAG_TARGET
from tests.e2e.differential.draft import Draft, Twist
from tests.e2e.differential.grants import FAIL, FRIEND, MINT, TRANSFER, Order, own_function
from tests.e2e.differential.wallet import (
    COUNTER,
    TOKEN,
    arguments,
    eth_sign,
    personal_sign,
    sign,
    single,
)
from tests.session.builders import word

ORDER_OF_SECP256K1 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# Calls that no session here allows, or that none does in this form.


def _calls_elsewhere(draft: Draft) -> None:
    target = Address(draft.rng.randbytes(20))
    draft.insert(Call(target, 0, TRANSFER + word(FRIEND) + word(1)))


def _calls_itself(draft: Draft) -> None:
    nested = single(Call(COUNTER, 0, FAIL))
    draft.insert(Call(draft.wallet.address, 0, draft.rng.choice([nested, EXECUTE, nested[:40]])))


def _calls_the_module(draft: Draft) -> None:
    if any(action.target == FLAG_TARGET for action in draft.grant.session.actions):
        draft.insert(Call(FLAG_TARGET, 0, b""))  # what KNOWN says of fallback actions
        return
    removal = arguments("removeSession(bytes32)", (abi.BYTES32,), word(2**200 + draft.rng.getrandbits(64)))
    draft.insert(Call(SMART_SESSION, 0, removal))


def _gives_value_away(draft: Draft) -> None:
    at = draft.rng.randrange(len(draft.orders))
    order = draft.orders[at]
    call = replace(order.call, value=order.call.value + draft.rng.choice([1, 4, 10**18]))
    draft.orders[at] = replace(order, call=call)


def _cuts_call(draft: Draft) -> None:
    at = draft.rng.randrange(len(draft.orders))
    order = draft.orders[at]
    kept = draft.rng.choice([0, 3, 4, 20, 35, len(order.call.data) - 1])
    draft.orders[at] = Order(replace(order.call, data=order.call.data[: max(kept, 0)]))


def _adds_to_call(draft: Draft) -> None:
    at = draft.rng.randrange(len(draft.orders))
    order = draft.orders[at]
    draft.orders[at] = replace(order, call=replace(order.call, data=order.call.data + draft.rng.randbytes(33)))


def _dirties_recipient(draft: Draft) -> None:
    recipient = b"\x01" + bytes(11) + FRIEND
    draft.insert(Call(TOKEN, 0, TRANSFER + recipient + word(1)))


def _repeats(draft: Draft) -> None:
    draft.orders += draft.orders[:1] * draft.rng.randint(2, 9)


CALL_TWISTS: Mapping[str, Twist] = {
    "another target": _calls_elsewhere,
    "another selector": lambda draft: draft.insert(Call(TOKEN, 0, MINT + word(FRIEND) + word(1))),
    "plain value": lambda draft: draft.insert(Call(FRIEND, 1, b"")),
    "execute within execute": _calls_itself,
    "self call": lambda draft: draft.insert(Call(draft.wallet.address, 0, b"")),
    "the flag address": lambda draft: draft.insert(Call(FLAG_TARGET, 0, draft.rng.choice([b"", b"\0\0\0\x01"]))),
    "the session module": _calls_the_module,
    "value on top": _gives_value_away,
    "cut call": _cuts_call,
    "longer call": _adds_to_call,
    "dirty address": _dirties_recipient,
    "the same again": _repeats,
}


# Call data around the calls.


def _with_mode(call_type: int, exec_type: int) -> Twist:
    def twist(draft: Draft) -> None:
        data = draft.call_data
        draft.call_data = data[:4] + bytes((call_type, exec_type)) + data[6:]

    return twist


def _with_offset(offset: int) -> Twist:
    def twist(draft: Draft) -> None:
        draft.call_data = draft.call_data[:36] + offset.to_bytes(32, "big") + draft.call_data[68:]

    return twist


def _as_single_of(packed: bytes) -> Twist:
    def twist(draft: Draft) -> None:
        types = abi.tuple_of(abi.BYTES32, abi.BYTES)
        draft.call_data = EXECUTE + abi.encode(types, [bytes(32), packed])

    return twist


def _as_batch_of(packed: bytes) -> Twist:
    def twist(draft: Draft) -> None:
        types = abi.tuple_of(abi.BYTES32, abi.BYTES)
        draft.call_data = EXECUTE + abi.encode(types, [b"\x01" + bytes(31), packed])

    return twist


def _replaced(make: Callable[[Draft], bytes]) -> Twist:
    def twist(draft: Draft) -> None:
        draft.call_data = make(draft)

    return twist


def _installs_executor(draft: Draft) -> bytes:
    types = (abi.UINT256, abi.ADDRESS, abi.BYTES)
    return arguments("installModule(uint256,address,bytes)", types, 2, COUNTER, b"")


DATA_TWISTS: Mapping[str, Twist] = {
    "try": _with_mode(0, 1),
    "batch try": _with_mode(1, 1),
    "unknown execution type": _with_mode(0, 7),
    "static call": _with_mode(0xFE, 0),
    "delegatecall": _with_mode(0xFF, 0),
    "delegatecall try": _with_mode(0xFF, 1),
    "unknown call type": _with_mode(0x02, 0),
    "offset of zero": _with_offset(0),
    "offset past the end": _with_offset(2**20),
    "offset of 2^64": _with_offset(2**64),
    "cut call data": _replaced(lambda draft: draft.call_data[: draft.rng.choice([5, 35, 36, 67, 80])]),
    "longer call data": _replaced(lambda draft: draft.call_data + draft.rng.randbytes(7)),
    "no call data": _replaced(lambda draft: b""),
    "three bytes": _replaced(lambda draft: EXECUTE[:3]),
    "executeUserOp": _replaced(lambda draft: EXECUTE_USER_OP + draft.call_data),
    "installs an executor": _replaced(_installs_executor),
    "account function": _replaced(lambda draft: own_function(draft.rng)),
    "single of 51 bytes": _as_single_of(bytes(51)),
    "empty batch": _as_batch_of(word(0x20) + word(0)),
    "batch of too many": _as_batch_of(word(0x20) + word(9)),
    "batch from far away": _as_batch_of(word(2**63) + word(0)),
}


# The session key's signature.


def _by_all(draft: Draft, digest: Hash32) -> bytes:
    return b"".join(draft.signed_by(key, digest) for key in draft.grant.keys)


def _by_stranger(draft: Draft, digest: Hash32) -> bytes:
    return draft.signed_by(draft.stranger, digest) * len(draft.grant.keys)


def _eth_sign(draft: Draft, digest: Hash32) -> bytes:
    return b"".join(eth_sign(key, digest) for key in draft.grant.keys)


def _bare(draft: Draft, digest: Hash32) -> bytes:
    return b"".join(sign(key, digest) for key in draft.grant.keys)


def _as_message(draft: Draft, digest: Hash32) -> bytes:
    return b"".join(personal_sign(key, digest) for key in draft.grant.keys)


def _stranger_first(draft: Draft, digest: Hash32) -> bytes:
    """More signatures than the threshold: releases differ in whether they read them."""
    return draft.signed_by(draft.stranger, digest) + _by_all(draft, digest)


def _malleable(draft: Draft, digest: Hash32) -> bytes:
    """The other s on the curve: the precompile does not mind."""
    mirrored = []
    for key in draft.grant.keys:
        signature = draft.signed_by(key, digest)
        s = ORDER_OF_SECP256K1 - int.from_bytes(signature[32:64], "big")
        mirrored.append(signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],)))
    return b"".join(mirrored)


def _with_v(v: int) -> Callable[[Draft, Hash32], bytes]:
    def sign_with(draft: Draft, digest: Hash32) -> bytes:
        return b"".join(draft.signed_by(key, digest)[:64] + bytes((v,)) for key in draft.grant.keys)

    return sign_with


def _once(draft: Draft, digest: Hash32) -> bytes:
    """By the first key alone; too short where there are two."""
    return draft.signed_by(draft.grant.keys[0], digest)


def _first_twice(draft: Draft, digest: Hash32) -> bytes:
    return draft.signed_by(draft.grant.keys[0], digest) * len(draft.grant.keys)


def _backwards(draft: Draft, digest: Hash32) -> bytes:
    return b"".join(draft.signed_by(key, digest) for key in reversed(draft.grant.keys))


def _signed_as(how: Callable[[Draft, Hash32], bytes]) -> Twist:
    def twist(draft: Draft) -> None:
        draft.twist_signature = how

    return twist


SIGNATURE_TWISTS: Mapping[str, Twist] = {
    "by a stranger": _signed_as(_by_stranger),
    "another digest": _signed_as(lambda draft, digest: _by_all(draft, Hash32(digest[::-1]))),
    "eth_sign": _signed_as(_eth_sign),
    "over the bare hash": _signed_as(_bare),
    "as a message": _signed_as(_as_message),
    "a stranger's before it": _signed_as(_stranger_first),
    "malleable": _signed_as(_malleable),
    "v of 1": _signed_as(_with_v(1)),
    "v of 29": _signed_as(_with_v(29)),
    "one key": _signed_as(_once),
    "one key twice": _signed_as(_first_twice),
    "other order": _signed_as(_backwards),
    "64 bytes": _signed_as(lambda draft, digest: draft.signed_by(draft.grant.keys[0], digest)[:64]),
    "empty signature": _signed_as(lambda draft, digest: b""),
    "zeros": _signed_as(lambda draft, digest: bytes(65 * len(draft.grant.keys))),
    "bytes after it": _signed_as(lambda draft, digest: _by_all(draft, digest) + b"\x01\x02"),
}


# The envelope around it.


def _enveloped(how: Callable[[Draft, bytes], bytes]) -> Twist:
    def twist(draft: Draft) -> None:
        draft.twist_envelope = how

    return twist


ENVELOPE_TWISTS: Mapping[str, Twist] = {
    "mode 3": _enveloped(lambda draft, envelope: b"\x03" + envelope[1:]),
    "mode 255": _enveloped(lambda draft, envelope: b"\xff" + envelope[1:]),
    "enable mode without a grant": _enveloped(lambda draft, envelope: b"\x01" + envelope[1:]),
    "empty envelope": _enveloped(lambda draft, envelope: b""),
    "mode alone": _enveloped(lambda draft, envelope: envelope[:1]),
    "half a permission id": _enveloped(lambda draft, envelope: envelope[:17]),
    "unknown permission": _enveloped(lambda draft, envelope: envelope[:1] + draft.rng.randbytes(32) + envelope[33:]),
}
