"""What an operation holds before and after it is sent, and what a restart makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.chain.settlement.outcome import Outcome
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Cause, InFlight, Stage
from proxy.ledger.reservation import NOTHING_USED, Held
from proxy.session.changes import SessionEnabled
from proxy.session.counters import Charge
from proxy.session.known import Status
from proxy.userop.primitives import Hash32
from tests.chain.builders import accepted
from tests.chain.settlement.builders import (
    GRANT,
    GRANTED,
    IN_FORCE,
    KEY,
    ONE_USE,
    SMART_SESSION,
    USES,
    Chain,
    Scene,
    mined,
    name,
)

OTHER = KEY._replace(permission_id=Hash32(b"\x1e" * 32))


async def test_what_is_held_is_on_disk_and_nothing_is_waited_for_once_the_bundler_has_answered() -> None:
    scene = Scene()
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    assert scene.shelf.kept == [Outcome(begun=operation)]
    scene.shelf.broken = True
    await scene.settlement.follow(operation)
    assert not scene.settlement.books.is_behind


async def test_what_is_on_disk_is_all_that_was_told_of_an_operation_and_how_long_its_chain_was_known() -> None:
    scene = Scene()
    scene.settlement.known_seconds = 12.5
    operation = replace(scene.reserve(1, ONE_USE), bundler="the second", accepted_at=7.0)
    await scene.settlement.hold(operation)
    assert scene.shelf.kept == [Outcome(begun=replace(operation, known_at=12.5))]


@pytest.mark.parametrize("stage", [Stage.ACCEPTED, Stage.UNKNOWN])
async def test_what_is_followed_at_once_is_followed_as_in_time(stage: Stage) -> None:
    scenes = Scene(), Scene()
    for scene, at_once in zip(scenes, (True, False), strict=True):
        operation = scene.reserve(1, ONE_USE)
        await scene.settlement.hold(operation)
        if at_once:
            assert scene.settlement.follow_now(operation.name, stage)
        else:
            await scene.settlement.follow(operation, stage)
    one, other = scenes
    assert one.stage(name(1)) is other.stage(name(1)) is stage
    assert one.shelf.kept == other.shelf.kept
    assert one.settlement.to_prove == other.settlement.to_prove
    assert one.ledger.of_session(KEY) == other.ledger.of_session(KEY)
    assert one.registry.awaited(KEY) == other.registry.awaited(KEY) == (name(1),)


async def test_what_was_let_go_or_kept_in_memory_or_grants_or_has_ended_is_followed_in_time() -> None:
    scene = Scene()
    released, ended, sent, unkept = (scene.reserve(number) for number in range(1, 5))
    grants = scene.reserve(5, on_success=(GRANTED,))
    for operation in (released, ended, sent, grants):
        await scene.settlement.hold(operation)
    await scene.settlement.letting_go.release(released.user_op_hash, "by hand")
    scene.settlement.hold_unkept(unkept)
    scene.settlement.refused(ended.reservation, "no")
    assert scene.settlement.follow_now(sent.name, Stage.ACCEPTED)
    for operation in (released, unkept, ended, grants, sent):
        before = scene.stage(operation.user_op_hash), list(scene.shelf.kept)
        assert not scene.settlement.follow_now(operation.name, Stage.UNKNOWN)
        assert (scene.stage(operation.user_op_hash), scene.shelf.kept) == before


async def test_a_ledger_that_does_not_write_is_told_and_nothing_stays_held() -> None:
    scene = Scene()
    operation = scene.reserve(1, ONE_USE)
    scene.shelf.broken = True
    with pytest.raises(StateUnavailable):
        await scene.settlement.hold(operation)
    scene.settlement.let_go(operation)
    assert scene.ledger.in_flight(USES) == 0
    assert len(scene.settlement) == 0


async def test_a_refused_operation_is_not_on_disk_any_more_and_that_is_told() -> None:
    scene = Scene()
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    scene.settlement.refused(operation.reservation, "the bundler's error -32500")
    assert scene.shelf.kept[-1].ended == (operation.name,)
    assert (scene.ledger.in_flight(USES), len(scene.settlement)) == (0, 0)
    (end,) = scene.told
    assert (end.ended.cause, end.ended.evidence.said) == (Cause.REFUSED, "the bundler's error -32500")


async def test_an_answer_that_never_came_keeps_what_is_held_and_what_it_would_replace() -> None:
    scene = Scene()
    await scene.accept(1, replace(ONE_USE, amount=2), nonce=7)
    operation = scene.reserve(2, ONE_USE, nonce=7)
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation, Stage.UNKNOWN)
    assert scene.ledger.in_flight(USES) == 2
    assert scene.stage(name(2)) is Stage.UNKNOWN


async def test_an_accepted_replacement_ends_nothing() -> None:
    scene = Scene()
    await scene.accept(1, replace(ONE_USE, amount=2), nonce=7)
    await scene.accept(2, ONE_USE, nonce=7)
    assert (scene.ledger.in_flight(USES), len(scene.settlement), scene.told) == (2, 2, [])


async def test_a_grant_is_pending_and_kept_as_that() -> None:
    scene = Scene()
    await scene.accept(1, on_success=(GRANTED,))
    assert scene.status() is Status.PENDING
    assert scene.shelf.kept[-1].sessions[0].key == KEY


async def test_the_same_operation_under_another_session_is_held_followed_and_refused_for_itself() -> None:
    scene = Scene()
    await scene.accept(1, ONE_USE)
    again = scene.reserve(1, replace(ONE_USE, amount=3), key=OTHER)
    await scene.settlement.hold(again)
    assert scene.shelf.kept[-1].begun is not None
    assert scene.ledger.in_flight(USES) == 3
    scene.settlement.refused(again.reservation, "no")
    assert scene.ledger.in_flight(USES) == 1
    assert len(scene.settlement) == 1


async def test_an_operation_sent_again_after_it_was_mined_is_not_counted_again() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10, mined(op, 10, nonce=1))
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation)
    assert scene.balance == (1, 0)
    assert scene.shelf.kept[-1].ended == (operation.name,)


async def test_an_operation_mined_before_its_answer_came_is_not_begun_by_the_answer() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    await scene.tell(10, mined(name(1), 10, nonce=1))
    await scene.settlement.follow(operation)
    assert (scene.balance, len(scene.settlement)) == ((1, 0), 0)


async def test_after_a_restart_operations_hold_and_grant_as_before() -> None:
    scene = Scene()
    grants = accepted(2, KEY, at_validation=(SessionEnabled(SMART_SESSION, GRANT, 4),), on_success=())
    scene.settlement.restore(
        [
            InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.FORWARDED),
            InFlight(operation=grants, stage=Stage.ACCEPTED),
        ]
    )
    assert scene.ledger.in_flight(USES) == 1
    assert scene.status() is Status.PENDING
    rival = replace(accepted(3, KEY).reservation, grant=4)
    assert not isinstance(scene.ledger.reserve(rival, NOTHING_USED, 1_000.0), Held), (
        "kept before grants were told apart"
    )


async def test_after_a_restart_what_was_let_go_holds_no_more_than_before() -> None:
    scene = Scene()
    scene.settlement.restore(
        [
            InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.UNMINED),
            InFlight(operation=accepted(2, KEY, ONE_USE), stage=Stage.RELEASED),
        ]
    )
    assert (scene.ledger.in_flight(USES), len(scene.settlement)) == (0, 2)


async def test_an_operator_lets_go_of_everything_and_what_is_mined_later_counts_and_is_told() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE)
    assert await scene.settlement.letting_go.release(op, "by alice: stuck")
    assert not await scene.settlement.letting_go.release(op, "by alice: stuck")
    assert scene.ledger.in_flight(USES) == 0
    assert scene.shelf.kept[-1].stages == ((accepted(1, KEY).name, Stage.RELEASED),)
    await scene.tell(10, mined(op, 10, nonce=1))
    assert scene.balance == (1, 0)
    assert [(end.ended.cause, end.late) for end in scene.told] == [(Cause.RELEASED, False), (Cause.MINED, True)]
    assert scene.told[0].ended.evidence.said == "by alice: stuck"


async def test_what_was_let_go_and_is_sent_again_is_held_again_as_if_it_were_new() -> None:
    scene = Scene()
    op = await scene.accept(1, ONE_USE)
    await scene.settlement.letting_go.release(op, "by alice")
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    assert scene.ledger.in_flight(USES) == 1
    scene.settlement.refused(operation.reservation, "no")
    assert scene.ledger.in_flight(USES) == 0, "refused this time; the first attempt may be mined all the same"
    assert len(scene.settlement) == 1
    await scene.accept(1, ONE_USE)
    assert (scene.ledger.in_flight(USES), scene.stage(op)) == (1, Stage.ACCEPTED)


async def test_what_an_operator_let_go_and_came_again_under_another_session_is_held_after_a_restart_until_let_go() -> (
    None
):
    scene = Scene()
    again = accepted(1, OTHER, Charge(USES, 2, 3))
    scene.settlement.restore(
        [
            InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.RELEASED),
            InFlight(operation=again, stage=Stage.FORWARDED),  # the bundler's answer was not written down
        ]
    )
    assert scene.ledger.in_flight(USES) == 2
    assert await scene.settlement.letting_go.release(name(1), "by alice")
    assert scene.ledger.in_flight(USES) == 0


async def test_what_was_let_go_in_doubt_is_proven_after_a_restart_for_no_later_block_may_show_its_end() -> None:
    scene = Scene(chain=Chain(fates={name(1): Fate.TAKEN}))
    await scene.tell(9)
    scene.settlement.restore([InFlight(operation=accepted(1, KEY, ONE_USE), stage=Stage.RELEASED)])
    await scene.later(1.0)
    assert len(scene.settlement) == 0
