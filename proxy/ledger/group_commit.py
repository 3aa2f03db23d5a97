"""Group commit: writes of many tasks, gathered by one thread into one SQLite transaction at a time.

While one transaction is being made durable the next one gathers, so that the cost of durability is shared by all
who wait for it, and nobody waits longer for company.

Where no power cut is waited for, what a turn of the loop writes is on disk in one append to the daybook (`daybook`),
and is entered into the database later (`backlog`), many turns at a time and in the loop's own thread, as long as
nothing makes that wait (`prompt_commit`). Whatever would have to wait is the writing thread's.

What is `owed` when the file cannot be written goes before whatever is written next, in the same transaction. So rows
that hold a sum never reach the disk without the records of all that went into it, and a process that dies meanwhile
leaves what it would have left a moment earlier.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from proxy.errors import StateUnavailable
from proxy.ledger.backlog import Backlog
from proxy.ledger.daybook import Daybook, Jobs, entered
from proxy.ledger.prompt_commit import PromptCommit
from proxy.ledger.statement import Statement
from proxy.ledger.transactions import Count, fold, transact
from proxy.ledger.write_job import WriteJob, end_here
from proxy.ledger.writing_thread import WritingThread

_LOOK_SECONDS: Final = 0.1
"""Between two looks at whether what is noted down is to be entered."""
_BREATH_SECONDS: Final = 0.003
"""Between two pieces of what nobody waits for: then it takes a quarter of the loop's time at most."""
_IDLE_SECONDS: Final = 0.02
_MOST_BACKLOG: Final = 65_536
"""Turns of the loop that are noted down and not entered: more of them, and the disk is waited for."""
_MOST_BYTES: Final = 32 * 1024 * 1024
"""Of the daybook; then all of it is entered, and it is begun anew."""
_NOTHING: Final = ("SELECT 1", ())


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
        self._backlog = None if prompt is None or daybook is None else Backlog(prompt, count, number=daybook.last)
        self._later: deque[tuple[int, WriteJob]] = deque()  # the thread's, with the number of what comes before
        self._entering: asyncio.Handle | None = None  # on the loop whose turn it is
        self._handing: asyncio.Handle | None = None  # likewise
        self._idles = False  # whether that is for nothing that anybody is waiting for
        self._turn: list[WriteJob] = []  # what this turn of the loop writes
        self._before_turn: list[Statement] = []  # and before that, what nobody waits for
        self._loop: asyncio.AbstractEventLoop | None = None  # whose turn it is
        self._closed = False
        self._thread = WritingThread(connection, count)

    def close(self) -> None:
        """Write what was handed over and close the connection. Blocks until that is done."""
        if not self._closed:
            self._hand_over()
            while self._backlog and self._enter_some(waits=True):
                continue
            self._closed = True
            self._give_backlog()
            self._thread.end()
            if self._daybook is not None:
                self._close_daybook(self._daybook)
            self._connection.close()
            if self._prompt is not None:
                self._prompt.close()

    def _close_daybook(self, daybook: Daybook) -> None:
        """What could not be entered stays in it, for the next start."""
        if not self._thread.owes:
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
        job = WriteJob(statements, loop, done, probe, owed, patient)
        (self._add_late if self._backlog is not None and (probe or long) else self._add)(job, loop)
        await done

    def write_now(self, statements: Sequence[Statement]) -> bool:
        """Whether the statements are on disk, after all that was handed over before. Otherwise nothing of them is, and
        they may be written by who can wait."""
        if self._daybook is None or self._closed or self.displaced is not None:
            return False
        if (loop := self._loop) is None or not loop.is_running():
            self._go_on_in(asyncio.get_running_loop())
        turn, before = self._turn, self._before_turn
        jobs = [job.statements for job in turn] if turn else []
        if not self._note([before, *jobs, statements] if before else [*jobs, statements]):
            self._hand_over()
            return False
        if before:
            self._before_turn = []
        if turn:
            self._turn = []
            self._tell_noted(turn)
        return True

    def post(self, statements: Sequence[Statement], *, patient: bool = False, idle: bool = False) -> None:
        """Hand statements over that nobody waits for, to be written after all of their lane that were handed over
        before; `idle` ones with whatever is written next, or a moment later, and as one with other idle ones.

        A write that fails is logged and lost: only for what may be lost.
        """
        if not statements or self._closed:
            return
        if (loop := self._loop) is None or not loop.is_running():
            self._go_on_in(loop := asyncio.get_running_loop())
        if idle and not patient and not self._turn:
            self._before_turn += statements
            if self._handing is None:
                self._handing, self._idles = loop.call_later(_IDLE_SECONDS, self._hand_over), True
        else:
            self._add(WriteJob(statements, patient=patient), loop, idle=idle)

    def _add(self, job: WriteJob, loop: asyncio.AbstractEventLoop, *, idle: bool = False) -> None:
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

    def _add_late(self, job: WriteJob, loop: asyncio.AbstractEventLoop) -> None:
        """What is not for the loop: behind all that was handed over before, but for a probe, which tries the file."""
        if self._loop is not loop:
            self._go_on_in(loop)
        self._hand_over()
        number = 0 if job.probe or self._daybook is None else self._daybook.last
        self._later.append((number, job))
        self._give_later()
        if self._later:
            self._look_no_more()
            self._entering = loop.call_soon(self._enter)

    def _go_on_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Another one may have ended before it handed over. To ask which one runs is to ask the system."""
        self._loop, self._entering, self._handing = loop, None, None

    def _hand_over(self) -> None:
        self._handing = None
        turn, self._turn = self._turn, []
        if self._before_turn:
            turn.insert(0, WriteJob(self._before_turn))
            self._before_turn = []
        if not turn:
            return
        if not self._note_down(turn):
            self._give_backlog()
            self._thread.give(turn)

    def _note_down(self, turn: Sequence[WriteJob]) -> bool:
        """Whether it is on disk with that."""
        if not self._note([job.statements for job in turn]):
            return False
        self._tell_noted(turn)
        return True

    def _note(self, jobs: Jobs) -> bool:
        """Whether these are on disk with that: not where something waits for the thread that is not noted down
        either."""
        daybook, backlog = self._daybook, self._backlog
        if daybook is None or backlog is None or self._closed or not self._thread.keeps_up:
            return False
        if len(backlog) > _MOST_BACKLOG:
            return False
        try:
            record = daybook.write(jobs)
        except Exception:  # the writing thread tries it again, and tells what is wrong
            record = None
        if record is None:
            return False
        backlog.add(record)
        if self._entering is None and self._loop is not None:
            self._entering = self._loop.call_later(_LOOK_SECONDS, self._enter)
        return True

    def _tell_noted(self, turn: Sequence[WriteJob]) -> None:
        if waited := [job for job in turn if job.done is not None]:
            self._thread.is_well()
            end_here(waited, self._loop)

    def _look_no_more(self) -> None:
        if self._entering is not None:
            self._entering.cancel()
            self._entering = None

    def _enter(self) -> None:
        """Enter one piece of what is noted down, if it is time to; the next in another turn of the loop."""
        self._look_no_more()
        backlog, daybook, loop = self._backlog, self._daybook, self._loop
        if backlog is None or daybook is None or loop is None or self._closed:
            return
        self._give_later()
        hurries = bool(self._later) or daybook.size > _MOST_BYTES
        if (hurries or backlog.is_under_way or (backlog and backlog.is_due())) and self._enter_some():
            # who has just come is not to wait for one piece after the other
            self._entering = loop.call_soon(self._enter) if hurries else loop.call_later(_BREATH_SECONDS, self._enter)
        elif backlog or self._later:
            self._entering = loop.call_later(_LOOK_SECONDS, self._enter)

    def _enter_some(self, *, waits: bool = False) -> bool:
        """One piece; whether there is another one to enter. A busy disk has its rest, unless somebody `waits`."""
        backlog, daybook = self._backlog, self._daybook
        if backlog is None or daybook is None:
            return False
        self._give_later()
        if not backlog.is_under_way and (not self._thread.is_done or self._thread.owes):
            return False  # nothing overtakes what the thread has yet to write
        if backlog.is_committing and not waits:
            return False  # the thread says when that is done
        if backlog:
            try:
                apart = None if waits or self._loop is None else partial(self._commit_apart, self._loop)
                executed = backlog.enter_some(self._later[0][0] if self._later else None, apart)
            except Exception as error:  # the writing thread tries it again, and tells what is wrong
                is_much = waits or self._later or daybook.size > 2 * _MOST_BYTES
                if is_much or not isinstance(error, BlockingIOError):
                    self._give_backlog()
                return False
            if executed is None:
                return True
            if self._prompt and self._loop is not None and self._prompt.wants_fold(executed):
                self._thread.run_beside(partial(self._begin_fold, self._loop))
        self._give_later()
        if backlog:
            return True
        if daybook.size > _MOST_BYTES:
            with suppress(OSError):
                daybook.begin_anew()
        return False

    def _commit_apart(self, loop: asyncio.AbstractEventLoop, commit: Callable[[], None]) -> None:
        """The writing thread ends a transaction of the loop's: that takes no interpreter, and the loop goes on."""

        def run() -> None:
            commit()
            with suppress(RuntimeError):  # the loop is closed: who closes this finds it done
                loop.call_soon_threadsafe(self._enter)

        self._thread.run(run)

    def _give_later(self) -> None:
        """What was to come after what is entered now, where nobody else is writing."""
        backlog = self._backlog
        done = -1 if backlog is None or backlog.is_under_way else backlog.number
        while self._later and self._later[0][0] <= done:
            self._thread.give([self._later.popleft()[1]])

    async def settled(self) -> None:
        """Returns when what was handed over before can be read in the database, as far as that can be written."""
        self._hand_over()
        backlog, until = self._backlog, 0 if self._daybook is None else self._daybook.last
        while backlog is not None and backlog.number < until and not self._thread.owes:
            if not backlog.is_under_way or backlog.is_committing:
                await self._thread_done()
            self._enter_some(waits=True)
            await asyncio.sleep(0)
        if backlog is not None and backlog.number < until:
            self._give_backlog()
        await self._thread_done()

    async def _thread_done(self) -> None:
        """Returns when what the thread has now is written, or cannot be."""
        if not self._thread.is_done:
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            self._thread.give([WriteJob([_NOTHING], loop, done, noted=True)])
            with suppress(StateUnavailable):
                await done

    def _give_backlog(self) -> None:
        """The thread enters what is noted down: it may wait."""
        self._look_no_more()
        for record in () if self._backlog is None else self._backlog.take():
            while self._later and self._later[0][0] < record.number:
                self._thread.give([self._later.popleft()[1]])
            jobs = [WriteJob(statements, owed=True, noted=True) for statements in record.jobs]
            self._thread.give([*jobs, WriteJob([entered(record.number)], owed=True, noted=True)])
        while self._later:
            self._thread.give([self._later.popleft()[1]])

    def _begin_fold(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: the long part, while the loop goes on writing. The rest is done while it does not."""
        with suppress(sqlite3.Error):
            fold(self._connection)
        with suppress(RuntimeError):  # the loop is closed: the log stays as it is
            loop.call_soon_threadsafe(self._hand_over_fold)

    def _hand_over_fold(self) -> None:
        if self._backlog and self._backlog.is_under_way and self._loop is not None:
            self._loop.call_later(_LOOK_SECONDS, self._hand_over_fold)
        elif not self._closed:
            self._thread.run(self._end_fold)

    def _end_fold(self) -> None:
        """In the thread: with the log empty the next commit begins it anew, and that waits for the disk."""
        with suppress(sqlite3.Error):
            fold(self._connection)
            transact(self._connection, [], self._count)

    def check(self) -> None:
        """Raises `StateUnavailable` when the last write failed, a moment ago."""
        self._thread.check()
