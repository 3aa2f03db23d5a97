"""Blocks read in order, from the last one that was settled to the newest, and handed on as slices.

Headers are linked to one another by their parents' hashes, so that what is handed on is of one chain. Where a block
does not stand on the last one settled, the chain was reorganised: the newest settled block that is still on it is
looked for, and what stood after that is undone. A node that is not as far as another one was is no reorganisation.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import Final, NamedTuple

from proxy.chain.blocks.acquaintance import Acquaintance
from proxy.chain.blocks.events import BundledClaim, Executed, read_claims, read_executed, read_reason
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.mined import mined_of, name_of
from proxy.chain.blocks.proof import ProvenLogs
from proxy.chain.blocks.source import BlockSource
from proxy.chain.blocks.stretches import events_of, is_linked, stretches
from proxy.chain.blocks.told_gap import told_between
from proxy.chain.blocks.withheld import Withheld
from proxy.chain.declared_logs import dropped_at, granted_in, told_by, used_past
from proxy.chain.logs import Log
from proxy.chain.session_logs import dropped_module, is_grant, session_touched
from proxy.chain.settlement.slices import (
    BlockName,
    ChainEvent,
    ChainPlace,
    OperationMined,
    SessionTold,
    SessionTouched,
    Slice,
    SliceTaker,
)
from proxy.errors import NotGiven, StateUnavailable
from proxy.session.counters import SessionKey
from proxy.userop.declared_module import DeclaredModule, SessionModules, declared_in, declared_modules
from proxy.userop.entry_point import EntryPoint
from proxy.userop.nonce import find_session_module
from proxy.userop.primitives import Address, Hash32

_LOG: Final = logging.getLogger(__name__)
_made: Final = tuple.__new__
_place_of: Final = attrgetter("place")
MOST_BLOCKS_BEHIND: Final = 50_000
"""Of a longer stretch the blocks are not read: what is known is read again, and nonces tell of what was in flight."""
_BLOCKS_A_SLICE: Final = 64
_NEAR: Final = 128
"""Blocks before the newest that are kept by hash: so deep a reorganisation is walked back block by block."""
_ANCESTORS_A_CALL: Final = 16
_OPERATIONS_A_STEP: Final = 16
_LOGS_A_STEP: Final = 64
"""Of declared modules; between two of these the loop is given way."""
_MOST_TRIES: Final = 8
"""So often a block is read again for a bundle in it that tells under which claim an operation was mined."""
_IDLE_ACCOUNTS: Final = 1_024
"""Watched accounts with nothing in flight whose operations are looked for in a block of which a node does not give
everybody's; what others do in it shows when their turn comes, or at the next reading."""


class _Use(NamedTuple):
    event: OperationMined
    sessions: tuple[SessionKey, ...]
    ours: bool
    enables: bool


class _Found(NamedTuple):
    """What a stretch of blocks tells: events in chain order; uses, and grants past the gate by block."""

    events: Sequence[ChainEvent]
    uses: Sequence[_Use]
    grants: Sequence[tuple[int, SessionKey, Hash32]]


class BlockFollower:
    """Follows one chain. `heard` is told each newest block that the node names.

    A session used by an operation that did not come through here has changed as by an event of its module: what it has
    used, only a reading tells.
    """

    def __init__(
        self,
        *,
        chain_id: int,
        modules: Collection[Address],
        entry_points: Collection[EntryPoint],
        source: BlockSource,
        taker: SliceTaker,
        knows: Acquaintance,
        heard: Callable[[Header], None] = lambda _: None,
    ) -> None:
        self._chain_id = chain_id
        self._modules = modules if isinstance(modules, SessionModules) else frozenset(modules)
        self._entry_points = {entry_point.address: entry_point for entry_point in entry_points}
        self._source = source
        self._taker = taker
        self._knows = knows
        self._heard = heard
        self._logs = ProvenLogs(source, self._modules, self._entry_points)
        self._lost = False  # the last look found nothing of what was settled
        self._withheld = Withheld()
        self._unread: dict[Hash32, int] = {}  # how often a bundle was asked for
        self._gives_bundles = True  # until one was asked for in vain

    async def look(self) -> Header:
        """Settle everything up to the node's newest block, which is returned. Raises `StateUnavailable`.

        May be repeated, and given up at any moment: each slice counts whole or not at all.
        """
        head = await self._source.head()
        self._heard(head)
        cursor = self._taker.cursor
        if cursor is None or head.number > cursor.number + MOST_BLOCKS_BEHIND:
            await self._start_at(head)
            return head
        if not await self._stand_on(cursor, head):
            return head
        while (cursor := self._taker.cursor) is not None and cursor.number < head.number:
            try:
                await self._step(cursor, head)
            except NotGiven:
                if not self._withheld.is_given_up(cursor):
                    raise
                _LOG.warning("the logs of a block after %d cannot be had: beginning anew after it", cursor.number)
                await self._start_at(head)
            else:
                self._withheld.given()
        return head

    async def _step(self, cursor: BlockName, head: Header) -> None:
        last = min(cursor.number + _BLOCKS_A_SLICE, head.number)
        headers = await self._headers(range(cursor.number + 1, last + 1))
        if headers[0].parent != cursor.hash or not is_linked(headers):
            raise StateUnavailable(f"the blocks after {cursor.number}: the chain moved while it was read")
        if headers[-1].number == head.number and headers[-1].hash != head.hash:
            raise StateUnavailable(f"block {last}: the node's answers are of two branches")
        try:
            found = await self._found(headers)
        finally:
            self._taker.pace.rest()
        for stretch in stretches(headers, found.events):
            part = self._slice(cursor, stretch, found.events, head)
            await self._taker.settle(part)
            cursor, blocks = part.last, range(part.first, part.last.number + 1)
            for block, key, transaction in found.grants:
                if block in blocks:
                    self._knows.granted(key, transaction)
            for use in found.uses:
                if use.event.block.number in blocks:
                    self._knows.used(use.event, use.sessions, ours=use.ours, enables=use.enables)

    async def _headers(self, numbers: Sequence[int]) -> list[Header]:
        """Those that the node has, from the first on; it may be some blocks behind the one that told the newest."""
        found = await self._source.headers(numbers)
        headers = [header for header in takewhile(lambda header: header is not None, found) if header is not None]
        if not headers:
            raise StateUnavailable(f"block {numbers[0]}: the node that answers has not got it")
        return headers

    # where the chain stands

    async def _stand_on(self, cursor: BlockName, head: Header) -> bool:
        """Have the cursor on the node's chain; false when the node is behind it."""
        if head.number < cursor.number:
            return await self._walk_back(head)
        (there,) = await self._source.headers([cursor.number]) if head.number > cursor.number else (head,)
        if there is None:
            raise StateUnavailable(f"block {cursor.number}: the node that answers has not got it")
        if there.hash == cursor.hash:
            self._lost = False
            return True
        return await self._walk_back(head)

    async def _walk_back(self, head: Header) -> bool:
        """Undo what is on the node's chain no more; false when all that it can tell of is, and it is only behind."""
        if (of_chain := await self._source.chain_id()) != self._chain_id:
            raise StateUnavailable(f"the node is of chain {of_chain}, not {self._chain_id}")
        trail = [block for block in self._taker.trail() if block.number <= head.number]
        for at in range(0, len(trail), _ANCESTORS_A_CALL):
            part = trail[at : at + _ANCESTORS_A_CALL]
            found = await self._source.headers([block.number for block in part])
            for place, (block, header) in enumerate(zip(part, found, strict=True)):
                if header is None:
                    raise StateUnavailable(f"block {block.number}: the node that answers has not got it")
                if header.hash == block.hash:
                    if at + place == 0 and (self._taker.cursor or block).number > head.number:
                        return False
                    if block != self._taker.cursor:
                        _LOG.info("chain %d was reorganised after block %d", self._chain_id, block.number)
                        await self._taker.undo(block)
                    return True
        if not trail:
            return False  # far behind, or of a chain begun anew: that will show once it is as far
        if not self._lost:
            self._lost = True  # once may be a node's mistake
            raise StateUnavailable("the node has none of the blocks that were settled")
        _LOG.warning("chain %d has none of the blocks that were settled: beginning anew", self._chain_id)
        await self._start_at(head)
        return True

    async def _start_at(self, head: Header) -> None:
        if (of_chain := await self._source.chain_id()) != self._chain_id:
            raise StateUnavailable(f"the node is of chain {of_chain}, not {self._chain_id}")
        told = self._told_before(head)
        self._lost = False
        await self._taker.start_at(BlockName(head.number, head.hash), head.timestamp, told)

    def _told_before(self, head: Header) -> AsyncIterator[SessionTold] | None:
        """What declared modules told of sessions up to this block, since the last one that was settled or, where there
        is none, since each was deployed; `None` where that is not known."""
        declared = declared_modules(self._modules)
        cursor = self._taker.cursor
        if self._lost:
            return None  # on a chain begun anew nothing that was told before says anything
        if cursor is not None:
            first = cursor.number + 1
        else:
            begins = [module.from_block for module in declared.values() if module.events]
            known = [block for block in begins if block is not None]
            if not known or len(known) < len(begins):
                return None
            first = min(known)
        return told_between(self._source, self._modules, self._chain_id, first, head.number)

    # what the blocks say

    async def _found(self, headers: Sequence[Header]) -> _Found:
        senders = self._taker.senders()
        logs = await self._logs.of(headers, senders, lambda: self._knows.some_accounts(_IDLE_ACCOUNTS))
        by_number = {header.number: (header, name_of(header)) for header in headers}
        of_entry_points = [log for log in logs if log.address in self._entry_points]
        are_all = len(of_entry_points) == len(logs)  # nearly always
        others = [] if are_all else [log for log in logs if log.address not in self._entry_points]
        executed = [
            (log, event)
            for log in of_entry_points
            if (event := read_executed(log)) is not None and self._concerns(event, senders)
        ]
        claims = await self._claims(executed)
        with_reasons = of_entry_points if len(executed) < len(of_entry_points) else ()  # one of them may tell why
        reasons = dict(reason for log in with_reasons if (reason := read_reason(log)))
        told: list[SessionTold] = []
        for count, log in enumerate(log for log in others if self._declared(log) is not None):
            module = self._declared(log)
            told += () if module is None else told_by(log, module, self._chain_id)
            if count % _LOGS_A_STEP == _LOGS_A_STEP - 1:
                await self._taker.pace.step()
        grants = self._granted_past(others, executed, told)
        events: list[ChainEvent] = [*told]
        for log in others:
            key = None if self._declared(log) else session_touched(log, self._chain_id, self._modules)
            if key is not None:
                block = BlockName(log.block, log.block_hash)
                events.append(SessionTouched(place=ChainPlace(log.block, log.log_index), block=block, key=key))
            elif (dropped := dropped_module(log, self._modules)) is not None:
                place, block = ChainPlace(log.block, log.log_index), BlockName(log.block, log.block_hash)
                sessions = self._knows.sessions_of(dropped, Address(log.address))
                if sessions and declared_in(self._modules, dropped) is not None:
                    events.append(dropped_at(log, dropped, self._chain_id))  # nothing could be read of them
                else:
                    events += [SessionTouched(place=place, block=block, key=each) for each in sessions]
        uses = []
        for count, (log, event) in enumerate(executed):
            if count % _OPERATIONS_A_STEP == _OPERATIONS_A_STEP - 1:
                await self._taker.pace.step()
            claim = claims.get((event.sender, event.nonce))
            mined = mined_of(log, event, by_number[log.block], reasons, claim, chain_id=self._chain_id)
            events.append(mined)
            if sessions := self._sessions_used(event, claim):
                ours = self._knows.is_ours(event.user_op_hash)
                uses.append(_made(_Use, (mined, sessions, ours, claim is not None and claim.enables)))
                if not ours:
                    events += self._used_past(mined, sessions, claim)
        events.sort(key=_place_of)
        await self._taker.pace.step()
        return _Found(events, uses, grants)

    def _slice(
        self,
        parent: BlockName,
        headers: Sequence[Header],
        events: Sequence[ChainEvent],
        head: Header,
    ) -> Slice:
        first, newest = headers[0].number, headers[-1]
        near, is_read_at = head.number - _NEAR, self._taker.is_read_at
        kept = [each for each in headers if each.number > near or each is newest or is_read_at(each.number)]
        return Slice(
            chain_id=self._chain_id,
            first=first,
            last=name_of(newest),
            parent=parent,
            timestamp=newest.timestamp,
            blocks=tuple(map(name_of, kept)),
            events=events_of(events, first, newest.number),
        )

    def _declared(self, log: Log) -> DeclaredModule | None:
        return declared_in(self._modules, log.address)

    def _used_past(
        self, mined: OperationMined, sessions: Sequence[SessionKey], claim: BundledClaim | None
    ) -> Iterator[ChainEvent]:
        """What an operation that did not come through here has used. A reading tells; of declared modules its calls."""
        for key in sessions:
            if declared_in(self._modules, key.module) is None:
                yield SessionTouched(place=mined.place, block=mined.block, key=key)
            elif claim is not None:
                yield used_past(mined, key, claim)

    def _granted_past(
        self, logs: Sequence[Log], executed: Sequence[tuple[Log, Executed]], told: Sequence[SessionTold]
    ) -> list[tuple[int, SessionKey, Hash32]]:
        """Sessions of watched accounts that were granted by no operation of ours, and where.

        An entry point tells of an operation right after its calls: the next operation of that transaction is the one
        whose calls made the log, if any did.
        """
        if not logs:
            return []
        of_transaction: dict[Hash32, list[tuple[int, Executed]]] = {}
        for log, event in executed:
            of_transaction.setdefault(log.transaction_hash, []).append((log.log_index, event))
        by_place = {ChainPlace(log.block, log.log_index): log for log in logs}
        granted = [(by_place[each.place], key) for each in told for key in granted_in(each)]
        for log in logs:
            key = session_touched(log, self._chain_id, self._modules) if is_grant(log) else None
            granted += [] if key is None or self._declared(log) else [(log, key)]
        found = []
        for log, key in granted:
            if not self._knows.watches(key.account):
                continue
            after = [each for each in of_transaction.get(log.transaction_hash, ()) if each[0] > log.log_index]
            by = min(after, key=lambda each: each[0], default=None)
            if by is None or by[1].sender != key.account or not self._knows.is_ours(by[1].user_op_hash):
                found.append((log.block, key, log.transaction_hash))
        return found

    def _sessions_used(self, event: Executed, claim: BundledClaim | None) -> tuple[SessionKey, ...]:
        """Those that the operation was validated by; all it may have been where its bundle cannot be read."""
        named = find_session_module(event.nonce, self._modules)
        if named is None:
            return ()
        module = named[0]
        if claim is None:
            return tuple(self._knows.sessions_of(module, event.sender))
        of = self._chain_id, module, event.sender
        return tuple([_made(SessionKey, (*of, each)) for each in claim.permission_ids])

    def _concerns(self, event: Executed, senders: Collection[Address]) -> bool:
        """An operation of a sender in flight, or of a session of a watched account that did not come through here."""
        if event.sender in senders:
            return True
        return find_session_module(event.nonce, self._modules) is not None and self._knows.watches(event.sender)

    async def _claims(self, executed: Sequence[tuple[Log, Executed]]) -> dict[tuple[Address, int], BundledClaim]:
        """Under which permission ids the operations were mined, as far as their bundles can be had and read."""
        wanted: dict[Hash32, dict[tuple[Address, int], Hash32]] = {}
        entry_points: dict[Hash32, Address] = {}
        for log, event in executed:
            wanted.setdefault(log.transaction_hash, {})[event.sender, event.nonce] = event.user_op_hash
            entry_points[log.transaction_hash] = log.address
        if not wanted:
            return {}
        self._taker.pace.rest()  # a node that hangs holds nobody up
        try:
            transactions = await self._source.transactions(list(wanted))
        except StateUnavailable as error:
            self._wait_for_bundle([event.user_op_hash for _, event in executed])
            # then every claim of these operations stays charged
            _LOG.info("the bundles of chain %d cannot be had: %s", self._chain_id, error)
            return {}
        claims: dict[tuple[Address, int], BundledClaim] = {}
        for name, transaction in zip(wanted, transactions, strict=True):
            entry_point = self._entry_points[entry_points[name]]
            if transaction is None:
                self._wait_for_bundle(wanted[name].values())
                continue
            self._gives_bundles = True
            if transaction.to == entry_point.address:
                claims |= read_claims(transaction.call_data, entry_point, self._modules, wanted[name]) or {}
            await self._taker.pace.step()
        self._unread.clear()
        return claims

    def _wait_for_bundle(self, operations: Iterable[Hash32]) -> None:
        """Where a bundle cannot be had that tells which of several claims counts, the block is read again in a while;
        not for ever, and not where none ever can. Raises `StateUnavailable`."""
        for name in operations:
            if self._knows.is_claimed_twice(name):
                tries = self._unread[name] = self._unread.get(name, 0) + 1
                if tries < _MOST_TRIES and self._gives_bundles:
                    raise StateUnavailable("the bundle of an operation that came under several claims")
                self._gives_bundles = False
