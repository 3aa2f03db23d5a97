"""One owner, 20 bytes of init data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import ValidatorKind
from proxy.session.signers import BAD_INIT_DATA, INVALID, VALID, check_session_signature
from proxy.userop.primitives import ZERO_ADDRESS, Address
from tests.session.signers.keys import HASH, Key, flips, malleable, validators

ECDSA = validators(ValidatorKind.ECDSA)
FIRST = Key(1)
STRANGER = Key(99)


@pytest.mark.parametrize("validator", ECDSA, ids=bytes.hex)
def test_takes_the_hash_and_its_message_form(validator: Address) -> None:
    for signature in (FIRST.sign(HASH), FIRST.sign_message(HASH)):
        assert check_session_signature(validator, FIRST.address, HASH, signature) == VALID


def check(signature: bytes, owner: bytes = FIRST.address) -> object:
    return check_session_signature(ECDSA[0], owner, HASH, signature)


def test_refuses_a_stranger() -> None:
    assert check(STRANGER.sign(HASH)) == INVALID


def test_refuses_the_malleable_twin() -> None:
    assert check(malleable(FIRST.sign(HASH))) == INVALID


@pytest.mark.parametrize("length", [0, 19, 21, 32])
def test_reverts_on_init_data_that_is_no_address(length: int) -> None:
    assert check(FIRST.sign(HASH), bytes(length)) == BAD_INIT_DATA


def test_refuses_a_signature_of_another_length() -> None:
    signature = FIRST.sign(HASH)
    assert check(signature + b"\0") == INVALID
    assert check(signature[:63]) == INVALID
    assert check(b"") == INVALID


def test_takes_the_compact_form_when_its_parity_is_even() -> None:
    even = next(key for key in (Key(number) for number in range(1, 50)) if key.sign(HASH)[64] == 27)
    odd = next(key for key in (Key(number) for number in range(1, 50)) if key.sign(HASH)[64] == 28)
    assert check(even.sign(HASH)[:64], even.address) == VALID
    compact = bytearray(odd.sign(HASH)[:64])
    compact[32] |= 0x80
    assert check(bytes(compact), odd.address) == INVALID


@given(st.binary(max_size=70))
def test_takes_no_signature_at_random(signature: bytes) -> None:
    assert check(signature) == INVALID


def test_the_zero_address_signs_nothing() -> None:
    assert check(bytes(64) + b"\x1b", ZERO_ADDRESS) == INVALID
    assert check(b"\xff" * 31 + bytes(33) + b"\x1c", ZERO_ADDRESS) == INVALID


@pytest.mark.parametrize("signature", [FIRST.sign(HASH), FIRST.sign_message(HASH)], ids=["hash", "message"])
def test_no_flipped_bit_passes(signature: bytes) -> None:
    assert flips(signature, lambda flipped: check(flipped) == VALID) == set()
