"""JSON with one meaning only, between bytes and values. No I/O.

Narrower than RFC 8259 wherever two readers are known to disagree: UTF-8 without a byte order mark, no key twice in one
object, no NaN or Infinity, no lone surrogate, bounded depth, bounded parts. Numbers keep the text they were sent as.

Two readers of one meaning: `orjson` for what is beyond doubt, a strict and slow one for all else. What `orjson` takes
and the strict reader does not is found by looking at the value: a key given twice leaves fewer keys than colons, and
a number that is no small integer has lost its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, NamedTuple

import orjson

from proxy.errors import ParseError
from proxy.record import record

DEEPEST: Final = 128
"""The largest bound on nesting: both JSON libraries recurse, and neither comes near its limit at this depth."""

MOST_ELEMENTS: Final = 4096
"""Elements, members and escapes in one text. A batch of fifty whole operations has about 1,500."""

_BOM: Final = b"\xef\xbb\xbf"


class NumberLiteral(NamedTuple):
    """A JSON number as the text it was sent as: `1e2`, `-0`, `18446744073709551616`. Never converted.

    No `str` and no `int`, so that no check for either takes it for one.
    """

    text: str


@record()
class Flawed:
    """Stands in for a value that reads as JSON but has no single meaning.

    `path` says where (`params[0].callData`), `problem` what. `members` are those members of the value, if it is an
    object, that can be told apart.
    """

    path: str
    problem: str
    members: Mapping[str, object] = field(default_factory=dict)


class _AmbiguousError(Exception):
    """Raised by the hooks of `_STRICT`; the text is then read again with `_MARKING` to find out where."""


@record()
class _Constant:
    text: str  # NaN, Infinity or -Infinity


@record()
class _Doubled:
    key: str
    members: dict[str, object]


def _refuse_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _AmbiguousError
    return members


def _mark_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Doubled:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    doubled: dict[str, None] = {}  # in order, and found at once
    for key, _ in pairs:
        if key in seen:
            doubled[key] = None
        seen.add(key)
    return _Doubled(next(iter(doubled)), {key: value for key, value in members.items() if key not in doubled})


def _refuse_constant(_text: str) -> object:
    raise _AmbiguousError


# with int and float replaced, no literal is ever converted: none is too long, and none loses a digit
_STRICT: Final = json.JSONDecoder(
    object_pairs_hook=_refuse_doubled,
    parse_int=NumberLiteral,
    parse_float=NumberLiteral,
    parse_constant=_refuse_constant,
)
_MARKING: Final = json.JSONDecoder(
    object_pairs_hook=_mark_doubled,
    parse_int=NumberLiteral,
    parse_float=NumberLiteral,
    parse_constant=_Constant,
)


def read_json(body: bytes, *, max_depth: int, max_elements: int = MOST_ELEMENTS) -> object:
    """Read one JSON text. Raises `ParseError` when it is none, is nested deeper than `max_depth` levels, or has more
    than `max_elements` commas, opening brackets and escapes, those inside strings among them.

    A value without a single meaning is replaced by `Flawed`: the whole, or the element of the outermost array.
    """
    # before anything is made of it, for it is the number of parts that costs, and a kilobyte may hold a thousand
    if len(body) > max_elements and sum(map(body.count, _PARTED_BY)) > max_elements:
        raise ParseError(f"more than {max_elements} elements, members and escapes")
    try:
        value: object = orjson.loads(body)
    except ValueError:
        return read_strictly(body, max_depth=max_depth)
    if type(value) is dict or type(value) is list:
        beyond_doubt = _take_plainly(value, body, max_depth)
        return value if beyond_doubt else read_strictly(body, max_depth=max_depth)
    if type(value) is int or type(value) is float:
        return read_strictly(body, max_depth=max_depth)
    return value


_TEXTS: Final = {str}
_PARTED_BY: Final = (b",", b"[", b"{", b"\\")


def _take_plainly(value: dict[str, Any] | list[Any], body: bytes, max_depth: int) -> bool:
    """Make number literals of the integers in `value`, in place; whether `value` is beyond doubt.

    Raises `ParseError` for what is nested too deep.
    """
    members = 0
    has_minus_zero: bool | None = None
    level: list[Any] = [value]
    for _ in range(max_depth):
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                members += len(container)
                if set(map(type, container.values())) == _TEXTS:  # an operation, mostly
                    continue
                items: Any = container.items()
            else:
                items = enumerate(container)
            for place, item in items:
                kind = type(item)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is int:
                    if item == 0:
                        has_minus_zero = b"-0" in body if has_minus_zero is None else has_minus_zero
                        if has_minus_zero:
                            return False
                    container[place] = NumberLiteral(str(item))
                elif kind is float:
                    return False  # the text it was sent as cannot be told any more
        if not below:
            # colons inside strings are doubt too, and the strict reader's to dispel
            return body.count(b":") == members
        level = below
    raise ParseError(f"nested deeper than {max_depth} levels")


def read_strictly(body: bytes, *, max_depth: int) -> object:
    """As `read_json`, by the reader that sees everything, however many elements there are."""
    if body.startswith(_BOM):
        raise ParseError("not JSON: starts with a byte order mark")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ParseError(f"not UTF-8 at byte {error.start}") from None
    opened = body.count(b"[") + body.count(b"{")
    # a member has two strings; the rest of the quotes are escaped, or no JSON
    if body.count(b'"') > 4 * (body.count(b",") + opened + 1) + body.count(b"\\"):
        raise ParseError("not JSON: more strings than there can be")
    if opened > max_depth:
        _refuse_deep(body, max_depth)
    try:
        value = _decode(text)
    except ValueError as error:
        where = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ParseError(f"not JSON: {where}") from None
    return value


def _decode(text: str) -> object:
    try:
        value: object = _STRICT.decode(text)
        # only an escape can spell a lone surrogate, and only the printer notices one
        if "\\u" not in text or _is_printable(value):
            return value
    except _AmbiguousError:
        pass
    value = _MARKING.decode(text)
    return [_judge(item) for item in value] if isinstance(value, list) else _judge(value)


def _is_printable(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_A_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")


def _refuse_deep(body: bytes, max_depth: int) -> None:
    # before anything recurses: peel the innermost pairs of brackets off, one level a round, all in C;
    # two brackets of different kinds may pass for a pair here, the parser refuses them
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NOT_A_BRACKET)
    for _ in range(max_depth):
        peeled = brackets.replace(b"[]", b"")
        if len(peeled) == len(brackets):
            break
        brackets = peeled
    else:
        if brackets:
            raise ParseError(f"nested deeper than {max_depth} levels")
    if brackets:
        raise ParseError("not JSON: brackets do not match")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _judge(value: object) -> object:
    flaw = _find_flaw(value, "")
    if flaw is None:
        return value
    members = value.members if isinstance(value, _Doubled) else value
    return Flawed(*flaw, {**members} if isinstance(members, dict) else {})


def _find_flaw(value: object, path: str) -> tuple[str, str] | None:
    """The first flaw in `value`: its path, and what is wrong there."""
    if isinstance(value, _Constant):
        return path, f"{value.text} is not a JSON number"
    if isinstance(value, _Doubled):
        return _join(path, value.key), "given twice in one object"
    if isinstance(value, str):
        return (path, "contains a lone surrogate") if _has_surrogate(value) else None
    if isinstance(value, list):
        for index, item in enumerate(value):
            if flaw := _find_flaw(item, f"{path}[{index}]"):
                return flaw
    elif isinstance(value, dict):
        for key, item in value.items():
            if _has_surrogate(key):
                return _join(path, key), "contains a lone surrogate"
            if flaw := _find_flaw(item, _join(path, key)):
                return flaw
    return None


def _join(path: str, key: str) -> str:
    return f"{path}.{shown(key)}" if path else shown(key)


def shown(text: str, limit: int = 40) -> str:
    """Foreign text made safe to quote in an error message: ASCII, escaped, shortened."""
    return ascii(text if len(text) <= limit else text[:limit] + "…")[1:-1]


def _verbatim(value: Any) -> orjson.Fragment:
    if isinstance(value, NumberLiteral):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: object) -> bytes:
    """The value as compact JSON; a `NumberLiteral` comes out as the text it came in as.

    Raises `TypeError` for what JSON cannot carry: integers beyond 64 bits, lone surrogates, foreign types.
    """
    return orjson.dumps(value, _verbatim, orjson.OPT_PASSTHROUGH_DATACLASS)
