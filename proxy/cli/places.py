"""Where operations stand in what was pasted: a browser's recording, a log, a trace, an explorer's answer.

What is looked through was read already and is bounded by that; texts that hold JSON are read four deep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from proxy.cli.forms import STRUCT_LENGTHS, is_entry_point_call
from proxy.cli.literals import read_embedded
from proxy.cli.spellings import member_named
from proxy.errors import ParseError
from proxy.strict_json import NumberLiteral, read_json

_DEPTH: Final = 64
_TEXTS_IN_TEXTS: Final = 4
_SHORTEST: Final = 40
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_HASH_NAMES: Final = frozenset({"userOpHash", "userOperationHash", "user_op_hash"})
_CARRIES: Final = ("userOperation", "userOp")


class FoundOperation(NamedTuple):
    """An operation, or a request that carries one, and the entry point that stands beside it."""

    value: object
    entry_point: str | None


class _Place(NamedTuple):
    value: object
    entry_point: str | None
    texts: int


def operations_within(value: object) -> list[FoundOperation]:
    """Every operation at whatever depth, in order: objects, members of structs, requests, calls of an entry point."""
    found = []
    stack = [_Place(value, None, 0)]
    while stack:
        place = stack.pop()
        if is_carrying(place.value):
            found.append(FoundOperation(place.value, place.entry_point))
        elif isinstance(place.value, str):
            if is_entry_point_call(place.value):
                found.append(FoundOperation(place.value, place.entry_point))
            elif place.texts < _TEXTS_IN_TEXTS:
                stack += [_Place(each, place.entry_point, place.texts + 1) for each in reversed(_in_text(place.value))]
        else:
            beside = _entry_point_among(place.value) or place.entry_point
            stack += [_Place(each, beside, place.texts) for each in reversed(_members(place.value))]
    return found


def hashes_within(value: object) -> set[str]:
    """The hashes of operations that are named as such, for what has only those: a receipt, a status."""
    found = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            named = (item[name] for name in _HASH_NAMES & item.keys())
            found |= {each.lower() for each in named if isinstance(each, str) and _HASH.match(each)}
        stack += _members(item)
    return found


def is_operation(value: object) -> bool:
    """Whether it is an operation's members by their names, in whatever spelling."""
    if not isinstance(value, Mapping) or not ("sender" in value or "Sender" in value):
        return False
    return not {"callData", "call_data", "CallData", "calldata"}.isdisjoint(value)


def is_carrying(value: object) -> bool:
    """Whether it is an operation, has it in the member that SDKs put it in, or is a request whose first param is."""
    if isinstance(value, Mapping):
        if is_operation(value) or is_operation(member_named(value, *_CARRIES)):
            return True
        params = value.get("params")
        if not isinstance(params, list) or not params or not isinstance(value.get("method"), str):
            return False
        return not _is_struct(params[0]) and is_carrying(params[0])
    return _is_struct(value)


def _is_struct(value: object) -> bool:
    """The members of an operation without their names, as libraries print decoded structs."""
    if not isinstance(value, list) or len(value) not in STRUCT_LENGTHS:
        return False
    sender, nonce, *_, signature = value
    texts = (sender, signature, value[3])
    return (
        all(isinstance(each, str) and each.startswith("0x") for each in texts)
        and _ADDRESS.match(str(sender)) is not None
        and not (isinstance(nonce, str) and _ADDRESS.match(nonce))
    )


def _members(value: object) -> Sequence[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | NumberLiteral):
        return value
    return ()


def _entry_point_among(value: object) -> str | None:
    """What is named as the entry point, or stands where params have it."""
    if isinstance(value, Mapping):
        named = member_named(value, "entryPoint", "entryPointAddress")
    else:
        members = _members(value)
        named = members[1] if len(members) > 1 and is_carrying(members[0]) else None
    return named if isinstance(named, str) and _ADDRESS.match(named) else None


def _in_text(text: str) -> list[object]:
    if len(text) < _SHORTEST or "sender" not in text:
        return []
    if text.startswith(("{", "[")):
        try:
            return [read_json(text.encode(), max_depth=_DEPTH, max_elements=len(text))]
        except (ParseError, UnicodeEncodeError):
            pass
    return read_embedded(text)
