"""A block that is kept in pieces, and a process that dies between any two: what the next one comes to is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.slices import OperationMined
from proxy.edge.storage.database import Synchronous
from proxy.edge.storage.store import Store
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger.operations import Ended, Stage
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.counters import HoldName
from tests.chain.builders import Shelf, accepted
from tests.chain.settlement.builders import IN_FORCE, KEY, ONE_USE, USES, Chain, Scene, a_slice, block, mined, name

_OPERATIONS = 60  # three pieces
COUNT = CountKey(b"r" * 16, b"one")
DAY = Sliding(86_400)
SPEND = WindowCharge(key=COUNT, window=DAY, amount=1, limit=1_000, binding=True, lasting=False)


@dataclass
class Disk(Shelf):
    """A store that takes so many outcomes and no more: as far as a process came before it was killed."""

    store: Store | None = None
    left: int = 1_000
    ending: int = 0  # outcomes that end something, or move the cursor

    async def keep(self, outcome: Outcome) -> None:
        assert self.store is not None
        if outcome.ends:
            self.ending += 1
            self.left -= 1
            if self.left < 0:
                return
        await self.store.keep(outcome)

    def advance(self, name: HoldName, stage: Stage) -> None:
        self.note(Outcome(stages=((name, stage),)))

    def note(self, outcome: Outcome) -> None:
        if self.store is not None and self.left > 0:
            self.store.note(outcome)

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        assert self.store is not None
        return await self.store.recall(names)


@dataclass
class Life:
    """One process: what it finds on disk, and what it does with a block."""

    path: Path
    left: int = 1_000
    scene: Scene = field(init=False)
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.path, synchronous=Synchronous.NORMAL)
        self.scene = Scene(shelf=Disk(store=self.store, left=self.left), chain=Chain())
        self.counts = RuleCounts()
        self.counts.restore(self.store.rule_rows())
        self.scene.ledger._rules = self.counts  # those of this process
        for key, packed in self.store.packed_sessions():
            self.scene.registry.restore(key, packed)
        cursor = self.store.settled().get(KEY.chain_id)
        self.scene.taker.restore(cursor, self.store.settled_blocks().get(KEY.chain_id, ()))
        self.scene.settlement.restore(self.store.flights(), self.store.ended_names())

    async def begin(self) -> None:
        """Operations in flight after block 9."""
        await self.store.save_session(IN_FORCE)
        self.scene.registry.put(IN_FORCE)
        await self.scene.tell(9)
        await asyncio.gather(*(self._send(number) for number in range(1, _OPERATIONS + 1)))

    async def _send(self, number: int) -> None:
        operation = accepted(number, KEY, replace(ONE_USE, limit=1_000), nonce=number)
        operation = replace(operation, reservation=replace(operation.reservation, rule_charges=(SPEND,)))
        self.scene.reserved(operation)
        await self.scene.settlement.hold(operation)
        await self.scene.settlement.follow(operation, Stage.ACCEPTED)

    async def settle(self, branch: int = 0) -> None:
        """Block 10, with all but one of them, and another operation in the nonce of the last."""
        events: list[OperationMined] = [
            mined(name(number), 10, nonce=number, branch=branch) for number in range(1, _OPERATIONS)
        ]
        events.append(mined(name(900), 10, nonce=_OPERATIONS, branch=branch))
        await self.scene.taker.settle(a_slice(self.scene.taker.cursor, block(10, branch), events))

    async def stands(self) -> dict[str, object]:
        """All that the next process would find, and what this one holds."""
        await self.store.keep_only([COUNT.rule])  # after all that was handed over
        known = next(each for each in self.store.sessions() if each.key == KEY)
        return {
            "used": None if known.state is None else known.state.used.get(USES, 0),
            "in flight": self.scene.ledger.in_flight(USES),
            "rules": [(row.key, row.amount) for row in self.store.rule_rows().buckets],
            "ended": sorted((each.name, each.cause, each.block_hash) for each in self.store.ended_names()),
            "flights": self.store.flights(),
            "cursor": self.store.settled()[KEY.chain_id].block,
        }

    def end(self) -> None:
        self.store.close()


async def _whole(path: Path, branch: int = 0) -> tuple[dict[str, object], int]:
    life = Life(path)
    await life.begin()
    before = life.scene.shelf.ending  # type: ignore[attr-defined]  # a disk
    await life.settle(branch)
    pieces = life.scene.shelf.ending - before  # type: ignore[attr-defined]  # a disk
    with closing(life.store):
        return await life.stands(), pieces


async def _killed_after(path: Path, pieces: int, branch: int = 0) -> dict[str, object]:
    life = Life(path)
    await life.begin()
    life.scene.shelf.left = pieces  # type: ignore[attr-defined]  # a disk
    await life.settle()
    life.end()
    again = Life(path)
    await again.settle(branch)
    with closing(again.store):
        return await again.stands()


async def test_a_block_settled_in_pieces_comes_to_the_same_wherever_the_process_dies(tmp_path: Path) -> None:
    whole, pieces = await _whole(tmp_path / "whole.db")
    assert pieces == 3
    assert whole["used"] == _OPERATIONS - 1
    assert whole["rules"] == [(COUNT, _OPERATIONS - 1)]
    for killed in range(pieces + 1):
        assert await _killed_after(tmp_path / f"{killed}.db", killed) == whole, killed


async def test_nor_does_it_matter_when_the_chain_has_another_block_there_by_then(tmp_path: Path) -> None:
    whole, pieces = await _whole(tmp_path / "whole.db", branch=1)
    for killed in range(pieces):
        found = await _killed_after(tmp_path / f"{killed}.db", killed, branch=1)
        assert found["used"] in (whole["used"], None), "counted, or to be read because a block of it is gone"
        assert {**found, "used": None} == {**whole, "used": None}, killed
