"""What a restart must not forget: sessions, freezes, operations in flight. SQLite, one writer thread.

Reads happen at start, before the first request. Writes are handed to the thread, which commits what has gathered as
one transaction; a write is on disk when its `await` returns. The audit trail shares the file, with a connection of
its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

import orjson

from proxy.chain.tracker import AcceptedOperation, Outcome
from proxy.edge.database import open_database
from proxy.edge.records import record_from_json, record_to_json
from proxy.errors import StateUnavailable
from proxy.session.codec import state_from_json, state_to_json
from proxy.session.counters import Counter, SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Source, Status
from proxy.userop.primitives import Address, Hash32

_SAVE_SESSION: Final = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAVE_FREEZE: Final = "INSERT OR REPLACE INTO freezes VALUES (?, ?, ?, ?, ?)"
_DROP_FREEZE: Final = "DELETE FROM freezes WHERE permission_id = ? AND account = ? AND chain_id = ?"
_SAVE_OPERATION: Final = "INSERT OR REPLACE INTO operations_in_flight VALUES (?, ?, ?)"
_DROP_OPERATION: Final = "DELETE FROM operations_in_flight WHERE user_op_hash = ?"
_SAVE_USES: Final = "INSERT OR REPLACE INTO declared_uses VALUES (?, ?, ?, ?, ?, ?)"
_MOST_JOBS_A_COMMIT: Final = 256

Statement = tuple[str, Sequence[object]]


@dataclass(slots=True)
class _Job:
    statements: Sequence[Statement]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def end(self, error: Exception | None) -> None:
        """Tell the waiting task, which may have gone away, as may its loop."""
        try:
            self.loop.call_soon_threadsafe(self._settle, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _settle(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(StateUnavailable(f"the store could not be written ({type(error).__name__})"))


class Store:
    """The gate's memory on disk. One `Store` per process writes; any number may read.

    Making one opens the file and brings its tables up to date; raises `sqlite3.Error` when that fails.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._connection = open_database(path)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._writer = Thread(target=self._write, name="store", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Write what was handed over and close the file. Blocks until that is done."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._writer.join()
            self._connection.close()

    # reading: blocks, for the start of the gate and for the command line

    def sessions(self) -> Iterator[KnownSession]:
        """Every session kept. Raises `StateUnavailable` at one that cannot be read."""
        return map(_session, self._rows("SELECT * FROM sessions"))

    def freezes(self) -> tuple[Freeze, ...]:
        """Every freeze that stands."""
        return tuple(map(_freeze, self._rows("SELECT * FROM freezes ORDER BY since")))

    def operations_in_flight(self) -> tuple[AcceptedOperation, ...]:
        """The operations whose end is not known, oldest first. Raises `StateUnavailable` as above."""
        rows = self._rows("SELECT record FROM operations_in_flight ORDER BY accepted_at")
        return tuple(record_from_json(record, AcceptedOperation) for (record,) in rows)

    def declared_uses(self) -> Mapping[Counter, int]:
        """What mined operations have used of declared sessions."""
        return {Counter(*row[:5]): row[5] for row in self._rows("SELECT * FROM declared_uses")}

    # writing: on disk when the await returns; raises `StateUnavailable` when it could not be written

    async def keep(self, outcome: Outcome) -> None:
        """What became of operations, in one transaction."""
        statements: list[Statement] = [_save_session(session) for session in outcome.sessions]
        statements += [(_SAVE_USES, (*counter, uses)) for counter, uses in outcome.declared_uses.items()]
        if (begun := outcome.begun) is not None:
            record = record_to_json(begun)
            statements.append((_SAVE_OPERATION, (begun.user_op_hash, begun.accepted_at, record)))
        statements += [(_DROP_OPERATION, (user_op_hash,)) for user_op_hash in outcome.ended]
        await self._submit(statements)

    async def save_session(self, session: KnownSession) -> None:
        """A session as now known."""
        await self._submit([_save_session(session)])

    async def save_freeze(self, freeze: Freeze) -> None:
        """A freeze, in place of one of the same scope."""
        await self._submit([(_SAVE_FREEZE, (*_scope(freeze), freeze.since, freeze.note))])

    async def drop_freezes(self, freezes: Sequence[Freeze]) -> None:
        """Freezes that were lifted."""
        await self._submit([(_DROP_FREEZE, _scope(freeze)) for freeze in freezes])

    async def check_writable(self) -> None:
        """Write nothing, but as a write would. Raises `StateUnavailable`."""
        await self._submit([("DELETE FROM freezes WHERE 0", ())])

    def _rows(self, query: str) -> Iterator[Sequence[Any]]:
        with closing(sqlite3.connect(self._path, timeout=10.0)) as reader:
            yield from reader.execute(query)

    async def _submit(self, statements: Sequence[Statement]) -> None:
        if not statements:
            return
        if self._closed:
            raise StateUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job(statements, loop, loop.create_future())
        self._jobs.put(job)
        await job.done

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            last = False
            while not self._jobs.empty() and len(jobs) < _MOST_JOBS_A_COMMIT:
                if (more := self._jobs.get()) is None:
                    last = True
                    break
                jobs.append(more)
            self._commit(jobs)
            if last:
                return

    def _commit(self, jobs: Sequence[_Job]) -> None:
        try:
            self._transact([statement for job in jobs for statement in job.statements])
        except Exception as error:
            # whatever it is, those who wait must hear of it
            if len(jobs) == 1:
                jobs[0].end(error)
                return
            # one of them is at fault: each for itself, so that the others are kept
            for job in jobs:
                self._commit([job])
        else:
            for job in jobs:
                job.end(None)

    def _transact(self, statements: Sequence[Statement]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                self._connection.execute(sql, values)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _scope(freeze: Freeze) -> tuple[bytes, bytes, int]:
    # a primary key takes no NULLs: no account is empty, no chain has the id 0
    return freeze.permission_id, freeze.account or b"", freeze.chain_id or 0


def _freeze(row: Sequence[Any]) -> Freeze:
    permission_id, account, chain_id, since, note = row
    return Freeze(
        permission_id=Hash32(permission_id),
        account=Address(account) if account else None,
        chain_id=chain_id or None,
        since=since,
        note=note,
    )


def _save_session(session: KnownSession) -> Statement:
    key = session.key
    state = None if session.state is None else orjson.dumps(state_to_json(session.state)).decode()
    names = (key.chain_id, key.module, key.account, key.permission_id)
    rest = (session.status, session.source, state, session.granted_by, session.block, session.updated_at)
    return _SAVE_SESSION, (*names, *rest)


def _session(row: Sequence[Any]) -> KnownSession:
    chain_id, module, account, permission_id, status, source, state, granted_by, block, updated_at = row
    try:
        return KnownSession(
            key=SessionKey(chain_id, Address(module), Address(account), Hash32(permission_id)),
            status=Status(status),
            source=Source(source),
            state=None if state is None else state_from_json(orjson.loads(state)),
            granted_by=None if granted_by is None else Hash32(granted_by),
            block=block,
            updated_at=updated_at,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StateUnavailable(f"a stored session cannot be read ({type(error).__name__})") from error
