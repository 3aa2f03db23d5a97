"""A function, an event or a form of bytes, written as Solidity writes it: `transfer(address to, uint256 amount)`.

Types are read by eth-abi's grammar. Structs are written out as tuples, names inside: `(address to, bytes4 f) call`.
What stands in calls and logs is read by `proxy.userop.abi`, not by eth-abi: strangers send it, and eth-abi has no bound
for what a few bytes may describe. The tests hold the one reader against the other, for any types and any bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from eth_abi.exceptions import ABITypeError, ParseError
from eth_abi.grammar import BasicType, normalize
from eth_abi.grammar import parse as parse_type

from proxy.record import record
from proxy.userop import abi
from proxy.userop.primitives import Hash32, Selector, keccak256

MOST_CHARACTERS: Final = 2_000
_MOST_PARAMETERS: Final = 64
_MOST_DEPTH: Final = 8
_MOST_WORDS: Final = 4_096
"""Of one parameter's head: a few digits describe an array of any size."""
_MOST_TOPICS: Final = 3

_HEAD: Final = re.compile(r"(?:(function|event) )?([A-Za-z_$][A-Za-z0-9_$]*) ?(?=\()")
_TAIL: Final = re.compile(r"(?P<words>(?: [A-Za-z_]\w*)*)(?: returns ?\(.*\))? ?[;{]?\Z", re.ASCII)
"""What stands behind the parameters in a contract's source: visibility, modifiers, what is returned."""
_LEAF: Final = re.compile(r"([A-Za-z]+[0-9]*(?:x[0-9]+)?)((?: ?\[[0-9]*\])*)((?: .*)?)\Z")
_AFTER: Final = re.compile(r"((?: ?\[[0-9]*\])*)(.*)\Z")
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_PLACES: Final = frozenset(("calldata", "memory", "storage", "payable"))
"""Words of Solidity that say nothing about the encoding."""


class PrototypeFault(ValueError):
    """What is wrong with a written prototype, and what to write instead."""

    def __init__(self, problem: str, suggestion: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.suggestion = suggestion


@record(kw_only=True)
class PrototypeParameter:
    """One parameter. `name` is empty where none is written; `members` are those of a tuple, or of an array of tuples of
    so many `dimensions`."""

    name: str
    type: abi.AbiType
    members: tuple[PrototypeParameter, ...] = ()
    dimensions: int = 0
    indexed: bool = False


@record(kw_only=True)
class Prototype:
    """A function, or an event where `is_event`."""

    name: str
    parameters: tuple[PrototypeParameter, ...]
    is_event: bool

    @property
    def signature(self) -> str:
        """As it is hashed: `transfer(address,uint256)`."""
        return f"{self.name}({','.join(each.type.name for each in self.parameters)})"

    @property
    def selector(self) -> Selector:
        """Of a function."""
        return Selector(keccak256(self.signature.encode())[:4])

    @property
    def topic(self) -> Hash32:
        """The first topic of an event."""
        return keccak256(self.signature.encode())


def parse_prototype(text: str) -> Prototype:
    """Read `text`. Raises `PrototypeFault`."""
    if len(text) > MOST_CHARACTERS:
        raise PrototypeFault(f"it has {len(text)} characters, more than {MOST_CHARACTERS}")
    text = " ".join(text.split())
    match = _HEAD.match(text)
    end = 0 if match is None else match.end() + _closing(text[match.end() :])
    tail = _TAIL.match(text, end + 1)
    if match is None or tail is None:
        raise PrototypeFault(
            "it is no function and no event",
            "write it up to its closing parenthesis: transfer(address to)",
        )
    keyword, name = match.groups()
    inside = text[match.end() + 1 : end]
    if "anonymous" in tail["words"].split():
        raise PrototypeFault("an anonymous event cannot be told from others", "leave it out")
    parameters = _parameters(inside, 0)
    is_event = keyword == "event"
    indexed = sum(each.indexed for each in parameters)
    if indexed and not is_event:
        raise PrototypeFault("only parameters of an event are indexed", f"write event {name}(…)")
    if indexed > _MOST_TOPICS:
        raise PrototypeFault(f"{indexed} of its parameters are indexed, an event has at most {_MOST_TOPICS}")
    return Prototype(name=name, parameters=parameters, is_event=is_event)


def _parameters(text: str, depth: int) -> tuple[PrototypeParameter, ...]:
    if depth > _MOST_DEPTH:
        raise PrototypeFault(f"tuples are nested more than {_MOST_DEPTH} deep")
    pieces = list(_split(text))
    if len(pieces) > _MOST_PARAMETERS:
        raise PrototypeFault(f"it has {len(pieces)} parameters, more than {_MOST_PARAMETERS}")
    return tuple(_parameter(piece, depth) for piece in pieces)


def _split(text: str) -> Iterator[str]:
    """At the commas that stand in no tuple."""
    if not text.strip():
        return
    depth = start = 0
    for at, character in enumerate(f"{text},"):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    if depth != 0:
        raise PrototypeFault("its parentheses do not match")


def _parameter(text: str, depth: int) -> PrototypeParameter:
    text = text.removeprefix("tuple") if text.startswith(("tuple(", "tuple (")) else text
    text = text.strip()
    if text.startswith("("):
        end = _closing(text)
        members = _parameters(text[1:end], depth + 1)
        if not members:
            raise PrototypeFault("a tuple without members is no type")
        item = abi.tuple_of(*(member.type for member in members))
        rest = text[end + 1 :]
    else:
        match = _LEAF.match(text)
        if match is None:
            raise PrototypeFault(f"{text[:60]!r} is no parameter", "write type and name: address sessionKey")
        item, members, rest = _leaf(match[1], text), (), f"{match[2]}{match[3]}"
    after = _AFTER.match(rest)
    dimensions = re.findall(r"\[([0-9]*)\]", after[1]) if after is not None else []
    kind = _array(item, dimensions)
    name, indexed = _words(after[2] if after is not None else "", text)
    return PrototypeParameter(name=name, type=kind, members=members, dimensions=len(dimensions), indexed=indexed)


def _closing(text: str) -> int:
    depth = 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return at
    raise PrototypeFault("its parentheses do not match")


def _leaf(name: str, text: str) -> abi.AbiType:
    """A type without arrays, as eth-abi reads it."""
    try:
        node = parse_type(normalize(name))  # type: ignore[no-untyped-call]  # it has no types
        node.validate()
    except (ABITypeError, ParseError):
        node = None
    found = _KINDS.get(node.base) if isinstance(node, BasicType) else None
    if found is None:
        raise PrototypeFault(
            f"{text[:60]!r} begins with no type of the ABI",
            "write structs out as tuples, (address sessionKey, bytes4 selector) name, and enums as uint8",
        )
    size = node.sub if isinstance(node, BasicType) else None
    return found[0] if not isinstance(size, int) else found[1](size)


_KINDS: Final[Mapping[str, tuple[abi.AbiType, Callable[[int], abi.AbiType]]]] = {
    "address": (abi.ADDRESS, abi.uint),
    "bool": (abi.BOOL, abi.uint),
    "string": (abi.STRING, abi.uint),
    "bytes": (abi.BYTES, abi.fixed_bytes),
    "uint": (abi.UINT256, abi.uint),
    "int": (abi.integer(256), abi.integer),
}
"""By the base of a type: what it is without a size, and what makes it with one."""


def _array(item: abi.AbiType, dimensions: list[str]) -> abi.AbiType:
    for size in dimensions:
        if not size:
            item = abi.list_of(item)
            continue
        if len(size) > 4 or not 1 <= int(size) * item.head // 32 <= _MOST_WORDS:
            raise PrototypeFault(f"an array of {size[:20]} is none that is read here")
        item = abi.array_of(item, int(size))
    return item


def _words(rest: str, text: str) -> tuple[str, bool]:
    """The name, if there is one, and whether it is indexed."""
    words = [word for word in rest.split() if word not in _PLACES]
    indexed = "indexed" in words
    names = [word for word in words if word != "indexed"]
    if len(names) > 1 or not all(map(_NAME.match, names)):
        raise PrototypeFault(f"{text[:60]!r} is no parameter", "write type and name: address sessionKey")
    return (names[0] if names else ""), indexed
