"""FastLZ: what the SDKs compress is read; what only a careless decompressor reads is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.fastlz import deflate, inflate

# the example of Solady's LibZip layout: 64 zeros, 01..08, 40 zeros
PLAIN = bytes(64) + bytes(range(1, 9)) + bytes(40)
STREAM = bytes.fromhex("010000e03501070102030405060708e01a45040000000000")


def test_reads_a_stream_of_another_compressor() -> None:
    assert inflate(STREAM) == PLAIN


def test_reads_the_empty_stream() -> None:
    assert inflate(b"") == b""


@pytest.mark.parametrize(
    ("stream", "plain"),
    [
        pytest.param("0041", b"A", id="one literal"),
        pytest.param("1f" + "41" * 32, b"A" * 32, id="longest literal run"),
        pytest.param("0041" + "2000", b"A" * 4, id="shortest copy"),
        pytest.param("0041" + "c000", b"A" * 9, id="longest short copy"),
        pytest.param("0041" + "e00000", b"A" * 10, id="shortest long copy"),
        pytest.param("0041" + "e0ff00", b"A" * 265, id="longest copy"),
        pytest.param("024142432002", b"ABCABC", id="copy that ends where it began"),
        pytest.param("0141426001", b"ABABABA", id="copy that overlaps itself"),
    ],
)
def test_reads_each_kind_of_instruction(stream: str, plain: bytes) -> None:
    assert inflate(bytes.fromhex(stream)) == plain


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param("00", id="literal run without literals"),
        pytest.param("1f" + "41" * 31, id="literal run one byte short"),
        pytest.param("004120", id="short copy without its distance"),
        pytest.param("0041e000", id="long copy without its distance"),
        pytest.param("2000", id="copy from before the start"),
        pytest.param("00412001", id="copy from one byte before the start"),
        pytest.param("e0161f", id="copy into empty output"),
    ],
)
def test_refuses_streams_that_read_outside(stream: str) -> None:
    with pytest.raises(Undecodable):
        inflate(bytes.fromhex(stream))


def test_reads_output_of_exactly_the_limit_and_refuses_one_byte_more() -> None:
    assert inflate(deflate(bytes(1000)), limit=1000) == bytes(1000)
    with pytest.raises(Undecodable):
        inflate(deflate(bytes(1001)), limit=1000)


def test_refuses_a_stream_too_long_to_hold_output_within_the_limit() -> None:
    literals = b"\x1f" + bytes(32)
    assert inflate(literals * 4, limit=128) == bytes(128)
    with pytest.raises(Undecodable):
        inflate(literals * 5, limit=128)


def test_reaches_back_exactly_8192_bytes() -> None:
    head = bytes([1, 2, 3])
    filler = b"".join(number.to_bytes(2, "big") for number in range(0x1000, 0x1000 + 4095))[: 8192 - 3]
    plain = head + filler + head
    assert inflate(deflate(plain)) == plain
    literals = b"".join(bytes([len(plain[at : at + 32]) - 1]) + plain[at : at + 32] for at in range(0, 8192, 32))
    assert inflate(literals + b"\x3f\xff") == plain


@given(st.binary(max_size=2000))
def test_inflates_what_it_deflates(data: bytes) -> None:
    assert inflate(deflate(data)) == data


@given(st.lists(st.sampled_from([b"\0" * 32, b"\x01\x02\x03", b"policy", bytes(300)]), max_size=60))
def test_inflates_repetitive_data_from_fewer_bytes(parts: list[bytes]) -> None:
    data = b"".join(parts)
    stream = deflate(data)
    assert inflate(stream) == data
    assert len(stream) <= len(data) + len(data) // 32 + 1


@given(st.binary(max_size=300))
def test_answers_any_stream_with_bounded_output_or_a_refusal(stream: bytes) -> None:
    try:
        plain = inflate(stream, limit=4096)
    except Undecodable:
        return
    assert len(plain) <= 4096
