"""Sessions of declared modules follow what the chain says of them, in its order, and forth and back with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.chain.settlement import taker
from proxy.chain.settlement.outcome import SettledUpTo
from proxy.chain.settlement.slices import ChainPlace, SessionTold
from proxy.chain.settlement.taker import Taker
from proxy.ledger.records import record_from_json, record_to_json
from proxy.session.changes import Changes, SessionChange, UsedPastGate
from proxy.session.counters import Charge, Counter
from proxy.session.granted import USES_SLOT
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.session.state import ToldAt
from proxy.session.told import tell
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import action_id_of
from tests.chain.builders import accepted
from tests.chain.settlement.builders import Chain, Scene, a_slice, block, mined, name
from tests.session.builders import ACCOUNT, STRANGER, TOKEN, TRANSFER
from tests.session.declared_modules import PLAIN, name_of_key
from tests.session.signing import SESSION_KEY
from tests.session.test_granted import a_call, grant, revocation

KEY = name_of_key(SESSION_KEY)
GRANT = grant(a_call(max_uses=9))
REVOCATION = revocation()
PAY = Call(TOKEN, 0, TRANSFER + bytes(64))


def scene() -> Scene:
    return Scene(chain=Chain(), declared=frozenset((PLAIN,)))


def told(*changes: SessionChange, at: int, index: int = 0, branch: int = 0, account: Address = ACCOUNT) -> SessionTold:
    return SessionTold(
        place=ChainPlace(at, index),
        block=block(at, branch),
        changes=Changes(
            user_op_hash=Hash32(b"\x77" * 32), chain_id=KEY.chain_id, account=account, at_validation=changes
        ),
    )


async def one_by_one(*events: SessionTold) -> AsyncIterator[SessionTold]:
    for event in events:
        yield event


def of(there: Scene) -> KnownSession:
    known = there.registry.get(KEY)
    assert known is not None
    return known


def uses() -> Counter:
    state = of_grant().state
    assert state is not None
    action_id = action_id_of(TOKEN, TRANSFER)
    return Counter(*state.config_key(state.actions[action_id][0], state.action_config_id(action_id)), USES_SLOT)


def of_grant() -> KnownSession:
    registry = Registry()
    ((_, _, after),) = tell(registry, told(GRANT, at=1).changes, ToldAt(1, 0), 1.0)
    return after


ONE_USE = Charge(uses(), 1, 9)


def balance(there: Scene) -> tuple[int, int]:
    """Used, and in flight."""
    state = of(there).state
    assert state is not None
    return state.used.get(uses(), 0), there.ledger.in_flight(uses())


async def test_a_grant_and_a_revocation_in_blocks_decide_at_once_and_are_kept() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    assert of(there).status is Status.IN_FORCE
    assert of(there) in there.shelf.kept[-1].sessions
    await there.tell(201, told(REVOCATION, at=201))
    assert of(there).status is Status.REMOVED
    assert of(there) in there.shelf.kept[-1].sessions
    assert there.reread == []


async def test_what_was_granted_and_revoked_in_one_block_is_over() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200), told(REVOCATION, at=200, index=1))
    assert of(there).status is Status.REMOVED


async def test_an_operation_of_ours_counts_once_when_it_is_mined() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    operation = await there.accept(1, ONE_USE, key=KEY, nonce=1)
    assert balance(there) == (0, 1)
    await there.tell(201, mined(operation, 201, nonce=1, claims=(KEY.permission_id,)))
    assert balance(there) == (1, 0)
    # in the very block in which it was granted again, too
    second = await there.accept(2, ONE_USE, key=KEY, nonce=2)
    await there.tell(202, told(GRANT, at=202), mined(second, 202, nonce=2, claims=(KEY.permission_id,)))
    assert balance(there) == (1, 0)


async def test_what_was_used_past_the_gate_counts_beside() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    await there.tell(201, told(UsedPastGate(PLAIN, KEY.permission_id, (PAY, PAY)), at=201))
    assert balance(there) == (2, 0)
    assert there.reread == []


async def test_a_grant_of_ours_is_pending_until_it_is_mined_and_told_of_twice_counts_once() -> None:
    there = scene()
    granting = await there.accept(1, key=KEY._replace(module=STRANGER), on_success=(GRANT,), nonce=1)
    assert of(there).status is Status.PENDING
    use = Charge(uses(), 1, 9)
    await there.tell(200, told(GRANT, at=200), mined(granting, 200, nonce=1))
    assert of(there).status is Status.IN_FORCE
    operation = await there.accept(2, use, key=KEY, nonce=2)
    await there.tell(201, mined(operation, 201, nonce=2, claims=(KEY.permission_id,)))
    assert balance(there) == (1, 0)


async def test_a_grant_whose_calls_failed_is_none() -> None:
    there = scene()
    granting = await there.accept(1, key=KEY._replace(module=STRANGER), on_success=(GRANT,), nonce=1)
    await there.tell(200, mined(granting, 200, nonce=1, success=False))
    assert of(there).standing == "not_granted"


async def test_a_grant_that_the_chain_takes_back_never_was() -> None:
    there = scene()
    await there.tell(200)
    await there.tell(201, told(GRANT, at=201))
    await there.taker.undo(block(200))
    assert of(there).standing == "not_granted"
    await there.tell(201, told(GRANT, at=201, branch=1), branch=1)
    assert of(there).status is Status.IN_FORCE


async def test_what_was_before_more_changes_than_are_kept_is_not_judged_by_what_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taker, "_TOLD_KEPT", 2)
    there = scene()
    await there.tell(200)
    for number in (201, 202, 203):
        await there.tell(number, told(GRANT, at=number))
    await there.taker.undo(block(200))
    assert of(there).state is None


async def test_a_revocation_that_the_chain_takes_back_was_none() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    operation = await there.accept(1, ONE_USE, key=KEY, nonce=1)
    await there.tell(201, mined(operation, 201, nonce=1, claims=(KEY.permission_id,)))
    await there.tell(202, told(REVOCATION, at=202))
    await there.taker.undo(block(201))
    assert of(there).status is Status.IN_FORCE
    assert balance(there) == (1, 0)


async def test_uses_that_the_chain_takes_back_with_a_grant_count_neither_twice_nor_not_at_all() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    first = await there.accept(1, ONE_USE, key=KEY, nonce=1)
    second = await there.accept(2, ONE_USE, key=KEY, nonce=2)
    await there.tell(201, mined(first, 201, nonce=1, claims=(KEY.permission_id,)))
    await there.tell(202, mined(second, 202, nonce=2, claims=(KEY.permission_id,)))
    await there.tell(203, told(GRANT, at=203))
    third = await there.accept(3, ONE_USE, key=KEY, nonce=3)
    await there.tell(204, mined(third, 204, nonce=3, claims=(KEY.permission_id,)))
    assert balance(there) == (1, 0)
    await there.taker.undo(block(201))
    assert balance(there) == (1, 2)


async def test_a_grant_of_ours_without_an_event_is_pending_again_when_it_is_taken_back() -> None:
    there = scene()
    await there.tell(199)
    granting = await there.accept(1, key=KEY._replace(module=STRANGER), on_success=(GRANT,), nonce=1)
    await there.tell(200, mined(granting, 200, nonce=1))
    assert of(there).status is Status.IN_FORCE
    await there.taker.undo(block(199))
    assert of(there).status is Status.PENDING


async def test_where_missed_blocks_were_told_what_is_known_goes_on_and_otherwise_counts_for_nothing() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    await there.taker.start_at(block(900), 0, one_by_one())
    assert of(there).state is not None
    assert KEY not in there.settlement.unconfirmed
    await there.taker.start_at(block(1_900), 0, one_by_one(told(REVOCATION, at=1_800)))
    assert of(there).status is Status.REMOVED
    await there.taker.start_at(block(2_900), 0, one_by_one(told(GRANT, at=2_800)))
    await there.taker.start_at(block(9_900), 0, None)
    assert (of(there).status, of(there).state) == (Status.IN_FORCE, None)


async def test_a_restart_with_operations_in_flight_leaves_what_is_known() -> None:
    there = scene()
    await there.tell(200, told(GRANT, at=200))
    operation = await there.accept(1, ONE_USE, key=KEY, nonce=1)
    there.lookout.restored([operation], [KEY])
    await there.lookout.reconciled(KEY)
    assert balance(there) == (0, 1)


async def test_a_block_offered_again_after_the_gate_died_in_it_counts_nothing_twice_and_forgets_nothing() -> None:
    there = scene()
    await there.tell(199)
    operation = await there.accept(1, ONE_USE, key=KEY, nonce=1)
    events = told(GRANT, at=200), mined(operation, 200, nonce=1, claims=(KEY.permission_id,))
    parent = there.taker.cursor
    await there.tell(200, *events)
    assert balance(there) == (1, 0)
    # its cursor had not been kept when the process ended
    again = Taker(
        there.settlement,
        chain_id=KEY.chain_id,
        registry=there.registry,
        clock=there.clock,
        monotonic=there.monotonic,
        patience=there.patience,
        declared=there.declared,
    )
    assert parent is not None
    again.restore(SettledUpTo(KEY.chain_id, parent, 0, 0.0), [parent])
    await again.settle(a_slice(parent, block(200), events))
    assert balance(there) == (1, 0)


@pytest.mark.parametrize("at_start", [True, False])
async def test_however_much_is_told_at_once_is_kept_in_small_pieces(at_start: bool) -> None:
    there = scene()
    await there.tell(199)
    accounts = [Address(number.to_bytes(20, "big")) for number in range(1_000)]
    events = [
        told(grant(account=account), at=200, index=index, account=account) for index, account in enumerate(accounts)
    ]
    if at_start:
        await there.taker.start_at(block(200), 0, one_by_one(*events))
    else:
        await there.tell(200, *events)
    assert len(there.registry) == 1_000
    sizes = [len(outcome.sessions) for outcome in there.shelf.kept]
    assert (sum(sizes), max(sizes) <= 100) == (1_000, True)


@pytest.mark.parametrize("depth", [1, 2])
async def test_what_an_earlier_life_was_told_in_blocks_that_are_gone_counts_for_nothing(depth: int) -> None:
    there = scene()
    await there.tell(200)
    await there.tell(201, told(GRANT, at=201))
    await there.tell(202)
    cursor, trail = there.taker.cursor, there.taker.trail()
    assert cursor is not None
    there.taker = Taker(
        there.settlement,
        chain_id=KEY.chain_id,
        registry=there.registry,
        clock=there.clock,
        monotonic=there.monotonic,
        patience=there.patience,
        declared=there.declared,
    )
    there.taker.restore(SettledUpTo(KEY.chain_id, cursor, 0, 0.0), reversed(trail))
    await there.taker.undo(block(202 - depth))
    assert (of(there).state is None) is (depth == 2)
    await there.tell(203 - depth, told(GRANT, at=203 - depth, branch=1), branch=1)
    assert of(there).state is not None


def test_what_an_operation_in_flight_will_grant_is_kept_whole() -> None:
    part: DeclaredRevocation = revocation(target=TOKEN, selector=TRANSFER)
    everything: DeclaredGrant = grant(a_call(max_value=None, max_total=7), a_call(STRANGER, None), adds=True)
    operation = accepted(1, KEY, on_success=(everything, part))
    assert record_from_json(record_to_json(operation), type(operation)) == operation
    assert name(1) == operation.user_op_hash
