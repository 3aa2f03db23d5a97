"""Every configured signer must have signed, each in its own way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import ValidatorKind
from proxy.session.revert import BARE, INDEX_OUT_OF_RANGE, Revert
from proxy.session.signers import (
    INVALID,
    UNDECODABLE,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    check_session_signature,
    signed_message_hash,
)
from proxy.session.signers.webauthn import ASSERTION
from proxy.userop import abi
from proxy.userop.primitives import ZERO_ADDRESS, Address
from tests.session.signers.keys import (
    HASH,
    Key,
    Passkey,
    compact,
    every_bit,
    flips,
    malleable,
    signatures_of,
    signers_data,
    v0_form,
    validators,
)

MULTI_SIGNER = validators(ValidatorKind.MULTI_SIGNER)
FIRST, SECOND, STRANGER = Key(1), Key(2), Key(99)
PASSKEY = Passkey(11)
GOOD = FIRST.sign_message(HASH)
KEY = signers_data(FIRST.address)


def check(configured: bytes, *signatures: bytes) -> object:
    return check_session_signature(MULTI_SIGNER[0], configured, HASH, signatures_of(*signatures))


def revert_of(configured: bytes, signature: bytes) -> Revert | None:
    verdict = check_session_signature(MULTI_SIGNER[0], configured, HASH, signature)
    assert verdict.outcome is SignatureOutcome.MALFORMED
    return verdict.revert


def single_form(assertion: tuple[bytes, bytes, int, int, int, int]) -> bytes:
    return abi.encode(abi.tuple_of(ASSERTION), (assertion,))


@pytest.mark.parametrize("validator", MULTI_SIGNER, ids=bytes.hex)
def test_takes_a_key_that_signed_the_message(validator: Address) -> None:
    assert check_session_signature(validator, KEY, HASH, signatures_of(GOOD)) == VALID


def test_refuses_a_signature_over_the_bare_hash_and_a_stranger() -> None:
    assert check(KEY, FIRST.sign(HASH)) == INVALID
    assert check(KEY, STRANGER.sign_message(HASH)) == INVALID


def test_wants_every_signer_in_order() -> None:
    configured = signers_data(FIRST.address, SECOND.address)
    other = SECOND.sign_message(HASH)
    assert check(configured, GOOD, other) == VALID
    assert check(configured, other, GOOD) == INVALID
    assert check(configured, GOOD, GOOD) == INVALID
    for signatures in ((GOOD,), (GOOD, other, other)):
        assert revert_of(configured, signatures_of(*signatures)) == Revert("InvalidSignatureLength")


def test_takes_the_twin_and_the_compact_form_as_the_contract_does() -> None:
    assert check(KEY, malleable(GOOD)) == VALID
    assert check(KEY, compact(GOOD)) == VALID


@pytest.mark.parametrize("signature", [GOOD[:63], GOOD + b"\0", GOOD[:64] + b"\x1d", bytes(65), b""])
def test_reverts_on_a_signature_of_nobody(signature: bytes) -> None:
    for configured in (KEY, signers_data(ZERO_ADDRESS)):
        assert revert_of(configured, signatures_of(signature)) == Revert("InvalidSignature")


def test_a_session_that_nobody_must_sign_is_refused() -> None:
    assert check(b"\0") == INVALID


@pytest.mark.parametrize(
    ("configured", "revert"),
    [
        (b"", INDEX_OUT_OF_RANGE),
        (b"\x01", INDEX_OUT_OF_RANGE),
        (b"\x02" + KEY[1:], INDEX_OUT_OF_RANGE),
        (KEY[:-1], BARE),
        (b"\x01\x01" + bytes(63), BARE),
        (b"\x01\x02" + bytes(64), Revert("UnknownSignerType")),
    ],
    ids=["empty", "no signer", "one of two", "cut address", "cut passkey", "type 2"],
)
def test_reverts_on_a_configuration_it_cannot_read(configured: bytes, revert: Revert) -> None:
    assert revert_of(configured, signatures_of(GOOD)) == revert


def test_trailing_bytes_of_the_configuration_are_not_looked_at() -> None:
    assert check(KEY + b"\xff", GOOD) == VALID


def test_asks_the_chain_about_passkeys_that_signed_in_the_way_of_either_release() -> None:
    configured = signers_data(FIRST.address, PASSKEY.words)
    newer = single_form(PASSKEY.assert_challenge(HASH))
    older = v0_form(PASSKEY.assert_challenge(signed_message_hash(HASH)))
    for signature in (newer, older):
        assert check(configured, GOOD, signature) == UNKNOWN
        assert check(configured, STRANGER.sign_message(HASH), signature) == INVALID
    swapped = signers_data(PASSKEY.words, FIRST.address)
    assert check(swapped, newer, GOOD) == UNKNOWN
    assert check(swapped, newer, STRANGER.sign_message(HASH)) == INVALID


def test_refuses_a_passkey_that_signed_something_else_or_for_nobody() -> None:
    configured = signers_data(PASSKEY.words)
    for assertion in (Passkey(12).assert_challenge(HASH), PASSKEY.assert_challenge(b"\x01" * 32)):
        assert check(configured, single_form(assertion)) == INVALID
        assert check(configured, v0_form(assertion)) == INVALID
    not_verified = PASSKEY.assert_challenge(HASH, flags=0x01)
    assert check(configured, single_form(not_verified)) == INVALID
    # the newer release wants the message form no longer
    assert check(configured, single_form(PASSKEY.assert_challenge(signed_message_hash(HASH)))) == INVALID


def test_reverts_on_what_is_no_assertion_in_either_encoding() -> None:
    assert check(signers_data(PASSKEY.words), GOOD) == UNDECODABLE
    assert check_session_signature(MULTI_SIGNER[0], KEY, HASH, GOOD) == UNDECODABLE


def test_no_flipped_bit_passes_except_in_padding() -> None:
    """Offset, count, offset, length (four words), 65 bytes, 31 of padding."""
    signature = signatures_of(GOOD)

    def accepted(flipped: bytes) -> bool:
        return check_session_signature(MULTI_SIGNER[0], KEY, HASH, flipped) == VALID

    assert flips(signature, accepted) == every_bit(range(0x80 + 65, len(signature)))


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_never_fails_and_takes_nothing_at_random(configured: bytes, signature: bytes) -> None:
    for data in (KEY, signers_data(PASSKEY.words), configured):
        verdict = check_session_signature(MULTI_SIGNER[1], data, HASH, signature)
        assert verdict.outcome in (SignatureOutcome.INVALID, SignatureOutcome.MALFORMED)


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=2))
def test_takes_no_signatures_at_random(signatures: list[bytes]) -> None:
    configured = signers_data(FIRST.address, PASSKEY.words)
    assert check(configured, *signatures) not in (VALID, UNKNOWN)
    assert check(configured, GOOD, signatures[1]) not in (VALID, UNKNOWN)
