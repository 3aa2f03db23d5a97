"""Names for the selectors that people meet most; a selector has no name of its own on the wire."""

from __future__ import annotations

from typing import Final

from proxy.userop.primitives import keccak256

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


def function_name(selector: bytes) -> str | None:
    """The usual function behind a selector. Other functions may share the four bytes, so it is a hint only."""
    return _NAMES.get(selector)
