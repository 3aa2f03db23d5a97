"""JSON is read with one meaning, and a value without one is pointed at."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import ParseError
from proxy.strict_json import Flawed, NumberLiteral, _mark_doubled, print_json, read_json, read_strictly, shown


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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(codec=None), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(':ab\\"', max_size=3), inner, max_size=4),
    max_leaves=16,
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """JSON, or what was JSON before a piece of it was put elsewhere."""
    body = bytearray(json.dumps(draw(json_values), ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        piece = bytes(body[start : draw(st.integers(start, len(body)))])
        at = draw(st.integers(0, len(body)))
        body[at:at] = draw(
            st.sampled_from([piece, b"-0", b"0", b'"a":1,', b"1e5", b":", b" ", b"18446744073709551616"])
        )
    return bytes(body)


@settings(max_examples=600)
@given(texts() | st.binary(max_size=40) | st.text('[]{}",:\\01e-.u d8', max_size=40).map(str.encode))
@example(b"-0")
@example(b"[0,-0]")
@example(b'{"a":1,"a":[[[[[[]]]]]]}')
@example(b'{"a":{"b":1,"b":2},"c":":"}')
@example(b'["\\ud800"]')
@example(b"[1e400]")
@example(b'{"a":"\\ud83d\\ude00"}')
def test_the_quick_reader_takes_and_refuses_just_what_the_strict_one_does(body: bytes) -> None:
    assert _outcome(read_json, body) == _outcome(read_strictly, body)


def _outcome(read: Callable[..., object], body: bytes) -> object:
    try:
        return read(body, max_depth=4)
    except ParseError as error:
        return "too deep" if "deeper" in error.message else "refused"


@given(st.lists(st.text(max_size=3), max_size=40).map(lambda keys: [(key, None) for key in keys]))
def test_members_given_twice_are_told_apart_from_those_given_once(pairs: list[tuple[str, None]]) -> None:
    keys = [key for key, _ in pairs]
    marked = _mark_doubled(pairs)
    once = {key for key in keys if keys.count(key) == 1}
    assert (marked if isinstance(marked, dict) else marked.members).keys() == once
    if not isinstance(marked, dict):
        assert keys.count(marked.key) > 1


class _Counted(str):
    """A key that counts how often it is compared."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return str.__eq__(self, other)


def test_finding_the_members_given_twice_takes_a_few_comparisons_each() -> None:
    pairs = [(_Counted(each), None) for each in range(500) for _ in range(2)]
    _Counted.compared = 0
    _mark_doubled(pairs)
    assert _Counted.compared <= 10 * len(pairs)


def test_one_body_holds_no_more_elements_than_allowed() -> None:
    assert len(read_json(b"[" + b",".join([b"[]"] * 50) + b"]", max_depth=2, max_elements=100)) == 50  # type: ignore[arg-type]  # a list
    for many in (b"[" + b",".join([b"[]"] * 51) + b"]", b"[" * 101, b'["' + b"\\n" * 100 + b'"]'):
        with pytest.raises(ParseError, match="more than 100 elements"):
            read_json(many, max_depth=2, max_elements=100)


def test_text_that_can_be_no_json_is_refused_before_its_strings_are_looked_at() -> None:
    with pytest.raises(ParseError, match="more strings"):
        read_json(b'""' * 1000, max_depth=2)
