"""A best-effort reading of operations that no session answers for: the calls inside the wrappers accounts know.

Owner-signed and foreign operations are looked at for value and administration, never refused for their shape, so
nothing here raises: what cannot be opened stays the call it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.execution import (
    EXECUTE,
    EXECUTE_USER_OP,
    Call,
    CallType,
    decode_batch,
    decode_single,
    execution_calldata,
)
from proxy.userop.primitives import ZERO_ADDRESS, Address

MAX_DEPTH: Final = 4
"""Wrappers opened inside wrappers."""
MAX_CALLS: Final = 512
"""Calls shown for one operation; a wrapper that would exceed it stays closed."""
MAX_BYTES: Final = 1 << 20
"""Call data of all calls shown; a wrapper that would exceed it stays closed."""

_WHERE: Final = "callData"
_TO_VALUE_DATA: Final = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)
_TO_VALUE_DATA_OPERATION: Final = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT8)
_TARGETS_DATAS: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.BYTES))
_TARGETS_VALUES_DATAS: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.UINT256), abi.list_of(abi.BYTES))
_BYTES_LIST: Final = abi.tuple_of(abi.list_of(abi.BYTES))
_BYTES_ARGUMENT: Final = abi.tuple_of(abi.BYTES)
# the setupSafe tuple is read up to its last member only: two releases differ in the list before it
_SETUP_SAFE: Final = abi.tuple_of(
    abi.tuple_of(
        abi.ADDRESS,
        abi.list_of(abi.ADDRESS),
        abi.UINT256,
        abi.ADDRESS,
        abi.BYTES,
        abi.ADDRESS,
        abi.list_of(abi.tuple_of(abi.ADDRESS, abi.BYTES)),
        abi.BYTES,
    )
)

_MULTI_SEND: Final = bytes.fromhex("8d80ff0a")
_BATCH_OF_BATCHES: Final = bytes.fromhex("78210002")
"""ERC-7821 mode selector (6:10 of the mode): abi.encode(bytes[]), a batch in each."""

Reader = Callable[[bytes, Address], Sequence[Call] | None]


def calls_for_inspection(call_data: bytes, sender: Address) -> tuple[Call, ...]:
    """The calls an account probably makes for this call data, wrappers opened as far as they are understood.

    Call data that is not understood is one call of the account to itself. At most `MAX_CALLS`, never raises.
    """
    calls = [Call(sender, 0, call_data)]
    for _ in range(MAX_DEPTH):
        opened = _open_once(calls, sender)
        if opened is None:
            break
        calls = opened
    return tuple(calls)


def _open_once(calls: Sequence[Call], account: Address) -> list[Call] | None:
    """Every wrapper replaced by what is in it, as long as there is room; `None` when nothing could be opened."""
    opened: list[Call] = []
    count = len(calls)
    size = sum(len(call.data) for call in calls)
    changed = False
    for call in calls:
        inner = _inside(call, account) if call.target == account else None
        if inner is None:
            opened.append(call)
            continue
        count_after = count - 1 + len(inner)
        size_after = size - len(call.data) + sum(len(each.data) for each in inner)
        if count_after > MAX_CALLS or size_after > MAX_BYTES:
            opened.append(call)
            continue
        opened += inner
        count, size, changed = count_after, size_after, True
    return opened if changed else None


def _inside(call: Call, account: Address) -> Sequence[Call] | None:
    """The calls a call of the account to itself stands for; `None` when it is no wrapper we can open."""
    read = _READERS.get(call.data[:4])
    if read is None:
        return None
    try:
        return read(call.data, account)
    except Undecodable:
        return None


def _execute(data: bytes, account: Address) -> Sequence[Call] | None:
    if len(data) < 36:
        return None
    plain = execution_calldata(data)
    call_type = data[4]
    if call_type == CallType.SINGLE:
        return (decode_single(plain),)
    if call_type == CallType.BATCH:
        if data[10:14] == _BATCH_OF_BATCHES:
            (batches,) = abi.decode(_BYTES_LIST, plain, _WHERE)
            calls = [call for batch in batches for call in decode_batch(batch)]
        else:
            calls = list(decode_batch(plain))
        # ERC-7821: target zero is the account itself
        return [Call(account, call.value, call.data) if call.target == ZERO_ADDRESS else call for call in calls]
    if call_type == CallType.DELEGATECALL and len(plain) >= 20:
        return _delegated(Address(plain[:20]), plain[20:])
    return None


def _execute_user_op(data: bytes, account: Address) -> Sequence[Call]:
    return (Call(account, 0, data[4:]),)


def _to_value_data(data: bytes, _account: Address) -> Sequence[Call]:
    target, value, inner = _decode(_TO_VALUE_DATA, data)
    return (Call(target, value, inner),)


def _to_value_data_operation(data: bytes, _account: Address) -> Sequence[Call]:
    target, value, inner, operation = _decode(_TO_VALUE_DATA_OPERATION, data)
    if operation == 1:  # Safe and Kernel v2: 0 call, 1 delegatecall
        return _delegated(target, inner)
    return (Call(target, value, inner),)


def _batch(data: bytes, _account: Address) -> Sequence[Call]:
    return decode_batch(data[4:])


def _targets_datas(data: bytes, _account: Address) -> Sequence[Call] | None:
    targets, datas = _decode(_TARGETS_DATAS, data)
    return _zipped(targets, [0] * len(targets), datas)


def _targets_values_datas(data: bytes, _account: Address) -> Sequence[Call] | None:
    targets, values, datas = _decode(_TARGETS_VALUES_DATAS, data)
    # several accounts let the list of values be empty for all zero
    return _zipped(targets, values or [0] * len(targets), datas)


def _zipped(targets: Sequence[Address], values: Sequence[int], datas: Sequence[bytes]) -> Sequence[Call] | None:
    if not len(targets) == len(values) == len(datas):
        return None
    return [Call(*members) for members in zip(targets, values, datas, strict=True)]


def _setup_safe(data: bytes, account: Address) -> Sequence[Call] | None:
    ((*_, call_data),) = _decode(_SETUP_SAFE, data)
    if not call_data:
        return None
    return (Call(account, 0, call_data),)


def _delegated(target: Address, data: bytes) -> Sequence[Call]:
    """Code run as the account: Safe's MultiSend is opened, anything else is shown as a call of the account."""
    if data.startswith(_MULTI_SEND):
        try:
            (packed,) = _decode(_BYTES_ARGUMENT, data)
            return _multi_send(packed)
        except Undecodable:
            pass
    return (Call(target, 0, data),)


def _multi_send(packed: bytes) -> Sequence[Call]:
    """operation(1) ‖ to(20) ‖ value(32) ‖ length(32) ‖ data, again and again (Safe `MultiSend.sol`)."""
    calls = []
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at + 53 : at + 85], "big")
        end = at + 85 + length
        if end > len(packed):
            raise Undecodable(_WHERE, "a multiSend transaction reaches past the end")
        value = int.from_bytes(packed[at + 21 : at + 53], "big")
        calls.append(Call(Address(packed[at + 1 : at + 21]), value, packed[at + 85 : end]))
        at = end
    return calls


def _decode(types: abi.AbiType, data: bytes) -> tuple[Any, ...]:
    return abi.decode(types, data[4:], _WHERE)


_READERS: Final[dict[bytes, Reader]] = {
    bytes(EXECUTE): _execute,
    bytes.fromhex("d691c964"): _execute,  # executeFromExecutor(bytes32,bytes)
    bytes(EXECUTE_USER_OP): _execute_user_op,
    bytes.fromhex("b61d27f6"): _to_value_data,  # execute(address,uint256,bytes)
    bytes.fromhex("0000189a"): _to_value_data,  # execute_ncC, Biconomy v2
    bytes.fromhex("9e5d4c49"): _to_value_data,  # executeCall, Biconomy v2
    bytes.fromhex("51945447"): _to_value_data_operation,  # execute(address,uint256,bytes,uint8), Kernel v2
    bytes.fromhex("7bb37428"): _to_value_data_operation,  # executeUserOp, Safe 4337 module
    bytes.fromhex("541d63c8"): _to_value_data_operation,  # executeUserOpWithErrorString
    bytes.fromhex("6a761202"): _to_value_data_operation,  # execTransaction, Safe
    bytes.fromhex("468721a7"): _to_value_data_operation,  # execTransactionFromModule
    bytes.fromhex("5229073f"): _to_value_data_operation,  # execTransactionFromModuleReturnData
    bytes.fromhex("34fcd5be"): _batch,  # executeBatch((address,uint256,bytes)[])
    bytes.fromhex("18dfb3c7"): _targets_datas,  # executeBatch(address[],bytes[])
    bytes.fromhex("47e1da2a"): _targets_values_datas,  # executeBatch(address[],uint256[],bytes[])
    bytes.fromhex("00004680"): _targets_values_datas,  # executeBatch_y6U, Biconomy v2
    bytes.fromhex("912ccaa3"): _targets_values_datas,  # executeBatchCall, Biconomy v2
    bytes.fromhex("a3aa6b32"): _setup_safe,  # setupSafe, Safe7579 launchpad
    bytes.fromhex("d9ed0e8f"): _setup_safe,  # setupSafe, an earlier launchpad
}
