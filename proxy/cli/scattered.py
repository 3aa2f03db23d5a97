"""An operation in a text of no known form, by the names of its fields: tables and lists of Markdown, logs, what Go,
PHP, Swift or Ruby print.

The last resort for people's clipboards. Each name has one value or none; where that is in doubt nothing is read.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.cli.spellings import our_name
from proxy.strict_json import NumberLiteral
from proxy.userop.user_operation import BYTES_KEYS, UINT_KEYS

_NAMES: Final = frozenset((*BYTES_KEYS, *UINT_KEYS, "preVerificationGas", "accountGasLimits", "gasFees", "sender"))
_SNAKE: Final = frozenset(re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name) for name in _NAMES)
_GO: Final = frozenset(name[0].upper() + name[1:] for name in _NAMES)
_NEEDED: Final = frozenset({"sender", "nonce", "callData"})
_FEWEST: Final = 6
_SPELT: Final = "|".join(sorted(_NAMES | _SNAKE | _GO, key=len, reverse=True))
_TYPE: Final = r"(?:string\([0-9]+\)|(?:address|u?int[0-9]*|bytes[0-9]*|hex)\b)"
_WORKED_OUT: Final = r"""(?:[+*/%&^?]+[ \t]*[A-Za-z0-9("'`]|<<|-[ \t]*[A-Za-z0-9(]|(?:g?wei|eth(?:er)?)\b)"""
"""What makes another number of the one before it: an operator, a unit."""
_FIELD: Final = re.compile(
    rf"""(?<![A-Za-z0-9_])(?P<name>{_SPELT})(?![A-Za-z0-9_])
    (?:[\s"'`*|:=>()\]\\,]|{_TYPE}){{1,40}}?
    (?:(?P<list>\[(?:[0-9]{{1,3}}(?:[ ][0-9]{{1,3}})*)?\])|(?P<value>0x[0-9a-fA-F]*|[+]?[0-9][0-9_]*)n?)
    (?P<more>["'`]?\s*(?:…|\.\.\.)|[A-Za-z0-9_]|[.,][0-9]|["'`)]*[ \t]*{_WORKED_OUT})?""",
    re.VERBOSE,
)
_KEY: Final = re.compile(rf"(?<![A-Za-z0-9_/])(?:{_SPELT})(?![A-Za-z0-9_])[\"'`*\s)\]]{{0,40}}[:=|>]")
_ABSENT: Final = re.compile(rf"(?:{_SPELT})[\s\"'`*)\]:=|>]{{0,40}}?(?:null|None|undefined|nil|\"\"|'')")
_AUTHORIZATION: Final = re.compile(
    r"""(?:eip7702_?auth|authorization)\b["'`\s:=>|]*(?!["'`\s:=>|]|null|None|undefined|nil)\S""", re.IGNORECASE
)
_LONGEST: Final = 1024 * 1024


def read_scattered(text: str) -> dict[str, object] | None:
    """The fields of the one operation in a text, as a program would have printed them. `None` where there is none,
    where a value is cut off or a name has two, or where an authorization stands beside them."""
    if len(text) > _LONGEST or _AUTHORIZATION.search(text):
        return None
    found: dict[str, object] = {}
    places = set()
    for match in _FIELD.finditer(text):
        name = our_name(match["name"])
        value: object = _listed(match["list"]) if match["value"] is None else _value(match["value"])
        if match["more"] or value is None or found.setdefault(name, value) != value:
            return None
        places.add(match.start())
    keys = (match.start() for match in _KEY.finditer(text))
    if any(place not in places and _ABSENT.match(text, place) is None for place in keys):
        return None
    return found if found.keys() >= _NEEDED and len(found) >= _FEWEST else None


def _value(word: str) -> object:
    return word if word.startswith("0x") else NumberLiteral(word.lstrip("+").replace("_", ""))


def _listed(word: str) -> object:
    """Bytes as Go prints them."""
    numbers = [int(each) for each in word[1:-1].split()]
    return "0x" + bytes(numbers).hex() if all(each < 256 for each in numbers) else None
