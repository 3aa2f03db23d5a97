"""What calls to Permit2 move."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from proxy.userop.transfers import MovementKind, movements_of
from proxy.userop.transfers_permit2 import PERMIT2, PERMIT2_READERS
from tests.userop.calldata import ACCOUNT, ALICE, BOB, TOKEN, moved, single

OTHER_TOKEN = Address(b"\x71" * 20)
SINGLE = "(((address,uint256),uint256,uint256),(address,uint256),address"
BATCH = "(((address,uint256)[],uint256,uint256),(address,uint256)[],address"
PERMIT = "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"
PERMIT_BATCH = "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)"


def test_every_selector_of_the_table_is_known() -> None:
    wanted = "36c78516 0d58b1db 87517c45 2b67b570 2a2d80d1 30f28b7a edd9444b 137c29fe fe8ec1a7 cc53287f"
    assert set(wanted.split()) == {key.hex() for key in PERMIT2_READERS}


def test_a_transfer_names_its_token_in_the_last_argument() -> None:
    movement = single(PERMIT2, "transferFrom(address,address,uint160,address)", ACCOUNT, ALICE, 7, TOKEN)
    assert (movement.kind, movement.token, movement.amount) == (MovementKind.SPEND, TOKEN, 7)
    assert (movement.counterparty, movement.ambiguous) == (ALICE, False)


def test_the_same_call_to_another_contract_is_unattributed() -> None:
    movement = single(BOB, "transferFrom(address,address,uint160,address)", ACCOUNT, ALICE, 7, TOKEN)
    assert (movement.kind, movement.counterparty) == (MovementKind.UNATTRIBUTED, BOB)


def test_every_transfer_of_a_batch_counts_by_whose_it_is() -> None:
    details = [(ACCOUNT, ALICE, 7, TOKEN), (ALICE, ACCOUNT, 8, OTHER_TOKEN), (ALICE, BOB, 9, TOKEN)]
    movements = moved(PERMIT2, "transferFrom((address,address,uint160,address)[])", details)
    assert [(item.kind, item.token, item.amount, item.holder) for item in movements] == [
        (MovementKind.SPEND, TOKEN, 7, ACCOUNT),
        (MovementKind.INFLOW, OTHER_TOKEN, 8, ALICE),
        (MovementKind.SPEND, TOKEN, 9, ALICE),
    ]


@pytest.mark.parametrize(("amount", "unlimited"), [(2**160 - 2, False), (2**160 - 1, True)])
def test_an_approval_is_an_exposure_until_its_expiry(amount: int, unlimited: bool) -> None:
    movement = single(PERMIT2, "approve(address,address,uint160,uint48)", TOKEN, BOB, amount, 1_900_000_000)
    assert (movement.kind, movement.token, movement.counterparty) == (MovementKind.EXPOSURE, TOKEN, BOB)
    assert (movement.amount, movement.until, movement.unlimited) == (amount, 1_900_000_000, unlimited)
    assert not movement.ambiguous


def test_a_permit_of_the_account_is_an_exposure() -> None:
    movement = single(PERMIT2, PERMIT, ACCOUNT, ((TOKEN, 7, 99, 0), BOB, 2**40), b"sig")
    assert (movement.kind, movement.token, movement.amount) == (MovementKind.EXPOSURE, TOKEN, 7)
    assert (movement.counterparty, movement.until, movement.ambiguous) == (BOB, 99, False)


def test_a_permit_of_a_stranger_exposes_nothing() -> None:
    assert moved(PERMIT2, PERMIT, ALICE, ((TOKEN, 7, 99, 0), BOB, 2**40), b"sig") == ()


def test_a_permit_batch_exposes_each_token() -> None:
    details = [(TOKEN, 7, 99, 0), (OTHER_TOKEN, 8, 98, 1)]
    movements = moved(PERMIT2, PERMIT_BATCH, ACCOUNT, (details, BOB, 2**40), b"sig")
    assert [(item.token, item.amount, item.until, item.counterparty) for item in movements] == [
        (TOKEN, 7, 99, BOB),
        (OTHER_TOKEN, 8, 98, BOB),
    ]
    assert not any(item.ambiguous for item in movements)


@pytest.mark.parametrize(
    ("signature", "rest"),
    [
        (f"permitTransferFrom{SINGLE},bytes)", (b"sig",)),
        (f"permitWitnessTransferFrom{SINGLE},bytes32,string,bytes)", (bytes(32), "Witness()", b"sig")),
    ],
)
def test_a_signature_transfer_spends_what_is_requested_not_what_is_permitted(
    signature: str, rest: tuple[Any, ...]
) -> None:
    movement = single(PERMIT2, signature, ((TOKEN, 100), 0, 2**40), (ALICE, 7), ACCOUNT, *rest)
    assert (movement.kind, movement.token, movement.amount) == (MovementKind.SPEND, TOKEN, 7)
    assert (movement.counterparty, movement.holder, movement.ambiguous) == (ALICE, ACCOUNT, False)


@pytest.mark.parametrize(
    ("signature", "rest"),
    [
        (f"permitTransferFrom{BATCH},bytes)", (b"sig",)),
        (f"permitWitnessTransferFrom{BATCH},bytes32,string,bytes)", (bytes(32), "Witness()", b"sig")),
    ],
)
def test_a_signature_transfer_batch_spends_each_token(signature: str, rest: tuple[Any, ...]) -> None:
    permitted, details = [(TOKEN, 100), (OTHER_TOKEN, 100)], [(ALICE, 7), (BOB, 8)]
    movements = moved(PERMIT2, signature, (permitted, 0, 2**40), details, ACCOUNT, *rest)
    assert [(item.token, item.amount, item.counterparty) for item in movements] == [
        (TOKEN, 7, ALICE),
        (OTHER_TOKEN, 8, BOB),
    ]
    assert not any(item.ambiguous for item in movements)


def test_a_signature_transfer_batch_with_a_missing_transfer_is_unattributed() -> None:
    permitted, details = [(TOKEN, 100), (OTHER_TOKEN, 100)], [(ALICE, 7)]
    movement = single(PERMIT2, f"permitTransferFrom{BATCH},bytes)", (permitted, 0, 2**40), details, ACCOUNT, b"")
    assert (movement.kind, movement.ambiguous) == (MovementKind.UNATTRIBUTED, True)


def test_a_lockdown_takes_back_the_exposure_of_each_pair() -> None:
    movements = moved(PERMIT2, "lockdown((address,address)[])", [(TOKEN, ALICE), (OTHER_TOKEN, BOB)])
    assert [(item.kind, item.token, item.counterparty) for item in movements] == [
        (MovementKind.RELEASE, TOKEN, ALICE),
        (MovementKind.RELEASE, OTHER_TOKEN, BOB),
    ]


def test_an_amount_with_dirty_high_bits_is_marked() -> None:
    movement = single(PERMIT2, "transferFrom(address,address,uint160,address)", ACCOUNT, ALICE, 7, TOKEN)
    assert not movement.ambiguous
    # the same arguments with an amount that does not fit 160 bits, spelt as a wider type of the same layout
    words = [ACCOUNT.rjust(32, b"\0"), ALICE.rjust(32, b"\0"), (2**160 + 7).to_bytes(32, "big"), TOKEN.rjust(32, b"\0")]
    (dirty,) = movements_of([Call(PERMIT2, 0, bytes.fromhex("36c78516") + b"".join(words))], ACCOUNT)
    assert (dirty.amount, dirty.ambiguous) == (7, True)
