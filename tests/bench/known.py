"""A ledger with as many sessions as wanted, before a gate starts on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from proxy.edge.storage.database import Synchronous, open_database
from tests.bench.decision import decode, granted_state
from tests.bench.ledger import packed
from tests.bench.operations import RECORDED, read


def write_sessions(path: Path, many: int) -> None:
    """So many sessions in force, none of which the load uses."""
    granted = granted_state(decode(read(RECORDED["use"][0])))

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(1, many + 1):
            key, session = packed(granted, number)
            state = None if session.state is None else session.state.decode()
            yield (*key, session.status.value, session.source.value, state, None, None, session.updated_at, None)

    with closing(open_database(path, synchronous=Synchronous.NORMAL)) as connection:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows())
        connection.execute("COMMIT")
