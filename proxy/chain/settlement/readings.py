"""Sessions read again because of what was settled: they were touched, or in flight before a restart, or blocks were
missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from math import inf
from typing import Final

from proxy.chain.settlement.node_word import NodeWord, Reread
from proxy.chain.settlement.outcome import Outcome
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.together import in_turn
from proxy.errors import StateUnavailable
from proxy.ledger.doubts import Doubt
from proxy.session.counters import SessionKey
from proxy.session.known import Status
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, print_bytes

_LOG: Final = logging.getLogger(__name__)
_FEWEST: Final = 4
_QUESTIONS: Final = 2
"""That a reading asks together, most of the time."""
_AGAIN_SECONDS: Final = 15.0
_DOUBTS_A_PIECE: Final = 500
"""That one transaction writes."""


class SettledReadings:
    """Reads what the settlement wants read. Without `reread` there is no node, and nothing is, nor are sessions of the
    `declared` modules: their logs tell all there is to know of them. `read` is for those that a client waits for.

    As many are read at a time as it takes to ask the node `at_once` questions, and fewer where readings fail: each has
    a deadline, and a node that is slow gives many at a time to none.
    """

    def __init__(
        self,
        settlement: Settlement,
        registry: Registry,
        reread: Reread | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        declared: Collection[Address] = (),
        read: Reread | None = None,
        at_once: Callable[[], int] = lambda: _FEWEST * _QUESTIONS,
    ) -> None:
        self._questions = at_once
        self._most = _FEWEST  # readings at a time
        self._declared = declared
        self._read = reread if read is None else read
        self._waiting: dict[SessionKey, None] = {}  # to be read in the round that is under way
        self._under_way: dict[SessionKey, int] = {}  # readings of what was touched
        self._for_clients: dict[SessionKey, asyncio.Task[None]] = {}
        self._outrun: set[SessionKey] = set()  # of these, changed since they were begun, and read in the background too
        self._settlement = settlement
        self._registry = registry
        self._reread = reread
        self._clock = clock
        self._monotonic = monotonic
        self._again: OrderedDict[SessionKey, None] = OrderedDict()
        self._again_at = inf
        self._stale: dict[SessionKey, asyncio.Task[None] | None] = {}
        self._in_background: set[SessionKey] = set()  # of these, read for nobody who waits, with no deadline of his

    @classmethod
    def at(
        cls,
        node: NodeWord | None,
        settlement: Settlement,
        registry: Registry,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> SettledReadings:
        """By what that node tells."""
        if node is None:
            return cls(settlement, registry, None, clock, monotonic)
        return cls(
            settlement,
            registry,
            node.reread,
            clock,
            monotonic,
            declared=node.declared,
            read=node.read,
            at_once=node.at_once,
        )

    def restored(self, sessions: Iterable[SessionKey], doubted: Iterable[SessionKey] = ()) -> None:
        """These had operations in flight before the restart, and those were to be read."""
        for key in doubted:
            self._registry.forget_block(key)
            self._settlement.unconfirmed[key] = None
        for key in sessions:
            # whether its last reading has counted the operation is not known any more: read it again, and until
            # then rather count twice than not at all
            self._registry.forget_block(key)
            self._stale[key] = None

    @property
    def are_due(self) -> bool:
        """Whether a session is to be read."""
        return bool(self._settlement.to_read or self._stale) or self._monotonic() >= self._again_at

    @property
    def due_at(self) -> float:
        """When one is to be read that could not be before."""
        return self._again_at

    def wants(self, key: SessionKey) -> bool:
        """Whether this session is to be read before anything is judged by what is known of it."""
        settlement = self._settlement
        if not (self._stale or settlement.unconfirmed or settlement.to_read or self._waiting or self._under_way):
            return False  # most of the time
        is_stale = key in self._stale or key in settlement.unconfirmed
        return is_stale or key in settlement.to_read or key in self._waiting or key in self._under_way

    async def reconciled(self, key: SessionKey) -> None:
        """Returns when it was read once, or could not be. Never raises."""
        is_stale = key in self._stale or key in self._settlement.unconfirmed
        if is_stale and key not in self._in_background:  # who waits does not wait for what is read for nobody
            await self._reconcile(key, self._read)
        elif self._read is not None:
            await self._read_for_client(key, self._read)

    async def _read_for_client(self, key: SessionKey, read: Reread) -> None:
        """Something changed it in a block that is settled: whoever asks next waits for no reading in the background,
        and takes the word of none that was begun before."""
        reading = self._for_clients.get(key)
        if reading is not None and (key in self._settlement.to_read or key in self._outrun):
            await asyncio.shield(reading)
            reading = self._for_clients.get(key)  # another one, which somebody else who waited has begun
        await asyncio.shield(self._begin_for_client(key, read) if reading is None else reading)

    def _begin_for_client(self, key: SessionKey, read: Reread) -> asyncio.Task[None]:
        self._settlement.to_read.pop(key, None)
        self._begin_touched(key)
        task = self._for_clients[key] = asyncio.create_task(self._read_while_clients_wait(key, read))
        return task

    async def _read_while_clients_wait(self, key: SessionKey, read: Reread) -> None:
        try:
            await self._read_touched(key, read)
        finally:
            del self._for_clients[key]  # in the step in which it ends: nobody finds one that is over
            self._outrun.discard(key)

    def _begin_touched(self, key: SessionKey) -> None:
        self._waiting.pop(key, None)
        self._under_way[key] = self._under_way.get(key, 0) + 1

    async def _read_touched(self, key: SessionKey, read: Reread | None = None) -> None:
        """It is `_under_way` from before this is begun."""
        try:
            await self._read_again(key, read=read)
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]

    async def _reconcile(self, key: SessionKey, read: Reread | None = None) -> None:
        task = self._stale.get(key)
        if task is None:
            task = self._stale[key] = asyncio.create_task(self._read_stale(key, read))
            if read is None:
                self._in_background.add(key)
        await asyncio.shield(task)

    async def _read_stale(self, key: SessionKey, read: Reread | None) -> None:
        is_unconfirmed = key in self._settlement.unconfirmed
        if is_unconfirmed:
            # nothing older counts than a reading that was taken since
            self._registry.note_block(key, self._registry.block_of(key))
            self._registry.forget_block(key)
        try:
            await self._read_again(key, doubted=is_unconfirmed, read=read)
        finally:
            self._stale.pop(key, None)
            self._in_background.discard(key)
            self._settlement.unconfirmed.pop(key, None)

    async def read_all(self) -> None:
        """What was touched, and what is left from before a restart."""
        self._waiting, self._settlement.to_read = self._settlement.to_read, {}
        self._outrun.update(key for key in self._for_clients if key in self._waiting)
        left = (*self._waiting, *self._stale)  # they may be many: each is looked at when its turn comes

        async def read(key: SessionKey) -> None:
            if key in self._waiting:
                self._begin_touched(key)
                await self._read_touched(key)
            elif key in self._stale:
                await self._reconcile(key)

        try:
            await in_turn(iter(left), read, self._at_once)
        finally:
            self._settlement.to_read |= self._waiting
            self._waiting = {}
        await self._read_left()

    async def _read_left(self) -> None:
        """What could not be read a while ago, as long as the node answers."""

        def left() -> Iterator[SessionKey]:
            while self._again and self._monotonic() >= self._again_at:
                yield self._again.popitem(last=False)[0]

        for key in islice(left(), 1):  # before many are
            await self._read_again(key, doubted=False)
        await in_turn(left(), partial(self._read_again, doubted=False), self._at_once)
        if not self._again:
            self._again_at = inf

    async def confirm_all(self) -> None:
        """Apart from what changed: they may be many."""

        async def confirm(key: SessionKey) -> None:
            if key in self._settlement.unconfirmed:  # and no client had it read meanwhile
                await self._reconcile(key)

        await self._doubt_unread()
        while left := tuple(self._settlement.unconfirmed):
            await in_turn(iter(left), confirm, self._at_once)
            await self._doubt_unread()

    async def _doubt_unread(self) -> None:
        """A restart goes on with those that are not read by then."""
        to_doubt, unconfirmed = self._settlement.to_doubt, self._settlement.unconfirmed
        while to_doubt:
            piece = [to_doubt.popitem()[0] for _ in range(min(len(to_doubt), _DOUBTS_A_PIECE))]
            doubts = tuple(Doubt(key, 0) for key in piece if key in unconfirmed)
            await self._settlement.books.keep(Outcome(doubts=doubts))

    def _at_once(self) -> int:
        self._most = max(min(self._most, self._questions() // _QUESTIONS), _FEWEST)
        return self._most

    async def _read_again(self, key: SessionKey, *, doubted: bool = True, read: Reread | None = None) -> None:
        """A `doubted` session that cannot be read is not judged by what was known before."""
        known, read = self._registry.get(key), self._reread if read is None else read
        if read is None:
            return
        if known is None or key.module in self._declared:
            self._settlement.books.note(Outcome(read=(key,)))  # there is nothing to read
            return
        try:
            await read(key)
            known = self._registry.get(key)
            if self._registry.mined_at(key) is not None:
                raise StateUnavailable("the node that answered has not got the block of its last change")
            if known is not None and known.status is Status.IN_FORCE and known.block is None:
                raise StateUnavailable("the node that answered is behind what was settled before the restart")
        except StateUnavailable as error:
            _LOG.warning("session %s cannot be read again: %s", print_bytes(key.permission_id), error)
        except Exception:  # no session may keep the others from being read
            # no session may keep the others from being read
            _LOG.exception("reading session %s again failed", print_bytes(key.permission_id))
        else:
            # what it rests on may have been read by somebody else, whose word the store did not take
            self._settlement.books.note(Outcome(sessions=() if known is None else (known,), read=(key,)))
            self._most += 1
            return
        self._most //= 2
        self._again[key] = None
        self._again_at = self._monotonic() + _AGAIN_SECONDS
        known = self._registry.get(key)
        if doubted and known is not None and known.status is Status.IN_FORCE:
            if known.state is not None:
                self._registry.put(replace(known, state=None, block=None, updated_at=self._clock()))
                self._registry.note_block(key, known.block)  # nothing older counts after what was read there
            # before a cursor that says that it was read
            await self._settlement.books.keep(Outcome(doubts=(Doubt(key, 0),)))
