"""What is handed to functions that people meet most is read exactly or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain import contract_abi
from proxy.cli.functions import _SIGNATURES, arguments_of
from proxy.userop.primitives import keccak256, print_checksummed
from tests.session.builders import ACCOUNT, TOKEN


def call(function: str, types: list[str], *values: object) -> bytes:
    return keccak256(function.encode())[:4] + contract_abi.encode(types, values)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (call("transfer(address,uint256)", ["address", "uint256"], ACCOUNT, 5), [print_checksummed(ACCOUNT), "5"]),
        (
            call("setApprovalForAll(address,bool)", ["address", "bool"], ACCOUNT, True),
            [print_checksummed(ACCOUNT), True],
        ),
        (
            call(
                "executeBatch((address,uint256,bytes)[])",
                ["(address,uint256,bytes)[]"],
                [(ACCOUNT, 1, b"\x01" * 20), (TOKEN, 0, b"")],
            ),
            [[[print_checksummed(ACCOUNT), "1", "0x" + "01" * 20], [print_checksummed(TOKEN), "0", "0x"]]],
        ),
        (call("deposit()", []), []),
        (call("transfer(address,uint256)", ["address", "uint256"], ACCOUNT, 5) + b"\0", None),
        (call("transfer(address,uint256)", ["address", "uint256"], ACCOUNT, 5)[:-1], None),
        (call("unheard(address)", ["address"], ACCOUNT), None),
        (b"", None),
    ],
)
def test_arguments_are_told_where_the_data_is_what_the_function_takes(data: bytes, told: list[object] | None) -> None:
    assert arguments_of(data) == told


@given(st.sampled_from(_SIGNATURES), st.binary(max_size=300))
def test_whatever_a_stranger_hands_over_is_read_or_not(function: str, data: bytes) -> None:
    told = arguments_of(keccak256(function.encode())[:4] + data)
    assert told is None or isinstance(told, list)
