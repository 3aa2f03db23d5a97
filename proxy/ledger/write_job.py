"""What one caller has a database's writer write, and how whoever waits for it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.errors import StateUnavailable
from proxy.ledger.database_words import in_words
from proxy.ledger.statement import Statement

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class WriteJob:
    """Statements that are committed together or not at all. See `GroupCommit.write`."""

    statements: Sequence[Statement]
    loop: asyncio.AbstractEventLoop | None = None  # `None` when nobody waits
    done: asyncio.Future[None] | None = None
    probe: bool = False
    owed: bool = False
    patient: bool = False
    noted: bool = False  # in the daybook

    @property
    def is_plain(self) -> bool:
        """Whether it is to be on disk before anything that is noted down later."""
        return not (self.noted or self.probe)


def end(jobs: Sequence[WriteJob], error: Exception | None) -> None:
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


def end_here(jobs: Sequence[WriteJob], here: asyncio.AbstractEventLoop | None) -> None:
    """Tell those who wait in this loop at once, and others."""
    _settle([job.done for job in jobs if job.done is not None and job.loop is here], None)
    if elsewhere := [job for job in jobs if job.loop is not here]:
        end(elsewhere, None)


def _settle(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue  # whoever waited has gone away
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(StateUnavailable(f"the ledger could not be written: {in_words(error)}", fact="ledger"))
