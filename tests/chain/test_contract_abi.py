"""What contracts of the chain are asked and answer is encoded and decoded by eth-abi, as our own reader would."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain import contract_abi, views
from proxy.errors import Undecodable
from proxy.userop import abi
from tests.session.builders import ACCOUNT, word

SHAPES: dict[str, tuple[abi.AbiType, st.SearchStrategy[Any]]] = {
    "address": (abi.ADDRESS, st.binary(min_size=20, max_size=20)),
    "bool": (abi.BOOL, st.booleans()),
    "uint256": (abi.UINT256, st.integers(0, 2**256 - 1)),
    "bytes32": (abi.BYTES32, st.binary(min_size=32, max_size=32)),
    "bytes": (abi.BYTES, st.binary(max_size=80)),
    "address[]": (abi.list_of(abi.ADDRESS), st.lists(st.binary(min_size=20, max_size=20), max_size=4).map(tuple)),
    "bytes32[]": (abi.list_of(abi.BYTES32), st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple)),
}
PLENTY = st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=5)


@given(PLENTY.flatmap(lambda types: st.tuples(st.just(types), st.tuples(*(SHAPES[each][1] for each in types)))))
def test_it_writes_and_reads_what_our_own_reader_does(case: tuple[list[str], tuple[Any, ...]]) -> None:
    types, values = case
    ours = abi.tuple_of(*(SHAPES[each][0] for each in types))
    data = contract_abi.encode(types, values)
    assert data == abi.encode(ours, values)
    assert contract_abi.decode(types, data, "") == values == abi.decode(ours, data, "")


@given(PLENTY, st.binary(max_size=300))
def test_whatever_a_node_returns_is_read_or_refused(types: list[str], data: bytes) -> None:
    try:
        values = contract_abi.decode(types, data, "the view")
    except Undecodable:
        return
    assert len(values) == len(types)


@pytest.mark.parametrize(
    ("types", "data"),
    [
        (["address"], b"\x01" + word(ACCOUNT)[1:]),
        (["bool"], word(2)),
        (["bytes32[]"], word(32) + word(2**200)),
        (["bytes"], word(2**255) + word(1)),
        (["uint256"], b"\0" * 31),
        (["uint256"], bytes(2 << 20)),
    ],
    ids=["dirty address", "no boolean", "endless list", "offset outside", "too short", "huge"],
)
def test_what_is_not_of_the_types_is_refused(types: list[str], data: bytes) -> None:
    with pytest.raises(Undecodable):
        contract_abi.decode(types, data, "")


def test_a_view_is_told_by_its_signature() -> None:
    assert views.IS_PERMISSION_ENABLED.selector.hex() == "adbc532f"
    assert views.GET_NONCE.selector.hex() == "795f9269"
    assert views.GET_TOKEN_DATA.selector.hex() == "f33fa13a"
    assert views.VALIDATE_USER_OP.selector.hex() == "97003203"
    assert views.VALIDATE_USER_OP.arguments[1] == "bytes32"
    assert views.view_of("nothing()").arguments == ()
