"""ABI reading with Solidity's bounds: canonical data is read exactly, dirty or outside data is refused."""

from __future__ import annotations

from typing import Any

import eth_abi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop import abi

ALL = abi.tuple_of(
    abi.ADDRESS,
    abi.UINT256,
    abi.BOOL,
    abi.BYTES4,
    abi.BYTES,
    abi.STRING,
    abi.list_of(abi.UINT64),
    abi.list_of(abi.tuple_of(abi.BYTES32, abi.BYTES)),
    abi.tuple_of(abi.UINT8, abi.BYTES32),
)
NAMES = ["address", "uint256", "bool", "bytes4", "bytes", "string", "uint64[]", "(bytes32,bytes)[]", "(uint8,bytes32)"]

values = st.tuples(
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**256 - 1),
    st.booleans(),
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=70),
    st.text(max_size=20).filter(lambda text: text.isprintable()),
    st.lists(st.integers(0, 2**64 - 1), max_size=4).map(tuple),
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=40)), max_size=3).map(tuple),
    st.tuples(st.integers(0, 255), st.binary(min_size=32, max_size=32)),
)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


@given(values)
def test_writes_what_the_reference_encoder_writes_and_reads_it_back(given_values: tuple[Any, ...]) -> None:
    written = abi.encode(ALL, given_values)
    assert written == eth_abi.encode(NAMES, given_values)
    assert abi.decode(ALL, written, "test") == given_values


def test_names_itself_as_solidity_does() -> None:
    assert ALL.name == f"({','.join(NAMES)})"


@given(st.binary(max_size=400))
def test_answers_any_data_with_values_or_a_refusal(data: bytes) -> None:
    try:
        decoded = abi.decode(ALL, data, "test")
    except Undecodable:
        return
    assert abi.decode(ALL, abi.encode(ALL, decoded), "test") == decoded


@pytest.mark.parametrize(
    ("kind", "largest", "too_large"),
    [
        (abi.ADDRESS, 2**160 - 1, 2**160),
        (abi.BOOL, 1, 2),
        (abi.UINT8, 255, 256),
        (abi.UINT64, 2**64 - 1, 2**64),
        (abi.BYTES4, 0xFFFFFFFF << 224, 1 << 223),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_refuses_bits_outside_the_type(kind: abi.AbiType, largest: int, too_large: int) -> None:
    types = abi.tuple_of(kind)
    abi.decode(types, word(largest), "test")
    with pytest.raises(Undecodable):
        abi.decode(types, word(too_large), "test")


def test_reads_bytes_that_end_with_the_data_and_refuses_one_more() -> None:
    types = abi.tuple_of(abi.BYTES)
    assert abi.decode(types, word(32) + word(3) + b"abc", "test") == (b"abc",)
    with pytest.raises(Undecodable):
        abi.decode(types, word(32) + word(4) + b"abc", "test")


@pytest.mark.parametrize("offset", [2**64, 2**255, 2**256 - 32])
def test_refuses_offsets_that_would_wrap_around(offset: int) -> None:
    with pytest.raises(Undecodable):
        abi.decode(abi.tuple_of(abi.BYTES), word(offset) + word(0), "test")


def test_refuses_a_count_of_items_that_cannot_be_there() -> None:
    types = abi.tuple_of(abi.list_of(abi.UINT256))
    assert abi.decode(types, word(32) + word(2) + word(7) + word(8), "test") == ((7, 8),)
    with pytest.raises(Undecodable):
        abi.decode(types, word(32) + word(3) + word(7) + word(8), "test")
    with pytest.raises(Undecodable):
        abi.decode(types, word(32) + word(2**64 - 1), "test")


def test_reads_tails_in_any_order_shared_and_with_gaps() -> None:
    types = abi.tuple_of(abi.BYTES, abi.BYTES)
    shared = word(96) + word(96) + b"gap".ljust(32) + word(2) + b"hi".ljust(32, b"\0")
    assert abi.decode(types, shared, "test") == (b"hi", b"hi")


def test_refuses_text_that_is_not_utf8() -> None:
    with pytest.raises(Undecodable):
        abi.decode(abi.tuple_of(abi.STRING), word(32) + word(1) + b"\xff".ljust(32, b"\0"), "test")


def test_refuses_shared_tails_that_describe_more_than_the_limit() -> None:
    blob = word(4096) + bytes(4096)
    few, many = 8, 64
    types = abi.tuple_of(abi.list_of(abi.BYTES))

    def sharing(count: int) -> bytes:
        return word(32) + word(count) + word(32 * count) * count + blob

    (read,) = abi.decode(types, sharing(few), "test")
    assert read == (bytes(4096),) * few
    with pytest.raises(Undecodable, match="more data than is read at once"):
        abi.decode(types, sharing(many), "test")
