"""What became of an operation is proven by the chain itself: what the settlement wants proven, and what bundlers are
silent about. What cannot be proven now is asked again later; what cannot be told ends nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from itertools import islice
from typing import Final, Protocol

from proxy.chain.settlement.due import DueHeap
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import BlockName
from proxy.chain.together import in_turn
from proxy.chain.witness import Fate
from proxy.errors import StateUnavailable
from proxy.ledger.forgetting import in_parts
from proxy.ledger.operations import Evidence, Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Hash32, print_bytes

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 4
_FEWEST_TOGETHER: Final = 2
_A_STEP: Final = 1_000
_ENDS_AT_ONCE: Final = 32
"""Which the store takes together."""
_AGAIN_SECONDS: Final = 15.0
_MOST_TRIES: Final = 8
"""So often a bundle is asked for that would show under which claim an operation was mined."""
_AT_HEAD: Final = Evidence(said="by the entry point's nonce at the node's newest block")

_Fated = Mined | Fate


class _AskMany(Protocol):
    async def __call__(self, slots: Mapping[Hash32, NonceSlot], *, since: int) -> Mapping[Hash32, _Fated]: ...


class Proofs:
    """`found` takes what is proven to be mined."""

    def __init__(
        self,
        settlement: Settlement,
        node: NodeWord,
        *,
        found: Callable[[Mined], Awaitable[None]],
        patience: Patience,
        monotonic: Callable[[], float],
    ) -> None:
        self._settlement = settlement
        self._node = node
        self._found = found
        self._patience = patience
        self._monotonic = monotonic
        self._again: DueHeap[Hash32] = DueHeap()
        self._unread: dict[Hash32, int] = {}  # how often its bundle was asked for
        self._hidden_at: dict[Hash32, BlockName] = {}
        """The newest block settled when a nonce was used and nothing showed why."""

    def forget(self, user_op_hash: Hash32) -> None:
        self._again.discard(user_op_hash)
        if self._hidden_at or self._unread:
            self._hidden_at.pop(user_op_hash, None)
            self._unread.pop(user_op_hash, None)

    def first(self) -> float | None:
        """When, by `monotonic`, the next is due to be proven again."""
        return self._again.first()

    def are_due(self, now: float) -> bool:
        return bool(self._settlement.to_prove) or self._again.is_due(now)

    async def prove(self, user_op_hash: Hash32, *, is_long: bool) -> bool:
        """Whether the chain could be asked what became of the operation. Never raises."""
        flight = self._settlement.flights.get(user_op_hash)
        if flight is None:
            return False
        slot, cursor = flight.slot, self._cursor
        try:
            async with asyncio.timeout(self._patience.timeout):
                since, seen = 0 if cursor is None else cursor.number, self._settlement.unseconded.get(user_op_hash)
                near = None if seen is None else seen.block
                fate = await self._node.witness.fate(slot, user_op_hash, since=since, near=near)
                if fate is Fate.HIDDEN and not await self._burnt({user_op_hash: slot}):
                    return False
                if fate is Fate.TAKEN and not await self._used_by_now({user_op_hash: slot}):
                    return False
        except (TimeoutError, StateUnavailable) as error:
            _LOG.info("what became of %s cannot be told: %s", print_bytes(user_op_hash), error)
            return False
        return await self._conclude(user_op_hash, fate, is_long=is_long)

    async def _conclude(self, user_op_hash: Hash32, fate: Mined | Fate, *, is_long: bool) -> bool:
        """What the chain has said is so. Whether it could be taken in."""
        flight, cursor = self._settlement.flights.get(user_op_hash), self._cursor
        if flight is None:
            return True
        shown = _AT_HEAD if cursor is None else Evidence(block=cursor.number, block_hash=cursor.hash)
        if isinstance(fate, Mined):
            if self._is_taken_back(fate):
                return False
            try:
                await self._found(fate)
            except StateUnavailable:
                return False
        elif fate in (Fate.TAKEN, Fate.HIDDEN):
            await self._settlement.nonce_used(user_op_hash, shown)
        elif is_long:
            silent = max(flight.silent_seconds, self._patience.unmined_after)
            await self._settlement.letting_go.unmined(user_op_hash, shown._replace(silent_seconds=silent))
        return True

    def _is_taken_back(self, mined: Mined) -> bool:
        """Whether the blocks that are settled have another one in its place, where what is taken back was looked for
        already."""
        if self._node.taker is None or mined.block is None or mined.block_hash is None:
            return False
        return self._node.taker.hash_at(mined.block) not in (None, mined.block_hash)

    async def with_claim(self, mined: Mined) -> Mined:
        """Of one that came under several claims, what its bundle shows: under which of them it counts. Raises
        `StateUnavailable` when that cannot be had for now."""
        flight = self._settlement.flights.get(mined.user_op_hash)
        if flight is None or len(flight.claims) == 1 or mined.permission_ids is not None:
            return mined
        tries = self._unread[mined.user_op_hash] = self._unread.get(mined.user_op_hash, 0) + 1
        try:
            async with asyncio.timeout(self._patience.timeout):
                return await self._node.bundle(mined, flight.slot)
        except (TimeoutError, StateUnavailable):
            if tries < _MOST_TRIES:
                raise StateUnavailable("under which claim the operation was mined") from None
            return mined  # then every claim of it stays charged

    @property
    def _cursor(self) -> BlockName | None:
        return None if self._node.taker is None else self._node.taker.cursor

    async def _burnt(self, hidden: Mapping[Hash32, NonceSlot]) -> Set[Hash32]:
        """Those whose nonces were used in blocks that are all settled, none of which shows the operation. Raises
        `StateUnavailable`."""
        cursor, burnt = self._cursor, set[Hash32]()
        if cursor is None:
            return burnt
        seen: dict[BlockName, dict[Hash32, NonceSlot]] = {}
        for user_op_hash, slot in hidden.items():
            if user_op_hash in self._settlement.unproven:
                continue  # it may have been mined where nobody looked
            seen_at = self._hidden_at.setdefault(user_op_hash, cursor)
            if cursor.number > seen_at.number:  # a node may answer with the state of the block that it is making
                self._hidden_at[user_op_hash] = cursor
                seen.setdefault(seen_at, {})[user_op_hash] = slot
        for seen_at, slots in seen.items():
            used = await self._node.witness.used(frozenset(slots.values()), seen_at)
            burnt.update(user_op_hash for user_op_hash, slot in slots.items() if slot in used)
        return burnt - self._settlement.unproven  # blocks may have been missed while it was asked

    async def _used_by_now(self, taken: Mapping[Hash32, NonceSlot]) -> Set[Hash32]:
        """Those whose nonces had been used in blocks that are settled. What used another one may be in a block that the
        chain leaves before it is: nobody would hear that the nonce is unused again. Raises `StateUnavailable`."""
        taker, cursor = self._node.taker, self._cursor
        if taker is None:
            return frozenset(taken)  # no block is settled here
        if cursor is None or not taken:
            return frozenset()
        used = await self._node.witness.used(frozenset(taken.values()), cursor)
        if taker.hash_at(cursor.number) != cursor.hash:
            return frozenset()  # it was undone meanwhile
        return {user_op_hash for user_op_hash, slot in taken.items() if slot in used}

    async def prove_all(self) -> None:
        """What the settlement wants proven; what cannot be is asked again later."""
        wanted, self._settlement.to_prove = self._settlement.to_prove, {}
        now = self._monotonic()
        for count, user_op_hash in enumerate(wanted):
            self._again.put(user_op_hash, now)
            if count % _A_STEP == _A_STEP - 1:
                await asyncio.sleep(0)
        left: dict[Hash32, None] = {}
        try:
            await self._prove_due(now, left)
        finally:
            for part in in_parts(tuple(left), _A_STEP):
                for user_op_hash in part:
                    if self._settlement.flights.get(user_op_hash) is not None:
                        self._again.put(user_op_hash, now + _AGAIN_SECONDS)
                await asyncio.sleep(0)

    async def _prove_due(self, now: float, left: dict[Hash32, None]) -> None:
        """What is due and cannot be proven is `left`. Nearly all are shown by few questions about many; the others have
        to be asked about one by one."""
        alone: list[Hash32] = []
        while part := tuple(islice(self._again.pop_due(now), self._node.at_once())):
            left |= dict.fromkeys(part)
            alone += await self._prove_together(part, left)
            await asyncio.sleep(0)  # of what has ended meanwhile nothing is asked

        async def prove(user_op_hash: Hash32) -> None:
            is_long = self._settlement.flights.is_unmined(user_op_hash)
            if await self.prove(user_op_hash, is_long=is_long):
                self._proven(user_op_hash, left)

        await in_turn(iter(alone), prove, lambda: _AT_ONCE)

    async def _prove_together(self, part: Sequence[Hash32], left: dict[Hash32, None]) -> list[Hash32]:
        """Those of which it is worth while to ask one by one. Never raises."""
        settlement, witness = self._settlement, self._node.witness
        unsaid = {each: flight.slot for each in part if (flight := settlement.flights.get(each)) is not None}
        # those whose nonces a rival was seen to use have no event of their own
        fresh = {each: slot for each, slot in unsaid.items() if each not in settlement.unseconded}
        for ask, slots in ((witness.shown, fresh), (witness.used_by, unsaid)):
            if len(unsaid) < _FEWEST_TOGETHER:
                break
            fates = await self._ask_together(ask, {each: slot for each, slot in slots.items() if each in unsaid})
            if fates is None:
                return []
            await self._conclude_all(fates, unsaid, left)
            for each in fates:
                del unsaid[each]
        return list(unsaid)

    async def _ask_together(self, ask: _AskMany, slots: Mapping[Hash32, NonceSlot]) -> Mapping[Hash32, _Fated] | None:
        """What is told of many; `None` where nothing can be, of none of them."""
        if not slots:
            return {}
        cursor = self._cursor
        try:
            async with asyncio.timeout(self._patience.timeout):
                return await ask(slots, since=0 if cursor is None else cursor.number)
        except TimeoutError:
            return {}  # it may answer for fewer
        except StateUnavailable as error:
            _LOG.info("what became of %d operations cannot be told: %s", len(slots), error)
            return None

    async def _conclude_all(
        self, fates: Mapping[Hash32, _Fated], slots: Mapping[Hash32, NonceSlot], left: dict[Hash32, None]
    ) -> None:
        hidden, taken = (
            {each: slots[each] for each, fate in fates.items() if fate is what} for what in (Fate.HIDDEN, Fate.TAKEN)
        )
        used: Set[Hash32] = set()
        try:
            async with asyncio.timeout(self._patience.timeout):
                used = await self._burnt(hidden) | await self._used_by_now(taken)
        except (TimeoutError, StateUnavailable) as error:
            of = len(hidden) + len(taken)
            _LOG.info("what used the nonces of %d operations cannot be told: %s", of, error)

        async def conclude(told: tuple[Hash32, _Fated]) -> None:
            user_op_hash, fate = told
            if fate is Fate.UNTOLD or (fate in (Fate.HIDDEN, Fate.TAKEN) and user_op_hash not in used):
                return
            is_long = self._settlement.flights.is_unmined(user_op_hash)
            if await self._conclude(user_op_hash, fate, is_long=is_long):
                self._proven(user_op_hash, left)

        await in_turn(iter(fates.items()), conclude, lambda: _ENDS_AT_ONCE)

    def _proven(self, user_op_hash: Hash32, left: dict[Hash32, None]) -> None:
        left.pop(user_op_hash, None)
        if user_op_hash not in self._settlement.to_prove:  # which it is again where blocks were missed meanwhile
            self._settlement.unproven.discard(user_op_hash)
