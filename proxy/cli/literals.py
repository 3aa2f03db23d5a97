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
_CELLS: Final = re.compile(r"│[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*│[ \t]*(\S.*?)[ \t]*│\s*\Z")
"""A row of what console.table prints."""
_FRAME: Final = re.compile(r"[┌├└─┬┼┴┐┤┘]+\s*\Z|│[ \t]*\(index\)")
_LINE: Final = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)(?:[ \t]*[:=]|\t|  )[ \t]*(\S.*?)?[ \t]*\Z")
_FURTHER: Final = re.compile(r"[\s;,][A-Za-z_]\w*[\"']?\s*[:=]\s*[\"']?[0-9]")
"""Another member in what was taken for the value of the first."""
_ROW: Final = re.compile(r"(?:[0-9]+\t)?(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)\t(?:address|u?int\d*|bytes\d*)\t(\S+)\s*\Z")
"""A member as explorers list it: number, name, type, value."""
_HEADING: Final = re.compile(r"#?[ \t]*name[ \t]+type[ \t]+(?:data|value)\s*\Z", re.IGNORECASE)
_TOKEN: Final = re.compile(
    # nothing in what is taken whole goes back over itself: before Python 3.11.5 that is matched wrongly
    r"""(?>\s++|//[^\n]*+|/\*[^*]*+\*++(?:[^/*][^*]*+\*++)*+/)*+(?:
        (?P<code>\[(?:(?:Async|Generator|AsyncGenerator)?Function|class|Getter|Setter|Circular|Symbol)\b[^\]\n]*\])
      | (?:<ref[ ]\*[0-9]+>[ ]|\[[A-Z]\w*:[ ]null[ ]prototype\][ ])?(?P<mark>=>|[{}\[\]():,=])
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)
      | (?P<buffer><Buffer(?:[ ][0-9a-f]{2})*(?:[ ]\.\.\.[ ][0-9]+[ ]more[ ]bytes?)?>)
      | (?P<hex>0x[0-9a-fA-F]*)(?:_U[0-9]+)?
      | <BN:[ ](?P<bn>[0-9a-f]+)>
      | (?P<number>-?[0-9](?:_?[0-9])*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?:n|_U[0-9]+)?(?![A-Za-z0-9_])
          (?:[ ]\[[0-9.]+e[0-9]+\])?
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$.]*)
    )""",
    re.VERBOSE,
)
_QUOTED: Final = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_NOTHING: Final = frozenset({"undefined", "null", "None", "nil"})
_LEFT_OUT: Final = frozenset({"Array", "Object"})
"""What a console shows of what is nested too deep for it."""
_TRUTH: Final = {"true": True, "True": True, "false": False, "False": False}
_ENDS: Final = {"{": "}", "[": "]", "(": ")"}
_CAST: Final = re.compile(r"\s+(?:as|satisfies)\s+[A-Za-z_$][\w$.]*(?:<[^<>\n]*>)?(?:\[\])*")
_MORE: Final = re.compile(r"\s*\.\.\. [0-9]+ more (?:items?|bytes?|characters?)")
_JOINED: Final = re.compile(r"\s*\+\s*(?=[\"'`])")
_NAMED_ARGUMENT: Final = re.compile(r"\s*[A-Za-z_]\w*\s*=(?![=>])")
_SAME_VALUE: Final = frozenset(
    ("tohex", "numbertohex", "hexlify", "hexvalue", "from", "getaddress", "bytes", "bytes32", "address", "payable")
)
"""What a program calls without making another value of its one argument; so do names with a capital, as of types."""
_SCALED: Final = {"parsegwei": 9, "parseether": 18, "parseunits": None, "to_wei": None, "towei": None}
_DECIMALS: Final = {"wei": 0, "gwei": 9, "ether": 18}
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LONGEST: Final = 4 * 1024 * 1024


def read_literal(text: str) -> object:
    """The value of an object literal, or of lines of `name: value`.

    Numbers stay `NumberLiteral`, bare 0x-words are text, missing values are `None`. Raises `InvalidParams`.
    """
    if len(text) > _LONGEST:
        raise InvalidParams("input", f"is no JSON, and longer than {_LONGEST} characters: paste the operation alone")
    fenced = _FENCE.match(text.strip())
    text = fenced[1] if fenced else text
    if (lines := _lines(text) or _columns(text)) is not None:
        return lines
    return _Reader(text).whole()


def read_embedded(text: str) -> list[object]:
    """The values that stand in other text, none inside of another: a log's line, a program's, a command's, an error's.

    The first few places where one may begin are tried. Never raises.
    """
    if len(text) > _LONGEST:
        return []
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
    """Lines of `name: value`, as viem prints a user operation in its errors, or rows of a table; `None` when it is
    something else."""
    found: dict[str, object] = {}
    for line in text.splitlines():
        if not line.strip() or _HEADING.match(line) or _FRAME.match(line):
            continue
        match = _ROW.match(line) or _CELLS.match(line) or _LINE.match(line)
        name, value = ("", None) if match is None else (match[1], match[2])
        if value is None or name in found or value.startswith(("{", "[")) or _FURTHER.search(value):
            return None
        value = value.rstrip(",").strip("\"'`")
        found[name] = None if value in _NOTHING else NumberLiteral(value) if re.fullmatch("[0-9]+", value) else value
    return found or None


def _columns(text: str) -> dict[str, object] | None:
    """A line of names above a line of values, as tables are exported; `None` when it is something else."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    between = next((each for each in "\t;," if each in lines[0]), None) if len(lines) == 2 else None
    if between is None:
        return None
    names, values = ([cell.strip("\"' ") for cell in line.split(between)] for line in lines)
    if not {"sender", "nonce"} <= set(names):
        return None
    if len(names) != len(values) or len(set(names)) != len(names):
        return None
    return {
        name: None if value in ("", *_NOTHING) else NumberLiteral(value) if re.fullmatch("[0-9]+", value) else value
        for name, value in zip(names, values, strict=True)
    }


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
            value: object = self._string(word)
        elif kind == "hex":
            value = word
        elif kind == "number":
            value = NumberLiteral(word.replace("_", ""))
        elif kind == "name":
            value = self._named(word, depth)
        elif kind == "code":
            value = None  # what a console shows of it has no value
        elif kind == "bn":  # bn.js, of web3 and of ethers before its own
            value = "0x" + word
        elif kind == "buffer":
            value = self._buffer(word)
        elif word == "{":
            value = self._object("}", depth)
        elif word in "[(":
            value = self._array(_ENDS[word], depth)
        else:
            raise self._fault(f"{word!r} stands where a value should")
        self._skip(_CAST)
        return value

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match is not None

    def _string(self, word: str) -> str:
        self._whole()
        text = _ESCAPE.sub(_unescaped, word[1:-1])
        while self._skip(_JOINED):
            _, more = self._next()
            text += _ESCAPE.sub(_unescaped, more[1:-1])
        return text

    def _buffer(self, word: str) -> str:
        if "more" in word:
            raise self._cut_off()
        return "0x" + word.removeprefix("<Buffer").removesuffix(">").replace(" ", "")

    def _whole(self) -> None:
        if _MORE.match(self._text, self._at):
            raise self._cut_off()

    def _cut_off(self) -> InvalidParams:
        return self._fault("the console has cut a value off; print it as JSON")

    def _named(self, name: str, depth: int) -> object:
        """A constant, a class name before its object, or a function or constructor around its arguments."""
        if name in _NOTHING:
            return None
        if name in _TRUTH:
            return _TRUTH[name]
        if name == "new":
            return self._value(depth + 1)
        if name in ("b", "hex") and (literal := _QUOTED.match(self._text, self._at)) is not None:
            self._at = literal.end()
            return self._bytes(literal[0]) if name == "b" else "0x" + literal[0][1:-1]
        if self._peek() == "{":
            return self._value(depth + 1)
        if self._peek() == "(":
            return self._called(name, depth)
        if name in _LEFT_OUT:
            raise self._cut_off()
        raise self._fault(f"{name[:40]!r} is no value")

    def _called(self, name: str, depth: int) -> object:
        self._next()
        if _NAMED_ARGUMENT.match(self._text, self._at):
            return self._object(")", depth)
        inside = self._array(")", depth)
        if self._peek() in ("[", "{") and self._text[self._at : self._at + 2].strip():
            return self._value(depth + 1)  # how Node prints a list that is no Array: Uint8Array(2) [ 1, 2 ]
        last = name.rpartition(".")[2]
        if last.lower() in _SCALED:
            return self._scaled(last.lower(), inside)
        if inside and (last.lower() in _SAME_VALUE or last[:1].isupper() or "new_" in last):
            return inside[0] if len(inside) == 1 else inside
        raise self._fault(f"what {name[:40]}(…) comes to is not known here: paste what it returns")

    def _scaled(self, name: str, arguments: list[object]) -> NumberLiteral:
        amount, *unit = (each.text if isinstance(each, NumberLiteral) else str(each) for each in arguments)
        decimals = _SCALED[name]
        if decimals is None and len(unit) == 1:
            decimals = int(unit[0]) if re.fullmatch("[0-9]{1,2}", unit[0]) else _DECIMALS.get(unit[0])
        if decimals is None or not re.fullmatch(r"[0-9]{1,40}(\.[0-9]{1,40})?", amount):
            raise self._fault(f"what {name}(…) comes to is not known here: paste what it returns")
        whole, _, fraction = amount.partition(".")
        if len(fraction.rstrip("0")) > decimals:
            raise self._fault(f"{amount} has more than {decimals} decimals")
        return NumberLiteral(str(int(whole + fraction[:decimals].ljust(decimals, "0"))))

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
            self._whole()
            items.append(self._value(depth + 1))
            if self._peek() == ",":
                self._next()
            elif self._peek() != end:
                raise self._fault(f"wanted a comma or {end!r}")
        self._next()
        return items

    def _object(self, end: str, depth: int) -> dict[str, object]:
        members: dict[str, object] = {}
        while self._peek() != end:
            kind, word = self._next()
            key = word if kind in ("name", "number") else self._string(word) if kind == "text" else ""
            if not key or key in members:
                raise self._fault("wanted a name that was not there before")
            if self._next()[1] not in (":", "=", "=>"):
                raise self._fault(f"wanted a colon after {key[:40]!r}")
            members[key] = self._value(depth + 1)
            if self._peek() == ",":
                self._next()
            elif self._peek() != end:
                raise self._fault(f"wanted a comma or {end!r}")
        self._next()
        return members


def _unescaped(match: re.Match[str]) -> str:
    if code := match[1] or match[2]:
        return chr(int(code, 16))
    return _ESCAPED.get(match[3], match[3])
