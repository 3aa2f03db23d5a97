"""What is noted down and not entered: it waits until there is something to fold.

An operation whose begin, answer and end are entered together is one row; entered as they come they are three. So what
is noted down stays for some seconds, as long as more comes; where nothing does, and where somebody waits for it, it is
entered at once. A start enters what a killed gate has left of it, so there is a bound to it in bytes and in records.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, islice
from operator import attrgetter
from typing import Final

from proxy.ledger.daybook import DayRecord, entered
from proxy.ledger.prompt_commit import LongCommit, Pieces, PromptCommit
from proxy.ledger.transactions import Count

FOLD_SECONDS: Final = 8.0
"""Long enough for most of what is sent to be mined meanwhile, where blocks are a second or two apart."""
_MOST_RECORDS: Final = 16_384
_jobs_of: Final = attrgetter("jobs")


class Backlog:
    """In the order in which it was noted down. `number` is that of the last record which is in it no more: it is
    entered, or the writing thread has it. `monotonic` gives seconds."""

    def __init__(
        self, prompt: PromptCommit, count: Count | None, *, number: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._prompt = prompt
        self._count = count
        self._monotonic = monotonic
        self._records: list[DayRecord] = []
        self._since, self._began = 0.0, 0.0
        self._seen: int | None = None  # the last one at the last look
        self._batch: Pieces | None = None
        self._commit: LongCommit | None = None  # of that, by another thread
        self._in_batch = 0
        self.number = number

    def __len__(self) -> int:
        """How many turns of the loop have left something."""
        return len(self._records)

    def add(self, record: DayRecord) -> None:
        """This is noted down."""
        if not self._records:
            self._since, self._seen = self._monotonic(), None
        self._records.append(record)

    @property
    def is_under_way(self) -> bool:
        """Whether some of it is being entered: then nobody else may write the database."""
        return self._batch is not None

    def is_due(self) -> bool:
        """Whether to wait longer would fold no more: nothing has come since this was asked last, or enough has."""
        last, before = self._records[-1].number, self._seen
        self._seen = last
        age = self._monotonic() - self._since
        return last == before or len(self._records) >= _MOST_RECORDS or age >= FOLD_SECONDS

    @property
    def is_committing(self) -> bool:
        """Whether another thread is about to end what is being entered."""
        return self._commit is not None and not self._commit.is_over

    def enter_some(
        self, last: int | None = None, apart: Callable[[Callable[[], None]], None] | None = None
    ) -> int | None:
        """One piece of entering all that is there when this is called first, or up to the record that is to be the
        `last`; then how many statements that took. Raises whatever went wrong: nothing of it is entered then.

        A long commit is given to `apart`, to be run in another thread; where there is none it is one more piece.
        """
        if self._batch is None:
            first, newest = self._records[0].number, self._records[-1].number
            last = newest if last is None else max(first, min(last, newest))
            self._in_batch, self._began = last - first + 1, self._monotonic()
            jobs = chain.from_iterable(map(_jobs_of, islice(self._records, self._in_batch)))
            self._batch = self._prompt.begin(jobs, entered(last), self._count)
        try:
            executed = self._prompt.go_on(self._batch)
        except BaseException:  # given up, and raised again
            self._close()
            raise
        if isinstance(executed, LongCommit):
            if apart is not None:
                self._commit = executed
                apart(executed.run)
            return None
        if executed is None:
            return None
        self._entered()
        return executed

    def _entered(self) -> None:
        self.number = self._records[self._in_batch - 1].number
        del self._records[: self._in_batch]
        self._since, self._batch, self._commit = self._began, None, None

    def give_up(self) -> None:
        """Enter nothing of what is under way, but for what is committed already."""
        commit, batch = self._commit, self._batch
        if commit is not None and batch is not None and not commit.call_off():
            for _ in batch:
                continue
            self._entered()
        self._close()

    def _close(self) -> None:
        if self._batch is not None:
            self._batch.close()
        self._batch = self._commit = None

    def take(self) -> list[DayRecord]:
        """All of it: somebody else enters it."""
        self.give_up()
        records, self._records = self._records, []
        if records:
            self.number = records[-1].number
        return records
