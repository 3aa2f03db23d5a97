"""The database's file in the hands of one gate, for as long as that lives, and whether it still is where it was.

The lock is on the file itself, so that no other name for it (a symbolic or a hard link) lets a second gate in, and
none can be removed. It is `flock`'s: SQLite's own locks are POSIX locks, which this does not touch, and which closing
any descriptor of the file would drop. So the descriptor stays open until every connection is closed.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final

from proxy.errors import StateUnavailable
from proxy.ledger.daybook import daybook_of

_ATTEMPTS: Final = 10


class HeldFile:
    """A database's file, held. `path` is its name in the settings."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        # SQLite keeps its log beside the file, not beside a link to it
        real = path.resolve()
        self._beside = {"write-ahead log": real.with_name(f"{real.name}-wal"), "daybook": daybook_of(path)}
        self._seen: dict[str, tuple[int, int]] = {}

    def close(self) -> None:
        """Let it go. Only when no connection to it is open any more."""
        os.close(self._descriptor)

    def trouble(self) -> str | None:
        """Why the file that is held is not the one at its path, as a clause; `None` while it is. Blocks on the disk.

        What is written into a file without a name, or beside its log, is lost at the next start.
        """
        try:
            if _identity(self.path.stat()) != _identity(os.fstat(self._descriptor)):
                return "another file is in its place"
        except FileNotFoundError:
            return "it was removed or renamed"
        except OSError as error:
            return f"it cannot be looked at ({error.strerror})"
        return next((trouble for name in self._beside if (trouble := self._trouble_beside(name)) is not None), None)

    def _trouble_beside(self, name: str) -> str | None:
        """The same of a file that is made before the first look and stays for as long as the gate lives."""
        try:
            found = _identity(self._beside[name].stat())
        except FileNotFoundError:
            return None if name not in self._seen else f"its {name} was removed or renamed"
        except OSError as error:
            return f"its {name} cannot be looked at ({error.strerror})"
        return None if found == self._seen.setdefault(name, found) else f"another {name} is in place of its own"


def hold(path: Path) -> HeldFile:
    """Hold a database against a second gate, whose reservations the first would not see; made when it is not there.

    Raises `StateUnavailable` when another gate holds it, or when it cannot be opened.
    """
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StateUnavailable(f"{path.name} cannot be opened: {error.strerror}", fact="ledger") from None
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            # replaced between the two: what is held is not what SQLite would open
            if _identity(os.fstat(descriptor)) == _identity(path.stat()):
                return HeldFile(path, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise StateUnavailable("another gate holds it", fact="ledger") from None
        except FileNotFoundError:
            pass
        except BaseException:  # closed, and raised again
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise StateUnavailable("its file is replaced again and again", fact="ledger")


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
