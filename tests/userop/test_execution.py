"""`execute` is read as the module reads it; the vectors hold the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.execution import (
    BATCH_LIMIT,
    EXECUTE,
    Call,
    CallType,
    DecodingError,
    Execution,
    decode_batch,
    decode_execution,
)
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_data import VALUE_SELECTOR
from tests.userop.builders import RECIPIENT, TRANSFER, batch, encode_calls, execute, single

PAY = Call(RECIPIENT, 10**18, b"")
calls = st.builds(
    Call, st.binary(min_size=20, max_size=20).map(Address), st.integers(0, 2**256 - 1), st.binary(max_size=70)
)


@given(calls)
def test_reads_the_single_call_that_was_written(call: Call) -> None:
    assert decode_execution(single(call)) == Execution(EXECUTE, CallType.SINGLE, 0, (call,))


@given(st.lists(calls, max_size=5).map(tuple))
def test_reads_the_batch_that_was_written(written: tuple[Call, ...]) -> None:
    assert decode_execution(batch(*written)) == Execution(EXECUTE, CallType.BATCH, 0, written)


def test_shows_an_empty_batch_as_no_calls() -> None:
    assert decode_execution(batch()).calls == ()


def test_keeps_the_exec_type_of_a_try() -> None:
    execution = decode_execution(single(TRANSFER, mode=b"\x00\x01"))
    assert (execution.exec_type, execution.calls) == (1, (TRANSFER,))


def test_ignores_the_other_bytes_of_the_mode() -> None:
    assert decode_execution(single(TRANSFER, mode=b"\x00\x00" + b"\xff" * 30)).calls == (TRANSFER,)


@pytest.mark.parametrize("call_type", [CallType.STATIC, CallType.DELEGATECALL, 0x02, 0x7F])
def test_reads_no_calls_for_other_call_types(call_type: int) -> None:
    execution = decode_execution(execute(bytes([call_type]), b"\x11" * 20 + b"data"))
    assert (execution.is_execute, execution.call_type, execution.calls) == (True, call_type, ())


def test_reads_the_selector_of_other_functions() -> None:
    execution = decode_execution(bytes.fromhex("9517e29f") + bytes(96))
    assert execution == Execution(Selector(bytes.fromhex("9517e29f")))
    assert not execution.is_execute


def test_has_no_selector_for_fewer_than_four_bytes() -> None:
    assert decode_execution(b"\xe9\xae\x5c") == Execution(None)
    assert decode_execution(b"\xe9\xae\x5c\x54").selector == b"\xe9\xae\x5c\x54"


def test_takes_the_value_selector_for_a_call_with_fewer_than_four_bytes() -> None:
    assert PAY.selector == VALUE_SELECTOR
    assert Call(RECIPIENT, 0, b"\xa9\x05\x9c").selector == VALUE_SELECTOR
    assert TRANSFER.selector == bytes.fromhex("a9059cbb")


@pytest.mark.parametrize("length", [4, 35, 36, 67])
def test_refuses_execute_that_is_cut_before_its_arguments(length: int) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_execution(single(TRANSFER)[:length])
    assert not isinstance(caught.value, DecodingError)


def test_refuses_a_single_call_of_51_bytes_and_takes_one_of_52() -> None:
    assert decode_execution(execute(b"\x00", bytes(52))).calls == (Call(Address(bytes(20)), 0, b""),)
    with pytest.raises(Undecodable):
        decode_execution(execute(b"\x00", bytes(51)))


def test_follows_an_offset_that_is_not_the_usual_one() -> None:
    usual = single(TRANSFER)
    moved = usual[:36] + (0x60).to_bytes(32, "big") + bytes(32) + usual[68:]
    assert decode_execution(moved).calls == (TRANSFER,)


@pytest.mark.parametrize("offset", [2**64, 2**256 - 1, 10**6])
def test_refuses_an_offset_that_points_outside(offset: int) -> None:
    usual = single(TRANSFER)
    with pytest.raises(Undecodable):
        decode_execution(usual[:36] + offset.to_bytes(32, "big") + usual[68:])


def test_refuses_a_dirty_target_in_a_batch() -> None:
    data = bytearray(encode_calls(PAY, TRANSFER))
    entry = data.index(TRANSFER.target) - 1
    assert decode_batch(bytes(data)) == (PAY, TRANSFER)
    data[entry] = 1
    with pytest.raises(Undecodable) as caught:
        decode_batch(bytes(data))
    assert not isinstance(caught.value, DecodingError)


@given(st.binary(max_size=300), st.sampled_from([b"\x00", b"\x01", b"\x01\x01"]))
def test_answers_any_execution_calldata_with_calls_or_a_refusal(data: bytes, mode: bytes) -> None:
    try:
        execution = decode_execution(execute(mode, data))
    except Undecodable:
        return
    assert execution.is_execute


@given(st.integers(0, 255), st.integers(0, 10**6))
def test_answers_a_damaged_batch_with_calls_or_a_refusal(byte: int, at: int) -> None:
    data = bytearray(batch(TRANSFER, PAY, TRANSFER))
    data[4 + at % (len(data) - 4)] = byte
    try:
        execution = decode_execution(bytes(data))
    except Undecodable:
        return
    assert sum(len(call.data) for call in execution.calls) <= BATCH_LIMIT


def test_refuses_a_batch_whose_entries_share_more_data_than_is_read() -> None:
    length = BATCH_LIMIT // 16
    entry = bytes(32) + bytes(32) + (96).to_bytes(32, "big") + length.to_bytes(32, "big") + bytes(length)

    def sharing(count: int) -> bytes:
        heads = (32 * count).to_bytes(32, "big") * count
        return (32).to_bytes(32, "big") + count.to_bytes(32, "big") + heads + entry

    assert len(decode_batch(sharing(15))) == 15
    with pytest.raises(Undecodable, match="more data than is read at once"):
        decode_batch(sharing(16))
