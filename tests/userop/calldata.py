"""Call data for tests, encoded by eth_abi so that nothing is checked against its own encoder."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode
from eth_abi.grammar import parse

from proxy.userop.arguments import selector
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from proxy.userop.transfers import Movement, movements_of

ACCOUNT = Address(b"\xac" * 20)
TOKEN = Address(b"\x70" * 20)
ALICE = Address(b"\xa1" * 20)
BOB = Address(b"\xb0" * 20)
MODULE = Address(bytes.fromhex("00000000008bDABA73cd9815d79069c247Eb4bDA"))
OLD_MODULE = Address(bytes.fromhex("00000000002B0eCfbD0496EE71e01257dA0E37DE"))
MODULES = frozenset((MODULE, OLD_MODULE))


def call_data(signature: str, *arguments: Any) -> bytes:
    """The selector of `signature` and its arguments."""
    members = signature[signature.index("(") :]
    types = [] if members == "()" else [item.to_type_str() for item in parse(members).components]
    return selector(signature) + encode(types, arguments)


def call(target: Address, signature: str, *arguments: Any, value: int = 0) -> Call:
    """A call of the account."""
    return Call(target, value, call_data(signature, *arguments))


def moved(target: Address, signature: str, *arguments: Any, value: int = 0) -> tuple[Movement, ...]:
    """What that call moves."""
    return movements_of([call(target, signature, *arguments, value=value)], ACCOUNT)


def single(target: Address, signature: str, *arguments: Any, value: int = 0) -> Movement:
    """The one thing that call moves."""
    (movement,) = moved(target, signature, *arguments, value=value)
    return movement


def execute_single(inner: Call) -> bytes:
    """ERC-7579 execute in single mode."""
    packed = inner.target + inner.value.to_bytes(32, "big") + inner.data
    return call_data("execute(bytes32,bytes)", bytes(32), packed)


def execute_batch(*inner: Call) -> bytes:
    """ERC-7579 execute in batch mode."""
    packed = encode(["(address,uint256,bytes)[]"], [[(item.target, item.value, item.data) for item in inner]])
    return call_data("execute(bytes32,bytes)", b"\x01".ljust(32, b"\0"), packed)
