"""Arguments of calls, by the ABI of their function, read as the chain's own decoder would or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_abi.grammar import parse as parse_type
from eth_utils import function_signature_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.expression import Expression, ExpressionScope, compile_expression
from proxy.judge.expression.arguments import Misread, parse_function
from proxy.judge.facts import MOST_ARGUMENTS, CallFacts, Facts
from proxy.judge.facts_json import facts_from_json, facts_to_json
from proxy.judge.reading import facts_of_call
from proxy.userop.budget import Budget
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from tests.judge.builders import SHOP, facts

ROUTER = Address(b"\x0a" * 20)
SWAP = "swap(uint256 minOut, (address to, int64[2] legs) order, bytes4 kind, bool[] flags, string memo, bytes raw)"
TYPES = ["uint256", "(address,int64[2])", "bytes4", "bool[]", "string", "bytes"]
VALUES: list[Any] = [7, (SHOP, [-3, 9]), b"abcd", [True, False], "hello", b"xyz"]


def data(signature: str, types: list[str], values: list[Any]) -> bytes:
    return bytes(function_signature_to_4byte_selector(signature)) + encode(types, values)


KINDS = ("uint8", "uint256", "int8", "int256", "address", "bool", "bytes4", "bytes32", "string")
SWAP_DATA = data("swap(uint256,(address,int64[2]),bytes4,bool[],string,bytes)", TYPES, VALUES)


def calling(*datas: bytes) -> Facts:
    return facts(calls=tuple(facts_of_call(Call(ROUTER, 0, each)) for each in datas))


def compiled(source: str) -> Expression:
    found = compile_expression(source, ExpressionScope())
    assert isinstance(found, Expression), [fault.problem for fault in found]
    return found


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (f'arg("{SWAP}", "minOut") == 7', True),
        (f'arg("{SWAP}", "minOut") > 7', False),
        (f'arg("{SWAP}", "order.to") == 0x{SHOP.hex()}', True),
        (f'-3 in arg("{SWAP}", "order.legs")', True),
        (f'arg("{SWAP}", "kind") == 0x61626364', True),
        (f'any(flag for flag in arg("{SWAP}", "flags"))', True),
        (f'len(arg("{SWAP}", "flags")) == 2', True),
        (f'arg("{SWAP}", "memo") == "hello"', True),
        (f'any(arg(c, "{SWAP}", "minOut") == 7 for c in op.calls)', True),
        ('arg("other(uint256 minOut)", "minOut") == 7', None),
    ],
)
def test_an_argument_is_what_the_call_says(asked: str, answer: bool | None) -> None:
    assert compiled(asked).holds(calling(SWAP_DATA)) is answer


def test_of_two_calls_of_a_function_only_a_loop_can_ask() -> None:
    both = calling(SWAP_DATA, SWAP_DATA)
    assert compiled(f'arg("{SWAP}", "minOut") == 7').holds(both) is None
    assert compiled(f'all(arg(c, "{SWAP}", "minOut") == 7 for c in op.calls)').holds(both) is True


@pytest.mark.parametrize("cut", [30, 31, 32, 64, len(SWAP_DATA) - 5])
def test_call_data_that_is_too_short_is_unknown_and_never_a_guess(cut: int) -> None:
    assert compiled(f'arg("{SWAP}", "memo") == "hello"').holds(calling(SWAP_DATA[: len(SWAP_DATA) - cut])) is None


def test_arguments_longer_than_rules_may_look_into_are_unknown() -> None:
    long = data("f(uint256,bytes)", ["uint256", "bytes"], [7, bytes(MOST_ARGUMENTS)])
    assert compiled('arg("f(uint256 a, bytes b)", "a") == 7').holds(calling(long)) is None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('arg("swap(uint256 minOut)", "minout") > 1', "no argument of the function is called minout"),
        ('arg("swap(uint257 minOut)", "minOut") > 1', "uint257 is no type"),
        ('arg("swap(fixed128x18 a)", "a") > 1', "fixed128x18 is not read here"),
        ('arg("swap(uint256())", "a") > 1', "uint256() is no type"),
        ('arg("swap(() a)", "a") > 1', "a tuple without members is no type"),
        ('any(true for x in arg("swap((uint8, ())[] a)", "a"))', "a tuple without members is no type"),
        ('arg("swap", "a") > 1', "it is no function with its arguments"),
        ('arg("swap((uint256 a)", "a") > 1', "parentheses do not match"),
        ('arg("swap(bytes raw)", "raw") == 0x00000000', "nothing can be asked of bytes"),
        ('arg("swap(uint256 a, uint256 a)", "a") > 1', "two of its arguments are called a"),
        ('arg("swap(uint8 a)", "a") > 255', "is never above 255"),
        ('arg("swap(address a)", "a") > 1', "an address"),
        ('arg("swap(uint8 a)") > 1', "arg takes a function and the name of one of its arguments"),
        ('any(arg(m, "swap(uint8 a)", "a") > 1 for m in op.moves)', "m is no call"),
    ],
)
def test_what_can_never_be_answered_is_a_fault_of_the_rule(source: str, problem: str) -> None:
    found = compile_expression(source, ExpressionScope())
    assert not isinstance(found, Expression)
    assert any(problem in fault.problem for fault in found), [fault.problem for fault in found]


def test_only_functions_that_rules_ask_about_have_their_arguments_kept() -> None:
    expression = compiled(f'arg("{SWAP}", "minOut") == 7')
    asked, other = Call(ROUTER, 0, SWAP_DATA), Call(ROUTER, 0, b"\x01\x02\x03\x04" + bytes(32))
    kept = [facts_of_call(call, expression.functions) for call in (asked, other)]
    assert [call.arguments for call in kept] == [SWAP_DATA[4:], b""]
    again = facts_from_json(facts_to_json(facts(calls=tuple(kept))))
    assert expression.holds(again) is True


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[str, Any]:
    """A type of the grammar and a value of it."""
    kind = draw(st.sampled_from(KINDS))
    if kind.startswith("uint"):
        value: Any = draw(st.integers(0, 2 ** int(kind[4:]) - 1))
    elif kind.startswith("int"):
        value = draw(st.integers(-(2 ** (int(kind[3:]) - 1)), 2 ** (int(kind[3:]) - 1) - 1))
    elif kind == "bool":
        value = draw(st.booleans())
    elif kind == "string":
        value = draw(st.text(max_size=40))
    else:
        size = 20 if kind == "address" else int(kind[5:])
        value = draw(st.binary(min_size=size, max_size=size))
    array = draw(st.sampled_from(["", "[]", "[3]"]))
    if array:
        value = [value] * (3 if array == "[3]" else draw(st.integers(0, 4)))
    return kind + array, value


@given(st.lists(typed_values(), min_size=1, max_size=5), st.integers(0, 4))
def test_what_eth_abi_writes_is_read_back_by_our_decoder(typed: list[tuple[str, Any]], place: int) -> None:
    place %= len(typed)
    types = [kind for kind, _ in typed]
    for kind in types:
        parse_type(kind).validate()
    written = ", ".join(f"{kind} a{index}" for index, kind in enumerate(types))
    function = parse_function(f"f({written})")
    encoded = data(f"f({','.join(types)})", types, [value for _, value in typed])
    call = facts_of_call(Call(ROUTER, 0, encoded))
    found = function.value(call, function.parameters[f"a{place}"], Budget())
    wanted = typed[place][1]
    assert found == (tuple(wanted) if isinstance(wanted, list) else wanted)


@given(st.text() | st.from_regex(r"[a-z]+\([a-z0-9 ,()\[\]]{0,40}\)", fullmatch=True))
def test_no_text_crashes_the_reading_of_a_function(text: str) -> None:
    try:
        function = parse_function(text)
    except Misread:
        return
    call = CallFacts(target=ROUTER, selector=function.selector, value=0, arguments=bytes(96))
    for parameter in function.parameters.values():
        function.value(call._replace(), parameter)
