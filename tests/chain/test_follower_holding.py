"""Before an operation is sent: what it holds is on disk, or what was configured for a broken ledger happens."""

from __future__ import annotations

import asyncio

import pytest

from proxy.chain.follower import LedgerFailure, OperationFollower
from proxy.chain.settlement.outcome import Outcome
from proxy.errors import StateUnavailable
from tests.admission.builders import TWICE, granting
from tests.bypass_list.desk import MODULES, OWNER_NONCE, an_operation, reading, single
from tests.chain.test_follower import GOOD, Scene, scene
from tests.session.builders import STRANGER, call


def failing(at: Scene, *, opened: bool, told: list[str] | None = None) -> OperationFollower:
    heard = told if told is not None else []
    failure = LedgerFailure(open=opened, sent_unheld=lambda _: heard.append("sent"), seconds=0.05)
    return OperationFollower(at.lookout, at.room.ledger, MODULES, at.clock, at.contradicted.append, failure=failure)


async def test_what_is_about_to_be_sent_is_on_disk_first() -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    assert await at.follower.hold(reading(GOOD), reservation, None) == reservation
    (outcome,) = at.shelf.kept
    assert outcome.begun is not None
    assert outcome.begun.reservation == reservation


async def test_while_a_block_is_being_settled_an_operation_waits_for_its_turn_before_it_is_on_disk() -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    pace = at.lookout.settlement.pace
    pace.ended(2)
    assert pace.may_pass(), "the one turn that this piece gives"
    assert reservation is not None
    assert not at.follower.hold_now(reading(GOOD), reservation)
    holding = asyncio.create_task(at.follower.hold(reading(GOOD), reservation, None))
    for _ in range(5):
        await asyncio.sleep(0)
    assert at.shelf.kept == []
    pace.ended(2)
    assert await holding == reservation
    assert len(at.shelf.kept) == 1


async def test_an_owners_grant_is_on_disk_first_too_and_goes_when_it_is_refused() -> None:
    at = scene()
    reservation = await at.follower.hold(reading(granting(TWICE)), None, None)
    assert reservation is not None
    assert reservation.charges == ()
    at.follower.refused(reservation)
    assert at.shelf.kept[-1].ended == (reservation.name,)
    assert len(at.room.ledger) == 0


async def test_an_owners_operation_that_changes_no_session_costs_no_write() -> None:
    at = scene()
    op = an_operation(single(call(STRANGER)), nonce=OWNER_NONCE, signature=b"\x0e" * 65)
    assert await at.follower.hold(reading(op), None, None) is None
    assert at.shelf.kept == []


async def test_a_ledger_that_does_not_write_holds_nothing() -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    at.shelf.broken = True
    with pytest.raises(StateUnavailable):
        await failing(at, opened=False).hold(reading(GOOD), reservation, None)
    assert len(at.room.ledger) == 0


async def test_a_ledger_that_is_slow_holds_nothing_and_is_told_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)

    async def never(outcome: Outcome) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(at.shelf, "keep", never)
    with pytest.raises(StateUnavailable, match="did not answer") as told:
        await failing(at, opened=False).hold(reading(GOOD), reservation, None)
    assert told.value.fact == "ledger"
    assert len(at.room.ledger) == 0
    assert at.shelf.kept[-1].ended == (reservation.name,)


async def test_a_ledger_that_is_slow_lets_through_where_it_is_to_fail_open(monkeypatch: pytest.MonkeyPatch) -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)

    async def never(outcome: Outcome) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(at.shelf, "keep", never)
    told: list[str] = []
    assert await failing(at, opened=True, told=told).hold(reading(GOOD), reservation, None) == reservation
    assert told == ["sent"]
    assert len(at.room.ledger) == 1


async def test_a_caller_who_leaves_meanwhile_leaves_nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    reached = asyncio.Event()

    async def never(outcome: Outcome) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(at.shelf, "keep", never)
    holding = asyncio.create_task(at.follower.hold(reading(GOOD), reservation, None))
    await reached.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert len(at.room.ledger) == 0


async def test_where_it_is_to_fail_open_the_operation_goes_out_held_in_memory_and_is_written_later() -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    at.shelf.broken = True
    told: list[str] = []
    follower = failing(at, opened=True, told=told)
    assert await follower.hold(reading(GOOD), reservation, None) == reservation
    assert told == ["sent"]
    await follower.accepted(reading(GOOD), reservation, None)
    assert len(at.room.ledger) == 1
    at.shelf.broken = False
    await at.lookout.round()
    begun = [outcome.begun for outcome in at.shelf.kept if outcome.begun is not None]
    assert [each.reservation for each in begun] == [reservation]


async def test_an_answer_that_never_came_holds_on() -> None:
    at = scene(TWICE)
    reservation = await at.reserve(GOOD)
    await at.follower.hold(reading(GOOD), reservation, None)
    await at.follower.accepted(reading(GOOD), reservation, None, answered=False)
    at.follower.refused(reservation)
    assert len(at.room.ledger) == 1
