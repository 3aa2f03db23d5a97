"""JSON-RPC 2.0 over bytes: requests read strictly, replies relayed byte for byte. No I/O.

The envelope is exactly `jsonrpc`, `id`, `method`, `params`; anything more could mean something to a bundler that it
does not mean here. What JSON itself leaves open is settled in `strict_json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from operator import itemgetter
from typing import Final, NamedTuple

import orjson

from proxy.errors import InvalidParams, InvalidRequest, RpcError, SessiongateError
from proxy.record import record
from proxy.strict_json import DEEPEST, MOST_ELEMENTS, Flawed, NumberLiteral, print_json, read_json, shown
from proxy.userop.primitives import json_type

__all__ = [
    "NULL_ID",
    "Batch",
    "BodyLimits",
    "Malformed",
    "NumberLiteral",
    "Reply",
    "ReplyError",
    "Request",
    "Single",
    "parse_body",
    "print_error",
    "print_json",
    "print_request",
    "print_result",
    "read_plainly",
    "read_reply",
    "with_id",
]

_made: Final = tuple.__new__  # makes a named tuple of all its values without asking for their names
NULL_ID: Final = "null"
"""The id literal of a reply to a request whose id could not be read."""
_FLAT: Final = 3
"""Levels of a request whose params are texts, and objects of texts."""


@record(kw_only=True)
class BodyLimits:
    """How much one body may ask for: bytes, requests in a batch, levels of nesting (at most 128), elements in all."""

    max_bytes: int = 512 * 1024
    max_batch: int = 50
    max_depth: int = 32
    max_elements: int = MOST_ELEMENTS
    most_plain: int = field(init=False, repr=False, compare=False)
    """Bytes of a body that `read_plainly` looks at, in which there can be no more elements than may be."""

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_batch, self.max_depth, self.max_elements) < 1 or self.max_depth > DEEPEST:
            raise ValueError(f"limits start at 1, and max_depth ends at {DEEPEST}: {self}")
        most = min(self.max_bytes, self.max_elements) if self.max_depth >= _FLAT else 0
        object.__setattr__(self, "most_plain", most)


class Request(NamedTuple):
    """One well-formed request. `id` is the JSON text to answer under; `None` marks a notification."""

    id: str | None
    method: str
    params: list[object]


@record()
class Malformed:
    """A body, or an element of a batch, that is no request; `id` is its JSON text as far as it could be read."""

    id: str
    error: RpcError


@record()
class Single:
    """A body that is one request."""

    item: Request | Malformed


@record()
class Batch:
    """A body that is an array of at least one element, each of which goes its own way."""

    items: tuple[Request | Malformed, ...]


class ReplyError(SessiongateError):
    """The upstream's bytes are not a JSON-RPC 2.0 reply to the request we sent. Quotes none of them."""


def parse_body(body: bytes, limits: BodyLimits) -> Single | Batch:
    """Read the body of one HTTP request, or one WebSocket message.

    Raises `ParseError` or `InvalidRequest` when the body as a whole cannot be read: answer it under `NULL_ID`.
    A fault inside one request (a key given twice in its params, say) becomes that request's own `Malformed`.
    """
    if len(body) > limits.max_bytes:
        raise InvalidRequest(f"body of {len(body)} bytes; at most {limits.max_bytes} are read")
    value = read_json(body, max_depth=limits.max_depth, max_elements=limits.max_elements)
    if not isinstance(value, list):
        return Single(_read_item(value))
    if not value:
        raise InvalidRequest("empty batch")
    if len(value) > limits.max_batch:
        raise InvalidRequest(f"batch of {len(value)} requests; at most {limits.max_batch} are taken at once")
    return Batch(tuple([_read_item(item) for item in value]))


_MEMBERS: Final = itemgetter("jsonrpc", "id", "method", "params")
_OWN_MEMBERS: Final = 4
_TEXTS: Final = {str}


def read_plainly(body: bytes, limits: BodyLimits) -> Request | None:
    """The request that `body` is, where that is seen at once, as of nearly every one: its params are texts, and objects
    of texts. What it is not asked for here is `parse_body`'s to read, and to refuse."""
    if len(body) > limits.most_plain:
        return None
    try:
        read = orjson.loads(body)
        version, number, method, params = _MEMBERS(read)
    except (ValueError, KeyError, TypeError):
        return None
    # zero may have come as -0
    if type(number) is not int or not number or version != "2.0" or type(method) is not str or type(params) is not list:
        return None
    members = _OWN_MEMBERS
    for param in params:
        if type(param) is dict:
            if set(map(type, param.values())) != _TEXTS:
                return None
            members += len(param)
        elif type(param) is not str:
            return None
    # a member more, or one given twice, is gone when it is printed again, as most clients print it; and leaves more
    # colons, which take longer to count, however it is printed: those inside texts are doubt too
    if (len(read) == _OWN_MEMBERS and orjson.dumps(read) == body) or body.count(b":") == members:
        return _made(Request, (str(number), method, params))
    return None


def _read_item(value: object) -> Request | Malformed:
    if type(value) is dict and value.keys() == _ENVELOPE and value["jsonrpc"] == "2.0":
        number, method, params = value["id"], value["method"], value["params"]
        if type(number) is NumberLiteral and type(method) is str and type(params) is list:  # nearly always
            return Request(number.text, method, params)
    try:
        return _read_request(value)
    except RpcError as error:
        members = value.members if isinstance(value, Flawed) else value
        literal = _id_literal(members.get("id")) if isinstance(members, Mapping) else None
        return Malformed(literal or NULL_ID, error.with_traceback(None))  # its frames hold the batch, and it this


_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params"})


def _read_request(value: object) -> Request:
    if isinstance(value, Flawed):
        raise _error_of(value)
    if not isinstance(value, dict):
        raise InvalidRequest(f"wanted a request object, got {json_type(value)}")
    if unknown := value.keys() - _ENVELOPE:
        raise InvalidRequest(f"{shown(min(unknown))}: unknown member; a request has jsonrpc, id, method and params")
    version, method, params = value.get("jsonrpc"), value.get("method"), value.get("params", [])
    if version != "2.0":
        raise InvalidRequest('jsonrpc: wanted "2.0"')
    if not isinstance(method, str):
        raise InvalidRequest("method: wanted a string")
    literal = None
    if "id" in value and (literal := _id_literal(value["id"])) is None:
        raise InvalidRequest(f"id: wanted a string, a number or null, got {json_type(value['id'])}")
    if not isinstance(params, list):
        named = "; named parameters are read differently by different bundlers" * isinstance(params, dict)
        raise InvalidParams("params", f"wanted an array, got {json_type(params)}{named}")
    return Request(literal, method, params)


def _error_of(flawed: Flawed) -> RpcError:
    if flawed.path.startswith(("params.", "params[")):
        return InvalidParams(flawed.path, flawed.problem)
    return InvalidRequest(f"{flawed.path}: {flawed.problem}" if flawed.path else flawed.problem)


def _id_literal(value: object) -> str | None:
    if value is None:
        return NULL_ID
    if isinstance(value, NumberLiteral):
        return value.text
    if not isinstance(value, str):
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate: no reply could carry it
        return None


def print_request(request_id: int, method: str, params: bytes) -> bytes:
    """A request of ours; `params` is a printed JSON array (`print_json`)."""
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}' % (request_id, orjson.dumps(method), params)


def print_result(request_id: str, result: object) -> bytes:
    """A reply of ours under the caller's id literal."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id.encode(), print_json(result))


def print_error(request_id: str | None, code: int, message: str, data: Mapping[str, object] | None = None) -> bytes:
    """An error of ours under the caller's id literal; `None` (a notification, an unreadable request) prints null."""
    error: dict[str, object] = {"code": int(code), "message": message}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % ((request_id or NULL_ID).encode(), print_json(error))


_REVERT_NAMES: Final = ("revertData", "revert_data", "inner_revert_data", "data", "reason")


@record()
class Reply:
    """An upstream's reply, kept as the bytes it came as. Exactly one of `result` and `error` means something.

    `is_error` tells which; numbers beyond 64 bits are floats here, so relay the bytes and only look at the values.
    """

    body: bytes
    is_error: bool
    result: object
    error: object
    id_start: int
    id_end: int

    @property
    def error_code(self) -> int | None:
        """The error's code; some bundlers leave it out."""
        code = self.error.get("code") if isinstance(self.error, dict) else None
        return code if type(code) is int else None

    @property
    def error_message(self) -> str | None:
        """The error's message."""
        message = self.error.get("message") if isinstance(self.error, dict) else None
        return message if isinstance(message, str) else None

    @property
    def error_data(self) -> str | None:
        """The error's data where they are a text, or what a contract reverted with inside them (rundler, ERC-7769)."""
        data = self.error.get("data") if isinstance(self.error, dict) else None
        if isinstance(data, dict):
            data = next((data[name] for name in _REVERT_NAMES if isinstance(data.get(name), str)), None)
        return data if isinstance(data, str) else None

    def with_id(self, literal: str) -> bytes:
        """The reply under another id: every other byte as the upstream sent it."""
        return self.body[: self.id_start] + literal.encode() + self.body[self.id_end :]


def with_id(body: bytes, our_id: int, literal: str) -> bytes:
    """The upstream's reply to our request `our_id`, under the caller's id literal. Raises `ReplyError`."""
    return read_reply(body, our_id).with_id(literal)


_BEFORE_ID: Final = b'{"jsonrpc":"2.0","id":'
_AT_ID: Final = len(_BEFORE_ID)
_TO_RESULT: Final = len(b',"result":')
_QUOTE: Final = ord('"')


def _read_short_reply(body: bytes, our_id: int) -> Reply | None:
    """A result that is one word of letters and digits, or null, printed as most do; `None` says nothing of others."""
    before = b'{"jsonrpc":"2.0","id":%d,"result":' % our_id
    if not body.startswith(before):
        return None
    at = len(before)
    word = body[at + 1 : -2]
    # of bytes, these are ASCII's: no quote, no escape
    if word.isalnum() and body[at] == _QUOTE and body.endswith(b'"}'):
        return Reply(body, False, word.decode(), None, _AT_ID, at - _TO_RESULT)
    return Reply(body, False, None, None, _AT_ID, at - _TO_RESULT) if body[at:] == b"null}" else None


def read_reply(body: bytes, our_id: int) -> Reply:
    """Read an upstream's reply. Raises `ReplyError` unless it is one JSON-RPC 2.0 reply to request `our_id`.

    An error may also come under null: that is how bundlers answer a request they could not read.
    """
    if (short := _read_short_reply(body, our_id)) is not None:
        return short
    try:
        value = orjson.loads(body)
    except ValueError:
        raise ReplyError("not JSON") from None
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or "id" not in value:
        raise ReplyError("not a JSON-RPC 2.0 reply")
    error = value.get("error")
    if "result" not in value if error is None else value.get("result") is not None:
        raise ReplyError("neither a result nor an error, or both")
    reply_id = value["id"]
    ours = type(reply_id) is int and reply_id == our_id
    if not ours and not (error is not None and reply_id in (None, "null")):
        raise ReplyError("a reply to another request")
    start, end = _id_span(body)
    return Reply(body, error is not None, value.get("result"), error, start, end)


_ID_FIRST: Final = re.compile(rb'\{"jsonrpc":"2\.0","id":([0-9]+|null),')
_ID_LAST: Final = re.compile(rb',"id":([0-9]+|null)\}\s*\Z')
_ID_LAST_WINDOW: Final = 64
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}:,]', re.DOTALL)


def _id_span(body: bytes) -> tuple[int, int]:
    """Where the value of the top-level member `id` stands. `body` is known to be a JSON object."""
    if body.count(b'"id"') == 1 and b"\\u" not in body:
        found = _ID_FIRST.match(body) or _ID_LAST.search(body, max(0, len(body) - _ID_LAST_WINDOW))
        if found:
            return found.span(1)
    spans = _walk_to_ids(body)
    if len(spans) != 1:
        raise ReplyError("more than one id")
    return spans[0]


def _walk_to_ids(body: bytes) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    depth, start, key, last = 0, -1, b"", b""
    for found in _TOKEN.finditer(body):
        token = found[0]
        if token == b":" and depth == 1:
            key, start = last, found.end()
        elif depth == 1 and token in (b",", b"}") and start >= 0:
            if orjson.loads(key) == "id":
                spans.append(_stripped(body, start, found.start()))
            start = -1
        depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
        last = token
    return spans


def _stripped(body: bytes, start: int, end: int) -> tuple[int, int]:
    text = body[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())
