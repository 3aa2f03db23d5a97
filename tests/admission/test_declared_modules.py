"""Sessions of declared modules are judged by what was told of them, and one grant of many is nobody's loophole."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from proxy.admission import Purpose
from proxy.admission.sources import Staleness
from proxy.errors import Code
from proxy.judge.verdict import Allow, Reject
from proxy.session.changes import Changes, SessionChange, changes_of
from proxy.session.counters import HoldName
from proxy.session.declared import DeclaredAction, DeclaredSession
from proxy.session.known import Status
from proxy.session.state import ToldAt
from proxy.session.told import tell
from proxy.userop.acts import SessionsCleared
from proxy.userop.declared_acts import DeclaredGrant
from proxy.userop.declared_module import key_id
from proxy.userop.execution import Call
from proxy.userop.key_forms import MESSAGE_KEY, PLAIN_KEY
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import Room
from tests.bypass_list.desk import CHAIN_ID, OWNER_NONCE, STRANGERS_KEY, an_operation, batch, single
from tests.session.builders import ACCOUNT, NOW, STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import (
    CLOSE,
    CREATE,
    GRANT_LIST,
    MODULES,
    NAMED,
    PLAIN,
    REVOKE,
    an_id,
    call_of,
    name_of_key,
)
from tests.session.signing import SESSION_KEY, nonce_at, signed
from tests.session.test_granted import a_call, grant, revocation

PAY = Call(TOKEN, 0, TRANSFER + bytes(64))
ID = an_id("first")
NAMED_GRANT = grant(a_call(max_uses=3), module=NAMED, permission_id=ID, signer=PLAIN_KEY)


_PLACES = count(1)


def room(*told: SessionChange, node: bool = False, **options: Any) -> Room:
    there = Room(session_modules=MODULES, node=node, **options)
    say(there, *told)
    return there


def say(there: Room, *told: SessionChange, account: Address = ACCOUNT) -> None:
    changes = Changes(user_op_hash=Hash32(bytes(32)), chain_id=CHAIN_ID, account=account, at_validation=told)
    tell(there.registry, changes, ToldAt(7, next(_PLACES)), float(NOW))


def using(
    call_data: bytes = single(PAY), *, lane: int = 0, form: Address = MESSAGE_KEY, **options: Any
) -> UserOperation:
    """Signed bare, as the guides' module wants it."""
    return signed(an_operation(call_data, nonce=nonce_at(PLAIN, lane)), form, **options)


def using_named(call_data: bytes = single(PAY), *, lane: int = 0, name: bytes = ID, **options: Any) -> UserOperation:
    """In the envelope of the other module."""
    return signed(an_operation(call_data, nonce=nonce_at(NAMED, lane)), PLAIN_KEY, before=b"\0" + name, **options)


def by_owner(*calls: Call, lane: int = 0) -> UserOperation:
    return an_operation(batch(*calls), nonce=OWNER_NONCE + (lane << 232), signature=b"\x0e" * 65)


async def test_a_session_that_was_told_of_is_used_within_what_was_granted() -> None:
    for node in (False, True):
        there = room(grant(), NAMED_GRANT, node=node)
        await there.allowed(using())
        await there.allowed(using_named())
        outside = single(replace(PAY, target=STRANGER))
        assert (await there.refusal(using(outside, lane=1))).code is Code.SESSION_SCOPE
        assert (await there.refusal(using_named(outside, lane=1))).code is Code.SESSION_SCOPE


async def test_twenty_at_once_never_overspend_a_limit() -> None:
    there = room(grant(a_call(max_uses=7)), NAMED_GRANT)
    for operations, limit in (
        ([using(lane=each) for each in range(20)], 7),
        ([using_named(lane=n) for n in range(20)], 3),
    ):
        verdicts = [judgement.verdict for judgement in await there.judge_all(operations)]
        assert sum(isinstance(each, Allow) for each in verdicts) == limit
        codes = {each.first.code for each in verdicts if isinstance(each, Reject)}
        assert codes == {Code.LIMIT_EXCEEDED}


async def test_a_key_without_a_session_is_told_so() -> None:
    reason = await room(grant()).refusal(using(key=STRANGERS_KEY))
    assert reason.code is Code.SESSION_UNKNOWN
    assert "has no session of account" in reason.sentence


async def test_a_key_that_signed_in_the_other_form_hears_which_is_wanted() -> None:
    reason = await room(grant()).refusal(using(form=PLAIN_KEY))
    assert (reason.code, reason.wanted) == (Code.SESSION_SCOPE, "its EIP-191 form (signMessage of the raw hash)")


async def test_a_stranger_cannot_use_a_name_that_is_not_theirs() -> None:
    there = room(NAMED_GRANT)
    assert (await there.refusal(using_named(key=STRANGERS_KEY))).code is Code.SESSION_SCOPE
    assert (await there.refusal(using_named(name=an_id("other")))).code is Code.SESSION_UNKNOWN


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\xff" * 65, b"\0" * 66])
async def test_what_is_no_signature_of_a_key_is_refused(signature: bytes) -> None:
    there = room(grant(), NAMED_GRANT)
    assert (await there.refusal(replace(using(), signature=signature))).code is Code.UNDECODABLE
    assert (await there.refusal(replace(using_named(), signature=b"\0" + ID + signature))).code is Code.SESSION_SCOPE


async def test_a_revoked_session_is_over_and_its_key_is_known_by_its_signature() -> None:
    there = room(grant(), node=True)
    say(there, revocation())
    reason = await there.refusal(using())
    assert (reason.code, reason.signed, reason.retryable) == (Code.SESSION_REVOKED, True, False)


async def test_the_session_of_another_account_is_another_session() -> None:
    there = room()
    say(there, grant(account=STRANGER), account=STRANGER)
    assert (await there.refusal(using())).code is Code.SESSION_UNKNOWN
    await there.allowed(signed(an_operation(single(PAY), nonce=nonce_at(PLAIN), sender=STRANGER), MESSAGE_KEY))


async def test_a_grant_by_call_is_pending_until_it_is_mined() -> None:
    there = room()
    granting = by_owner(
        call_of(CREATE, SESSION_KEY, TOKEN, TRANSFER, 0, 0, 0),
        call_of(GRANT_LIST, 0, ID, [(TRANSFER, TOKEN, 0)], 3, 0, SESSION_KEY, module=NAMED),
    )
    judgement = await there.allowed(granting)
    assert judgement.operation is not None
    made = changes_of(judgement.operation, there.terms.session_modules)
    assert [type(change) for change in made.on_success] == [DeclaredGrant, DeclaredGrant]
    facts = [(each.permission_id, each.targets, "no_expiry" in each.findings) for each in judgement.facts.grants]
    assert facts == [(key_id(SESSION_KEY), (TOKEN,), True), (ID, (TOKEN,), True)]
    there.registry.expect(made, float(NOW))
    for use in (using(), using_named()):
        reason = await there.refusal(use)
        assert (reason.code, reason.retryable) == (Code.SESSION_UNKNOWN, True)
    there.registry.mined(HoldName(made.user_op_hash, None), success=True, block=8, now=float(NOW))
    for use in (using(), using_named()):
        await there.allowed(use)


async def test_a_batch_of_grants_and_revocations_in_one_operation_counts_in_its_order() -> None:
    there = room(grant())
    create, revoke = call_of(CREATE, SESSION_KEY, TOKEN, TRANSFER, 0, 0, 0), call_of(REVOKE, SESSION_KEY)
    for number, (calls, status) in enumerate(
        [((revoke, create), Status.IN_FORCE), ((create, revoke), Status.REMOVED), ((create, create), Status.IN_FORCE)]
    ):
        judgement = await there.allowed(by_owner(*calls, lane=number))
        assert judgement.operation is not None
        made = changes_of(judgement.operation, there.terms.session_modules)
        there.registry.expect(made, float(NOW))
        there.registry.mined(HoldName(made.user_op_hash, None), success=True, block=9 + number, now=float(NOW))
        assert there.registry.status_of(name_of_key(SESSION_KEY)) is status


async def test_a_call_for_another_account_grants_that_one_nothing() -> None:
    there = room(NAMED_GRANT)
    judgement = await there.allowed(by_owner(replace(call_of(CLOSE, ID, module=NAMED), target=STRANGER)))
    assert judgement.operation is not None
    assert not changes_of(judgement.operation, there.terms.session_modules)


async def test_a_grant_that_cannot_be_read_leaves_the_session_to_nobody() -> None:
    there = room(grant())
    spoilt = Call(PLAIN, 0, call_of(CREATE, SESSION_KEY, TOKEN, TRANSFER, 0, 0, 0).data[:-1])
    judgement = await there.allowed(by_owner(spoilt))
    assert judgement.operation is not None
    made = changes_of(judgement.operation, there.terms.session_modules)
    there.registry.expect(made, float(NOW))
    there.registry.mined(HoldName(made.user_op_hash, None), success=True, block=9, now=float(NOW))
    assert (await there.refusal(using())).code is Code.STATE_UNAVAILABLE
    say(there, grant())
    await there.allowed(using())


async def test_an_estimate_with_a_stub_is_judged_by_what_the_account_s_sessions_may_do() -> None:
    stub = b"\xff" * 65
    there = room(grant(), grant(a_call(STRANGER), permission_id=key_id(STRANGER), session_key=STRANGER))
    for target, allowed in ((TOKEN, True), (STRANGER, True), (ACCOUNT, False)):
        op = replace(using(single(replace(PAY, target=target))), signature=stub)
        verdict = (await there.judge(op, purpose=Purpose.PREVIEW)).verdict
        assert isinstance(verdict, Allow) is allowed
    assert (await room().refusal(replace(using(), signature=stub), Purpose.PREVIEW)).code is Code.SESSION_UNKNOWN


async def test_an_estimate_tells_nothing_of_what_is_in_flight() -> None:
    there = room(grant(a_call(max_uses=1)))
    await there.allowed(using())
    await there.allowed(replace(using(lane=1), signature=b"\xff" * 65), Purpose.PREVIEW)


async def test_nothing_is_judged_by_what_is_known_of_an_old_chain() -> None:
    there = room(grant(), node=True)
    for readable in (True, False):
        there.stale = Staleness("the node does not answer", readable)
        assert (await there.refusal(using())).code is Code.STATE_UNAVAILABLE
    there.stale = None
    await there.allowed(using())


async def test_a_session_of_the_settings_alone_may_do_what_they_say() -> None:
    there = room(node=True)
    action = DeclaredAction(target=TOKEN, selector=TRANSFER, max_uses=1)
    session = DeclaredSession(
        chain_id=CHAIN_ID,
        account=ACCOUNT,
        permission_id=key_id(SESSION_KEY),
        session_key=SESSION_KEY,
        module=PLAIN,
        validator=MESSAGE_KEY,
        actions=(action,),
    )
    there.registry.declarations.take([session])
    await there.allowed(using())
    assert (await there.refusal(using(lane=1))).code is Code.LIMIT_EXCEEDED
    assert (await there.refusal(using(form=PLAIN_KEY))).code is Code.SESSION_SCOPE
    say(there, revocation())
    assert (await there.refusal(using())).code is Code.SESSION_REVOKED
    say(there, grant())
    assert (await there.refusal(using(lane=1))).code is Code.LIMIT_EXCEEDED


async def test_all_sessions_of_an_account_ended_are_those_of_the_settings_too() -> None:
    there = room()
    action = DeclaredAction(target=TOKEN, selector=TRANSFER)
    session = DeclaredSession(
        chain_id=CHAIN_ID,
        account=ACCOUNT,
        permission_id=key_id(SESSION_KEY),
        session_key=SESSION_KEY,
        module=PLAIN,
        validator=MESSAGE_KEY,
        actions=(action,),
    )
    there.registry.declarations.take([session])
    await there.allowed(using())
    say(there, SessionsCleared(PLAIN))
    assert (await there.refusal(using(lane=1))).code is Code.SESSION_REVOKED


async def test_a_session_hides_in_no_operation_of_an_owner() -> None:
    there = room(grant(), NAMED_GRANT)
    for hidden in (
        signed(an_operation(single(PAY), nonce=OWNER_NONCE), MESSAGE_KEY),
        signed(an_operation(single(PAY), nonce=OWNER_NONCE), PLAIN_KEY, before=b"\0" + ID),
    ):
        assert "names no session module" in (await there.refusal(hidden)).sentence
    await there.allowed(signed(an_operation(single(PAY), nonce=OWNER_NONCE), MESSAGE_KEY, key=STRANGERS_KEY))


async def test_a_session_that_calls_its_own_module_does_so_only_where_that_was_granted() -> None:
    more = call_of(CREATE, STRANGER, TOKEN, TRANSFER, 0, 0, 0)
    assert (await room(grant()).refusal(using(single(more)))).code is Code.SESSION_SCOPE
