"""The hash that identifies an operation and that its signer signs, for every entry point version.

v0.6 and v0.7: keccak256(abi.encode(keccak256(fields), entryPoint, chainId)); v0.8 and v0.9: EIP-712 with the domain
("ERC4337", "1", chainId, entryPoint). Source: eth-infinitism/account-abstraction `UserOperationLib.sol`,
`EntryPoint.getUserOpHash`, `Eip7702Support.sol`. The signature is never part of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from proxy.errors import Undecodable
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.primitives import Address, Hash32, keccak256, sha3
from proxy.userop.user_operation import EIP7702_MARKER, UserOperation


class DelegateUnknown(Undecodable):
    """The hash covers the sender's EIP-7702 delegate, which only the chain can tell."""

    def __init__(self) -> None:
        super().__init__("factory", "the sender's EIP-7702 delegate is part of the hash and not known")


PACKED_USER_OPERATION_TYPEHASH: Final = keccak256(
    b"PackedUserOperation(address sender,uint256 nonce,bytes initCode,bytes callData,bytes32 accountGasLimits,"
    b"uint256 preVerificationGas,bytes32 gasFees,bytes paymasterAndData)"
)
_DOMAIN_TYPEHASH: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_DOMAIN_NAME: Final = keccak256(b"ERC4337")
_DOMAIN_VERSION: Final = keccak256(b"1")

PAYMASTER_SIGNATURE_MAGIC: Final = keccak256(b"PaymasterSignature")[:8]
"""Ends a v0.9 paymasterAndData that carries a paymaster signature: … ‖ signature ‖ uint16 length ‖ magic."""

_PAYMASTER_HEAD: Final = 52  # paymaster ‖ verificationGasLimit ‖ postOpGasLimit
_TAIL: Final = 10  # length ‖ magic
_MARKER: Final = EIP7702_MARKER.ljust(20, b"\0")
_EMPTY: Final = keccak256(b"")
_V06, _V07 = EntryPointVersion.V06, EntryPointVersion.V07
_HIGH_BYTES: Final = bytes(12)  # of an address in its word
_EMPTY_AS_TEMPLATE: Final = _EMPTY.replace(b"%", b"%%")
_SELF_PAID: Final = _HIGH_BYTES + b"%b%b" + _EMPTY_AS_TEMPLATE + b"%b%b%b%b" + _EMPTY_AS_TEMPLATE
"""The fields of an operation without factory and paymaster: sender, nonce, call data, gas limits, gas, fees."""


def user_op_hash(
    op: UserOperation, entry_point: EntryPoint, chain_id: int, *, delegate: Address | None = None
) -> Hash32:
    """The userOpHash as the entry point computes it; absent gas fields of an estimate count as zero.

    `delegate` is the address in the sender's EIP-7702 designator, needed from v0.8 on when the factory is the
    EIP-7702 marker and the operation carries no authorization. Raises `DelegateUnknown` when it is missing then,
    and `Undecodable` for a paymaster signature that cannot be packed.
    """
    version = entry_point.version
    if version is _V06:
        return _hash_v06(op, entry_point, chain_id)
    if op.factory is None and op.paymaster is None and not op.paymaster_signature:  # most, in as few steps as it takes
        fields = _SELF_PAID % (
            op.sender,
            op.nonce.to_bytes(32, "big"),
            sha3(op.call_data).digest(),
            ((op.verification_gas_limit or 0) << 128 | (op.call_gas_limit or 0)).to_bytes(32, "big"),
            (op.pre_verification_gas or 0).to_bytes(32, "big"),
            ((op.max_priority_fee_per_gas or 0) << 128 | (op.max_fee_per_gas or 0)).to_bytes(32, "big"),
        )
        if version is _V07:
            return Hash32(sha3(sha3(fields).digest() + _place(entry_point.address, chain_id)).digest())
        separator = _domain_separator(entry_point.address, chain_id)
        return Hash32(sha3(b"\x19\x01" + separator + sha3(PACKED_USER_OPERATION_TYPEHASH + fields).digest()).digest())
    if op.eip7702_auth is not None:
        delegate = op.eip7702_auth.address
    return packed_user_op_hash(
        entry_point,
        chain_id,
        sender=op.sender,
        nonce=op.nonce,
        init_code=op.packed_init_code(),
        call_data=op.call_data,
        account_gas_limits=_halves(op.verification_gas_limit, op.call_gas_limit),
        pre_verification_gas=op.pre_verification_gas or 0,
        gas_fees=_halves(op.max_priority_fee_per_gas, op.max_fee_per_gas),
        paymaster_and_data=_paymaster_with_signature(op),
        delegate=delegate,
    )


def _halves(high: int | None, low: int | None) -> bytes:
    """The word of two numbers, of which one that is absent counts as zero."""
    return ((high or 0) << 128 | (low or 0)).to_bytes(32, "big")


def packed_user_op_hash(
    entry_point: EntryPoint,
    chain_id: int,
    *,
    sender: Address,
    nonce: int,
    init_code: bytes,
    call_data: bytes,
    account_gas_limits: bytes,
    pre_verification_gas: int,
    gas_fees: bytes,
    paymaster_and_data: bytes,
    delegate: Address | None = None,
) -> Hash32:
    """The hash of a PackedUserOperation, the form that entry points from v0.7 on take."""
    version = entry_point.version
    if init_code and version is not EntryPointVersion.V07:
        init_code = _with_delegate(init_code, delegate)
    if paymaster_and_data and version is EntryPointVersion.V09:
        paymaster_and_data = _without_paymaster_signature(paymaster_and_data)
    fields = b"".join(
        (
            bytes(12),
            sender,
            nonce.to_bytes(32, "big"),
            keccak256(init_code) if init_code else _EMPTY,
            keccak256(call_data),
            account_gas_limits,
            pre_verification_gas.to_bytes(32, "big"),
            gas_fees,
            keccak256(paymaster_and_data) if paymaster_and_data else _EMPTY,
        )
    )
    if version is EntryPointVersion.V07:
        return _hash_for(fields, entry_point, chain_id)
    separator = _domain_separator(entry_point.address, chain_id)
    return keccak256(b"\x19\x01" + separator + keccak256(PACKED_USER_OPERATION_TYPEHASH + fields))


def _hash_v06(op: UserOperation, entry_point: EntryPoint, chain_id: int) -> Hash32:
    fields = b"".join(
        (
            bytes(12),
            op.sender,
            op.nonce.to_bytes(32, "big"),
            keccak256(op.init_code or b""),
            keccak256(op.call_data),
            (op.call_gas_limit or 0).to_bytes(32, "big"),
            (op.verification_gas_limit or 0).to_bytes(32, "big"),
            (op.pre_verification_gas or 0).to_bytes(32, "big"),
            (op.max_fee_per_gas or 0).to_bytes(32, "big"),
            (op.max_priority_fee_per_gas or 0).to_bytes(32, "big"),
            keccak256(op.paymaster_and_data or b""),
        )
    )
    return _hash_for(fields, entry_point, chain_id)


def _hash_for(fields: bytes, entry_point: EntryPoint, chain_id: int) -> Hash32:
    return keccak256(keccak256(fields) + _place(entry_point.address, chain_id))


@lru_cache(maxsize=64)
def _place(entry_point: Address, chain_id: int) -> bytes:
    return _HIGH_BYTES + entry_point + chain_id.to_bytes(32, "big")


@lru_cache(maxsize=64)
def _domain_separator(entry_point: Address, chain_id: int) -> Hash32:
    return keccak256(
        _DOMAIN_TYPEHASH + _DOMAIN_NAME + _DOMAIN_VERSION + chain_id.to_bytes(32, "big") + bytes(12) + entry_point
    )


def _with_delegate(init_code: bytes, delegate: Address | None) -> bytes:
    # a marker shorter than 20 bytes counts as padded with zeros
    if len(init_code) < 2 or init_code[:20].ljust(20, b"\0") != _MARKER:
        return init_code
    if delegate is None:
        raise DelegateUnknown
    return delegate + init_code[20:]


def _paymaster_with_signature(op: UserOperation) -> bytes:
    packed = op.packed_paymaster_and_data()
    signature = op.paymaster_signature
    if not signature:
        return packed
    if len(signature) > 0xFFFF:
        raise Undecodable("paymasterSignature", "longer than 65535 bytes")
    return packed + signature + len(signature).to_bytes(2, "big") + PAYMASTER_SIGNATURE_MAGIC


def _without_paymaster_signature(packed: bytes) -> bytes:
    if len(packed) < _PAYMASTER_HEAD + _TAIL or not packed.endswith(PAYMASTER_SIGNATURE_MAGIC):
        return packed
    length = int.from_bytes(packed[-_TAIL:-8], "big")
    if length == 0:
        return packed
    start = len(packed) - _TAIL - length
    if start < _PAYMASTER_HEAD:
        raise Undecodable("paymasterData", "paymaster signature reaches into the fixed fields")
    return packed[:start] + PAYMASTER_SIGNATURE_MAGIC
