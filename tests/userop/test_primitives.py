"""The strict profile of hex: one reading for every text, and everything that two readers could read twice refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import InvalidParams
from proxy.userop.primitives import (
    json_type,
    keccak256,
    parse_address,
    parse_bytes,
    parse_hash,
    parse_uint,
    print_bytes,
    print_checksummed,
    print_uint,
)

PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "bytes": parse_bytes,
    "address": parse_address,
    "hash": parse_hash,
    "uint": parse_uint,
}


class Subclass(str):
    """Stands for a JSON number that a parser kept as text."""


@pytest.mark.parametrize(
    ("text", "data"),
    [("0x", b""), ("0x00", b"\0"), ("0xAbCd", b"\xab\xcd"), ("0x" + "00" * 40_000, bytes(40_000))],
)
def test_reads_bytes_from_pairs_of_digits(text: str, data: bytes) -> None:
    assert parse_bytes(text, "field") == data


@pytest.mark.parametrize(("text", "number"), [("0x0", 0), ("0x5208", 21000), ("0x0005208", 21000), ("0xAb", 171)])
def test_reads_a_quantity_with_or_without_leading_zeros(text: str, number: int) -> None:
    assert parse_uint(text, "field") == number


MALFORMED_FOR_ALL = [
    pytest.param("", id="empty"),
    pytest.param("ab" * 20, id="no prefix"),
    pytest.param("0X" + "ab" * 20, id="upper-case prefix"),
    pytest.param(" 0x" + "ab" * 20, id="leading space"),
    pytest.param("0x" + "ab" * 20 + "\n", id="trailing newline"),
    pytest.param("0x" + "ab" * 20 + " ", id="trailing space"),
    pytest.param("0x" + "ab" * 9 + "\t\t" + "ab" * 10, id="inner whitespace"),
    pytest.param("0x" + "a_" * 20, id="separators"),
    pytest.param("0x" + "zz" * 20, id="no hex"),
    pytest.param("0x-" + "ab" * 19 + "a", id="sign"),
    pytest.param("0x" + "\uff11\uff12" * 20, id="full-width digits"),
    pytest.param("0x0x" + "ab" * 19, id="two prefixes"),
    pytest.param("0x\0" + "ab" * 19 + "a", id="nul"),
    pytest.param("0x" + "\ud800" * 40, id="lone surrogates"),
    pytest.param(5, id="number"),
    pytest.param(5.0, id="fraction"),
    pytest.param(True, id="boolean"),
    pytest.param(None, id="null"),
    pytest.param([0, 222], id="array of numbers"),
    pytest.param({"0x": 1}, id="object"),
    pytest.param(Subclass("0x" + "ab" * 20), id="number kept as text"),
]


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("value", MALFORMED_FOR_ALL)
def test_refuses_what_some_bundler_reads_leniently(name: str, value: object) -> None:
    with pytest.raises(InvalidParams) as caught:
        PARSERS[name](value, "params[0].callData")
    assert caught.value.field == "params[0].callData"
    assert caught.value.message.isprintable()


def test_refuses_an_odd_number_of_digits_for_bytes() -> None:
    assert parse_bytes("0xabcd", "field") == b"\xab\xcd"
    with pytest.raises(InvalidParams):
        parse_bytes("0xabc", "field")


@pytest.mark.parametrize(("parse", "size"), [(parse_address, 20), (parse_hash, 32)])
def test_refuses_one_byte_more_or_less(parse: Callable[[object, str], bytes], size: int) -> None:
    assert parse("0x" + "ab" * size, "field") == b"\xab" * size
    for wrong in (size - 1, size + 1):
        with pytest.raises(InvalidParams):
            parse("0x" + "ab" * wrong, "field")


def test_refuses_a_quantity_without_digits_and_one_of_65() -> None:
    assert parse_uint("0x" + "f" * 64, "field") == 2**256 - 1
    for text in ("0x", "0x" + "0" * 65):
        with pytest.raises(InvalidParams):
            parse_uint(text, "field")


@pytest.mark.parametrize("bits", [8, 48, 64, 128])
def test_refuses_a_quantity_one_above_its_width(bits: int) -> None:
    assert parse_uint(hex(2**bits - 1), "field", bits) == 2**bits - 1
    with pytest.raises(InvalidParams, match=f"at most {bits} bits"):
        parse_uint(hex(2**bits), "field", bits)


def test_shows_no_more_than_the_start_of_a_long_value() -> None:
    with pytest.raises(InvalidParams) as caught:
        parse_bytes("0x" + "g" * 100_000, "field")
    assert len(caught.value.message) < 200


@given(st.binary(max_size=200))
def test_reads_back_the_bytes_it_prints(data: bytes) -> None:
    assert parse_bytes(print_bytes(data), "field") == data


@given(st.integers(0, 2**256 - 1))
def test_reads_back_the_quantity_it_prints(number: int) -> None:
    printed = print_uint(number)
    assert parse_uint(printed, "field") == number
    assert printed == "0x0" or not printed.startswith("0x0")


@given(st.text(alphabet="0123456789abcdefABCDEFx_ \n\t+-g\uff11\u00e9", max_size=12))
def test_reads_bytes_only_from_prefixed_pairs_of_ascii_digits(text: str) -> None:
    digits = text[2:]
    is_strict = text.startswith("0x") and len(digits) % 2 == 0 and set(digits) <= set("0123456789abcdefABCDEF")
    try:
        data = parse_bytes(text, "field")
    except InvalidParams:
        assert not is_strict
    else:
        assert is_strict
        assert print_bytes(data) == text.lower()


@pytest.mark.parametrize(
    "address",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_prints_the_checksums_of_eip_55(address: str) -> None:
    assert print_checksummed(parse_address(address, "field")) == address


def test_hashes_as_ethereum_does() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), (True, "a boolean"), ("", "a string"), ([], "an array"), ({}, "an object"), (1.5, "a number")],
)
def test_names_the_json_type(value: object, name: str) -> None:
    assert json_type(value) == name


@given(st.text("0123456789abcdefABCDEFxg_ \u0660", max_size=70) | st.binary(min_size=30, max_size=34).map(print_bytes))
def test_a_hash_is_what_reads_as_32_bytes(text: str) -> None:
    try:
        read = parse_bytes(text, "field")
    except InvalidParams:
        read = b""
    if len(read) == 32:
        assert parse_hash(text, "field") == read
    else:
        with pytest.raises(InvalidParams):
            parse_hash(text, "field")
