"""Sessions in JSON as the SDKs print them: the fields of the Session struct in camelCase, bytes as 0x-hex.

Other spellings of the names are understood, and structs whose members stand in their order without names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.cli.copied import unquoted, unwrapped, without_colours
from proxy.cli.literals import read_embedded
from proxy.cli.reading import read_text
from proxy.cli.spellings import as_bytes
from proxy.errors import InvalidParams, ParseError
from proxy.strict_json import Flawed, read_json
from proxy.userop.primitives import Hash32, Selector, json_type, parse_address, parse_bytes, parse_hash, print_bytes
from proxy.userop.session_data import (
    ActionData,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
    SessionData,
)

_MARK: Final = "sessionValidator"
_CLAIM_POLICIES: Final = "claimPolicies"
_MARKS: Final = (_MARK, "session_validator", "SessionValidator")
_MEMBERS: Final = (
    *(_MARK, "sessionValidatorInitData", "salt", "userOpPolicies", "erc7739Policies", "actions"),
    "permitERC4337Paymaster",
)
"""Of the Session struct, in their order."""
_OF_ACTION: Final = ("actionTargetSelector", "actionTarget", "actionPolicies")
_OF_CONTENT: Final = ("allowedERC7739Content", "erc1271Policies")
_OF_POLICY: Final = ("policy", "initData")
_OF_CONTEXT: Final = ("appDomainSeparator", "contentNames")
_NAMES: Final = {
    name.lower(): name
    for name in (*_MEMBERS, *_OF_ACTION, *_OF_CONTENT, *_OF_POLICY, *_OF_CONTEXT, "contentName", _CLAIM_POLICIES)
}
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class PrintedSession:
    """A session, and for one of the emissary's its claim policies."""

    session: SessionData
    claim_policies: tuple[PolicyData, ...] | None


def sessions_in(text: str) -> list[PrintedSession]:
    """Every session in a JSON text, or in what a program printed, however deep; empty when there is none.

    Raises `ParseError` and `InvalidParams`, which names the field.
    """
    text = unwrapped(without_colours(text))
    try:
        found = list(_found(read_text(text), ""))
    except InvalidParams:
        found = _found_inside(text)
    return [PrintedSession(_session(item, path), _claim_policies(item, path)) for item, path in found]


def _claim_policies(value: Mapping[str, object], path: str) -> tuple[PolicyData, ...] | None:
    if _CLAIM_POLICIES not in value:
        return None
    return _policies(value[_CLAIM_POLICIES], f"{path}.{_CLAIM_POLICIES}")


def _found_inside(text: str) -> list[tuple[Mapping[str, object], str]]:
    """Those in a text that is not all of one value: a line of a program or of a log, a command."""
    for variant in unquoted(text):
        if found := [each for value in read_embedded(variant) for each in _found(value, "")]:
            return found
    return []


def _found(value: object, path: str) -> Iterator[tuple[Mapping[str, object], str]]:
    if isinstance(value, Flawed):
        if _MARK in value.members:
            raise InvalidParams(value.path or "session", value.problem)
        return
    if isinstance(value, dict):
        if not value.keys().isdisjoint(_MARKS):
            yield _by_our_names(value, path or "session"), path or "session"
            return
        for key, item in value.items():
            yield from _found(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and _is_struct(value):
        yield dict(zip(_MEMBERS, value, strict=True)), path or "session"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _found(item, f"{path}[{index}]")
    elif isinstance(value, str) and any(mark in value for mark in _MARKS):
        try:
            yield from _found(read_json(value.encode(), max_depth=_DEPTH, max_elements=len(value)), path)
        except (ParseError, UnicodeEncodeError):
            return


def _is_struct(value: list[object]) -> bool:
    """Whether these are the members of a Session in their order, as contracts and `cast` have them."""
    first, last = (value[0], value[-1]) if len(value) == len(_MEMBERS) else (None, None)
    lists = all(isinstance(member, list) for member in value[3:6])
    return isinstance(first, str) and _ADDRESS.match(first) is not None and lists and isinstance(last, bool)


def _by_our_names(value: Mapping[str, object], path: str) -> dict[str, object]:
    """The members by the names SDKs give them; snake case and Go's capitals are understood."""
    named: dict[str, object] = {}
    for key, item in value.items():
        name = _NAMES.get(key.replace("_", "").lower(), key)
        if name in named:
            raise InvalidParams(f"{path}.{name}", "given twice, in two spellings")
        named[name] = item
    return named


def _session(value: Mapping[str, object], path: str) -> SessionData:
    erc7739 = _object(value.get("erc7739Policies", {}), f"{path}.erc7739Policies", _OF_CONTENT)
    return SessionData(
        session_validator=parse_address(value[_MARK], f"{path}.{_MARK}"),
        session_validator_init_data=_bytes(value.get("sessionValidatorInitData"), f"{path}.sessionValidatorInitData"),
        salt=_word(value.get("salt"), f"{path}.salt"),
        user_op_policies=_policies(value.get("userOpPolicies", []), f"{path}.userOpPolicies"),
        erc7739_policies=ERC7739Data(
            contexts=_contexts(erc7739.get("allowedERC7739Content", []), f"{path}.erc7739Policies"),
            erc1271_policies=_policies(erc7739.get("erc1271Policies", []), f"{path}.erc7739Policies.erc1271Policies"),
        ),
        actions=_actions(value.get("actions", []), f"{path}.actions"),
        permit_erc4337_paymaster=_flag(value.get("permitERC4337Paymaster", False), f"{path}.permitERC4337Paymaster"),
    )


def _actions(value: object, path: str) -> tuple[ActionData, ...]:
    return tuple(_action(_object(item, where, _OF_ACTION), where) for item, where in _items(value, path))


def _action(value: Mapping[str, object], path: str) -> ActionData:
    selector = _bytes(value.get("actionTargetSelector"), f"{path}.actionTargetSelector")
    if len(selector) != 4:
        raise InvalidParams(f"{path}.actionTargetSelector", f"wanted 4 bytes, got {len(selector)}")
    return ActionData(
        selector=Selector(selector),
        target=parse_address(value.get("actionTarget"), f"{path}.actionTarget"),
        policies=_policies(value.get("actionPolicies", []), f"{path}.actionPolicies"),
    )


def _policies(value: object, path: str) -> tuple[PolicyData, ...]:
    return tuple(
        PolicyData(
            parse_address(policy.get("policy"), f"{where}.policy"),
            _bytes(policy.get("initData"), f"{where}.initData"),
        )
        for item, where in _items(value, path)
        for policy in (_object(item, where, _OF_POLICY),)
    )


def _contexts(value: object, path: str) -> tuple[ERC7739Context, ...]:
    return tuple(
        _context(_object(item, where, _OF_CONTEXT), where)
        for item, where in _items(value, f"{path}.allowedERC7739Content")
    )


def _context(value: Mapping[str, object], path: str) -> ERC7739Context:
    names = []
    key = "contentName" if "contentName" in value else "contentNames"  # of @rhinestone/module-sdk; of the contracts
    for item, where in _items(value.get(key, []), f"{path}.{key}"):
        if not isinstance(item, str):
            raise InvalidParams(where, f"wanted a string, got {json_type(item)}")
        names.append(item)
    return ERC7739Context(_word(value.get("appDomainSeparator"), f"{path}.appDomainSeparator"), tuple(names))


def _items(value: object, path: str) -> Iterator[tuple[object, str]]:
    if not isinstance(value, list):
        raise InvalidParams(path, f"wanted an array, got {json_type(value)}")
    for index, item in enumerate(value):
        yield item, f"{path}[{index}]"


def _object(value: object, path: str, members: tuple[str, ...]) -> Mapping[str, object]:
    """The members by their names; a list of as many is a struct's."""
    if isinstance(value, list) and len(value) == len(members):
        return dict(zip(members, value, strict=True))
    if isinstance(value, dict):
        return _by_our_names(value, path)
    raise InvalidParams(path, f"wanted an object, got {json_type(value)}")


def _bytes(value: object, path: str) -> bytes:
    """Hex, or bytes as programs print them."""
    data = as_bytes(value)
    return parse_bytes(value, path) if data is None else data


def _word(value: object, path: str) -> Hash32:
    return Hash32(parse_hash(print_bytes(_bytes(value, path)), path))


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidParams(path, f"wanted true or false, got {json_type(value)}")
    return value
