"""How what is wrapped in the arguments of an account's function is read: one reader a shape of arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.budget import ITEM, Budget, Overspent
from proxy.userop.execution import Call, CallType, decode_batch, decode_single, execution_calldata
from proxy.userop.primitives import ZERO_ADDRESS, Address

Reader = Callable[[bytes, Address, Budget], Sequence[Call] | None]
"""From call data, selector included, the account whose it is, and what pays. `None`, `Undecodable`: it stays closed."""

_WHERE: Final = "callData"
_TO_VALUE_DATA: Final = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)
_TO_VALUE_DATA_OPERATION: Final = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT8)
_TARGETS_DATAS: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.BYTES))
_TARGETS_VALUES_DATAS: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.UINT256), abi.list_of(abi.BYTES))
_BYTES_LIST: Final = abi.tuple_of(abi.list_of(abi.BYTES))
_ONE_CALL: Final = abi.tuple_of(_TO_VALUE_DATA)
_TO_DATA: Final = abi.tuple_of(abi.ADDRESS, abi.BYTES)
_CALLS_SIGNATURE: Final = abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.BYTES)
_CALLS_KEY: Final = abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.ADDRESS)
_NAMED_CALLS_SIGNATURE: Final = abi.tuple_of(abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.BYTES32), abi.BYTES)
_DATA_TO_VALUES: Final = abi.tuple_of(abi.list_of(abi.tuple_of(abi.BYTES, abi.ADDRESS, abi.UINT256)))
_TO_VALUE_DATA_FEE: Final = abi.tuple_of(
    abi.ADDRESS, abi.UINT256, abi.BYTES, abi.tuple_of(abi.ADDRESS, abi.ADDRESS, abi.UINT256)
)
_COLUMNS_OPERATION: Final = abi.tuple_of(
    abi.list_of(abi.ADDRESS), abi.list_of(abi.UINT256), abi.list_of(abi.BYTES), abi.UINT8
)
_CALLS_TIME_SIGNATURE: Final = abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.UINT256, abi.BYTES)
_SIGNED_BATCHES: Final = abi.tuple_of(abi.list_of(abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.BYTES)))
_CALLS_IN_CALLS: Final = abi.tuple_of(
    abi.list_of(abi.tuple_of(abi.BOOL, abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES))
)
_OPERATIONS: Final = abi.tuple_of(abi.list_of(abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT8)))
_COLUMNS_OF_OPERATIONS: Final = abi.tuple_of(
    *(abi.list_of(each) for each in (abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT8))
)
_CALLS_OPERATION: Final = abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.UINT8)
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

_BATCHED_CALL: Final = abi.tuple_of(
    abi.tuple_of(abi.list_of(abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)), abi.BOOL)
)
_PROMOTE: Final = abi.tuple_of(
    abi.ADDRESS, abi.UINT256, abi.UINT256, abi.UINT256, abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT8
)

_TRANSFER: Final = bytes.fromhex("a9059cbb")
_MULTI_SEND: Final = bytes.fromhex("8d80ff0a")
_BATCH_OF_BATCHES: Final = bytes.fromhex("78210002")
"""ERC-7821 mode selector (6:10 of the mode): abi.encode(bytes[]), a batch in each."""


def execute(data: bytes, account: Address, budget: Budget) -> Sequence[Call] | None:
    if len(data) < 36:
        return None
    plain = execution_calldata(data)
    call_type = data[4]
    if call_type == CallType.SINGLE:
        return (decode_single(plain),)
    if call_type == CallType.BATCH:
        if data[10:14] == _BATCH_OF_BATCHES:
            (batches,) = abi.decode(_BYTES_LIST, plain, _WHERE, budget)
            calls = [call for batch in batches for call in decode_batch(batch, budget)]
        else:
            calls = list(decode_batch(plain, budget))
        # ERC-7821: target zero is the account itself
        return [Call(account, call.value, call.data) if call.target == ZERO_ADDRESS else call for call in calls]
    if call_type == CallType.DELEGATECALL and len(plain) >= 20:
        return _delegated(Address(plain[:20]), plain[20:], budget)
    return None


def execute_user_op(data: bytes, account: Address, budget: Budget) -> Sequence[Call]:
    """Another call of the account, or what Calibur puts there: a batch without a selector of its own.

    A batch begins with the offset of its tuple, which as a selector would be zeros.
    """
    if data[4:35] == bytes(31):
        return batched_call(data, account, budget)
    return (Call(account, 0, data[4:]),)


def batched_call(data: bytes, account: Address, budget: Budget) -> Sequence[Call]:
    ((members, _revert_on_failure),) = _decode(_BATCHED_CALL, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(account if target == ZERO_ADDRESS else target, value, inner) for target, value, inner in members]


def to_value_data(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, value, inner = _decode(_TO_VALUE_DATA, data, budget)
    return (Call(target, value, inner),)


def to_value_data_operation(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, value, inner, operation = _decode(_TO_VALUE_DATA_OPERATION, data, budget)
    if operation == 1:  # Safe and Kernel v2: 0 call, 1 delegatecall
        return _delegated(target, inner, budget)
    return (Call(target, value, inner),)


def batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    return decode_batch(data[4:], budget)


def one_call(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    ((target, value, inner),) = _decode(_ONE_CALL, data, budget)
    return (Call(target, value, inner),)


def calls_of_itself(data: bytes, account: Address, budget: Budget) -> Sequence[Call]:
    (datas,) = _decode(_BYTES_LIST, data, budget)
    budget.draw(ITEM * len(datas))
    return [Call(account, 0, each) for each in datas]


def to_data_delegated(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, inner = _decode(_TO_DATA, data, budget)
    return _delegated(target, inner, budget)


def signed_batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, _signature = _decode(_CALLS_SIGNATURE, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(*each) for each in members]


def timed_batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, _valid_until, _signature = _decode(_CALLS_TIME_SIGNATURE, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(*each) for each in members]


def keyed_batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, _key = _decode(_CALLS_KEY, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(*each) for each in members]


def named_batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    (members, _name), _signature = _decode(_NAMED_CALLS_SIGNATURE, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(*each) for each in members]


def data_first(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    (members,) = _decode(_DATA_TO_VALUES, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(target, value, inner) for inner, target, value in members]


def with_fee(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    """One call, and what the account pays for having it made, shown as a transfer to whom the fee names first."""
    target, value, inner, (token, recipient, amount) = _decode(_TO_VALUE_DATA_FEE, data, budget)
    made = Call(target, value, inner)
    if amount == 0:
        return (made,)
    if token == ZERO_ADDRESS:
        return made, Call(recipient, amount, b"")
    budget.draw(ITEM)
    return made, Call(token, 0, _TRANSFER + bytes(12) + recipient + amount.to_bytes(32, "big"))


def signed_batches(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    (batches,) = _decode(_SIGNED_BATCHES, data, budget)
    calls = [Call(*members) for listed, _signature in batches for members in listed]
    budget.draw(ITEM * len(calls))
    return calls


def calls_in_calls(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    """(allowFailed, to, value, data, nestedCalls)[]; what is nested in them is not read, and keeps them closed."""
    (members,) = _decode(_CALLS_IN_CALLS, data, budget)
    if any(nested for *_, nested in members):
        return None
    budget.draw(ITEM * len(members))
    return [Call(target, value, inner) for _, target, value, inner, _ in members]


def to_data(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, inner = _decode(_TO_DATA, data, budget)
    return (Call(target, 0, inner),)


def targets_datas(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    targets, datas = _decode(_TARGETS_DATAS, data, budget)
    return _zipped(targets, [0] * len(targets), datas, budget)


def targets_values_datas(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    targets, values, datas = _decode(_TARGETS_VALUES_DATAS, data, budget)
    # several accounts let the list of values be empty for all zero
    return _zipped(targets, values or [0] * len(targets), datas, budget)


def _zipped(
    targets: Sequence[Address], values: Sequence[int], datas: Sequence[bytes], budget: Budget
) -> Sequence[Call] | None:
    if not len(targets) == len(values) == len(datas):
        return None
    budget.draw(ITEM * len(targets))
    return [Call(*members) for members in zip(targets, values, datas, strict=True)]


def operations(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    (members,) = _decode(_OPERATIONS, data, budget)
    return _each_operation(members, budget)


def columns_of_operations(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    columns = _decode(_COLUMNS_OF_OPERATIONS, data, budget)
    if len({len(column) for column in columns}) != 1:
        return None
    return _each_operation(list(zip(*columns, strict=True)), budget)


def columns_operation(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    *columns, operation = _decode(_COLUMNS_OPERATION, data, budget)
    if len({len(column) for column in columns}) != 1:
        return None
    return _each_operation([(*each, operation) for each in zip(*columns, strict=True)], budget)


def calls_operation(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, operation = _decode(_CALLS_OPERATION, data, budget)
    return _each_operation([(*each, operation) for each in members], budget)


def _each_operation(members: Sequence[tuple[Address, int, bytes, int]], budget: Budget) -> Sequence[Call]:
    budget.draw(ITEM * len(members))
    return [
        call
        for target, value, inner, operation in members
        for call in (_delegated(target, inner, budget) if operation == 1 else (Call(target, value, inner),))
    ]


def setup_safe(data: bytes, account: Address, budget: Budget) -> Sequence[Call] | None:
    ((*_, call_data),) = _decode(_SETUP_SAFE, data, budget)
    return _then(call_data, account)


def word_says_where(index: int) -> Reader:
    """A function whose argument `index` is the call data that the account goes on with."""
    types = abi.tuple_of(*(abi.UINT256,) * index, abi.BYTES)

    def read(data: bytes, account: Address, budget: Budget) -> Sequence[Call] | None:
        return _then(_decode(types, data, budget)[index], account)

    return read


def _then(call_data: bytes, account: Address) -> Sequence[Call] | None:
    return (Call(account, 0, call_data),) if call_data else None


def promote(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    *_, target, value, inner, operation = _decode(_PROMOTE, data, budget)
    return _delegated(target, inner, budget) if operation == 1 else (Call(target, value, inner),)


def _delegated(target: Address, data: bytes, budget: Budget) -> Sequence[Call]:
    """Code run as the account: Safe's MultiSend is opened, anything else is shown as a call of the account."""
    if data.startswith(_MULTI_SEND):
        try:
            (packed,) = _decode(_BYTES_ARGUMENT, data, budget)
            return _multi_send(packed, budget)
        except Overspent:
            raise
        except Undecodable:
            pass
    return (Call(target, 0, data),)


def _multi_send(packed: bytes, budget: Budget) -> Sequence[Call]:
    """operation(1) ‖ to(20) ‖ value(32) ‖ length(32) ‖ data, again and again (Safe `MultiSend.sol`)."""
    calls = []
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at + 53 : at + 85], "big")
        end = at + 85 + length
        if end > len(packed):
            raise Undecodable(_WHERE, "a multiSend transaction reaches past the end")
        budget.draw(ITEM)
        value = int.from_bytes(packed[at + 21 : at + 53], "big")
        calls.append(Call(Address(packed[at + 1 : at + 21]), value, packed[at + 85 : end]))
        at = end
    return calls


def _decode(types: abi.AbiType, data: bytes, budget: Budget) -> tuple[Any, ...]:
    return abi.decode(types, data[4:], _WHERE, budget)
