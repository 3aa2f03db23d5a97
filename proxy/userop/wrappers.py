"""The functions of accounts that wrap other calls: one line each, with where it was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.budget import ITEM, Budget, Overspent
from proxy.userop.execution import Call, CallType, decode_batch, decode_single, execution_calldata
from proxy.userop.primitives import ZERO_ADDRESS, Address, Selector

Reader = Callable[[bytes, Address, Budget], Sequence[Call] | None]
"""From call data, selector included, the account whose it is, and what pays. `None`, `Undecodable`: it stays closed."""


@record()
class Wrapper:
    """A function of an account that makes it call what is in its arguments."""

    signature: str
    selector: Selector
    read: Reader
    source: str


_WHERE: Final = "callData"
_TO_VALUE_DATA: Final = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)
_TO_VALUE_DATA_OPERATION: Final = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.UINT8)
_TARGETS_DATAS: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.BYTES))
_TARGETS_VALUES_DATAS: Final = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.UINT256), abi.list_of(abi.BYTES))
_BYTES_LIST: Final = abi.tuple_of(abi.list_of(abi.BYTES))
_ONE_CALL: Final = abi.tuple_of(_TO_VALUE_DATA)
_TO_DATA: Final = abi.tuple_of(abi.ADDRESS, abi.BYTES)
_CALLS_SIGNATURE: Final = abi.tuple_of(abi.list_of(_TO_VALUE_DATA), abi.BYTES)
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

_MULTI_SEND: Final = bytes.fromhex("8d80ff0a")
_BATCH_OF_BATCHES: Final = bytes.fromhex("78210002")
"""ERC-7821 mode selector (6:10 of the mode): abi.encode(bytes[]), a batch in each."""


def _execute(data: bytes, account: Address, budget: Budget) -> Sequence[Call] | None:
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


def _execute_user_op(data: bytes, account: Address, budget: Budget) -> Sequence[Call]:
    """Another call of the account, or what Calibur puts there: a batch without a selector of its own.

    A batch begins with the offset of its tuple, which as a selector would be zeros.
    """
    if data[4:35] == bytes(31):
        return _batched_call(data, account, budget)
    return (Call(account, 0, data[4:]),)


def _batched_call(data: bytes, account: Address, budget: Budget) -> Sequence[Call]:
    ((members, _revert_on_failure),) = _decode(_BATCHED_CALL, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(account if target == ZERO_ADDRESS else target, value, inner) for target, value, inner in members]


def _to_value_data(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, value, inner = _decode(_TO_VALUE_DATA, data, budget)
    return (Call(target, value, inner),)


def _to_value_data_operation(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, value, inner, operation = _decode(_TO_VALUE_DATA_OPERATION, data, budget)
    if operation == 1:  # Safe and Kernel v2: 0 call, 1 delegatecall
        return _delegated(target, inner, budget)
    return (Call(target, value, inner),)


def _batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    return decode_batch(data[4:], budget)


def _one_call(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    ((target, value, inner),) = _decode(_ONE_CALL, data, budget)
    return (Call(target, value, inner),)


def _calls_of_itself(data: bytes, account: Address, budget: Budget) -> Sequence[Call]:
    (datas,) = _decode(_BYTES_LIST, data, budget)
    budget.draw(ITEM * len(datas))
    return [Call(account, 0, each) for each in datas]


def _to_data_delegated(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    target, inner = _decode(_TO_DATA, data, budget)
    return _delegated(target, inner, budget)


def _signed_batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, _signature = _decode(_CALLS_SIGNATURE, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(*each) for each in members]


def _timed_batch(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, _valid_until, _signature = _decode(_CALLS_TIME_SIGNATURE, data, budget)
    budget.draw(ITEM * len(members))
    return [Call(*each) for each in members]


def _signed_batches(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    (batches,) = _decode(_SIGNED_BATCHES, data, budget)
    calls = [Call(*members) for listed, _signature in batches for members in listed]
    budget.draw(ITEM * len(calls))
    return calls


def _calls_in_calls(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    """(allowFailed, to, value, data, nestedCalls)[]; what is nested in them is not read, and keeps them closed."""
    (members,) = _decode(_CALLS_IN_CALLS, data, budget)
    if any(nested for *_, nested in members):
        return None
    budget.draw(ITEM * len(members))
    return [Call(target, value, inner) for _, target, value, inner, _ in members]


def _targets_datas(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    targets, datas = _decode(_TARGETS_DATAS, data, budget)
    return _zipped(targets, [0] * len(targets), datas, budget)


def _targets_values_datas(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
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


def _operations(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    (members,) = _decode(_OPERATIONS, data, budget)
    return _each_operation(members, budget)


def _columns_of_operations(data: bytes, _account: Address, budget: Budget) -> Sequence[Call] | None:
    columns = _decode(_COLUMNS_OF_OPERATIONS, data, budget)
    if len({len(column) for column in columns}) != 1:
        return None
    return _each_operation(list(zip(*columns, strict=True)), budget)


def _calls_operation(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
    members, operation = _decode(_CALLS_OPERATION, data, budget)
    return _each_operation([(*each, operation) for each in members], budget)


def _each_operation(members: Sequence[tuple[Address, int, bytes, int]], budget: Budget) -> Sequence[Call]:
    budget.draw(ITEM * len(members))
    return [
        call
        for target, value, inner, operation in members
        for call in (_delegated(target, inner, budget) if operation == 1 else (Call(target, value, inner),))
    ]


def _setup_safe(data: bytes, account: Address, budget: Budget) -> Sequence[Call] | None:
    ((*_, call_data),) = _decode(_SETUP_SAFE, data, budget)
    return _then(call_data, account)


def _word_says_where(index: int) -> Reader:
    """A function whose argument `index` is the call data that the account goes on with."""
    types = abi.tuple_of(*(abi.UINT256,) * index, abi.BYTES)

    def read(data: bytes, account: Address, budget: Budget) -> Sequence[Call] | None:
        return _then(_decode(types, data, budget)[index], account)

    return read


def _then(call_data: bytes, account: Address) -> Sequence[Call] | None:
    return (Call(account, 0, call_data),) if call_data else None


def _promote(data: bytes, _account: Address, budget: Budget) -> Sequence[Call]:
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


def _wrapper(signature: str, read: Reader, source: str) -> Wrapper:
    return Wrapper(signature, selector(signature), read, source)


_PACKED_OPERATION: Final = "(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)"
_INIT_DATA: Final = "(address,address[],uint256,address,bytes,address,%s,bytes)"
_NESTING: Final = "(bool,address,uint256,bytes,bytes)"
_PASSKEY_INIT: Final = "initializeThenUserOp(address,address,uint256,uint256,%s,address,bytes,address,bytes)"

WRAPPERS: Final = (
    _wrapper("execute(bytes32,bytes)", _execute, "ERC-7579 IERC7579Execution; ERC-7821"),
    _wrapper("executeFromExecutor(bytes32,bytes)", _execute, "ERC-7579 IERC7579Execution"),
    _wrapper(f"executeUserOp({_PACKED_OPERATION},bytes32)", _execute_user_op, "ERC-4337 IAccountExecute"),
    _wrapper("execute(address,uint256,bytes)", _to_value_data, "eth-infinitism SimpleAccount"),
    _wrapper("execFromEntryPoint(address,uint256,bytes)", _to_value_data, "eth-infinitism SimpleAccount 0.4"),
    _wrapper("execFromEntryPoint(address[],bytes[])", _targets_datas, "by its signature alone"),
    _wrapper("execFromEntryPoint(address[],uint256[],bytes[])", _targets_values_datas, "SoulWallet, first"),
    _wrapper(
        "execFromEntryPoint(address,uint256,bytes,uint8,uint256)", _to_value_data_operation, "Biconomy SmartAccount v1"
    ),
    _wrapper("exec(address,uint256,bytes)", _to_value_data, "eth-infinitism SimpleAccount 0.4, of its owner or itself"),
    _wrapper("execBatch(address[],bytes[])", _targets_datas, "eth-infinitism SimpleAccount 0.4, likewise"),
    _wrapper("execute((address,uint256,bytes))", _one_call, "MetaMask delegation-framework DeleGatorCore"),
    _wrapper("execute_ncC(address,uint256,bytes)", _to_value_data, "Biconomy SmartAccount v2"),
    _wrapper("executeCall(address,uint256,bytes)", _to_value_data, "Biconomy SmartAccount v2"),
    _wrapper("executeCall_s1m(address,uint256,bytes)", _to_value_data, "Biconomy SmartAccount v2, first"),
    _wrapper("executeTransaction(address,uint256,bytes)", _to_value_data, "by its signature alone"),
    _wrapper("execute4337Op(address,uint256,bytes)", _to_value_data, "Trust Wallet wallet-core, Biz account"),
    _wrapper("execute(address,uint256,bytes,uint8)", _to_value_data_operation, "ZeroDev Kernel v2"),
    _wrapper("executeDelegateCall(address,bytes)", _to_data_delegated, "ZeroDev Kernel v2.4"),
    _wrapper("delegateExecute(address,bytes)", _to_data_delegated, "Solady ERC4337"),
    _wrapper("executeWithAuthorization(bytes,bytes)", _word_says_where(0), "ERC-6900 before 0.8"),
    _wrapper("executeWithRuntimeValidation(bytes,bytes)", _word_says_where(0), "ERC-6900 IERC6900ModularAccount"),
    _wrapper(
        "executeAndRevert(address,uint256,bytes,uint8)",
        _to_value_data_operation,
        "eth-infinitism EIP4337Manager of a Safe",
    ),
    _wrapper("execTransactionFromEntrypoint(address,uint256,bytes)", _to_value_data, "OKX SmartAccount"),
    _wrapper(f"execTransactionFromEntrypointBatch({_NESTING}[])", _calls_in_calls, "OKX SmartAccount"),
    _wrapper(f"execTransactionFromEntrypointBatchRevertOnFail({_NESTING}[])", _calls_in_calls, "OKX SmartAccount"),
    _wrapper("executeUserOp(address,uint256,bytes,uint8)", _to_value_data_operation, "Safe Safe4337Module"),
    _wrapper("executeUserOpWithErrorString(address,uint256,bytes,uint8)", _to_value_data_operation, "Safe4337Module"),
    _wrapper(
        "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
        _to_value_data_operation,
        "Safe",
    ),
    _wrapper("execTransactionFromModule(address,uint256,bytes,uint8)", _to_value_data_operation, "Safe ModuleManager"),
    _wrapper(
        "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)",
        _to_value_data_operation,
        "Safe ModuleManager",
    ),
    *(
        _wrapper(f"{kind}Execute(address,uint256,bytes,uint8)", _to_value_data_operation, "Versa VersaWallet")
        for kind in ("normal", "sudo")
    ),
    *(
        _wrapper(f"batch{kind}Execute(address[],uint256[],bytes[],uint8[])", _columns_of_operations, "VersaWallet")
        for kind in ("Normal", "Sudo")
    ),
    _wrapper("executeBatch((address,uint256,bytes,uint8)[])", _operations, "Tokenbound AccountV3 (ERC-6551)"),
    _wrapper("executeBatch((address,uint256,bytes)[],uint8)", _calls_operation, "Solady ERC6551"),
    _wrapper("executeBatch((address,uint256,bytes)[])", _batch, "eth-infinitism SimpleAccount 0.8; Coinbase"),
    _wrapper("execute4337Ops((address,uint256,bytes)[])", _batch, "Trust Wallet wallet-core, Biz account"),
    _wrapper("executeWithSignature((address,uint256,bytes)[],bytes)", _signed_batch, "Trust Wallet Biz account"),
    _wrapper(
        "executeWithSignature((address,uint256,bytes)[],uint256,bytes)",
        _timed_batch,
        "Trust Wallet Biz passkey account",
    ),
    _wrapper("executeWithPasskeySession((address,uint256,bytes)[],uint256,bytes)", _timed_batch, "likewise"),
    _wrapper("execute((address,uint256,bytes)[],bytes)", _signed_batch, "Ambire AmbireAccount"),
    _wrapper("tryCatch(address,uint256,bytes)", _to_value_data, "Ambire AmbireAccount, of itself"),
    _wrapper("tryCatchLimit(address,uint256,bytes,uint256)", _to_value_data, "Ambire AmbireAccount, of itself"),
    _wrapper("executeBySender((address,uint256,bytes)[])", _batch, "Ambire AmbireAccount"),
    _wrapper("executeBySelf((address,uint256,bytes)[])", _batch, "Ambire AmbireAccount"),
    _wrapper("executeBySelfSingle((address,uint256,bytes))", _one_call, "Ambire AmbireAccount"),
    _wrapper("executeMultiple(((address,uint256,bytes)[],bytes)[])", _signed_batches, "Ambire AmbireAccount"),
    _wrapper("executeWithoutChainIdValidation(bytes[])", _calls_of_itself, "Coinbase CoinbaseSmartWallet"),
    _wrapper("executeWithoutChainIdValidation(bytes)", _word_says_where(0), "CoinbaseSmartWallet before its release"),
    _wrapper("executeBatch(address[],bytes[])", _targets_datas, "eth-infinitism SimpleAccount 0.6"),
    _wrapper("executeBatch(address[],uint256[],bytes[])", _targets_values_datas, "eth-infinitism SimpleAccount 0.7"),
    _wrapper("executeBatch_y6U(address[],uint256[],bytes[])", _targets_values_datas, "Biconomy SmartAccount v2"),
    _wrapper("executeBatchCall_4by(address[],uint256[],bytes[])", _targets_values_datas, "SmartAccount v2, first"),
    _wrapper("executeBatchCall(address[],uint256[],bytes[])", _targets_values_datas, "Biconomy SmartAccount v2"),
    _wrapper("execute(((address,uint256,bytes)[],bool))", _batched_call, "Uniswap Calibur BatchedCall"),
    _wrapper(f"setupSafe({_INIT_DATA % '(address,bytes,uint256)[]'})", _setup_safe, "Safe7579 launchpad"),
    _wrapper(f"setupSafe({_INIT_DATA % '(address,bytes)[]'})", _setup_safe, "Safe7579 launchpad, earlier"),
    _wrapper("initializeThenUserOp(address,bytes,bytes)", _word_says_where(2), "Safe passkey SafeOpLaunchpad"),
    _wrapper("initializeThenUserOp(address,bytes,bytes,bytes)", _word_says_where(2), "Safe passkey SafeOpLaunchpad"),
    _wrapper(
        "initializeThenUserOp(address,address,bytes,address,bytes,address,bytes)",
        _word_says_where(6),
        "Safe passkey SafeSignerLaunchpad; Safe7579 launchpad, first",
    ),
    *(
        _wrapper(_PASSKEY_INIT % verifiers, _word_says_where(8), "Safe passkey SafeSignerLaunchpad")
        for verifiers in ("uint176", "uint192", "address")
    ),
    *(
        _wrapper(
            f"promoteAccountAndExecuteUserOp(address,uint256,uint256,{verifiers},address,uint256,bytes,uint8)",
            _promote,
            "Safe passkey SafeSignerLaunchpad 0.2",
        )
        for verifiers in ("uint176", "uint192")
    ),
)
"""The functions by which an entry point has accounts make other calls, and where each was read."""

WRAPPER_BY_SELECTOR: Final = {bytes(wrapper.selector): wrapper for wrapper in WRAPPERS}
