"""Functions and events as people copy them from a contract are read, or it is said what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import eth_abi
import pytest
from eth_abi.decoding import (
    BaseArrayDecoder,
    ByteStringDecoder,
    ContextFramesBytesIO,
    TupleDecoder,
    decode_uint_256,
)
from eth_abi.exceptions import InsufficientDataBytes
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.primitives import Address
from proxy.userop.prototype import PrototypeFault, parse_prototype

LEAVES: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("address"), st.binary(min_size=20, max_size=20).map(Address)),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.just("bytes"), st.binary(max_size=70)),
    st.tuples(st.just("string"), st.text(st.characters(codec="ascii"), max_size=40)),
    st.integers(1, 32).flatmap(lambda n: st.tuples(st.just(f"uint{8 * n}"), st.integers(0, 2 ** (8 * n) - 1))),
    st.integers(1, 32).flatmap(
        lambda n: st.tuples(st.just(f"int{8 * n}"), st.integers(-(2 ** (8 * n - 1)), 2 ** (8 * n - 1) - 1))
    ),
    st.integers(1, 32).flatmap(lambda n: st.tuples(st.just(f"bytes{n}"), st.binary(min_size=n, max_size=n))),
)


def _grown(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda each: (f"({','.join(name for name, _ in each)})", tuple(value for _, value in each))
    )
    lists = st.tuples(inner, st.integers(0, 3)).map(lambda each: (f"{each[0][0]}[]", (each[0][1],) * each[1]))
    fixed = st.tuples(inner, st.integers(1, 3)).map(lambda each: (f"{each[0][0]}[{each[1]}]", (each[0][1],) * each[1]))
    return st.one_of(tuples, lists, fixed)


VALUES = st.recursive(LEAVES, _grown, max_leaves=6)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_whatever_eth_abi_encodes_is_read_back_by_the_written_types(arguments: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in arguments]
    prototype = parse_prototype(f"f({', '.join(f'{name} a{at}' for at, name in enumerate(names))})")
    assert prototype.signature == f"f({','.join(names)})"
    values = tuple(value for _, value in arguments)
    data = eth_abi.encode(names, values)
    assert abi.decode(abi.tuple_of(*(each.type for each in prototype.parameters)), data, "test") == values


def _spoilt(data: bytes) -> st.SearchStrategy[bytes]:
    """Some of it with words changed, exchanged or added, or cut off."""

    def spoil(kind: str, word: int, other: int, with_: bytes) -> bytes:
        words = [data[at : at + 32] for at in range(0, len(data), 32)]
        at, to = word % len(words), other % len(words)
        match kind:
            case "a small number":  # a length or an offset that may lead somewhere
                words[at] = (32 * to + other % 2).to_bytes(32, "big")
            case "another word":
                words[at] = words[to]
            case "any bytes":
                words[at] = with_
            case "cut off":
                words = [*words[:at], words[at][: other % 32]]
            case "more":
                words.append(with_)
        return b"".join(words)

    kinds = st.sampled_from(["a small number", "another word", "any bytes", "cut off", "more"])
    return st.builds(spoil, kinds, st.integers(0, 50), st.integers(0, 50), st.binary(min_size=32, max_size=32))


@given(st.lists(VALUES, min_size=1, max_size=4), st.data())
def test_whatever_bytes_stand_there_are_read_as_eth_abi_reads_them_or_refused(
    arguments: list[tuple[str, Any]], drawn: st.DataObject
) -> None:
    names = [name for name, _ in arguments]
    prototype = parse_prototype(f"f({','.join(names)})")
    data = drawn.draw(_spoilt(eth_abi.encode(names, [value for _, value in arguments])))
    try:
        read = abi.decode(abi.tuple_of(*(each.type for each in prototype.parameters)), data, "test")
    except Undecodable:
        return
    with _as_contracts_read():
        assert read == _as_bytes(eth_abi.decode(names, data))


@contextmanager
def _as_contracts_read() -> Iterator[None]:
    """A contract follows a pointer that leads back into the head, and looks at nothing behind the end of bytes, and so
    does ours; eth-abi follows no such pointer, and wants zeros there."""
    with (
        patch.object(TupleDecoder, "validate_pointers"),
        patch.object(BaseArrayDecoder, "validate_pointers"),
        patch.object(ByteStringDecoder, "read_data_from_stream", _without_padding),
    ):
        yield


def _without_padding(_decoder: ByteStringDecoder, stream: ContextFramesBytesIO) -> bytes:
    length = decode_uint_256(stream)
    data = stream.read(length)
    if len(data) < length:
        raise InsufficientDataBytes(length)
    return data


def _as_bytes(value: Any) -> Any:
    """eth-abi gives addresses as text."""
    if isinstance(value, tuple):
        return tuple(map(_as_bytes, value))
    is_address = isinstance(value, str) and len(value) == 42 and value.startswith("0x")
    return Address(bytes.fromhex(value[2:])) if is_address else value


def test_a_line_of_solidity_is_read_with_its_names() -> None:
    prototype = parse_prototype(
        "event Granted(address indexed account, (address target, bytes4 selector)[] calldata calls, uint amount);"
    )
    assert prototype.signature == "Granted(address,(address,bytes4)[],uint256)"
    account, calls, amount = prototype.parameters
    assert (account.name, account.indexed, calls.dimensions, amount.name) == ("account", True, 1, "amount")
    assert [member.name for member in calls.members] == ["target", "selector"]


def test_selector_and_topic_are_those_of_the_canonical_form() -> None:
    assert parse_prototype("function transfer(address to, uint amount)").selector.hex() == "a9059cbb"
    transfer = parse_prototype("event Transfer(address indexed from, address indexed to, uint256 value)")
    assert transfer.topic.hex() == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


@pytest.mark.parametrize(
    "behind",
    [
        *(
            "",
            ";",
            " external",
            " external;",
            " external payable onlyOwner {",
            " public virtual override returns (uint256)",
        ),
        *(
            " external returns (bytes32 id, (bool a, uint b) c);",
            " returns(bool)",
            "\n    external\n    nonReentrant\n{",
        ),
    ],
)
def test_what_a_contracts_source_has_behind_the_parameters_says_nothing_of_them(behind: str) -> None:
    whole = parse_prototype(f"function grant(address sessionKey, bytes4[] memory selectors){behind}")
    assert whole.signature == "grant(address,bytes4[])"
    assert [each.name for each in whole.parameters] == ["sessionKey", "selectors"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no function and no event"),
        ("f(address a", "parentheses"),
        ("f(address a) = 5", "no function and no event"),
        ("f(address a) external anonymous", "anonymous"),
        ("f((address a)", "parentheses"),
        ("f(address a))(", "no function and no event"),
        ("f(Session s)", "no type of the ABI"),
        ("f(uint7 a)", "no type of the ABI"),
        ("f(bytes33 a)", "no type of the ABI"),
        ("f(fixed128x18 a)", "no type of the ABI"),
        ("f(address a b)", "no parameter"),
        ("f(address a,)", "no parameter"),
        ("f(())", "without members"),
        ("f(address indexed a)", "only parameters of an event"),
        ("event E(uint indexed a, uint indexed b, uint indexed c, uint indexed d)", "at most 3"),
        ("event E(address account) anonymous", "anonymous"),
        ("f(address[0] a)", "array of 0"),
        ("f(address[999999999999] a)", "array of"),
        ("f(uint[4000][4000] a)", "array of"),
        (f"f({'(' * 20}address a{')' * 20})", "deep"),
        (f"f({', '.join(['uint a'] * 65)})", "more than 64"),
        ("f(" + " " * 2_000 + ")", "characters"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, problem: str) -> None:
    with pytest.raises(PrototypeFault) as caught:
        parse_prototype(text)
    assert problem in caught.value.problem


TEXTS = st.text(st.characters(codec="ascii"), max_size=80)


@given(TEXTS | st.from_regex(r"f\([a-z0-9 ,()\[\]]{0,60}\)", fullmatch=True))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with suppress(PrototypeFault):
        parse_prototype(text)
