"""The node of one chain as the gate asks it: readings that go into the registry, and are kept.

The registry may change while the node is being asked, because operations settle. What was read is put in place of
what was known only when that has not changed meanwhile; otherwise it is read again, so that no settled use is lost.
Nor does a reading count from before the block in which an operation was last mined: the node is behind the bundler.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, Protocol
from weakref import WeakValueDictionary

from proxy.admission import Found
from proxy.admission.in_time import in_time
from proxy.chain.exact import ExactReading, ReadAnew, limits_met, read_exactly, tokens_of
from proxy.chain.fill import fill
from proxy.chain.hydrate import Reading, is_readable
from proxy.chain.lineage import Lineage
from proxy.chain.node import Node
from proxy.chain.settlement.slices import BlockName
from proxy.chain.witness import Witness
from proxy.errors import ContractAbsent, StateUnavailable
from proxy.ledger.forgetting import in_parts
from proxy.ledger.reservation import Counting, Ledger, NonceSlot
from proxy.session.counters import SessionKey
from proxy.session.facts import MissingFact, PolicyConfigFact, TokenLimitFact
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import ConfigId, SessionState, SessionStatus
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address, Hash32

_MOST_READINGS: Final = 3
_SLOTS_A_PIECE: Final = 250
_MOST_BLOCKS_BEHIND: Final = 64
_MOST_TRACED: Final = 64
_SECONDS: Final = 5.0
_NOT_TOLD: Final = "the node did not tell"

Keep = Callable[[KnownSession], Awaitable[None]]
"""Writes a session to disk; raises `StateUnavailable`."""


class Followed(Protocol):
    """How far the blocks of the chain were followed."""

    @property
    def cursor(self) -> BlockName | None:
        """The newest block that is settled; `None` before the first."""

    @property
    def restored_at(self) -> int:
        """The newest block that what was known before the restart rests on, 0 for none."""

    def hash_at(self, number: int) -> Hash32 | None:
        """Of the settled block of this number; `None` where that is not kept."""

    def shown_beyond(self, key: SessionKey) -> Sequence[BlockName]:
        """The blocks after the newest settled one in which a question has shown operations of the session."""

    def was_read(self, key: SessionKey, block: BlockName) -> None:
        """The session is known as it was at this block: should the chain leave that, it is to be read again."""


class NodeReader:
    """See `proxy.admission.ChainReader` for the meaning of each call. `clock` gives unix seconds.

    One reader of a chain serves requests and settlement: who else reads would not know what is in flight. Requests
    ask through `node`, and wait for `seconds` in all; whatever is not waited for asks through `background`.
    `followed` tells how new a reading has to be after a restart, and hears at which block each was taken, `ledger` what
    is in flight, `witness_at` the node that is read what of that is in the reading, `look_back` what is in neither any
    more; `taken` is told of each reading, and of whether it was what was known, `used_before` of places in flight whose
    nonce was used in blocks that are settled already; `doubted` looks whether the node's word is worth anything, and
    has another asked where it is not.
    Sessions of the `declared` modules cannot be read: of them the newest block is heard, and what is known then is what
    there is.
    """

    def __init__(
        self,
        node: Node,
        registry: Registry,
        keep: Keep,
        clock: Callable[[], float],
        *,
        ledger: Ledger | None = None,
        witness_at: Callable[[Node], Witness] | None = None,
        look_back: Callable[[], Awaitable[None]] | None = None,
        background: Node | None = None,
        seconds: float = _SECONDS,
        followed: Followed | None = None,
        taken: Callable[[SessionKey, bool], None] | None = None,
        declared: Collection[Address] = (),
        doubted: Callable[[], Awaitable[None]] | None = None,
        used_before: Callable[[Collection[NonceSlot]], None] | None = None,
    ) -> None:
        self._used_before = used_before
        self._lineage = Lineage()
        self._declared = frozenset(declared)
        self._doubted = doubted
        self._background = node if background is None else background
        self._seconds = seconds
        self._taken = taken
        self._followed = followed
        self._look_back = look_back
        # a lock lives as long as somebody holds it or waits for it
        self._turns: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()
        self._ledger = ledger
        self._witness_at = witness_at
        self._node = node
        self._registry = registry
        self._keep = keep
        self._clock = clock

    async def session(self, key: SessionKey) -> SessionState | None:
        async with in_time(self._seconds, _NOT_TOLD):
            return await self._session(self._node, key, ())

    async def reread(self, key: SessionKey) -> SessionState | None:
        """The same for nobody who waits. Raises `StateUnavailable`."""
        return await self._session(self._background, key, ())

    async def _session(self, node: Node, key: SessionKey, asked: Collection[TokenLimitFact]) -> SessionState | None:
        """The same, with these tokens of its spending limits beside those met before."""
        if key.module in self._declared:
            return await self._told(key)
        for left in reversed(range(_MOST_READINGS)):
            tokens = await self._tokens_in_flight(key)
            known, revision = self._registry.get(key), self._registry.revision(key)
            slots = frozenset[NonceSlot]() if self._ledger is None else self._ledger.slots_of_session(key)
            for config, token in () if known is None or known.state is None else limits_met(known.state):
                tokens[config].add(token)
            for fact in asked:
                tokens[ConfigId(fact.policy, fact.config_id)].add(fact.token)
            at, newest = 0 if self._doubted is None else node.at, self._newest(key, known)
            try:
                witness = None if self._witness_at is None else self._witness_at(node)
                exact = await read_exactly(node, witness, key, slots, tokens)
            except ContractAbsent:
                raise  # that is an answer
            except StateUnavailable as error:
                may_be_better = isinstance(error, ReadAnew)  # at once, and a second time with the node looked at
                if left and (
                    (may_be_better and left == _MOST_READINGS - 1)
                    or await self._is_another_asked(node, at)
                    or may_be_better
                ):
                    continue
                raise
            async with self._noted(key, exact.counted) as counting:
                if self._look_back is not None:
                    # a chain that went back has not counted what was settled before: that is in flight again first
                    await self._look_back()
                if not await self._is_after_what_is_settled(node, exact):
                    if left:
                        continue
                    raise StateUnavailable("the chain took back blocks that are settled, which is not done here yet")
                if self._registry.get(key) is not known or self._registry.revision(key) != revision:
                    continue
                if known is not None and self._is_behind(known, exact.reading.at.number):
                    is_outrun = self._newest(key, known) != newest  # while it was read, by a block that is settled
                    if left and (is_outrun or await self._is_another_asked(node, at)):
                        continue
                    return _as_known(known)
                try:
                    return await self._take(key, known, exact, counting)
                finally:
                    await self._tell_used(exact)
        raise StateUnavailable("the session changes faster than it can be read")

    @asynccontextmanager
    async def _noted(self, key: SessionKey, counted: Collection[NonceSlot]) -> AsyncIterator[Counting | None]:
        """What of the operations in flight a reading has counted, ready to stand; others have their turn where these
        are many."""
        if self._ledger is None:
            yield None
            return
        with self._ledger.counting(key) as counting:
            for part in in_parts(tuple(counted), _SLOTS_A_PIECE):
                counting.add(part)
                await asyncio.sleep(0)
            yield counting

    async def _tokens_in_flight(self, key: SessionKey) -> defaultdict[ConfigId, set[Address]]:
        """What operations in flight spend, by where its limit is; others have their turn where these are many."""
        met = defaultdict[ConfigId, set[Address]](set)
        if self._ledger is None:
            return met
        for count, slot in enumerate(self._ledger.slots_of_session(key), 1):
            for reservation in self._ledger.held_in(slot):
                for config, token in tokens_of(reservation):
                    met[config].add(token)
            if count % _SLOTS_A_PIECE == 0:
                await asyncio.sleep(0)
        return met

    async def _is_after_what_is_settled(self, node: Node, exact: ExactReading) -> bool:
        """Whether the very block that was read stands on the newest settled one, and on those in which operations of
        the session were shown since. What ended in one that it does not stand on is neither in the reading nor in
        flight, until that is taken back."""
        at = exact.reading.at
        self._lineage.learn(at.hash, exact.parent)
        far = set[BlockName]()
        for block in self._rested_on(exact.reading):
            if at.number - block.number > _MOST_TRACED:
                # no chain goes back so far while it is read: of such a block its number tells
                if await node.block_hash(block.number) != block.hash:
                    return False
                far.add(block)
            else:
                await self._lineage.trace(node, at, block.number)
        # as far as blocks are settled, and operations shown, by now
        rested_on = [block for block in self._rested_on(exact.reading) if block not in far]
        return all(self._lineage.ancestor(at, block.number) == block.hash for block in rested_on)

    def _rested_on(self, reading: Reading) -> list[BlockName]:
        """The blocks, none above that of the reading, that it has to stand on, the oldest first."""
        followed, at = self._followed, reading.at
        cursor = None if followed is None else followed.cursor
        if followed is None or cursor is None:
            return []
        if cursor.number >= at.number:
            settled = followed.hash_at(at.number)
            return [] if settled is None else [BlockName(at.number, settled)]
        return sorted(
            block for block in (cursor, *followed.shown_beyond(reading.state.key)) if block.number <= at.number
        )

    async def _is_another_asked(self, node: Node, at: int) -> bool:
        """Whether another node is asked by now than the one that told nothing, or less than is known, or is once its
        word was looked at."""
        if self._doubted is None:
            return False
        if node.at == at:
            await self._doubted()
        return node.at != at

    async def _tell_used(self, exact: ExactReading) -> None:
        """Of what is in flight, as far as it was settled up to the block of the reading by then, some at a time."""
        cursor = None if self._followed is None else self._followed.cursor
        if self._used_before is not None and cursor is not None and exact.reading.at.number <= cursor.number:
            for part in in_parts(tuple(exact.counted), _SLOTS_A_PIECE):
                self._used_before(part)
                await asyncio.sleep(0)

    async def _told(self, key: SessionKey) -> SessionState | None:
        if self._look_back is not None:
            await self._look_back()
        known = self._registry.get(key)
        return known.state if known is not None and known.status is Status.IN_FORCE else None

    def _is_behind(self, known: KnownSession, block: int) -> bool:
        """Whether more is known than the chain told at `block`. What was known on a chain that is not there any more,
        as the one that is followed is far below it, does not count; what a question has shown while many blocks are
        caught up with does."""
        newest, followed = self._newest(known.key, known), self._followed
        cursor = None if followed is None else followed.cursor
        if block >= newest or followed is None or cursor is None or newest <= cursor.number + _MOST_BLOCKS_BEHIND:
            return block < newest
        return any(block < shown.number for shown in followed.shown_beyond(known.key))

    def _newest(self, key: SessionKey, known: KnownSession | None) -> int:
        """The newest block that what is known rests on."""
        read_at = 0 if known is None or known.block is None else known.block
        restored_at = 0 if self._followed is None else self._followed.restored_at
        return max(self._registry.mined_at(key) or 0, read_at, restored_at)

    async def _take(
        self, key: SessionKey, known: KnownSession | None, exact: ExactReading, counting: Counting | None
    ) -> SessionState | None:
        """Know the session as it was read; one that the chain does not have is not added, but loses its force."""
        reading = exact.reading
        if counting is not None:
            counting.stand()
        enabled = reading.state.enabled
        if not enabled and (known is None or known.status is not Status.IN_FORCE):
            if known is not None and known.status is Status.REMOVED and self._registry.mined_at(key) is not None:
                self._was_read(reading)
                # as the chain has it, its last change included
                self._registry.put(replace(known, block=reading.at.number))
            return None
        state = reading.state
        if known is not None and known.state is not None:
            # the chain keeps only hashes of actions: what a grant told of them stays known
            state = replace(state, targets={**known.state.targets, **state.targets})
        if not enabled:
            state = replace(state, status=SessionStatus.REMOVED)
        self._was_read(reading)
        after = KnownSession(
            key=key,
            status=Status.IN_FORCE if enabled and not reading.dropped else Status.REMOVED,
            source=Source.NODE if known is None else known.source,
            state=state,
            block=reading.at.number,
            updated_at=self._clock(),
        )
        self._registry.put(after)
        if self._taken is not None:
            self._taken(key, known is not None and known.state == state)
        await self._keep(after)
        return state

    def _was_read(self, reading: Reading) -> None:
        if self._followed is not None:
            self._followed.was_read(reading.state.key, reading.at)

    async def find(self, operation: DecodedOperation, state: SessionState, facts: Sequence[MissingFact]) -> Found:
        """As the protocol has it. A state that has changed in the registry meanwhile is returned as it is there now,
        perhaps without what was asked for: the verdict then asks again.

        One question about a session at a time: those who come while it is asked find the answer in the registry.
        """
        async with in_time(self._seconds, _NOT_TOLD):
            return await self._find_in_turn(operation, state, facts)

    async def _find_in_turn(
        self, operation: DecodedOperation, state: SessionState, facts: Sequence[MissingFact]
    ) -> Found:
        known = self._registry.get(state.key)
        turn = self._turns.setdefault(state.key, asyncio.Lock())
        async with turn:
            newest = self._registry.get(state.key)
            if known is not None and known.state is state and newest is not known:
                if newest is None or newest.state is None:
                    raise StateUnavailable("the session changes faster than it can be read")
                return Found(state=newest.state)
            return await self._find(operation, state, facts)

    async def _find(self, operation: DecodedOperation, state: SessionState, facts: Sequence[MissingFact]) -> Found:
        known = self._registry.get(state.key)
        if known is not None and known.state is state and self._moves_counters(state.key, facts):
            return await self._find_exactly(state.key, facts)
        filled = await fill(self._node, state, facts, operation.op)
        found = Found(state=filled.state, answers=filled.answers, base_fee=filled.base_fee)
        if known is None or known.state is not state:
            return found
        if self._moves_counters(state.key, facts):
            return await self._find_exactly(state.key, facts)
        if filled.state is not state and self._registry.get(state.key) is known:
            after = replace(known, state=filled.state, updated_at=self._clock())
            self._registry.put(after)
            if self._taken is not None:
                self._taken(after.key, True)  # nobody knows at which block it was told: it is compared once it is quiet
            await self._keep(after)
        newest = self._registry.get(state.key)
        if newest is None or newest.state is None:
            raise StateUnavailable("the session changes faster than it can be read")
        return replace(found, state=newest.state)

    def _moves_counters(self, key: SessionKey, facts: Sequence[MissingFact]) -> bool:
        """Whether counters are asked for of a session whose counters may be moving: a fact alone is of another block
        than the rest of what is known, and would count an operation mined in between twice or not at all."""
        if not is_readable(key.module) or not any(
            isinstance(fact, TokenLimitFact | PolicyConfigFact) for fact in facts
        ):
            return False
        is_held = self._ledger is not None and self._ledger.number_of_session(key) > 0
        return is_held or self._registry.mined_at(key) is not None

    async def _find_exactly(self, key: SessionKey, facts: Sequence[MissingFact]) -> Found:
        """The whole session anew, with the counters that were asked for."""
        state = await self._session(self._node, key, [fact for fact in facts if isinstance(fact, TokenLimitFact)])
        if state is None:
            raise StateUnavailable("the session is not enabled any more")
        return Found(state=state)

    async def delegate(self, account: Address) -> Address | None:
        async with in_time(self._seconds, _NOT_TOLD):
            return await self._node.delegate(account)


def _as_known(known: KnownSession) -> SessionState:
    """What is known while the node is behind it."""
    if known.state is None or known.status is not Status.IN_FORCE:
        raise StateUnavailable("the node is behind the block in which this session was last changed")
    return known.state
