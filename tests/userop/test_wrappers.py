"""Every wrapper of the table opens to exactly the calls that another library encoded into it, and to nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import eth_abi
import pytest
from eth_abi.grammar import ABIType, BasicType, TupleType, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Undecodable
from proxy.userop.arguments import selector
from proxy.userop.budget import Budget
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from proxy.userop.wrappers import WRAPPER_BY_SELECTOR, WRAPPERS, Wrapper
from tests.userop.builders import ACCOUNT

Placed = Mapping[int, Any]
"""Argument by index; the others may be whatever their type allows."""
Put = Callable[[Sequence[Call]], Placed]

INNER: Final = ["(address,uint256,bytes)[]"]


def triple(call: Call) -> tuple[str, int, bytes]:
    return f"0x{call.target.hex()}", call.value, call.data


def triples(calls: Sequence[Call]) -> list[tuple[str, int, bytes]]:
    return [triple(call) for call in calls]


def at(first: int, *more: Any) -> Put:
    """Target, value and data of one call from that argument on, and what has to come after them."""
    return lambda calls: dict(enumerate((*triple(calls[0]), *more), start=first))


def one_tuple(calls: Sequence[Call]) -> Placed:
    return {0: triple(calls[0])}


def tuples(calls: Sequence[Call]) -> Placed:
    return {0: triples(calls)}


def columns(calls: Sequence[Call]) -> Placed:
    return dict(enumerate([list(column) for column in zip(*triples(calls), strict=True)] or [[], [], []]))


def without_values(calls: Sequence[Call]) -> Placed:
    return {0: columns(calls)[0], 1: columns(calls)[2]}


def without_value(calls: Sequence[Call]) -> Placed:
    return {0: triple(calls[0])[0], 1: calls[0].data}


def nesting(calls: Sequence[Call]) -> Placed:
    return {0: [(False, *each, b"") for each in triples(calls)]}


def signed_batches(calls: Sequence[Call]) -> Placed:
    return {0: [(triples(calls[:1]), b"one"), (triples(calls[1:]), b"")]}


def erc7579(calls: Sequence[Call]) -> Placed:
    if len(calls) == 1:
        (only,) = calls
        return {0: bytes(32), 1: only.target + only.value.to_bytes(32, "big") + only.data}
    return {0: b"\x01".ljust(32, b"\0"), 1: eth_abi.encode(INNER, [triples(calls)])}


def itself(index: int) -> Put:
    """Call data with which the account calls itself."""
    return lambda calls: {index: calls[0].data}


def every_itself(calls: Sequence[Call]) -> Placed:
    return {0: [call.data for call in calls]}


def signed_batch_of_a_name(calls: Sequence[Call]) -> Placed:
    return {0: (triples(calls), b"\x07" * 32)}


def data_first(calls: Sequence[Call]) -> Placed:
    return {0: [(data, target, value) for target, value, data in triples(calls)]}


def with_operations(calls: Sequence[Call]) -> Placed:
    return {0: [(*each, 0) for each in triples(calls)]}


def columns_of_operations(calls: Sequence[Call]) -> Placed:
    return {**columns(calls), 3: [0] * len(calls)}


def setup_safe(calls: Sequence[Call]) -> Placed:
    one = "0x" + "01" * 20
    return {0: (one, [one], 1, one, b"setup", one, [], calls[0].data)}


PLACES: Final[Mapping[str, Put]] = {
    "execute(bytes32,bytes)": erc7579,
    "executeFromExecutor(bytes32,bytes)": erc7579,
    "execute(address,uint256,bytes)": at(0),
    "execFromEntryPoint(address,uint256,bytes)": at(0),
    "execFromEntryPoint(address[],bytes[])": without_values,
    "execFromEntryPoint(address[],uint256[],bytes[])": columns,
    "execFromEntryPoint(address,uint256,bytes,uint8,uint256)": at(0, 0),
    "exec(address,uint256,bytes)": at(0),
    "execFromEntryPointWithFee(address,uint256,bytes,(address,address,uint256))": at(0, ("0x" + "00" * 20,) * 2 + (0,)),
    "executeFromEntryPoint(address,uint256,bytes)": at(0),
    "execute(address,bytes)": without_value,
    "execute(address,uint256,bytes,bytes)": at(0),
    "execTransactionFromEntrypoint(address,uint256,bytes,uint8)": at(0, 0),
    "execTransactionFromEntrypoint(address,uint256,bytes,uint8,address,address,uint256)": at(0, 0),
    "execBatchTransactionFromEntrypoint(address[],uint256[],bytes[],uint8)": lambda calls: {**columns(calls), 3: 0},
    "execute((address,uint256,bytes)[])": tuples,
    "executeWithSig(((address,uint256,bytes)[],bytes32),bytes)": signed_batch_of_a_name,
    "executeFromSelf((address,uint256,bytes)[])": tuples,
    "execute((bytes,address,uint256)[])": data_first,
    "executeWithSessionKey((address,uint256,bytes)[],address)": tuples,
    "execBatch(address[],bytes[])": without_values,
    "execute((address,uint256,bytes))": one_tuple,
    "execute_ncC(address,uint256,bytes)": at(0),
    "executeCall(address,uint256,bytes)": at(0),
    "executeCall_s1m(address,uint256,bytes)": at(0),
    "executeTransaction(address,uint256,bytes)": at(0),
    "execute4337Op(address,uint256,bytes)": at(0),
    "normalExecute(address,uint256,bytes,uint8)": at(0, 0),
    "sudoExecute(address,uint256,bytes,uint8)": at(0, 0),
    "batchNormalExecute(address[],uint256[],bytes[],uint8[])": columns_of_operations,
    "batchSudoExecute(address[],uint256[],bytes[],uint8[])": columns_of_operations,
    "executeBatch((address,uint256,bytes,uint8)[])": with_operations,
    "executeBatch((address,uint256,bytes)[],uint8)": lambda calls: {0: triples(calls), 1: 0},
    "executeWithAuthorization(bytes,bytes)": itself(0),
    "executeBatchCall_4by(address[],uint256[],bytes[])": columns,
    "execute(address,uint256,bytes,uint8)": at(0, 0),
    "executeDelegateCall(address,bytes)": without_value,
    "delegateExecute(address,bytes)": without_value,
    "executeWithRuntimeValidation(bytes,bytes)": itself(0),
    "executeAndRevert(address,uint256,bytes,uint8)": at(0, 0),
    "execTransactionFromEntrypoint(address,uint256,bytes)": at(0),
    "execTransactionFromEntrypointBatch((bool,address,uint256,bytes,bytes)[])": nesting,
    "execTransactionFromEntrypointBatchRevertOnFail((bool,address,uint256,bytes,bytes)[])": nesting,
    "executeUserOp(address,uint256,bytes,uint8)": at(0, 0),
    "executeUserOpWithErrorString(address,uint256,bytes,uint8)": at(0, 0),
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)": at(0, 0),
    "execTransactionFromModule(address,uint256,bytes,uint8)": at(0, 0),
    "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)": at(0, 0),
    "executeBatch((address,uint256,bytes)[])": tuples,
    "execute4337Ops((address,uint256,bytes)[])": tuples,
    "executeWithSignature((address,uint256,bytes)[],bytes)": tuples,
    "executeWithSignature((address,uint256,bytes)[],uint256,bytes)": tuples,
    "executeWithPasskeySession((address,uint256,bytes)[],uint256,bytes)": tuples,
    "execute((address,uint256,bytes)[],bytes)": tuples,
    "tryCatch(address,uint256,bytes)": at(0),
    "tryCatchLimit(address,uint256,bytes,uint256)": at(0),
    "executeBySender((address,uint256,bytes)[])": tuples,
    "executeBySelf((address,uint256,bytes)[])": tuples,
    "executeBySelfSingle((address,uint256,bytes))": one_tuple,
    "executeMultiple(((address,uint256,bytes)[],bytes)[])": signed_batches,
    "executeWithoutChainIdValidation(bytes[])": every_itself,
    "executeWithoutChainIdValidation(bytes)": itself(0),
    "executeBatch(address[],bytes[])": without_values,
    "executeBatch(address[],uint256[],bytes[])": columns,
    "executeBatch_y6U(address[],uint256[],bytes[])": columns,
    "executeBatchCall(address[],uint256[],bytes[])": columns,
    "execute(((address,uint256,bytes)[],bool))": lambda calls: {0: (triples(calls), True)},
    "setupSafe((address,address[],uint256,address,bytes,address,(address,bytes,uint256)[],bytes))": setup_safe,
    "setupSafe((address,address[],uint256,address,bytes,address,(address,bytes)[],bytes))": setup_safe,
    "initializeThenUserOp(address,bytes,bytes)": itself(2),
    "initializeThenUserOp(address,bytes,bytes,bytes)": itself(2),
    "initializeThenUserOp(address,address,bytes,address,bytes,address,bytes)": itself(6),
    **{
        f"initializeThenUserOp(address,address,uint256,uint256,{kind},address,bytes,address,bytes)": itself(8)
        for kind in ("uint176", "uint192", "address")
    },
    **{
        f"promoteAccountAndExecuteUserOp(address,uint256,uint256,{kind},address,uint256,bytes,uint8)": at(4, 0)
        for kind in ("uint176", "uint192")
    },
}
"""By hand from what each function is written to do, not from how it is read here."""
EXECUTE_USER_OP: Final = "executeUserOp((address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes),bytes32)"
"""The entry point puts whatever the account shall run after this selector: no arguments of it are encoded."""

ONE_CALL: Final = frozenset({"at", "one_tuple", "without_value", "itself", "setup_safe"})
CALLS: Final = st.builds(
    Call,
    st.binary(min_size=20, max_size=20).filter(any).map(Address),
    st.integers(0, 2**256 - 1),
    # begins with no selector of Safe's multiSend, which is opened where code runs as the account
    st.binary(max_size=80).map(lambda data: b"\x01" + data),
)


def takes_one(put: Put) -> bool:
    return put.__qualname__.split(".")[0] in ONE_CALL


def arguments_of(signature: str) -> list[ABIType]:
    return list(parse(signature[signature.index("(") :]).components)


def anything(kind: ABIType) -> st.SearchStrategy[Any]:
    if kind.arrlist:
        return st.lists(anything(kind.item_type), max_size=2)
    if isinstance(kind, TupleType):
        return st.tuples(*map(anything, kind.components))
    assert isinstance(kind, BasicType)
    match kind.base:
        case "uint":
            return st.integers(0, 2**kind.sub - 1)
        case "address":
            return st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex())
        case "bool":
            return st.booleans()
    assert (kind.base, kind.sub) == ("bytes", None)
    return st.binary(max_size=70)


@st.composite
def wrapped(draw: st.DrawFn, signature: str) -> tuple[bytes, list[Call]]:
    """Call data of that function, and the calls the account makes of it."""
    put = PLACES[signature]
    calls = draw(st.lists(CALLS, min_size=1, max_size=1 if takes_one(put) else 4))
    kinds, placed = arguments_of(signature), put(calls)
    arguments = [placed[index] if index in placed else draw(anything(kind)) for index, kind in enumerate(kinds)]
    data = bytes(selector(signature)) + eth_abi.encode([kind.to_type_str() for kind in kinds], arguments)
    name = put.__qualname__.split(".")[0]
    if name in ("itself", "every_itself", "setup_safe"):
        return data, [Call(ACCOUNT, 0, call.data) for call in calls]
    if name in ("without_value", "without_values"):
        return data, [Call(call.target, 0, call.data) for call in calls]
    return data, calls


def test_every_wrapper_of_the_table_is_held_against_another_library() -> None:
    assert {wrapper.signature for wrapper in WRAPPERS} == {*PLACES, EXECUTE_USER_OP}


WHERE: Final = re.compile(r"(?:ERC-[0-9]+|[A-Za-z0-9.-]+/[A-Za-z0-9.-]+), [A-Za-z0-9_./]+.*")
"""A standard or a repository on GitHub, and what to look for there."""
UNSEEN: Final = frozenset({"execFromEntryPoint(address[],bytes[])"})
"""Nobody here has seen an account that has it."""


def test_every_line_of_the_table_says_where_a_reader_finds_it_but_for_one_that_nobody_knows() -> None:
    assert {wrapper.signature for wrapper in WRAPPERS if not wrapper.source} == UNSEEN
    for wrapper in WRAPPERS:
        if wrapper.signature not in UNSEEN:
            assert WHERE.fullmatch(wrapper.source), wrapper


@pytest.mark.parametrize("signature", PLACES)
@settings(max_examples=15)
@given(data=st.data())
def test_a_wrapper_opens_to_exactly_the_calls_that_were_encoded_into_it(signature: str, data: st.DataObject) -> None:
    call_data, calls = data.draw(wrapped(signature))
    assert list(read(call_data) or ()) == calls


@pytest.mark.parametrize("signature", PLACES)
def test_a_wrapper_that_is_cut_short_opens_to_nothing(signature: str) -> None:
    whole = Call(Address(b"\x35" * 20), 7, b"\x01" * 40)
    placed = PLACES[signature]([whole])
    kinds = arguments_of(signature)
    blank = {"uint": 0, "address": "0x" + "00" * 20, "bytes": b"", "bool": False}
    arguments = [placed.get(index, blank[getattr(kind, "base", "bytes")]) for index, kind in enumerate(kinds)]
    call_data = bytes(selector(signature)) + eth_abi.encode([kind.to_type_str() for kind in kinds], arguments)
    opened = read(call_data)
    assert opened
    assert not read(call_data[:4])
    for end in range(5, len(call_data) - 32, 7):
        assert read(call_data[:end]) in (None, opened), end


MULTI_SEND: Final = bytes.fromhex("8d80ff0a")


@pytest.mark.parametrize("operation", [0, 1])
@pytest.mark.parametrize(
    ("signature", "put"),
    [
        ("execute(address,uint256,bytes,uint8)", lambda one, kind: [*one, kind]),
        ("sudoExecute(address,uint256,bytes,uint8)", lambda one, kind: [*one, kind]),
        ("batchSudoExecute(address[],uint256[],bytes[],uint8[])", lambda one, kind: [[each] for each in (*one, kind)]),
        (
            "execTransactionFromEntrypoint(address,uint256,bytes,uint8,address,address,uint256)",
            lambda one, kind: [*one, kind, one[0], one[0], 0],
        ),
        (
            "execBatchTransactionFromEntrypoint(address[],uint256[],bytes[],uint8)",
            lambda one, kind: [*([each] for each in one), kind],
        ),
        ("executeBatch((address,uint256,bytes,uint8)[])", lambda one, kind: [[(*one, kind)]]),
        ("executeBatch((address,uint256,bytes)[],uint8)", lambda one, kind: [[one], kind]),
    ],
)
def test_code_that_runs_as_the_account_is_opened_as_such_by_every_wrapper_that_says_so(
    signature: str, put: Callable[[tuple[str, int, bytes], int], list[Any]], operation: int
) -> None:
    paid = Call(Address(b"\x35" * 20), 7, b"\x01\x02\x03\x04")
    packed = b"\0" + paid.target + paid.value.to_bytes(32, "big") + len(paid.data).to_bytes(32, "big") + paid.data
    library = Call(Address(b"\x36" * 20), 0, MULTI_SEND + eth_abi.encode(["bytes"], [packed]))
    kinds = [kind.to_type_str() for kind in arguments_of(signature)]
    call_data = bytes(selector(signature)) + eth_abi.encode(kinds, put(triple(library), operation))
    assert list(read(call_data) or ()) == [paid if operation else library]


@pytest.mark.parametrize("token", [None, "0x" + "37" * 20])
def test_the_fee_that_an_account_pays_for_its_call_is_a_transfer_beside_it(token: str | None) -> None:
    made, recipient, amount = Call(Address(b"\x35" * 20), 7, b"\x01\x02\x03\x04"), "0x" + "38" * 20, 250
    signature = "execFromEntryPointWithFee(address,uint256,bytes,(address,address,uint256))"
    kinds = [kind.to_type_str() for kind in arguments_of(signature)]
    fee = (token or "0x" + "00" * 20, recipient, amount)
    call_data = bytes(selector(signature)) + eth_abi.encode(kinds, [*triple(made), fee])
    transfer = bytes(selector("transfer(address,uint256)")) + eth_abi.encode(
        ["address", "uint256"], [recipient, amount]
    )
    paid = (
        Call(Address(bytes.fromhex(token[2:])), 0, transfer)
        if token
        else Call(Address(bytes.fromhex(recipient[2:])), amount, b"")
    )
    assert list(read(call_data) or ()) == [made, paid]


def read(call_data: bytes) -> Sequence[Call] | None:
    wrapper: Wrapper = WRAPPER_BY_SELECTOR[call_data[:4]]
    try:
        return wrapper.read(call_data, ACCOUNT, Budget())
    except Undecodable:
        return None
