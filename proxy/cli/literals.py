"""Objects as programs print them: JavaScript's console, Python's and Rust's debug print, viem's error messages.

For people's clipboards only. Nothing of it is ever read off the wire, where one spelling has one meaning.
"""

from __future__ import annotations

import ast
import re
from typing import Final

from proxy.errors import InvalidParams
from proxy.strict_json import NumberLiteral

_DEPTH: Final = 64
_PLACES: Final = 32
_OPENING: Final = re.compile(r"[{\[]")
_FENCE: Final = re.compile(r"\A```[a-z]*\s*\n(.*?)\n?```\Z", re.DOTALL)
_LINE: Final = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*:[ \t]*(\S.*?)?[ \t]*\Z")
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<mark>=>|[{}\[\]():,=])
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)
      | (?P<hex>0x[0-9a-fA-F]*)
      | (?P<number>-?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)n?(?![A-Za-z0-9_])(?:[ ]\[[0-9.]+e[0-9]+\])?
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$.]*)
    )""",
    re.VERBOSE,
)
_QUOTED: Final = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_NOTHING: Final = frozenset({"undefined", "null", "None", "nil"})
_TRUTH: Final = {"true": True, "True": True, "false": False, "False": False}
_ENDS: Final = {"{": "}", "[": "]", "(": ")"}


def read_literal(text: str) -> object:
    """The value of an object literal, or of lines of `name: value`.

    Numbers stay `NumberLiteral`, bare 0x-words are text, missing values are `None`. Raises `InvalidParams`.
    """
    fenced = _FENCE.match(text.strip())
    text = fenced[1] if fenced else text
    if (lines := _lines(text)) is not None:
        return lines
    return _Reader(text).whole()


def read_embedded(text: str) -> list[object]:
    """The values that stand in other text, none inside of another: a log's line, a program's, a command's, an error's.

    The first few places where one may begin are tried. Never raises.
    """
    if (block := _block(text)) is not None:
        return [block]
    found: list[object] = []
    at = 0
    for _ in range(_PLACES):
        opening = _OPENING.search(text, at)
        if opening is None:
            break
        reader = _Reader(text, opening.start())
        try:
            found.append(reader.value())
        except InvalidParams:
            at = opening.end()
        else:
            at = reader.at
    return found


def _block(text: str) -> dict[str, object] | None:
    """The one run of `name: value` lines that holds an operation, as in viem's errors."""
    runs = [run for each in re.split(r"\n[ \t]*\n", text) if (run := _run(each)) is not None]
    return runs[0] if len(runs) == 1 else None


def _run(paragraph: str) -> dict[str, object] | None:
    """The lines of a paragraph, without the heading that stands above them."""
    lines = paragraph.strip("\n").split("\n")
    heading = bool(lines) and lines[0].endswith(":")
    found = _lines("\n".join(lines[heading:]))
    return found if found is not None and {"sender", "callData"} <= found.keys() else None


def _lines(text: str) -> dict[str, object] | None:
    """Lines of `name: value`, as viem prints a user operation in its errors; `None` when it is something else."""
    found: dict[str, object] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is None or match[1] in found or (match[2] or "").startswith(("{", "[")) or match[2] is None:
            return None
        value = match[2].rstrip(",").strip("\"'`")
        found[match[1]] = NumberLiteral(value) if re.fullmatch(r"[0-9]+", value) else value
    return found or None


class _Reader:
    """One pass over the tokens of a literal."""

    def __init__(self, text: str, at: int = 0) -> None:
        self._text = text
        self._at = at

    @property
    def at(self) -> int:
        """Where the next token begins."""
        return self._at

    def value(self) -> object:
        """The value that begins here, whatever follows it."""
        return self._value(0)

    def whole(self) -> object:
        value = self._value(0)
        if self._text[self._at :].strip(" \t\r\n;"):
            raise self._fault("something follows the value")
        return value

    def _fault(self, problem: str) -> InvalidParams:
        line = self._text.count("\n", 0, self._at) + 1
        return InvalidParams("input", f"{problem} (line {line})")

    def _next(self) -> tuple[str, str]:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            raise self._fault("neither JSON nor an object as a program prints it")
        self._at = match.end()
        return match.lastgroup, match[match.lastgroup]

    def _peek(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        return match["mark"] or "" if match is not None else ""

    def _value(self, depth: int) -> object:
        if depth > _DEPTH:
            raise self._fault(f"nested deeper than {_DEPTH}")
        kind, word = self._next()
        if kind == "text":
            return self._string(word)
        if kind == "hex":
            return word
        if kind == "number":
            return NumberLiteral(word.replace("_", ""))
        if kind == "name":
            return self._named(word, depth)
        if word == "{":
            return self._object(depth)
        if word in "[(":
            return self._array(_ENDS[word], depth)
        raise self._fault(f"{word!r} stands where a value should")

    def _string(self, word: str) -> str:
        if re.match(r"\s*\.\.\. \d+ more characters", self._text[self._at :]):
            raise self._fault("the console has cut a value off; print it as JSON")
        return re.sub(r"\\(.)", r"\1", word[1:-1])

    def _named(self, name: str, depth: int) -> object:
        """A constant, a class name before its object, or a constructor around its argument."""
        if name in _NOTHING:
            return None
        if name in _TRUTH:
            return _TRUTH[name]
        if name == "b" and (literal := _QUOTED.match(self._text, self._at)) is not None:
            self._at = literal.end()
            return self._bytes(literal[0])
        if self._peek() == "{":
            return self._value(depth + 1)
        if self._peek() == "(":
            self._next()
            inside = self._array(")", depth)
            return inside[0] if len(inside) == 1 else inside
        raise self._fault(f"{name[:40]!r} is no value")

    def _bytes(self, word: str) -> str:
        """Bytes as Python prints them, as 0x-hex."""
        try:
            data = ast.literal_eval(f"b{word}")
        except (SyntaxError, ValueError):
            raise self._fault("bytes that Python would not print so") from None
        return "0x" + bytes(data).hex()

    def _array(self, end: str, depth: int) -> list[object]:
        items: list[object] = []
        while self._peek() != end:
            items.append(self._value(depth + 1))
            if self._peek() == ",":
                self._next()
            elif self._peek() != end:
                raise self._fault(f"wanted a comma or {end!r}")
        self._next()
        return items

    def _object(self, depth: int) -> dict[str, object]:
        members: dict[str, object] = {}
        while self._peek() != "}":
            kind, word = self._next()
            key = word if kind in ("name", "number") else self._string(word) if kind == "text" else ""
            if not key or key in members:
                raise self._fault("wanted a name that was not there before")
            if self._next()[1] not in (":", "=", "=>"):
                raise self._fault(f"wanted a colon after {key[:40]!r}")
            members[key] = self._value(depth + 1)
            if self._peek() == ",":
                self._next()
            elif self._peek() != "}":
                raise self._fault("wanted a comma or '}'")
        self._next()
        return members
