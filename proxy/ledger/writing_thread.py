"""The thread that writes a database and may wait for it: for a lock, for a disk, or because a write is long.

While one transaction is being made durable the next one gathers. What is patient has a lane of its own, of which little
is written at a time, and order is kept within a lane; what is owed and could not be written goes before whatever is
written next, in the same transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Final

from proxy.errors import StateUnavailable
from proxy.ledger.database_words import in_words
from proxy.ledger.transactions import Count, transact
from proxy.ledger.write_job import WriteJob, end

_MOST_JOBS_A_COMMIT: Final = 256
_MOST_PATIENT_A_COMMIT: Final = 2
"""Few, so that nobody waits long for them."""
_FRESH_SECONDS: Final = 10.0


class WritingThread:
    """`connection` must not be in a transaction, nor be used by anybody else while the thread has work. `count` is
    called in each transaction before it is committed, and what it returns afterwards.

    All but what the thread itself runs is for one loop's thread.
    """

    def __init__(self, connection: sqlite3.Connection, count: Count | None) -> None:
        self._connection = connection
        self._count = count
        self._jobs: SimpleQueue[Sequence[WriteJob] | Callable[[], None] | None] = SimpleQueue()
        # how many jobs, and how many of them that are not noted down: two counts of the loop's, two of the thread's
        self._handed, self._handed_plain = 0, 0
        self._finished, self._finished_plain = 0, 0
        self._owed: list[WriteJob] = []  # the thread's own
        self._failure: tuple[str, float] | None = None  # of the last write: why, and when (monotonic)
        self._thread = Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has tried all that it was given."""
        return self._handed == self._finished

    @property
    def keeps_up(self) -> bool:
        """Whether it has written all that is to be on disk before anything that is noted down later."""
        return not self._owed and self._handed_plain == self._finished_plain

    @property
    def owes(self) -> bool:
        """Whether something could not be written, and is to be before anything else."""
        return bool(self._owed)

    def give(self, jobs: Sequence[WriteJob]) -> None:
        """Have these written."""
        self._handed += len(jobs)
        self._handed_plain += sum(job.is_plain for job in jobs)
        self._jobs.put(jobs)

    def run_beside(self, work: Callable[[], None]) -> None:
        """Run this in the thread; it counts as no work that anybody has to wait for."""
        self._jobs.put(work)

    def run(self, work: Callable[[], None]) -> None:
        """Run this in the thread; until then it is not done."""

        def and_count() -> None:
            work()
            self._finished += 1

        self._handed += 1
        self._jobs.put(and_count)

    def end(self) -> None:
        """Write what was given. Blocks until that is done."""
        self._jobs.put(None)
        self._thread.join()

    def is_well(self) -> None:
        """What somebody waited for is on disk, by whatever way."""
        self._failure = None

    def check(self) -> None:
        """Raises `StateUnavailable` when the last write failed, a moment ago: on a full disk a small one may still
        find room where those that matter do not."""
        if self._failure is not None and time.monotonic() - self._failure[1] < _FRESH_SECONDS:
            raise StateUnavailable(f"the ledger could not be written: {self._failure[0]}", fact="ledger")

    # in the thread

    def _write(self) -> None:
        urgent: deque[WriteJob] = deque()
        patient: deque[WriteJob] = deque()
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

    def _commit_some(self, jobs: deque[WriteJob], most: int) -> None:
        if jobs:
            some = [jobs.popleft() for _ in range(min(most, len(jobs)))]
            self._commit(some)
            self._finished += len(some)
            self._finished_plain += sum(job.is_plain for job in some)

    def _commit(self, jobs: Sequence[WriteJob]) -> None:
        owed, self._owed = self._owed, []
        try:
            statements = [statement for job in (*owed, *jobs) for statement in job.statements]
            transact(self._connection, statements, self._count)
        except sqlite3.OperationalError as error:
            # of the file, not of one job: locked, full, read-only
            self._failure = in_words(error), time.monotonic()
            self._owed = [*owed, *(WriteJob(job.statements, owed=True, patient=True) for job in jobs if job.owed)]
            end(jobs, error)
        except Exception as error:  # whatever it is, those who wait must hear of it
            if len(owed) + len(jobs) == 1:
                end([*owed, *jobs], error)
                return
            # one of them is at fault: each for itself, so that the others are kept
            for job in (*owed, *jobs):
                self._commit([job])
        else:
            if any(job.done is not None and not job.probe for job in jobs):
                self._failure = None
            end(jobs, None)
