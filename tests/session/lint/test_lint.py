"""The review as a whole: the table of kinds, the order, partial knowledge, enable signatures, recorded grants."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.session.counters import SessionKey
from proxy.session.lint import (
    DEFAULT_THRESHOLDS,
    KINDS,
    Severity,
    Where,
    lint,
    lint_addition,
    lint_enable,
    lint_state,
)
from proxy.session.lint.findings import Part
from proxy.session.revert import Revert
from proxy.session.state import SessionState
from proxy.session.transitions import enable
from proxy.userop.acts import ActionPoliciesEnabled, Erc1271PoliciesEnabled, SessionsEnabled, UserOpPoliciesEnabled
from proxy.userop.administration import acts_of
from proxy.userop.decode import decode_operation
from proxy.userop.emissary_abi import EMISSARY, EmissaryConfig, EmissaryEnable
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.inspection import calls_for_inspection
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, parse_address
from proxy.userop.session_data import ChainDigest, EnableSession, ERC7739Data, PolicyData, SessionData
from proxy.userop.signature import SessionMode
from proxy.userop.user_operation import parse_user_operation
from tests.session.builders import (
    ACCOUNT,
    NOW,
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    action,
    enabled,
    fallback,
    only,
    spending,
    sudo,
)
from tests.session.lint import test_enabling, test_limits, test_scope, test_signing, test_tokens
from tests.session.lint.builders import LIMITS, capped_transfer, found, play, tight, tight_play, to_friend
from tests.session.lint.strategies import sessions

SAMPLE = Path(__file__).parents[2] / "traffic" / "sample"
ADMINISTRATION = Path(__file__).parents[2] / "userop" / "fixtures" / "administration.json"
PERMISSION = Hash32(b"\xbb" * 32)
ELSEWHERE = {"claim_policies", "multichain_enable", "unsafe_enable", "not_judged"}
"""Kinds that no session has by itself; they have tests of their own below."""


def test_covers_every_kind_of_finding_with_a_pair_of_neighbours() -> None:
    pairs = [each.PAIRS for each in (test_scope, test_tokens, test_limits, test_enabling, test_signing)]
    assert set().union(*pairs) == KINDS.keys() - ELSEWHERE


def test_says_nothing_of_a_session_of_the_least_privilege() -> None:
    assert lint(tight(), now=NOW, account=ACCOUNT, module=SMART_SESSION) == ()


def test_gives_each_finding_the_severity_of_the_table_and_the_gravest_first() -> None:
    findings = lint(tight(fallback(sudo), play(sudo), user_op=()), now=NOW)
    assert [finding.severity for finding in findings] == [KINDS[finding.id].severity for finding in findings]
    ranks = [finding.severity.rank for finding in findings]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == Severity.CRITICAL.rank


def test_orders_the_severities() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3, 4]


def test_has_ids_fit_for_rules() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", name) and name == kind.id for name, kind in KINDS.items())


def test_spells_a_place_as_the_sdks_spell_their_fields() -> None:
    assert str(Where(Part.ACTIONS, 2, 0)) == "actions[2].policies[0]"
    assert str(Where(Part.SESSION)) == "session"


@given(sessions())
def test_never_raises_and_always_says_where_and_what_to_do(session: SessionData) -> None:
    for finding in lint(session, now=NOW, account=ACCOUNT):
        assert str(finding.where)
        assert finding.sentence
        assert finding.remedy


@given(sessions())
def test_says_of_the_state_on_chain_what_it_said_of_the_grant(session: SessionData) -> None:
    state = enable(SessionState(key=SessionKey(1, SMART_SESSION, ACCOUNT, session.permission_id)), session)
    if isinstance(state, Revert):
        return
    seen_in_grants_only = {
        *("duplicate_action", "duplicate_policy", "init_data_ignored", "shared_permission_id", "signs_anything"),
        *("signs_permits", "contents_without_policies", "not_judged", "time_frame_of_older_generation"),
        *("policy_always_reverts",),
    }
    granted = {finding.id for finding in lint(session, now=NOW, account=ACCOUNT, module=SMART_SESSION)}
    stored = {finding.id for finding in lint_state(state, now=NOW)}
    assert granted - seen_in_grants_only == stored - seen_in_grants_only


# partial knowledge


def unread(session: SessionData) -> SessionState:
    return enabled(session).without_policy_knowledge()


def test_holds_nothing_against_a_session_that_has_not_been_read() -> None:
    findings = lint_state(unread(tight(capped_transfer)), now=NOW)
    assert {finding.id for finding in findings} == {"not_judged"}
    assert len(findings) == len(LIMITS) + len(capped_transfer.policies)


def test_judges_sudo_without_reading_it_for_there_is_nothing_to_read() -> None:
    assert "sudo_action" in {finding.id for finding in lint_state(unread(tight(play(sudo))), now=NOW)}


def test_says_what_is_not_known_of_a_state() -> None:
    state = enabled(tight(erc7739_policies=ERC7739Data((), (sudo,))))
    stripped = replace(state, session_validator=None, permits_paymaster=None, targets={})
    places = [str(finding.where) for finding in lint_state(stripped, now=NOW) if finding.id == "not_judged"]
    assert places == ["actions[0]", "sessionValidator", "session", "allowedERC7739Content"]


def test_knows_the_special_actions_by_their_ids() -> None:
    state = replace(enabled(tight(fallback(only(TOKEN)))), targets={})
    assert "fallback_action" in {finding.id for finding in lint_state(state, now=NOW)}


def test_judges_what_is_added_to_a_session_by_itself() -> None:
    added = ActionPoliciesEnabled(SMART_SESSION, PERMISSION, (play(sudo),))
    ids = {finding.id for finding in lint_addition(added, now=NOW, account=ACCOUNT)}
    assert ids == {"sudo_action", "not_judged"}
    policies = UserOpPoliciesEnabled(SMART_SESSION, PERMISSION, (spending((TOKEN, 1)),))
    assert {finding.id for finding in lint_addition(policies, now=NOW)} == {"policy_in_wrong_slot", "not_judged"}
    contents = Erc1271PoliciesEnabled(SMART_SESSION, PERMISSION, ERC7739Data((), (sudo,)))
    assert {finding.id for finding in lint_addition(contents, now=NOW)} == {"signs_off_chain", "not_judged"}


# enable signatures


def granted(session: SessionData, *chains: int) -> EnableSession:
    digests = tuple(ChainDigest(chain, PERMISSION) for chain in chains)
    return EnableSession(chain_digest_index=0, digests=digests, session=session, permission_enable_signature=b"")


@pytest.mark.parametrize(
    ("mode", "chains", "wanted"),
    [
        (SessionMode.ENABLE, (1,), set()),
        (SessionMode.ENABLE, (1, 1), set()),
        (SessionMode.ENABLE, (1, 10), {"multichain_enable"}),
        (SessionMode.UNSAFE_ENABLE, (1,), {"unsafe_enable"}),
    ],
)
def test_reviews_the_enable_signature_with_the_session(
    mode: SessionMode, chains: tuple[int, ...], wanted: set[str]
) -> None:
    enabling = granted(tight(), *chains)
    assert {finding.id for finding in lint_enable(enabling, mode, now=NOW)} == wanted
    loose = granted(tight(play(sudo)), *chains)
    assert {finding.id for finding in lint_enable(loose, mode, now=NOW)} == wanted | {"sudo_action"}


def test_reviews_a_session_of_the_emissary_with_its_claim_policies() -> None:
    in_action = tight(play(*tight_play.policies, *LIMITS[:2]), user_op=())
    policies = (PolicyData(UNKNOWN_POLICY, b""),)
    assert lint(in_action, now=NOW, module=EMISSARY) == ()
    assert [finding.id for finding in lint(in_action, now=NOW, module=EMISSARY, claim_policies=policies)] == [
        "claim_policies"
    ]
    config = EmissaryConfig(scope=0, reset_period=0, allocator=ZERO_ADDRESS, permission_id=in_action.permission_id)
    enabling = EmissaryEnable(
        config=config,
        chain_digest_index=0,
        digests=(ChainDigest(1, PERMISSION), ChainDigest(10, PERMISSION)),
        session=in_action,
        claim_policies=policies,
        expires=NOW,
        user_signature=b"",
        allocator_signature=b"",
    )
    findings = lint_enable(enabling, SessionMode.ENABLE, now=NOW)
    assert [finding.id for finding in findings] == ["claim_policies", "multichain_enable"]


# what the SDKs really grant


def recorded_grants(name: str) -> Iterator[SessionData]:
    for line in (SAMPLE / name).read_text().splitlines():
        op, entry_point = json.loads(line)["request"]["params"]
        known = ENTRY_POINT_BY_ADDRESS[parse_address(entry_point, "entryPoint")]
        decoded = decode_operation(parse_user_operation(op, known.version, estimate=True), known, 1, SESSION_MODULES)
        for act in decoded.acts:
            if isinstance(act, SessionsEnabled):
                yield from act.sessions
        if decoded.claim is not None and decoded.claim.envelope.enable is not None:
            yield decoded.claim.envelope.enable.session


AT_RECORDING = 1_795_218_000  # the recorded sessions last one year
STARTALE = {
    "sudo_action": ["actions[0]"],
    "far_expiry": ["session"],
    "unlimited_value": ["actions[0]"],
    "unlimited_gas": ["userOpPolicies"],
    "unlimited_uses": ["session"],
}
MODULE_SDK = {
    "sudo_action": ["actions[0]"],
    "any_recipient": ["actions[2]"],
    "any_spender": ["actions[3]"],
    "unlimited_gas": ["userOpPolicies"],
}
RECORDED = {
    "startale.jsonl": [{**STARTALE, "any_recipient": ["actions[2]"]}, STARTALE],
    "module-sdk-safe.jsonl": [MODULE_SDK, MODULE_SDK],
}


@pytest.mark.parametrize("name", RECORDED)
def test_reviews_what_the_sdks_grant(name: str) -> None:
    assert [found(session, now=AT_RECORDING) for session in recorded_grants(name)] == RECORDED[name]


def test_reviews_the_grants_of_an_owner_on_every_kind_of_account() -> None:
    reviewed = set()
    for operation in json.loads(ADMINISTRATION.read_text())["operations"]:
        account, data = (bytes.fromhex(operation[field][2:]) for field in ("sender", "callData"))
        for act in acts_of(calls_for_inspection(data, Address(account)), Address(account), SESSION_MODULES):
            if isinstance(act, SessionsEnabled):
                reviewed.add(operation["recording"])
                places = [found(each, now=AT_RECORDING, account=account, module=act.module) for each in act.sessions]
                assert all("actions[0]" in each["sudo_action"] for each in places)
                assert not any(KINDS[name].severity is Severity.CRITICAL for each in places for name in each)
    assert reviewed == {"startale", "module-sdk-nexus", "module-sdk-safe", "bundler-errors"}


def test_takes_the_thresholds_of_the_detection_catalogue() -> None:
    assert (DEFAULT_THRESHOLDS.far_expiry, DEFAULT_THRESHOLDS.unlimited_amount) == (30 * 86_400, 2**255)
    assert found(tight(action(TOKEN, TRANSFER, spending((TOKEN, 5)), to_friend))) == {}
