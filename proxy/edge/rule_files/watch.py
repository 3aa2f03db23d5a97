"""When the files of rules have changed, and have come to rest.

Looked at by name and by what the file system says of each, once a second: that needs no further package, and works on
the mounts and network disks on which change notices do not.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

LOOK_SECONDS: Final = 1.0
"""Between two looks. A change is read once a look finds what the look before found."""


_CASES: Final = (".cases.yaml", ".cases.yml")


def matches(pattern: str) -> list[str]:
    """The paths that an absolute pattern names."""
    if Path(pattern).is_file():  # also one whose name holds what would be a wildcard
        return [pattern]
    return glob.glob(pattern, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern


class FileMark(NamedTuple):
    """What tells a file from what it was. `ctime` moves even when a copy keeps the time of the original."""

    path: str
    size: int
    mtime: int
    ctime: int
    inode: int


Marks = frozenset[FileMark]


def look(patterns: Sequence[str], beside: Iterable[str] = ()) -> Marks:
    """The rule files there are, the tokens.yaml of their folders and of the folders around them, and the files
    `beside` that they name."""
    found = {Path(path) for pattern in patterns for path in matches(pattern) if not path.endswith(_CASES)}
    folders = {folder for path in found for folder in (path.parent, path.parent.parent)}
    tokens = {folder / "tokens.yaml" for folder in folders}
    return frozenset(mark for path in {*found, *tokens, *map(Path, beside)} for mark in _mark(path))


def _mark(path: Path) -> list[FileMark]:
    try:
        # of the file behind a link: a mounted directory is changed by pointing a link elsewhere
        found = path.stat()
    except OSError:
        return []  # what is gone is a change of the list
    return [FileMark(str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)]


class Watch:
    """Tells when to read again: when what is there is not what was read, and stays the same from one look to the next.

    So a file is not read while it is written, as long as its writer does not pause for longer than a look takes.
    """

    def __init__(self, look: Callable[[], Marks]) -> None:
        self._look = look
        self._read: Marks = frozenset()
        self._before: Marks = frozenset()

    def read(self, marks: Marks) -> None:
        """What was there when the files were read, whatever came of it."""
        self._read = self._before = marks

    def is_due(self) -> bool:
        """Look; whether there is something new that has come to rest."""
        now = self._look()
        rested, self._before = now == self._before, now
        return rested and now != self._read
