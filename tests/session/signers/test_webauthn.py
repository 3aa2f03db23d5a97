"""Passkeys in both encodings: what they signed must be this operation."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import ValidatorKind
from proxy.session.revert import INDEX_OUT_OF_RANGE, OVERFLOW
from proxy.session.signers import (
    BAD_INIT_DATA,
    INVALID,
    NOT_SORTED,
    UNDECODABLE,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    check_session_signature,
    p256,
)
from proxy.userop.primitives import Hash32
from tests.session.signers.keys import (
    HASH,
    OTHER_HASH,
    Passkey,
    credentials_data,
    every_bit,
    flips,
    session_form,
    v0_form,
    validators,
)

(CURRENT,) = validators(ValidatorKind.WEBAUTHN)
(V0,) = validators(ValidatorKind.WEBAUTHN_V0)
FIRST, SECOND, THIRD = sorted((Passkey(number) for number in (11, 12, 13)), key=lambda passkey: passkey.id)
GOOD = FIRST.assert_challenge(HASH)
ONE = credentials_data(FIRST)

AUTHENTICATOR_DATA, CLIENT_DATA = len(GOOD[0]), len(GOOD[1])


def current(signature: bytes, configured: bytes = ONE, digest: Hash32 = HASH) -> object:
    return check_session_signature(CURRENT, configured, digest, signature)


def v0(signature: bytes, configured: bytes = FIRST.words, digest: Hash32 = HASH) -> object:
    return check_session_signature(V0, configured, digest, signature)


@dataclass
class Assertion:
    """A good assertion to change one member of."""

    authenticator_data: bytes = GOOD[0]
    client_data: bytes = GOOD[1]
    challenge_index: int = GOOD[2]
    type_index: int = GOOD[3]
    r: int = GOOD[4]
    s: int = GOOD[5]

    def encoded(self) -> bytes:
        return session_form(
            (self.authenticator_data, self.client_data, self.challenge_index, self.type_index, self.r, self.s)
        )


def test_takes_an_assertion_over_the_hash_and_over_no_other() -> None:
    assert current(session_form(GOOD)) == VALID
    assert current(session_form(GOOD), digest=OTHER_HASH) == INVALID


def test_refuses_the_malleable_twin() -> None:
    assert current(Assertion(s=p256.ORDER - GOOD[5]).encoded()) == INVALID
    assert v0(v0_form((*GOOD[:5], p256.ORDER - GOOD[5]))) == INVALID


def test_wants_the_user_verified_only_when_the_session_does() -> None:
    present = session_form(FIRST.assert_challenge(HASH, flags=0x01))
    assert current(present) == VALID
    assert current(present, credentials_data(FIRST, require_uv=True)) == INVALID
    assert current(session_form(GOOD), credentials_data(FIRST, require_uv=True)) == VALID


@pytest.mark.parametrize("flags", [0x00, 0x04, 0x18])
def test_wants_the_user_present(flags: int) -> None:
    assert current(session_form(FIRST.assert_challenge(HASH, flags=flags))) == INVALID


def test_needs_as_many_passkeys_as_the_threshold_in_the_order_of_their_ids() -> None:
    configured = credentials_data(FIRST, SECOND, THIRD, threshold=2)
    first, second, third = (passkey.assert_challenge(HASH) for passkey in (FIRST, SECOND, THIRD))
    assert current(session_form(first, second), configured) == VALID
    assert current(session_form(first, third, third), configured) == VALID
    assert current(session_form(first, third), configured) == INVALID
    assert current(session_form(first), configured) == INVALID
    assert current(session_form(first, first), configured) == INVALID


def test_asks_the_chain_whether_it_has_the_precompile_and_only_about_good_signatures() -> None:
    configured = credentials_data(FIRST, use_precompile=True)
    assert current(session_form(GOOD), configured) == UNKNOWN
    assert current(session_form(GOOD), configured, OTHER_HASH) == INVALID


def test_reads_no_further_than_the_threshold() -> None:
    broken = (b"", *GOOD[1:])
    assert current(session_form(GOOD, broken)) == VALID
    assert current(session_form(broken, GOOD)) == current(session_form(broken))


def test_reads_no_assertion_when_there_are_too_few() -> None:
    broken = (b"", *GOOD[1:])
    configured = credentials_data(FIRST, SECOND, threshold=2)
    assert current(session_form(broken), configured) == INVALID
    assert current(session_form(broken, broken), configured) != INVALID


def test_panics_where_the_contract_reads_out_of_bounds() -> None:
    stranger = SECOND.assert_challenge(HASH)
    for signature in (session_form(stranger, GOOD), Assertion(authenticator_data=GOOD[0][:32]).encoded()):
        verdict = check_session_signature(CURRENT, ONE, HASH, signature)
        assert (verdict.outcome, verdict.revert) == (SignatureOutcome.MALFORMED, INDEX_OUT_OF_RANGE)


@pytest.mark.parametrize(("member", "length"), [("type_index", 21), ("challenge_index", 57)])
def test_an_index_overflows_exactly_where_the_sum_does(member: str, length: int) -> None:
    overflowing = Assertion(**{member: 2**256 - length}).encoded()
    assert check_session_signature(CURRENT, ONE, HASH, overflowing).revert == OVERFLOW
    assert current(Assertion(**{member: 2**256 - length - 1}).encoded()) == INVALID


def test_client_data_need_not_be_utf8() -> None:
    assert current(Assertion(client_data=GOOD[1] + b"\xff").encoded()) == INVALID


def test_reverts_on_a_configuration_that_no_signature_can_satisfy() -> None:
    assert current(session_form(GOOD), credentials_data(SECOND, FIRST)) == NOT_SORTED
    assert current(b"", credentials_data(SECOND, FIRST)) == NOT_SORTED
    assert current(session_form(GOOD), ONE[:-32]) == BAD_INIT_DATA
    assert current(b"") == UNDECODABLE


def test_no_flipped_bit_passes_except_in_the_padding_of_the_two_byte_strings() -> None:
    """Array head 0x60, struct head 0xc0, then each string: its length, its bytes, zeros up to a whole word."""
    start = 0x60 + 0xC0 + 0x20
    client_data = start + 64 + 0x20
    signature = session_form(GOOD)
    padding = every_bit(range(start + AUTHENTICATOR_DATA, start + 64), range(client_data + CLIENT_DATA, len(signature)))
    assert flips(signature, lambda flipped: current(flipped) == VALID) == padding


def test_no_flipped_bit_of_the_hash_passes() -> None:
    assert flips(HASH, lambda flipped: current(session_form(GOOD), digest=Hash32(flipped)) == VALID) == set()


def test_v0_never_says_valid_but_asks_about_good_signatures_only() -> None:
    assert v0(v0_form(GOOD)) == UNKNOWN
    assert v0(v0_form(GOOD, use_precompiled=True)) == UNKNOWN
    assert v0(v0_form(GOOD), FIRST.words + bytes(32)) == UNKNOWN
    assert v0(v0_form(GOOD), SECOND.words) == INVALID
    assert v0(v0_form(GOOD), digest=OTHER_HASH) == INVALID


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_v0_asks_about_a_configuration_it_does_not_know(length: int) -> None:
    assert v0(v0_form(GOOD), bytes(length)) == UNKNOWN


@pytest.mark.parametrize(
    ("flags", "taken"), [(0x05, True), (0x1D, True), (0x0D, True), (0x15, False), (0x01, False), (0x04, False)]
)
def test_v0_wants_presence_verification_and_backup_flags_that_agree(flags: int, taken: bool) -> None:
    assert v0(v0_form(FIRST.assert_challenge(HASH, flags=flags))) == (UNKNOWN if taken else INVALID)


def test_v0_wants_authenticator_data_with_its_counter_and_the_current_release_only_its_flags() -> None:
    for length in (0, 3, 4):
        assertion = FIRST.assert_challenge(HASH, counter=bytes(length))
        assert v0(v0_form(assertion)) == (UNKNOWN if length == 4 else INVALID)
        assert current(session_form(assertion)) == VALID


def test_v0_refuses_the_location_that_marks_a_stub() -> None:
    assert v0(v0_form((*GOOD[:3], 2**256 - 1, *GOOD[4:]))) == INVALID
    assert v0(v0_form((*GOOD[:3], 2**256 - 2, *GOOD[4:]))) == INVALID


def test_v0_no_flipped_bit_passes_except_padding_and_the_choice_of_verifier() -> None:
    """The last bit of the sixth word is usePrecompiled."""
    start = 0xC0 + 0x20
    client_data = start + 64 + 0x20
    signature = v0_form(GOOD)
    ignored = every_bit(range(start + AUTHENTICATOR_DATA, start + 64), range(client_data + CLIENT_DATA, len(signature)))
    assert flips(signature, lambda flipped: v0(flipped) == UNKNOWN) == ignored | {(0xBF, 0)}


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_never_fails_and_takes_nothing_at_random(configured: bytes, signature: bytes) -> None:
    assert current(signature) in (INVALID, UNDECODABLE)
    assert current(session_form(GOOD), configured) != VALID
    assert v0(signature) in (INVALID, UNDECODABLE)
    assert v0(signature, configured) != VALID


@given(st.tuples(st.binary(max_size=70), st.binary(max_size=200), *[st.integers(0, 2**256 - 1)] * 4))
def test_takes_no_assertion_at_random(assertion: tuple[bytes, bytes, int, int, int, int]) -> None:
    assert current(session_form(assertion)) != VALID
    assert current(session_form((*GOOD[:4], *assertion[4:]))) == INVALID
    assert v0(v0_form(assertion)) == INVALID


@given(st.binary(min_size=32, max_size=32), st.integers(1, p256.ORDER - 1))
def test_takes_whatever_hash_was_signed_by_whatever_key(digest: bytes, number: int) -> None:
    passkey = Passkey(number)
    assertion = passkey.assert_challenge(digest)
    assert current(session_form(assertion), credentials_data(passkey), Hash32(digest)) == VALID
    assert v0(v0_form(assertion), passkey.words, Hash32(digest)) == UNKNOWN
