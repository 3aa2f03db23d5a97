"""JSON with one meaning only, between bytes and values. No I/O.

Narrower than RFC 8259 wherever two readers are known to disagree: UTF-8 without a byte order mark, no key twice in one
object, no NaN or Infinity, no lone surrogate, bounded depth. Numbers keep the text they were sent as.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from proxy.errors import ParseError

DEEPEST: Final = 128
"""The largest bound on nesting: both JSON libraries recurse, and neither comes near its limit at this depth."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A JSON number as the text it was sent as: `1e2`, `-0`, `18446744073709551616`. Never converted.

    No `str` and no `int`, so that no check for either takes it for one.
    """

    text: str


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class _Constant:
    text: str  # NaN, Infinity or -Infinity


@dataclass(frozen=True, slots=True)
class _Doubled:
    key: str
    members: dict[str, object]


def _refuse_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _AmbiguousError
    return members


def _mark_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Doubled:
    seen: set[str] = set()
    doubled: list[str] = []
    for key, _ in pairs:
        if key in seen:
            doubled.append(key)
        seen.add(key)
    if not doubled:
        return dict(pairs)
    return _Doubled(doubled[0], {key: value for key, value in pairs if key not in doubled})


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


def read_json(body: bytes, *, max_depth: int) -> object:
    """Read one JSON text. Raises `ParseError` when it is none, or is nested deeper than `max_depth` levels.

    A value without a single meaning is replaced by `Flawed`: the whole, or the element of the outermost array.
    """
    if body.startswith(_BOM):
        raise ParseError("not JSON: starts with a byte order mark")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ParseError(f"not UTF-8 at byte {error.start}") from None
    if body.count(b"[") + body.count(b"{") > max_depth:
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


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
        return (path, "contains a lone surrogate") if _SURROGATE.search(value) else None
    if isinstance(value, list):
        for index, item in enumerate(value):
            if flaw := _find_flaw(item, f"{path}[{index}]"):
                return flaw
    elif isinstance(value, dict):
        for key, item in value.items():
            if _SURROGATE.search(key):
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
