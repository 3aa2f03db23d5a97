"""How a database is opened to be written: with all that its daybook has, and with a daybook where one helps."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from proxy.edge.storage.database import NO_CHECKPOINTS, Synchronous, open_database, open_prompt
from proxy.edge.storage.tally import Tally
from proxy.ledger.daybook import (
    NOTHING_FOUND,
    Daybook,
    enter_alone,
    enter_what_is_missing,
    entered,
    open_daybook,
    read_daybook,
)
from proxy.ledger.group_commit import GroupCommit
from proxy.ledger.prompt_commit import PromptCommit
from proxy.ledger.transactions import fold, transact


class OpenDatabase(NamedTuple):
    """What writes a database; `lost` when its daybook has lost something."""

    connection: sqlite3.Connection
    tally: Tally
    writer: GroupCommit
    lost: bool


def open_writer(path: Path, synchronous: Synchronous, *, held: bool) -> OpenDatabase:
    """Open it. Only who has it `held` for a gate gets a daybook; others enter what a gate that was killed has left.

    Raises `sqlite3.Error`, `OSError`.
    """
    if not held:
        enter_alone(path)
    prompt = daybook = None
    found = NOTHING_FOUND
    file = _daybook_file(path) if held else None

    def enter(connection: sqlite3.Connection) -> None:
        nonlocal found
        if file is not None:
            found = enter_what_is_missing(connection, read_daybook(file))

    connection = open_database(path, synchronous=synchronous, before=enter)
    tally = Tally(connection, path, held=held)
    if file is not None and synchronous is not Synchronous.NORMAL:
        os.close(file)  # a commit that outlives a power cut waits for the disk
    elif file is not None:
        fold(connection)  # so that what was entered outlives a power cut before it is forgotten here
        daybook = Daybook(file, found.last)
        transact(connection, [entered(found.last)], None)
        fold(connection)  # a daybook counts beside a database that has had one, and its log may be lost
        prompt = PromptCommit(open_prompt(path))
        connection.execute(NO_CHECKPOINTS)
    return OpenDatabase(
        connection, tally, GroupCommit(connection, tally.count, prompt=prompt, daybook=daybook), found.lost
    )


def _daybook_file(path: Path) -> int | None:
    """`None` where none can be made: then each write waits for the thread."""
    try:
        return open_daybook(path)
    except OSError:
        return None
