"""Group commit: writes of many tasks, gathered by one thread into one SQLite transaction at a time.

While one transaction is being made durable the next one gathers, so that the cost of durability is shared by all
who wait for it, and nobody waits longer for company.

Where no power cut is waited for, what a turn of the loop writes is on disk in one append to the daybook (`daybook`),
and is entered into the database some moments later, many turns at a time and in the loop's own thread, as long as
nothing makes that wait (`prompt_commit`). Whatever would have to wait is the writing thread's.

What is `owed` when the file cannot be written goes before whatever is written next, in the same transaction. So rows
that hold a sum never reach the disk without the records of all that went into it, and a process that dies meanwhile
leaves what it would have left a moment earlier.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Final

from proxy.errors import StateUnavailable
from proxy.ledger.database_words import in_words
from proxy.ledger.daybook import Daybook, DayRecord, entered, first_chunk
from proxy.ledger.prompt_commit import MOST_STATEMENTS, Count, PromptCommit, Statement, fold, transact

_LOG: Final = logging.getLogger(__name__)
_MOST_JOBS_A_COMMIT: Final = 256
_MOST_PATIENT_A_COMMIT: Final = 2
"""Few, so that nobody waits long for them."""
_FRESH_SECONDS: Final = 10.0
_ENTER_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 0.02
_MOST_BACKLOG: Final = 10_000
"""Turns of the loop that are noted down and not entered: more of them, and the disk is waited for."""
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of the daybook; then it is begun anew as soon as all of it is entered."""
_NOTHING: Final = ("SELECT 1", ())


@dataclass(slots=True)
class _Job:
    statements: Sequence[Statement]
    loop: asyncio.AbstractEventLoop | None = None  # `None` when nobody waits
    done: asyncio.Future[None] | None = None
    probe: bool = False
    owed: bool = False
    patient: bool = False
    plain: bool = False  # for the thread, whatever else there is
    noted: bool = False  # in the daybook


class GroupCommit:
    """The one writer of a database. `connection` must not be in a transaction, nor be used by anybody else.

    `count` is called in each transaction before it is committed, and what it returns afterwards. As long as `displaced`
    says why the file is not where it should be, only what is owed is written. With a `prompt` writer and a `daybook`
    what is written waits for neither lock nor thread.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        count: Count | None = None,
        *,
        prompt: PromptCommit | None = None,
        daybook: Daybook | None = None,
    ) -> None:
        self.displaced: str | None = None
        self._connection = connection
        self._count = count
        self._prompt = prompt
        self._daybook = daybook
        self._backlog: list[DayRecord] = []  # noted down, not entered
        self._entering: asyncio.Handle | None = None  # on the loop whose turn it is
        self._handing: asyncio.Handle | None = None  # likewise
        self._idles = False  # whether that is for nothing that anybody is waiting for
        self._jobs: SimpleQueue[Sequence[_Job] | Callable[[], None] | None] = SimpleQueue()
        # how many jobs, and how many of them that are not noted down: two counts of the loop's, two of the thread's
        self._handed, self._handed_plain = 0, 0
        self._finished, self._finished_plain = 0, 0
        self._turn: list[_Job] = []  # what this turn of the loop writes
        self._loop: asyncio.AbstractEventLoop | None = None  # whose turn it is
        self._closed = False
        self._owed: list[_Job] = []  # the writing thread's own
        self._failure: tuple[str, float] | None = None  # of the last write: why, and when (monotonic)
        self._thread = Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was handed over and close the connection. Blocks until that is done."""
        if not self._closed:
            self._hand_over()
            self._closed = True
            self._give_backlog()
            self._jobs.put(None)
            self._thread.join()
            if self._daybook is not None:
                self._close_daybook(self._daybook)
            self._connection.close()
            if self._prompt is not None:
                self._prompt.close()

    def _close_daybook(self, daybook: Daybook) -> None:
        """What could not be entered stays in it, for the next start."""
        if not self._owed:
            with suppress(sqlite3.Error, OSError):
                transact(self._connection, [entered(daybook.last, is_open=False)], self._count)
                daybook.begin_anew()
        daybook.close()

    async def write(
        self,
        statements: Sequence[Statement],
        *,
        probe: bool = False,
        owed: bool = False,
        patient: bool = False,
        long: bool = False,
    ) -> None:
        """Returns when the statements, all or none, are committed. Raises `StateUnavailable`.

        The success of a `probe` does not make up for the failure of a write. What is `owed` is written later where
        the file cannot be written now, and no later than anything else; its caller hears of the failure all the same.

        What is `patient` has a lane of its own, of which little is written at a time: what is not never waits for
        more than that. Order is kept within a lane. What takes `long` is no work for the loop.

        A caller who stops waiting does not stop the write.
        """
        if not statements:
            return
        if self._closed:
            raise StateUnavailable("the ledger is closed", fact="ledger")
        if self.displaced is not None and not owed:
            raise StateUnavailable(f"the ledger is not where it was: {self.displaced}", fact="ledger")
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._add(_Job(statements, loop, done, probe, owed, patient, plain=probe or long), loop)
        await done

    def write_now(self, statements: Sequence[Statement]) -> bool:
        """Whether the statements are on disk, after all that was handed over before. Otherwise nothing of them is, and
        they may be written by who can wait."""
        if self._daybook is None or self._closed or self.displaced is not None:
            return False
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._go_on_in(loop)
        turn = self._turn
        if self._note_down(turn, statements):
            if turn:
                self._turn = []
            return True
        self._hand_over()
        return False

    def post(self, statements: Sequence[Statement], *, patient: bool = False, idle: bool = False) -> None:
        """Hand statements over that nobody waits for, to be written after all of their lane that were handed over
        before; `idle` ones with whatever is written next, or a moment later.

        A write that fails is logged and lost: only for what may be lost.
        """
        if statements and not self._closed:
            self._add(_Job(statements, patient=patient), asyncio.get_running_loop(), idle=idle)

    def _add(self, job: _Job, loop: asyncio.AbstractEventLoop, *, idle: bool = False) -> None:
        """Waking the thread costs the loop more than the rest of a write: all of one turn goes over at once."""
        if self._loop is not loop:
            self._go_on_in(loop)
        self._turn.append(job)
        if not idle and (self._handing is None or self._idles):
            if self._handing is not None:
                self._handing.cancel()
            self._handing, self._idles = loop.call_soon(self._hand_over), False
        elif self._handing is None:
            self._handing, self._idles = loop.call_later(_IDLE_SECONDS, self._hand_over), True

    def _go_on_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Another one may have ended before it handed over."""
        self._loop, self._entering, self._handing = loop, None, None

    def _hand_over(self) -> None:
        self._handing = None
        turn, self._turn = self._turn, []
        if not turn:
            return
        if not self._note_down(turn):
            self._give_backlog()
            self._give(turn)

    def _note_down(self, turn: Sequence[_Job], last: Sequence[Statement] | None = None) -> bool:
        """Whether it is on disk with that, the `last` statements too: not where something waits for the thread that is
        not noted down either."""
        daybook = self._daybook
        if daybook is None or self._closed or self._owed or self._handed_plain != self._finished_plain:
            return False
        if len(self._backlog) > _MOST_BACKLOG:
            return False
        jobs, waited = [], []
        for job in turn:
            if job.plain:
                return False
            jobs.append(job.statements)
            if job.done is not None:
                waited.append(job)
        if last is not None:
            jobs.append(last)
        try:
            record = daybook.write(jobs)
        except Exception:  # the writing thread tries it again, and tells what is wrong
            record = None
        if record is None:
            return False
        self._backlog.append(record)
        if waited:
            self._failure = None
            _end_here(waited, self._loop)
        if self._entering is None and self._loop is not None:
            self._entering = self._loop.call_later(_ENTER_SECONDS, self._enter)
        return True

    def _enter(self) -> None:
        """Enter what fits into one piece of work; what is left in another turn of the loop."""
        self._entering = None
        prompt, daybook, loop = self._prompt, self._daybook, self._loop
        if prompt is None or daybook is None or loop is None or self._closed or not self._backlog:
            return
        if self._handed != self._finished or self._owed:  # nothing overtakes what the thread has yet to write
            self._entering = loop.call_later(_ENTER_SECONDS, self._enter)
            return
        statements, number, records = first_chunk(self._backlog, MOST_STATEMENTS)
        if not prompt.commit([*statements, entered(number)], self._count):
            self._give_backlog()
            return
        del self._backlog[:records]
        if prompt.wants_fold(len(statements)):
            self._jobs.put(partial(self._begin_fold, loop))
        if self._backlog:
            self._entering = loop.call_soon(self._enter)
        elif daybook.size > _MOST_BYTES:
            with suppress(OSError):
                daybook.begin_anew()

    async def settled(self) -> None:
        """Returns when what was handed over before can be read in the database, as far as that can be written."""
        self._hand_over()
        while self._backlog and self._handed == self._finished and not self._owed:
            self._enter()
            await asyncio.sleep(0)
        self._give_backlog()
        if self._handed != self._finished:
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            self._give([_Job([_NOTHING], loop, done, noted=True)])
            with suppress(StateUnavailable):
                await done

    def _give_backlog(self) -> None:
        """The thread enters what is noted down: it may wait."""
        backlog, self._backlog = self._backlog, []
        if self._entering is not None:
            self._entering.cancel()
            self._entering = None
        for record in backlog:
            jobs = [_Job(statements, owed=True, noted=True) for statements in record.jobs]
            self._give([*jobs, _Job([entered(record.number)], owed=True, noted=True)])

    def _give(self, jobs: Sequence[_Job]) -> None:
        self._handed += len(jobs)
        self._handed_plain += sum(not job.noted for job in jobs)
        self._jobs.put(jobs)

    def _begin_fold(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: the long part, while the loop goes on writing. The rest is done while it does not."""
        with suppress(sqlite3.Error):
            fold(self._connection)
        with suppress(RuntimeError):  # the loop is closed: the log stays as it is
            loop.call_soon_threadsafe(self._hand_over_fold)

    def _hand_over_fold(self) -> None:
        if not self._closed:
            self._handed += 1
            self._jobs.put(self._end_fold)

    def _end_fold(self) -> None:
        """In the thread: with the log empty the next commit begins it anew, and that waits for the disk."""
        with suppress(sqlite3.Error):
            fold(self._connection)
            self._transact([])
        self._finished += 1

    def check(self) -> None:
        """Raises `StateUnavailable` when the last write failed, a moment ago: on a full disk a small one may still
        find room where those that matter do not."""
        if self._failure is not None and time.monotonic() - self._failure[1] < _FRESH_SECONDS:
            raise StateUnavailable(f"the ledger could not be written: {self._failure[0]}", fact="ledger")

    def _write(self) -> None:
        urgent: deque[_Job] = deque()
        patient: deque[_Job] = deque()
        last = False
        while True:
            while not last and (not self._jobs.empty() or not (urgent or patient)):
                jobs = self._jobs.get()
                if jobs is None:
                    last = True
                elif callable(jobs):
                    jobs()
                else:
                    for job in jobs:
                        (patient if job.patient else urgent).append(job)
            self._commit_some(urgent, _MOST_JOBS_A_COMMIT)
            self._commit_some(patient, _MOST_PATIENT_A_COMMIT)
            if last and not urgent and not patient:
                break
        if self._owed:
            self._commit([])

    def _commit_some(self, jobs: deque[_Job], most: int) -> None:
        if jobs:
            some = [jobs.popleft() for _ in range(min(most, len(jobs)))]
            self._commit(some)
            self._finished += len(some)
            self._finished_plain += sum(not job.noted for job in some)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        owed, self._owed = self._owed, []
        try:
            self._transact([statement for job in (*owed, *jobs) for statement in job.statements])
        except sqlite3.OperationalError as error:
            # of the file, not of one job: locked, full, read-only
            self._failure = in_words(error), time.monotonic()
            self._owed = [*owed, *(_Job(job.statements, owed=True, patient=True) for job in jobs if job.owed)]
            _end(jobs, error)
        except Exception as error:  # whatever it is, those who wait must hear of it
            if len(owed) + len(jobs) == 1:
                _end([*owed, *jobs], error)
                return
            # one of them is at fault: each for itself, so that the others are kept
            for job in (*owed, *jobs):
                self._commit([job])
        else:
            if any(job.done is not None and not job.probe for job in jobs):
                self._failure = None
            _end(jobs, None)

    def _transact(self, statements: Sequence[Statement]) -> None:
        transact(self._connection, statements, self._count)


def _end(jobs: Sequence[_Job], error: Exception | None) -> None:
    """Tell those who wait, one wake-up for each loop."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for job in jobs:
        if job.loop is not None and job.done is not None:
            waiting.setdefault(job.loop, []).append(job.done)
        elif error is not None:
            _LOG.warning("the ledger could not be written: %s", in_words(error))
    for loop, futures in waiting.items():
        try:
            loop.call_soon_threadsafe(_settle, futures, error)
        except RuntimeError:
            continue  # the loop is closed: nobody waits


def _end_here(jobs: Sequence[_Job], here: asyncio.AbstractEventLoop | None) -> None:
    """Tell those who wait in this loop at once, and others."""
    _settle([job.done for job in jobs if job.done is not None and job.loop is here], None)
    if elsewhere := [job for job in jobs if job.loop is not here]:
        _end(elsewhere, None)


def _settle(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue  # whoever waited has gone away
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(StateUnavailable(f"the ledger could not be written: {in_words(error)}", fact="ledger"))
