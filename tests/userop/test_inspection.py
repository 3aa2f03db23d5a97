"""Owner and foreign operations: known wrappers are opened, nothing raises, nothing grows without bound."""

from __future__ import annotations

import eth_abi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.execution import Call
from proxy.userop.inspection import MAX_BYTES, MAX_CALLS, calls_for_inspection
from proxy.userop.primitives import ZERO_ADDRESS, Address
from proxy.userop.wrappers import WRAPPER_BY_SELECTOR, WRAPPERS
from tests.userop.builders import ACCOUNT, RECIPIENT, TRANSFER, batch, encode_calls, execute, single

PAY = Call(RECIPIENT, 7, b"")
MULTI_SEND = Address(b"\x35" * 20)


def encoded(selector: str, types: list[str], *arguments: object) -> bytes:
    return bytes.fromhex(selector) + eth_abi.encode(types, arguments)


def by(signature: str, *arguments: object) -> bytes:
    """A call by its signature, encoded by another library than ours."""
    types = eth_abi_types(signature)
    return bytes(selector(signature)) + eth_abi.encode(types, arguments)


def eth_abi_types(signature: str) -> list[str]:
    """The types of the arguments: what stands between the outermost brackets, split at the commas outside of others."""
    depth, found = 0, [""]
    for letter in signature[signature.index("(") + 1 : -1]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


def packed(*calls: Call, operation: int = 0) -> bytes:
    """Safe's multiSend transactions."""
    return b"".join(
        bytes([operation])
        + call.target
        + call.value.to_bytes(32, "big")
        + len(call.data).to_bytes(32, "big")
        + call.data
        for call in calls
    )


ADDRESSES = [f"0x{call.target.hex()}" for call in (TRANSFER, PAY)]
TWO = (TRANSFER, PAY)


@pytest.mark.parametrize(
    ("call_data", "calls"),
    [
        pytest.param(single(TRANSFER), (TRANSFER,), id="execute single"),
        pytest.param(single(TRANSFER, mode=b"\x00\x01"), (TRANSFER,), id="execute try"),
        pytest.param(batch(*TWO), TWO, id="execute batch"),
        pytest.param(b"\x8d\xd7\x71\x2f" + batch(*TWO), TWO, id="executeUserOp prefix"),
        pytest.param(
            encoded("b61d27f6", ["address", "uint256", "bytes"], ADDRESSES[0], 0, TRANSFER.data),
            (TRANSFER,),
            id="execute(address,uint256,bytes)",
        ),
        pytest.param(
            encoded("7bb37428", ["address", "uint256", "bytes", "uint8"], ADDRESSES[0], 0, TRANSFER.data, 0),
            (TRANSFER,),
            id="Safe executeUserOp",
        ),
        pytest.param(b"\x34\xfc\xd5\xbe" + encode_calls(*TWO), TWO, id="executeBatch of tuples"),
        pytest.param(
            encoded("18dfb3c7", ["address[]", "bytes[]"], ADDRESSES, [TRANSFER.data, b""]),
            (TRANSFER, Call(RECIPIENT, 0, b"")),
            id="executeBatch without values",
        ),
        pytest.param(
            encoded("47e1da2a", ["address[]", "uint256[]", "bytes[]"], ADDRESSES, [0, 7], [TRANSFER.data, b""]),
            TWO,
            id="executeBatch with values",
        ),
        pytest.param(
            encoded("00004680", ["address[]", "uint256[]", "bytes[]"], ADDRESSES, [], [TRANSFER.data, b""]),
            (TRANSFER, Call(RECIPIENT, 0, b"")),
            id="executeBatch with no values at all",
        ),
        pytest.param(
            execute(b"\x01\x00\0\0\0\0\x78\x21\x00\x01", eth_abi.encode(
                ["(address,uint256,bytes)[]", "bytes"], [[(ADDRESSES[0], 0, TRANSFER.data)], b"opdata"]
            )),
            (TRANSFER,),
            id="ERC-7821 with opData",
        ),
        pytest.param(
            execute(b"\x01\x00\0\0\0\0\x78\x21\x00\x02", eth_abi.encode(
                ["bytes[]"], [[encode_calls(TRANSFER), encode_calls(PAY)]]
            )),
            TWO,
            id="ERC-7821 batch of batches",
        ),
        pytest.param(execute(b"\xff", RECIPIENT + b"code"), (Call(RECIPIENT, 0, b"code"),), id="delegatecall"),
        pytest.param(
            execute(b"\xff", MULTI_SEND + encoded("8d80ff0a", ["bytes"], packed(*TWO))), TWO, id="multiSend"
        ),
        pytest.param(
            encoded("6a761202", ["address", "uint256", "bytes", "uint8"], ADDRESSES[1], 0, b"code", 1),
            (Call(RECIPIENT, 0, b"code"),),
            id="Safe delegatecall",
        ),
        pytest.param(single(Call(ACCOUNT, 0, batch(*TWO))), TWO, id="the account calls itself"),
        pytest.param(batch(Call(ZERO_ADDRESS, 5, b"\x01\x02\x03\x04")), (Call(ACCOUNT, 5, b"\x01\x02\x03\x04"),),
                     id="ERC-7821 zero target"),
    ],
)  # fmt: skip
def test_opens_the_wrappers_accounts_know(call_data: bytes, calls: tuple[Call, ...]) -> None:
    assert calls_for_inspection(call_data, ACCOUNT) == calls


@pytest.mark.parametrize("selector", ["a3aa6b32", "d9ed0e8f"])
def test_opens_the_call_inside_the_safe_launchpad(selector: str) -> None:
    types = ["(address,address[],uint256,address,bytes,address,(address,bytes)[],bytes)"]
    one = "0x" + "01" * 20
    setup = (one, [one], 1, one, b"setup", one, [(one, b"init")], single(TRANSFER))
    assert calls_for_inspection(encoded(selector, types, setup), ACCOUNT) == (TRANSFER,)


ONE = "0x" + "01" * 20
CALLS = [(ADDRESSES[0], 0, TRANSFER.data), (ADDRESSES[1], 7, b"")]
BATCHED_CALL = "((address,uint256,bytes)[],bool)"


@pytest.mark.parametrize(
    ("call_data", "calls"),
    [
        pytest.param(
            encoded("76276c82", ["address", "uint256", "bytes"], *CALLS[0]), (TRANSFER,), id="Trust execute4337Op"
        ),
        pytest.param(encoded("26da7d88", ["(address,uint256,bytes)[]"], CALLS), TWO, id="Trust execute4337Ops"),
        pytest.param(encoded("80c5c7d0", ["address", "uint256", "bytes"], *CALLS[1]), (PAY,), id="execFromEntryPoint"),
        pytest.param(by("exec(address,uint256,bytes)", *CALLS[1]), (PAY,), id="SimpleAccount exec"),
        pytest.param(
            by("execBatch(address[],bytes[])", [CALLS[0][0]], [CALLS[0][2]]), (TRANSFER,), id="SimpleAccount execBatch"
        ),
        pytest.param(
            by("execFromEntryPoint(address[],bytes[])", [CALLS[0][0]], [CALLS[0][2]]), (TRANSFER,), id="SoulWallet"
        ),
        pytest.param(
            by("execFromEntryPoint(address[],uint256[],bytes[])", *zip(*CALLS, strict=True)),
            TWO,
            id="SoulWallet values",
        ),
        *(
            pytest.param(
                by("execFromEntryPoint(address,uint256,bytes,uint8,uint256)", *CALLS[0], operation, 90_000),
                (TRANSFER,),
                id=f"Biconomy v1, operation {operation}",
            )
            for operation in (0, 1)
        ),
        pytest.param(by("execute((address,uint256,bytes)[],bytes)", CALLS, b"signed"), TWO, id="Ambire execute"),
        pytest.param(by("tryCatch(address,uint256,bytes)", *CALLS[1]), (PAY,), id="Ambire tryCatch"),
        pytest.param(
            by("tryCatchLimit(address,uint256,bytes,uint256)", *CALLS[1], 9), (PAY,), id="Ambire tryCatchLimit"
        ),
        pytest.param(by("executeDelegateCall(address,bytes)", CALLS[0][0], CALLS[0][2]), (TRANSFER,), id="Kernel v2.4"),
        pytest.param(by("delegateExecute(address,bytes)", CALLS[0][0], CALLS[0][2]), (TRANSFER,), id="Solady"),
        pytest.param(
            by("executeWithRuntimeValidation(bytes,bytes)", by("execute((address,uint256,bytes))", CALLS[0]), b"auth"),
            (TRANSFER,),
            id="ERC-6900",
        ),
        pytest.param(by("execute((address,uint256,bytes))", CALLS[0]), (TRANSFER,), id="DeleGator execute"),
        pytest.param(by("executeBySender((address,uint256,bytes)[])", CALLS), TWO, id="Ambire executeBySender"),
        pytest.param(by("executeAndRevert(address,uint256,bytes,uint8)", *CALLS[0], 0), (TRANSFER,), id="Safe of 2023"),
        pytest.param(by("execTransactionFromEntrypoint(address,uint256,bytes)", *CALLS[0]), (TRANSFER,), id="OKX"),
        *(
            pytest.param(
                by(f"{name}((bool,address,uint256,bytes,bytes)[])", [(False, *each, b"") for each in CALLS]),
                TWO,
                id=f"OKX {name}",
            )
            for name in ("execTransactionFromEntrypointBatch", "execTransactionFromEntrypointBatchRevertOnFail")
        ),
        pytest.param(by("executeBySelf((address,uint256,bytes)[])", CALLS), TWO, id="Ambire executeBySelf"),
        pytest.param(
            by("executeMultiple(((address,uint256,bytes)[],bytes)[])", [(CALLS[:1], b"s"), (CALLS[1:], b"")]),
            TWO,
            id="Ambire executeMultiple",
        ),
        pytest.param(
            by("executeWithoutChainIdValidation(bytes[])", [b"\x01\x02\x03\x04", single(TRANSFER)]),
            (Call(ACCOUNT, 0, b"\x01\x02\x03\x04"), TRANSFER),
            id="Coinbase executeWithoutChainIdValidation",
        ),
        pytest.param(encoded("8dd7712f", [BATCHED_CALL], (CALLS, True)), TWO, id="Calibur after executeUserOp"),
        pytest.param(encoded("99e1d016", [BATCHED_CALL], (CALLS, False)), TWO, id="Calibur execute"),
        pytest.param(
            encoded("8dd7712f", [BATCHED_CALL], ([("0x" + "00" * 20, 5, b"\x01\x02\x03\x04")], True)),
            (Call(ACCOUNT, 5, b"\x01\x02\x03\x04"),),
            id="Calibur's zero target is the account",
        ),
        pytest.param(encoded("8dd7712f", [BATCHED_CALL], ([], True)), (), id="Calibur with nothing to do"),
        pytest.param(
            encoded("991fde68", ["address", "bytes", "bytes"], ONE, b"setup", single(TRANSFER)),
            (TRANSFER,),
            id="Safe launchpad",
        ),
        pytest.param(
            encoded("1f9ffc26", ["address", "bytes", "bytes", "bytes"], ONE, b"setup", single(TRANSFER), b"signed"),
            (TRANSFER,),
            id="Safe launchpad with a signature",
        ),
        pytest.param(
            encoded(
                "1e48143b",
                ["address", "address", "bytes", "address", "bytes", "address", "bytes"],
                *(ONE, ONE, b"signer", ONE, b"setup", ONE, batch(*TWO)),
            ),
            TWO,
            id="Safe signer launchpad",
        ),
        pytest.param(
            encoded(
                "7dfb7ec6",
                ["address", "address", "uint256", "uint256", "uint176", "address", "bytes", "address", "bytes"],
                *(ONE, ONE, 2, 3, 4, ONE, b"setup", ONE, single(TRANSFER)),
            ),
            (TRANSFER,),
            id="Safe passkey launchpad",
        ),
        pytest.param(
            encoded(
                "dcc661d5",
                ["address", "uint256", "uint256", "uint176", "address", "uint256", "bytes", "uint8"],
                *(ONE, 2, 3, 4, *CALLS[1], 0),
            ),
            (PAY,),
            id="Safe passkey launchpad promotes the account",
        ),
    ],
)
def test_opens_the_wrappers_of_real_wallets(call_data: bytes, calls: tuple[Call, ...]) -> None:
    assert calls_for_inspection(call_data, ACCOUNT) == calls


def test_every_wrapper_has_a_selector_of_its_own() -> None:
    assert len(WRAPPER_BY_SELECTOR) == len(WRAPPERS)


@pytest.mark.parametrize(
    "call_data",
    [
        pytest.param(encoded("8dd7712f", [BATCHED_CALL], (CALLS, True))[:-32], id="cut Calibur batch"),
        pytest.param(encoded("991fde68", ["address", "bytes", "bytes"], ONE, b"setup", b""), id="empty launchpad"),
        pytest.param(b"", id="empty"),
        pytest.param(bytes.fromhex("9517e29f") + bytes(96), id="unknown function"),
        pytest.param(
            by(
                "execTransactionFromEntrypointBatch((bool,address,uint256,bytes,bytes)[])",
                [(False, *CALLS[0], b"more")],
            ),
            id="OKX batch with calls inside of calls",
        ),
        pytest.param(single(TRANSFER)[:60], id="cut execute"),
        pytest.param(single(TRANSFER)[:35], id="execute cut inside its mode"),
        pytest.param(execute(b"\xfe", RECIPIENT + b"view"), id="static call"),
        pytest.param(bytes.fromhex("b61d27f6"), id="function without arguments"),
        pytest.param(
            encoded("47e1da2a", ["address[]", "uint256[]", "bytes[]"], ADDRESSES, [1], [b"", b""]),
            id="lists of unequal length",
        ),
    ],
)
def test_shows_what_it_cannot_open_as_a_call_of_the_account_to_itself(call_data: bytes) -> None:
    assert calls_for_inspection(call_data, ACCOUNT) == (Call(ACCOUNT, 0, call_data),)


def test_shows_a_broken_multi_send_as_the_delegated_call() -> None:
    data = encoded("8d80ff0a", ["bytes"], packed(*TWO) + b"\0")
    assert calls_for_inspection(execute(b"\xff", MULTI_SEND + data), ACCOUNT) == (Call(MULTI_SEND, 0, data),)


def test_leaves_wrappers_of_other_accounts_closed() -> None:
    foreign = Call(RECIPIENT, 0, batch(*TWO))
    assert calls_for_inspection(single(foreign), ACCOUNT) == (foreign,)


def test_opens_four_wrappers_and_leaves_the_fifth_closed() -> None:
    inner = single(TRANSFER)
    for _ in range(3):
        inner = single(Call(ACCOUNT, 0, inner))
    assert calls_for_inspection(inner, ACCOUNT) == (TRANSFER,)
    deeper = single(Call(ACCOUNT, 0, inner))
    assert calls_for_inspection(deeper, ACCOUNT) == (Call(ACCOUNT, 0, single(TRANSFER)),)


def test_shows_the_most_calls_allowed_and_leaves_one_more_closed() -> None:
    assert len(calls_for_inspection(batch(*[PAY] * MAX_CALLS), ACCOUNT)) == MAX_CALLS
    over = batch(*[PAY] * (MAX_CALLS + 1))
    assert calls_for_inspection(over, ACCOUNT) == (Call(ACCOUNT, 0, over),)


def test_loses_no_call_where_nested_wrappers_take_the_room() -> None:
    wide = Call(ACCOUNT, 0, batch(*[PAY] * (MAX_CALLS // 2)))
    calls = calls_for_inspection(batch(wide, wide, wide, TRANSFER), ACCOUNT)
    assert len(calls) <= MAX_CALLS
    assert calls[-1] == TRANSFER
    assert wide in calls


def test_leaves_wrappers_closed_whose_shared_data_would_not_end() -> None:
    shared = single(TRANSFER).ljust(MAX_BYTES // 8, b"\0")
    types = abi.tuple_of(abi.list_of(abi.ADDRESS), abi.list_of(abi.BYTES))
    call_data = bytes.fromhex("18dfb3c7") + abi.encode(types, ([ACCOUNT] * 12, [shared] * 12))
    calls = calls_for_inspection(call_data, ACCOUNT)
    assert sum(len(call.data) for call in calls) <= max(MAX_BYTES, len(call_data))


@given(st.binary(max_size=300), st.sampled_from(list(WRAPPER_BY_SELECTOR)), st.sampled_from([b"", bytes(31) + b"\x20"]))
def test_answers_any_call_data_with_calls(data: bytes, selector: bytes, offset: bytes) -> None:
    calls = calls_for_inspection(selector + offset + data, ACCOUNT)
    assert len(calls) <= MAX_CALLS
