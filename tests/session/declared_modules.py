"""Two modules that are told about sessions in different words, as settings describe them, and what is said to them."""

from __future__ import annotations

from typing import Any

from proxy.config.session_modules import DeclaredModuleSettings
from proxy.session.counters import SessionKey
from proxy.userop import abi
from proxy.userop.declared_module import DeclaredModule, SessionModules, key_id
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, keccak256, print_checksummed
from proxy.userop.prototype import parse_prototype
from tests.session.builders import ACCOUNT

CHAIN_ID = 1
PLAIN = Address(b"\xd1" * 20)
NAMED = Address(b"\xd2" * 20)
CREATE = (
    "createSession(address sessionKey, address target, bytes4 selector, uint256 maxValue,"
    " uint48 validUntil, uint48 validAfter)"
)
CREATED = (
    "event SessionCreated(address indexed account, address indexed sessionKey, address target, bytes4 selector,"
    " uint256 maxValue, uint48 validUntil, uint48 validAfter)"
)
REVOKE = "revokeSession(address sessionKey)"
REVOKED = "event SessionRevoked(address indexed account, address indexed sessionKey)"
GRANT_LIST = (
    "grant(uint64 validUntil, bytes32 id, (bytes4 selector, address target, uint128 maxValue)[] calls,"
    " uint32 maxUses, uint256 maxTotalValue, address sessionKey)"
)
GRANTED_LIST = (
    "event Granted(bytes32 indexed id, uint64 validUntil, (bytes4 selector, address target, uint128 maxValue)[]"
)
GRANTED_LIST += " calls, uint32 maxUses, uint256 maxTotalValue, address sessionKey, address account)"
CLOSE = "close(bytes32 id)"
CLOSED = "event Closed(address indexed account, bytes32 indexed id)"


def module(**settings: Any) -> DeclaredModule:
    """A module as the settings would have it; its address is written as there."""
    settings["address"] = print_checksummed(settings["address"])
    return DeclaredModuleSettings.model_validate({"kind": "declared", **settings}).described()


GUIDE = module(address=PLAIN, grants=[CREATE, CREATED], revokes=[REVOKE, REVOKED, "revokeAll()"])
"""The shape of the guides: sessions named by their keys, signatures bare, one call a session."""
LEDGER_OF_IDS = module(
    address=NAMED,
    signature="packed(bytes1 _, bytes32 id, bytes signature)",
    key_signs="hash",
    grants=[GRANT_LIST, GRANTED_LIST],
    revokes=[CLOSE, CLOSED],
)
"""Another order of arguments, sessions named by an id, several calls a session with limits over all of them."""
MODULES = SessionModules.of((), (GUIDE, LEDGER_OF_IDS), CHAIN_ID)


def call_of(prototype: str, *values: Any, module: Address = PLAIN) -> Call:
    """A call of the function that is written so."""
    read = parse_prototype(prototype)
    types = abi.tuple_of(*(each.type for each in read.parameters))
    return Call(module, 0, read.selector + abi.encode(types, values))


def log_of(prototype: str, *values: Any) -> tuple[tuple[Hash32, ...], bytes]:
    """Topics and data of the event that is written so."""
    read = parse_prototype(prototype)
    pairs = list(zip(read.parameters, values, strict=True))
    topics = [Hash32(abi.encode(abi.tuple_of(each.type), [value])) for each, value in pairs if each.indexed]
    plain = [(each.type, value) for each, value in pairs if not each.indexed]
    return (read.topic, *topics), abi.encode(abi.tuple_of(*(kind for kind, _ in plain)), [value for _, value in plain])


def name_at(module: DeclaredModule, name: Hash32, account: Address = ACCOUNT) -> SessionKey:
    return SessionKey(CHAIN_ID, module.address, account, name)


def name_of_key(session_key: Address, account: Address = ACCOUNT) -> SessionKey:
    """The session of a key at the guides' module."""
    return name_at(GUIDE, key_id(session_key), account)


def an_id(text: str) -> Hash32:
    return keccak256(text.encode())
