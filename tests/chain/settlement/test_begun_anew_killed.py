"""A gate that begins anew on a chain has all sessions to read; one killed meanwhile goes on with what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from proxy.app.memory import remains_in
from proxy.chain.settlement.slices import BlockName
from proxy.edge.storage.database import Synchronous
from proxy.edge.storage.store import Store
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Stage
from proxy.session.counters import Charge, SessionKey
from proxy.userop.primitives import Hash32
from tests.chain.settlement.builders import IN_FORCE, KEY, ONE_USE, Chain, Scene, a_slice, block
from tests.patience import PATIENCE_SECONDS

SESSIONS = [KEY._replace(permission_id=Hash32(number.to_bytes(32, "big"))) for number in range(1, 8)]
READ, UNREAD = SESSIONS[:3], SESSIONS[3:]


@dataclass
class Life:
    """One process, on what the one before left on disk."""

    path: Path
    store: Store = field(init=False)
    scene: Scene = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.path, synchronous=Synchronous.NORMAL)
        self.scene = Scene(shelf=self.store, chain=Chain())  # type: ignore[arg-type]  # it keeps as the shelf does
        for key, packed in self.store.packed_sessions():
            self.scene.registry.restore(key, packed)
        remains = remains_in(self.store)
        blocks = remains.blocks.get(KEY.chain_id, ())
        self.scene.taker.restore(remains.settled.get(KEY.chain_id), blocks, remains.doubts, remains.ended)
        self.scene.settlement.restore(remains.flights, remains.ended)
        doubted = [each.key for each in remains.doubts if not each.is_read]
        self.scene.lookout.restored([], [], doubted)

    @property
    def unread(self) -> set[SessionKey]:
        return {key for key in SESSIONS if not self.scene.lookout.is_reconciled(key)}

    async def know(self, read_at: int | None = None) -> None:
        """All sessions, in force."""
        for key in SESSIONS:
            known = replace(IN_FORCE, key=key, block=read_at)
            self.scene.registry.put(known)
            await self.store.save_session(known)

    async def begin_anew(self, there: BlockName, *, reads: list[SessionKey]) -> None:
        """The node hangs in whatever else it is asked to read."""
        await self.scene.taker.start_at(there, 1_000)
        for key in reads:
            await self.scene.lookout.reconciled(key)
        self.scene.goes_on.clear()
        reading = asyncio.create_task(self.scene.lookout.round())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.scene.is_reading.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    async def accept(self, number: int, *charges: Charge, key: SessionKey, nonce: int = 0) -> Hash32:
        """And long enough before anything else for the disk to know that it was taken."""
        op = await self.scene.accept(number, *charges, key=key, nonce=nonce)
        self.scene.monotonic.now += 5
        self.scene.lookout.ask_due()
        return op

    async def settle(self, *numbers: int) -> None:
        for number in numbers:
            await self.scene.taker.settle(a_slice(self.scene.taker.cursor, block(number)))


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[list[Life]]:
    """The first of them; each begins when the one before is gone."""
    begun = [Life(tmp_path / "ledger.db")]
    yield begun
    begun[-1].store.close()


def killed(lives: list[Life]) -> Life:
    lives[-1].store.close()
    lives.append(Life(lives[-1].path))
    return lives[-1]


@pytest.mark.parametrize("settled", [(101,), (101, 102)])
async def test_a_gate_killed_before_it_has_read_all_goes_on_from_its_cursor_and_reads_only_the_others(
    lives: list[Life], settled: tuple[int, ...]
) -> None:
    first = lives[0]
    await first.know()
    await first.begin_anew(block(100), reads=READ)
    await first.settle(*settled)
    second = killed(lives)
    assert second.scene.taker.cursor == block(settled[-1])
    assert second.unread == set(UNREAD)
    await second.settle(200)
    await second.scene.lookout.round()
    assert second.scene.reread == UNREAD
    third = killed(lives)
    assert (third.scene.taker.cursor, third.unread) == (block(200), set())


async def test_those_that_were_read_on_the_chain_before_at_higher_blocks_are_not_taken_for_read(
    lives: list[Life],
) -> None:
    await lives[0].know(read_at=5_000)
    await lives[0].begin_anew(block(100), reads=[])
    await lives[0].settle(101)
    second = killed(lives)
    assert second.scene.taker.cursor == block(101)
    assert second.unread == set(SESSIONS)
    assert {second.scene.registry.block_of(key) for key in SESSIONS} == {None}


async def begun_anew_with_one_that_cannot_be_proven(first: Life) -> Hash32:
    """It was sent on the chain before, and no node tells what became of it."""
    await first.know()
    await first.scene.taker.start_at(block(5_000), 1_000)
    await first.scene.lookout.round()
    first.scene.is_reading.clear()
    await first.settle(5_001, 5_002)
    assert first.scene.chain is not None
    op = await first.accept(1, ONE_USE, key=READ[0])
    first.scene.chain.fates[op] = StateUnavailable("no answer")
    await first.begin_anew(block(100, branch=1), reads=[])
    assert first.scene.settlement.unproven == {op}
    return op


async def test_of_the_chain_before_no_block_is_left_with_the_first_cursor(lives: list[Life]) -> None:
    await begun_anew_with_one_that_cannot_be_proven(lives[0])
    await lives[0].settle(101, 102)
    assert killed(lives).scene.taker.trail() == (block(102), block(101), block(100, branch=1))


async def test_what_nobody_can_prove_keeps_no_restart_from_going_on_at_its_cursor_and_is_to_be_proven_in_each(
    lives: list[Life],
) -> None:
    op = await begun_anew_with_one_that_cannot_be_proven(lives[0])
    await lives[0].settle(101)
    for number in (102, 103):
        life = killed(lives)
        life.scene.goes_on.clear()  # the node tells nothing
        assert life.scene.taker.cursor == block(number - 1)
        assert (life.scene.settlement.unproven, list(life.scene.settlement.to_prove)) == ({op}, [op])
        await life.settle(number)


async def test_what_was_sent_since_the_new_beginning_is_shown_by_its_blocks_and_is_not_to_be_proven(
    lives: list[Life],
) -> None:
    op = await begun_anew_with_one_that_cannot_be_proven(lives[0])
    lives[0].scene.monotonic.now += 10
    await lives[0].settle(101)
    later = await lives[0].accept(2, key=READ[1], nonce=2)
    second = killed(lives)
    assert second.scene.settlement.flights.get(later) is not None
    assert (second.scene.settlement.unproven, list(second.scene.settlement.to_prove)) == ({op}, [op])


async def test_once_all_is_proven_no_later_start_has_anything_to_prove(lives: list[Life]) -> None:
    op = await begun_anew_with_one_that_cannot_be_proven(lives[0])
    await lives[0].settle(101)
    second = killed(lives)
    await second.scene.lookout.round()  # its nonce is unused
    assert (second.scene.settlement.unproven, second.scene.stage(op)) == (set(), Stage.ACCEPTED)
    await second.settle(102)
    third = killed(lives)
    assert (third.scene.settlement.unproven, third.scene.settlement.to_prove) == (set(), {})
    assert third.scene.stage(op) is Stage.ACCEPTED


async def test_one_killed_before_the_disk_knows_what_is_unread_begins_anew_once_more(lives: list[Life]) -> None:
    first = lives[0]
    await first.know()
    await first.scene.taker.start_at(block(100), 1_000)
    await first.settle(101)
    assert killed(lives).scene.taker.cursor is None


async def test_a_cursor_is_kept_though_clients_have_had_all_read_before_the_disk_was_told(lives: list[Life]) -> None:
    first = lives[0]
    await first.know()
    await first.scene.taker.start_at(block(100), 1_000)
    for key in SESSIONS:
        await first.scene.lookout.reconciled(key)
    first.scene.settlement.awake.clear()
    running = asyncio.create_task(first.scene.lookout.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while first.scene.settlement.to_doubt:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await first.settle(101)
    second = killed(lives)
    assert (second.scene.taker.cursor, second.unread) == (block(101), set())
