"""threshold × 65 bytes by owners in any order, signed as each release wants it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import ValidatorKind
from proxy.session.revert import BARE, Revert
from proxy.session.signers import (
    BAD_INIT_DATA,
    INVALID,
    OWNABLE_FORMS,
    TOO_SHORT,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    SignatureVerdict,
    check_session_signature,
    is_checked_here,
    other_form,
)
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, keccak256
from tests.session.signers.keys import HASH, Key, every_bit, flips, malleable, owners_data, validators

RELEASE = Address(bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98"))
BETA = Address(bytes.fromhex("0000000000E9E6E96Bcaa3c113187CdB7E38AED9"))
V0 = Address(bytes.fromhex("2483DA3A338895199E5e538530213157e931Bf06"))
FIRST, SECOND, THIRD = sorted((Key(number) for number in (1, 2, 3)), key=lambda key: key.address)
STRANGER = Key(99)


def bare(key: Key, digest: Hash32 = HASH) -> bytes:
    """viem's sign({ hash })."""
    return key.sign(digest)


def eth_sign(key: Key, digest: Hash32 = HASH) -> bytes:
    """viem's signMessage({ raw }), with 4 added to v."""
    return key.sign_message(digest, add_to_v=31)


def message(key: Key, digest: Hash32 = HASH) -> bytes:
    """viem's signMessage({ raw })."""
    return key.sign_message(digest)


Sign = Callable[..., bytes]
WAYS: list[tuple[Address, Sign]] = [(RELEASE, bare), (RELEASE, eth_sign), (BETA, message)]
EACH_WAY = pytest.mark.parametrize(("validator", "sign"), WAYS, ids=["13fd bare", "13fd eth_sign", "beta"])


def verdict(validator: Address, signature: bytes, *owners: Address, threshold: int = 1) -> SignatureVerdict:
    configured = owners_data(threshold, *owners or [FIRST.address])
    return check_session_signature(validator, configured, HASH, signature)


@EACH_WAY
def test_takes_the_forms_of_its_release_and_no_other(validator: Address, sign: Sign) -> None:
    assert verdict(validator, sign(FIRST)) == VALID
    taken = {way for address, way in WAYS if address == validator}
    for other in {bare, eth_sign, message} - taken:
        assert verdict(validator, other(FIRST)) == INVALID


def test_a_release_that_was_not_measured_is_asked_at_the_chain() -> None:
    assert {V0, RELEASE, BETA} == set(validators(ValidatorKind.OWNABLE))
    for sign in (bare, eth_sign, message):
        assert verdict(V0, sign(FIRST)) == UNKNOWN
        assert verdict(V0, sign(STRANGER)) == UNKNOWN
    assert not is_checked_here(V0)
    assert is_checked_here(RELEASE)
    assert is_checked_here(BETA)


def test_tells_whether_a_refused_signature_is_in_another_releases_form() -> None:
    release, beta = OWNABLE_FORMS[RELEASE], OWNABLE_FORMS[BETA]
    configured = owners_data(1, FIRST.address)
    assert other_form(release, configured, HASH, message(FIRST)) is beta
    assert other_form(beta, configured, HASH, bare(FIRST)) is release
    assert other_form(beta, configured, HASH, eth_sign(FIRST)) is release
    assert other_form(release, configured, HASH, message(STRANGER)) is None
    assert other_form(beta, configured, HASH, bare(STRANGER)) is None


@EACH_WAY
class TestEveryRelease:
    """What does not hang on the form."""

    def test_refuses_a_stranger_and_another_hash(self, validator: Address, sign: Sign) -> None:
        assert verdict(validator, sign(STRANGER)) == INVALID
        assert verdict(validator, sign(FIRST, keccak256(b"another"))) == INVALID

    def test_reverts_on_one_byte_too_few_and_ignores_bytes_too_many(self, validator: Address, sign: Sign) -> None:
        signature = sign(FIRST)
        assert verdict(validator, signature[:-1]) == TOO_SHORT
        assert TOO_SHORT.revert == Revert("InvalidSignature")
        assert verdict(validator, b"") == TOO_SHORT
        assert verdict(validator, signature + b"more") == VALID

    def test_needs_as_many_owners_as_the_threshold(self, validator: Address, sign: Sign) -> None:
        owners = (FIRST.address, SECOND.address, THIRD.address)
        one, two, three = (sign(key) for key in (FIRST, SECOND, THIRD))
        assert verdict(validator, one + three, *owners, threshold=2) == VALID
        assert verdict(validator, three + two, *owners, threshold=2) == VALID
        assert verdict(validator, one + sign(STRANGER), *owners, threshold=2) == INVALID
        assert verdict(validator, one, *owners, threshold=2) == TOO_SHORT

    def test_counts_one_owner_once(self, validator: Address, sign: Sign) -> None:
        owners = (FIRST.address, SECOND.address)
        assert verdict(validator, sign(FIRST) * 2, *owners, threshold=2) == INVALID

    def test_does_not_read_more_signatures_than_anybody_sends(self, validator: Address, sign: Sign) -> None:
        assert verdict(validator, sign(FIRST) * 64) == VALID
        assert verdict(validator, sign(FIRST) * 65) == UNKNOWN

    def test_the_zero_address_signs_nothing(self, validator: Address, sign: Sign) -> None:
        nonsense = bytes(64) + b"\x1b"
        assert verdict(validator, nonsense, ZERO_ADDRESS) == INVALID
        assert verdict(validator, nonsense + sign(FIRST), ZERO_ADDRESS, FIRST.address, threshold=2) == INVALID

    def test_ignores_less_than_one_signature_at_the_end(self, validator: Address, sign: Sign) -> None:
        good = sign(FIRST) + bytes(64)
        accepted = flips(good, lambda flipped: verdict(validator, flipped) == VALID)
        assert accepted == every_bit(range(65, 129))

    def test_refuses_owners_out_of_order_and_thresholds_that_cannot_be_met(
        self, validator: Address, sign: Sign
    ) -> None:
        signature = sign(FIRST)
        assert verdict(validator, signature, FIRST.address, SECOND.address) == VALID
        assert verdict(validator, signature, SECOND.address, FIRST.address) == INVALID
        assert verdict(validator, signature, FIRST.address, FIRST.address) == INVALID
        assert verdict(validator, signature, threshold=0) == INVALID
        assert verdict(validator, signature + sign(SECOND), threshold=2) == INVALID

    def test_reverts_bare_on_init_data_that_does_not_decode(self, validator: Address, sign: Sign) -> None:
        for configuration in (b"", bytes(32), owners_data(1, FIRST.address)[:-1], b"\x01" * 96):
            refused = check_session_signature(validator, configuration, HASH, sign(FIRST))
            assert refused == BAD_INIT_DATA
            assert (refused.outcome, refused.revert) == (SignatureOutcome.MALFORMED, BARE)

    @pytest.mark.parametrize("v", [1, 26, 29, 30, 33, 34, 255])
    def test_refuses_any_other_v(self, validator: Address, sign: Sign, v: int) -> None:
        assert verdict(validator, sign(FIRST)[:64] + bytes([v])) == INVALID


def test_the_release_recovers_every_signature_those_beyond_the_threshold_too() -> None:
    good, foreign = bare(FIRST), bare(STRANGER)
    assert verdict(RELEASE, foreign + good) == VALID
    assert verdict(RELEASE, good + foreign) == VALID
    assert verdict(RELEASE, foreign + foreign) == INVALID
    owners = (FIRST.address, SECOND.address)
    assert verdict(RELEASE, bare(FIRST) * 2 + bare(SECOND), *owners, threshold=2) == VALID


def test_the_beta_is_asked_where_signatures_beyond_the_threshold_decide() -> None:
    good, foreign = message(FIRST), message(STRANGER)
    assert verdict(BETA, foreign + good) == UNKNOWN
    assert verdict(BETA, good + foreign) == VALID
    assert verdict(BETA, foreign + foreign) == INVALID


@pytest.mark.parametrize(("validator", "sign"), [(RELEASE, bare), (BETA, message)])
def test_takes_the_malleable_twin_as_the_contract_does(validator: Address, sign: Sign) -> None:
    both = sign(FIRST)
    assert verdict(validator, malleable(both)) == VALID
    assert verdict(validator, both + malleable(both), FIRST.address, SECOND.address, threshold=2) == INVALID


@EACH_WAY
def test_no_flipped_bit_passes(validator: Address, sign: Sign) -> None:
    assert flips(sign(FIRST), lambda flipped: verdict(validator, flipped) == VALID) == set()


@EACH_WAY
def test_asks_the_chain_about_a_contract_that_could_be_the_owner_and_about_no_other(
    validator: Address, sign: Sign
) -> None:
    by_owner = FIRST.address.rjust(32, b"\0") + (65).to_bytes(32, "big") + b"\0"
    by_stranger = STRANGER.address.rjust(32, b"\0") + (65).to_bytes(32, "big") + b"\0"
    assert verdict(validator, by_owner + bytes(32)) == UNKNOWN
    assert verdict(validator, by_stranger + bytes(32)) == INVALID
    assert verdict(validator, sign(FIRST) + by_stranger) == UNKNOWN


@given(st.sampled_from([RELEASE, BETA]), st.binary(max_size=140))
def test_takes_no_signature_at_random(validator: Address, signature: bytes) -> None:
    assert verdict(validator, signature) in (INVALID, TOO_SHORT)
