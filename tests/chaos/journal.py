"""What happened in a run, in its order. Other processes take part in it, so that a failure need not come again with its
seed: it is explained by what was written down."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.ledger.daybook import daybook_of
from tests.chaos.gates import GateProcess

_LINES_SHOWN = 80


@dataclass
class Journal:
    """`journal.log` beside the gate's own log in `folder`, which pytest keeps; times are seconds since its begin."""

    folder: Path
    database: Path  # of the gate
    _begun: float = field(default_factory=time.monotonic)
    _copies: int = 0

    def __post_init__(self) -> None:
        self._file = self.path.open("a", buffering=1)

    @property
    def path(self) -> Path:
        return self.folder / "journal.log"

    def note(self, *words: object) -> None:
        print(f"{time.monotonic() - self._begun:.3f}", *words, file=self._file)

    def life(self, gate: GateProcess) -> None:
        """The gate, whose own clock is astray, begins or ends where its log ends now."""
        size = gate.log.stat().st_size if gate.log.exists() else 0
        self.note("killed" if gate.pid is None else f"started pid {gate.pid}", f"with {size} bytes of its log written")

    def fault(self, told: str) -> None:
        """The ledger, as it is on disk now, is kept beside this."""
        self._copies += 1
        copy = self.folder / f"at-fault-{self._copies}.db"
        with closing(sqlite3.connect(self.database)) as source, closing(sqlite3.connect(copy)) as kept:
            source.backup(kept)
        shutil.copy(daybook_of(self.database), daybook_of(copy))
        self.note("FAULT", told, f"the ledger is kept in {copy.name}")

    @contextmanager
    def explaining(self, gate: GateProcess) -> Iterator[None]:
        """A failure in here says where all of it is written down, and shows the end of it."""
        try:
            yield
        except BaseException as failed:
            shown = "\n".join(self.path.read_text().splitlines()[-_LINES_SHOWN:])
            failed.add_note(f"{self.path} ends:\n{shown}\n{gate.log} ends:\n{gate.tail()}")
            raise
        finally:
            self._file.close()
