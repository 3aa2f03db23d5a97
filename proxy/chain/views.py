"""Asking contracts: the views of session modules, policies, validators and accounts, each with its exact types.

Sources: the published ABI of erc7579/smartsessions (`ISmartSession.sol` and the policy contracts), ERC-1271,
ERC-7579 `IStatelessValidator`; for the emissary @rhinestone/sdk `smart-sessions`. The order of (account, id) differs
from view to view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.chain.node import Node, Reverted
from proxy.errors import StateUnavailable, Undecodable
from proxy.userop import abi
from proxy.userop.abi import AbiType
from proxy.userop.primitives import Address, keccak256, print_bytes


@dataclass(frozen=True, slots=True)
class View:
    """One function: its name, selector, argument types and result types."""

    name: str
    selector: bytes
    arguments: AbiType
    results: AbiType

    def call_data(self, *arguments: object) -> bytes:
        """selector ‖ abi.encode(arguments)."""
        return self.selector + abi.encode(self.arguments, arguments)


def _view(name: str, arguments: Sequence[AbiType], *results: AbiType) -> View:
    types = abi.tuple_of(*arguments)
    selector = keccak256(f"{name}{types.name}".encode())[:4]
    return View(name, selector, types, abi.tuple_of(*results))


_ADDRESSES: Final = abi.list_of(abi.ADDRESS)
_CONFIG: Final = (abi.BYTES32, abi.ADDRESS, abi.ADDRESS)  # configId, multiplexer, account
PACKED_USER_OPERATION: Final = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)
"""PackedUserOperation (ERC-4337, v0.7 and later)."""

IS_PERMISSION_ENABLED: Final = _view("isPermissionEnabled", (abi.BYTES32, abi.ADDRESS), abi.BOOL)
GET_NONCE: Final = _view("getNonce", (abi.BYTES32, abi.ADDRESS), abi.UINT256)
EMISSARY_IS_PERMISSION_ENABLED: Final = _view("isPermissionEnabled", (abi.ADDRESS, abi.BYTES32), abi.BOOL)
EMISSARY_GET_NONCE: Final = _view("getNonce", (abi.ADDRESS, abi.fixed_bytes(12)), abi.UINT256)
GET_SESSION_VALIDATOR: Final = _view("getSessionValidatorAndConfig", (abi.ADDRESS, abi.BYTES32), abi.ADDRESS, abi.BYTES)
GET_USER_OP_POLICIES: Final = _view("getUserOpPolicies", (abi.ADDRESS, abi.BYTES32), _ADDRESSES)
GET_ERC1271_POLICIES: Final = _view("getERC1271Policies", (abi.ADDRESS, abi.BYTES32), _ADDRESSES)
GET_ENABLED_ACTIONS: Final = _view("getEnabledActions", (abi.ADDRESS, abi.BYTES32), abi.list_of(abi.BYTES32))
GET_ACTION_POLICIES: Final = _view("getActionPolicies", (abi.ADDRESS, abi.BYTES32, abi.BYTES32), _ADDRESSES)
VALIDATE_USER_OP: Final = _view("validateUserOp", (PACKED_USER_OPERATION, abi.BYTES32), abi.UINT256)

GET_USAGE_LIMIT: Final = _view("getUsageLimit", _CONFIG, abi.UINT256)
GET_VALUE_LIMIT: Final = _view("getValueLimit", _CONFIG, abi.UINT256)
GET_USED: Final = _view("getUsed", _CONFIG, abi.UINT256)
GET_TIME_FRAME: Final = _view("getTimeFrameConfig", _CONFIG, abi.UINT256)
GET_GAS_CONFIG: Final = _view("getGasConfig", _CONFIG, *(abi.UINT256,) * 4)
ACTION_CONFIGS: Final = _view("actionConfigs", _CONFIG)
GET_TOKEN_DATA: Final = _view(
    "getPolicyData", (abi.BYTES32, abi.ADDRESS, abi.ADDRESS, abi.ADDRESS), *(abi.UINT256,) * 3
)
IS_TARGET_ALLOWED: Final = _view(
    "isContractWhitelisted", (abi.BYTES32, abi.ADDRESS, abi.ADDRESS, abi.ADDRESS), abi.BOOL
)
CHECK_ACTION: Final = _view("checkAction", (abi.BYTES32, abi.ADDRESS, abi.ADDRESS, abi.UINT256, abi.BYTES), abi.UINT256)
CHECK_USER_OP: Final = _view("checkUserOpPolicy", (abi.BYTES32, PACKED_USER_OPERATION), abi.UINT256)

VALIDATE_SIGNATURE: Final = _view("validateSignatureWithData", (abi.BYTES32, abi.BYTES, abi.BYTES), abi.BOOL)
IS_MODULE_INSTALLED: Final = _view("isModuleInstalled", (abi.UINT256, abi.ADDRESS, abi.BYTES), abi.BOOL)
IS_VALID_SIGNATURE: Final = _view("isValidSignature", (abi.BYTES32, abi.BYTES), abi.BYTES4)


async def ask(
    node: Node, at: Address, view: View, *arguments: object, block: int | None = None
) -> tuple[Any, ...]:  # Any: what the view's result types say
    """The results of a view. Raises `StateUnavailable` naming it when it reverts, is missing or answers otherwise."""
    return read(at, view, await ask_raw(node, at, view, *arguments, block=block))


async def ask_raw(node: Node, at: Address, view: View, *arguments: object, block: int | None = None) -> bytes:
    """The bytes a view returned. Raises `StateUnavailable` as above."""
    answer = await node.call(at, view.call_data(*arguments), block=block)
    if isinstance(answer, Reverted):
        raise StateUnavailable(f"{view.name} at {print_bytes(at)} reverted")
    return answer


def read(at: Address, view: View, answer: bytes) -> tuple[Any, ...]:
    """Decode what a view returned. Raises `StateUnavailable` when it is not of the view's types."""
    if not answer:
        raise StateUnavailable(f"{view.name} at {print_bytes(at)}: no contract there, or none with this view")
    try:
        return abi.decode(view.results, answer, view.name)
    except Undecodable as error:
        raise StateUnavailable(f"{view.name} at {print_bytes(at)} cannot be read: {error.problem}") from None
