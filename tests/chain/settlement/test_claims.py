"""One operation that came as a grant and as a use of one session: its hash does not cover the signature."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.chain.settlement.claimed import AskClaim
from proxy.ledger.operations import AcceptedOperation, Cause, Evidence, InFlight, Mined, Stage
from proxy.session.changes import SessionEnabled
from proxy.session.counters import Charge
from proxy.session.known import Status
from tests.chain.builders import accepted
from tests.chain.settlement.builders import (
    GRANT,
    IN_FORCE,
    KEY,
    ONE_USE,
    SMART_SESSION,
    USES,
    Chain,
    Scene,
    a_slice,
    block,
    mined,
    name,
)

NONCE = 4
MORE = USES._replace(slot=b"more")
A_USE = accepted(1, KEY, ONE_USE)
ORDERS = ("grant first", "use first")


def a_grant(number: int, *charges: Charge) -> AcceptedOperation:
    """By the same enable nonce as every other."""
    change = SessionEnabled(SMART_SESSION, GRANT, NONCE)
    operation = accepted(number, KEY, *charges, at_validation=(change,))
    return replace(operation, reservation=replace(operation.reservation, grant=NONCE))


AS_GRANT = a_grant(1, Charge(USES, 2, 3), Charge(MORE, 1, 3))


async def sent(order: str, *, has_node: bool = True, claim: AskClaim | None = None) -> Scene:
    scene = Scene(chain=Chain() if has_node else None, claim=claim)
    scene.registry.put(IN_FORCE)
    for operation in (AS_GRANT, A_USE) if order == "grant first" else (A_USE, AS_GRANT):
        scene.reserved(operation)
        await scene.settlement.hold(operation)
        await scene.settlement.follow(operation)
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (2, 1)
    return scene


@pytest.mark.parametrize("order", ORDERS)
async def test_another_grant_that_uses_the_enable_nonce_ends_it_as_a_grant_and_not_as_a_use(order: str) -> None:
    scene = await sent(order)
    scene.settlement.restore([InFlight(operation=a_grant(2), stage=Stage.ACCEPTED)])
    await scene.tell(10, mined(name(2), 10, nonce=2, claims=(KEY.permission_id,), enables=True))
    assert scene.causes == [Cause.MINED, Cause.GRANT_USED]
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (1, 0)
    await scene.tell(11, mined(name(1), 11, nonce=1, claims=(KEY.permission_id,), enables=False))
    assert scene.causes[-1] is Cause.MINED
    assert len(scene.settlement) == len(scene.ledger) == 0


@pytest.mark.parametrize("order", ORDERS)
async def test_a_reading_that_is_past_the_enable_nonce_ends_it_as_a_grant_and_not_as_a_use(order: str) -> None:
    scene = await sent(order)
    await scene.settlement.enable_nonce_read(KEY, NONCE + 1, Evidence(block=9))
    assert scene.causes == [Cause.GRANT_USED]
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (1, 0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("enables", [True, False])
async def test_it_counts_as_what_its_bundle_shows_and_is_over_as_the_other(order: str, *, enables: bool) -> None:
    scene = await sent(order)
    scene.unreadable = True
    await scene.tell(10, mined(name(1), 10, nonce=1, claims=(KEY.permission_id,), enables=enables))
    of_end = {end.ended.name.grant: end.ended.cause for end in scene.told}
    assert of_end == {
        NONCE: Cause.MINED if enables else Cause.NONCE_USED,
        None: Cause.NONCE_USED if enables else Cause.MINED,
    }
    assert scene.used() == (2 if enables else 1)
    assert len(scene.settlement) == len(scene.ledger) == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("has_node", [True, False])
async def test_where_nobody_can_tell_it_is_counted_once_with_the_most_that_either_takes(
    order: str, *, has_node: bool
) -> None:
    scene = await sent(order, has_node=has_node)
    if has_node:
        await scene.taker.start_at(block(9), 0)
        await scene.taker.settle(a_slice(block(9), block(10), [mined(name(1), 10, nonce=1)]))
        assert set(scene.settlement.to_read) == {KEY}
    else:
        scene.bundler.mine(name(1), block=10)
        await scene.later(1.0)
    known = scene.registry.get(KEY)
    assert known is not None
    assert known.state is not None
    assert (known.state.used[USES], known.state.used[MORE]) == (2, 1)
    assert sorted(scene.causes) == [Cause.MINED, Cause.NONCE_USED]


@pytest.mark.parametrize("order", ORDERS)
async def test_what_the_chain_takes_back_is_held_again_as_both(order: str) -> None:
    scene = await sent(order)
    await scene.tell(9)
    await scene.tell(10, mined(name(1), 10, nonce=1))
    await scene.taker.undo(block(9))
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (2, 1)
    await scene.settlement.enable_nonce_read(KEY, NONCE + 1, Evidence(block=9))
    assert scene.ledger.in_flight(USES) == 2, "it was counted with the most of both, and comes back with that"
    assert scene.status() is Status.IN_FORCE


@pytest.mark.parametrize("order", ORDERS)
async def test_what_was_let_go_under_one_claim_is_held_when_another_comes_back_until_it_is_let_go_too(
    order: str,
) -> None:
    scene = await sent(order)
    scene.settlement.restore([InFlight(operation=a_grant(2), stage=Stage.ACCEPTED)])
    await scene.tell(9)
    await scene.tell(10, mined(name(2), 10, nonce=2, claims=(KEY.permission_id,), enables=True))
    assert await scene.settlement.letting_go.release(name(1), "by alice")
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (0, 0)
    await scene.taker.undo(block(9))
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (2, 1)
    assert scene.stage(name(1)) is Stage.ACCEPTED
    assert await scene.settlement.letting_go.release(name(1), "by alice")
    assert (scene.ledger.in_flight(USES), scene.ledger.in_flight(MORE)) == (0, 0)


@pytest.mark.parametrize("order", ORDERS)
async def test_a_refusal_of_the_one_lets_go_of_that_alone(order: str) -> None:
    scene = Scene()
    scene.registry.put(IN_FORCE)
    first, second = (AS_GRANT, A_USE) if order == "grant first" else (A_USE, AS_GRANT)
    for operation in (first, second):
        scene.reserved(operation)
        await scene.settlement.hold(operation)
    await scene.settlement.follow(first)
    scene.settlement.refused(second.reservation, "AA24 signature error")
    assert scene.ledger.in_flight(USES) == dict(zip(("grant first", "use first"), (2, 1), strict=True))[order]
    assert [end.ended.name for end in scene.told] == [second.name]


async def proven(scene: Scene, times: int) -> None:
    """The chain is asked what became of the operation, so often."""
    for _ in range(times):
        scene.settlement.to_prove[name(1)] = None
        await scene.lookout.round()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("enables", [True, False])
async def test_what_a_question_shows_to_be_mined_counts_under_the_claim_that_its_bundle_has(
    order: str, enables: bool
) -> None:
    scene = await sent(order)
    assert scene.chain is not None
    scene.chain.fates[name(1)] = Mined(user_op_hash=name(1), success=True, block=300)
    scene.chain.claimed = enables
    await proven(scene, 1)
    (counted,) = [end.ended for end in scene.told if end.ended.cause is Cause.MINED]
    assert (counted.name.grant is not None, len(scene.told)) == (enables, 2)


async def test_while_its_bundle_cannot_be_had_it_holds_what_it_held_and_in_the_end_all_of_it_counts() -> None:
    scene = await sent("use first")
    assert scene.chain is not None
    scene.chain.fates[name(1)] = Mined(user_op_hash=name(1), success=True, block=300)
    await proven(scene, 7)
    assert (scene.told, scene.ledger.in_flight(USES), scene.chain.bundles_asked) == ([], 2, 7)
    await proven(scene, 1)
    assert (scene.ledger.in_flight(USES), scene.chain.bundles_asked) == (0, 8)
    assert {end.ended.cause for end in scene.told} >= {Cause.MINED}


async def test_the_bundle_of_an_operation_that_came_under_one_claim_is_not_asked_for() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    await scene.accept(1, ONE_USE)
    assert scene.chain is not None
    scene.chain.fates[name(1)] = Mined(user_op_hash=name(1), success=True, block=300)
    await proven(scene, 1)
    assert (len(scene.told), scene.chain.bundles_asked) == (1, 0)


async def test_a_receipt_is_believed_once_the_bundle_shows_under_which_claim() -> None:
    """While no blocks are told of, bundlers are asked."""
    scene = await sent("grant first")
    assert scene.chain is not None
    scene.bundler.mine(name(1))
    await scene.later(1.0)
    assert (scene.told, scene.ledger.in_flight(USES)) == ([], 2)
    scene.chain.claimed = False
    await scene.later(20.0)
    (counted,) = [end.ended for end in scene.told if end.ended.cause is Cause.MINED]
    assert counted.name.grant is None
