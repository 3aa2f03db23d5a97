"""What a verdict misses is asked for where it can be; where it cannot, nothing is let through on trust unnoticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.admission import Purpose
from proxy.errors import Code
from proxy.judge.verdict import Allow, Reject
from proxy.session.facts import (
    EnableNonceFact,
    EnableSignatureFact,
    ModuleInstalledFact,
    PolicyCheckFact,
    SessionSignatureFact,
)
from proxy.session.known import Status
from proxy.session.signers import INVALID, UNKNOWN, VALID
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.primitives import Address
from proxy.userop.session_data import PolicyData
from tests.admission.builders import (
    TWICE,
    Room,
    enabling,
    key_of,
    known,
)
from tests.bypass_list.desk import a_session, single, use
from tests.session.builders import (
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    action,
    enabled,
    gas,
    sudo,
    transfer,
    usage,
)

ONCE = single(transfer(1))
USE = use(TWICE, ONCE)
REMOVED = known(TWICE, status=Status.REMOVED, state=replace(enabled(TWICE), status=SessionStatus.REMOVED))


async def test_the_enable_nonce_is_found_by_what_the_owner_signed() -> None:
    await Room().allowed(enabling(TWICE, ONCE, enable_nonce=15))


async def test_an_enable_nonce_out_of_reach_is_refused() -> None:
    assert (await Room().refusal(enabling(TWICE, ONCE, enable_nonce=16))).code is Code.SESSION_SCOPE


async def test_a_known_enable_nonce_is_the_only_one_that_counts() -> None:
    room = Room()
    room.registry.put(known(TWICE, state=replace(enabled(TWICE), enable_nonce=1)))
    assert (await room.refusal(enabling(TWICE, ONCE, enable_nonce=0))).code is Code.SESSION_SCOPE
    await room.allowed(enabling(TWICE, ONCE, enable_nonce=1))


def room_that_knows_the_nonce(answer: object) -> Room:
    room = Room(sessions={})
    room.registry.put(known(TWICE, state=replace(enabled(TWICE), enable_nonce=0)))
    room.node.answers[EnableSignatureFact] = answer  # type: ignore[assignment]  # what the test is about
    return room


async def test_the_owners_signature_on_a_grant_is_asked_of_the_account() -> None:
    room = room_that_knows_the_nonce(VALID)
    judgement = await room.allowed(enabling(TWICE, ONCE))
    assert judgement.verdict == Allow()
    assert [type(fact) for fact in room.node.facts] == [ModuleInstalledFact, EnableSignatureFact]


async def test_a_grant_that_the_account_does_not_take_is_refused() -> None:
    reason = await room_that_knows_the_nonce(INVALID).refusal(enabling(TWICE, ONCE))
    assert reason.code is Code.SESSION_SCOPE


async def test_an_account_that_is_not_there_yet_is_left_to_the_entry_point_with_a_note() -> None:
    judgement = await room_that_knows_the_nonce(UNKNOWN).allowed(enabling(TWICE, ONCE))
    assert isinstance(judgement.verdict, Allow)
    assert "owner's signature" in judgement.verdict.notes[0]


async def test_a_preview_of_a_grant_asks_for_the_module_and_for_no_signature() -> None:
    room = room_that_knows_the_nonce(INVALID)
    await room.allowed(enabling(TWICE, ONCE), Purpose.PREVIEW)
    assert [type(fact) for fact in room.node.facts] == [ModuleInstalledFact]


SPONSORED = replace(TWICE, user_op_policies=(usage(9),), permit_erc4337_paymaster=True)


@pytest.mark.parametrize("purpose", Purpose)
async def test_what_is_to_enable_a_session_at_an_account_without_the_module_is_refused(purpose: Purpose) -> None:
    room = room_that_knows_the_nonce(VALID)
    room.node.answers[ModuleInstalledFact] = 0
    reason = await room.refusal(enabling(SPONSORED, ONCE), purpose)
    assert reason.code is Code.SESSION_SCOPE
    assert "ValidatorNotInstalled" in reason.sentence


@pytest.mark.parametrize("purpose", Purpose)
async def test_without_a_node_no_account_is_asked_for_the_module(purpose: Purpose) -> None:
    await Room().allowed(enabling(SPONSORED, ONCE), purpose)


async def test_the_node_is_asked_for_an_enable_nonce_that_is_not_known() -> None:
    room = Room(node=True)
    room.node.answers[EnableSignatureFact] = VALID
    room.node.state_after = SessionState(key=key_of(TWICE), enable_nonce=3)
    assert (await room.allowed(enabling(TWICE, ONCE, enable_nonce=3))).enable_nonce == 3
    assert [type(fact) for fact in room.node.facts] == [
        ModuleInstalledFact,
        EnableNonceFact,
        EnableSignatureFact,
    ]


GAS_BOUND = a_session(action(TOKEN, TRANSFER, sudo), user_op=[gas(10**7, 10**18)])


async def test_a_fact_that_only_a_node_can_tell_is_doubt_without_one() -> None:
    reason = await Room(GAS_BOUND).refusal(use(GAS_BOUND, ONCE))
    assert reason.code is Code.STATE_UNAVAILABLE
    assert "no node is configured" in reason.sentence


async def test_the_base_fee_of_the_node_is_what_a_gas_policy_is_judged_by() -> None:
    room = Room(GAS_BOUND, node=True)
    room.node.base_fee = 7
    await room.allowed(use(GAS_BOUND, ONCE))


async def test_facts_that_cannot_be_had_are_doubt() -> None:
    room = Room(GAS_BOUND, node=True)  # it answers, and never with the base fee
    reason = await room.refusal(use(GAS_BOUND, ONCE))
    assert (reason.code, reason.retryable) == (Code.STATE_UNAVAILABLE, True)
    assert len(room.node.facts) <= 6


FOREIGN_POLICY = a_session(action(TOKEN, TRANSFER, PolicyData(UNKNOWN_POLICY, b"")))


@pytest.mark.parametrize("setting", ["ask", "reject"])
async def test_a_policy_nobody_can_judge_is_refused(setting: str) -> None:
    assert (await Room(FOREIGN_POLICY, unknown_policy=setting).refusal(use(FOREIGN_POLICY, ONCE))).policy


async def test_a_policy_nobody_can_judge_passes_with_a_note_where_the_settings_say_so() -> None:
    judgement = await Room(FOREIGN_POLICY, unknown_policy="alert").allowed(use(FOREIGN_POLICY, ONCE))
    assert isinstance(judgement.verdict, Allow)
    assert judgement.verdict.notes


@pytest.mark.parametrize(("answer", "passes"), [(0, True), (1, False)])
async def test_an_unknown_policy_is_asked_itself(answer: int, passes: bool) -> None:
    room = Room(FOREIGN_POLICY, node=True)
    room.node.answers[PolicyCheckFact] = answer
    judgement = await room.judge(use(FOREIGN_POLICY, ONCE))
    assert isinstance(judgement.verdict, Allow) is passes


FOREIGN_VALIDATOR = replace(TWICE, session_validator=Address(b"\x77" * 20))


@pytest.mark.parametrize(
    ("answer", "code"), [(VALID, None), (INVALID, Code.SESSION_SCOPE), (UNKNOWN, Code.STATE_UNAVAILABLE)]
)
async def test_an_unknown_session_validator_is_asked_itself(answer: object, code: Code | None) -> None:
    room = Room(FOREIGN_VALIDATOR, node=True)
    room.node.answers[SessionSignatureFact] = answer  # type: ignore[assignment]  # a signature's verdict
    verdict = (await room.judge(use(FOREIGN_VALIDATOR, ONCE))).verdict
    assert (verdict.first.code if isinstance(verdict, Reject) else None) == code


async def test_an_unknown_session_validator_is_refused_where_nobody_can_be_asked() -> None:
    await Room(FOREIGN_VALIDATOR).refusal(use(FOREIGN_VALIDATOR, ONCE))
