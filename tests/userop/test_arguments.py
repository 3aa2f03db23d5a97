"""What reading call data word by word promises."""

from __future__ import annotations

from contextlib import suppress

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.arguments import Arguments, selector
from proxy.userop.budget import ITEM, ITEM_BUDGET, Budget


def read(data: bytes, left: int = ITEM_BUDGET) -> Arguments:
    return Arguments(data, Budget(ITEM * left))


@pytest.mark.parametrize(
    ("signature", "wanted"),
    [
        ("transfer(address,uint256)", "a9059cbb"),
        ("transferFrom(address,address,uint256)", "23b872dd"),
        ("approve(address,uint256)", "095ea7b3"),
        ("permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)", "2b67b570"),
        ("aggregate3Value((address,bool,uint256,bytes)[])", "174dea71"),
    ],
)
def test_a_selector_is_the_hash_of_the_signature(signature: str, wanted: str) -> None:
    assert selector(signature).hex() == wanted


def test_words_are_read_where_they_stand() -> None:
    arguments = read(encode(["address", "uint256", "bool"], [b"\x11" * 20, 7, True]))
    assert arguments.address(0) == b"\x11" * 20
    assert arguments.uint(1) == 7
    assert arguments.flag(2) is True
    assert arguments.exact


def test_a_word_past_the_end_is_filled_with_zeros_and_remembered() -> None:
    arguments = read(b"\x01" * 31)
    assert arguments.uint(0) == int.from_bytes(b"\x01" * 31 + b"\0", "big")
    assert arguments.dirty


def test_bits_outside_the_type_are_dropped_and_remembered() -> None:
    arguments = read((2**160 + 5).to_bytes(32, "big"))
    assert arguments.address(0) == (5).to_bytes(20, "big")
    assert arguments.dirty


def test_the_highest_bit_of_the_type_is_no_dirt() -> None:
    arguments = read((2**160 - 1).to_bytes(32, "big"))
    assert arguments.address(0) == b"\xff" * 20
    assert arguments.exact


@pytest.mark.parametrize(("word", "value", "dirty"), [(0, False, False), (1, True, False), (2, True, True)])
def test_a_boolean_above_one_is_true_and_dirty(word: int, value: bool, dirty: bool) -> None:
    arguments = read(word.to_bytes(32, "big"))
    assert arguments.flag(0) is value
    assert arguments.dirty is dirty


def test_one_byte_more_than_was_read_is_overlong() -> None:
    arguments = read(bytes(33))
    arguments.uint(0)
    assert arguments.overlong


def test_padding_of_the_last_bytes_is_not_overlong() -> None:
    data = encode(["bytes"], [b"abc"])
    arguments = read(data)
    assert arguments.blob(0) == b"abc"
    assert arguments.exact
    unpadded = read(data[:67])
    assert unpadded.blob(0) == b"abc"
    assert unpadded.exact


def test_one_byte_less_than_the_length_says_is_undecodable() -> None:
    data = encode(["bytes"], [b"abc"])[:66]
    with pytest.raises(Undecodable):
        read(data).blob(0)


def test_an_offset_outside_the_data_is_undecodable() -> None:
    with pytest.raises(Undecodable):
        read((2**255).to_bytes(32, "big")).blob(0)


def test_bytes_that_do_not_matter_are_dirt_when_they_point_outside() -> None:
    arguments = read((2**255).to_bytes(32, "big"))
    arguments.mark_blob(0)
    assert arguments.dirty


def test_dirt_in_a_nested_region_is_told_to_the_root() -> None:
    data = bytearray(encode(["(address,bytes)[]"], [[(b"\x11" * 20, b"x")]]))
    data[96] = 1  # the high byte of the address
    arguments = read(bytes(data))
    (item,) = arguments.tuples(0)
    assert item.address(0) == b"\x11" * 20
    assert arguments.dirty


def test_reads_exactly_as_many_items_as_the_budget_has() -> None:
    data = encode(["uint256[]"], [[1, 2, 3]])
    count, items = read(data, left=3).array(0, 1)
    assert [items.uint(item) for item in range(count)] == [1, 2, 3]


def test_refuses_one_item_more_than_the_budget_has() -> None:
    with pytest.raises(Undecodable):
        read(encode(["uint256[]"], [[1, 2, 3]]), left=2).array(0, 1)


def test_an_array_longer_than_the_data_is_refused_before_it_is_walked() -> None:
    data = encode(["uint256[]"], [[1, 2, 3]])[:-1]
    with pytest.raises(Undecodable):
        read(data).array(0, 1)


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_bytes_lists_come_back_as_they_were_encoded(items: list[bytes]) -> None:
    arguments = read(encode(["bytes[]"], [items]))
    assert list(arguments.blobs(0)) == items
    assert arguments.exact


@given(st.binary(max_size=400), st.integers(0, 6))
def test_arbitrary_bytes_are_read_or_undecodable(data: bytes, index: int) -> None:
    arguments = read(data)
    for number in (arguments.uint(index), arguments.uint(index, 160)):
        assert 0 <= number < 2**256
    for reading in (arguments.blobs, arguments.tuples):
        with suppress(Undecodable):
            assert 32 * len(list(reading(index))) <= len(data)
