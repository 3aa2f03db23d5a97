"""Who may use a session, and what its key may sign off chain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proxy.session.addresses import VALIDATOR_KINDS, ValidatorKind
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from proxy.userop.session_data import ERC7739Context, ERC7739Data, SessionData
from tests.session.builders import STRANGER, sudo, word
from tests.session.lint.builders import Pairs, found, tight
from tests.session.signers.keys import Passkey, credentials_data

ALICE, BOB = Address(b"\xa1" * 20), Address(b"\xb0" * 20)
PASSKEY = Passkey(11)
DOMAIN = Hash32(b"\xd0" * 32)
ECDSA = next(address for address, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.ECDSA)
MULTI_SIGNER = next(address for address, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.MULTI_SIGNER)
WEBAUTHN = next(address for address, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.WEBAUTHN)


def keys(threshold: int, *owners: Address) -> SessionData:
    encoded = word(threshold) + word(0x40) + word(len(owners)) + b"".join(word(owner) for owner in owners)
    return tight(session_validator_init_data=encoded)


def signs(*names: str, domain: Hash32 = DOMAIN) -> SessionData:
    return tight(erc7739_policies=ERC7739Data((ERC7739Context(domain, names),), (sudo,)))


silent = tight(erc7739_policies=ERC7739Data((ERC7739Context(DOMAIN, ("Play(uint256 round)",)),), ()))
PAIRS: Pairs = {
    "anyone_signs": (keys(1, ZERO_ADDRESS), keys(1, ALICE)),
    "validator_never_signs": (keys(2, ALICE), keys(2, ALICE, BOB)),
    "any_one_key_signs": (keys(1, ALICE, BOB), keys(1, ALICE)),
    "unknown_validator": (tight(session_validator=STRANGER), tight()),
    "shared_permission_id": (tight(salt=Hash32(bytes(32))), tight(salt=Hash32(word(1)))),
    "signs_off_chain": (signs("Play(uint256 round)"), silent),
    "signs_anything": (signs(""), signs("Play(uint256 round)")),
    "signs_permits": (signs("Permit(address owner)"), signs("Play(uint256 permit)")),
    "contents_without_policies": (silent, signs("Play(uint256 round)")),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_finds_each_kind_and_not_in_its_neighbour(kind: str) -> None:
    faulty, sound = PAIRS[kind]
    assert kind in found(faulty)
    assert kind not in found(sound)


@pytest.mark.parametrize(
    ("threshold", "owners"), [(1, ()), (0, (ALICE,)), (3, (ALICE, BOB)), (1, (BOB, ALICE)), (1, (ALICE, ALICE))]
)
def test_finds_keys_that_no_signature_satisfies(threshold: int, owners: Sequence[Address]) -> None:
    assert found(keys(threshold, *owners)) == {"validator_never_signs": ["sessionValidator"]}


def test_has_nothing_to_say_of_two_keys_that_must_both_sign() -> None:
    assert found(keys(2, ALICE, BOB)) == {}


@pytest.mark.parametrize(
    ("validator", "init_data", "kind"),
    [
        (ECDSA, ALICE, None),
        (ECDSA, ALICE[1:], "validator_never_signs"),
        (ECDSA, ZERO_ADDRESS, "anyone_signs"),
        (WEBAUTHN, credentials_data(PASSKEY), None),
        (WEBAUTHN, credentials_data(PASSKEY, threshold=2), "validator_never_signs"),
        (WEBAUTHN, credentials_data(PASSKEY)[:-32], "validator_never_signs"),
        (WEBAUTHN, b"\x01", "validator_never_signs"),
        (WEBAUTHN, b"", "validator_never_signs"),
        (MULTI_SIGNER, b"", "validator_never_signs"),
        (MULTI_SIGNER, b"\x00", "anyone_signs"),
        (MULTI_SIGNER, b"\x01\x00" + ALICE, None),
    ],
)
def test_reads_the_keys_as_each_validator_does(validator: Address, init_data: bytes, kind: str | None) -> None:
    places = found(tight(session_validator=validator, session_validator_init_data=init_data))
    # one passkey's configuration is longer than what the module stores, which is told by itself
    assert set(places) - {"cannot_be_enabled"} == ({kind} if kind else set())


def test_finds_keys_that_cannot_be_decoded() -> None:
    assert "validator_never_signs" in found(tight(session_validator_init_data=b"\x01"))


def test_takes_a_domain_of_zero_for_any_domain() -> None:
    assert found(signs("Play(uint256 round)", domain=Hash32(bytes(32))))["signs_anything"] == [
        "allowedERC7739Content[0]"
    ]


@pytest.mark.parametrize(
    "name",
    ["PermitTransferFrom(…)", "PermitSingle", " permit(address owner)", "OrderComponents(…)", "SafeTx(address to)"],
)
def test_knows_the_contents_by_which_others_take_tokens(name: str) -> None:
    assert found(signs("Play()", name))["signs_permits"] == ["allowedERC7739Content[0]"]
