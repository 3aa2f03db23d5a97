"""Signatures for the emissary: the three forms, told apart by the module's address and then strictly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop import fastlz
from proxy.userop.decode import decode_operation
from proxy.userop.emissary import decode_emissary_envelope, decode_envelope, without_emissary_prefix
from proxy.userop.emissary_abi import EMISSARIES, EMISSARY, EmissaryConfig, encode_emissary_enable
from proxy.userop.primitives import ZERO_ADDRESS, Hash32
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from tests.userop.builders import (
    CHAIN_ID,
    MODULE,
    PERMISSION_ID,
    V07,
    an_emissary_enable,
    an_emissary_envelope,
    an_enable_envelope,
    an_operation,
)

ECDSA = b"\x51" * 65
ASSERTION = "(bytes,string,uint256,uint256,uint256,uint256)"
PASSKEY = encode(
    ["bytes32[]", "bool", f"{ASSERTION}[]"],
    [[b"\x0c" * 32], False, [(b"data", '{"type":"webauthn.get"}', 23, 1, 7, 9)]],
)
OLD_PASSKEY = encode(
    ["bytes", "string", "uint256", "uint256", "uint256", "bool"], [b"data", "client", 1, 2**255, 2**254, True]
)
SEVERAL = encode(["(bytes32,bytes)[]"], [[(b"\x01" * 32, ECDSA), (b"\x02" * 32, ECDSA)]])


def use(signature: bytes) -> SessionEnvelope:
    return SessionEnvelope(mode=SessionMode.USE, permission_id=PERMISSION_ID, signature=signature)


def notarized(signature: bytes, claim_policy_data: bytes = b"") -> SessionEnvelope:
    return use(signature)._replace(claim_policy_data=claim_policy_data)


def with_offset(offset: int, rest: bytes) -> bytes:
    return b"\0" + PERMISSION_ID + offset.to_bytes(32, "big") + rest


@pytest.mark.parametrize("signature", [b"", b"\x01", ECDSA, ECDSA * 3, PASSKEY, OLD_PASSKEY, SEVERAL, bytes(65)])
def test_reads_a_use_envelope(signature: bytes) -> None:
    assert decode_emissary_envelope(encode_session_envelope(use(signature))) == use(signature)


@pytest.mark.parametrize("claim_policy_data", [b"", b"\x01", b"\x02" * 33, ECDSA])
@pytest.mark.parametrize("signature", [ECDSA, ECDSA * 2, PASSKEY, OLD_PASSKEY, SEVERAL, bytes(65)])
def test_reads_a_notarized_envelope(signature: bytes, claim_policy_data: bytes) -> None:
    envelope = notarized(signature, claim_policy_data)
    assert decode_emissary_envelope(encode_session_envelope(envelope)) == envelope


@pytest.mark.parametrize("length", [1, 32, 64, 66, 129])
def test_an_offset_with_no_signature_of_any_validator_before_it_is_undecodable(length: int) -> None:
    with pytest.raises(Undecodable, match="as well as"):
        decode_emissary_envelope(with_offset(64 + length, b"\x51" * length))


def test_an_offset_that_ends_exactly_at_the_end_is_one_and_past_it_is_none() -> None:
    assert decode_emissary_envelope(with_offset(64 + 65, ECDSA)) == notarized(ECDSA)
    past = with_offset(64 + 66, ECDSA)
    assert decode_emissary_envelope(past) == use(past[33:])


def test_an_offset_into_itself_is_none() -> None:
    before = with_offset(63, ECDSA)
    assert decode_emissary_envelope(before) == use(before[33:])
    with pytest.raises(Undecodable):
        decode_emissary_envelope(with_offset(64, ECDSA))


def test_a_passkeys_signature_with_a_byte_too_many_is_in_neither_form() -> None:
    with pytest.raises(Undecodable):
        decode_emissary_envelope(b"\0" + PERMISSION_ID + PASSKEY + b"\0")


def test_reads_an_enable_envelope_and_its_claim_policies() -> None:
    envelope = an_emissary_envelope()
    assert envelope.enable is not None
    read = decode_emissary_envelope(encode_session_envelope(envelope))
    assert read == envelope
    assert read.permission_id == envelope.enable.session.permission_id


@pytest.mark.parametrize(
    "change",
    [
        {"permission_id": Hash32(b"\x01" * 32)},
        {"scope": 2},
        {"reset_period": 8},
    ],
    ids=["permission id", "scope", "reset period"],
)
def test_a_config_that_the_emissary_refuses_is_undecodable(change: dict[str, object]) -> None:
    enable = an_emissary_enable()
    broken = replace(enable, config=replace(enable.config, **change))  # type: ignore[arg-type]  # one field at a time
    with pytest.raises(Undecodable):
        decode_emissary_envelope(b"\x01" + fastlz.deflate(encode_emissary_enable(broken, ECDSA)))


def test_the_last_scope_and_reset_period_are_read() -> None:
    enable = an_emissary_enable()
    config = EmissaryConfig(scope=1, reset_period=7, allocator=ZERO_ADDRESS, permission_id=enable.session.permission_id)
    envelope = an_emissary_envelope(config=config)
    assert decode_emissary_envelope(encode_session_envelope(envelope)) == envelope


@pytest.mark.parametrize(
    "signature",
    [b"", b"\0" + PERMISSION_ID[:-1], b"\x01", *(bytes((mode,)) + PERMISSION_ID + ECDSA for mode in (2, 3, 0xFF))],
    ids=["empty", "short id", "no stream", "unsafe", "three", "last"],
)
def test_what_the_emissary_refuses_is_undecodable(signature: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_emissary_envelope(signature)


def test_unsafe_enable_is_no_mode_of_the_emissary() -> None:
    encoded = encode_session_envelope(an_emissary_envelope())
    with pytest.raises(Undecodable):
        decode_emissary_envelope(b"\x02" + encoded[1:])


@pytest.mark.parametrize("module", sorted(EMISSARIES))
def test_the_address_decides_which_reading_applies(module: bytes) -> None:
    newer, older = (encode_session_envelope(envelope) for envelope in (an_emissary_envelope(), an_enable_envelope()))
    assert decode_envelope(module, newer) == an_emissary_envelope()  # type: ignore[arg-type]  # from the set above
    assert decode_envelope(MODULE, older) == an_enable_envelope()
    for wrong in ((module, older), (MODULE, newer)):
        with pytest.raises(Undecodable):
            decode_envelope(*wrong)  # type: ignore[arg-type]  # as above


def test_an_operation_that_names_the_emissary_is_read_as_its_own() -> None:
    nonce = int.from_bytes(EMISSARY + bytes(12), "big")
    op = an_operation(nonce=nonce, signature=encode_session_envelope(an_emissary_envelope()))
    claim = decode_operation(op, V07, CHAIN_ID, EMISSARIES).claim
    assert claim is not None
    assert (claim.module, claim.envelope) == (EMISSARY, an_emissary_envelope())
    foreign = an_operation(nonce=nonce, signature=encode_session_envelope(an_enable_envelope()))
    with pytest.raises(Undecodable):
        decode_operation(foreign, V07, CHAIN_ID, EMISSARIES)


def test_outside_operations_the_emissarys_address_comes_first() -> None:
    envelope = encode_session_envelope(use(ECDSA))
    assert without_emissary_prefix(EMISSARY + envelope) == (EMISSARY, envelope)
    assert without_emissary_prefix(MODULE + envelope) is None
    assert without_emissary_prefix(EMISSARY[:-1]) is None


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_an_envelope_or_undecodable(data: bytes) -> None:
    try:
        envelope = decode_emissary_envelope(data)
    except Undecodable:
        return
    assert envelope.permission_id == data[1:33] or envelope.mode is SessionMode.ENABLE


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=40))
def test_whatever_is_read_is_written_back_the_same(signature: bytes, offset: int, tail: bytes) -> None:
    data = with_offset(offset, signature + tail)
    try:
        envelope = decode_emissary_envelope(data)
    except Undecodable:
        return
    assert encode_session_envelope(envelope) == data


@given(st.data())
def test_an_enable_envelope_bent_anywhere_never_raises_anything_else(data: st.DataObject) -> None:
    encoded = bytearray(encode_session_envelope(an_emissary_envelope()))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        envelope = decode_emissary_envelope(bytes(encoded))
    except Undecodable:
        return
    assert envelope.mode in (SessionMode.USE, SessionMode.ENABLE)
