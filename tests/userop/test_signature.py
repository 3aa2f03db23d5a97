"""Session envelopes and what accounts wrap around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop import abi, fastlz
from proxy.userop.primitives import Address
from proxy.userop.session_abi import encode_enable
from proxy.userop.signature import (
    AccountPreparation,
    KernelEnable,
    ModuleEnable,
    SessionEnvelope,
    SessionMode,
    decode_account_preparation,
    decode_kernel_enable,
    decode_module_enable,
    decode_session_envelope,
    encode_kernel_enable,
    encode_module_enable,
    encode_session_envelope,
)
from tests.userop.builders import PERMISSION_ID, an_enable_envelope, an_enable_session, use_signature


def test_reads_a_use_envelope() -> None:
    envelope = decode_session_envelope(use_signature(signature=b"key"))
    assert envelope == SessionEnvelope(mode=SessionMode.USE, permission_id=PERMISSION_ID, signature=b"key")
    assert envelope.mode.label == "use"


def test_reads_a_use_envelope_with_an_empty_signature_and_refuses_a_cut_permission_id() -> None:
    assert decode_session_envelope(use_signature(signature=b"")).signature == b""
    with pytest.raises(Undecodable):
        decode_session_envelope(use_signature(signature=b"")[:-1])


@pytest.mark.parametrize("mode", [SessionMode.ENABLE, SessionMode.UNSAFE_ENABLE])
def test_finds_the_permission_id_of_an_enable_envelope_in_its_session(mode: SessionMode) -> None:
    envelope = an_enable_envelope(mode)
    assert envelope.enable is not None
    read = decode_session_envelope(encode_session_envelope(envelope))
    assert read == envelope
    assert read.permission_id == envelope.enable.session.permission_id


def test_reads_an_enable_envelope_without_compression() -> None:
    envelope = an_enable_envelope()
    assert envelope.enable is not None
    plain = encode_enable(envelope.enable, envelope.signature)
    literals = b"".join(bytes([len(plain[at : at + 32]) - 1]) + plain[at : at + 32] for at in range(0, len(plain), 32))
    assert decode_session_envelope(b"\x01" + literals) == envelope


@pytest.mark.parametrize("first", [3, 4, 0x7F, 0xFF])
def test_refuses_modes_the_module_panics_on(first: int) -> None:
    with pytest.raises(Undecodable, match="unknown session mode"):
        decode_session_envelope(bytes([first]) + bytes(100))


def test_refuses_an_empty_signature() -> None:
    with pytest.raises(Undecodable):
        decode_session_envelope(b"")


def test_refuses_an_enable_envelope_without_content() -> None:
    with pytest.raises(Undecodable):
        decode_session_envelope(b"\x01")


def test_refuses_an_enable_envelope_whose_stream_is_cut() -> None:
    packed = encode_session_envelope(an_enable_envelope(permission_enable_signature=bytes(range(85))))
    decode_session_envelope(packed)
    with pytest.raises(Undecodable):
        decode_session_envelope(packed[:-1])


def test_refuses_an_enable_envelope_that_inflates_without_end() -> None:
    bomb = b"\x01" + b"\x00\x00" + b"\xe0\xff\x00" * 400
    with pytest.raises(Undecodable, match="inflates to more than"):
        decode_session_envelope(bomb)


@given(st.binary(max_size=400))
def test_answers_any_signature_with_an_envelope_or_a_refusal(signature: bytes) -> None:
    try:
        envelope = decode_session_envelope(signature)
    except Undecodable:
        return
    assert decode_session_envelope(encode_session_envelope(envelope)) == envelope


@given(st.integers(0, 255), st.integers(0, 2**16), st.binary(max_size=8))
def test_answers_a_damaged_enable_envelope_with_an_envelope_or_a_refusal(byte: int, at: int, tail: bytes) -> None:
    packed = bytearray(encode_session_envelope(an_enable_envelope()))
    packed[1 + at % (len(packed) - 1)] = byte
    try:
        envelope = decode_session_envelope(bytes(packed) + tail)
    except Undecodable:
        return
    assert envelope.enable is not None
    assert envelope.permission_id == envelope.enable.session.permission_id


blobs = st.binary(max_size=80)


@given(
    st.builds(
        ModuleEnable,
        module=st.binary(min_size=20, max_size=20).map(Address),
        module_type=st.integers(0, 2**256 - 1),
        init_data=blobs,
        enable_signature=blobs,
        inner=blobs,
    )
)
def test_reads_back_the_module_enable_data_it_writes(enable: ModuleEnable) -> None:
    assert decode_module_enable(encode_module_enable(enable)) == enable


@given(
    st.builds(
        KernelEnable,
        hook=st.binary(min_size=20, max_size=20).map(Address),
        validator_data=blobs,
        hook_data=blobs,
        selector_data=blobs,
        enable_signature=blobs,
        inner=blobs,
    )
)
def test_reads_back_the_kernel_enable_data_it_writes(enable: KernelEnable) -> None:
    assert decode_kernel_enable(encode_kernel_enable(enable)) == enable


def test_refuses_module_enable_data_cut_anywhere_before_the_inner_signature() -> None:
    enable = ModuleEnable(
        module=Address(b"\x01" * 20), module_type=1, init_data=b"init", enable_signature=b"owner", inner=b""
    )
    whole = encode_module_enable(enable)
    assert decode_module_enable(whole) == enable
    for kept in range(len(whole)):
        with pytest.raises(Undecodable):
            decode_module_enable(whole[:kept])


def test_refuses_kernel_enable_data_without_a_hook() -> None:
    with pytest.raises(Undecodable):
        decode_kernel_enable(bytes(19))


def test_reads_account_preparation_of_the_least_length_and_refuses_one_byte_less() -> None:
    types = abi.tuple_of(abi.BYTES32, abi.BYTES, abi.BYTES)
    written = abi.encode(types, (b"\x01" * 32, b"boot", b"\x02" * 65)).ljust(0xF9, b"\0")
    assert decode_account_preparation(written) == AccountPreparation(init_data=b"boot", inner=b"\x02" * 65)
    with pytest.raises(Undecodable):
        decode_account_preparation(written[:0xF8])


def test_keeps_the_longest_enable_data_within_the_output_limit() -> None:
    # a session many times larger than any the SDKs build still fits
    enable = an_enable_session(permission_enable_signature=bytes(60_000))
    plain = encode_enable(enable, b"key")
    assert len(plain) < fastlz.OUTPUT_LIMIT
    read = decode_session_envelope(b"\x01" + fastlz.deflate(plain))
    assert read.enable == enable
