"""What is known of a session by a reading holds as long as the chain has the block at which it was read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.settlement.outcome import SettledUpTo
from proxy.chain.settlement.read_at import ReadAt
from proxy.chain.settlement.slices import BlockName
from proxy.ledger.doubts import Doubt
from proxy.ledger.operations import Cause, InFlight, Stage
from proxy.session.counters import Charge, SessionKey
from proxy.session.known import Status
from proxy.userop.primitives import Hash32
from tests.chain.builders import accepted
from tests.chain.settlement.builders import IN_FORCE, KEY, ONE_USE, USES, Chain, Scene, a_slice, block, name

OTHER = KEY._replace(permission_id=Hash32(b"\x1e" * 32))


def keys(number: int) -> list[SessionKey]:
    return [KEY._replace(permission_id=Hash32(each.to_bytes(32, "big"))) for each in range(number)]


async def scene_at(number: int) -> Scene:
    """With one session, and everything settled up to this block."""
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    await scene.tell(number)
    scene.shelf.kept.clear()
    return scene


def read(scene: Scene, there: BlockName, uses: int = 0) -> None:
    """As the reader does it."""
    state = scene.registry.get(KEY)
    assert state is not None
    assert state.state is not None
    scene.registry.put(replace(state, state=state.state.with_charges([ONE_USE] * uses), block=there.number))
    scene.taker.was_read(KEY, there)


async def test_a_session_read_at_a_block_that_another_took_the_place_of_is_read_again() -> None:
    """Its reading may have counted what was used past the gate, in a block that no settled one shows."""
    scene = await scene_at(10)
    read(scene, block(12, branch=1), uses=2)
    await scene.tell(11)
    assert (scene.reread, scene.used()) == ([], 2)
    await scene.tell(12)
    assert (scene.reread, scene.used()) == ([KEY], 0)


async def test_one_read_at_a_block_that_the_chain_has_is_not() -> None:
    scene = await scene_at(10)
    read(scene, block(12))
    for number in range(11, 300):
        await scene.tell(number)
    assert scene.reread == []


async def test_that_it_is_to_be_read_is_on_disk_before_the_block_is_settled() -> None:
    scene = await scene_at(10)
    read(scene, block(11, branch=1))
    await scene.tell_block(11)
    doubted, settled = scene.shelf.kept[-2:]
    assert doubted.doubts == (Doubt(KEY, 11),)
    assert settled.cursor is not None
    assert settled.cursor.block == block(11)


async def test_until_it_is_read_at_that_block_or_later_it_is_judged_by_nothing_and_no_older_reading_counts() -> None:
    scene = await scene_at(10)
    read(scene, block(11, branch=1))
    scene.reads_at = 10  # a backend that is behind
    await scene.tell(11)
    assert (scene.reread, scene.used()) == ([KEY], None)
    scene.reads_at = 11
    await scene.later(15.0)
    assert scene.used() == 0


async def test_where_the_hash_of_a_settled_block_is_not_told_whoever_was_read_there_is_read_again() -> None:
    scene = await scene_at(10)
    read(scene, block(15))
    await scene.taker.settle(replace(a_slice(block(10), block(20)), first=11))
    assert scene.taker.is_read_at(15) is False
    assert list(scene.settlement.to_read) == [KEY]


@pytest.mark.parametrize("number", [11, 12, 13])
async def test_a_session_read_after_the_blocks_that_the_chain_still_has_is_read_again(number: int) -> None:
    scene = await scene_at(10)
    for each in (11, 12):
        await scene.tell(each)
    read(scene, block(number))
    await scene.taker.undo(block(11))
    assert list(scene.settlement.to_read) == ([] if number == 11 else [KEY])
    kept = [each for outcome in scene.shelf.kept for each in outcome.doubts]
    assert kept == ([] if number == 11 else [Doubt(KEY, 11)])


async def test_only_the_last_reading_counts() -> None:
    scene = await scene_at(10)
    read(scene, block(12, branch=1))
    read(scene, block(10))
    await scene.tell(11)
    await scene.tell(12)
    assert scene.reread == []


async def shown(scene: Scene, number: int, *charges: Charge) -> None:
    """Held from now on, an operation of which a question shows at once that this block has it."""
    scene.shows(name(1), block(number))
    operation = scene.reserve(1, *charges)
    await scene.settlement.hold(operation)
    await scene.settlement.follow(operation, Stage.UNKNOWN)
    await scene.later(1.0)
    assert scene.causes == [Cause.MINED]


async def test_what_is_held_only_since_a_reading_that_had_it_already_counts_no_second_time() -> None:
    """It came to the chain by another way, or under another session, before it came here."""
    scene = await scene_at(12)
    read(scene, block(12), uses=1)
    scene.reads_at = 12
    await shown(scene, 10, ONE_USE)
    assert scene.reread == [KEY]
    assert scene.balance == (0, 0), "as the chain has it"


@pytest.mark.parametrize("reads_at", [10, 11])
async def test_no_reading_older_than_the_one_that_may_have_had_it_tells_whether_it_had(reads_at: int) -> None:
    scene = await scene_at(12)
    read(scene, block(12), uses=2)
    scene.reads_at = reads_at  # a backend that has the operation's block and is behind the reading's
    await shown(scene, 10, ONE_USE)
    assert scene.used() is None, "neither as counted twice nor as it was before"
    scene.reads_at = 12
    await scene.later(15.0)
    assert scene.balance == (0, 0)


async def test_that_it_may_be_counted_twice_is_on_disk_with_its_end() -> None:
    scene = await scene_at(12)
    read(scene, block(12), uses=1)
    scene.unreadable = True
    await shown(scene, 10, ONE_USE)
    (ended,) = [each for each in scene.shelf.kept if each.remembered]
    assert ended.doubts == (Doubt(KEY, 12),)


async def test_a_session_is_not_read_again_for_what_is_newer_than_its_reading_or_counted_by_no_policy() -> None:
    newer, uncounted = await scene_at(12), await scene_at(12)
    read(newer, block(12))
    await shown(newer, 13, ONE_USE)
    assert (newer.reread, newer.balance) == ([], (1, 0))
    read(uncounted, block(12))
    await shown(uncounted, 10)
    assert uncounted.reread == []


async def test_a_use_that_only_the_last_reading_has_counted_is_in_the_next_one_where_the_chain_is_begun_anew() -> None:
    scene = await scene_at(9)
    operation = scene.reserve(1, ONE_USE)
    await scene.settlement.hold(operation)
    read(scene, block(12), uses=1)
    with scene.ledger.counting(KEY) as counting:
        counting.add([operation.reservation.slot])
        counting.stand()
    scene.shows(name(1), block(11))
    scene.reads_at = 10  # a backend that has the block from which on the chain is followed, and no more
    await scene.taker.start_at(block(10), 0)
    await scene.later(1.0)
    assert (scene.causes, scene.used()) == ([Cause.MINED], None)
    scene.reads_at = 11
    await scene.later(15.0)
    assert scene.registry.block_of(KEY) == 11


@pytest.mark.parametrize("branch", [0, 1])
async def test_a_grant_whose_enable_nonce_a_reading_is_past_is_over_for_as_long_as_the_chain_has_its_block(
    branch: int,
) -> None:
    """The block may be beyond those that are settled, and be gone before it is."""
    scene = await scene_at(10)
    operation = accepted(1, KEY, ONE_USE)
    operation = replace(operation, reservation=replace(operation.reservation, grant=3))
    scene.settlement.restore([InFlight(operation=operation, stage=Stage.ACCEPTED)])
    read(scene, block(12))
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is not None
    scene.registry.put(replace(known, state=replace(known.state, enable_nonce=4)))
    await scene.taker.enable_nonce_read(KEY)
    assert (scene.causes, scene.ledger.in_flight(USES)) == ([Cause.GRANT_USED], 0)
    await scene.tell(11)
    await scene.tell(12, branch=branch)
    assert scene.ledger.in_flight(USES) == branch


async def test_a_reading_whose_block_the_chain_left_meanwhile_ends_no_grant() -> None:
    scene = await scene_at(10)
    operation = accepted(1, KEY, ONE_USE)
    operation = replace(operation, reservation=replace(operation.reservation, grant=3))
    scene.settlement.restore([InFlight(operation=operation, stage=Stage.ACCEPTED)])
    read(scene, block(11))
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is not None
    scene.registry.put(replace(known, state=replace(known.state, enable_nonce=4)))
    await scene.tell(11, branch=1)
    await scene.taker.enable_nonce_read(KEY)
    assert (scene.causes, scene.ledger.in_flight(USES)) == ([], 1)


async def test_without_a_node_it_counts_and_the_block_of_the_reading_is_not_forgotten() -> None:
    scene = Scene()
    scene.registry.put(replace(IN_FORCE, block=12))
    await scene.accept(1, ONE_USE)
    scene.bundler.mine(name(1), block=10)
    await scene.later(1.0)
    assert scene.balance == (1, 0)
    assert scene.registry.block_of(KEY) == 12


async def test_a_session_that_a_block_which_is_gone_had_revoked_is_read_again_even_where_everything_is_begun_anew() -> (
    None
):
    scene = await scene_at(10)
    scene.registry.put(replace(IN_FORCE, status=Status.REMOVED, block=12))
    scene.taker.was_read(KEY, block(12, branch=1))
    await scene.taker.start_at(block(70_000), 1_000)
    assert list(scene.settlement.to_read) == [KEY]


async def test_no_reading_confirms_a_session_that_is_older_than_one_taken_since_that_was_wanted() -> None:
    scene = await scene_at(10)
    scene.settlement.unconfirmed[KEY] = None
    read(scene, block(12), uses=1)  # at a newer head
    scene.reads_at = 11
    await scene.lookout.reconciled(KEY)
    assert scene.used() is None
    scene.reads_at = 12
    await scene.later(16)
    assert scene.used() is not None


async def test_a_reading_taken_while_everything_is_begun_anew_may_be_of_the_chain_before_and_counts_for_nothing() -> (
    None
):
    scene = await scene_at(5_000)
    beginning = asyncio.create_task(scene.taker.start_at(block(100), 1_000))
    while KEY not in scene.settlement.unconfirmed:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0)
    read(scene, block(5_001), uses=1)
    await beginning
    assert not scene.lookout.is_reconciled(KEY)
    scene.reads_at = 101
    await scene.lookout.reconciled(KEY)
    assert (scene.used(), scene.registry.block_of(KEY), scene.registry.mined_at(KEY)) == (0, 101, None)


# across a restart


def restarted(read_at: Iterable[int]) -> Scene:
    """With everything settled up to block 10, and a session known by a reading at each of these blocks."""
    scene = Scene(chain=Chain())
    for key, number in zip((KEY, OTHER), read_at, strict=False):
        scene.registry.put(replace(IN_FORCE, key=key, block=number))
    cursor = SettledUpTo(KEY.chain_id, block(10), 1_000, 0.0)
    scene.taker.restore(cursor, [block(number) for number in range(5, 11)])
    return scene


async def test_after_a_restart_who_was_read_beyond_the_settled_blocks_is_read_again_for_no_hash_is_known() -> None:
    scene = restarted([12, 9])
    await scene.tell(11)
    assert scene.reread == []
    await scene.tell(12)
    assert scene.reread == [KEY]


async def test_after_a_restart_who_was_read_at_a_settled_block_is_read_again_once_the_chain_leaves_that() -> None:
    scene = restarted([9, 7])
    await scene.tell(11)
    await scene.taker.undo(block(8))
    assert list(scene.settlement.to_read) == [KEY]


# the book of it


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 1)), max_size=40), st.integers(0, 6))
def test_whoever_was_read_last_at_a_block_that_is_gone_is_told_and_nobody_else(
    readings: list[tuple[int, int, int]], ancestor: int
) -> None:
    book, last = ReadAt(), dict[SessionKey, BlockName]()
    for session, number, branch in readings:
        key = keys(6)[session]
        book.note(key, block(number, branch))
        last[key] = block(number, branch)
    assert len(book) == len(last)
    assert {number for number in range(7) if book.has(number)} == {each.number for each in last.values()}
    has = {block(number) for number in range(ancestor + 1)}
    beside = [key for part in book.beside(0, has, ancestor) for key in part]
    assert sorted(beside) == sorted(key for key, there in last.items() if there.number <= ancestor and there not in has)
    after = [key for part in book.after(ancestor) for key in part]
    assert sorted(after) == sorted(key for key, there in last.items() if there.number > ancestor)
    assert len(book) == len(last) - len(beside) - len(after)


def test_many_read_at_one_block_are_told_and_forgotten_some_at_a_time() -> None:
    book, sessions = ReadAt(), keys(2_500)
    for key in sessions:
        book.note(key, block(7))
    book.forget_before(7)
    assert len(book) == 2_500
    book.forget_before(8)
    assert len(book) == 1_500
    assert [len(part) for part in book.after(6)] == [1_000, 500]
    assert (len(book), book.has(7)) == (0, False)
