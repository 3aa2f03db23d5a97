"""A declared session is a session without a node, and a second lock with one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.admission import Purpose
from proxy.errors import Code, StateUnavailable
from proxy.judge.verdict import Reject
from proxy.session.addresses import SMART_SESSION
from proxy.session.declared import DeclaredAction, DeclaredSession
from proxy.session.known import Status
from proxy.session.state import SessionStatus
from proxy.userop.primitives import Address
from tests.admission.builders import (
    SESSION_KEY_ADDRESS,
    TWICE,
    Room,
    key_of,
    known,
    lane,
)
from tests.bypass_list.desk import CHAIN_ID, STRANGERS_KEY, a_session, single, use
from tests.session.builders import (
    ACCOUNT,
    NOW,
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    enabled,
    sudo,
    time_frame,
    transfer,
)

ONCE = single(transfer(1))
USE = use(TWICE, ONCE)
ON_CHAIN = {key_of(TWICE): enabled(TWICE)}
DOWN = {key_of(TWICE): StateUnavailable("the node does not answer")}
REMOVED = known(TWICE, status=Status.REMOVED, state=replace(enabled(TWICE), status=SessionStatus.REMOVED))


def declared(**changes: object) -> DeclaredSession:
    act = DeclaredAction(target=TOKEN, selector=TRANSFER, **changes)  # type: ignore[arg-type]  # fields of the action
    return DeclaredSession(
        chain_id=CHAIN_ID,
        account=ACCOUNT,
        permission_id=TWICE.permission_id,
        session_key=SESSION_KEY_ADDRESS,
        actions=(act,),
    )


def with_declared(room: Room, **changes: object) -> Room:
    room.registry.declarations.take([declared(**changes)])
    return room


async def test_a_declared_session_needs_no_node() -> None:
    room = with_declared(Room(), max_uses=1)
    judgement = await room.allowed(USE)
    assert judgement.reservation is not None
    assert len(judgement.reservation.charges) == 1
    assert (await room.refusal(use(TWICE, ONCE, nonce=lane(1)))).code is Code.LIMIT_EXCEEDED


async def test_a_declared_session_may_do_what_is_declared_and_no_more() -> None:
    room = with_declared(Room())
    assert (await room.refusal(use(TWICE, single(transfer(1, token=STRANGER))))).code is Code.SESSION_SCOPE
    assert (await room.refusal(use(TWICE, ONCE, key=STRANGERS_KEY))).code is Code.SESSION_SCOPE


async def test_an_estimate_of_a_declared_session_tells_nothing_of_the_uses_in_flight() -> None:
    room = with_declared(Room(), max_uses=1)
    await room.allowed(USE)
    await room.allowed(use(TWICE, ONCE, key=STRANGERS_KEY, nonce=lane(1)), Purpose.PREVIEW)


async def test_a_strangers_signature_on_a_declared_session_asks_no_node_and_reads_no_call() -> None:
    room = with_declared(Room(sessions=ON_CHAIN))
    unreadable = use(TWICE, ONCE[:-8], key=STRANGERS_KEY)
    reason = await room.refusal(unreadable)
    assert "not the declared session key's" in reason.sentence
    assert not room.node.asked


async def test_a_stub_signature_is_not_held_against_a_preview_of_a_declared_session() -> None:
    room = with_declared(Room())
    await room.allowed(use(TWICE, ONCE, key=STRANGERS_KEY), Purpose.PREVIEW)


async def test_with_a_node_the_chain_must_have_a_declared_session_too() -> None:
    assert (await with_declared(Room(node=True)).refusal(USE)).code is Code.SESSION_UNKNOWN
    await with_declared(Room(sessions=ON_CHAIN)).allowed(USE)


async def test_a_declared_session_is_doubt_while_its_node_is_down() -> None:
    assert (await with_declared(Room(sessions=DOWN)).refusal(USE)).code is Code.STATE_UNAVAILABLE


async def test_both_the_declaration_and_the_chain_have_to_agree() -> None:
    assert (await with_declared(Room(TWICE), max_value=1).allowed(USE)).reservation is not None
    narrow = with_declared(Room(TWICE), max_uses=1)
    await narrow.allowed(USE)
    assert (await narrow.refusal(use(TWICE, ONCE, nonce=lane(1)))).code is Code.LIMIT_EXCEEDED
    wide = with_declared(Room(TWICE), max_uses=10)
    await wide.allowed(use(TWICE, ONCE, nonce=lane(1)))
    await wide.allowed(use(TWICE, ONCE, nonce=lane(2)))
    assert (await wide.refusal(use(TWICE, ONCE, nonce=lane(3)))).code is Code.LIMIT_EXCEEDED


async def test_a_declared_session_that_the_chain_removed_is_refused() -> None:
    room = with_declared(Room())
    room.registry.put(REMOVED)
    assert (await room.refusal(USE)).code is Code.SESSION_REVOKED


@pytest.mark.parametrize(("valid_until", "code"), [(NOW, None), (NOW - 1, Code.SESSION_NOT_VALID_NOW)])
async def test_a_declared_action_ends_when_it_says(valid_until: int, code: Code | None) -> None:
    verdict = (await with_declared(Room(), valid_until=valid_until).judge(USE)).verdict
    assert (verdict.first.code if isinstance(verdict, Reject) else None) == code


async def test_of_two_windows_the_earlier_end_is_the_reservations() -> None:
    grant = a_session(action(TOKEN, TRANSFER, sudo), user_op=[time_frame(NOW + 60)])
    room = Room(grant)
    session = replace(declared(valid_until=NOW + 30), permission_id=grant.permission_id)
    room.registry.declarations.take([session])
    judgement = await room.allowed(use(grant, ONCE))
    assert judgement.reservation is not None
    assert judgement.reservation.valid_until == NOW + 30


async def test_the_session_of_another_module_is_another_session() -> None:
    room = Room(session_modules=frozenset({SMART_SESSION, Address(b"\x5e" * 20)}))
    other = key_of(TWICE)._replace(module=Address(b"\x5e" * 20))
    room.registry.put(replace(known(TWICE), key=other))
    assert (await room.refusal(USE)).code is Code.SESSION_UNKNOWN
