"""JSON is read with one meaning, and a value without one is pointed at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ParseError
from proxy.strict_json import Flawed, NumberLiteral, print_json, read_json, shown


def test_numbers_pass_for_nothing_but_themselves() -> None:
    assert read_json(b"10", max_depth=1) == NumberLiteral("10")
    assert read_json(b"10", max_depth=1) not in (10, "10", NumberLiteral("1e1"))


def test_a_flaw_is_pointed_at_and_leaves_the_other_members_readable() -> None:
    value = read_json(b'{"id":"x","params":[{"nonce":"0x1","nonce":"0x2"}]}', max_depth=3)
    assert isinstance(value, Flawed)
    assert (value.path, value.problem) == ("params[0].nonce", "given twice in one object")
    assert value.members["id"] == "x"


def test_of_a_member_given_twice_neither_is_readable() -> None:
    value = read_json(b'{"id":1,"method":"m","id":2}', max_depth=1)
    assert isinstance(value, Flawed)
    assert value.members == {"method": "m"}


def test_in_an_outermost_array_a_flaw_is_its_elements_alone() -> None:
    value = read_json(b'[{"a":1},{"a":NaN}]', max_depth=2)
    assert isinstance(value, list)
    assert value[0] == {"a": NumberLiteral("1")}
    assert isinstance(value[1], Flawed)
    assert (value[1].path, value[1].problem) == ("a", "NaN is not a JSON number")


def test_reads_exactly_as_deep_as_allowed() -> None:
    assert read_json(b"[[[]]]", max_depth=3) == [[[]]]
    with pytest.raises(ParseError, match="deeper than 2"):
        read_json(b"[[[]]]", max_depth=2)


@given(st.binary(max_size=64) | st.text('[]{}",:\\01e', max_size=64).map(str.encode))
def test_whatever_is_read_is_no_deeper_than_allowed(body: bytes) -> None:
    try:
        value = read_json(body, max_depth=3)
    except ParseError:
        return
    assert _depth(value) <= 3


def _depth(value: object) -> int:
    if isinstance(value, Flawed):
        return 0
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def test_foreign_text_is_quoted_short_and_escaped() -> None:
    assert shown("eth_chainId") == "eth_chainId"
    assert shown("x" * 40) == "x" * 40
    assert shown("x" * 41) == "x" * 40 + "\\u2026"
    assert shown("\n\x1b[31m\u202e") == "\\n\\x1b[31m\\u202e"


def test_a_number_is_printed_as_it_was_sent() -> None:
    assert print_json(read_json(b'{"n":[1E+2,-0,1.10]}', max_depth=2)) == b'{"n":[1E+2,-0,1.10]}'
