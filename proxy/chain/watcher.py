"""Sessions that change behind the gate's back are noticed: revoked, edited or enabled through another bundler.

Every so often the watcher asks for the logs of the chain's session modules since the last block it saw, and has each
known session that they tell of read again (for what they do not tell, see `proxy.chain.session_logs`). A session that
was never heard of is left alone: it is looked up when it is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from math import inf
from typing import Final, Protocol

from proxy.chain.age import ChainAge
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import LogFilter
from proxy.chain.logs import Log
from proxy.chain.refresh import Refresh
from proxy.chain.session_logs import SESSION_TOPICS, session_touched
from proxy.chain.together import together
from proxy.chain.trail import Cursor, LogName, Touch, Trail
from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32, print_bytes

_LOG: Final = logging.getLogger(__name__)
_MOST_BLOCKS_BEHIND: Final = 50_000
"""Of a longer stretch the logs are not asked for: reading what is known again is cheaper."""
_MOST_BLOCKS_A_CALL: Final = 2_000
_READINGS_AT_ONCE: Final = 4
_KEEP_SECONDS: Final = 30.0
"""Between two writes of the cursor: it only saves work after a restart."""
_LONGEST_PAUSE: Final = 30.0


class BlockSource(Protocol):
    """What is asked of the node; see `proxy.chain.node.Node`. Every method raises `StateUnavailable`."""

    async def head(self) -> Header: ...

    async def block_hash(self, number: int) -> Hash32 | None: ...

    async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]: ...


class WatchKeeper(Protocol):
    """Keeps on disk what the watcher learns. Raises `StateUnavailable`."""

    async def save_session(self, session: KnownSession) -> None:
        """A session as now known."""

    async def save_cursor(self, chain_id: int, cursor: Cursor) -> None:
        """Up to here the chain's logs have been seen to."""


class Watcher:
    """Watches the session modules of one chain.

    `cursor` is the one kept before a restart. `clock` gives unix seconds.
    """

    def __init__(
        self,
        *,
        chain_id: int,
        modules: Collection[Address],
        source: BlockSource,
        registry: Registry,
        refresh: Refresh,
        keeper: WatchKeeper,
        clock: Callable[[], float],
        poll_seconds: float,
        cursor: Cursor | None = None,
        age: ChainAge | None = None,
    ) -> None:
        self._chain_id = chain_id
        self._modules = frozenset(modules)
        self._source = source
        self._wanted = LogFilter(addresses=tuple(self._modules), topics=(SESSION_TOPICS,))
        self._registry = registry
        self._refresh = refresh
        self._keeper = keeper
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._trail = None if cursor is None else Trail(cursor)
        self._age = age
        self._span = _MOST_BLOCKS_A_CALL
        self._up_to_date_at = clock()
        self._kept_at = -inf

    @property
    def lag_seconds(self) -> float:
        """For how long the node may have known more than the registry."""
        return max(self._clock() - self._up_to_date_at, 0.0)

    async def run(self) -> None:
        """Watch until cancelled. No failure of the node or the store ends it."""
        failures = 0
        while True:
            try:
                await self.look()
                failures = 0
            except StateUnavailable as error:
                failures += 1
                _LOG.warning("session logs of chain %d: %s", self._chain_id, error.what)
            except Exception:
                failures += 1
                _LOG.exception("looking at the session logs of chain %d failed; trying again", self._chain_id)
            await asyncio.sleep(_pause(self._poll_seconds, failures))

    async def look(self) -> None:
        """Bring the registry up to date with the node's newest block. Raises `StateUnavailable`; may be repeated."""
        newest = await self._source.head()
        head = Cursor(newest.number, newest.hash)
        if self._age is not None:
            self._age.heard(newest)
        trail = self._trail
        shared = None if trail is None else await self._shared(trail, head)
        if trail is None or shared is None:
            await self._start_over(head)
        elif not await self._follow(trail, shared, head):
            return
        self._up_to_date_at = self._clock()
        if self._age is not None:
            self._age.confirmed()
        if self._up_to_date_at - self._kept_at >= _KEEP_SECONDS:
            await self._keeper.save_cursor(self._chain_id, head)
            self._kept_at = self._up_to_date_at

    async def _shared(self, trail: Trail, head: Cursor) -> int | None:
        """The newest block of the trail that is on the node's chain; `None` when there is none, or it is too old."""
        for seen in trail.blocks_down_from(head.block):
            if head.block - seen.block > _MOST_BLOCKS_BEHIND:
                break
            on_chain = head.block_hash if seen.block == head.block else await self._source.block_hash(seen.block)
            if on_chain == seen.block_hash:
                return seen.block
        return None

    async def _start_over(self, head: Cursor) -> None:
        """What happened before this block cannot be told from logs: read every session in force again."""
        known = [
            session.key
            for session in self._registry
            if self._is_watched(session) and session.status is Status.IN_FORCE and session.state is not None
        ]
        _LOG.info("chain %d is watched from block %d; reading %d sessions", self._chain_id, head.block, len(known))
        await self._read_again(known, head.block)
        self._trail = Trail(head)

    async def _follow(self, trail: Trail, shared: int, head: Cursor) -> bool:
        """See to what happened since; false when this node is not as far as another one was before."""
        if any(seen.block > shared for seen in trail.blocks_down_from(head.block)):
            _LOG.info("chain %d was reorganised after block %d", self._chain_id, shared)
            read_there = [
                session.key
                for session in self._registry
                if self._is_watched(session) and session.block is not None and session.block > shared
            ]
            for key in read_there:
                # no reading of a newer chain is behind it
                self._registry.forget_block(key)
            await self._read_again([*trail.touched_after(shared), *read_there], head.block)
            trail.cut(shared)
        elif trail.newest.block >= head.block:
            return trail.newest == head
        await self._scan(trail, head.block)
        trail.reached(head)
        return True

    async def _scan(self, trail: Trail, last: int) -> None:
        first = trail.first_to_scan
        while first <= last:
            end = min(first + self._span - 1, last)
            try:
                logs = await self._source.logs_between(first, end, self._wanted)
            except StateUnavailable:
                if end == first:
                    raise
                # too many blocks or logs at once, by the limits of a node that we do not know
                self._span = (end - first + 1) // 2
                continue
            self._span = min(self._span + self._span // 4 + 1, _MOST_BLOCKS_A_CALL)
            found = self._touches(logs)
            await self._read_again(trail.changed(first, end, found), end)
            trail.scanned(first, end, found)
            first = end + 1

    def _touches(self, logs: Iterable[Log]) -> dict[LogName, Touch]:
        found = {}
        for log in logs:
            key = session_touched(log, self._chain_id, self._modules)
            if key is not None:
                found[LogName(log.block_hash, log.log_index)] = Touch(log.block, key)
        return found

    def _is_watched(self, session: KnownSession) -> bool:
        return session.key.chain_id == self._chain_id and session.key.module in self._modules

    async def _read_again(self, keys: Iterable[SessionKey], block: int) -> None:
        """Have sessions read as they are at `block` or later."""
        left = iter(dict.fromkeys(keys))

        async def read_some() -> None:
            for key in left:  # shared by all who read
                await self._read_one(key, block)

        await together(*(read_some() for _ in range(_READINGS_AT_ONCE)))

    async def _read_one(self, key: SessionKey, block: int) -> None:
        """Read a known session again; one that cannot be read is not judged by what was known before."""
        if self._registry.get(key) is None:
            return
        try:
            await self._refresh(key)
            self._check_age(key, block)
        except StateUnavailable as error:
            _LOG.warning("session %s changed and cannot be read: %s", print_bytes(key.permission_id), error.what)
            await self._doubt(key)
        except Exception:
            # no session may keep the others from being watched
            _LOG.exception("reading session %s, which changed, failed", print_bytes(key.permission_id))
            await self._doubt(key)

    def _check_age(self, key: SessionKey, block: int) -> None:
        """Of several nodes behind one address, one may have answered that has not got the change yet."""
        read = self._registry.get(key)
        if read is not None and read.status is Status.IN_FORCE and read.block is not None and read.block < block:
            raise StateUnavailable(f"it was read at block {read.block}, which is before {block}")

    async def _doubt(self, key: SessionKey) -> None:
        known = self._registry.get(key)
        if known is None:
            return
        if known.status is Status.IN_FORCE and known.state is not None:
            known = replace(known, state=None, block=None, updated_at=self._clock())
            self._registry.put(known)
        # also what was read and could not be kept
        await self._keeper.save_session(known)


def _pause(poll_seconds: float, failures: int) -> float:
    """Seconds until the next look: twice as long after each failure, up to a bound."""
    return max(min(poll_seconds * 2.0 ** min(failures, 16), _LONGEST_PAUSE), poll_seconds)
