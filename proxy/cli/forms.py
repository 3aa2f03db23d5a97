"""The forms in which operations are written down outside of requests, turned into the one that is judged.

Bundlers' answers, PackedUserOperation, the input of handleOps and getUserOpHash, decimal quantities and what SDKs
print. What was converted is said. The wire is never read so.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.cli.spellings import as_bytes, member_named, our_name, quantity
from proxy.errors import InvalidParams
from proxy.strict_json import NumberLiteral
from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, ENTRY_POINT_BY_VERSION, EntryPoint, EntryPointVersion
from proxy.userop.primitives import parse_address, parse_bytes, print_bytes, print_uint
from proxy.userop.user_op_hash import PAYMASTER_SIGNATURE_MAGIC
from proxy.userop.user_operation import BYTES_KEYS, EIP7702_MARKER, UINT_KEYS, keys_of

_OLD_KEYS: Final = (
    *("sender", "nonce", "initCode", "callData", "callGasLimit", "verificationGasLimit", "preVerificationGas"),
    *("maxFeePerGas", "maxPriorityFeePerGas", "paymasterAndData", "signature"),
)
_PACKED_KEYS: Final = (
    *("sender", "nonce", "initCode", "callData", "accountGasLimits", "preVerificationGas", "gasFees"),
    *("paymasterAndData", "signature"),
)
_OLD: Final = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES), *(abi.UINT256,) * 5, *(abi.BYTES, abi.BYTES)
)
_PACKED: Final = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)
_KEYS_OF: Final = {_OLD.name: _OLD_KEYS, _PACKED.name: _PACKED_KEYS}
STRUCT_LENGTHS: Final = frozenset(len(keys) for keys in _KEYS_OF.values())
"""How many members the structs of operations have."""
_AROUND: Final = frozenset(
    (
        *("userOpHash", "hash", "chainId", "entryPoint", "entryPointAddress"),
        *("blockNumber", "blockHash", "transactionHash"),
        *("account", "calls", "paymasterContext"),  # of what viem prepares
    )
)
"""What answers, explorers and SDKs write beside an operation's own fields."""
_TOLD_BY_OTHERS: Final = frozenset({"userOpHash", "blockNumber", "transactionHash"})
"""What only explorers and bundlers say, which add much else; a request that says more is at fault."""
_HOLDS_OPERATION: Final = {
    "userOperation": "an answer of eth_getUserOperationByHash",
    "userOp": "what an SDK hands on, the operation in its member userOp",
    "raw": "an explorer's answer, the operation as it was sent in its member raw",
}
_PAYMASTER_HEAD: Final = 52
_FIELDS: Final = frozenset({"aggregator"}.union(*map(keys_of, EntryPointVersion)))
"""What is part of an operation, be it one of another version: never left out unread."""
_FOLDED_FIELDS: Final = sorted(field.lower() for field in _FIELDS)
_CLOSE: Final = 0.85


@dataclass(frozen=True, slots=True)
class WrittenOperation:
    """An operation in the form of a request, and what had to be converted for that."""

    operation: object
    entry_point: EntryPoint
    converted: tuple[str, ...] = ()


def in_entry_point_call(data: bytes, version: EntryPointVersion | None) -> list[WrittenOperation] | None:
    """The operations in the input of handleOps, handleAggregatedOps or getUserOpHash; `None` for another call.

    Raises `Undecodable`.
    """
    found = _ENTRY_POINT_CALLS.get(data[:4])
    if found is None:
        return None
    name, struct, types = found
    decoded = abi.decode(types, data[4:], name)
    if name in _OF_ONE:
        operations: Sequence[Sequence[object]] = [decoded[0]]
    elif name == "handleOps":
        operations = decoded[0]
    else:
        operations = [operation for group in decoded[0] for operation in group[0]]
    keys = _KEYS_OF[struct.name]
    return [
        _written(dict(zip(keys, map(_printed, operation), strict=True)), None, version, [f"the input of {name}"])
        for operation in operations
    ]


def is_entry_point_call(text: str) -> bool:
    """Whether it is the hex of a call that carries operations to an entry point, or from it to an account."""
    return text[:2] == "0x" and len(text) > _SELECTOR_DIGITS and text[2:_SELECTOR_DIGITS].lower() in _SELECTORS


def in_answer(value: object) -> object:
    """What a JSON-RPC answer has as its result; anything else as it is."""
    if isinstance(value, Mapping) and "result" in value and "method" not in value:
        return value["result"]
    return value


def in_transaction(value: object) -> str | None:
    """The input of a transaction, or of the first one that a request carries; `None` for anything else."""
    value = in_answer(value)
    if isinstance(value, Mapping) and isinstance(params := value.get("params"), Sequence) and params:
        value = params[0]
    if not isinstance(value, Mapping) or "sender" in value:
        return None
    data = value.get("input", value.get("data"))
    return data if isinstance(data, str) and data.startswith("0x") else None


def as_request(value: object, entry_point: EntryPoint | None, version: EntryPointVersion | None) -> WrittenOperation:
    """One operation, in whatever form, as a request has it. Raises `InvalidParams`."""
    notes: list[str] = []
    for member, what in _HOLDS_OPERATION.items():
        if isinstance(value, Mapping) and isinstance(held := member_named(value, member), Mapping):
            notes.append(what)
            entry_point = entry_point or _entry_point_in(value)
            value = held
    if isinstance(value, Sequence) and not isinstance(value, str | NumberLiteral):
        keys = {len(keys): keys for keys in _KEYS_OF.values()}.get(len(value))
        if keys is None:
            raise InvalidParams("operation", "wanted an object, or the members of a struct in their order")
        notes.append(f"a struct of {len(keys)} members without their names")
        value = dict(zip(keys, value, strict=True))
    if not isinstance(value, Mapping):
        return WrittenOperation(value, entry_point or ENTRY_POINT_BY_VERSION[version or EntryPointVersion.V07])
    return _written(value, entry_point, version, notes)


def _written(
    value: Mapping[str, object], entry_point: EntryPoint | None, version: EntryPointVersion | None, notes: list[str]
) -> WrittenOperation:
    operation = _with_our_names(value, notes)
    if version is not None:
        entry_point = ENTRY_POINT_BY_VERSION[version]
    entry_point = entry_point or _entry_point_in(operation)
    packed = "accountGasLimits" in operation or "gasFees" in operation
    split = operation.get("factory") is not None or operation.get("paymaster") is not None
    if entry_point is None:
        old = "initCode" in operation and not packed and not split
        entry_point = ENTRY_POINT_BY_VERSION[EntryPointVersion.V06 if old else EntryPointVersion.V07]
    _convert_values(operation, notes)
    if packed:
        _unpack(operation, entry_point, notes)
    _leave_out(operation, entry_point, notes)
    if operation.get("signature") is None:
        operation["signature"] = "0x"
        notes.append("signature: not there, read as empty")
    return WrittenOperation(operation, entry_point, tuple(notes))


def _with_our_names(value: Mapping[str, object], notes: list[str]) -> dict[str, object]:
    """Members by the names of requests; snake case, as Python and Rust print it, and Go's capitals are understood."""
    renamed: dict[str, object] = {}
    for key, item in value.items():
        name = our_name(key)
        name = {"callGas": "callGasLimit", "verificationGas": "verificationGasLimit"}.get(name, name)
        if name in renamed:
            raise InvalidParams(f"operation.{name}", "given twice, in two spellings")
        if name != key:
            notes.append(f"{key}: read as {name}")
        renamed[name] = item
    return renamed


def _entry_point_in(value: Mapping[str, object]) -> EntryPoint | None:
    named = member_named(value, "entryPoint", "entryPointAddress")
    if isinstance(named, Mapping):  # as Blockscout has addresses
        named = named.get("hash")
    if not isinstance(named, str):
        return None
    found = ENTRY_POINT_BY_ADDRESS.get(parse_address(named, "entryPoint"))
    if found is None:
        raise InvalidParams("entryPoint", "no entry point this gate can read; choose with --entry-point")
    return found


def _convert_values(operation: dict[str, object], notes: list[str]) -> None:
    for key in (*UINT_KEYS, "preVerificationGas"):
        if key in operation and (number := quantity(operation[key])) is not None:
            notes.append(f"{key}: {_shown(operation[key])} read as {print_uint(number)}")
            operation[key] = print_uint(number)
    for key in (*BYTES_KEYS, "accountGasLimits", "gasFees"):
        if key in operation and (data := as_bytes(operation[key])) is not None:
            notes.append(f"{key}: read as bytes")
            operation[key] = print_bytes(data)
    authorization = operation.get("eip7702Auth", operation.get("authorization"))
    if isinstance(authorization, Mapping):
        operation.pop("authorization", None)
        operation["eip7702Auth"] = _authorization(authorization)


def _authorization(value: Mapping[str, object]) -> dict[str, object]:
    """By the names of requests. Rust's and ethers' have what was signed, or the signature, in a member of its own."""
    members = _with_our_names(value, [])
    for name in ("inner", "signature"):
        if isinstance(inside := members.get(name), Mapping):
            del members[name]
            held = _with_our_names(inside, [])
            if twice := members.keys() & held.keys():
                raise InvalidParams(f"operation.eip7702Auth.{min(twice)}", f"given twice, beside and inside of {name}")
            members |= held
    for key in ("chainId", "nonce", "yParity", "v", "r", "s"):
        if (number := quantity(members.get(key))) is not None:
            members[key] = print_uint(number)
    for key in ("address", "contractAddress", "r", "s"):
        if (data := as_bytes(members.get(key))) is not None:
            members[key] = print_bytes(data)
    return members


def _unpack(operation: dict[str, object], entry_point: EntryPoint, notes: list[str]) -> None:
    """PackedUserOperation into the fields of a request. Raises `InvalidParams`."""
    notes.append("a PackedUserOperation")
    for key, high, low in (
        ("accountGasLimits", "verificationGasLimit", "callGasLimit"),
        ("gasFees", "maxPriorityFeePerGas", "maxFeePerGas"),
    ):
        word = parse_bytes(operation.pop(key, None), f"operation.{key}")
        if len(word) != 32:
            raise InvalidParams(f"operation.{key}", "wanted 32 bytes: two numbers of 16")
        operation[high] = print_uint(int.from_bytes(word[:16], "big"))
        operation[low] = print_uint(int.from_bytes(word[16:], "big"))
    if init_code := parse_bytes(operation.pop("initCode", "0x"), "operation.initCode"):
        if len(init_code) < 20 and not EIP7702_MARKER.ljust(20, b"\0").startswith(init_code):
            raise InvalidParams("operation.initCode", "wanted a factory of 20 bytes and its data")
        marked = init_code[:20].ljust(20, b"\0") == EIP7702_MARKER.ljust(20, b"\0")
        operation["factory"] = print_bytes(EIP7702_MARKER if marked else init_code[:20])
        operation["factoryData"] = print_bytes(init_code[20:])
    if paymaster := parse_bytes(operation.pop("paymasterAndData", "0x"), "operation.paymasterAndData"):
        _unpack_paymaster(paymaster, operation, entry_point)


def _unpack_paymaster(packed: bytes, operation: dict[str, object], entry_point: EntryPoint) -> None:
    if len(packed) < _PAYMASTER_HEAD:
        raise InvalidParams("operation.paymasterAndData", "wanted a paymaster, two gas limits and its data")
    data = packed[_PAYMASTER_HEAD:]
    if entry_point.version is EntryPointVersion.V09 and data.endswith(PAYMASTER_SIGNATURE_MAGIC) and len(data) >= 10:
        length = int.from_bytes(data[-10:-8], "big")
        if 0 < length <= len(data) - 10:
            operation["paymasterSignature"] = print_bytes(data[-10 - length : -10])
            data = data[: -10 - length]
    operation["paymaster"] = print_bytes(packed[:20])
    operation["paymasterVerificationGasLimit"] = print_uint(int.from_bytes(packed[20:36], "big"))
    operation["paymasterPostOpGasLimit"] = print_uint(int.from_bytes(packed[36:52], "big"))
    operation["paymasterData"] = print_bytes(data)


def _leave_out(operation: dict[str, object], entry_point: EntryPoint, notes: list[str]) -> None:
    """What stands beside an operation and is none of its fields; of what nobody knows the reader says that it is so."""
    if entry_point.version is not EntryPointVersion.V06:
        for key in ("initCode", "paymasterAndData"):
            if operation.get(key) in ("0x", None):
                operation.pop(key, None)
    told_by_others = not _TOLD_BY_OTHERS.isdisjoint(operation)
    beside = sorted(key for key in operation if key in _AROUND or (told_by_others and _is_beside(key)))
    notes += [f"{key[:40]}: stands beside the operation" for key in beside if operation.pop(key) is not None]


def _is_beside(key: str) -> bool:
    """Whether it is nothing of an operation, and no name of a field with a letter wrong either."""
    return key not in _FIELDS and not difflib.get_close_matches(key.lower(), _FOLDED_FIELDS, 1, _CLOSE)


def _printed(member: object) -> str:
    if isinstance(member, int):
        return print_uint(member)
    if isinstance(member, bytes):
        return print_bytes(member)
    raise TypeError("a member of these structs is a number or bytes")


def _shown(value: object) -> str:
    text = value.text if isinstance(value, NumberLiteral) else value if isinstance(value, str) else "an object"
    return text if len(text) <= 80 else f"{text[:80]}…"


def _call(name: str, struct: abi.AbiType) -> tuple[bytes, tuple[str, abi.AbiType, abi.AbiType]]:
    if (others := _OF_ONE.get(name)) is not None:
        arguments = ",".join((struct.name, *(each.name for each in others)))
        return bytes(selector(f"{name}({arguments})")), (name, struct, abi.tuple_of(struct, *others))
    if name == "handleOps":
        types = abi.tuple_of(abi.list_of(struct), abi.ADDRESS)
        return bytes(selector(f"{name}({struct.name}[],address)")), (name, struct, types)
    types = abi.tuple_of(abi.list_of(abi.tuple_of(abi.list_of(struct), abi.ADDRESS, abi.BYTES)), abi.ADDRESS)
    return bytes(selector(f"{name}(({struct.name}[],address,bytes)[],address)")), (name, struct, types)


_OF_ONE: Final = {
    "getUserOpHash": (),
    "validateUserOp": (abi.BYTES32, abi.UINT256),
    "validatePaymasterUserOp": (abi.BYTES32, abi.UINT256),
    "simulateValidation": (),
    "simulateHandleOp": (abi.ADDRESS, abi.BYTES),
}
"""What takes one operation, and what else: of entry points, their simulations, accounts and paymasters."""
_ENTRY_POINT_CALLS: Final = dict(
    _call(name, struct) for name in (*_OF_ONE, "handleOps", "handleAggregatedOps") for struct in (_OLD, _PACKED)
)
_SELECTORS: Final = frozenset(each.hex() for each in _ENTRY_POINT_CALLS)
_SELECTOR_DIGITS: Final = 10
