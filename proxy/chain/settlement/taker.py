"""The settlement as whoever follows the chain's blocks sees it: slices are settled in chain order, and undone."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Sequence, Set
from dataclasses import replace
from itertools import chain
from typing import Final

from proxy.chain.settlement.draft import OutcomeDraft
from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.pace import Pace
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.read_at import UNKNOWN_HASH, ReadAt
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import MOST_ENDS, BlockName, OperationMined, SessionTold, Slice
from proxy.ledger.doubts import Doubt
from proxy.ledger.forgetting import in_parts
from proxy.ledger.operations import Cause, EndedName, Evidence
from proxy.session.counters import Charge, SessionKey
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.session.state import ToldAt
from proxy.session.told import doubt_told_after, take_back, tell, told_since
from proxy.userop.primitives import Address, Hash32

_BLOCKS_KEPT: Final = 256
_LOOK_LATER: Final = 15.0
_TOLD_KEPT: Final = 20_000
_KEYS_A_PIECE: Final = 2_000
_FLIGHTS_A_PIECE: Final = 500
_SESSIONS_A_PIECE: Final = 100
"""Of which one piece of work tells the store."""


class Taker:
    """See `SliceTaker` for the meaning of each call. `monotonic` gives seconds that no change of the clock moves.

    Sessions of the `declared` modules cannot be read: their logs tell all there is to know of them.
    """

    def __init__(
        self,
        settlement: Settlement,
        *,
        chain_id: int,
        registry: Registry,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        patience: Patience,
        declared: Collection[Address] = (),
    ) -> None:
        self._declared = frozenset(declared)
        self._settlement = settlement
        self._chain_id = chain_id
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        self._patience = patience
        self._cursor: SettledUpTo | None = None
        self._trail: deque[BlockName] = deque(maxlen=_BLOCKS_KEPT)  # newest last
        self._touched: OrderedDict[SessionKey, int] = OrderedDict()  # in which block last, the newest last
        self._read_at = ReadAt()
        self._told: deque[tuple[int, SessionKey, KnownSession | None]] = deque(maxlen=_TOLD_KEPT)  # and as it was
        self._told_before: dict[SessionKey, None] = {}  # in blocks that may be gone: what was before nobody knows
        self._told_at: float | None = None  # monotonic
        self._is_begun_anew = False  # and no cursor was kept since
        self._leaves_for: BlockName | None = None  # while what stood above it is taken back
        settlement.ends.on_undone = self._rest_on
        self.restored_at = 0
        """The newest block that what was known before the restart rests on."""

    def restore(
        self,
        cursor: SettledUpTo | None,
        trail: Iterable[BlockName],
        doubts: Iterable[Doubt] = (),
        ended: Iterable[EndedName] = (),
    ) -> None:
        """Take up where it was before a restart. `trail` and `doubts` are ascending."""
        self._cursor = cursor
        blocks = (each.block for each in ended if each.block is not None)
        self.restored_at = max(blocks, default=0) if cursor is None else max(cursor.block.number, *blocks, 0)
        for each in doubts:
            self._touch(each.key, each.block)
            if not each.is_read and self._registry.status_of(each.key) is not None:
                self._registry.note_block(each.key, each.block)
        self._trail.extend(trail)
        self._restore_readings()
        if self._declared and self._trail:
            since = self._trail[0].number
            self._told_before = dict.fromkeys(told_since(self._registry, self._chain_id, self._declared, since))
        if cursor is not None:
            self._settlement.known_seconds = cursor.known_seconds
            self._settlement.unproven_until = cursor.unproven_until

    def _restore_readings(self) -> None:
        """Those that the chain may yet leave. Of blocks beyond the settled ones nobody knows their hash any more."""
        if not self._trail:
            return
        hashes, keys = dict(self._trail), self._registry.keys()
        for key in keys:
            block = self._registry.block_of(key) if key.chain_id == self._chain_id else None
            if block is not None and block >= self._trail[0].number and key.module not in self._declared:
                self._read_at.note(key, BlockName(block, hashes.get(block, UNKNOWN_HASH)))

    @property
    def cursor(self) -> BlockName | None:
        return None if self._cursor is None else self._cursor.block

    @property
    def pace(self) -> Pace:
        return self._settlement.pace

    @property
    def told_seconds_ago(self) -> float | None:
        """Since when nothing was told of blocks; `None` when nothing ever was in this life."""
        return None if self._told_at is None else self._monotonic() - self._told_at

    def trail(self) -> tuple[BlockName, ...]:
        return tuple(reversed(self._trail))

    def hash_at(self, number: int) -> Hash32 | None:
        """Of the settled block of this number; `None` where that is not kept."""
        for block in reversed(self._trail):
            if block.number <= number:
                return block.hash if block.number == number else None
        return None

    def shown_beyond(self, key: SessionKey) -> tuple[BlockName, ...]:
        """The blocks after the newest settled one in which a question has shown operations of the session: few, as
        questions are asked only of what is in doubt."""
        if self._cursor is None:
            return ()
        remembered, blocks = self._settlement.remembered, dict[BlockName, None]()
        for name in remembered.shown_after(self._cursor.block.number):
            ended = remembered.get(name)
            if name.session == key and ended is not None and ended.block is not None and ended.block_hash is not None:
                blocks[BlockName(ended.block, ended.block_hash)] = None
        return tuple(blocks)

    def senders(self) -> Set[Address]:
        return self._settlement.flights.senders()

    def was_read(self, key: SessionKey, block: BlockName) -> None:
        """The session is known as it was at this block, and no longer than the chain has that."""
        if self._cursor is not None:
            self._read_at.note(key, block)

    async def enable_nonce_read(self, key: SessionKey) -> None:
        """The session is known as it was read: grants under enable nonces that it has passed there are over, until the
        chain leaves that very block."""
        known, block = self._registry.get(key), self._read_at.of(key)
        nonce = None if known is None or known.state is None else known.state.enable_nonce
        if known is None or nonce is None or block is None or known.block != block.number:
            return
        shown = Evidence(block=block.number, block_hash=block.hash)
        await self._settlement.enable_nonce_read(key, nonce, shown)

    def is_read_at(self, number: int) -> bool:
        return self._read_at.has(number)

    async def settle(self, part: Slice) -> None:
        """As the protocol has it. Raises `StateUnavailable` when what a bundler had told of cannot be read back."""
        try:
            await self._settle(part)
        finally:
            self._settlement.pace.rest()

    async def _settle(self, part: Slice) -> None:
        cursor, settlement = self._cursor, self._settlement
        if part.chain_id != self._chain_id or (cursor is not None and part.parent != cursor.block):
            raise ValueError(f"blocks {part.first} to {part.last.number} do not follow {cursor}")
        for block in part.blocks:
            # a bundler had told of a block that the chain has not got
            if names := settlement.remembered.shown_beside(block):
                await settlement.bring_back(names)
        await self._doubt(self._read_at.beside(part.first, part.blocks, part.last.number), part.last.number)
        draft = OutcomeDraft()
        for event in part.events:
            if isinstance(event, SessionTold):
                self._tell(draft, event)
            elif isinstance(event, OperationMined):
                if (before := settlement.remembered.mined(event.user_op_hash)) is not None:
                    draft = await self._bring_back_from_elsewhere(draft, event, before)
                settlement.ends.mined(draft, event.slot, event.mined)
            elif self._registry.status_of(event.key) is not None:
                self._registry.note_block(event.key, event.block.number)  # no reading from before counts
                self._touch(event.key, event.block.number)
                draft.to_read[event.key] = event.block.number
            if _is_much(draft):
                draft = await self._give_way(draft, pace=settlement.pace)
        now = float(part.timestamp)
        shown = Evidence(block=part.last.number, block_hash=part.last.hash, timestamp=part.timestamp)
        for count, flight in enumerate(settlement.flights.pop_over(now)):
            if flight.user_op_hash in settlement.unproven:
                # it may be in a block that was missed: that is to be proven first
                settlement.flights.look_later(flight, now + _LOOK_LATER)
            else:
                settlement.ends.over(draft, flight, shown)
            is_piece = count % _FLIGHTS_A_PIECE == _FLIGHTS_A_PIECE - 1
            draft = await self._give_way(draft, pace=settlement.pace, is_due=is_piece)
        self._trail.extend(part.blocks)
        self._read_at.forget_before(self._trail[0].number)
        while self._touched and self._touched[next(iter(self._touched))] < self._trail[0].number:
            self._touched.popitem(last=False)
        self._move_to(part.last, part.timestamp)
        settlement.remembered.forget_old(self._clock())
        await self._keep(draft, part.blocks)
        await self._prove_unmined()

    async def undo(self, ancestor: BlockName) -> None:
        """As the protocol has it. Raises `StateUnavailable` when what stood there cannot be read: to be repeated."""
        names = self._settlement.remembered.shown_after(ancestor.number)
        ended = [each for name in names if (each := self._settlement.remembered.get(name)) is not None]
        self._leaves_for = ancestor
        try:
            await self._settlement.bring_back(names)
        finally:
            self._leaves_for = None
        self._settlement.unseconded.clear()  # that may have stood in a block which is gone
        while self._trail and self._trail[-1].number > ancestor.number:
            self._trail.pop()
        touched: dict[SessionKey, None] = {}
        while self._touched and self._touched[next(reversed(self._touched))] > ancestor.number:
            touched[self._touched.popitem()[0]] = None
        await self._doubt(chain((list(touched),), self._read_at.after(ancestor.number)), ancestor.number)
        await self._take_back(ancestor, ended)
        before = self._cursor
        if before is not None:
            known = self._settlement.known_seconds
            self._cursor = before._replace(block=ancestor, known_seconds=known)
            await self._keep(OutcomeDraft(), (), cut=ancestor.number)

    def _rest_on(self, sessions: Collection[SessionKey]) -> None:
        """Some uses of these were taken back. What is read of them has to have the others: those in blocks that are
        settled, and those that a question has shown beyond."""
        if self._cursor is None or not sessions:
            return
        settled, remembered = self._leaves_for or self._cursor.block, self._settlement.remembered
        for key in sessions:
            self._registry.note_block(key, settled.number)
        if self._leaves_for is not None:
            return  # all that was shown beyond comes back with them
        for name in remembered.shown_after(settled.number):
            session, ended = name.session, remembered.get(name)
            if session is not None and session in sessions and ended is not None:
                self._registry.note_block(session, ended.block)

    def _touch(self, key: SessionKey, block: int) -> None:
        self._touched[key] = block
        self._touched.move_to_end(key)

    def _is_in_force(self, key: SessionKey) -> bool:
        return self._registry.status_of(key) is Status.IN_FORCE

    async def _doubt(self, parts: Iterable[Collection[SessionKey]], block: int) -> None:
        """The chain has left blocks at which these were changed or read: they are to be read at this one or later. It
        is on disk before any cursor that rests on it."""
        for keys in parts:
            for key in keys:
                self._registry.forget_block(key)
                self._registry.note_block(key, block)
            self._settlement.to_read |= dict.fromkeys(keys)
            self._settlement.awake.set()
            await self._settlement.books.keep(Outcome(doubts=tuple(Doubt(key, block) for key in keys)))

    async def _bring_back_from_elsewhere(
        self, draft: OutcomeDraft, event: OperationMined, before: EndedName
    ) -> OutcomeDraft:
        """A question may have shown the operation in another block: that is of no chain which has it here."""
        settlement = self._settlement
        if before.block is None or before.block_hash == event.block.hash:
            return draft
        await settlement.close(draft)  # its sums go to disk before those that are made now
        await settlement.bring_back(settlement.remembered.shown_in(before.block, before.block_hash))
        return OutcomeDraft()

    def _tell(self, draft: OutcomeDraft, event: SessionTold) -> None:
        for key, before, after in tell(self._registry, event.changes, ToldAt(*event.place), self._clock()):
            draft.sessions[key] = after
            if len(self._told) == self._told.maxlen:
                self._told_before[self._told[0][1]] = None
            self._told.append((event.block.number, key, before))

    async def _take_back(self, ancestor: BlockName, ended: Iterable[EndedName]) -> None:
        """What the blocks after `ancestor` told of sessions; `ended` are the operations that they had in them."""
        draft = OutcomeDraft()
        mined: dict[SessionKey, list[EndedName]] = {}
        for each in ended:
            if each.cause is Cause.MINED and each.name.session is not None:
                mined.setdefault(each.name.session, []).append(each)
        while self._told and self._told[-1][0] > ancestor.number:
            block, key, before = self._told.pop()
            charges: list[Charge] = []
            for each in mined.get(key, ()):
                claim = self._settlement.flights.claim(each.name) if (each.block or 0) < block else None
                charges += () if claim is None else claim.reservation.charges
            draft.sessions[key] = take_back(self._registry, key, before, charges, self._clock())
            draft = await self._give_way(draft)
        for known in doubt_told_after(self._registry, self._told_before, ancestor.number, self._clock()):
            draft.sessions[known.key] = known
            draft = await self._give_way(draft)
        await self._settlement.close(draft)

    async def start_at(self, block: BlockName, timestamp: int, told: AsyncIterable[SessionTold] | None = None) -> None:
        """As the protocol has it; what was in flight, and what ended in blocks that may be gone, is to be proven one
        by one, and each session read before it is judged. Raises `StateUnavailable` as `undo` does."""
        settlement, draft = self._settlement, OutcomeDraft()
        while settlement.remembered.forget_old(self._clock()):  # noqa: ASYNC110  # nothing is waited for
            await asyncio.sleep(0)
        await settlement.bring_back(settlement.remembered.shown_after(-1))
        if told is not None:
            async for event in told:
                self._tell(draft, event)
                draft = await self._give_way(draft)
        self._told.clear()
        self._told_before.clear()
        for keys in self._registry.directory.all_in_force(self._chain_id):
            self._unconfirm([key for key in keys if key.module not in self._declared], block)
            for key in keys if told is None else ():
                if key.module in self._declared and (known := self._registry.get(key)) is not None:
                    draft.sessions[key] = unknown = replace(known, state=None, block=None)
                    self._registry.put(unknown)
            await asyncio.sleep(0)
        for part in in_parts(settlement.flights.hashes(), _KEYS_A_PIECE):
            settlement.doubt_all(part)
            await asyncio.sleep(0)
        self._trail.clear()
        self._trail.append(block)
        self._is_begun_anew = True
        self._move_to(block, timestamp)
        for read in self._read_at.after(-1):  # of the chain before, until now
            self._unconfirm(list(filter(self._is_in_force, read)), block)
            await self._doubt(([key for key in read if not self._is_in_force(key)],), block.number)
            await asyncio.sleep(0)
        await self._keep(draft)

    def _unconfirm(self, keys: Sequence[SessionKey], block: BlockName) -> None:
        self._settlement.unconfirmed |= dict.fromkeys(keys)
        self._settlement.to_doubt |= dict.fromkeys(keys)
        self._registry.began_at(keys, block.number)

    async def _prove_unmined(self) -> None:
        """Those that have been waited for long enough for something to be let go."""
        settlement = self._settlement
        for count, user_op_hash in enumerate(settlement.flights.unmined.pop_due(settlement.known_seconds)):
            settlement.to_prove[user_op_hash] = None
            settlement.awake.set()
            if count % _FLIGHTS_A_PIECE == _FLIGHTS_A_PIECE - 1:
                await asyncio.sleep(0)

    async def _give_way(self, draft: OutcomeDraft, *, pace: Pace | None = None, is_due: bool = False) -> OutcomeDraft:
        """A piece is handed over whole; what comes next goes on from there, after a crash too."""
        if not is_due and not _is_much(draft):
            return draft
        if pace is not None:
            pace.ended(draft.weight)
        await self._settlement.close(draft)
        await asyncio.sleep(0)
        return OutcomeDraft()

    async def _keep(self, draft: OutcomeDraft, blocks: Sequence[BlockName] = (), *, cut: int | None = None) -> None:
        """With what a restart goes on from: nothing new, while it would not know what is to be read. After that what
        was known of another beginning is gone from the disk."""
        cursor = None if self._settlement.to_doubt else self._cursor
        if not self._settlement.unproven:
            self._settlement.unproven_until = None
        if cursor is not None:
            cursor = cursor._replace(unproven_until=self._settlement.unproven_until)
        if self._is_begun_anew and cursor is not None:
            blocks, cut, self._is_begun_anew = tuple(self._trail), -1, False
        await self._settlement.close(draft, draft.outcome(cursor=cursor, blocks=tuple(blocks), cut=cut))

    def _move_to(self, block: BlockName, timestamp: int) -> None:
        settlement, now = self._settlement, self._monotonic()
        if self._told_at is not None:
            # of a time in which nobody told of blocks only so much can count
            settlement.known_seconds += min(now - self._told_at, self._patience.longest_step)
        self._told_at = now
        self._cursor = SettledUpTo(self._chain_id, block, timestamp, settlement.known_seconds)


def _is_much(draft: OutcomeDraft) -> bool:
    """Whether it is as much as one piece of work may be."""
    return draft.weight >= MOST_ENDS or len(draft.sessions) >= _SESSIONS_A_PIECE
