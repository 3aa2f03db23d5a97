"""Names for the selectors that people meet most, and what is handed to such functions; a selector has no name of its
own on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eth_abi.grammar import ABIType, TupleType, parse

from proxy.chain import contract_abi
from proxy.errors import Undecodable
from proxy.userop.primitives import Address, keccak256, print_bytes, print_checksummed

_MOST_BYTES: Final = 1 << 14
"""Of arguments that are read: a stranger may have written them."""

_SIGNATURES: Final = (
    *("transfer(address,uint256)", "transferFrom(address,address,uint256)", "approve(address,uint256)"),
    *("increaseAllowance(address,uint256)", "decreaseAllowance(address,uint256)", "mint(address,uint256)"),
    *("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", "burn(uint256)", "mint(address)"),
    *("safeTransferFrom(address,address,uint256)", "safeTransferFrom(address,address,uint256,bytes)"),
    *("safeTransferFrom(address,address,uint256,uint256,bytes)", "setApprovalForAll(address,bool)"),
    *("deposit()", "withdraw(uint256)", "deposit(uint256,address)", "redeem(uint256,address,address)"),
    *("multicall(bytes[])", "multicall(uint256,bytes[])", "aggregate3((address,bool,bytes)[])"),
    *("execute(bytes32,bytes)", "executeFromExecutor(bytes32,bytes)", "execute(address,uint256,bytes)"),
    *("executeBatch(address[],uint256[],bytes[])", "executeBatch((address,uint256,bytes)[])"),
    *("installModule(uint256,address,bytes)", "uninstallModule(uint256,address,bytes)"),
    *("upgradeToAndCall(address,bytes)", "depositTo(address)", "withdrawTo(address,uint256)"),
    *("removeSession(bytes32)", "revokeEnableSignature(bytes32)", "setPermit4337Paymaster(bytes32,bool)"),
    "disableActionId(bytes32,bytes32)",
)
_WITH_STRUCTS: Final = {
    "21712407": "enableSessions(Session[])",
    "454c9d82": "enableUserOpPolicies(bytes32,PolicyData[])",
    "d056b06d": "disableUserOpPolicies(bytes32,address[])",
    "4e33ad2e": "enableActionPolicies(bytes32,ActionData[])",
    "6e79eee0": "disableActionPolicies(bytes32,bytes32,address[])",
    "f5297b77": "enableERC1271Policies(bytes32,ERC7739Data)",
    "8dd7712f": "executeUserOp(PackedUserOperation,bytes32)",
}
_NAMES: Final = {keccak256(text.encode())[:4]: text for text in _SIGNATURES} | {
    bytes.fromhex(selector): text for selector, text in _WITH_STRUCTS.items()
}


_BY_TYPES: Final = {keccak256(text.encode())[:4]: text for text in _SIGNATURES}


def function_name(selector: bytes) -> str | None:
    """The usual function behind a selector. Other functions may share the four bytes, so it is a hint only."""
    return _NAMES.get(selector)


def arguments_of(data: bytes) -> list[object] | None:
    """What call data hands to the usual function behind its selector: amounts as text, addresses checksummed, bytes as
    0x-hex. `None` where that function is not known by its types, or the data is not what it takes."""
    text = None if len(data) > _MOST_BYTES else _BY_TYPES.get(data[:4])
    if text is None:
        return None
    types = _types_of(text)
    names = [str(each.to_type_str()) for each in types]  # type: ignore[no-untyped-call]  # it has no types
    try:
        values = contract_abi.decode(names, data[4:], text)
    except Undecodable:
        return None
    if contract_abi.encode(names, values) != data[4:]:
        return None
    return [_shown(each, value) for each, value in zip(types, values, strict=True)]


def _types_of(function: str) -> Sequence[ABIType]:
    written = function[function.index("(") :]
    parsed = None if written == "()" else parse(written)
    return parsed.components if isinstance(parsed, TupleType) else ()


def _shown(kind: ABIType, value: object) -> object:
    if kind.is_array:
        return [_shown(kind.item_type, each) for each in value]  # type: ignore[attr-defined]  # as its type says
    if isinstance(kind, TupleType):
        return [_shown(each, part) for each, part in zip(kind.components, value, strict=True)]  # type: ignore[call-overload]  # likewise
    if isinstance(value, bytes):
        is_address = kind.to_type_str() == "address"  # type: ignore[no-untyped-call]  # likewise
        return print_checksummed(Address(value)) if is_address else print_bytes(value)
    return value if isinstance(value, bool) else str(value)
