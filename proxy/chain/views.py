"""Asking contracts: the views of session modules, policies, validators and accounts, each with its exact types.

Sources: the published ABI of erc7579/smartsessions (`ISmartSession.sol` and the policy contracts), ERC-1271,
ERC-7579 `IStatelessValidator`; for the emissary @rhinestone/sdk `smart-sessions`. The order of (account, id) differs
from view to view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from proxy.chain import contract_abi
from proxy.chain.node import Node, Reverted
from proxy.chain.settlement.slices import BlockName
from proxy.errors import ContractAbsent, StateUnavailable, Undecodable
from proxy.userop.primitives import Address, keccak256, print_bytes


@dataclass(frozen=True, slots=True)
class View:
    """One function: its name, selector, argument types and result types, as the ABI specification writes them."""

    name: str
    selector: bytes
    arguments: tuple[str, ...]
    results: tuple[str, ...]

    def call_data(self, *arguments: object) -> bytes:
        """selector ‖ abi.encode(arguments)."""
        return self.selector + contract_abi.encode(self.arguments, arguments)


def view_of(signature: str, *results: str) -> View:
    """A view by its signature, `name(type,…)`."""
    name, _, rest = signature.partition("(")
    return View(name, keccak256(signature.encode())[:4], _split(rest[:-1]), results)


def _split(types: str) -> tuple[str, ...]:
    """The types between commas that stand in no tuple."""
    parts, depth, part = [], 0, ""
    for char in types:
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append(part)
            part = ""
        else:
            part += char
    return (*parts, part) if part else ()


_CONFIG: Final = "bytes32,address,address"  # configId, multiplexer, account
_PACKED: Final = "(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)"  # ERC-4337, v0.7 and later

IS_PERMISSION_ENABLED: Final = view_of("isPermissionEnabled(bytes32,address)", "bool")
GET_NONCE: Final = view_of("getNonce(bytes32,address)", "uint256")
EMISSARY_IS_PERMISSION_ENABLED: Final = view_of("isPermissionEnabled(address,bytes32)", "bool")
EMISSARY_GET_NONCE: Final = view_of("getNonce(address,bytes12)", "uint256")
GET_SESSION_VALIDATOR: Final = view_of("getSessionValidatorAndConfig(address,bytes32)", "address", "bytes")
GET_USER_OP_POLICIES: Final = view_of("getUserOpPolicies(address,bytes32)", "address[]")
GET_ERC1271_POLICIES: Final = view_of("getERC1271Policies(address,bytes32)", "address[]")
GET_ENABLED_ACTIONS: Final = view_of("getEnabledActions(address,bytes32)", "bytes32[]")
GET_ACTION_POLICIES: Final = view_of("getActionPolicies(address,bytes32,bytes32)", "address[]")
VALIDATE_USER_OP: Final = view_of(f"validateUserOp({_PACKED},bytes32)", "uint256")

GET_USAGE_LIMIT: Final = view_of(f"getUsageLimit({_CONFIG})", "uint256")
GET_VALUE_LIMIT: Final = view_of(f"getValueLimit({_CONFIG})", "uint256")
GET_USED: Final = view_of(f"getUsed({_CONFIG})", "uint256")
GET_TIME_FRAME: Final = view_of(f"getTimeFrameConfig({_CONFIG})", "uint256")
GET_GAS_CONFIG: Final = view_of(f"getGasConfig({_CONFIG})", *("uint256",) * 4)
ACTION_CONFIGS: Final = view_of(f"actionConfigs({_CONFIG})")
GET_TOKEN_DATA: Final = view_of("getPolicyData(bytes32,address,address,address)", *("uint256",) * 3)
IS_TARGET_ALLOWED: Final = view_of("isContractWhitelisted(bytes32,address,address,address)", "bool")
CHECK_ACTION: Final = view_of("checkAction(bytes32,address,address,uint256,bytes)", "uint256")
CHECK_USER_OP: Final = view_of(f"checkUserOpPolicy(bytes32,{_PACKED})", "uint256")

VALIDATE_SIGNATURE: Final = view_of("validateSignatureWithData(bytes32,bytes,bytes)", "bool")
IS_VALID_SIGNATURE: Final = view_of("isValidSignature(bytes32,bytes)", "bytes4")
IS_MODULE_INSTALLED: Final = view_of("isModuleInstalled(uint256,address,bytes)", "bool")


async def ask(
    node: Node, at: Address, view: View, *arguments: object, block: BlockName | None = None
) -> tuple[Any, ...]:  # Any: what the view's result types say
    """The results of a view. Raises `StateUnavailable` naming it when it reverts, is missing or answers otherwise."""
    return read(at, view, await ask_raw(node, at, view, *arguments, block=block))


async def ask_raw(node: Node, at: Address, view: View, *arguments: object, block: BlockName | None = None) -> bytes:
    """The bytes a view returned. Raises `StateUnavailable` as above."""
    answer = await node.call(at, view.call_data(*arguments), block=block)
    if isinstance(answer, Reverted):
        raise StateUnavailable(f"{view.name} at {print_bytes(at)} reverted")
    return answer


def read(at: Address, view: View, answer: bytes) -> tuple[Any, ...]:
    """Decode what a view returned. Raises `StateUnavailable` when it is not of the view's types."""
    if not answer:
        raise ContractAbsent(f"{view.name} at {print_bytes(at)}: no contract there, or none with this view")
    try:
        return contract_abi.decode(view.results, answer, view.name)
    except Undecodable as error:
        raise StateUnavailable(f"{view.name} at {print_bytes(at)} cannot be read: {error.problem}") from None
