"""threshold × 65 bytes by owners in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import ValidatorKind
from proxy.session.revert import BARE, Revert
from proxy.session.signers import (
    BAD_INIT_DATA,
    INVALID,
    TOO_SHORT,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    check_session_signature,
)
from proxy.userop.primitives import ZERO_ADDRESS, Address, keccak256
from tests.session.signers.keys import HASH, Key, every_bit, flips, malleable, owners_data, validators

OWNABLE = validators(ValidatorKind.OWNABLE)
FIRST, SECOND, THIRD = sorted((Key(number) for number in (1, 2, 3)), key=lambda key: key.address)
STRANGER = Key(99)


def ownable(signature: bytes, *owners: Address, threshold: int = 1) -> object:
    configured = owners_data(threshold, *owners or [FIRST.address])
    return check_session_signature(OWNABLE[0], configured, HASH, signature)


def keys_by_v() -> tuple[Key, Key]:
    """A key whose signature of the message has v 27, and one with v 28."""
    keys = [Key(number) for number in range(1, 50)]
    first, second = (next(key for key in keys if key.sign_message(HASH)[64] == v) for v in (27, 28))
    return first, second


@pytest.mark.parametrize("validator", OWNABLE, ids=bytes.hex)
def test_takes_what_the_sdks_sign_and_what_the_contract_documents(validator: Address) -> None:
    configured = owners_data(1, FIRST.address)
    for signature in (FIRST.sign_message(HASH), FIRST.sign(HASH), FIRST.sign_message(HASH, add_to_v=31)):
        assert check_session_signature(validator, configured, HASH, signature) == VALID


def test_refuses_a_stranger() -> None:
    assert ownable(STRANGER.sign_message(HASH)) == INVALID
    assert ownable(STRANGER.sign(HASH)) == INVALID


def test_refuses_a_signature_over_another_hash() -> None:
    assert ownable(FIRST.sign_message(keccak256(b"another"))) == INVALID


def test_reverts_on_one_byte_too_few_and_ignores_bytes_too_many() -> None:
    signature = FIRST.sign_message(HASH)
    assert ownable(signature[:-1]) == TOO_SHORT
    assert TOO_SHORT.revert == Revert("InvalidSignature")
    assert ownable(b"") == TOO_SHORT
    assert ownable(signature + b"more") == VALID


def test_needs_as_many_owners_as_the_threshold() -> None:
    owners = (FIRST.address, SECOND.address, THIRD.address)
    one, two, three = (key.sign_message(HASH) for key in (FIRST, SECOND, THIRD))
    assert ownable(one + three, *owners, threshold=2) == VALID
    assert ownable(three + two, *owners, threshold=2) == VALID
    assert ownable(one + STRANGER.sign_message(HASH), *owners, threshold=2) == INVALID
    assert ownable(one, *owners, threshold=2) == TOO_SHORT


def test_counts_one_owner_once() -> None:
    owners = (FIRST.address, SECOND.address)
    assert ownable(FIRST.sign_message(HASH) * 2, *owners, threshold=2) == INVALID
    both = FIRST.sign_message(HASH)
    assert ownable(both + malleable(both), *owners, threshold=2) == INVALID


def test_asks_the_chain_where_releases_differ_about_signatures_beyond_the_threshold() -> None:
    good, foreign = FIRST.sign_message(HASH), STRANGER.sign_message(HASH)
    assert ownable(foreign + good) == UNKNOWN
    assert ownable(good + foreign) == VALID
    assert ownable(foreign + foreign) == INVALID
    by_contract = STRANGER.address.rjust(32, b"\0") + bytes(33)
    assert ownable(good + by_contract) == UNKNOWN


def test_does_not_read_more_signatures_than_anybody_sends() -> None:
    good = FIRST.sign_message(HASH)
    assert ownable(good * 64) == VALID
    assert ownable(good * 65) == UNKNOWN


def test_the_zero_address_signs_nothing() -> None:
    nonsense = bytes(64) + b"\x1b"
    assert ownable(nonsense, ZERO_ADDRESS) == INVALID
    assert ownable(nonsense + FIRST.sign_message(HASH), ZERO_ADDRESS, FIRST.address, threshold=2) == INVALID


def test_no_flipped_bit_passes_except_v_into_the_same_claim_in_other_words() -> None:
    """Bit 2 of v turns "over the message" (27) into eth_sign over the hash (31): the same bytes were signed."""
    v27, v28 = keys_by_v()
    for key, passing in ((v27, {(64, 2)}), (v28, set())):
        assert flips(key.sign_message(HASH), lambda flipped, key=key: ownable(flipped, key.address) == VALID) == passing


def test_ignores_less_than_one_signature_at_the_end() -> None:
    good = FIRST.sign_message(HASH) + bytes(64)
    assert flips(good, lambda flipped: ownable(flipped) == VALID) >= every_bit(range(65, 129))


def test_refuses_owners_out_of_order_and_a_threshold_of_zero() -> None:
    signature = FIRST.sign_message(HASH)
    assert ownable(signature, FIRST.address, SECOND.address) == VALID
    assert ownable(signature, SECOND.address, FIRST.address) == INVALID
    assert ownable(signature, FIRST.address, FIRST.address) == INVALID
    assert ownable(signature, threshold=0) == INVALID


def test_refuses_a_threshold_above_the_number_of_owners() -> None:
    assert ownable(FIRST.sign_message(HASH) + SECOND.sign_message(HASH), threshold=2) == INVALID


def test_takes_the_malleable_twin_as_the_contract_does() -> None:
    assert ownable(malleable(FIRST.sign_message(HASH))) == VALID


def test_asks_the_chain_about_a_contract_that_could_be_the_owner_and_about_no_other() -> None:
    by_owner = FIRST.address.rjust(32, b"\0") + (65).to_bytes(32, "big") + b"\0"
    by_stranger = STRANGER.address.rjust(32, b"\0") + (65).to_bytes(32, "big") + b"\0"
    assert ownable(by_owner + bytes(32)) == UNKNOWN
    assert ownable(by_stranger + bytes(32)) == INVALID


@pytest.mark.parametrize("v", [1, 26, 29, 30, 33, 34, 255])
def test_refuses_any_other_v(v: int) -> None:
    assert ownable(FIRST.sign_message(HASH)[:64] + bytes([v])) == INVALID


@pytest.mark.parametrize(
    "configuration",
    [b"", bytes(32), owners_data(1, FIRST.address)[:-1], b"\x01" * 96],
    ids=["empty", "word", "cut", "dirty"],
)
def test_reverts_bare_on_init_data_that_does_not_decode(configuration: bytes) -> None:
    verdict = check_session_signature(OWNABLE[0], configuration, HASH, FIRST.sign_message(HASH))
    assert verdict == BAD_INIT_DATA
    assert (verdict.outcome, verdict.revert) == (SignatureOutcome.MALFORMED, BARE)


@given(st.binary(max_size=140))
def test_takes_no_signature_at_random(signature: bytes) -> None:
    assert ownable(signature) in (INVALID, TOO_SHORT)
