"""A nonce that was used by something else ends a hold: where there are several nodes, once another one has said so too;
and also where no event tells what used it."""

from __future__ import annotations

import pytest

from proxy.chain.settlement.outcome import SettledUpTo
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Cause, InFlight, Stage
from tests.chain.builders import accepted
from tests.chain.settlement.builders import IN_FORCE, KEY, ONE_USE, Chain, Scene, block, mined, name

STRANGER = name(900)


def with_node(*, several: bool = False) -> Scene:
    scene = Scene(chain=Chain(several=several))
    scene.registry.put(IN_FORCE)
    return scene


async def blocks(scene: Scene, first: int, number: int, *, seconds: float = 2) -> None:
    for each in range(first, first + number):
        scene.clock.now += seconds
        scene.monotonic.now += seconds
        await scene.tell(each)


# a second node


@pytest.mark.parametrize("ours", [True, False])
async def test_an_event_of_one_node_ends_no_other_hold_before_another_node_was_asked(ours: bool) -> None:
    scene = with_node(several=True)
    assert scene.chain is not None
    await scene.tell(9)
    by = await scene.accept(1, ONE_USE, nonce=7) if ours else STRANGER
    op = await scene.accept(2, ONE_USE, nonce=7)
    scene.chain.fates[op] = StateUnavailable("two nodes say different things")
    await scene.tell(10, mined(by, 10, nonce=7))
    assert scene.settlement.flights.get(op) is not None
    assert scene.balance == ((1 if ours else 0), 1)
    scene.chain.fates[op] = Fate.TAKEN
    await blocks(scene, 11, 10)
    assert scene.settlement.flights.get(op) is None
    end = scene.told[-1].ended
    assert (end.cause, end.evidence.by, end.evidence.block_hash) == (Cause.NONCE_USED, by, block(10).hash)
    assert set(scene.chain.near) == {10}  # there the nodes look first


async def test_what_a_block_before_a_restart_showed_is_proven_once_a_reading_finds_the_nonce_used() -> None:
    scene = with_node(several=True)
    assert scene.chain is not None
    op = accepted(2, KEY, ONE_USE, nonce=7)
    scene.taker.restore(SettledUpTo(KEY.chain_id, block(10), 10, 0.0), [block(10)])
    scene.settlement.restore([InFlight(operation=op, stage=Stage.ACCEPTED)])
    scene.chain.fates[op.user_op_hash] = Fate.TAKEN
    await scene.tell(11)
    assert scene.causes == []
    scene.settlement.used_before([op.reservation.slot])
    await scene.lookout.round()
    assert scene.causes == [Cause.NONCE_USED]


async def test_with_one_node_its_event_is_enough() -> None:
    scene = with_node()
    await scene.tell(9)
    await scene.accept(2, ONE_USE, nonce=7)
    await scene.tell(10, mined(STRANGER, 10, nonce=7))
    assert scene.causes == [Cause.NONCE_USED]


async def test_what_a_block_showed_that_was_taken_back_is_no_evidence_any_more() -> None:
    scene = with_node(several=True)
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(2, ONE_USE, nonce=7)
    scene.chain.fates[op] = StateUnavailable("two nodes say different things")
    await scene.tell(10, mined(STRANGER, 10, nonce=7))
    await scene.taker.undo(block(9))
    scene.chain.fates[op] = Fate.OPEN
    await scene.tell(10, branch=1)
    await blocks(scene, 11, 10)
    assert scene.balance == (0, 1)
    scene.chain.fates[op] = Fate.TAKEN
    scene.settlement.to_prove[op] = None
    await scene.tell(21)
    assert (scene.causes, scene.told[0].ended.evidence.by) == ([Cause.NONCE_USED], None)


async def test_of_two_that_compete_the_one_that_was_mined_is_not_taken_for_the_one_that_was_not() -> None:
    scene = with_node()
    assert scene.chain is not None
    scene.reads_at = 9  # which has neither
    await scene.tell(9)
    won = await scene.accept(1, ONE_USE, nonce=7)
    lost = await scene.accept(2, ONE_USE, nonce=7)
    scene.chain.fates |= {lost: Fate.TAKEN, won: StateUnavailable("no answer")}
    scene.settlement.to_prove[lost] = None  # it was in doubt
    await scene.lookout.round()
    assert (scene.causes, scene.balance) == ([Cause.NONCE_USED], (0, 1))
    await scene.tell(10, mined(won, 10, nonce=7))
    assert (scene.causes, scene.balance) == ([Cause.NONCE_USED, Cause.MINED], (1, 0))


async def test_a_nonce_that_only_a_block_which_is_not_settled_shows_to_be_taken_lets_nothing_go() -> None:
    """The chain may leave that block, and the operation be mined after all."""
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=7)
    scene.chain.fates[op], scene.chain.taken_in = Fate.TAKEN, 10
    scene.settlement.to_prove[op] = None
    await scene.lookout.round()
    assert (scene.causes, scene.balance, scene.chain.looks) == ([], (0, 1), [9])
    scene.chain.fates[op] = Fate.OPEN
    await scene.tell(10, branch=1)  # it is in no other
    await scene.tell(11, mined(op, 11, nonce=7))
    assert (scene.causes, scene.balance) == ([Cause.MINED], (1, 0))


async def test_one_that_a_settled_block_shows_to_be_taken_ends_what_waits_for_it_by_that_block() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=7)
    scene.chain.fates[op], scene.chain.taken_in = Fate.TAKEN, 9
    scene.settlement.to_prove[op] = None
    await scene.lookout.round()
    assert [(end.ended.cause, end.ended.evidence.block_hash) for end in scene.told] == [
        (Cause.NONCE_USED, block(9).hash)
    ]


# what no event tells of


async def test_a_nonce_that_its_account_burnt_ends_the_hold_once_a_processed_block_says_so() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=7)
    await blocks(scene, 10, 30)
    scene.chain.fates[op] = Fate.HIDDEN
    scene.chain.used_by_now.add(7)
    assert scene.balance == (0, 1)
    await blocks(scene, 40, 100)
    end = scene.told[0].ended
    assert scene.balance == (0, 0)
    assert end.cause is Cause.NONCE_USED
    assert end.evidence.block is not None
    assert end.ended_at - 1_000 < 240  # long before anything is let go for being unmined
    assert KEY in scene.reread  # nobody here knows what has used it


async def test_a_used_nonce_that_the_next_block_explains_is_no_burnt_one() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=7)
    scene.chain.fates[op] = Fate.HIDDEN  # a node that answers with the state of the block it is just making
    scene.chain.used_by_now.add(7)
    scene.settlement.to_prove[op] = None
    await scene.tell(10)
    assert scene.balance == (0, 1)
    await scene.tell(11, mined(op, 11, nonce=7))
    assert (scene.causes, scene.balance) == ([Cause.MINED], (1, 0))


async def test_a_used_nonce_ends_nothing_while_no_later_block_is_processed() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=7)
    scene.chain.fates[op] = Fate.HIDDEN
    scene.chain.used_by_now.add(7)
    for _ in range(100):
        await scene.later(20)
    assert scene.balance == (0, 1)
    await blocks(scene, 10, 60)
    assert scene.causes == [Cause.NONCE_USED]


async def test_where_blocks_were_missed_for_good_a_burnt_nonce_stays_in_doubt() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    op = await scene.accept(1, ONE_USE, nonce=7)
    scene.chain.fates[op] = Fate.HIDDEN
    scene.chain.used_by_now.add(7)
    scene.reads_at = 100_000
    await scene.taker.start_at(block(100_000), 1_000)
    await blocks(scene, 100_001, 200)
    assert scene.balance == (0, 1)


async def test_of_many_that_wait_on_one_key_one_question_tells() -> None:
    scene = with_node()
    assert scene.chain is not None
    await scene.tell(9)
    for number in range(1, 60):
        await scene.accept(number, nonce=100 + number)
    await blocks(scene, 10, 100)
    assert len(scene.chain.looks) < 10
    assert scene.chain.asked == []
