"""sessiongate_getSession answers who can name a session, and asks nobody else but the node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.admission.enquiry import Enquiry
from proxy.errors import Code, InvalidParams, StateUnavailable
from proxy.session.changes import changes_of
from proxy.session.declared import DeclaredAction, DeclaredSession
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Status
from proxy.session.state import SessionStatus
from proxy.userop.primitives import print_bytes, print_checksummed
from tests.admission.builders import TWICE, Room, granting, key_of, known, lane
from tests.bypass_list.desk import MODULE, a_session, reading, single, use
from tests.gate_parts import Scene
from tests.session.builders import ACCOUNT, NOW, STRANGER, TOKEN, TRANSFER, action, enabled, time_frame, transfer, usage

NAMES = [print_checksummed(ACCOUNT), print_bytes(TWICE.permission_id)]
NAMED = {"account": NAMES[0], "permissionId": NAMES[1]}


def enquiry(room: Room) -> Enquiry:
    return Enquiry(room.admission._sources)


async def test_what_is_on_chain_and_in_flight_is_told_apart() -> None:
    room = Room(TWICE)
    op = use(TWICE, single(transfer(1)), nonce=lane(1))
    await room.allowed(op)
    (session,) = await enquiry(room).answer(NAMES)
    (limit,) = session["policies"][0]["limits"]
    assert [limit[name] for name in ("limit", "used", "inFlight", "left")] == ["0x2", "0x0", "0x1", "0x1"]
    assert session["operationsInFlight"] == [print_bytes(reading(op).user_op_hash)]
    assert (session["status"], session["frozen"], session["account"]) == ("in_force", False, NAMES[0])


@pytest.mark.parametrize("params", [NAMES, [*NAMES, print_checksummed(MODULE)], [NAMED], [{**NAMED, "module": None}]])
async def test_a_session_is_named_by_account_and_permission_id(params: list[Any]) -> None:
    assert len(await enquiry(Room(TWICE)).answer(params)) == 1


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ([], "account"),
        ([NAMES[1], NAMES[0]], "account"),
        ([NAMES[0]], "permissionId"),
        ([{"account": NAMES[0]}], "permissionId"),
        ([*NAMES, "0x12"], "module"),
        ([{**NAMED, "owner": "x"}], "params[0].owner"),
    ],
)
async def test_what_names_no_session_is_refused(params: list[Any], field: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        await enquiry(Room(TWICE)).answer(params)
    assert refused.value.field == field


async def test_another_account_with_the_same_permission_id_is_another_session() -> None:
    assert await enquiry(Room(TWICE)).answer([print_checksummed(STRANGER), NAMES[1]]) == []


async def test_a_frozen_session_says_so() -> None:
    room = Room(TWICE)
    room.registry.freezes.put(Freeze(permission_id=TWICE.permission_id, since=1.0))
    (session,) = await enquiry(room).answer(NAMES)
    assert session["frozen"]


async def test_a_session_never_heard_of_is_asked_of_the_node_once() -> None:
    room = Room(sessions={key_of(TWICE): enabled(TWICE)})
    asked = enquiry(room)
    assert len(await asked.answer(NAMES)) == 1
    assert len(await asked.answer(NAMES)) == 1
    assert room.node.asked == [key_of(TWICE)]


async def test_a_session_that_has_to_be_read_is_read() -> None:
    room = Room(sessions={key_of(TWICE): enabled(TWICE)})
    room.registry.put(replace(known(TWICE, status=Status.IN_FORCE), state=None))
    (session,) = await enquiry(room).answer(NAMES)
    assert session["policies"][0]["limits"]


async def test_a_pending_session_shows_the_limits_it_will_have() -> None:
    room = Room()
    operation = reading(granting(TWICE))
    room.registry.expect(changes_of(operation, room.terms.session_modules), float(NOW))
    (session,) = await enquiry(room).answer(NAMES)
    assert session["status"] == "pending"
    assert session["policies"][0]["limits"][0]["limit"] == "0x2"


async def test_policies_that_are_not_known_yet_are_not_said_to_be_none() -> None:
    room = Room()
    room.registry.put(replace(known(TWICE, status=Status.PENDING), state=None))
    (session,) = await enquiry(room).answer(NAMES)
    assert session["policies"] is None


TIMED = a_session(action(TOKEN, TRANSFER, usage(2), time_frame(NOW + 600, NOW + 60)))


def standing(status: Status, on_chain: SessionStatus = SessionStatus.ENABLED) -> KnownSession:
    return known(TIMED, status=status, state=replace(enabled(TIMED), status=on_chain))


@pytest.mark.parametrize(
    ("session", "passed", "phase", "left", "until_valid"),
    [
        (standing(Status.PENDING), 0, "pending", 600, 60),
        (standing(Status.IN_FORCE), 0, "upcoming", 600, 60),
        (standing(Status.IN_FORCE), 59.9, "upcoming", 541, 1),
        (standing(Status.IN_FORCE), 60, "in_force", 540, 0),
        (standing(Status.IN_FORCE), 599.9, "in_force", 1, 0),
        (standing(Status.IN_FORCE), 600, "in_force", 0, 0),
        (standing(Status.IN_FORCE), 600.9, "in_force", 0, 0),
        (standing(Status.IN_FORCE), 601, "expired", 0, 0),
        (standing(Status.REMOVED), 60, "removed", 0, 0),
        (standing(Status.REMOVED, SessionStatus.NEVER_ENABLED), 60, "not_granted", 0, 0),
    ],
    ids=lambda value: value.standing if isinstance(value, KnownSession) else str(value),
)
async def test_the_seconds_that_are_left_are_told_to_the_second_in_every_phase(
    session: KnownSession, passed: float, phase: str, left: int, until_valid: int
) -> None:
    room = Room()
    room.registry.put(session)
    room.now += passed
    names = [print_checksummed(ACCOUNT), print_bytes(TIMED.permission_id)]
    for told in (await enquiry(room).answer(names), (await enquiry(room).list_sessions([names[0]]))["sessions"]):
        (shown,) = told
        assert (shown["status"], shown["secondsLeft"], shown["secondsUntilValid"]) == (phase, left, until_valid)
        assert (shown["validAfter"], shown["validUntil"]) == (NOW + 60, NOW + 600)


@pytest.mark.parametrize(("passed", "phase", "left"), [(0, "declared", 600), (600, "declared", 0), (601, "expired", 0)])
async def test_so_are_those_of_a_session_that_the_settings_declare(passed: int, phase: str, left: int) -> None:
    room = Room()
    transfers = DeclaredAction(target=TOKEN, selector=TRANSFER, valid_until=NOW + 600)
    room.registry.declarations.take(
        [
            DeclaredSession(
                permission_id=TIMED.permission_id,
                account=ACCOUNT,
                chain_id=room.terms.chain_id,
                session_key=STRANGER,
                actions=(transfers,),
                module=MODULE,
            )
        ]
    )
    room.now += passed
    (shown,) = await enquiry(room).answer([print_checksummed(ACCOUNT), print_bytes(TIMED.permission_id)])
    assert (shown["status"], shown["secondsLeft"], shown["secondsUntilValid"]) == (phase, left, 0)


async def test_a_node_that_does_not_answer_is_said() -> None:
    room = Room(sessions={key_of(TWICE): StateUnavailable("the node")})
    with pytest.raises(StateUnavailable):
        await enquiry(room).answer(NAMES)


# through the gate


async def test_the_gate_answers_itself_and_forwards_nothing() -> None:
    room = Room(TWICE)
    gate = Scene(room, enquiry=enquiry(room))
    answer = await gate.ask("sessiongate_getSession", *NAMES)
    assert answer["result"][0]["permissionId"] == NAMES[1]
    assert gate.upstream.sent == []


async def test_where_it_is_not_wanted_it_is_not_served() -> None:
    gate = Scene(Room(TWICE))
    answer = await gate.ask("sessiongate_getSession", *NAMES)
    assert answer["error"]["code"] == Code.METHOD_NOT_FOUND
    assert answer["error"]["data"]["setting"] == "session_queries"
    assert gate.upstream.sent == []


async def test_doubt_is_an_answer_too() -> None:
    room = Room(sessions={key_of(TWICE): StateUnavailable("the node")})
    answer = await Scene(room, enquiry=enquiry(room)).ask("sessiongate_getSession", *NAMES)
    assert answer["error"]["code"] == Code.STATE_UNAVAILABLE
    assert answer["error"]["data"]["retryable"]
