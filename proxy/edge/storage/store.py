"""What a restart must not forget: sessions, freezes, operations in flight. SQLite, one writer.

Reads happen at start, before the first request. Writes gather into one transaction at a time
(`proxy.ledger.group_commit`); a write is on disk when its `await` returns. The audit trail shares the file, with a
connection of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.edge.storage.database import Synchronous
from proxy.edge.storage.opening import open_writer
from proxy.edge.storage.session_rows import (
    drop_freeze,
    freeze_of,
    packed_session_of,
    record_of,
    save_freeze,
    save_session,
    session_of,
)
from proxy.errors import StateUnavailable
from proxy.judge.allowance import Allowance
from proxy.ledger import doubts, ending, rule_tables, session_uses
from proxy.ledger import sqlite as operations
from proxy.ledger.counting_time import KeptTime
from proxy.ledger.database_words import in_words
from proxy.ledger.doubts import Doubt
from proxy.ledger.forgetting import in_parts
from proxy.ledger.operations import AcceptedOperation, Ended, EndedName, InFlight, Stage
from proxy.ledger.reservation import NO_ROWS, RuleRows
from proxy.ledger.statement import Statement
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Status
from proxy.session.shelf import PackedSession
from proxy.session.use import SessionRecord
from proxy.userop.primitives import Hash32

_SAVE_USES: Final = "INSERT OR REPLACE INTO declared_uses VALUES (?, ?, ?, ?, ?, ?)"
_SAVE_SETTLED: Final = "INSERT OR REPLACE INTO settled VALUES (?, ?, ?, ?, ?, ?)"
_SAVE_BLOCK: Final = "INSERT OR REPLACE INTO settled_blocks VALUES (?, ?, ?)"
_PRUNE_BLOCKS: Final = "DELETE FROM settled_blocks WHERE chain_id = ? AND block < ?"
_CUT_BLOCKS: Final = "DELETE FROM settled_blocks WHERE chain_id = ? AND block > ?"
_BLOCKS_KEPT: Final = 4_096
_PRUNE_SESSIONS: Final = "DELETE FROM sessions WHERE status = ? AND updated_at < ?"
_FORGOTTEN_AT_ONCE: Final = 50
_NOTHING: Final = (("SELECT 1", ()),)
_ENDED_SECONDS: Final = 3_600.0
"""No reorganisation brings back what ended so long ago."""
_KNOWN: Final = (
    "SELECT 1 FROM operations_in_flight WHERE user_op_hash = ?",
    *(
        f"SELECT 1 FROM {table} WHERE {operations.PREFIX} = substr(?1, 1, 8) AND user_op_hash = ?1"  # noqa: S608  # ours
        for table in ("operations_ended", "operations_counted")
    ),
)
_PROBE: Final = "INSERT OR REPLACE INTO probes VALUES (1, ?)"


class Store:
    """The gate's memory on disk. One `Store` per process writes; any number may read.

    Making one opens the file and brings its tables up to date; raises `sqlite3.Error` when that fails. Only one that is
    `held` for a gate (`proxy.edge.storage.holding`) has a daybook.
    """

    def __init__(self, path: Path | str, *, synchronous: Synchronous = Synchronous.FULL, held: bool = False) -> None:
        self._path = path
        self.may_forget: Callable[[], bool] = lambda: True
        """Whether it can be told by the time of day what ended long ago."""
        self._connection, self._tally, self._writer, self._lost = open_writer(Path(path), synchronous, held=held)

    def close(self) -> None:
        """Write what was handed over and close the file. Blocks until that is done."""
        self._writer.close()
        self._tally.close()

    @property
    def missing(self) -> int:
        """How many commits were on disk once and are not any more: a lost log or daybook, or an older copy."""
        return self._tally.missing + self._lost

    @property
    def is_unmarked(self) -> bool:
        """Whether nobody can tell how many commits are missing: what counts them beside the file is not there."""
        return self._tally.is_unmarked

    def alive_at(self) -> float | None:
        """When (unix seconds) a gate last tried whether this file can be written; `None` where none ever did."""
        row = next(iter(self._rows("SELECT max(written_at) FROM probes WHERE typeof(written_at) = 'real'")), None)
        return None if row is None or row[0] is None else float(row[0])

    def knows(self, user_op_hash: Hash32) -> bool:
        """Whether an operation is in flight here, or had its end here not long ago."""
        with self._reader() as reader:
            return any(reader.execute(query, (user_op_hash,)).fetchone() is not None for query in _KNOWN)

    def rewound_at(self) -> float | None:
        """Before when (unix seconds) something that rules had counted may be missing; `None` where all is there."""
        row = next(iter(self._rows("SELECT at FROM rewound")), None)
        return None if row is None else float(row[0])

    async def save_rewound(self, at: float | None) -> None:
        """Keep that moment, or that all is taken to be there."""
        if at is None:
            await self._writer.write([("DELETE FROM rewound", ())])
        else:
            await self._writer.write([("INSERT OR REPLACE INTO rewound VALUES (1, ?)", (at,))])

    def displaced(self, why: str | None) -> None:
        """The file that is open is not the one at its path, for this reason; or is again."""
        self._writer.displaced = why

    # reading: blocks, for the start of the gate and for the command line

    def sessions(self) -> Iterator[KnownSession]:
        """Every session kept. Raises `StateUnavailable` at one that cannot be read."""
        return map(session_of, self._rows("SELECT * FROM sessions"))

    def packed_sessions(self) -> Iterator[tuple[SessionKey, PackedSession]]:
        """The same without looking into them. Raises `StateUnavailable` at one that is no session at all."""
        return map(packed_session_of, self._rows("SELECT * FROM sessions"))

    def freezes(self) -> tuple[Freeze, ...]:
        """Every freeze that stands."""
        return tuple(map(freeze_of, self._rows("SELECT * FROM freezes ORDER BY since")))

    def operations_in_flight(self) -> tuple[AcceptedOperation, ...]:
        """The operations whose end is not known, oldest first. Raises `StateUnavailable` as above."""
        return tuple(flight.operation for flight in self.flights())

    def flights(self, *, limit: int | None = None, skip: int = 0) -> tuple[InFlight, ...]:
        """The same, each with how far it had come; a page of them."""
        with self._reader() as reader:
            return tuple(operations.in_flight(reader, limit=limit, skip=skip))

    def ended_names(self) -> tuple[EndedName, ...]:
        """What a reorganisation could bring back, oldest first; more of it is read back only then. Raises as above."""
        with self._reader() as reader:
            return tuple(operations.ended_names(reader))

    def operations_ended(self) -> tuple[Ended, ...]:
        """The whole of these. Raises as above."""
        with self._reader() as reader:
            return tuple(operations.ended(reader))

    def allowances(self) -> tuple[Allowance, ...]:
        """What ops allow by hand."""
        columns = "rule, mark, thing, since, until, reason"
        rows = self._rows(f"SELECT {columns} FROM allowances ORDER BY since")  # noqa: S608  # ours
        return tuple(Allowance(**dict(zip(columns.split(", "), row, strict=True))) for row in rows)

    def doubts(self) -> tuple[Doubt, ...]:
        """Sessions that changed on chain lately, by block. Raises as above."""
        with self._reader() as reader:
            return tuple(doubts.doubts(reader))

    def declared_uses(self) -> Mapping[Counter, int]:
        """What mined operations have used of declared sessions."""
        return {Counter(*row[:5]): row[5] for row in self._rows("SELECT * FROM declared_uses")}

    def settled(self) -> Mapping[int, SettledUpTo]:
        """By chain id, how far its blocks are settled."""
        columns = "chain_id, block, block_hash, timestamp, known_seconds, unproven_until"
        rows = self._rows(f"SELECT {columns} FROM settled")  # noqa: S608  # ours
        return {settled.chain_id: settled for settled in map(_settled_up_to, rows)}

    def settled_blocks(self) -> Mapping[int, tuple[BlockName, ...]]:
        """By chain id, the newest settled blocks that are known by hash, ascending."""
        found: dict[int, list[BlockName]] = {}
        for chain_id, block, block_hash in self._rows("SELECT * FROM settled_blocks ORDER BY block"):
            found.setdefault(chain_id, []).append(BlockName(int(block), Hash32(block_hash)))
        return {chain_id: tuple(blocks) for chain_id, blocks in found.items()}

    def kept_time(self) -> KeptTime | None:
        """By which time rules counted; `None` in a new ledger."""
        for boot, ahead, steady in self._rows("SELECT boot, ahead, steady_since FROM counting_time"):
            return KeptTime(str(boot), float(ahead), None if steady is None else float(steady))
        return None

    def rule_rows(self) -> RuleRows:
        """What rules have counted and learnt. Raises `StateUnavailable` as above."""
        with self._reader() as reader:
            return rule_tables.load(reader)

    # writing: on disk when the await returns; raises `StateUnavailable` when it could not be written

    async def keep(self, outcome: Outcome) -> None:
        """What became of operations, in one transaction. What is begun waits for nothing else; all that changes what
        something before it has changed keeps its order. What ended long ago goes with what ends."""
        statements = _statements(outcome)
        if outcome.remembered and self.may_forget():
            # by the time at which they ended, which no jump of the time of day moves
            newest = max(ended.ended_at for ended in outcome.remembered)
            statements.append(operations.prune_some(newest - _ENDED_SECONDS))
        owed = outcome.ends and not outcome.again
        await self._writer.write(statements, owed=owed, patient=_is_patient(outcome))

    def begin_now(self, operation: AcceptedOperation) -> bool:
        """Whether what is begun is on disk with this; `keep` it where it is not."""
        return self._writer.write_now([operations.begin(operation)])

    def advance(self, name: HoldName, stage: Stage) -> None:
        """An operation has come so far; nobody waits for it, and it may be lost."""
        self._writer.post([operations.advance(name, stage)], idle=True)

    def note(self, outcome: Outcome) -> None:
        """The same, and nobody waits for it: it may be lost."""
        patient = _is_patient(outcome)
        self._writer.post(_statements(outcome), patient=patient, idle=not patient)

    def note_time(self, kept: KeptTime) -> None:
        """By which time rules count from now on."""
        self._writer.post([("INSERT OR REPLACE INTO counting_time VALUES (1, ?, ?, ?)", kept)])

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        """How these operations ended, as kept. Raises `StateUnavailable`."""
        await self._writer.settled()
        return await asyncio.to_thread(self._recall, names)

    def _recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        try:
            with self._reader() as reader:
                return tuple(operations.ended(reader, names))
        except sqlite3.Error as error:
            raise StateUnavailable(f"the ledger could not be read: {in_words(error)}", fact="ledger") from error

    async def records_of(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        """What became of these sessions' operations, and what those had that were removed. Raises
        `StateUnavailable`."""
        await self._writer.settled()
        return await asyncio.to_thread(self.session_records, tuple(keys))

    def session_records(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        """The same, for the command line."""
        try:
            with self._reader() as reader:
                return {key: record_of(reader, key) for key in keys}
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            raise StateUnavailable(f"the ledger could not be read: {in_words(error)}", fact="ledger") from error

    async def save_session(self, session: KnownSession) -> None:
        """A session as now known."""
        await self._writer.write(save_session(session), patient=True)

    async def save_freeze(self, freeze: Freeze) -> None:
        """A freeze, in place of one of the same scope."""
        await self._writer.write([save_freeze(freeze)])

    async def drop_freezes(self, freezes: Sequence[Freeze]) -> None:
        """Freezes that were lifted."""
        await self._writer.write(list(map(drop_freeze, freezes)))

    async def save_allowance(self, allowance: Allowance) -> None:
        """What ops allow a rule's history by hand, in place of the same thing allowed before."""
        row = (allowance.rule, allowance.mark, allowance.thing, allowance.since, allowance.until, allowance.reason)
        await self._writer.write([("INSERT OR REPLACE INTO allowances VALUES (?, ?, ?, ?, ?, ?)", row)])

    async def drop_allowance(self, rule: str, mark: bytes) -> None:
        """Allow it no more."""
        await self._writer.write([("DELETE FROM allowances WHERE rule = ? AND mark = ?", (rule, mark))])

    async def forget_counts(self, rule: bytes, groups: Iterable[bytes]) -> None:
        """Forget what a rule, by its identity, has counted and learnt of these groups."""
        await self._writer.write(rule_tables.forget(rule, groups), long=True)

    async def keep_only(self, rules: Collection[bytes]) -> None:
        """Forget what other rules than these, by their identities, have counted and learnt. However much that is,
        who writes something meanwhile waits for no more than a few groups of it."""
        await self._writer.write(_NOTHING, patient=True, long=True)  # what was handed over before is in the tables then
        for table in rule_tables.NAMES:
            place = rule_tables.BEFORE_ALL
            while names := await asyncio.to_thread(self._named_after, table, place):
                place = names[-1]
                for gone in in_parts([name for name in names if name[1] not in rules], _FORGOTTEN_AT_ONCE):
                    await self._writer.write(rule_tables.drop(table, gone), patient=True, long=True)

    def _named_after(self, table: str, place: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        try:
            with self._reader() as reader:
                return rule_tables.named_after(reader, table, place)
        except sqlite3.Error as error:
            raise StateUnavailable(f"the ledger could not be read: {in_words(error)}", fact="ledger") from error

    async def prune(self, *, removed_before: float, chains: Collection[int], counted: float | None = None) -> None:
        """Forget sessions removed before this time (unix seconds), operations that ended for good, what rules count
        no more, both by the time they are `counted` by, and how far other chains than these were settled."""
        known = ",".join("?" * len(chains))
        now = time.time() if counted is None else counted
        ended_before = now - _ENDED_SECONDS if self.may_forget() else 0.0
        await self._writer.write(
            [
                *session_uses.prune(ended_before=ended_before, removed_before=removed_before),
                (_PRUNE_SESSIONS, (Status.REMOVED, removed_before)),
                operations.prune(ended_before),
                *rule_tables.prune(now),
                *(
                    (f"DELETE FROM {table} WHERE chain_id NOT IN ({known})", tuple(chains))  # noqa: S608  # ours
                    for table in ("settled", "settled_blocks", "doubts")
                ),
            ],
            long=True,
        )

    async def check_writable(self) -> None:
        """Write something. Raises `StateUnavailable`."""
        await self._writer.write([(_PROBE, (time.time(),))], probe=True)
        self._writer.check()

    def _reader(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self._path, timeout=10.0))

    def _rows(self, query: str) -> Iterator[Sequence[Any]]:
        with self._reader() as reader:
            yield from reader.execute(query)


def _statements(outcome: Outcome) -> list[Statement]:
    statements: list[Statement] = []
    if outcome.begun is not None:
        statements.append(operations.begin(outcome.begun))
    if outcome.stages:
        statements += [operations.advance(name, stage) for name, stage in outcome.stages]
    if outcome.silences:
        statements += [operations.silence(name, seconds) for name, seconds in outcome.silences]
    if outcome.moved:
        statements += [operations.move(name, bundler) for name, bundler in outcome.moved]
    for session in outcome.sessions:
        statements += save_session(session)
    if outcome.declared_uses:
        statements += [(_SAVE_USES, (*counter, uses)) for counter, uses in outcome.declared_uses.items()]
    if outcome.ended or outcome.remembered:
        statements += ending.end(outcome.ended, outcome.remembered)
    for flight in outcome.revived:
        statements += ending.revive(flight)
    if outcome.rules is not NO_ROWS:
        statements += rule_tables.save(outcome.rules)
    if outcome.read or outcome.doubts:
        statements += [*doubts.read(outcome.read), *doubts.doubt(outcome.doubts)]
    return statements if outcome.cursor is None else statements + _settled(outcome, outcome.cursor)


def _settled(outcome: Outcome, cursor: SettledUpTo) -> list[Statement]:
    block = cursor.block
    statements: list[Statement] = []
    if outcome.cut is not None:
        statements += [(_CUT_BLOCKS, (cursor.chain_id, outcome.cut)), doubts.cut(cursor.chain_id, outcome.cut)]
    statements += [(_SAVE_BLOCK, (cursor.chain_id, *each)) for each in outcome.blocks]
    oldest = block.number - _BLOCKS_KEPT
    statements += [(_PRUNE_BLOCKS, (cursor.chain_id, oldest)), doubts.prune(cursor.chain_id, oldest)]
    times = cursor.timestamp, cursor.known_seconds, cursor.unproven_until
    statements.append((_SAVE_SETTLED, (cursor.chain_id, *block, *times)))
    return statements


def _settled_up_to(row: Sequence[Any]) -> SettledUpTo:
    chain_id, number, block_hash, timestamp, known, unproven = row
    block = BlockName(int(number), Hash32(block_hash))
    return SettledUpTo(
        int(chain_id), block, int(timestamp), float(known), None if unproven is None else float(unproven)
    )


def _is_patient(outcome: Outcome) -> bool:
    return (
        outcome.ends
        or bool(outcome.sessions)
        or bool(outcome.doubts)
        or bool(outcome.read)
        or bool(outcome.declared_uses)
        or any(outcome.rules)
    )
