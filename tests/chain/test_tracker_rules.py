"""What rules count of an operation is kept in one piece with its end, and taken back with its block."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from proxy.chain.tracker import Keeper, Patience, Tracker
from proxy.edge.storage.store import Store
from proxy.judge.counts import CountKey, OutcomeLesson, Row, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.reservation import Held
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from tests.chain.builders import Bundler, Clock, Shelf, accepted
from tests.session.builders import TOKEN, TRANSFER, action, enabled, key_of, session, usage

GRANT = session(action(TOKEN, TRANSFER, usage(3)))
KEY = key_of(GRANT)
COUNT = CountKey(b"r" * 16, b"one")
HOUR = Sliding(3_600)


class Scene:
    def __init__(self, keeper: Keeper | None = None) -> None:
        self.registry, self.ledger, self.clock = Registry(), MemoryLedger(), Clock()
        self.shelf, self.bundler = Shelf(), Bundler()
        self.registry.put(
            KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=1.0, state=enabled(GRANT))
        )
        self.tracker = Tracker(
            registry=self.registry,
            ledger=self.ledger,
            keeper=keeper or self.shelf,
            receipt=self.bundler.receipt,
            clock=self.clock,
            patience=Patience(),
        )

    async def accept(self, number: int) -> AcceptedOperation:
        charge = WindowCharge(key=COUNT, window=HOUR, amount=5, limit=10, binding=True, lasting=False)
        plain = accepted(number, KEY, at=self.clock.now)
        reservation = replace(plain.reservation, rule_charges=(charge,), lessons=(OutcomeLesson(key=COUNT),))
        operation = replace(plain, reservation=reservation)
        assert isinstance(self.ledger.reserve(reservation, lambda _: 0, self.clock.now), Held)
        await self.tracker.follow(operation)
        return operation

    async def later(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.tracker._round()

    def total(self, operation: AcceptedOperation) -> int:
        """What is counted, without what this operation's nonce holds in flight."""
        return self.ledger.counts(operation.reservation.slot, self.clock.now).total(COUNT, HOUR)


async def test_a_mined_operation_is_counted_in_the_outcome_that_ends_it() -> None:
    scene = Scene()
    operation = await scene.accept(1)
    assert scene.total(operation) == 0
    scene.bundler.mine(operation.user_op_hash)
    await scene.later(1)
    assert scene.total(operation) == 5
    outcome = scene.shelf.kept[-1]
    assert outcome.ended == (operation.user_op_hash,)
    assert [row.amount for row in outcome.rules.buckets] == [5]
    assert [row.history for row in outcome.rules.histories] == [None]
    assert outcome.remembered[0].counted_at == 1_001


async def test_a_reverted_one_gives_its_value_back_and_teaches_its_row() -> None:
    scene = Scene()
    operation = await scene.accept(1)
    scene.bundler.mine(operation.user_op_hash, success=False)
    await scene.later(1)
    assert scene.total(operation) == 0
    assert scene.ledger.counts(operation.reservation.slot, 1.0).history(COUNT) == Row(length=1)


async def test_a_dropped_one_is_counted_nowhere() -> None:
    scene = Scene()
    operation = await scene.accept(1)
    await scene.later(700)
    assert scene.total(operation) == 0
    assert scene.shelf.kept[-1].rules.buckets == ()


async def test_what_could_not_be_kept_is_kept_later_as_it_stands_then() -> None:
    scene = Scene()
    first, second = await scene.accept(1), await scene.accept(2)
    scene.shelf.broken = True
    scene.bundler.mine(first.user_op_hash)
    await scene.later(1)
    scene.bundler.mine(second.user_op_hash)
    await scene.later(1)
    scene.shelf.broken = False
    await scene.later(3)
    kept = [outcome for outcome in scene.shelf.kept if outcome.rules.buckets]
    assert {row.amount for outcome in kept for row in outcome.rules.buckets} == {10}


async def test_a_crash_after_a_write_that_failed_and_one_that_did_not_counts_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "gate.db"
    with closing(Store(path)) as store:
        store._connection.execute("PRAGMA busy_timeout = 50")
        scene = Scene(store)
        first, second = await scene.accept(1), await scene.accept(2)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await scene.tracker.observe(scene.bundler.mine(first.user_op_hash))
            other.execute("ROLLBACK")
        await scene.tracker.observe(scene.bundler.mine(second.user_op_hash))
        assert scene.tracker._endings.is_behind
        # the gate dies here: what the file has now is what the next one finds
        assert store.operations_in_flight() == ()
        assert [row.amount for row in store.rule_rows().buckets] == [10]
        await scene.later(3)
        assert not scene.tracker._endings.is_behind
        assert [row.amount for row in store.rule_rows().buckets] == [10]


async def test_what_ended_and_is_in_flight_again_leaves_the_window_it_went_into() -> None:
    scene = Scene()
    operation = await scene.accept(1)
    scene.bundler.mine(operation.user_op_hash)
    await scene.later(1)
    ended = scene.tracker._settled.get(operation.user_op_hash)
    assert ended is not None
    scene.clock.now += 500
    await scene.tracker._bring_back(ended)
    assert scene.total(operation) == 0
    assert scene.ledger.counts(operation.reservation.slot._replace(nonce=9), scene.clock.now).total(COUNT, HOUR) == 5
    undone = scene.shelf.kept[-1]
    assert undone.revived == (operation,)
    assert [row.amount for row in undone.rules.buckets] == [0]
    scene.bundler.mine(operation.user_op_hash)
    await scene.later(1)
    assert scene.total(operation) == 5
