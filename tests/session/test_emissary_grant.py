"""Sessions of the emissary: granted by ENABLE, by setConfig, taken back, and judged like all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.errors import Code
from proxy.session import emissary_grant, transitions
from proxy.session.changes import changes_of, make_change
from proxy.session.counters import HoldName, SessionKey
from proxy.session.emissary_grant import emissary_multichain_digest, emissary_session_digest
from proxy.session.facts import EmissaryNonceFact, EnableSignatureFact, PolicyCheckFact
from proxy.session.known import Status
from proxy.session.outcome import Accepted, NeedsFacts, Refused, Verdict
from proxy.session.registry import Registry
from proxy.session.revert import INDEX_OUT_OF_RANGE, Revert
from proxy.session.signers import INVALID, VALID
from proxy.session.state import SessionState
from proxy.userop import abi
from proxy.userop.acts import EmissaryConfigSet, SessionRemoved, SessionsEnabled
from proxy.userop.decode import decode_operation
from proxy.userop.emissary_abi import (
    EMISSARIES,
    EMISSARY,
    EMISSARY_CONFIG,
    EMISSARY_DISABLE,
    EMISSARY_ENABLE,
    EmissaryEnable,
    members_of_config,
    members_of_enable,
)
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import FLAG_TARGET, SMART_SESSION_CALL_SELECTOR, ChainDigest, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode
from tests.session.builders import (
    ACCOUNT,
    NOW,
    PAYMASTER,
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    approve,
    call,
    fallback,
    judge,
    session,
    spending,
    sudo,
    time_frame,
    transfer,
    usage,
)
from tests.userop.builders import CHAIN_ID, OWNER_NONCE, V07, an_emissary_enable, an_operation, single

INTENT_EXECUTION = Address(bytes.fromhex("e9eA54d063975cDee9e06b7636d5563d95a7A23C"))
GRANT = session(action(TOKEN, TRANSFER, spending((TOKEN, 100)), time_frame(NOW + 60, NOW - 60)))
NONCE = 5


def fresh(grant: SessionData = GRANT) -> SessionState:
    return SessionState(key=SessionKey(1, EMISSARY, ACCOUNT, grant.permission_id))


def signed_for(grant: SessionData = GRANT, *, nonce: int = NONCE, chain_id: int = 1, **changes: Any) -> EmissaryEnable:
    unsigned = an_emissary_enable(grant, chain_digest_index=0, digests=(), **changes)
    digest = emissary_session_digest(unsigned, account=ACCOUNT, emissary=EMISSARY, nonce=nonce)
    return replace(unsigned, digests=(ChainDigest(chain_id, digest), ChainDigest(10, Hash32(b"\x0a" * 32))))


def asked_of_owner(grant: EmissaryEnable) -> EnableSignatureFact:
    return EnableSignatureFact(ACCOUNT, emissary_multichain_digest(grant.digests), grant.user_signature)


def play(
    grant: EmissaryEnable, *, nonce: int | None = NONCE, owner: object = VALID, now: int = NOW, **options: Any
) -> Verdict:
    answers: dict[Any, Any] = {} if nonce is None else {EmissaryNonceFact(): nonce}
    if owner is not None:
        answers[asked_of_owner(grant)] = owner
    envelope = SessionEnvelope(
        mode=SessionMode.ENABLE, permission_id=grant.session.permission_id, signature=b"\x01" * 65, enable=grant
    )
    return judge(
        fresh(grant.session), transfer(40), envelope=envelope, now=now, options={"answers": answers, **options}
    )


def refusal(verdict: Verdict) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


class TestEnable:
    def test_a_grant_in_order_enables_the_session_and_the_operation_is_judged_by_it(self) -> None:
        verdict = play(signed_for())
        assert isinstance(verdict, Accepted), verdict
        assert verdict.enabled.enabled
        assert verdict.enabled.session_validator == GRANT.session_validator
        assert (verdict.enabled.user_op_policies, verdict.enabled.permits_paymaster) == ((), False)
        assert [charge.amount for charge in verdict.charges] == [40]
        assert (verdict.valid_after, verdict.valid_until) == (NOW - 60, NOW + 60)

    def test_the_nonce_is_the_accounts_so_it_is_asked_anew_and_never_kept(self) -> None:
        assert play(signed_for(), nonce=None) == NeedsFacts((EmissaryNonceFact(),))
        verdict = play(signed_for())
        assert isinstance(verdict, Accepted)
        assert verdict.enabled.enable_nonce is None

    @pytest.mark.parametrize("nonce", [NONCE - 1, NONCE + 1])
    def test_a_grant_for_another_nonce_is_refused(self, nonce: int) -> None:
        refused = refusal(play(signed_for(nonce=nonce)))
        assert refused.revert is not None
        assert refused.revert.error == "HashMismatch"

    @pytest.mark.parametrize(
        "change",
        [
            {"claim_policies": ()},
            {"expires": 2**256 - 2},
            {"session": replace(GRANT, actions=())},
        ],
        ids=["claim policies", "expiry", "actions"],
    )
    def test_what_the_owner_did_not_sign_is_refused(self, change: Mapping[str, Any]) -> None:
        refused = refusal(play(replace(signed_for(), **change)))
        assert refused.revert is not None
        assert refused.revert.error == "HashMismatch"

    def test_a_grant_of_another_chain_is_refused(self) -> None:
        assert refusal(play(signed_for(chain_id=2))).revert == Revert("ChainIdMismatch", (2,))

    def test_an_index_past_the_digests_is_refused_and_the_last_one_is_read(self) -> None:
        grant = signed_for()
        assert refusal(play(replace(grant, chain_digest_index=1))).revert == Revert("ChainIdMismatch", (10,))
        assert refusal(play(replace(grant, chain_digest_index=2))).revert == INDEX_OUT_OF_RANGE

    def test_the_owners_signature_is_a_fact_to_ask(self) -> None:
        grant = signed_for()
        assert play(grant, owner=None) == NeedsFacts((asked_of_owner(grant),))
        assert refusal(play(grant, owner=INVALID)).revert == Revert("InvalidUserSignature")
        assert refusal(play(grant, owner=None, enable_signature="reject")).revert == Revert("InvalidUserSignature")
        alerted = play(grant, owner=None, enable_signature="alert")
        assert isinstance(alerted, Accepted)
        assert alerted.notes == ("the owner's signature on the grant was not checked here",)

    @pytest.mark.parametrize("enable_signature", ["ask", "alert", "reject"])
    def test_a_grant_under_an_allocator_is_never_taken_for_proven(self, enable_signature: str) -> None:
        grant = signed_for()
        under = replace(grant, config=replace(grant.config, allocator=STRANGER))
        refused = refusal(play(under, enable_signature=enable_signature))
        assert refused.revert == Revert("InvalidAllocatorSignature")
        assert "allocator" in refused.reason.sentence

    def test_a_grant_enables_until_the_second_before_it_expires(self) -> None:
        expiring = signed_for(expires=NOW + 1)
        verdict = play(expiring, now=NOW)
        assert isinstance(verdict, Accepted)
        assert verdict.valid_until == NOW
        assert refusal(play(expiring, now=NOW + 1)).reason.code is Code.SESSION_NOT_VALID_NOW

    @pytest.mark.parametrize("expires", [0, 1])
    def test_a_grant_that_never_held_is_refused_and_not_read_as_endless(self, expires: int) -> None:
        assert refusal(play(signed_for(expires=expires))).revert == Revert("InvalidEmissaryEnableData")

    def test_no_grant_lets_a_session_call_the_emissary(self) -> None:
        grant = session(action(TOKEN, TRANSFER, sudo), action(FLAG_TARGET, SMART_SESSION_CALL_SELECTOR, sudo))
        assert refusal(play(signed_for(grant))).revert == Revert("UnsafeFallbackNotAllowed")
        assert transitions.enable(fresh(grant), grant) == Revert("UnsafeFallbackNotAllowed")
        elsewhere = replace(fresh(grant), key=fresh(grant).key._replace(module=STRANGER))
        assert isinstance(transitions.enable(elsewhere, grant), SessionState)


def set_config(account: Address, grant: EmissaryEnable) -> Call:
    types = abi.tuple_of(abi.ADDRESS, EMISSARY_CONFIG, EMISSARY_ENABLE)
    arguments = abi.encode(types, [account, members_of_config(grant.config), members_of_enable(grant)])
    return Call(EMISSARY, 0, bytes.fromhex("a45edb84") + arguments)


def remove_config(account: Address, grant: EmissaryEnable) -> Call:
    types = abi.tuple_of(abi.ADDRESS, EMISSARY_CONFIG, EMISSARY_DISABLE)
    disable = (b"", b"", 2**40, (0, []))
    return Call(
        EMISSARY, 0, bytes.fromhex("60e637cc") + abi.encode(types, [account, members_of_config(grant.config), disable])
    )


class TestChanges:
    GRANTED = an_emissary_enable(GRANT)

    def changes(self, made: Call) -> Any:
        op = an_operation(nonce=OWNER_NONCE, call_data=single(made))
        return changes_of(decode_operation(op, V07, CHAIN_ID, EMISSARIES), EMISSARIES)

    def test_set_config_grants_when_its_execution_succeeds(self) -> None:
        changes = self.changes(set_config(ACCOUNT, self.GRANTED))
        assert changes.at_validation == ()
        assert changes.on_success == (SessionsEnabled(EMISSARY, (GRANT,)),)

    def test_remove_config_removes(self) -> None:
        changes = self.changes(remove_config(ACCOUNT, self.GRANTED))
        assert changes.on_success == (SessionRemoved(EMISSARY, GRANT.permission_id),)
        assert changes.removes(SessionKey(CHAIN_ID, EMISSARY, ACCOUNT, GRANT.permission_id))

    def test_what_is_set_or_removed_for_another_account_changes_none_of_this_one(self) -> None:
        made = set_config(STRANGER, self.GRANTED)
        assert not self.changes(made)
        assert not self.changes(remove_config(STRANGER, self.GRANTED))
        decoded = decode_operation(an_operation(nonce=OWNER_NONCE, call_data=single(made)), V07, CHAIN_ID, EMISSARIES)
        assert decoded.acts == (EmissaryConfigSet(EMISSARY, STRANGER, self.GRANTED),)

    def test_a_session_seen_being_set_is_known_before_its_first_use_and_gone_when_removed(self) -> None:
        registry, key = Registry(), SessionKey(CHAIN_ID, EMISSARY, ACCOUNT, GRANT.permission_id)
        for made, status in (
            (set_config(ACCOUNT, self.GRANTED), Status.IN_FORCE),
            (remove_config(ACCOUNT, self.GRANTED), Status.REMOVED),
        ):
            changes = self.changes(made)
            registry.expect(changes, 0.0)
            registry.mined(HoldName(changes.user_op_hash, None), success=True, block=7, now=1.0)
            known = registry.get(key)
            assert known is not None
            assert known.status is status
            assert known.state is not None
            assert known.state.enabled == (status is Status.IN_FORCE)


class TestEnforcement:
    """A session in force: the same policies, no paymaster and no user-operation policies."""

    def in_force(self, grant: SessionData) -> SessionState:
        state = make_change(fresh(grant), SessionsEnabled(EMISSARY, (grant,)))
        assert isinstance(state, SessionState)
        return state

    def test_a_limit_holds_to_the_last_unit(self) -> None:
        state = self.in_force(GRANT)
        assert isinstance(judge(state, transfer(100)), Accepted)
        assert refusal(judge(state, transfer(60), transfer(41))).reason.code is Code.LIMIT_EXCEEDED

    def test_what_is_not_listed_is_refused_and_a_fallback_stands_in(self) -> None:
        assert refusal(judge(self.in_force(GRANT), approve(1))).reason.code is Code.SESSION_SCOPE
        limited = self.in_force(session(fallback(usage(1))))
        assert isinstance(judge(limited, approve(1)), Accepted)
        assert refusal(judge(limited, approve(1), approve(1))).reason.code is Code.LIMIT_EXCEEDED

    def test_a_session_calls_neither_the_emissary_nor_execute_of_its_account(self) -> None:
        state = self.in_force(session(fallback(sudo)))
        to_module = refusal(judge(state, call(EMISSARY, data=TRANSFER)))
        assert to_module.revert == Revert("NoPoliciesSet", (state.key.permission_id,))
        to_itself = refusal(judge(state, call(ACCOUNT, data=bytes.fromhex("e9ae5c53"))))
        assert to_itself.revert == Revert("InvalidSelfCall")

    def test_a_paymaster_is_none_of_its_business(self) -> None:
        assert isinstance(judge(self.in_force(GRANT), transfer(1), paymaster=PAYMASTER), Accepted)

    @pytest.mark.parametrize(
        ("now", "holds"), [(NOW - 61, False), (NOW - 60, True), (NOW + 60, True), (NOW + 61, False)]
    )
    def test_a_time_frame_holds_at_both_ends(self, now: int, holds: bool) -> None:
        assert isinstance(judge(self.in_force(GRANT), transfer(1), now=now), Accepted if holds else Refused)

    def test_the_intent_execution_policy_has_a_name_and_is_not_taken_for_satisfied(self) -> None:
        policy = replace(sudo, policy=INTENT_EXECUTION)
        state = self.in_force(session(fallback(policy)))
        verdict = judge(state, approve(1))
        assert isinstance(verdict, NeedsFacts)
        (fact,) = verdict.facts
        assert isinstance(fact, PolicyCheckFact)
        assert fact.policy == INTENT_EXECUTION
        refused = refusal(judge(state, approve(1), options={"unknown_policy": "reject"}))
        assert "IntentExecutionPolicy" in refused.reason.sentence
        answered = judge(state, approve(1), options={"answers": {fact: 1}})
        assert refusal(answered).reason.code is Code.SESSION_SCOPE

    def test_a_signature_in_the_form_for_claims_is_judged_by_the_same_policies_and_noted(self) -> None:
        state = self.in_force(GRANT)
        notarized = SessionEnvelope(
            mode=SessionMode.USE,
            permission_id=GRANT.permission_id,
            signature=b"\x01" * 65,
            claim_policy_data=b"\x07",
        )
        verdict = judge(state, transfer(100), envelope=notarized)
        assert isinstance(verdict, Accepted)
        assert len(verdict.notes) == 1
        assert "claim policies" in verdict.notes[0]
        assert isinstance(judge(state, transfer(101), envelope=notarized), Refused)


def test_type_hashes_and_domain_are_the_contracts_constants() -> None:
    constants = {
        "_LOCK_TAG_DATA": "530e6ac3fbb108eb531208da75d7310b7086a7d16b42cbb119ebd7543f7a1955",
        "_PERMISSIONS": "a6d649a3e6014c0f8cf1e42d360388616413c96247ed3e994eeff9e3ac2af36f",
        "_SESSION": "984917e689987af96289e12c5f5e934fcdf1df4186108f69ff7e8c3df950ce33",
        "_CHAIN_SESSION": "abc350ff4773ba356e85e2d2ee58d7d7511767acdb108b59058f5b4a5afc074b",
        "_MULTI_CHAIN_SESSION": "b4323194e4ca3723804b96dc7a0960bde1afff2b080b8b288fdc264c82e21357",
        "_DOMAIN": "e4b7e03cf1e8e7a6af0eec6f72a68d532e03fdaad0b8326461731cb31803a084",
    }
    assert {name: getattr(emissary_grant, name).hex() for name in constants} == constants
