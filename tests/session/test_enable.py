from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from coincurve import PrivateKey

from proxy.errors import Code
from proxy.session import transitions
from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.counters import Charge, Counter
from proxy.session.enable_digest import multichain_digest, session_digest
from proxy.session.facts import EnableNonceFact, EnableSignatureFact, ModuleInstalledFact
from proxy.session.outcome import Accepted, NeedsFacts, Refused, Verdict
from proxy.session.revert import BARE, INDEX_OUT_OF_RANGE, Revert
from proxy.session.signers import INVALID, VALID
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import ChainDigest, EnableSession, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode
from proxy.userop.user_operation import Authorization
from tests.session.builders import (
    ACCOUNT,
    TOKEN,
    TRANSFER,
    USAGE,
    action,
    approve,
    enabled,
    judge,
    key_of,
    session,
    sudo,
    transfer,
    usage,
    word,
)

GRANT = session(action(TOKEN, TRANSFER, sudo), user_op=[usage(3)])
FRESH = SessionState(key=key_of(GRANT), enable_nonce=0)


def signed_for(
    grant: SessionData, *, nonce: int = 0, mode: SessionMode = SessionMode.ENABLE, chain_id: int = 1, index: int = 0
) -> EnableSession:
    key = key_of(grant)
    digest = session_digest(grant, account=ACCOUNT, smart_session=key.module, mode=mode, nonce=nonce)
    return EnableSession(
        chain_digest_index=index,
        digests=(ChainDigest(chain_id, digest),),
        session=grant,
        permission_enable_signature=b"\x05" * 65,
    )


def envelope(grant: EnableSession, mode: SessionMode = SessionMode.ENABLE) -> SessionEnvelope:
    return SessionEnvelope(mode=mode, permission_id=grant.session.permission_id, signature=b"\x01" * 65, enable=grant)


def play(
    state: SessionState,
    grant: EnableSession,
    *,
    mode: SessionMode = SessionMode.ENABLE,
    owner: object = VALID,
    installed: int | None = None,
    amount: int = 1,
    changes: Mapping[str, Any] | None = None,
    **options: object,
) -> Verdict:
    """`owner` and `installed` are the account's answers, `None` where it was not asked; `changes` the operation's."""
    digest = multichain_digest(grant.digests)
    asked = EnableSignatureFact(ACCOUNT, digest, grant.permission_enable_signature)
    answered = {asked: owner, ModuleInstalledFact(): installed}
    answers = {fact: answer for fact, answer in answered.items() if answer is not None}
    envelope_of_op = envelope(grant, mode)
    given = {"answers": answers, **options}
    return judge(state, transfer(amount), envelope=envelope_of_op, options=given, **(changes or {}))


def accepted(verdict: Verdict) -> Accepted:
    assert isinstance(verdict, Accepted), verdict
    return verdict


def refused(verdict: Verdict) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


def error_of(verdict: Verdict) -> str | None:
    revert = refused(verdict).revert
    assert revert is not None
    return revert.error


@pytest.mark.parametrize("mode", [SessionMode.ENABLE, SessionMode.UNSAFE_ENABLE])
def test_enables_uses_and_moves_the_nonce_in_one_operation(mode: SessionMode) -> None:
    verdict = accepted(play(FRESH, signed_for(GRANT, mode=mode), mode=mode))
    assert verdict.enabled.enabled
    assert verdict.state.enable_nonce == 1
    counter = Counter(*FRESH.config_key(USAGE, FRESH.user_op_config_id))
    assert verdict.state.used == {counter: 1}
    assert FRESH.status is SessionStatus.NEVER_ENABLED


def with_owners(count: int) -> SessionData:
    data = word(1) + word(0x40) + word(count) + b"".join(word(number + 1) for number in range(count))
    return replace(GRANT, session_validator_init_data=data)


@pytest.mark.parametrize("check_signature", [lambda *_: VALID, None])
def test_a_validators_init_data_that_the_module_cannot_store_enable_nothing(check_signature: object) -> None:
    for count, fits in ((7, True), (8, False)):
        grant = with_owners(count)
        fresh = SessionState(key=key_of(grant), enable_nonce=0)
        verdict = play(fresh, signed_for(grant), check_signature=check_signature)
        if fits:
            assert accepted(verdict).enabled.enabled
            continue
        assert refused(verdict).revert == BARE
        assert "have 352 bytes" in refused(verdict).reason.sentence
        assert "at most 320" in refused(verdict).reason.sentence
        assert not refused(verdict).reason.retryable
        assert refused(play(fresh, signed_for(grant), owner=None)).reason == refused(verdict).reason


def test_other_releases_of_the_module_are_not_held_to_a_bound_that_was_not_measured() -> None:
    grant = with_owners(8)
    older = next(module for module, kind in MODULE_KINDS.items() if kind is ModuleKind.V1)
    state = SessionState(key=key_of(grant)._replace(module=older))
    assert isinstance(transitions.enable(state, grant), SessionState)
    assert transitions.enable(replace(state, key=key_of(grant)), grant) == BARE


@pytest.mark.parametrize("prefix", [b"", b"\x01"])
@pytest.mark.parametrize(
    ("validator", "call"),
    [
        ("000000000013fdB5234E4E3162a810F54d9f7E98", "account.sign({ hash: digest })"),
        (
            "000000000013fdB5234E4E3162a810F54d9f7E98",
            "signMessage({ message: { raw: digest } }) of another wallet with 4",
        ),
        ("0000000000E9E6E96Bcaa3c113187CdB7E38AED9", "account.signMessage({ message: { raw: digest } })"),
    ],
)
def test_an_owners_signature_that_is_refused_is_told_the_form_its_validator_takes(
    prefix: bytes, validator: str, call: str
) -> None:
    signature = prefix + bytes.fromhex(validator) + b"\x05" * 65
    verdict = refused(play(FRESH, replace(signed_for(GRANT), permission_enable_signature=signature), owner=INVALID))
    assert verdict.revert is not None
    assert verdict.revert.error == "InvalidEnableSignature"
    assert call in verdict.reason.remedy
    assert verdict.reason.wanted is not None


BARE_OWNABLE, MESSAGE_OWNABLE = (
    bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98"),
    bytes.fromhex("0000000000E9E6E96Bcaa3c113187CdB7E38AED9"),
)
SOMEBODYS = PrivateKey(b"\x0e" * 32).sign_recoverable(bytes(32), hasher=None)[:64] + b"\x1b"
"""Of some key over whatever digest: it recovers to somebody."""


@pytest.mark.parametrize("prefix", [BARE_OWNABLE, b"\x01" + MESSAGE_OWNABLE])
@pytest.mark.parametrize(
    "signed", [b"", SOMEBODYS[:64], SOMEBODYS[:64] + b"\x02", b"\xff" * 65, b"\xff" * 65 * 3, bytes(64) + b"\x1b"]
)
def test_what_no_owner_can_have_signed_is_refused_without_asking_anybody(prefix: bytes, signed: bytes) -> None:
    grant = replace(signed_for(GRANT), permission_enable_signature=prefix + signed)
    verdict = refused(play(FRESH, grant, owner=None, enable_signature="alert"))
    assert error_of(verdict) == "InvalidEnableSignature"
    # what is estimated has a stub in its place
    assert accepted(play(FRESH, grant, owner=None, enable_signature="alert", check_signature=None)).owner_unchecked


@pytest.mark.parametrize(
    "signed",
    [
        BARE_OWNABLE + SOMEBODYS,
        BARE_OWNABLE + b"\xff" * 65 + SOMEBODYS,
        BARE_OWNABLE + bytes(64) + b"\0",
        b"\x01" + MESSAGE_OWNABLE + SOMEBODYS + b"rest",
        bytes(20) + b"\xff" * 65,
        b"\x99" * 20,
    ],
)
def test_whoevers_signature_it_may_be_is_left_to_the_chain_where_nobody_can_be_asked(signed: bytes) -> None:
    grant = replace(signed_for(GRANT), permission_enable_signature=signed)
    assert accepted(play(FRESH, grant, owner=None, enable_signature="alert")).owner_unchecked


@pytest.mark.parametrize("owner", [VALID, INVALID, None])
@pytest.mark.parametrize("check_signature", [lambda *_: VALID, None], ids=["sent", "estimated"])
def test_a_grant_at_an_account_without_the_module_enables_nothing_and_says_what_to_install(
    owner: object, check_signature: object
) -> None:
    """The account's own word comes first, whatever the owner signed."""
    asked = partial(play, asks_account=True, check_signature=check_signature)
    verdict = refused(asked(FRESH, signed_for(GRANT), owner=owner, installed=0))
    assert verdict.revert == Revert("ValidatorNotInstalled", (FRESH.key.module,))
    assert "ValidatorNotInstalled" in verdict.reason.sentence
    assert "installModule" in verdict.reason.remedy


@pytest.mark.parametrize("check_signature", [lambda *_: VALID, None], ids=["sent", "estimated"])
def test_an_account_that_can_be_asked_is_asked_whether_it_has_the_module(check_signature: object) -> None:
    played = partial(play, FRESH, signed_for(GRANT), check_signature=check_signature)
    assert played(asks_account=True) == NeedsFacts((ModuleInstalledFact(),))
    assert accepted(played(asks_account=True, installed=1))
    assert accepted(played())


DELEGATION = Authorization(
    chain_id=1, address=Address(b"\x77" * 20), nonce=0, y_parity=0, r=Hash32(bytes(32)), s=Hash32(bytes(32))
)
NEXUS_ENABLES = int.from_bytes(b"\0\0\0\x01" + FRESH.key.module + bytes(8), "big")
KERNEL_ENABLES = int.from_bytes(b"\x01\x01" + FRESH.key.module + bytes(10), "big")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": NEXUS_ENABLES},
        {"nonce": KERNEL_ENABLES},
        {"factory": b"\xfa" * 20, "factory_data": b""},
        {"eip7702_auth": DELEGATION},
    ],
    ids=["Nexus enables", "Kernel enables", "born with it", "another delegate"],
)
def test_an_account_that_may_get_the_module_on_the_way_is_not_asked_for_it(changes: dict[str, Any]) -> None:
    assert accepted(play(FRESH, signed_for(GRANT), changes=changes, asks_account=True))


def test_a_grant_enables_once() -> None:
    grant = signed_for(GRANT)
    after = accepted(play(FRESH, grant)).state
    verdict = refused(play(after, grant))
    assert verdict.reason.code is Code.SESSION_SCOPE
    assert error_of(verdict) == "HashMismatch"
    assert accepted(play(after, signed_for(GRANT, nonce=1))).state.enable_nonce == 2


def test_a_revoked_enable_signature_enables_nothing() -> None:
    assert error_of(play(transitions.revoke_enable_signature(FRESH), signed_for(GRANT))) == "HashMismatch"


def test_the_mode_is_signed() -> None:
    grant = signed_for(GRANT, mode=SessionMode.ENABLE)
    verdict = refused(play(FRESH, grant, mode=SessionMode.UNSAFE_ENABLE))
    unsafe = signed_for(GRANT, mode=SessionMode.UNSAFE_ENABLE).digests[0].session_digest
    assert verdict.revert == Revert("HashMismatch", (grant.digests[0].session_digest, unsafe))


def test_the_chain_and_the_index_must_be_those_of_the_grant() -> None:
    assert refused(play(FRESH, signed_for(GRANT, chain_id=10))).revert == Revert("ChainIdMismatch", (10,))
    assert refused(play(FRESH, signed_for(GRANT, index=1))).revert == INDEX_OUT_OF_RANGE


def test_the_grant_must_be_what_was_signed() -> None:
    widened = replace(signed_for(GRANT), session=session(action(TOKEN, TRANSFER, sudo), user_op=[usage(4)]))
    assert error_of(play(FRESH, widened)) == "HashMismatch"


def test_the_owner_must_have_signed_and_is_asked() -> None:
    verdict = refused(play(FRESH, signed_for(GRANT), owner=INVALID))
    assert error_of(verdict) == "InvalidEnableSignature"
    asked = play(FRESH, signed_for(GRANT), owner=None)
    assert isinstance(asked, NeedsFacts)
    assert [type(fact) for fact in asked.facts] == [EnableSignatureFact]


def test_an_unproven_owner_passes_with_a_note_or_is_refused_where_configured() -> None:
    alert = accepted(play(FRESH, signed_for(GRANT), owner=None, enable_signature="alert"))
    assert alert.notes == ("the owner's signature on the grant was not checked here",)
    named = replace(signed_for(GRANT), permission_enable_signature=BARE_OWNABLE + SOMEBODYS)
    assert accepted(play(FRESH, named, owner=None, enable_signature="alert")).notes == (
        "the owner's signature on the grant was not checked here; its validator takes the bare digest with v 27 or 28,"
        " or its EIP-191 form with 4 added to v",
    )
    rejected = refused(play(FRESH, signed_for(GRANT), owner=None, enable_signature="reject"))
    assert "cannot be checked here" in rejected.reason.sentence
    assert error_of(rejected) == "InvalidEnableSignature"


def test_a_grant_that_is_known_to_be_wrong_is_not_called_unproven() -> None:
    for grant, owner in ((signed_for(GRANT, nonce=5), None), (signed_for(GRANT), INVALID)):
        verdict = refused(play(FRESH, grant, owner=owner, enable_signature="reject"))
        assert "cannot be checked here" not in verdict.reason.sentence


def test_asks_for_an_unknown_nonce_and_for_nothing_else() -> None:
    verdict = play(replace(FRESH, enable_nonce=None), signed_for(GRANT), owner=None)
    assert verdict == NeedsFacts((EnableNonceFact(),))


def test_a_grant_that_the_module_refuses_names_its_error() -> None:
    broken = session(action(TOKEN, TRANSFER, usage(0)))
    state = SessionState(key=key_of(broken), enable_nonce=0)
    verdict = refused(play(state, signed_for(broken)))
    assert error_of(verdict) == "PolicyNotInitialized"
    assert "init data" in verdict.reason.sentence


def test_the_calls_are_held_against_the_session_just_enabled() -> None:
    grant = signed_for(GRANT)
    digest = EnableSignatureFact(ACCOUNT, multichain_digest(grant.digests), grant.permission_enable_signature)
    verdict = judge(FRESH, approve(1), envelope=envelope(grant), options={"answers": {digest: VALID}})
    assert error_of(verdict) == "NoPoliciesSet"


def test_enabling_again_gives_used_up_policies_a_fresh_start() -> None:
    state = enabled(GRANT)
    counter = Counter(*state.config_key(USAGE, state.user_op_config_id))
    spent = state.with_charges([Charge(counter, 3, 3)])
    assert isinstance(judge(spent, transfer(1)), Refused)
    assert accepted(play(spent, signed_for(GRANT))).state.used == {counter: 1}


def test_a_session_may_be_enabled_again_after_removal() -> None:
    removed = transitions.remove_session(enabled(GRANT))
    assert isinstance(removed, SessionState)
    assert accepted(play(removed, signed_for(GRANT))).state.enabled


def test_one_signature_may_cover_several_chains() -> None:
    grant = signed_for(GRANT)
    elsewhere = ChainDigest(10, Hash32(b"\x77" * 32))
    both = replace(grant, chain_digest_index=1, digests=(elsewhere, *grant.digests))
    assert accepted(play(FRESH, both))
