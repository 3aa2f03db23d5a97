"""Session-key signatures: what the validators on chain take, and nothing a stranger can make."""

from __future__ import annotations

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.session.revert import BARE, Revert
from proxy.session.signers import (
    BAD_INIT_DATA,
    INVALID,
    TOO_SHORT,
    UNKNOWN,
    VALID,
    SignatureOutcome,
    check_session_signature,
    recover,
    signed_message_hash,
)
from proxy.userop import abi
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HASH = Hash32(keccak256(b"operation"))
OWNABLE = [address for address, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.OWNABLE]
ECDSA = [address for address, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.ECDSA]


class Key:
    """A session key that signs as a wallet does."""

    def __init__(self, number: int) -> None:
        self._key = PrivateKey(number.to_bytes(32, "big"))
        self.address = Address(keccak256(self._key.public_key.format(compressed=False)[1:])[12:])

    def sign(self, digest: bytes, *, add_to_v: int = 27) -> bytes:
        """r ‖ s ‖ v over the digest itself."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + add_to_v])

    def sign_message(self, digest: bytes, *, add_to_v: int = 27) -> bytes:
        """As viem's signMessage({raw}): over the EIP-191 hash."""
        return self.sign(signed_message_hash(digest), add_to_v=add_to_v)


FIRST, SECOND, THIRD = sorted((Key(number) for number in (1, 2, 3)), key=lambda key: key.address)
STRANGER = Key(99)


def init_data(threshold: int, *owners: Address) -> bytes:
    return abi.encode(abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS)), (threshold, owners))


def ownable(signature: bytes, *owners: Address, threshold: int = 1) -> object:
    return check_session_signature(OWNABLE[0], init_data(threshold, *owners or [FIRST.address]), HASH, signature)


def malleable(signature: bytes) -> bytes:
    """The other signature by the same key: s negated, v flipped."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


class TestOwnableValidator:
    """threshold × 65 bytes by ascending owners."""

    @pytest.mark.parametrize("validator", OWNABLE, ids=bytes.hex)
    def test_takes_what_the_sdks_sign_and_what_the_contract_documents(self, validator: Address) -> None:
        configured = init_data(1, FIRST.address)
        for signature in (FIRST.sign_message(HASH), FIRST.sign(HASH), FIRST.sign_message(HASH, add_to_v=31)):
            assert check_session_signature(validator, configured, HASH, signature) == VALID

    def test_refuses_a_stranger(self) -> None:
        assert ownable(STRANGER.sign_message(HASH)) == INVALID
        assert ownable(STRANGER.sign(HASH)) == INVALID

    def test_refuses_a_signature_over_another_hash(self) -> None:
        assert ownable(FIRST.sign_message(keccak256(b"another"))) == INVALID

    def test_reverts_on_one_byte_too_few_and_ignores_bytes_too_many(self) -> None:
        signature = FIRST.sign_message(HASH)
        assert ownable(signature[:-1]) == TOO_SHORT
        assert TOO_SHORT.revert == Revert("InvalidSignature")
        assert ownable(b"") == TOO_SHORT
        assert ownable(signature + b"more") == VALID

    def test_needs_as_many_owners_as_the_threshold(self) -> None:
        owners = (FIRST.address, SECOND.address, THIRD.address)
        one, two, three = (key.sign_message(HASH) for key in (FIRST, SECOND, THIRD))
        assert ownable(one + three, *owners, threshold=2) == VALID
        assert ownable(three + two, *owners, threshold=2) == VALID
        assert ownable(one + STRANGER.sign_message(HASH), *owners, threshold=2) == INVALID
        assert ownable(one, *owners, threshold=2) == TOO_SHORT

    def test_counts_one_owner_once(self) -> None:
        owners = (FIRST.address, SECOND.address)
        assert ownable(FIRST.sign_message(HASH) * 2, *owners, threshold=2) == INVALID
        both = FIRST.sign_message(HASH)
        assert ownable(both + malleable(both), *owners, threshold=2) == INVALID

    def test_looks_only_at_the_first_signatures(self) -> None:
        signature = STRANGER.sign_message(HASH) + FIRST.sign_message(HASH)
        assert ownable(signature) == INVALID

    def test_refuses_owners_out_of_order_and_a_threshold_of_zero(self) -> None:
        signature = FIRST.sign_message(HASH)
        assert ownable(signature, FIRST.address, SECOND.address) == VALID
        assert ownable(signature, SECOND.address, FIRST.address) == INVALID
        assert ownable(signature, FIRST.address, FIRST.address) == INVALID
        assert ownable(signature, threshold=0) == INVALID

    def test_refuses_a_threshold_above_the_number_of_owners(self) -> None:
        assert ownable(FIRST.sign_message(HASH) + SECOND.sign_message(HASH), threshold=2) == INVALID

    def test_takes_the_malleable_twin_as_the_contract_does(self) -> None:
        assert ownable(malleable(FIRST.sign_message(HASH))) == VALID

    def test_asks_the_chain_about_a_contract_that_could_be_the_owner_and_about_no_other(self) -> None:
        by_owner = FIRST.address.rjust(32, b"\0") + (65).to_bytes(32, "big") + b"\0"
        by_stranger = STRANGER.address.rjust(32, b"\0") + (65).to_bytes(32, "big") + b"\0"
        assert ownable(by_owner + bytes(32)) == UNKNOWN
        assert ownable(by_stranger + bytes(32)) == INVALID

    @pytest.mark.parametrize("v", [1, 26, 29, 30, 33, 34, 255])
    def test_refuses_any_other_v(self, v: int) -> None:
        assert ownable(FIRST.sign_message(HASH)[:64] + bytes([v])) == INVALID

    @pytest.mark.parametrize(
        "configuration",
        [b"", bytes(32), init_data(1, FIRST.address)[:-1], b"\x01" * 96],
        ids=["empty", "word", "cut", "dirty"],
    )
    def test_reverts_bare_on_init_data_that_does_not_decode(self, configuration: bytes) -> None:
        verdict = check_session_signature(OWNABLE[0], configuration, HASH, FIRST.sign_message(HASH))
        assert verdict == BAD_INIT_DATA
        assert (verdict.outcome, verdict.revert) == (SignatureOutcome.MALFORMED, BARE)

    @given(st.binary(max_size=140))
    def test_takes_no_signature_at_random(self, signature: bytes) -> None:
        assert ownable(signature) in (INVALID, TOO_SHORT)


class TestEcdsaValidators:
    """One owner, 20 bytes of init data."""

    @pytest.mark.parametrize("validator", ECDSA, ids=bytes.hex)
    def test_takes_the_hash_and_its_message_form(self, validator: Address) -> None:
        for signature in (FIRST.sign(HASH), FIRST.sign_message(HASH)):
            assert check_session_signature(validator, FIRST.address, HASH, signature) == VALID

    def check(self, signature: bytes, owner: bytes = FIRST.address) -> object:
        return check_session_signature(ECDSA[0], owner, HASH, signature)

    def test_refuses_a_stranger(self) -> None:
        assert self.check(STRANGER.sign(HASH)) == INVALID

    def test_refuses_the_malleable_twin(self) -> None:
        assert self.check(malleable(FIRST.sign(HASH))) == INVALID

    @pytest.mark.parametrize("length", [0, 19, 21, 32])
    def test_reverts_on_init_data_that_is_no_address(self, length: int) -> None:
        assert self.check(FIRST.sign(HASH), bytes(length)) == BAD_INIT_DATA

    def test_refuses_a_signature_of_another_length(self) -> None:
        signature = FIRST.sign(HASH)
        assert self.check(signature + b"\0") == INVALID
        assert self.check(signature[:63]) == INVALID
        assert self.check(b"") == INVALID

    def test_takes_the_compact_form_when_its_parity_is_even(self) -> None:
        even = next(key for key in (Key(number) for number in range(1, 50)) if key.sign(HASH)[64] == 27)
        odd = next(key for key in (Key(number) for number in range(1, 50)) if key.sign(HASH)[64] == 28)
        assert self.check(even.sign(HASH)[:64], even.address) == VALID
        compact = bytearray(odd.sign(HASH)[:64])
        compact[32] |= 0x80
        assert self.check(bytes(compact), odd.address) == INVALID

    @given(st.binary(max_size=70))
    def test_takes_no_signature_at_random(self, signature: bytes) -> None:
        assert self.check(signature) == INVALID


@pytest.mark.parametrize("kind", [ValidatorKind.WEBAUTHN, None])
def test_does_not_know_other_validators(kind: ValidatorKind | None) -> None:
    validators = [address for address, each in VALIDATOR_KINDS.items() if each is kind] or [Address(b"\x99" * 20)]
    for validator in validators:
        assert check_session_signature(validator, FIRST.address, HASH, FIRST.sign(HASH)) == UNKNOWN


@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_recovers_whoever_signed(number: int, digest: bytes) -> None:
    key = Key(number)
    assert recover(digest, key.sign(digest)) == key.address


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_recovers_nobody_for_a_v_the_precompile_refuses(v: int) -> None:
    assert recover(HASH, FIRST.sign(HASH)[:64] + bytes([v])) == ZERO_ADDRESS


@pytest.mark.parametrize("signature", [bytes(64) + b"\x1b", b"\xff" * 64 + b"\x1b"])
def test_recovers_nobody_from_numbers_off_the_curve(signature: bytes) -> None:
    assert recover(HASH, signature) == ZERO_ADDRESS
