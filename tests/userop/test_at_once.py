"""What is written as we print it is read in one go, says the same as read field by field, and goes on as it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import InvalidParams
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.user_operation import (
    UserOperation,
    parse_printed_operation,
    parse_printed_place,
    parse_user_operation,
    print_user_operation,
)

V06, V07, V08, V09 = EntryPointVersion
HALVES: Final = st.one_of(st.sampled_from([0, 1, 2**128 - 1]), st.integers(0, 2**128 - 1))
WORDS: Final = st.one_of(st.sampled_from([0, 1, 2**256 - 1]), st.integers(0, 2**256 - 1))
PAYMASTERS: Final = st.one_of(
    st.just({}),
    st.just({"paymaster_verification_gas_limit": 0, "paymaster_post_op_gas_limit": 0}),
    st.fixed_dictionaries(
        {
            "paymaster": st.binary(min_size=20, max_size=20),
            "paymaster_verification_gas_limit": HALVES,
            "paymaster_post_op_gas_limit": HALVES,
            "paymaster_data": st.binary(max_size=40),
        }
    ),
)


@st.composite
def printed(draw: st.DrawFn) -> dict[str, Any]:
    fields = draw(
        st.fixed_dictionaries(
            {
                "sender": st.binary(min_size=20, max_size=20),
                "nonce": WORDS,
                "call_data": st.binary(max_size=80),
                "signature": st.binary(max_size=80),
                "call_gas_limit": HALVES,
                "verification_gas_limit": HALVES,
                "pre_verification_gas": WORDS,
                "max_fee_per_gas": HALVES,
                "max_priority_fee_per_gas": HALVES,
            }
        )
    )
    said = print_user_operation(UserOperation(**fields, **draw(PAYMASTERS)))
    return dict(draw(st.permutations(list(said.items()))))


def _upper(text: str) -> str:
    return "0x" + text[2:].upper()


ODD: list[Callable[[Any], object]] = [
    _upper,
    lambda text: "0X" + text[2:],
    lambda text: text[2:],
    lambda text: "0x0" + text[2:],
    lambda text: "0x00" + text[2:],
    lambda text: text + "g0",
    lambda text: text + "0",
    lambda text: text + ",0x1",
    lambda text: text + "\n",
    lambda text: "0x" + "f" * 33,
    lambda text: "0x" + "f" * 65,
    lambda text: text.replace("0", "\u0660"),
    lambda text: None,
    lambda text: 1,
    lambda text: [text],
    lambda text: {"0x": text},
    lambda text: "0x",
    lambda text: "",
]


@st.composite
def nearly_printed(draw: st.DrawFn) -> dict[str, Any]:
    value = draw(printed())
    key = draw(st.sampled_from(sorted(value)))
    match draw(st.sampled_from(["odd", "odd", "odd", "gone", "more", "renamed"])):
        case "odd":
            value[key] = draw(st.sampled_from(ODD))(value[key])
        case "gone":
            del value[key]
        case "more":
            more = ["factory", "factoryData", "initCode", "paymasterSignature", "eip7702Auth", "paymaster", "colour"]
            value[draw(st.sampled_from(more))] = draw(st.sampled_from([None, "0x", "0x7702", {}]))
        case _:
            value[draw(st.sampled_from([key.lower(), "factory", "paymasterSignature", "colour"]))] = value.pop(key)
    return value


@given(printed(), st.sampled_from([V07, V08, V09]), st.booleans())
def test_what_is_written_as_we_print_it_is_read_so(
    value: dict[str, Any], version: EntryPointVersion, estimate: bool
) -> None:
    op = parse_printed_operation(value, version)
    assert parse_printed_place(value, version) == (None if op is None else (op.sender, op.nonce))
    assert op == parse_user_operation(value, version, estimate=estimate)
    assert op is not None
    assert print_user_operation(op) == value


@given(nearly_printed(), st.sampled_from([V07, V08, V09]), st.booleans())
def test_nothing_else_is_and_what_is_means_the_same(
    value: dict[str, Any], version: EntryPointVersion, estimate: bool
) -> None:
    op = parse_printed_operation(value, version)
    assert parse_printed_place(value, version) == (None if op is None else (op.sender, op.nonce))
    if op is not None:
        assert parse_user_operation(value, version, estimate=estimate) == op
        assert print_user_operation(op) == value
        return
    try:
        read = parse_user_operation(value, version, estimate=estimate)
    except InvalidParams:
        return
    more = read.factory is not None or read.paymaster_signature is not None  # of these it is not asked here
    assert print_user_operation(read) != value or more or len(value) not in (9, 11, 13)


@pytest.mark.parametrize("value", [None, 1, "0x", [], {}, ["sender"]])
def test_no_operation_is_none(value: object) -> None:
    assert parse_printed_operation(value, V07) is None
    assert parse_printed_place(value, V07) is None


@given(printed())
def test_the_old_shape_is_read_field_by_field(value: dict[str, Any]) -> None:
    assert parse_printed_operation(value, V06) is None
    assert parse_printed_place(value, V06) is None
