"""Blocks settle everything in them, in their order, and what stood on blocks that are gone is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

import pytest

from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.slices import ChainPlace, SessionTouched
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, Evidence, InFlight, Mined, Stage
from proxy.ledger.reservation import NonceSlot
from proxy.session.changes import SessionEnabled
from proxy.session.counters import Charge, Counter, HoldName
from proxy.session.known import Status
from proxy.session.policies.simple_gas import COST_SLOT, GAS_SLOT, GasPrice
from proxy.userop.budget import MOST_COUNTS
from proxy.userop.primitives import Hash32
from tests.chain.builders import Shelf, accepted
from tests.chain.settlement.builders import (
    ENTRY_POINT,
    GRANT,
    GRANTED,
    IN_FORCE,
    KEY,
    ONE_USE,
    SMART_SESSION,
    STATE,
    USES,
    Chain,
    Scene,
    a_slice,
    block,
    mined,
    name,
)
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import ACCOUNT, USAGE

OTHER = KEY._replace(permission_id=Hash32(b"\x1e" * 32))
RULE = CountKey(b"r" * 16, KEY.permission_id)
HOUR = Sliding(3_600)


def with_node(**parts: object) -> Scene:
    scene = Scene(chain=Chain(), **parts)  # type: ignore[arg-type]  # passed through
    scene.registry.put(IN_FORCE)
    return scene


def counted(number: int, amount: int = 1, **of: object) -> AcceptedOperation:
    """An operation that a rule counts as well."""
    operation = accepted(number, KEY, ONE_USE, **of)  # type: ignore[arg-type]  # passed through
    charge = WindowCharge(key=RULE, window=HOUR, amount=amount, limit=99, binding=True, lasting=True)
    return replace(operation, reservation=replace(operation.reservation, rule_charges=(charge,)))


def by_rule(scene: Scene, at: float | None = None) -> int:
    slot = NonceSlot(KEY.chain_id, ENTRY_POINT, KEY.account, 99)
    return scene.ledger.counts(slot, at or scene.clock.now).total(RULE, HOUR)


async def test_a_block_settles_what_is_in_it_with_all_that_it_says_and_in_one_piece_with_the_cursor() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10, mined(op, 10, nonce=1), timestamp=1_003)
    assert scene.balance == (1, 0)
    (outcome,) = [each for each in scene.shelf.kept if each.remembered]
    assert outcome.cursor is not None
    assert (outcome.cursor.block, outcome.blocks[-1]) == (block(10), block(10))
    (end,) = scene.told
    assert end.ended.mined is not None
    assert (end.ended.mined.gas_cost, end.ended.mined.gas_used) == (70, 7)
    assert (end.ended.evidence.block, end.ended.evidence.transaction) == (10, Hash32(b"\x77" * 32))
    assert scene.taker.cursor == block(10)


async def test_what_no_block_tells_of_stays_and_the_bundler_is_not_asked() -> None:
    scene = with_node()
    await scene.accept(1, ONE_USE)
    for number in range(10, 30):
        scene.clock.now += 2
        scene.monotonic.now += 2
        await scene.tell(number)
    assert scene.balance == (0, 1)
    assert scene.bundler.asked == []


async def test_while_nothing_is_heard_of_blocks_the_bundler_is_asked_in_their_place() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10)
    await scene.later(59)
    assert scene.bundler.asked == []
    scene.bundler.mine(op)
    await scene.later(2)
    assert scene.balance == (1, 0)


async def test_a_nonce_used_by_an_operation_not_sent_here_ends_all_that_compete_for_it_and_has_sessions_read() -> None:
    scene = with_node()
    await scene.accept(1, ONE_USE, nonce=7)
    await scene.accept(2, ONE_USE, nonce=7)
    await scene.tell(10, mined(name(9), 10, nonce=7))
    assert scene.balance == (0, 0)
    assert scene.causes == [Cause.NONCE_USED, Cause.NONCE_USED]
    assert {end.ended.evidence.by for end in scene.told} == {name(9)}
    assert scene.reread == [KEY]


async def test_a_stretch_that_does_not_follow_is_not_taken() -> None:
    scene = with_node()
    await scene.tell(10)
    with pytest.raises(ValueError, match="follow"):
        await scene.taker.settle(a_slice(block(10, branch=1), block(11)))
    with pytest.raises(ValueError, match="follow"):
        await scene.taker.settle(replace(a_slice(block(10), block(11)), chain_id=KEY.chain_id + 1))
    assert scene.taker.cursor == block(10)


async def test_what_the_store_does_not_take_now_it_takes_later_with_the_newest_cursor() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.tell(9)
    scene.shelf.broken = True
    await scene.tell(10, mined(op, 10, nonce=1))
    await scene.tell(11)
    scene.shelf.broken = False
    await scene.later(1)
    assert not scene.settlement.books.is_behind
    assert scene.shelf.kept[-1].cursor is not None
    assert scene.shelf.kept[-1].cursor.block == block(11)
    assert any(each.ended == (accepted(1, KEY).name,) for each in scene.shelf.kept)


async def test_a_large_block_is_handed_over_in_pieces_and_the_cursor_comes_with_the_last() -> None:
    scene = with_node()
    await scene.tell(9)
    for number in range(1, 61):
        await scene.accept(number)
    before = len(scene.shelf.kept)
    await scene.tell(10, *(mined(name(number), 10, nonce=number) for number in range(1, 61)))
    pieces = scene.shelf.kept[before:]
    assert [len(piece.remembered) for piece in pieces] == [25, 25, 10]
    assert [piece.cursor is None for piece in pieces] == [True, True, False]


async def test_operations_that_many_rules_count_end_and_come_back_few_at_a_time() -> None:
    scene = with_node()
    keys = [CountKey(b"r" * 16, number.to_bytes(2, "big")) for number in range(MOST_COUNTS)]
    charges = [WindowCharge(key=key, window=HOUR, amount=1, limit=99, binding=True, lasting=True) for key in keys]
    for number in range(1, 7):
        operation = accepted(number, KEY)
        operation = replace(operation, reservation=replace(operation.reservation, rule_charges=tuple(charges)))
        await scene.settlement.hold(scene.reserved(operation))
        await scene.settlement.follow(operation)
    await scene.tell(9)
    before = len(scene.shelf.kept)
    await scene.tell(10, *(mined(name(number), 10, nonce=number) for number in range(1, 7)))
    assert [len(piece.remembered) for piece in scene.shelf.kept[before:]] == [1] * 6 + [0]
    before = len(scene.shelf.kept)
    await scene.taker.undo(block(9))
    assert [len(piece.revived) for piece in scene.shelf.kept[before:] if piece.revived] == [1] * 6


# several sessions' claims on one operation


@pytest.mark.parametrize(
    ("claims", "used"),
    [((KEY.permission_id,), 1), ((OTHER.permission_id,), 0), (None, 1), ((Hash32(b"\x77" * 32),), 1)],
)
async def test_it_counts_under_the_session_that_the_bundle_shows_or_else_under_all_that_it_came_under(
    claims: tuple[Hash32, ...] | None, used: int
) -> None:
    scene = with_node()
    other = USES._replace(config_id=Hash32(b"\xc1" * 32))
    scene.registry.put(replace(IN_FORCE, key=OTHER))
    op = await scene.accept(1, ONE_USE)
    await scene.accept(1, Charge(other, 2, 3), key=OTHER)
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(other)) == (1, 2)
    scene.unreadable = True
    await scene.taker.start_at(block(9), 0)
    await scene.taker.settle(a_slice(block(9), block(10), [mined(op, 10, nonce=1, claims=claims)]))
    known = scene.registry.get(OTHER)
    assert known is not None
    assert known.state is not None
    assert scene.used() == used
    assert known.state.used.get(other, 0) == (0 if claims == (KEY.permission_id,) else 2)
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(other)) == (0, 0)
    assert set(scene.settlement.to_read) == (
        set() if claims in ((KEY.permission_id,), (OTHER.permission_id,)) else {KEY, OTHER}
    )


# time


async def test_rules_count_at_the_time_of_the_block() -> None:
    scene = with_node()
    scene.clock.now = 10_000.0
    operation = scene.reserved(counted(1, at=9_000.0))
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation)
    await scene.tell(10, mined(name(1), 10, nonce=1, timestamp=7_000), timestamp=7_000)
    assert by_rule(scene, 10_000) == 1
    assert by_rule(scene, 7_000 + 3_600 + 15) == 0


async def test_validity_ends_by_the_time_of_the_blocks_that_have_not_got_it() -> None:
    scene = with_node()
    await scene.accept(1, ONE_USE, valid_until=2_000)
    scene.clock.now = 90_000.0
    await scene.tell(10, timestamp=2_060)
    assert scene.balance == (0, 1)
    await scene.tell(11, timestamp=2_061)
    await scene.tell(12, timestamp=2_062)
    assert (scene.balance, scene.causes) == ((0, 0), [Cause.EXPIRED])
    assert scene.told[0].ended.evidence == Evidence(block=11, block_hash=block(11).hash, timestamp=2_061)


async def blocks(scene: Scene, first: int, number: int, seconds: float = 2.0) -> None:
    for each in range(first, first + number):
        scene.clock.now += seconds
        scene.monotonic.now += seconds
        await scene.tell(each)


async def test_after_enough_blocks_without_it_and_an_unused_nonce_what_the_chain_enforces_is_let_go() -> None:
    scene = with_node()
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE)
    await blocks(scene, 10, 299)
    assert scene.balance == (0, 1)
    await blocks(scene, 309, 2)
    assert (scene.balance, scene.causes, scene.stage(op)) == ((0, 0), [Cause.UNMINED], Stage.UNMINED)
    assert scene.told[0].ended.evidence.block == 309
    await scene.tell(311, mined(op, 311, nonce=1))
    assert scene.balance == (1, 0)
    assert scene.told[-1].late


async def test_a_chain_that_cannot_say_whether_the_nonce_is_used_lets_nothing_go() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE)
    scene.chain.fates[op] = StateUnavailable("no answer")
    await blocks(scene, 10, 400)
    assert scene.balance == (0, 1)
    scene.chain.fates[op] = Fate.TAKEN
    await blocks(scene, 410, 10)
    assert scene.causes == [Cause.NONCE_USED]


async def test_time_in_which_nobody_told_of_blocks_does_not_count_and_what_counted_outlives_a_restart() -> None:
    scene = with_node()
    await scene.tell(9)
    await scene.accept(1, ONE_USE)
    await blocks(scene, 10, 150)
    scene.monotonic.now += 3_600
    await scene.tell(160)
    assert scene.balance == (0, 1)
    cursor = next(outcome.cursor for outcome in reversed(scene.shelf.kept) if outcome.cursor is not None)
    assert cursor.known_seconds == pytest.approx(330)
    later = with_node()
    later.taker.restore(cursor, [block(160)])
    begun = next(outcome.begun for outcome in scene.shelf.kept if outcome.begun is not None)
    later.settlement.restore([InFlight(operation=begun, stage=Stage.ACCEPTED)])
    await blocks(later, 161, 135)
    assert later.balance == (0, 1)
    await blocks(later, 296, 2)
    assert later.causes == [Cause.UNMINED]


# grants


async def test_a_grant_whose_enable_nonce_another_one_used_is_over() -> None:
    scene = with_node()
    first = accepted(1, KEY, at_validation=(SessionEnabled(SMART_SESSION, GRANT, 4),))
    rival = replace(first, reservation=replace(accepted(2, KEY).reservation, grant=4))
    scene.settlement.restore(
        [InFlight(operation=operation, stage=Stage.ACCEPTED) for operation in (first, rival)],
    )
    await scene.tell(10, mined(name(1), 10, nonce=1))
    assert scene.causes == [Cause.MINED, Cause.GRANT_USED]
    assert scene.told[1].ended.evidence.by == name(1)
    assert len(scene.settlement) == 0


async def test_a_session_that_a_bundle_names_and_that_nothing_of_the_operation_is_held_under_is_read() -> None:
    scene = with_node()
    scene.registry.put(replace(IN_FORCE, key=OTHER))
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10, mined(op, 10, nonce=1, claims=(OTHER.permission_id,)))
    assert set(scene.reread) == {KEY, OTHER}


@pytest.mark.parametrize("claims", [None, (OTHER.permission_id,)], ids=["not to be read", "of the other session"])
async def test_a_grant_that_may_not_be_what_was_mined_ends_no_other_one(claims: tuple[Hash32, ...] | None) -> None:
    scene = with_node()
    grant, rival = (accepted(number, KEY, ONE_USE, nonce=number) for number in (1, 2))
    held = [replace(each, reservation=replace(each.reservation, grant=4)) for each in (grant, rival)]
    held.append(accepted(1, OTHER, nonce=1))  # the same operation under another session, which it does not grant
    scene.settlement.restore([InFlight(operation=each, stage=Stage.ACCEPTED) for each in held])
    await scene.tell(10, mined(name(1), 10, nonce=1, claims=claims))
    assert Cause.GRANT_USED not in scene.causes
    assert scene.stage(name(2)) is Stage.ACCEPTED
    await scene.tell(11, mined(name(2), 11, nonce=2, claims=(KEY.permission_id,)))
    assert scene.told[-1].ended.cause is Cause.MINED


async def test_a_reading_that_is_past_the_enable_nonce_of_a_grant_ends_it_unless_it_has_that_grant() -> None:
    scene = with_node()
    operations = [
        replace(accepted(number, KEY), reservation=replace(accepted(number, KEY).reservation, grant=nonce))
        for number, nonce in ((1, 3), (2, 4), (3, 5))
    ]
    scene.settlement.restore([InFlight(operation=each, stage=Stage.ACCEPTED) for each in operations])
    with scene.ledger.counting(KEY) as counting:
        counting.add([operations[1].reservation.slot])
        counting.stand()
    await scene.settlement.enable_nonce_read(KEY, 5, Evidence(block=50))
    assert [(end.ended.operation.user_op_hash, end.ended.cause) for end in scene.told] == [(name(1), Cause.GRANT_USED)]


# sessions


async def test_a_session_that_was_touched_is_read_again_and_not_judged_by_what_was_known_where_it_cannot_be() -> None:
    scene = with_node()
    touched = SessionTouched(place=ChainPlace(10, 1), block=block(10), key=KEY)
    await scene.tell(10, touched, replace(touched, key=OTHER))
    assert scene.reread == [KEY]
    scene.unreadable = True
    await scene.tell(11, replace(touched, block=block(11)))
    assert scene.used() is None


async def test_that_a_session_was_read_is_kept_with_what_is_known_of_it_for_the_disk_may_not_have_that() -> None:
    scene = with_node()
    await scene.tell(10, SessionTouched(place=ChainPlace(10, 0), block=block(10), key=KEY))
    (kept,) = (outcome for outcome in scene.shelf.kept if outcome.read)
    assert kept.read == (KEY,)
    assert [each.state for each in kept.sessions] == [STATE]
    assert [each.block for each in kept.sessions] == [scene.reads_at]


async def test_a_reading_that_has_counted_an_operation_is_kept_with_its_end_for_the_disk_may_not_have_it() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    read = replace(IN_FORCE, state=STATE.with_charges([ONE_USE]), block=10)
    scene.registry.put(read)  # the disk was full just then
    (held,) = scene.ledger.of_session(KEY)
    with scene.ledger.counting(KEY) as counting:
        counting.add([held.slot])
        counting.stand()
    await scene.tell(10, mined(op, 10, nonce=1))
    assert scene.balance == (1, 0)
    (outcome,) = [each for each in scene.shelf.kept if each.ended]
    assert outcome.sessions == (scene.registry.get(KEY),)


# blocks that are gone


async def test_what_stood_on_blocks_that_are_gone_is_in_flight_again_and_its_sessions_are_read() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    operation = scene.reserved(counted(2))
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation)
    await scene.tell(10, mined(op, 10, nonce=1))
    await scene.tell(11, mined(name(2), 11, nonce=2))
    assert (scene.balance, by_rule(scene)) == ((2, 0), 1)
    scene.unreadable = True
    await scene.taker.undo(block(10))
    assert (scene.used(), scene.ledger.in_flight(USES)) == (None, 1)
    assert (scene.taker.cursor, scene.taker.trail()[0]) == (block(10), block(10))
    assert scene.shelf.kept[-1].cut == 10
    await scene.tell(11, mined(name(2), 11, nonce=2, branch=1), branch=1)
    assert scene.ledger.in_flight(USES) == 0
    assert by_rule(scene) == 1
    assert scene.causes == [Cause.MINED, Cause.MINED, Cause.MINED]


async def test_who_reads_a_session_hears_in_which_blocks_ahead_of_those_told_a_question_has_shown_its_uses() -> None:
    """Should one of them be gone by then, its use is in no reading, and nothing has taken it back."""
    scene, another = with_node(), KEY._replace(permission_id=Hash32(b"\x5b" * 32))
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10)
    shown = Mined(user_op_hash=op, success=True, block=12, block_hash=block(12).hash)
    await scene.lookout.found(shown)
    assert scene.balance == (1, 0)
    assert (scene.taker.shown_beyond(KEY), scene.taker.shown_beyond(another)) == ((block(12),), ())
    await scene.tell(11)
    await scene.tell(12)
    assert scene.taker.shown_beyond(KEY) == ()


async def test_while_one_use_is_taken_back_a_session_is_read_no_earlier_than_where_the_others_are() -> None:
    scene = with_node()
    there, gone = await scene.accept(1, ONE_USE), await scene.accept(2, ONE_USE, nonce=2)
    await scene.tell(10)
    for op, shown in ((there, block(12)), (gone, block(11, branch=1))):
        await scene.lookout.found(Mined(user_op_hash=op, success=True, block=shown.number, block_hash=shown.hash))
    scene.unreadable = True
    await scene.tell(11)
    assert scene.balance == (None, 1)
    assert scene.registry.mined_at(KEY) == 12


async def test_while_a_grant_is_taken_back_a_session_is_read_no_earlier_than_where_its_uses_are() -> None:
    scene = with_node()
    granted = accepted(2, KEY, on_success=(GRANTED,))
    of_its_owner = replace(granted, reservation=replace(granted.reservation, session=None))
    scene.reserved(of_its_owner)
    await scene.settlement.hold(of_its_owner)
    await scene.settlement.follow(of_its_owner)
    there = await scene.accept(1, ONE_USE)
    await scene.tell(10)
    for op, shown in ((there, block(12)), (of_its_owner.user_op_hash, block(11, branch=1))):
        await scene.lookout.found(Mined(user_op_hash=op, success=True, block=shown.number, block_hash=shown.hash))
    scene.unreadable = True
    await scene.tell(11)
    assert (scene.balance, scene.registry.mined_at(KEY)) == ((None, 0), 12)


async def test_when_a_use_that_was_shown_beyond_is_taken_back_a_session_is_read_at_a_settled_block_or_later() -> None:
    scene = with_node()
    gone = await scene.accept(1, ONE_USE)
    await scene.tell(10)
    shown = block(11, branch=1)
    await scene.lookout.found(Mined(user_op_hash=gone, success=True, block=shown.number, block_hash=shown.hash))
    await scene.settlement.bring_back(scene.settlement.remembered.shown_in(shown.number, shown.hash))
    assert scene.registry.mined_at(KEY) == 10


async def test_where_blocks_are_gone_a_session_is_read_at_what_is_left_of_the_chain() -> None:
    scene = with_node()
    await scene.tell(9)
    for number in (10, 11):
        op = await scene.accept(number, ONE_USE, nonce=number)
        await scene.tell(number, mined(op, number, nonce=number))
    await scene.taker.undo(block(9))
    assert scene.registry.mined_at(KEY) == 9


@pytest.mark.parametrize("of_ours", [True, False], ids=["mined", "its nonce used by another"])
async def test_whoever_reads_a_session_while_an_operation_of_it_comes_back_can_tell(of_ours: bool) -> None:
    """Whether that reading has the use of it is known to nobody."""
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10, mined(op if of_ours else name(7), 10, nonce=1))
    before = scene.registry.revision(KEY)
    await scene.settlement.bring_back(scene.settlement.remembered.shown_after(9))
    assert scene.registry.revision(KEY) > before


async def test_what_the_chain_takes_back_is_told_of_once_it_is_held_again() -> None:
    """At the bundlers it is where it was sent to."""
    scene = with_node()
    op = await scene.accept(1)
    back = list[AcceptedOperation]()

    def told(operation: AcceptedOperation) -> None:
        assert scene.ledger.occupied(operation.reservation.slot)
        back.append(operation)

    scene.settlement.on_back = told
    await scene.tell(10, mined(op, 10, nonce=1))
    assert not scene.ledger.occupied(accepted(1, KEY).reservation.slot)
    await scene.taker.undo(block(9))
    assert [each.user_op_hash for each in back] == [op]


async def test_however_many_operations_a_chain_takes_back_one_line_tells(caplog: pytest.LogCaptureFixture) -> None:
    scene = with_node()
    for number in range(1, 61):
        await scene.accept(number, nonce=number)
    await scene.tell(10, *(mined(name(number), 10, nonce=number) for number in range(1, 61)))
    await scene.taker.undo(block(9))
    assert len(scene.settlement) == 60
    (line,) = [each.getMessage() for each in caplog.records if "in flight again" in each.getMessage()]
    assert (line.startswith("60 operations"), line.count("0x"), line.endswith(", ...")) == (True, 5, True)


async def test_a_rival_comes_back_with_the_one_that_took_its_nonce_and_what_expired_with_its_block() -> None:
    scene = with_node()
    await scene.accept(1, ONE_USE, nonce=7)
    await scene.accept(2, ONE_USE, nonce=7)
    await scene.accept(3, ONE_USE, valid_until=1_000)
    await scene.tell(10, mined(name(2), 10, nonce=7), timestamp=1_061)
    assert len(scene.settlement) == 0
    await scene.taker.undo(block(9))
    assert len(scene.settlement) == 3
    assert scene.ledger.in_flight(USES) == 2


async def test_what_was_let_go_before_it_was_mined_is_still_let_go_when_its_block_is_gone() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.settlement.letting_go.release(op, "by alice")
    await scene.tell(10, mined(op, 10, nonce=1))
    await scene.taker.undo(block(9))
    assert (scene.stage(op), scene.ledger.in_flight(USES)) == (Stage.RELEASED, 0)


async def test_a_grant_taken_back_is_not_in_force_before_it_is_read() -> None:
    scene = Scene(chain=Chain())
    op = await scene.accept(1, on_success=(GRANTED,))
    await scene.tell(10, mined(op, 10, nonce=1))
    assert scene.status() is Status.IN_FORCE
    await scene.taker.undo(block(9))
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is None


async def test_an_undoing_that_cannot_be_read_back_is_told_and_may_be_repeated() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.tell(10, mined(op, 10, nonce=1))
    scene.shelf.unreadable = True
    with pytest.raises(StateUnavailable):
        await scene.taker.undo(block(9))
    assert scene.taker.cursor == block(10)
    scene.shelf.unreadable = False
    await scene.taker.undo(block(9))
    assert len(scene.settlement) == 1


async def test_an_end_that_the_store_has_not_taken_yet_is_undone_all_the_same() -> None:
    scene = with_node()
    op = await scene.accept(1, ONE_USE)
    await scene.tell(9)
    scene.shelf.broken = True
    await scene.tell(10, mined(op, 10, nonce=1))
    await scene.taker.undo(block(9))
    assert scene.stage(op) is Stage.ACCEPTED


async def test_where_the_chain_begins_anew_the_nonces_tell_of_what_was_in_flight() -> None:
    scene = with_node()
    assert scene.chain is not None
    for number in (1, 2, 3, 4):
        await scene.accept(number, replace(ONE_USE, limit=9))
    scene.chain.fates |= {
        name(1): Mined(user_op_hash=name(1), success=True, block=90_000),
        name(2): Fate.TAKEN,
        name(3): Fate.OPEN,
        name(4): StateUnavailable("no answer"),
    }
    await scene.taker.start_at(block(100_000), 1_000)
    await scene.lookout.round()
    assert sorted(each.user_op_hash for each in scene.ledger.of_session(KEY)) == [name(3), name(4)]
    assert scene.taker.trail() == (block(100_000),)
    scene.chain.fates[name(4)] = Fate.TAKEN
    await scene.later(15)
    assert [each.user_op_hash for each in scene.ledger.of_session(KEY)] == [name(3)]


async def test_where_the_chain_begins_anew_each_session_in_force_is_read_before_it_is_judged() -> None:
    scene = with_node()
    scene.registry.put(replace(IN_FORCE, key=OTHER))
    removed = replace(IN_FORCE, key=OTHER._replace(permission_id=name(77)), status=Status.REMOVED)
    elsewhere = replace(IN_FORCE, key=KEY._replace(chain_id=KEY.chain_id + 1))
    scene.registry.put(removed)
    scene.registry.put(elsewhere)
    await scene.taker.start_at(block(100_000), 1_000)
    await scene.lookout.reconciled(OTHER)
    assert (scene.for_clients, scene.reread) == ([OTHER], [])
    await scene.lookout.reconciled(OTHER)
    await scene.lookout.round()
    assert scene.reread == [KEY]
    await scene.lookout.reconciled(KEY)
    assert (scene.for_clients, scene.reread) == ([OTHER], [KEY])


async def test_who_asks_for_a_session_after_blocks_were_missed_does_not_wait_behind_all_that_are_read() -> None:
    scene = with_node()
    scene.registry.put(replace(IN_FORCE, key=OTHER))
    await scene.taker.start_at(block(100_000), 1_000)
    scene.goes_on.clear()
    del scene.settlement.unconfirmed[OTHER]  # whose turn comes late
    looking = asyncio.create_task(scene.lookout.round())
    await scene.is_reading.wait()  # in the background, and the node hangs
    scene.settlement.unconfirmed[OTHER] = None
    async with asyncio.timeout(PATIENCE_SECONDS):
        await scene.lookout.reconciled(OTHER)
    assert scene.for_clients == [OTHER]
    assert OTHER not in scene.settlement.unconfirmed
    scene.goes_on.set()
    await looking
    assert scene.settlement.unconfirmed == {}


async def test_who_asks_for_a_session_after_blocks_were_missed_does_not_wait_for_one_that_reads_it_for_nobody() -> None:
    scene = with_node()
    await scene.taker.start_at(block(100_000), 1_000)
    scene.goes_on.clear()
    looking = asyncio.create_task(scene.lookout.round())
    await scene.is_reading.wait()  # that session, for nobody, and the node hangs
    async with asyncio.timeout(PATIENCE_SECONDS):
        await scene.lookout.reconciled(KEY)
    assert (scene.reread, scene.for_clients) == ([KEY], [KEY])
    assert not looking.done()
    scene.goes_on.set()
    await looking


async def test_a_session_that_cannot_be_read_where_the_chain_begins_anew_is_not_judged_by_what_was_known() -> None:
    scene = with_node()
    scene.unreadable = True
    await scene.taker.start_at(block(100_000), 1_000)
    await scene.lookout.reconciled(KEY)
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is None


async def test_after_a_restart_a_session_of_which_a_node_behind_told_nothing_new_is_read_again_later() -> None:
    scene = with_node()
    scene.lookout.restored([], [KEY])
    scene.reads_at = -1  # behind what was settled before the restart: its word is not taken
    await scene.lookout.reconciled(KEY)
    scene.reads_at = 10
    await scene.later(15)
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.block == 10


async def test_with_a_node_only_its_blocks_end_a_validity_however_long_it_is_silent_and_the_bundler_says_no() -> None:
    chain = Chain()
    scene = Scene(chain=chain, patience=Patience(unmined_after=1e6))
    scene.registry.put(IN_FORCE)
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=1, valid_until=1_100)
    chain.fates[op] = StateUnavailable("no answer")
    for _ in range(40):
        await scene.later(30)
    assert scene.bundler.asked  # and it answered each time that the operation is not there
    assert scene.balance == (0, 1)
    await scene.tell(10, timestamp=1_162)
    assert (scene.balance, scene.causes) == ((0, 0), [Cause.EXPIRED])


async def test_where_the_chain_begins_anew_no_reading_of_the_chain_before_stands_for_what_was_mined_since() -> None:
    chain = Chain()
    scene = Scene(chain=chain, reads_at=99)  # a backend that is behind the new chain as well
    scene.registry.put(IN_FORCE)
    await scene.tell(300)
    scene.registry.put(replace(IN_FORCE, block=300))
    op = await scene.accept(1, ONE_USE, nonce=1)
    chain.fates[op] = Mined(user_op_hash=op, success=True, block=100, block_hash=block(100, branch=1).hash)
    await scene.taker.start_at(block(100, branch=1), 1_000)
    await scene.lookout.round()
    assert scene.causes == [Cause.MINED]
    await scene.lookout.reconciled(KEY)
    assert scene.used() in (None, 1)


async def test_who_asks_for_a_session_that_was_touched_waits_for_a_reading_begun_after_that_and_for_no_other() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    await scene.tell(9)
    scene.goes_on.clear()
    scene.client_goes_on.clear()
    looking = asyncio.create_task(scene.tell(10, touched_at(10)))
    await scene.is_reading.wait()  # in the background, and the node hangs
    waiting = asyncio.create_task(scene.lookout.reconciled(KEY))
    await scene.read_for_client.wait()
    assert not waiting.done()
    scene.client_goes_on.set()
    await waiting
    assert not looking.done()
    scene.goes_on.set()
    await looking
    readings = len(scene.reread)
    await scene.lookout.reconciled(KEY)
    assert len(scene.reread) == readings  # once it was read nobody waits


@pytest.mark.parametrize("in_background", [False, True])
async def test_all_who_ask_while_a_block_outruns_a_reading_and_as_that_ends_wait_for_one_begun_after_the_block(
    in_background: bool,
) -> None:
    scene = with_node()
    await scene.tell(9)
    scene.client_goes_on.clear()
    await scene.tell_block(10, touched_at(10))
    first = asyncio.create_task(scene.lookout.reconciled(KEY))
    await scene.read_for_client.wait()
    await scene.tell_block(11, touched_at(11))
    scene.goes_on.clear()
    looking = [asyncio.create_task(scene.lookout.round())] if in_background else []
    if in_background:
        await scene.is_reading.wait()  # there as well, and for nobody who waits
    others = [asyncio.create_task(scene.lookout.reconciled(KEY)) for _ in range(3)]
    await asyncio.sleep(0)
    scene.client_goes_on.set()
    scene.client_goes_on.clear()  # only that reading goes on
    for _ in range(10):  # one in each turn of the loop, that in which the reading ends among them
        others.append(asyncio.create_task(scene.lookout.reconciled(KEY)))
        await asyncio.sleep(0)
    assert first.done()
    assert not any(each.done() for each in others)
    scene.client_goes_on.set()
    await asyncio.gather(*others)
    assert scene.for_clients == [KEY, KEY]
    scene.goes_on.set()
    await asyncio.gather(*looking)


def touched_at(number: int) -> SessionTouched:
    return SessionTouched(place=ChainPlace(number, 0), block=block(number), key=KEY)


@pytest.mark.parametrize(("read_at", "trusted"), [(9, False), (10, True), (11, True)])
async def test_a_reading_from_before_the_change_is_not_trusted(read_at: int, trusted: bool) -> None:
    scene = with_node()
    scene.reads_at = read_at
    await scene.tell(10, touched_at(10))
    known = scene.registry.get(KEY)
    assert known is not None
    assert (known.state is not None) is trusted


async def test_what_was_read_and_could_not_be_kept_is_not_read_anew_from_a_node_that_is_behind() -> None:
    scene = with_node()
    await scene.tell(9)
    scene.reads_at, scene.unkeepable = 10, True
    await scene.tell(10, SessionTouched(place=ChainPlace(10, 0), block=block(10), key=KEY))
    assert scene.used() is None
    scene.reads_at, scene.unkeepable = 9, False
    await scene.later(16.0)
    assert scene.used() is None
    scene.reads_at = 10
    await scene.later(16.0)
    assert scene.used() == 0


async def test_a_change_that_a_reorganisation_took_back_is_read_again() -> None:
    scene = with_node()
    scene.reads_at = 10
    await scene.tell(9)
    await scene.tell(10, touched_at(10))
    await scene.tell(11)
    assert scene.reread == [KEY]
    await scene.taker.undo(block(10))
    await scene.lookout.round()
    assert scene.reread == [KEY]
    scene.reads_at = 9
    await scene.taker.undo(block(9))
    await scene.lookout.round()
    assert scene.reread == [KEY, KEY]
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.block == 9


async def test_the_senders_looked_for_are_those_of_operations_in_flight_or_let_go() -> None:
    scene = with_node()
    senders = scene.taker.senders()
    assert not senders
    op = await scene.accept(1, ONE_USE)
    await scene.settlement.letting_go.release(op, "by alice")
    assert set(senders) == {KEY.account}
    await scene.tell(10, mined(op, 10, nonce=1))
    assert not senders


async def test_of_two_that_compete_the_one_that_was_mined_counts_whichever_the_chain_is_asked_about_first() -> None:
    chain = Chain()
    scene = Scene(chain=chain)
    scene.registry.put(IN_FORCE)
    await scene.tell(10)
    first, second = await scene.accept(1, ONE_USE, nonce=1), await scene.accept(2, ONE_USE, nonce=1)
    chain.fates = {
        first: Fate.TAKEN,
        second: Mined(user_op_hash=second, success=True, block=10, block_hash=block(10).hash),
    }
    scene.settlement.to_prove |= {first: None}
    await scene.later(1.0)
    await scene.later(1.0)
    assert scene.causes == [Cause.NONCE_USED, Cause.MINED]
    assert scene.ledger.in_flight(USES) == 0


# what depends on the block that mines


@pytest.mark.parametrize(("base_fee", "cost"), [(50, 1_000 * 60), (3, 1_000 * 13), (500, 1_000 * 100)])
async def test_the_cost_of_gas_is_counted_at_the_base_fee_of_the_block_that_mined(base_fee: int, cost: int) -> None:
    scene = with_node()
    gas, spent = (Counter(SMART_SESSION, ACCOUNT, USAGE, Hash32(bytes(32)), slot) for slot in (GAS_SLOT, COST_SLOT))
    charges = (ONE_USE, Charge(gas, 1_000, 10**6), Charge(spent, 1_000 * 40, 10**9))  # judged at a base fee of 30
    operation = accepted(1, KEY, *charges)
    price = GasPrice(highest=100, priority=10)
    operation = replace(operation, reservation=replace(operation.reservation, gas_price=price))
    scene.reserved(operation)
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation)
    assert scene.ledger.in_flight(spent) == 40_000
    await scene.tell(9)
    await scene.tell(10, mined(name(1), 10, nonce=1, base_fee=base_fee))
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is not None
    assert (known.state.used[gas], known.state.used[spent], known.state.used[USES]) == (1_000, cost, 1)
    await scene.taker.undo(block(9))
    assert scene.ledger.in_flight(spent) == cost
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is None or known.state.used.get(spent, 0) == 0


async def test_what_may_have_been_mined_in_blocks_that_were_missed_does_not_expire_before_that_is_proven() -> None:
    chain = Chain()
    scene = Scene(chain=chain, reads_at=100_010)
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE, valid_until=1_100)
    chain.fates[op] = StateUnavailable("no answer")
    await scene.taker.start_at(block(100_000), 1_090)
    await scene.tell(100_001, timestamp=9_000)
    assert scene.causes == []
    chain.fates[op] = Mined(user_op_hash=op, success=True, block=99_999, block_hash=block(99_999).hash)
    await scene.later(20)
    assert scene.causes == [Cause.MINED]


async def test_what_may_have_been_missed_is_proven_by_a_node_that_has_got_where_the_chain_is_taken_up() -> None:
    chain = Chain()
    scene = Scene(chain=chain, reads_at=100_010)
    scene.registry.put(IN_FORCE)
    await scene.accept(1, ONE_USE, valid_until=1_100)
    await scene.taker.start_at(block(100_000), 1_090)
    await scene.later(20)
    assert chain.since
    assert set(chain.since) == {100_000}


async def test_what_was_not_in_them_expires_once_that_is_proven() -> None:
    chain = Chain()
    scene = Scene(chain=chain, reads_at=100_010)
    scene.registry.put(IN_FORCE)
    op = await scene.accept(1, ONE_USE, valid_until=1_100)
    chain.fates[op] = StateUnavailable("no answer")
    await scene.taker.start_at(block(100_000), 1_090)
    await scene.tell(100_001, timestamp=9_000)
    chain.fates[op] = Fate.OPEN
    await scene.later(20)
    await scene.tell(100_002, timestamp=9_020)
    assert scene.causes == [Cause.EXPIRED]


async def test_a_session_that_could_not_be_read_where_the_chain_begins_anew_is_in_doubt_on_disk_before_the_cursor() -> (
    None
):
    scene = Scene(chain=Chain(), unreadable=True)
    scene.registry.put(IN_FORCE)
    await scene.taker.start_at(block(100), 0)
    await scene.later(1)
    await scene.tell(101)
    doubted = [index for index, outcome in enumerate(scene.shelf.kept) if outcome.doubts]
    cursors = [index for index, outcome in enumerate(scene.shelf.kept) if outcome.cursor is not None]
    assert doubted[0] < cursors[0]
    assert not any(outcome.read for outcome in scene.shelf.kept)


def mined_in(op: AcceptedOperation, number: int, branch: int = 0) -> Mined:
    """What a question to the node shows."""
    named = block(number, branch)
    return Mined(user_op_hash=op.user_op_hash, success=True, block=number, block_hash=named.hash, timestamp=1_000)


@pytest.mark.parametrize("held", [True, False])
async def test_what_a_question_showed_before_its_block_was_settled_counts_once_though_it_was_sent_again_meanwhile(
    *,
    held: bool,
) -> None:
    scene = with_node()
    op = scene.reserved(counted(1))
    await scene.settlement.hold(op)
    await scene.settlement.follow(op, Stage.UNKNOWN)
    await scene.tell(10)
    await scene.settlement.found(mined_in(op, 11))
    assert (scene.balance, by_rule(scene)) == ((1, 0), 1)
    again = scene.reserved(counted(1))
    if held:
        await scene.settlement.hold(again)
    await scene.tell(11, mined(op.user_op_hash, 11, nonce=1))
    if not held:
        await scene.settlement.hold(again)
    await scene.settlement.follow(again)
    assert (scene.balance, by_rule(scene), len(scene.settlement)) == ((1, 0), 1, 0)


@pytest.mark.parametrize("held", [True, False])
async def test_what_a_question_showed_in_a_block_that_the_chain_has_left_counts_where_the_chain_has_it_now(
    *,
    held: bool,
) -> None:
    scene = with_node()
    op = scene.reserved(counted(1))
    await scene.settlement.hold(op)
    await scene.settlement.follow(op, Stage.UNKNOWN)
    await scene.tell(10)
    await scene.settlement.found(mined_in(op, 13, branch=1))
    if held:
        await scene.settlement.hold(scene.reserved(counted(1)))
    await scene.tell(11, mined(op.user_op_hash, 11, nonce=1))
    assert scene.reread == [KEY]  # what it has used is read anew
    assert (scene.ledger.in_flight(USES), by_rule(scene), len(scene.settlement)) == (0, 1, 0)
    for number in (12, 13):
        await scene.tell(number)
    assert (scene.ledger.in_flight(USES), by_rule(scene), len(scene.settlement)) == (0, 1, 0)
    await scene.taker.undo(block(10))
    assert (scene.ledger.in_flight(USES), by_rule(scene), len(scene.settlement)) == (1, 1, 1)


@pytest.mark.parametrize("mined_at", [11, 13, None])
async def test_a_receipt_that_names_no_hash_holds_no_longer_than_until_the_block_of_its_number_is_settled(
    mined_at: int | None,
) -> None:
    scene = with_node()
    op = scene.reserved(counted(1))
    await scene.settlement.hold(op)
    await scene.settlement.follow(op, Stage.UNKNOWN)
    await scene.tell(10)
    await scene.settlement.found(mined_in(op, 13)._replace(block_hash=None))
    assert (scene.ledger.in_flight(USES), by_rule(scene), len(scene.settlement)) == (0, 1, 0)
    for number in (11, 12, 13):
        await scene.tell(number, *([mined(op.user_op_hash, number, nonce=1)] if number == mined_at else []))
    is_mined = mined_at is not None
    assert (scene.ledger.in_flight(USES), by_rule(scene), len(scene.settlement)) == (not is_mined, 1, not is_mined)
    ended = scene.settlement.remembered.mined(op.user_op_hash)
    assert (ended is None) == (not is_mined)
    assert ended is None or (ended.block, ended.block_hash) == (mined_at, block(mined_at or 0).hash)


class SlowShelf(Shelf):
    """Its answers are of when it was asked, and come when `goes_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        found = await super().recall(names)
        self.asked.set()
        await self.goes_on.wait()
        return found


async def test_an_end_that_was_taken_back_while_it_was_looked_up_ends_nothing() -> None:
    shelf = SlowShelf()
    scene = with_node(shelf=shelf)
    op = scene.reserved(counted(1))
    await scene.settlement.hold(op)
    await scene.settlement.follow(op)
    await scene.tell(10, mined(op.user_op_hash, 10, nonce=1))
    looked_up = asyncio.create_task(scene.settlement.books.recall((op.name,)))
    await shelf.asked.wait()
    (ended,) = [each.ended for each in scene.told]
    await scene.settlement._bring_back((ended,))  # as if its own look-up had been answered first
    shelf.goes_on.set()
    assert await looked_up == ()
    assert await scene.settlement.books.recall((op.name,)) == ()


async def test_a_claim_that_comes_back_beside_one_that_is_counted_by_now_is_over_again() -> None:
    scene = with_node()
    rival = await scene.accept(2, ONE_USE, nonce=1)
    one = accepted(1, KEY, ONE_USE, nonce=1)
    await scene.settlement.hold(scene.reserved(one))
    await scene.settlement.follow(one)
    await scene.tell(10)
    await scene.settlement.found(mined_in(one, 13, branch=1)._replace(user_op_hash=rival))
    other = accepted(1, OTHER, ONE_USE, nonce=1)
    await scene.settlement.hold(scene.reserved(other))
    await scene.settlement.follow(other)
    await scene.tell(11, mined(one.user_op_hash, 11, nonce=1, claims=(OTHER.permission_id,)))
    assert scene.settlement.remembered.is_mined(other.name)
    await scene.tell(12)
    await scene.tell(13)  # the one that had ended the first claim is of another chain
    assert [each.ended.evidence.by for each in scene.told if each.ended.name == one.name] == [rival, one.user_op_hash]
    assert scene.settlement.flights.get(one.user_op_hash) is None


async def test_what_a_clock_that_was_set_makes_look_old_is_not_forgotten_and_counts_once() -> None:
    steady = False
    scene = with_node(may_forget=lambda: steady)
    op = scene.reserved(counted(1))
    await scene.settlement.hold(op)
    await scene.settlement.follow(op)
    await scene.tell(10, mined(op.user_op_hash, 10, nonce=1))
    scene.clock.now += 86_400  # the time of day was a day behind, until now
    await scene.tell(11)
    assert scene.chain is not None
    scene.chain.fates[op.user_op_hash] = mined_in(op, 10)
    again = scene.reserved(counted(1))
    await scene.settlement.hold(again)
    await scene.settlement.follow(again, Stage.UNKNOWN)
    await scene.lookout.round()
    assert (scene.causes, len(scene.settlement)) == ([Cause.MINED], 0)
    steady = True
    await scene.tell(12)
    assert scene.settlement.remembered.mined(op.user_op_hash) is None
