"""The logs of a stretch of blocks, and the proof that there are no others.

An empty answer proves nothing: of several nodes behind one address, one may have answered that has not got the
blocks. What proves a block:

- its header's filter has no bit of what is looked for: there is no such log in it;
- an answer with a log of this block, or of a later one of the same stretch: whoever gave it has the block;
- all logs of the block, asked by its hash, set every bit of its filter: what was looked for is not among them.

On a chain whose headers keep no filter, and where a node does not give all logs of a block, the same question asked a
second time decides. Every log has to be of a block whose header is at hand, by hash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter
from typing import Final

from proxy.chain.blocks.events import OPERATION_TOPICS
from proxy.chain.blocks.header import Header, covers, may_hold
from proxy.chain.blocks.source import BlockSource, LogFilter
from proxy.chain.declared_logs import topics_of
from proxy.chain.logs import Log
from proxy.chain.session_logs import MODULE_UNINSTALLED
from proxy.errors import StateUnavailable
from proxy.userop.primitives import Address, Hash32

_LOG: Final = logging.getLogger(__name__)
_DROPS: Final = LogFilter(topics=((MODULE_UNINSTALLED,),))
_MOST_BY_HASH: Final = 4
"""So many blocks are asked for one by one, more in one question."""
_SENDERS_A_CALL: Final = 128
_LOGS_A_STEP: Final = 128
"""Between two of these the loop is given way."""
_place_of: Final = attrgetter("block", "log_index")


class ProvenLogs:
    """Asks for the logs of session modules and entry points. `modules` and `entry_points` are never both empty."""

    def __init__(self, source: BlockSource, modules: Collection[Address], entry_points: Iterable[Address]) -> None:
        self._source = source
        self._topics = topics_of(modules)
        self._modules = tuple(sorted(self._topics))
        of_modules = (topic for module in self._modules for topic in self._topics[module])
        self._of_modules = tuple(dict.fromkeys(of_modules))
        self._entry_points = tuple(sorted(entry_points))
        self._all = LogFilter(
            addresses=self._modules + self._entry_points,
            topics=((*self._of_modules, *OPERATION_TOPICS),),
        )
        self._span = 64
        self._idle: Callable[[], Iterable[Address]] = tuple
        self._keeps_blooms = False

    async def of(
        self,
        headers: Sequence[Header],
        senders: Iterable[Address],
        idle: Callable[[], Iterable[Address]] = tuple,
    ) -> list[Log]:
        """Every log that concerns us of these blocks, which follow one another, in chain order.

        `senders` are those whose operations must be among them where the node cannot give everybody's, `idle` gives
        others that are looked for then.
        Raises `StateUnavailable` when it cannot be proven that these are all.
        """
        self._idle = idle
        self._keeps_blooms = self._keeps_blooms or any(header.bloom for header in headers)
        suspects = [header for header in headers if self._may_concern(header)]
        found: list[Log] = []
        if len(suspects) <= _MOST_BY_HASH:
            for header in suspects:
                found += await self._of_block(header, senders)
        else:
            found = await self._of_stretch(headers, suspects, senders)
        found += await self._of_accounts(headers)
        return sorted(found, key=_place_of)

    def _may_concern(self, header: Header) -> bool:
        if not self._keeps_blooms:
            return True
        bloom = header.bloom
        return any(
            may_hold(bloom, address) and any(may_hold(bloom, topic) for topic in topics)
            for address, topics in (
                *self._topics.items(),
                *((entry_point, OPERATION_TOPICS) for entry_point in self._entry_points),
            )
        )

    async def _of_accounts(self, headers: Sequence[Header]) -> list[Log]:
        """What accounts say of modules that they drop, where the filters tell that one may have. Not proven: who misses
        it knows a session for longer than its account does, and the chain refuses what comes of that."""
        told = [header for header in headers if header.bloom and may_hold(header.bloom, MODULE_UNINSTALLED)]
        if not told or not self._modules:
            return []
        try:
            logs = await self._source.logs_between(told[0].number, told[-1].number, _DROPS)
        except StateUnavailable as error:
            _LOG.info("which accounts dropped modules cannot be had: %s", error)
            return []
        names = {header.number: header.hash for header in headers}
        return [log for log in logs if names.get(log.block) == log.block_hash and not log.removed]

    async def _of_stretch(
        self, headers: Sequence[Header], suspects: Sequence[Header], senders: Iterable[Address]
    ) -> list[Log]:
        """In questions for as many blocks as the node answers for."""
        found: list[Log] = []
        at = 0
        while at < len(suspects):
            part = suspects[at : at + self._span]
            if len(part) <= _MOST_BY_HASH:
                for header in part:
                    found += await self._of_block(header, senders)
                at += len(part)
                continue
            try:
                logs = await self._source.logs_between(part[0].number, part[-1].number, self._all)
            except StateUnavailable:
                # too many blocks or logs at once, by the limits of a node that we do not know
                self._span = len(part) // 2
                continue
            self._span = min(self._span + self._span // 4 + 1, 1_024)
            await _are_of(logs, [each for each in headers if part[0].number <= each.number <= part[-1].number])
            proven = max((log.block for log in logs), default=-1)
            found += [log for log in logs if log.block <= proven]
            for header in part:
                if header.number > proven:
                    found += await self._of_block(header, senders)
            at += len(part)
        return found

    async def _of_block(self, header: Header, senders: Iterable[Address]) -> list[Log]:
        try:
            logs = await self._source.logs_of(header.hash, self._all)
        except StateUnavailable:
            return await self._of_block_in_parts(header, senders)
        await _are_of(logs, (header,))
        if logs:
            return list(logs)
        return await self._second_look(header, self._all)

    async def _second_look(self, header: Header, wanted: LogFilter) -> list[Log]:
        """What an empty answer left open. Raises `StateUnavailable` when it stays open."""
        if header.bloom:
            try:
                logs = await self._source.logs_of(header.hash, LogFilter())
            except StateUnavailable:
                pass  # more than the node gives at once: not every chain is small enough for this proof
            else:
                await _are_of(logs, (header,))
                if not covers(logs, header.bloom):
                    raise StateUnavailable(f"the logs of block {header.number}: the node that answers has not got them")
                return [log for log in logs if wanted.fits(log)]
        logs = await self._source.logs_of(header.hash, wanted)
        await _are_of(logs, (header,))
        return list(logs)

    async def _of_block_in_parts(self, header: Header, senders: Iterable[Address]) -> list[Log]:
        """A block with more of other people's operations than the node gives at once: only ours."""
        wanted = [LogFilter(addresses=self._modules, topics=(self._of_modules,))] if self._modules else []
        padded = [Hash32(bytes(12) + sender) for sender in dict.fromkeys((*senders, *self._idle()))]
        wanted += [
            LogFilter(
                addresses=self._entry_points,
                topics=(OPERATION_TOPICS, (), tuple(padded[at : at + _SENDERS_A_CALL])),
            )
            for at in range(0, len(padded), _SENDERS_A_CALL)
        ]
        found: list[Log] = []
        for each in wanted:
            logs = await self._source.logs_of(header.hash, each)
            await _are_of(logs, (header,))
            found += logs or await self._second_look(header, each)
        return found


async def _are_of(logs: Sequence[Log], headers: Sequence[Header]) -> None:
    """Raises `StateUnavailable` for a log of another block: the node is on another branch than the headers are."""
    names = {header.number: header.hash for header in headers}
    first, last = headers[0].number, headers[-1].number
    for count, log in enumerate(logs):
        if count % _LOGS_A_STEP == _LOGS_A_STEP - 1:
            await asyncio.sleep(0)
        if log.removed or names.get(log.block) != log.block_hash:
            raise StateUnavailable(f"the logs of blocks {first} to {last}: the node answers with those of other blocks")
