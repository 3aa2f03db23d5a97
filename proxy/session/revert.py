"""What the chain would revert with, byte for byte.

Error names and argument types: erc7579/smartsessions `ISmartSession.sol`, `IPolicy.sol`, the policy contracts and
`ExecutionLib`; `Panic` is Solidity's own.
"""

from __future__ import annotations

from typing import Final

from proxy.record import record
from proxy.userop.primitives import keccak256

SIGNATURES: Final = (
    "Panic(uint256)",
    # the session module
    "InvalidUserOpSender(address)",
    "InvalidPermissionId(bytes32)",
    "PaymasterValidationNotEnabled(bytes32)",
    "NoPoliciesSet(bytes32)",
    "PolicyViolation(bytes32,address)",
    "PolicyCheckReverted(bytes32)",
    "SignerNotFound(bytes32,address)",
    "UnsupportedExecutionType()",
    "UnsupportedCallType(bytes1)",
    "NoExecutionsInBatch()",
    "InvalidSelfCall()",
    "InvalidTarget()",
    "InvalidActionId()",
    "InvalidISessionValidator(address)",
    "UnsupportedPolicy(address)",
    "InvalidSession(bytes32)",
    "InvalidMode()",
    "SmartSessionModuleAlreadyInstalled(address)",
    "ChainIdMismatch(uint64)",
    "HashMismatch(bytes32,bytes32)",
    "InvalidEnableSignature(address,bytes32)",
    "DecodingError()",
    "InvalidSignature()",
    # the account
    "ValidatorNotInstalled(address)",
    # the emissary
    "InvalidEmissaryEnableData()",
    "InvalidUserSignature()",
    "InvalidAllocatorSignature()",
    "UnsafeFallbackNotAllowed()",
    # the session validators
    "NotSorted()",
    "InvalidSignatureLength()",
    "UnknownSignerType()",
    # the policies
    "PolicyNotInitialized(bytes32,address,address)",
    "ValueLimitExceeded(bytes32,uint256,uint256)",
    "InvalidTokenAddress(address)",
    "InvalidLimit(uint256)",
    "InvalidInitDataLength()",
    "InvalidInitData()",
    "EmptyExpressionTree()",
    "RootNodeIndexOutOfBounds()",
    "RuleIndexOutOfBounds()",
    "NodeChildIndexOutOfBounds()",
    "TooManyRules()",
    "TooManyNodes()",
)
"""Errors that this package can predict, as Solidity declares them."""

SELECTOR_BY_ERROR: Final = {text.partition("(")[0]: keccak256(text.encode())[:4] for text in SIGNATURES}
"""The first four bytes of the revert data of each error that this package can predict."""


@record()
class Revert:
    """A revert: the error's name and arguments, or `error=None` with raw data (empty for a bare revert).

    Arguments are ints (uint256) and bytes (20 for an address, otherwise left-aligned). `halted` marks an
    exceptional halt, which has no data at all.
    """

    error: str | None = None
    args: tuple[int | bytes, ...] = ()
    raw: bytes = b""
    halted: bool = False

    @property
    def data(self) -> bytes:
        """The revert data, ABI-encoded; every known error has static arguments only."""
        if self.error is None or self.halted:
            return self.raw
        return SELECTOR_BY_ERROR[self.error] + b"".join(_word(argument) for argument in self.args)


def _word(argument: int | bytes) -> bytes:
    if isinstance(argument, int):
        return argument.to_bytes(32, "big")
    return argument.rjust(32, b"\0") if len(argument) == 20 else argument.ljust(32, b"\0")


BARE: Final = Revert()
"""A revert without data."""
OVERFLOW: Final = Revert("Panic", (0x11,))
"""Checked arithmetic overflowed."""
BAD_ENUM: Final = Revert("Panic", (0x21,))
INDEX_OUT_OF_RANGE: Final = Revert("Panic", (0x32,))
STACK_OVERFLOW: Final = Revert("StackOverflow", halted=True)
"""An exceptional halt: all gas given to the call is burnt."""


def policy_check_reverted(revert: Revert) -> Revert:
    """How the module passes on a policy's revert: the first word of its data, zero padded (PolicyLib.callPolicy)."""
    return Revert("PolicyCheckReverted", (revert.data[:32].ljust(32, b"\0"),))
