"""The value an operation moves: ETH, wrapped ETH, deposits, nested calls, and what cannot be told."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.budget import ITEM_BUDGET
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from proxy.userop.session_data import VALUE_SELECTOR
from proxy.userop.transfers import (
    MAX_DEPTH,
    WRAPPED_NATIVE,
    AssetKind,
    MovementKind,
    movements_of,
)
from proxy.userop.transfers_permit2 import PERMIT2, PERMIT2_READERS
from proxy.userop.transfers_tokens import TOKEN_READERS
from tests.userop.calldata import (
    ACCOUNT,
    ALICE,
    BOB,
    TOKEN,
    call,
    call_data,
    execute_batch,
    execute_single,
    moved,
    single,
)

WETH = Address(bytes.fromhex("4200000000000000000000000000000000000006"))
MULTICALL3 = Address(bytes.fromhex("cA11bde05977b3631167028862bE2a173976CA11"))
ENTRY_POINT = ENTRY_POINTS[1].address
TRANSFER = call_data("transfer(address,uint256)", ALICE, 7)
PULL = call_data("transferFrom(address,address,uint256)", ACCOUNT, ALICE, 7)


def test_eth_sent_to_another_is_a_spend() -> None:
    (movement,) = movements_of([Call(ALICE, 5, b"")], ACCOUNT)
    assert (movement.kind, movement.asset, movement.token) == (MovementKind.SPEND, AssetKind.NATIVE, None)
    assert (movement.amount, movement.counterparty, movement.selector) == (5, ALICE, VALUE_SELECTOR)


def test_eth_sent_to_oneself_moves_nothing() -> None:
    assert movements_of([Call(ACCOUNT, 5, b"")], ACCOUNT) == ()


def test_a_call_without_eth_or_data_moves_nothing() -> None:
    assert movements_of([Call(ALICE, 0, b"")], ACCOUNT) == ()


def test_an_unknown_function_is_unattributed_with_its_selector() -> None:
    (movement,) = movements_of([Call(ALICE, 0, bytes.fromhex("d09de08a"))], ACCOUNT)
    assert (movement.kind, movement.amount, movement.counterparty) == (MovementKind.UNATTRIBUTED, None, ALICE)
    assert (movement.selector.hex(), movement.ambiguous) == ("d09de08a", False)


def test_an_unknown_function_with_eth_has_both_movements() -> None:
    native, unknown = movements_of([Call(ALICE, 5, bytes.fromhex("d09de08a"))], ACCOUNT)
    assert (native.kind, native.asset, native.amount) == (MovementKind.SPEND, AssetKind.NATIVE, 5)
    assert unknown.kind is MovementKind.UNATTRIBUTED
    assert native.selector.hex() == unknown.selector.hex() == "d09de08a"


def test_fewer_than_four_bytes_reach_a_fallback_and_are_unattributed() -> None:
    (movement,) = movements_of([Call(ALICE, 0, b"\x01\x02\x03")], ACCOUNT)
    assert (movement.kind, movement.selector) == (MovementKind.UNATTRIBUTED, VALUE_SELECTOR)


def test_a_transfer_with_eth_counts_both() -> None:
    native, token = moved(TOKEN, "transfer(address,uint256)", ALICE, 7, value=5)
    assert (native.asset, native.amount, native.counterparty) == (AssetKind.NATIVE, 5, TOKEN)
    assert (token.asset, token.amount) == (AssetKind.ERC20, 7)


def test_movements_carry_the_index_of_their_call() -> None:
    calls = [Call(ALICE, 5, b""), Call(ALICE, 0, b""), Call(TOKEN, 0, TRANSFER)]
    assert [item.call for item in movements_of(calls, ACCOUNT)] == [0, 2]


@pytest.mark.parametrize("data", [b"", call_data("deposit()")])
def test_wrapping_eth_at_a_known_contract_is_a_conversion(data: bytes) -> None:
    (movement,) = movements_of([Call(WETH, 5, data)], ACCOUNT)
    assert (movement.kind, movement.asset, movement.amount) == (MovementKind.CONVERSION, AssetKind.NATIVE, 5)


def test_wrapping_eth_at_an_unknown_contract_is_a_spend() -> None:
    native, unknown = movements_of([Call(ALICE, 5, call_data("deposit()"))], ACCOUNT)
    assert (native.kind, native.counterparty) == (MovementKind.SPEND, ALICE)
    assert unknown.kind is MovementKind.UNATTRIBUTED


def test_unwrapping_at_a_known_contract_is_a_conversion() -> None:
    movement = single(WETH, "withdraw(uint256)", 5)
    assert (movement.kind, movement.token, movement.amount) == (MovementKind.CONVERSION, WETH, 5)


def test_unwrapping_at_an_unknown_contract_is_unattributed() -> None:
    assert single(ALICE, "withdraw(uint256)", 5).kind is MovementKind.UNATTRIBUTED


def test_a_transfer_of_wrapped_eth_is_a_spend_like_any_other() -> None:
    assert single(WETH, "transfer(address,uint256)", ALICE, 7).kind is MovementKind.SPEND


def test_the_wrapped_contracts_of_a_chain_can_be_given() -> None:
    deposit = Call(BOB, 5, call_data("deposit()"))
    (movement,) = movements_of([deposit], ACCOUNT, wrapped_native=[BOB])
    assert movement.kind is MovementKind.CONVERSION
    assert BOB not in WRAPPED_NATIVE


def test_a_deposit_at_the_entry_point_is_a_spend_to_whom_it_is_for() -> None:
    movement = single(ENTRY_POINT, "depositTo(address)", ALICE, value=5)
    assert (movement.kind, movement.asset, movement.amount) == (MovementKind.SPEND, AssetKind.NATIVE, 5)
    assert movement.counterparty == ALICE


def test_the_accounts_own_deposit_is_an_outflow_too() -> None:
    movement = single(ENTRY_POINT, "depositTo(address)", ACCOUNT, value=5)
    assert (movement.kind, movement.counterparty) == (MovementKind.SPEND, ACCOUNT)


def test_a_withdrawal_from_the_entry_point_to_another_is_a_spend() -> None:
    movement = single(ENTRY_POINT, "withdrawTo(address,uint256)", ALICE, 5)
    assert (movement.kind, movement.asset, movement.counterparty) == (MovementKind.SPEND, AssetKind.NATIVE, ALICE)
    assert movement.amount == 5


def test_a_withdrawal_from_the_entry_point_to_the_account_is_an_inflow() -> None:
    assert single(ENTRY_POINT, "withdrawTo(address,uint256)", ACCOUNT, 5).kind is MovementKind.INFLOW


def test_a_deposit_function_elsewhere_is_unattributed() -> None:
    native, unknown = moved(ALICE, "depositTo(address)", BOB, value=5)
    assert (native.counterparty, unknown.kind) == (ALICE, MovementKind.UNATTRIBUTED)


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("multicall(bytes[])", ()),
        ("multicall(uint256,bytes[])", (2**40,)),
        ("multicall(bytes32,bytes[])", (bytes(32),)),
    ],
)
def test_a_multicall_counts_as_calls_of_the_account_to_the_same_contract(
    signature: str, arguments: tuple[object, ...]
) -> None:
    unknown = bytes.fromhex("d09de08a")
    native, token, rest = moved(TOKEN, signature, *arguments, [TRANSFER, unknown], value=5)
    assert (native.asset, native.amount) == (AssetKind.NATIVE, 5)
    assert (token.kind, token.token, token.amount) == (MovementKind.SPEND, TOKEN, 7)
    assert (rest.kind, rest.counterparty) == (MovementKind.UNATTRIBUTED, TOKEN)


@pytest.mark.parametrize(
    ("signature", "arguments", "item"),
    [
        ("aggregate((address,bytes)[])", (), (TOKEN, PULL)),
        ("blockAndAggregate((address,bytes)[])", (), (TOKEN, PULL)),
        ("tryAggregate(bool,(address,bytes)[])", (True,), (TOKEN, PULL)),
        ("tryBlockAndAggregate(bool,(address,bytes)[])", (False,), (TOKEN, PULL)),
        ("aggregate3((address,bool,bytes)[])", (), (TOKEN, True, PULL)),
        ("aggregate3Value((address,bool,uint256,bytes)[])", (), (TOKEN, True, 5, PULL)),
    ],
)
def test_an_aggregate_can_pull_the_accounts_tokens_by_an_allowance(
    signature: str, arguments: tuple[object, ...], item: tuple[object, ...]
) -> None:
    native, pulled = moved(MULTICALL3, signature, *arguments, [item], value=5)
    assert (native.asset, native.amount, native.counterparty) == (AssetKind.NATIVE, 5, MULTICALL3)
    assert (pulled.kind, pulled.token, pulled.amount, pulled.holder) == (MovementKind.SPEND, TOKEN, 7, ACCOUNT)
    assert not pulled.ambiguous


@pytest.mark.parametrize(
    "inner",
    [
        TRANSFER,
        call_data("approve(address,uint256)", BOB, 7),
        call_data("setApprovalForAll(address,bool)", BOB, True),
        call_data("burn(uint256)", 7),
        call_data("transferFrom(address,address,uint256)", ALICE, BOB, 7),
        call_data("decreaseAllowance(address,uint256)", BOB, 7),
        call_data("deposit(uint256,address)", 7, BOB),
    ],
)
def test_an_aggregate_cannot_spend_or_approve_in_the_accounts_name(inner: bytes) -> None:
    assert moved(MULTICALL3, "aggregate((address,bytes)[])", [(TOKEN, inner)]) == ()


def test_tokens_an_aggregate_sends_to_the_account_are_an_inflow() -> None:
    inner = call_data("transfer(address,uint256)", ACCOUNT, 7)
    movement = single(MULTICALL3, "aggregate((address,bytes)[])", [(TOKEN, inner)])
    assert (movement.kind, movement.holder) == (MovementKind.INFLOW, MULTICALL3)


def test_an_unknown_call_inside_an_aggregate_is_unattributed() -> None:
    movement = single(MULTICALL3, "aggregate((address,bytes)[])", [(ALICE, bytes.fromhex("d09de08a"))])
    assert (movement.kind, movement.counterparty) == (MovementKind.UNATTRIBUTED, ALICE)


def test_a_permit_of_the_account_counts_inside_an_aggregate_too() -> None:
    signature = "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"
    inner = call_data(signature, ACCOUNT, ((TOKEN, 7, 99, 0), BOB, 2**40), b"sig")
    movement = single(MULTICALL3, "aggregate((address,bytes)[])", [(PERMIT2, inner)])
    assert (movement.kind, movement.token, movement.counterparty) == (MovementKind.EXPOSURE, TOKEN, BOB)


@pytest.mark.parametrize("wrap", [execute_single, execute_batch])
def test_calls_the_account_makes_through_itself_are_followed(wrap: object) -> None:
    assert callable(wrap)
    native, token = movements_of([Call(ACCOUNT, 0, wrap(Call(TOKEN, 5, TRANSFER)))], ACCOUNT)
    assert (native.asset, native.amount) == (AssetKind.NATIVE, 5)
    assert (token.kind, token.amount, token.call) == (MovementKind.SPEND, 7, 0)


def test_eth_the_account_would_send_at_another_callers_bidding_is_not_counted() -> None:
    # only the entry point and the account itself may call its execute: from a multicall contract it reverts
    inner = execute_single(Call(ALICE, 5, b""))
    assert moved(MULTICALL3, "aggregate((address,bytes)[])", [(ACCOUNT, inner)]) == ()


def test_calls_the_account_makes_through_itself_use_the_budget() -> None:
    wide = Call(ACCOUNT, 0, execute_batch(*[Call(TOKEN, 0, TRANSFER)] * (NESTED // 2 - 2)))
    *movements, last = movements_of([wide] * 3, ACCOUNT)
    assert len(movements) == 2 * (NESTED // 2 - 2)
    assert (last.kind, last.call, last.ambiguous) == (MovementKind.UNATTRIBUTED, 2, True)


NESTED = ITEM_BUDGET // 2
"""A nested call is read as an item first and as a call then."""


def nested(depth: int) -> bytes:
    data = TRANSFER
    for _ in range(depth):
        data = call_data("multicall(bytes[])", [data])
    return data


def test_follows_multicalls_exactly_as_deep_as_it_says() -> None:
    (movement,) = movements_of([Call(TOKEN, 0, nested(MAX_DEPTH))], ACCOUNT)
    assert (movement.kind, movement.amount) == (MovementKind.SPEND, 7)


def test_one_multicall_deeper_is_unattributed_and_ambiguous() -> None:
    (movement,) = movements_of([Call(TOKEN, 0, nested(MAX_DEPTH + 1))], ACCOUNT)
    assert (movement.kind, movement.ambiguous) == (MovementKind.UNATTRIBUTED, True)


def test_reads_exactly_as_many_nested_calls_as_the_budget_has() -> None:
    movements = moved(TOKEN, "multicall(bytes[])", [TRANSFER] * NESTED)
    assert len(movements) == NESTED
    assert {item.kind for item in movements} == {MovementKind.SPEND}


def test_one_nested_call_more_is_unattributed() -> None:
    movement = single(TOKEN, "multicall(bytes[])", [TRANSFER] * (NESTED + 1))
    assert (movement.kind, movement.ambiguous) == (MovementKind.UNATTRIBUTED, True)


def test_the_budget_is_one_for_all_calls_of_an_operation() -> None:
    wide = call(TOKEN, "multicall(bytes[])", [TRANSFER] * NESTED)
    movements = movements_of([wide, wide, Call(TOKEN, 0, TRANSFER)], ACCOUNT)
    assert len(movements) == NESTED + 2
    assert (movements[-2].kind, movements[-2].call) == (MovementKind.UNATTRIBUTED, 1)
    assert (movements[-1].kind, movements[-1].call) == (MovementKind.SPEND, 2)


def test_shared_tails_cannot_make_a_small_call_large() -> None:
    # every item of every level points to the same tail: 30 × 30 × 30 × 30 calls in a few kilobytes
    data = TRANSFER
    for _ in range(4):
        inner = encode(["bytes"], [data])[32:]
        data = call_data("multicall(bytes[])", [])[:4] + b"".join(
            ((32).to_bytes(32, "big"), (30).to_bytes(32, "big"), (30 * 32).to_bytes(32, "big") * 30, inner)
        )
    assert len(movements_of([Call(TOKEN, 0, data)], ACCOUNT)) <= ITEM_BUDGET + 1


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("execute(bytes,bytes[],uint256)", (b"\x00", [b""], 2**40)),
        ("execute(bytes,bytes[])", (b"\x00", [b""])),
        ("redeemDelegations(bytes[],bytes32[],bytes[])", ([], [], [])),
        ("executeFromExecutor(bytes32,bytes)", (bytes(32), b"")),
        ("executeOnOwnedAccount(address,bytes)", (ACCOUNT, b"")),
    ],
)
def test_functions_that_decide_amounts_at_run_time_are_opaque(signature: str, arguments: tuple[object, ...]) -> None:
    native, opaque = moved(BOB, signature, *arguments, value=5)
    assert (native.asset, native.amount) == (AssetKind.NATIVE, 5)
    assert (opaque.kind, opaque.amount, opaque.counterparty) == (MovementKind.OPAQUE, None, BOB)


@pytest.mark.parametrize(
    "selector", ["3593564c", "24856bc3", "cef6d209", "765e827f", "1fad948c", "ea5a6d91", "7eba07b8"]
)
def test_every_opaque_selector_of_the_table_is_known(selector: str) -> None:
    (movement,) = movements_of([Call(BOB, 0, bytes.fromhex(selector))], ACCOUNT)
    assert movement.kind is MovementKind.OPAQUE


NESTING = ("ac9650d8", "5ae401dc", "1f0464d1", "82ad56cb", "252dba42", "bce38bd7", "e9ae5c53", "34fcd5be")
KNOWN = sorted(
    {*TOKEN_READERS, *PERMIT2_READERS, *(bytes.fromhex(text) for text in (*NESTING, "205c2878", "2e1a7d4d"))}
)

targets = st.sampled_from([ACCOUNT, ALICE, TOKEN, WETH, MULTICALL3, ENTRY_POINT, PERMIT2])
amounts = st.integers(0, 2**256 - 1)
words = st.one_of(
    st.sampled_from([0, 1, 2, 32, 64, 96, 128, 2**160, 2**255, 2**256 - 1, int.from_bytes(ACCOUNT, "big")]), amounts
).map(lambda number: number.to_bytes(32, "big"))
bodies = st.one_of(st.binary(max_size=300), st.lists(words, max_size=20).map(b"".join))
datas = st.one_of(st.binary(max_size=40), st.builds(bytes.__add__, st.sampled_from(KNOWN), bodies))
calls = st.builds(Call, targets, amounts, datas)


@given(st.lists(calls, max_size=4))
def test_never_raises_and_never_loses_eth(batch: list[Call]) -> None:
    movements = movements_of(batch, ACCOUNT)
    for index, item in enumerate(batch):
        native = [move.amount for move in movements if move.call == index and move.asset is AssetKind.NATIVE]
        if item.value and item.target != ACCOUNT:
            assert native[0] == item.value
    assert all(movement.amount is None or 0 <= movement.amount < 2**256 for movement in movements)


@given(st.binary(min_size=4, max_size=4).filter(lambda key: key not in KNOWN), st.binary(max_size=100))
def test_every_unknown_function_is_reported(selector: bytes, body: bytes) -> None:
    (movement,) = movements_of([Call(ALICE, 0, selector + body)], ACCOUNT)
    assert movement.kind in (MovementKind.UNATTRIBUTED, MovementKind.OPAQUE)
    assert movement.selector == selector


WRAPPING = {bytes.fromhex(selector) for selector in ("d0e30db0", "2e1a7d4d")}


@given(st.one_of(st.sampled_from(sorted(KNOWN)), st.binary(max_size=5)), st.binary(max_size=70))
def test_a_contract_is_read_alike_whether_or_not_it_wraps_the_coin_but_for_that(selector: bytes, body: bytes) -> None:
    call_of = Call(ALICE, 0, selector + body)
    if call_of.selector not in WRAPPING:
        assert movements_of([call_of], ACCOUNT) == movements_of([call_of], ACCOUNT, wrapped_native={ALICE})


@given(st.integers(0, 2**256 - 1), st.binary(min_size=20, max_size=20).filter(lambda x: x != ACCOUNT))
def test_a_transfer_counts_exactly_its_amount(amount: int, receiver: bytes) -> None:
    movement = single(TOKEN, "transfer(address,uint256)", receiver, amount)
    assert (movement.amount, movement.counterparty, movement.ambiguous) == (amount, receiver, False)
