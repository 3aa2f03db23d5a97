"""Requests are read with one meaning or not at all; replies change nothing but their id."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.errors import Code, InvalidParams, InvalidRequest, ParseError
from proxy.jsonrpc import (
    Batch,
    BodyLimits,
    Malformed,
    NumberLiteral,
    ReplyError,
    Request,
    Single,
    parse_body,
    print_error,
    print_json,
    print_request,
    print_result,
    read_plainly,
    read_reply,
    with_id,
)
from proxy.userop.primitives import parse_bytes, parse_uint

LIMITS = BodyLimits(max_bytes=4096, max_batch=3, max_depth=8)
GOOD = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'


def request_of(body: bytes) -> Request:
    parsed = parse_body(body, LIMITS)
    assert isinstance(parsed, Single)
    assert isinstance(parsed.item, Request), parsed.item
    return parsed.item


def fault_of(body: bytes) -> Malformed:
    parsed = parse_body(body, LIMITS)
    assert isinstance(parsed, Single)
    assert isinstance(parsed.item, Malformed), parsed.item
    return parsed.item


def with_params(params: str, request_id: str = "7") -> bytes:
    return f'{{"jsonrpc":"2.0","id":{request_id},"method":"m","params":{params}}}'.encode()


def test_reads_a_request() -> None:
    assert request_of(GOOD) == Request("1", "eth_chainId", [])


def test_absent_params_are_an_empty_array() -> None:
    assert request_of(b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}').params == []


def test_absent_id_marks_a_notification_and_null_does_not() -> None:
    assert request_of(b'{"jsonrpc":"2.0","method":"m"}').id is None
    assert request_of(b'{"jsonrpc":"2.0","id":null,"method":"m"}').id == "null"


@pytest.mark.parametrize(
    "literal",
    ["0", "-0", "1", "1e2", "1E+2", "1.0", "-1.50", "18446744073709551616", "9" * 400, '"abc"', '""', '"7"', '"ü😀"'],
)
def test_answers_under_the_id_exactly_as_sent(literal: str) -> None:
    assert request_of(with_params("[]", literal)).id == literal


def test_numbers_in_params_keep_their_text_and_pass_for_nothing_else() -> None:
    (number,) = request_of(with_params("[1e2]")).params
    assert number == NumberLiteral("1e2")
    with pytest.raises(InvalidParams, match="got a number"):
        parse_uint(number, "params[0]")
    with pytest.raises(InvalidParams, match="got a number"):
        parse_bytes(NumberLiteral("0x12"), "params[0]")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
        (GOOD.decode().encode("utf-16"), "not UTF-8"),
        (GOOD.decode().encode("utf-32-le"), "not JSON"),
        (GOOD[:-2] + b"\xff]}", "not UTF-8 at byte"),
        (with_params('["\\ud800"]').replace(b"\\ud800", b"\xed\xa0\x80"), "not UTF-8"),
        (GOOD + b"x", "Extra data"),
        (GOOD + GOOD, "Extra data"),
        (GOOD + b"\0", "Extra data"),
        (b"\xc2\xa0" + GOOD, "not JSON"),
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (GOOD[:-1], "brackets do not match|not JSON"),
        (b"{'jsonrpc':'2.0'}", "not JSON"),
        (with_params("[01]"), "not JSON"),
        (with_params("[+1]"), "not JSON"),
        (with_params("[.5]"), "not JSON"),
        (with_params("[0x10]"), "not JSON"),
        (with_params("[1,]"), "not JSON"),
        (with_params('["\t"]'), "not JSON"),
        (with_params('["\\x41"]'), "not JSON"),
        (with_params("[/**/]"), "not JSON"),
        (with_params("[nan]"), "not JSON"),
    ],
)
def test_refuses_what_is_not_json_as_we_read_it(body: bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_body(body, LIMITS)


def test_whitespace_around_the_request_means_nothing() -> None:
    assert request_of(b" \t\r\n" + GOOD + b"\n") == request_of(GOOD)


@pytest.mark.parametrize(
    ("params", "field", "problem"),
    [
        ('[{"callData":"0x","callData":"0x00"}]', "params[0].callData", "given twice"),
        ('[{"callData":"0x","call\\u0044ata":"0x00"}]', "params[0].callData", "given twice"),
        ('[{"a":{"b":1,"c":{"d":1,"d":1}}}]', "params[0].a.c.d", "given twice"),
        ('[{"nonce":NaN}]', "params[0].nonce", "NaN is not a JSON number"),
        ("[0,Infinity]", "params[1]", "Infinity is not a JSON number"),
        ("[-Infinity]", "params[0]", "-Infinity is not a JSON number"),
        ('[{"sender":"\\ud83d"}]', "params[0].sender", "lone surrogate"),
        ('["\\udc00\\ud83d"]', "params[0]", "lone surrogate"),
        ('[{"\\udc00":1}]', "params[0].\\udc00", "lone surrogate"),
    ],
)
def test_a_value_with_two_meanings_is_an_invalid_param_that_names_its_field(
    params: str, field: str, problem: str
) -> None:
    fault = fault_of(with_params(params))
    assert isinstance(fault.error, InvalidParams)
    assert fault.error.code == Code.INVALID_PARAMS
    assert fault.error.field == field
    assert problem in fault.error.problem
    assert fault.id == "7"


def test_a_surrogate_pair_and_an_escaped_backslash_are_no_lone_surrogate() -> None:
    assert request_of(with_params('["\\ud83d\\ude00","\\\\ud800"]')).params == ["😀", "\\ud800"]


@pytest.mark.parametrize(
    ("body", "request_id", "problem"),
    [
        (b"1", "null", "got a number"),
        (b'"x"', "null", "got a string"),
        (b"null", "null", "got null"),
        (b"NaN", "null", "NaN is not a JSON number"),
        (b"{}", "null", "jsonrpc"),
        (b'{"id":1,"method":"m"}', "1", 'jsonrpc: wanted "2.0"'),
        (b'{"jsonrpc":2.0,"id":1,"method":"m"}', "1", 'jsonrpc: wanted "2.0"'),
        (b'{"jsonrpc":"1.0","id":1,"method":"m"}', "1", 'jsonrpc: wanted "2.0"'),
        (b'{"jsonrpc":"2.0","id":1}', "1", "method: wanted a string"),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', "1", "method: wanted a string"),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', "null", "id: wanted a string, a number or null, got a boolean"),
        (b'{"jsonrpc":"2.0","id":[1],"method":"m"}', "null", "id: wanted"),
        (b'{"jsonrpc":"2.0","id":{},"method":"m"}', "null", "id: wanted"),
        (b'{"jsonrpc":"2.0","id":"\\ud800","method":"m"}', "null", "id: contains a lone surrogate"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","extra":1}', "1", "extra: unknown member"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","Params":[]}', "1", "Params: unknown member"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}', "1", "method: given twice"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}', "null", "id: given twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[],"params":[1]}', "1", "params: given twice"),
    ],
)
def test_refuses_an_envelope_that_is_not_exactly_json_rpc(body: bytes, request_id: str, problem: str) -> None:
    fault = fault_of(body)
    assert isinstance(fault.error, InvalidRequest)
    assert problem in fault.error.message
    assert fault.id == request_id


@pytest.mark.parametrize(("params", "kind"), [('{"op":{}}', "an object"), ("null", "null"), ('"x"', "a string")])
def test_params_must_be_an_array(params: str, kind: str) -> None:
    fault = fault_of(with_params(params))
    assert isinstance(fault.error, InvalidParams)
    assert f"wanted an array, got {kind}" in fault.error.message
    assert ("named parameters" in fault.error.message) is (kind == "an object")


def test_a_batch_keeps_its_order_and_a_bad_element_harms_no_other() -> None:
    parsed = parse_body(
        b'[{"jsonrpc":"2.0","id":"a","method":"m"},{"jsonrpc":"2.0","id":2,"method":"m","params":[NaN]},[]]', LIMITS
    )
    assert isinstance(parsed, Batch)
    first, second, third = parsed.items
    assert first == Request('"a"', "m", [])
    assert isinstance(second, Malformed)
    assert (second.id, second.error.code) == ("2", Code.INVALID_PARAMS)
    assert isinstance(third, Malformed)
    assert (third.id, third.error.code) == ("null", Code.INVALID_REQUEST)


def test_an_empty_batch_is_one_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="empty batch"):
        parse_body(b"[]", LIMITS)


def test_reads_the_largest_batch_allowed_and_not_one_more() -> None:
    parsed = parse_body(b"[" + b",".join([GOOD] * 3) + b"]", LIMITS)
    assert isinstance(parsed, Batch)
    assert len(parsed.items) == 3
    with pytest.raises(InvalidRequest, match="batch of 4 requests; at most 3"):
        parse_body(b"[" + b",".join([GOOD] * 4) + b"]", LIMITS)


def test_reads_the_longest_body_allowed_and_not_one_byte_more() -> None:
    padded = GOOD.ljust(LIMITS.max_bytes)
    assert request_of(padded) == request_of(GOOD)
    with pytest.raises(InvalidRequest, match="body of 4097 bytes; at most 4096"):
        parse_body(padded + b" ", LIMITS)


@pytest.mark.parametrize(("opening", "closing", "levels"), [("[", "]", 1), ('{"k":', "}", 1), ('[{"[":', "}]", 2)])
def test_reads_the_deepest_body_allowed_and_not_one_level_more(opening: str, closing: str, levels: int) -> None:
    turns = (LIMITS.max_depth - 2) // levels
    assert request_of(with_params(f"[{opening * turns}0{closing * turns}]")).id == "7"
    with pytest.raises(ParseError, match="nested deeper than 8 levels"):
        parse_body(with_params(f"[{opening * (turns + 1)}0{closing * (turns + 1)}]"), LIMITS)


def test_brackets_in_strings_are_not_depth() -> None:
    text = '[{]}"\\' * 20
    assert request_of(with_params(json.dumps([text]))).params == [text]


def test_many_brackets_side_by_side_are_not_depth() -> None:
    assert len(request_of(with_params(f"[{','.join(['[{}]'] * 100)}]")).params) == 100


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'[{"":', b'"\\', b'"\\"'])
@pytest.mark.parametrize("tail", [b"", b"\\"])
def test_a_hostile_body_is_refused_without_recursion(unit: bytes, tail: bytes) -> None:
    limits = BodyLimits(max_bytes=1 << 20, max_depth=128)
    with pytest.raises(ParseError):
        parse_body((unit * (1 << 20))[: (1 << 20) - 1] + tail, limits)


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_batch": 0}, {"max_depth": 0}, {"max_depth": 129}])
def test_limits_that_could_not_protect_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limits"):
        BodyLimits(**wrong)


# --- printing -------------------------------------------------------------------------------------------------


def test_prints_requests_results_and_errors() -> None:
    assert print_request(7, "m", b'["0x"]') == b'{"jsonrpc":"2.0","id":7,"method":"m","params":["0x"]}'
    assert print_result('"a"', {"n": NumberLiteral("1e2")}) == b'{"jsonrpc":"2.0","id":"a","result":{"n":1e2}}'
    assert (
        print_error("1", Code.SESSION_SCOPE, "no", {"call": 0})
        == b'{"jsonrpc":"2.0","id":1,"error":{"code":-32054,"message":"no","data":{"call":0}}}'
    )
    assert print_error(None, -32600, "no") == b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}'


@pytest.mark.parametrize("value", [2**64, object(), "\ud800", {1: 2}, {"a": b""}])
def test_refuses_to_print_what_json_cannot_carry(value: object) -> None:
    with pytest.raises(TypeError):
        print_json(value)


NUMBERS = st.one_of(
    st.integers().map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr), st.sampled_from(["-0", "1E400"])
).map(NumberLiteral)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
WIDE = BodyLimits(max_bytes=1 << 20, max_batch=100, max_depth=64)


@given(st.integers(0), TEXT, st.lists(JSON, max_size=4))
def test_parse_and_print_are_inverses(request_id: int, method: str, params: list[Any]) -> None:
    parsed = parse_body(print_request(request_id, method, print_json(params)), WIDE)
    assert parsed == Single(Request(str(request_id), method, params))
    assert isinstance(parsed.item, Request)
    assert print_json(parsed.item.params) == print_json(params)


@given(st.binary(max_size=200) | JSON.map(print_json))
def test_arbitrary_bytes_and_json_never_escape_as_anything_but_an_rpc_error(body: bytes) -> None:
    try:
        parsed = parse_body(body, LIMITS)
    except (ParseError, InvalidRequest):
        return  # anything else fails the test
    for item in parsed.items if isinstance(parsed, Batch) else (parsed.item,):
        assert orjson.loads(print_error(item.id, -1, ""))["id"] == orjson.loads(item.id or "null")


@given(JSON)
def test_what_is_read_is_what_every_strict_reader_reads(value: Any) -> None:
    body = print_json({"jsonrpc": "2.0", "id": NumberLiteral("1"), "method": "m", "params": [value]})
    theirs = json.loads(body, parse_int=NumberLiteral, parse_float=NumberLiteral)
    assert parse_body(body, WIDE) == Single(Request("1", "m", theirs["params"]))


# --- replies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "relayed"),
    [
        (b'{"jsonrpc":"2.0","id":5,"result":"0x1"}', b'{"jsonrpc":"2.0","id":"me","result":"0x1"}'),
        (b'{"jsonrpc":"2.0","result":"0x1","id":5}\n', b'{"jsonrpc":"2.0","result":"0x1","id":"me"}\n'),
        (b'{ "id" : 5 , "jsonrpc":"2.0","result":null}', b'{ "id" : "me" , "jsonrpc":"2.0","result":null}'),
        (b'{"result":{"id":5},"id":5,"jsonrpc":"2.0"}', b'{"result":{"id":5},"id":"me","jsonrpc":"2.0"}'),
        (
            b'{"jsonrpc":"2.0","result":"\\",\\"id\\":5}","id":5}',
            b'{"jsonrpc":"2.0","result":"\\",\\"id\\":5}","id":"me"}',
        ),
        (b'{"jsonrpc":"2.0","\\u0069d":5,"result":1}', b'{"jsonrpc":"2.0","\\u0069d":"me","result":1}'),
        (b'{"jsonrpc":"2.0","id":5,"result":1,"error":null}', b'{"jsonrpc":"2.0","id":"me","result":1,"error":null}'),
        (
            b'{"jsonrpc":"2.0","id":null,"error":{"message":"x"}}',
            b'{"jsonrpc":"2.0","id":"me","error":{"message":"x"}}',
        ),
        (b'{"jsonrpc":"2.0","id":"null","error":{}}', b'{"jsonrpc":"2.0","id":"me","error":{}}'),
    ],
)
def test_a_reply_comes_back_byte_for_byte_but_for_its_id(reply: bytes, relayed: bytes) -> None:
    assert with_id(reply, 5, '"me"') == relayed


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"<html>502</html>",
        b"null",
        b'[{"jsonrpc":"2.0","id":5,"result":1}]',
        b'{"jsonrpc":"2.0","result":1}',
        b'{"jsonrpc":"1.0","id":5,"result":1}',
        b'{"id":5,"result":1}',
        b'{"jsonrpc":"2.0","id":5}',
        b'{"jsonrpc":"2.0","id":5,"result":1,"error":{}}',
        b'{"jsonrpc":"2.0","id":6,"result":1}',
        b'{"jsonrpc":"2.0","id":"5","result":1}',
        b'{"jsonrpc":"2.0","id":5.0,"result":1}',
        b'{"jsonrpc":"2.0","id":null,"result":1}',
        b'{"jsonrpc":"2.0","id":6,"error":{}}',
        b'{"jsonrpc":"2.0","id":6,"id":5,"result":1}',
        b'{"jsonrpc":"2.0","id":6,"result":1,"\\u0069d":5}',
        b'{"jsonrpc":"2.0","id":5,"result":1}{"jsonrpc":"2.0","id":5,"result":1}',
        b'{"jsonrpc":"2.0","id":5,"result":"\xff"}',
    ],
)
def test_refuses_bytes_that_are_no_reply_to_our_request(reply: bytes) -> None:
    with pytest.raises(ReplyError):
        with_id(reply, 5, "1")


def test_true_is_not_the_id_one() -> None:
    with pytest.raises(ReplyError):
        read_reply(b'{"jsonrpc":"2.0","id":true,"result":1}', 1)


def test_reads_the_code_and_message_of_an_error_where_they_are_given() -> None:
    reply = read_reply(b'{"jsonrpc":"2.0","id":5,"error":{"code":-32500,"message":"AA23"}}', 5)
    assert (reply.is_error, reply.error_code, reply.error_message) == (True, -32500, "AA23")
    bare = read_reply(b'{"jsonrpc":"2.0","id":5,"error":"broken"}', 5)
    assert (bare.is_error, bare.error_code, bare.error_message) == (True, None, None)
    fine = read_reply(b'{"jsonrpc":"2.0","id":5,"result":"0x1"}', 5)
    assert (fine.is_error, fine.result, fine.error_code) == (False, "0x1", None)


@given(
    st.permutations(["jsonrpc", "id", "body", "extra"]),
    JSON.map(lambda value: json.loads(print_json(value), parse_float=str)),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", " : "), (",\n", ":\t")]),
    st.booleans(),
)
def test_with_id_changes_only_the_id(
    order: list[str], value: Any, is_error: bool, separators: tuple[str, str], ascii_only: bool
) -> None:
    assume(not (is_error and value is None))
    members = {"jsonrpc": "2.0", "id": 41, "error" if is_error else "result": value, "extra": {"id": 41}}
    named = {"body": "error" if is_error else "result"}
    reply = {named.get(name, name): members[named.get(name, name)] for name in order}
    body = json.dumps(reply, separators=separators, ensure_ascii=ascii_only)
    relayed = with_id(body.encode(), 41, '"theirs"').decode()
    expected = json.dumps({**reply, "id": "theirs"}, separators=separators, ensure_ascii=ascii_only)
    assert relayed == expected
    assert with_id(relayed.replace('"theirs"', "41").encode(), 41, "41") == body.encode()


@given(st.binary(max_size=120))
def test_arbitrary_upstream_bytes_are_a_reply_or_a_reply_error(body: bytes) -> None:
    with pytest.raises(ReplyError):
        read_reply(body, 1)


# --- what is seen at once

WORDS = st.sampled_from(
    ["1", "0", "-0", "1.0", "1e0", "01", "true", "null", '"x"', '"a:b"', '"\\ud800"', "2" * 20, "{}", "[]"]
)
TEXT = st.sampled_from(['"0x00"', '"a:b"', '"\\u0041"', '"é"', '"\\ud800"', '""', "1", "null", "[1]"])
OBJECT = st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"\\u0061"', '"id"', '"a:b"']), TEXT), max_size=3).map(
    lambda members: "{" + ",".join(f"{key}:{value}" for key, value in members) + "}"
)
MEMBERS = st.one_of(
    st.tuples(st.sampled_from(['"id"', '"method"', '"jsonrpc"', '"\\u0069d"', '"extra"']), WORDS),
    st.tuples(
        st.just('"params"'), st.lists(st.one_of(TEXT, OBJECT), max_size=3).map(lambda some: f"[{','.join(some)}]")
    ),
    st.sampled_from([('"jsonrpc"', '"2.0"'), ('"method"', '"m"'), ('"id"', "7")]),
)


@given(
    st.lists(MEMBERS, min_size=2, max_size=6), st.sampled_from(["", " ", "\n"]), st.sampled_from(["", "]", "}", "\0"])
)
def test_what_is_seen_at_once_is_what_is_read_at_length(members: list[tuple[str, str]], space: str, end: str) -> None:
    whole = {'"jsonrpc"': '"2.0"', '"id"': "7", '"method"': '"m"', '"params"': "[]"}
    pairs = [*(whole | dict(members)).items(), *members[4:]]
    body = (space + "{" + f",{space}".join(f"{key}:{space}{value}" for key, value in pairs) + "}" + end).encode()
    seen = read_plainly(body, LIMITS)
    if seen is not None:
        assert parse_body(body, LIMITS) == Single(seen)


@given(st.binary(max_size=60), st.integers(0, 120), st.integers(0, 120))
def test_no_byte_that_is_changed_makes_what_is_seen_at_once_another_thing(cut: bytes, start: int, end: int) -> None:
    good = with_params('[{"sender":"0x01","nonce":"0x1"},"0xee"]')
    body = good[:start] + cut + good[max(start, end) :]
    seen = read_plainly(body, LIMITS)
    if seen is not None:
        assert parse_body(body, LIMITS) == Single(seen)


def test_what_sdks_send_is_seen_at_once_within_the_bounds_of_the_settings() -> None:
    body = with_params('[{"sender":"0x01","nonce":"0x1"},"0xee"]')
    assert read_plainly(body, LIMITS) == Request("7", "m", [{"sender": "0x01", "nonce": "0x1"}, "0xee"])
    assert read_plainly(GOOD, LIMITS) == Request("1", "eth_chainId", [])
    for bounds in ({"max_bytes": len(body) - 1}, {"max_depth": 2}, {"max_elements": 5}):
        assert read_plainly(body, replace(LIMITS, **bounds)) is None


RESULTS = st.sampled_from(
    ["null", '"0x12ab"', '"a b"', '"\\u0061"', '"é"', '""', "1", '"a","id":2,"x":"b"', '"x', "nullx"]
)


@given(RESULTS | st.text(max_size=8).map(json.dumps), st.sampled_from([1, 12, -1]), st.sampled_from(["", "}", " "]))
def test_a_short_reply_is_read_as_any_other(result: str, our_id: int, end: str) -> None:
    def read(more: str) -> object:
        body = f'{{"jsonrpc":"2.0","id":1,"result":{result}}}{end}'.encode()
        try:
            reply = read_reply(body + more.encode(), our_id)  # with a space behind it, it is none of the short ones
        except ReplyError as error:
            return str(error)
        return replace(reply, body=body)

    assert read("") == read(" ")
