"""What calls of token standards move, one row of the table at a time."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.userop.execution import Call
from proxy.userop.primitives import UINT256_MAX, Address
from proxy.userop.transfers import AssetKind, Movement, MovementKind, movements_of
from proxy.userop.transfers_permit2 import PERMIT2
from proxy.userop.transfers_tokens import TOKEN_READERS
from tests.userop.calldata import ACCOUNT, ALICE, BOB, TOKEN, call_data, moved, single

AUTHORIZATION = "(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
AUTHORIZATION_BYTES = "(address,address,uint256,uint256,uint256,bytes32,bytes)"
PERMIT = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
PERMIT_DAI = "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)"


def authorization(holder: Address, receiver: Address, amount: int) -> tuple[Any, ...]:
    return (holder, receiver, amount, 0, 2**40, bytes(32), 27, bytes(32), bytes(32))


def test_every_selector_of_the_table_is_known() -> None:
    wanted = (
        "a9059cbb 1296ee62 4000aea0 23b872dd 095ea7b3 39509351 3177029f cae9ca51 a457c2d7 d505accf 8fcbaf0c e3ee160e "
        "cf092995 ef55bec6 9bd9bbc6 42966c68 79cc6790 42842e0e b88d4fde f242432a 2eb2c2d6 a22cb465 6e553f65 94bf804d "
        "b460af94 ba087652"
    )
    assert set(wanted.split()) <= {key.hex() for key in TOKEN_READERS}


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("transfer(address,uint256)", (ALICE, 7)),
        ("transferAndCall(address,uint256)", (ALICE, 7)),
        ("transferAndCall(address,uint256,bytes)", (ALICE, 7, b"hello")),
        ("send(address,uint256,bytes)", (ALICE, 7, b"")),
        ("transferFrom(address,address,uint256)", (ACCOUNT, ALICE, 7)),
        ("transferFromAndCall(address,address,uint256)", (ACCOUNT, ALICE, 7)),
        ("transferFromAndCall(address,address,uint256,bytes)", (ACCOUNT, ALICE, 7, b"x" * 40)),
        ("operatorSend(address,address,uint256,bytes,bytes)", (ACCOUNT, ALICE, 7, b"", b"y")),
        (f"transferWithAuthorization{AUTHORIZATION}", authorization(ACCOUNT, ALICE, 7)),
        (f"receiveWithAuthorization{AUTHORIZATION}", authorization(ACCOUNT, ALICE, 7)),
        (f"transferWithAuthorization{AUTHORIZATION_BYTES}", (ACCOUNT, ALICE, 7, 0, 9, bytes(32), b"sig")),
        (f"receiveWithAuthorization{AUTHORIZATION_BYTES}", (ACCOUNT, ALICE, 7, 0, 9, bytes(32), b"sig")),
    ],
)
def test_counts_a_token_transfer_as_a_spend(signature: str, arguments: tuple[Any, ...]) -> None:
    movement = single(TOKEN, signature, *arguments)
    assert (movement.kind, movement.asset) == (MovementKind.SPEND, AssetKind.ERC20)
    assert (movement.token, movement.amount, movement.counterparty) == (TOKEN, 7, ALICE)
    assert movement.holder == ACCOUNT
    assert not movement.ambiguous


@pytest.mark.parametrize("holder", [ACCOUNT, BOB], ids=["the account", "a stranger"])
@pytest.mark.parametrize(
    ("target", "signature", "behind"),
    [
        (TOKEN, "transferFrom(address,address,uint256)", (7,)),
        (TOKEN, "transferFromAndCall(address,address,uint256,bytes)", (7, b"")),
        (TOKEN, "operatorSend(address,address,uint256,bytes,bytes)", (7, b"", b"")),
        (TOKEN, f"transferWithAuthorization{AUTHORIZATION}", (7, 0, 2**40, bytes(32), 27, bytes(32), bytes(32))),
        (TOKEN, "safeTransferFrom(address,address,uint256,bytes)", (7, b"")),
        (TOKEN, "safeTransferFrom(address,address,uint256,uint256,bytes)", (7, 1, b"")),
        (TOKEN, "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", ([7, 8], [1, 2], b"")),
        (PERMIT2, "transferFrom(address,address,uint160,address)", (7, TOKEN)),
    ],
)
def test_what_anybody_sends_to_himself_moves_nothing(
    target: Address, signature: str, behind: tuple[Any, ...], holder: Address
) -> None:
    assert moved(target, signature, holder, holder, *behind) == ()
    assert moved(target, signature, holder, ALICE, *behind) != () or holder == BOB


@pytest.mark.parametrize(
    ("target", "signature", "before", "behind"),
    [
        (TOKEN, "approve(address,uint256)", (), (7,)),
        (TOKEN, "increaseAllowance(address,uint256)", (), (7,)),
        (TOKEN, "setApprovalForAll(address,bool)", (), (True,)),
        (TOKEN, "authorizeOperator(address)", (), ()),
        (TOKEN, PERMIT, (ACCOUNT,), (7, 9, 27, bytes(32), bytes(32))),
        (PERMIT2, "approve(address,address,uint160,uint48)", (TOKEN,), (7, 9)),
    ],
)
def test_an_allowance_of_the_account_to_itself_exposes_nothing(
    target: Address, signature: str, before: tuple[Any, ...], behind: tuple[Any, ...]
) -> None:
    assert moved(target, signature, *before, ACCOUNT, *behind) == ()
    (exposed,) = moved(target, signature, *before, ALICE, *behind)
    assert exposed.kind is MovementKind.EXPOSURE


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("burn(uint256)", (7,)),
        ("burn(uint256,bytes)", (7, b"")),
        ("burnFrom(address,uint256)", (ACCOUNT, 7)),
        ("operatorBurn(address,uint256,bytes,bytes)", (ACCOUNT, 7, b"", b"")),
    ],
)
def test_counts_a_burn_as_a_spend_to_nobody(signature: str, arguments: tuple[Any, ...]) -> None:
    movement = single(TOKEN, signature, *arguments)
    assert (movement.kind, movement.amount, movement.counterparty) == (MovementKind.SPEND, 7, None)
    assert not movement.ambiguous


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("transfer(address,uint256)", (ACCOUNT, 7)),
        ("transferAndCall(address,uint256)", (ACCOUNT, 7)),
        ("transferFrom(address,address,uint256)", (ACCOUNT, ACCOUNT, 7)),
        ("safeTransferFrom(address,address,uint256)", (ACCOUNT, ACCOUNT, 7)),
    ],
)
def test_counts_nothing_for_what_stays_with_the_account(signature: str, arguments: tuple[object, ...]) -> None:
    assert moved(TOKEN, signature, *arguments) == ()


def test_a_transfer_from_a_stranger_to_the_account_is_an_inflow() -> None:
    movement = single(TOKEN, "transferFrom(address,address,uint256)", ALICE, ACCOUNT, 7)
    assert (movement.kind, movement.holder, movement.counterparty) == (MovementKind.INFLOW, ALICE, ACCOUNT)


def test_spending_a_strangers_allowance_is_a_spend_of_the_strangers() -> None:
    movement = single(TOKEN, "transferFrom(address,address,uint256)", ALICE, BOB, 7)
    assert (movement.kind, movement.holder, movement.counterparty) == (MovementKind.SPEND, ALICE, BOB)


def test_relaying_a_strangers_signed_transfer_moves_nothing_of_the_account() -> None:
    assert moved(TOKEN, f"transferWithAuthorization{AUTHORIZATION}", *authorization(ALICE, BOB, 7)) == ()


def test_a_strangers_signed_transfer_to_the_account_is_an_inflow() -> None:
    movement = single(TOKEN, f"receiveWithAuthorization{AUTHORIZATION}", *authorization(ALICE, ACCOUNT, 7))
    assert (movement.kind, movement.amount) == (MovementKind.INFLOW, 7)


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("approve(address,uint256)", (BOB, 7)),
        ("increaseAllowance(address,uint256)", (BOB, 7)),
        ("approveAndCall(address,uint256)", (BOB, 7)),
        ("approveAndCall(address,uint256,bytes)", (BOB, 7, b"x")),
        (PERMIT, (ACCOUNT, BOB, 7, 2**40, 27, bytes(32), bytes(32))),
        ("permit(address,address,uint256,uint256,bytes)", (ACCOUNT, BOB, 7, 2**40, b"sig")),
    ],
)
def test_an_approval_is_an_exposure_not_a_spend(signature: str, arguments: tuple[Any, ...]) -> None:
    movement = single(TOKEN, signature, *arguments)
    assert (movement.kind, movement.asset) == (MovementKind.EXPOSURE, AssetKind.ERC20)
    assert (movement.token, movement.amount, movement.counterparty) == (TOKEN, 7, BOB)
    assert not movement.unlimited
    assert not movement.ambiguous


@pytest.mark.parametrize(("amount", "unlimited"), [(UINT256_MAX - 1, False), (UINT256_MAX, True)])
def test_only_the_largest_approval_is_unlimited(amount: int, unlimited: bool) -> None:
    assert single(TOKEN, "approve(address,uint256)", BOB, amount).unlimited is unlimited


def test_a_dai_permit_is_an_unlimited_exposure() -> None:
    movement = single(TOKEN, PERMIT_DAI, ACCOUNT, BOB, 0, 2**40, True, 27, bytes(32), bytes(32))
    assert (movement.kind, movement.unlimited, movement.counterparty) == (MovementKind.EXPOSURE, True, BOB)


def test_a_dai_permit_of_false_takes_the_exposure_back() -> None:
    movement = single(TOKEN, PERMIT_DAI, ACCOUNT, BOB, 0, 2**40, False, 27, bytes(32), bytes(32))
    assert (movement.kind, movement.counterparty) == (MovementKind.RELEASE, BOB)


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        (PERMIT, (ALICE, BOB, 7, 2**40, 27, bytes(32), bytes(32))),
        (PERMIT_DAI, (ALICE, BOB, 0, 2**40, True, 27, bytes(32), bytes(32))),
        (PERMIT_DAI, (ALICE, BOB, 0, 2**40, False, 27, bytes(32), bytes(32))),
    ],
)
def test_a_strangers_permit_exposes_nothing_of_the_account(signature: str, arguments: tuple[Any, ...]) -> None:
    assert moved(TOKEN, signature, *arguments) == ()


def test_decreasing_an_allowance_takes_exposure_back() -> None:
    movement = single(TOKEN, "decreaseAllowance(address,uint256)", BOB, 7)
    assert (movement.kind, movement.amount, movement.counterparty) == (MovementKind.RELEASE, 7, BOB)


def test_an_operator_of_erc777_is_an_unlimited_exposure_until_it_is_revoked() -> None:
    granted = single(TOKEN, "authorizeOperator(address)", BOB)
    revoked = single(TOKEN, "revokeOperator(address)", BOB)
    assert (granted.kind, granted.unlimited) == (MovementKind.EXPOSURE, True)
    assert (revoked.kind, revoked.amount) == (MovementKind.RELEASE, None)


@pytest.mark.parametrize(
    ("signature", "rest"),
    [
        ("safeTransferFrom(address,address,uint256)", ()),
        ("safeTransferFrom(address,address,uint256,bytes)", (b"data",)),
    ],
)
def test_an_nft_transfer_moves_one_token_of_that_id(signature: str, rest: tuple[Any, ...]) -> None:
    movement = single(TOKEN, signature, ACCOUNT, ALICE, 99, *rest)
    assert (movement.kind, movement.asset) == (MovementKind.SPEND, AssetKind.ERC721)
    assert (movement.token_id, movement.amount, movement.counterparty) == (99, 1, ALICE)
    assert not movement.ambiguous


def test_a_multi_token_transfer_has_id_and_amount() -> None:
    signature = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    movement = single(TOKEN, signature, ACCOUNT, ALICE, 99, 7, b"")
    assert (movement.asset, movement.token_id, movement.amount) == (AssetKind.ERC1155, 99, 7)
    assert not movement.ambiguous


def test_a_multi_token_batch_is_one_movement_for_each_id() -> None:
    signature = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    movements = moved(TOKEN, signature, ACCOUNT, ALICE, [1, 2, 3], [10, 20, 30], b"")
    assert [(item.token_id, item.amount) for item in movements] == [(1, 10), (2, 20), (3, 30)]
    assert {item.kind for item in movements} == {MovementKind.SPEND}
    assert not any(item.ambiguous for item in movements)


def test_a_multi_token_batch_with_a_missing_amount_is_unattributed() -> None:
    signature = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    movement = single(TOKEN, signature, ACCOUNT, ALICE, [1, 2, 3], [10, 20], b"")
    assert (movement.kind, movement.ambiguous) == (MovementKind.UNATTRIBUTED, True)


def test_approval_for_all_exposes_the_whole_collection() -> None:
    movement = single(TOKEN, "setApprovalForAll(address,bool)", BOB, True)
    assert (movement.kind, movement.asset) == (MovementKind.EXPOSURE, AssetKind.COLLECTION)
    assert (movement.token, movement.counterparty, movement.unlimited) == (TOKEN, BOB, True)


def test_approval_for_all_of_false_takes_it_back() -> None:
    movement = single(TOKEN, "setApprovalForAll(address,bool)", BOB, False)
    assert (movement.kind, movement.unlimited) == (MovementKind.RELEASE, False)


@pytest.mark.parametrize(
    ("signature", "arguments", "amount"),
    [
        ("deposit(uint256,address)", (7, ACCOUNT), 7),
        ("mint(uint256,address)", (7, ACCOUNT), None),
        ("withdraw(uint256,address,address)", (7, ALICE, ACCOUNT), 7),
        ("redeem(uint256,address,address)", (7, ALICE, ACCOUNT), None),
    ],
)
def test_assets_that_go_into_a_vault_or_to_someone_else_are_spent(
    signature: str, arguments: tuple[Any, ...], amount: int | None
) -> None:
    movement = single(TOKEN, signature, *arguments)
    assert (movement.kind, movement.asset) == (MovementKind.SPEND, AssetKind.VAULT_ASSET)
    assert (movement.token, movement.amount) == (TOKEN, amount)


@pytest.mark.parametrize("signature", ["withdraw(uint256,address,address)", "redeem(uint256,address,address)"])
def test_taking_ones_own_assets_out_of_a_vault_is_a_conversion(signature: str) -> None:
    assert single(TOKEN, signature, 7, ACCOUNT, ACCOUNT).kind is MovementKind.CONVERSION


def test_assets_of_a_stranger_taken_out_to_the_account_are_an_inflow() -> None:
    assert single(TOKEN, "withdraw(uint256,address,address)", 7, ACCOUNT, ALICE).kind is MovementKind.INFLOW


def transfer_bytes(data: bytes) -> Movement:
    (movement,) = movements_of([Call(TOKEN, 0, data)], ACCOUNT)
    return movement


def test_a_dirty_address_is_read_as_a_careless_token_reads_it_and_marked() -> None:
    data = bytearray(call_data("transfer(address,uint256)", ALICE, 7))
    data[4] = 0x80
    movement = transfer_bytes(bytes(data))
    assert (movement.kind, movement.counterparty, movement.amount) == (MovementKind.SPEND, ALICE, 7)
    assert movement.ambiguous


def test_arguments_one_byte_short_are_marked_and_read_as_the_evm_pads_them() -> None:
    data = call_data("transfer(address,uint256)", ALICE, 0x0700)
    movement = transfer_bytes(data[:-1])
    assert (movement.amount, movement.ambiguous) == (0x0700, True)


def test_arguments_one_byte_long_are_marked() -> None:
    movement = transfer_bytes(call_data("transfer(address,uint256)", ALICE, 7) + b"\0")
    assert (movement.amount, movement.ambiguous) == (7, True)


def test_a_bare_selector_of_a_known_function_is_marked() -> None:
    movement = transfer_bytes(call_data("transfer(address,uint256)", ALICE, 7)[:4])
    assert (movement.kind, movement.amount, movement.ambiguous) == (MovementKind.SPEND, 0, True)


def test_a_doubtful_call_that_seems_to_move_nothing_is_unattributed() -> None:
    data = call_data("transferFrom(address,address,uint256)", ACCOUNT, ACCOUNT, 7) + b"\0"
    movement = transfer_bytes(data)
    assert (movement.kind, movement.ambiguous) == (MovementKind.UNATTRIBUTED, True)


def test_a_transfer_whose_bytes_point_outside_still_counts_and_is_marked() -> None:
    data = call_data("transferAndCall(address,uint256,bytes)", ALICE, 7, b"x")
    movement = transfer_bytes(data[:68] + (2**40).to_bytes(32, "big"))
    assert (movement.kind, movement.amount, movement.ambiguous) == (MovementKind.SPEND, 7, True)
