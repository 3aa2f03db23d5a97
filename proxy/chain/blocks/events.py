"""The entry point's events and the bundles that caused them, read from bytes.

Source: ERC-4337, `IEntryPoint`; the events are the same from v0.6 to v0.9, `handleOps` takes the old shape of an
operation in v0.6 and the packed one after it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from proxy.chain import contract_abi
from proxy.chain.logs import Log
from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.decode import decode_claim
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.user_operation import UserOperation

USER_OPERATION_EVENT: Final = keccak256(b"UserOperationEvent(bytes32,address,address,uint256,bool,uint256,uint256)")
"""Emitted for every operation that was executed; hash, sender and paymaster are topics."""
REVERT_REASON: Final = keccak256(b"UserOperationRevertReason(bytes32,address,uint256,bytes)")
"""Emitted before it where the calls reverted with data; hash and sender are topics."""
OPERATION_TOPICS: Final = (USER_OPERATION_EVENT, REVERT_REASON)

_WORD: Final = 32
_EXECUTED_BYTES: Final = 4 * _WORD  # nonce, success, gas cost, gas used
_REASON: Final = ("uint256", "bytes")  # nonce, what the calls reverted with
_MOST_REASON_BYTES: Final = 1 << 12

_PACKED: Final = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)
_OLD: Final = abi.tuple_of(*(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, *(abi.UINT256,) * 5, abi.BYTES, abi.BYTES))
_BUNDLE: Final = abi.tuple_of(abi.list_of(_PACKED), abi.ADDRESS)
_OLD_BUNDLE: Final = abi.tuple_of(abi.list_of(_OLD), abi.ADDRESS)
_HANDLE_OPS: Final = keccak256(f"handleOps{_BUNDLE.name}".encode())[:4]
_HANDLE_OLD_OPS: Final = keccak256(f"handleOps{_OLD_BUNDLE.name}".encode())[:4]
_MOST_BUNDLE_BYTES: Final = 1 << 18
"""Of call data that is read: a stranger may have written it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A UserOperationEvent. Amounts in wei and gas."""

    user_op_hash: Hash32
    sender: Address
    nonce: int
    success: bool
    gas_cost: int
    gas_used: int


def read_executed(log: Log) -> Executed | None:
    """What an entry point's log says was executed; `None` when it is another event, or not of that shape."""
    if len(log.topics) != 4 or log.topics[0] != USER_OPERATION_EVENT or any(log.topics[2][:12]):
        return None
    data = log.data
    if len(data) < _EXECUTED_BYTES:
        return None
    # four words, read by hand: there is one such log for every operation
    nonce, success, gas_cost, gas_used = (
        int.from_bytes(data[at : at + _WORD], "big") for at in range(0, _EXECUTED_BYTES, _WORD)
    )
    if success > 1:
        return None
    return Executed(
        user_op_hash=log.topics[1],
        sender=Address(log.topics[2][12:]),
        nonce=nonce,
        success=bool(success),
        gas_cost=gas_cost,
        gas_used=gas_used,
    )


def read_reason(log: Log) -> tuple[Hash32, bytes] | None:
    """The operation and what its calls reverted with, cut to a bound; `None` when it is another event."""
    if len(log.topics) != 3 or log.topics[0] != REVERT_REASON:
        return None
    try:
        _, reason = contract_abi.decode(_REASON, log.data, "UserOperationRevertReason")
    except Undecodable:
        return None
    return log.topics[1], reason[:_MOST_REASON_BYTES]


class BundledClaim(NamedTuple):
    """The sessions that an operation of a bundle claims, what it calls, and whether it brings its session's grant
    along."""

    permission_ids: tuple[Hash32, ...]
    call_data: bytes
    enables: bool = False


def read_claims(
    call_data: bytes,
    entry_point: EntryPoint,
    modules: Collection[Address],
    wanted: Mapping[tuple[Address, int], Hash32],
) -> Mapping[tuple[Address, int], BundledClaim] | None:
    """What the wanted operations of a bundle claim, by sender and nonce; `None`: it is no bundle. `wanted` has their
    hashes, which a session may be told by.

    A nonce is used once in the life of a chain, so sender and nonce name the operation that was executed. One without
    a session claim claims nothing; one that is not there, or whose claim cannot be read, is left out.
    """
    if len(call_data) > _MOST_BUNDLE_BYTES:
        return None
    old = entry_point.version is EntryPointVersion.V06
    if call_data[:4] != (_HANDLE_OLD_OPS if old else _HANDLE_OPS):
        return None
    try:
        operations, _ = abi.decode(_OLD_BUNDLE if old else _BUNDLE, call_data[4:], "handleOps")
    except Undecodable:
        return None
    claims = {}
    for operation in operations:
        sender, nonce, signature = operation[0], operation[1], operation[-1]
        if (sender, nonce) not in wanted:
            continue  # strangers' signatures may be dear to read
        op = UserOperation(sender=sender, nonce=nonce, call_data=b"", signature=signature)
        try:
            claim = decode_claim(op, entry_point, modules, user_op_hash=wanted[sender, nonce])
        except Undecodable:
            continue
        # in all versions the call data are the third field after sender, nonce and init code
        called = operation[3]
        claims[sender, nonce] = (
            BundledClaim((), called)
            if claim is None
            else BundledClaim((claim.envelope.permission_id,), called, enables=claim.envelope.enable is not None)
        )
    return claims
