"""`arg("swap(uint256 minOut, address to)", "minOut")`: an argument of a call, by the ABI of its function.

Types are written in the grammar of eth-abi; what they come to is read by our own bounded decoder, for the call data
is a stranger's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from eth_abi.exceptions import ParseError
from eth_abi.grammar import BasicType, normalize
from eth_abi.grammar import parse as parse_type

from proxy.errors import Undecodable
from proxy.judge.expression.types import ADDRESS, BOOL, TEXT, Sort, Type, list_of, optional, ranging
from proxy.judge.facts import CallFacts, Facts
from proxy.record import record
from proxy.userop import abi
from proxy.userop.budget import ITEM, Budget, Overspent
from proxy.userop.primitives import Selector, keccak256

_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z", re.ASCII)
_FUNCTION: Final = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]*)\((.*)\)\Z", re.ASCII | re.DOTALL)
_MOST_ARRAY: Final = 1_024
_MOST_TEXT: Final = 1_000
_DEEPEST: Final = 8


class Misread(Exception):  # what is misread is the text of a rule
    """What is wrong with a function or a name as it was written."""


@record()
class Parameter:
    """One parameter: where it stands, and what it is. `type` is `None` for one that nothing can be asked of."""

    path: tuple[int, ...]
    type: Type | None
    written: str


@record()
class Function:
    """A function of a contract. `parameters` are by name, those inside of a tuple as `order.amount`."""

    selector: Selector
    types: abi.AbiType
    parameters: Mapping[str, Parameter]

    def value(self, call: CallFacts, parameter: Parameter, budget: Budget) -> Any:
        """The argument of a call; `None` when it is a call of another function, or cannot be read. Raises
        `Overspent`."""
        if call.selector != self.selector:
            return None
        budget.draw(ITEM)
        try:
            found: Any = abi.decode(self.types, call.arguments, "callData", budget)
        except Overspent:
            raise
        except Undecodable:
            return None
        for step in parameter.path:
            found = found[step]
        return found

    def only_value(self, facts: Facts, parameter: Parameter, budget: Budget) -> Any:
        """The argument of the one call of this function; `None` when there is none, or more than one. Raises
        `Overspent`."""
        calls = [call for call in facts.calls if call.selector == self.selector]
        return self.value(calls[0], parameter, budget) if len(calls) == 1 else None


def parse_function(text: str) -> Function:
    """The function of a signature with names: `swap(uint256 minOut, (address to, uint256 share)[] parts)`. Raises
    `Misread`."""
    whole = _FUNCTION.match(text.strip())
    if whole is None or len(text) > _MOST_TEXT:
        raise Misread("it is no function with its arguments")
    members, parameters = [], {}
    for index, written in enumerate(_split(whole[2])):
        found, named = _parameter(written, (index,), 0)
        members.append(found)
        for name, parameter in named:
            if name in parameters:
                raise Misread(f"two of its arguments are called {name}")
            parameters[name] = parameter
    types = abi.tuple_of(*members)
    selector = Selector(keccak256(f"{whole[1]}{types.name}".encode())[:4])
    return Function(selector, types, parameters)


def _split(inside: str) -> list[str]:
    """The parts between commas that stand in no parentheses."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(inside):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "," and not depth:
            parts.append(inside[start:at])
            start = at + 1
    if depth:
        raise Misread("its parentheses do not match")
    parts.append(inside[start:])
    return [] if parts == [""] else parts


def _parameter(written: str, path: tuple[int, ...], level: int) -> tuple[abi.AbiType, Iterator[tuple[str, Parameter]]]:
    """One parameter: its type, and the names by which it and what is in it can be asked for."""
    text = written.strip()
    if level > _DEEPEST:
        raise Misread(f"its tuples nest deeper than {_DEEPEST}")
    if not text.startswith("("):
        kind, _, name = text.partition(" ")
        name = name.strip()
        for word in ("memory", "calldata", "payable"):  # as Solidity writes it
            name = name.removeprefix(f"{word} ").strip()
        found, asked = _plain(kind)
        return found, _named(name, Parameter(path, asked, kind))
    end = _closing(text)
    rest = re.match(r"((?:\[[0-9]*\])*)\s*(.*)\Z", text[end + 1 :], re.ASCII)
    dimensions, name = (rest[1], rest[2]) if rest else ("", "")
    members, inner = [], []
    for index, part in enumerate(_split(text[1:end])):
        member, named = _parameter(part, (*path, index), level + 1)
        members.append(member)
        inner += list(named)
    if not members:
        raise Misread("a tuple without members is no type")
    found = _arrays(abi.tuple_of(*members), dimensions)
    if dimensions:
        return found, _named(name, Parameter(path, None, f"{text[: end + 1]}{dimensions}"))
    if name and not _NAME.match(name):
        raise Misread(f"{name[:40]} is no name of an argument")
    return found, iter([(f"{name}.{each}" if name else each, parameter) for each, parameter in inner])


def _closing(text: str) -> int:
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return at
    raise Misread("its parentheses do not match")


def _named(name: str, parameter: Parameter) -> Iterator[tuple[str, Parameter]]:
    if name and not _NAME.match(name):
        raise Misread(f"{name[:40]} is no name of an argument")
    return iter([(name, parameter)] if name else [])


@lru_cache(maxsize=512)
def _plain(written: str) -> tuple[abi.AbiType, Type | None]:
    """A type without members."""
    try:
        parsed = parse_type(str(normalize(written)))  # type: ignore[no-untyped-call]  # it has none
        parsed.validate()
    except (ParseError, ValueError):  # of `()` eth-abi says something of its own
        raise Misread(f"{written[:40] or 'nothing'} is no type") from None
    if not isinstance(parsed, BasicType):
        raise Misread(f"{written[:40]} is no type")
    base = _base(parsed, written)
    dimensions = "".join(f"[{''.join(map(str, each))}]" for each in parsed.arrlist or ())
    found = _arrays(base, dimensions)
    asked = _asked(base)
    for _ in parsed.arrlist or ():
        asked = None if asked is None or asked.sort is Sort.LIST else list_of(asked)
    return found, None if asked is None else optional(asked)


_BASES: Final[Mapping[str, Callable[[int], abi.AbiType]]] = {
    "uint": abi.uint,
    "int": abi.integer,
    "address": lambda _: abi.ADDRESS,
    "bool": lambda _: abi.BOOL,
    "string": lambda _: abi.STRING,
    "bytes": lambda size: abi.fixed_bytes(size) if size else abi.BYTES,
}


def _base(parsed: BasicType, written: str) -> abi.AbiType:
    made = _BASES.get(parsed.base)
    if made is None:
        raise Misread(f"{written[:40]} is not read here")
    return made(parsed.sub if isinstance(parsed.sub, int) else 0)


def _arrays(item: abi.AbiType, dimensions: str) -> abi.AbiType:
    for size in re.findall(r"\[([0-9]*)\]", dimensions, re.ASCII):
        if not size:
            item = abi.list_of(item)
            continue
        if not 0 < int(size) <= _MOST_ARRAY:
            raise Misread(f"an array of {size} is not read here")
        item = abi.array_of(item, int(size))
    return item


def _asked(base: abi.AbiType) -> Type | None:
    """What an expression may ask of it; nothing of bytes whose length is told by the call."""
    name = base.name
    if name.startswith("uint"):
        return ranging(0, 2 ** int(name[4:]) - 1)
    if name.startswith("int"):
        return ranging(-(2 ** (int(name[3:]) - 1)), 2 ** (int(name[3:]) - 1) - 1)
    if name.startswith("bytes") and name != "bytes":
        return Type(Sort.BYTES, width=int(name[5:]))
    return {"address": ADDRESS, "bool": BOOL, "string": TEXT}.get(name)
