"""A session of the emissary at the gate: granted, used to its limit, brought along, taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxy.admission import Purpose
from proxy.errors import Code
from proxy.session.changes import changes_of
from proxy.session.counters import HoldName, SessionKey
from proxy.session.emissary_grant import emissary_session_digest
from proxy.session.facts import EmissaryNonceFact, EnableSignatureFact
from proxy.session.signers import VALID
from proxy.userop.emissary_abi import EMISSARIES, EMISSARY
from proxy.userop.session_data import ChainDigest, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import Room
from tests.bypass_list.desk import (
    CHAIN_ID,
    MODULES,
    OWNER_NONCE,
    STRANGERS_KEY,
    a_session,
    an_operation,
    session_signature,
    single,
    use,
)
from tests.session.builders import ACCOUNT, TOKEN, TRANSFER, action, transfer, usage
from tests.session.test_emissary_grant import set_config
from tests.userop.builders import an_emissary_enable

GRANT = a_session(action(TOKEN, TRANSFER, usage(2)))
KEY = SessionKey(CHAIN_ID, EMISSARY, ACCOUNT, GRANT.permission_id)


def lane(number: int) -> int:
    return int.from_bytes(number.to_bytes(3, "big") + b"\0" + EMISSARY + bytes(8), "big")


def room(**options: Any) -> Room:
    return Room(session_modules=MODULES | EMISSARIES, **options)


def enabling(grant: SessionData, *, nonce: int, op_nonce: int) -> UserOperation:
    unsigned = an_emissary_enable(grant, chain_digest_index=0, digests=())
    digest = emissary_session_digest(unsigned, account=ACCOUNT, emissary=EMISSARY, nonce=nonce)
    enable = replace(unsigned, digests=(ChainDigest(CHAIN_ID, digest),))
    op = an_operation(single(transfer(1)), nonce=op_nonce)
    envelope = SessionEnvelope(
        mode=SessionMode.ENABLE, permission_id=grant.permission_id, signature=session_signature(op), enable=enable
    )
    return replace(op, signature=encode_session_envelope(envelope))


async def granted() -> Room:
    """A room in which the owner's setConfig was seen and mined."""
    there = room()
    call = set_config(ACCOUNT, an_emissary_enable(GRANT))
    judgement = await there.allowed(an_operation(single(call), nonce=OWNER_NONCE, signature=b"\x0e" * 65))
    assert judgement.operation is not None
    changes = changes_of(judgement.operation, there.terms.session_modules)
    there.registry.expect(changes, there.now)
    there.registry.mined(HoldName(changes.user_op_hash, None), success=True, block=1, now=there.now)
    return there


async def test_a_session_seen_being_granted_is_used_to_its_limit_and_no_further() -> None:
    there = await granted()
    assert there.registry.get(KEY) is not None
    for number in range(2):
        await there.allowed(use(GRANT, single(transfer(1)), nonce=lane(number)))
    assert (await there.refusal(use(GRANT, single(transfer(1)), nonce=lane(2)))).code is Code.LIMIT_EXCEEDED


async def test_another_key_is_refused() -> None:
    there = await granted()
    forged = use(GRANT, single(transfer(1)), nonce=lane(0), key=STRANGERS_KEY)
    assert (await there.refusal(forged)).code is Code.SESSION_SCOPE


async def test_a_session_never_seen_being_granted_is_refused() -> None:
    assert (await room().refusal(use(GRANT, single(transfer(1)), nonce=lane(0)))).code is Code.SESSION_UNKNOWN


async def test_the_same_permission_id_at_the_other_module_is_another_session() -> None:
    there = await granted()
    assert (await there.refusal(use(GRANT, single(transfer(1))))).code is Code.SESSION_UNKNOWN


async def test_a_grant_that_comes_with_its_first_use_is_judged_by_the_nonce_the_node_tells() -> None:
    there = room(node=True)
    there.node.answers |= {EmissaryNonceFact: 3, EnableSignatureFact: VALID}
    judgement = await there.allowed(enabling(GRANT, nonce=3, op_nonce=lane(0)))
    assert judgement.enable_nonce is None
    assert (await there.refusal(enabling(GRANT, nonce=2, op_nonce=lane(1)))).code is Code.SESSION_SCOPE


async def test_without_a_node_the_nonce_is_told_by_the_digest_that_was_signed() -> None:
    await room().allowed(enabling(GRANT, nonce=4, op_nonce=lane(0)))
    assert (await room().refusal(enabling(GRANT, nonce=99, op_nonce=lane(0)))).code is Code.SESSION_SCOPE


async def test_a_stub_of_the_key_is_enough_for_an_estimate() -> None:
    there = await granted()
    op = an_operation(single(transfer(1)), nonce=lane(0))
    stub = replace(op, signature=b"\0" + GRANT.permission_id + b"\x01" * 65)
    await there.allowed(stub, Purpose.PREVIEW)
    assert (await there.refusal(stub)).code is Code.SESSION_SCOPE


async def test_an_enable_envelope_under_a_nonce_that_names_no_module_is_refused() -> None:
    hidden = enabling(GRANT, nonce=0, op_nonce=OWNER_NONCE)
    assert (await room().refusal(hidden)).code is Code.UNDECODABLE
