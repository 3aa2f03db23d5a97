"""A trail in the hands of one gate, and of the process that writes for it and may outlive it for a while.

There are two locks on the file, of which the first goes with the gate and the second with whoever lives longer:

- the gate's, on one byte far behind the end, which no other process is given;
- the writer's, on the file as a whole, whose descriptor the gate shares with the process that writes.

So who comes can tell another gate, which does not end by itself, from the writer of one that was killed, which ends as
soon as it has written what it was handed. Neither is of the kind that SQLite takes on the same file: the one is
`flock`'s, and the other, of an open file description, is beyond the bytes that SQLite locks. The system drops both at
the end of whoever has them, however it comes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WRITER_SECONDS: Final = 60.0
"""How long the writer of a gate that has ended may take for what it was handed, on a disk that is busy."""
_LOOK_SECONDS: Final = 0.02
_GATES_BYTE: Final = 1 << 62
# `struct flock`: type, whence, start, length, pid, which has to be 0 for a lock of an open file description
_LOCK_OF_THE_GATE: Final = struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _GATES_BYTE, 1, 0)

_log = logging.getLogger(__name__)


class TrailHeldError(sqlite3.OperationalError):
    """The trail has another writer; `cure` says what to do about it, as a clause."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.cure = cure


@dataclass(frozen=True, slots=True)
class HeldTrail:
    """The descriptors of both locks: `writers` is to be shared with who writes for the gate, `gates` with nobody."""

    writers: int
    gates: int

    def let_go(self) -> None:
        """Who writes for the gate holds on, if it is still there."""
        os.close(self.writers)
        os.close(self.gates)


async def hold_trail(
    path: Path,
    patience: float = WRITER_SECONDS,
    *,
    clock: Callable[[], float] = time.monotonic,
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> HeldTrail:
    """Keep all others from the file, which is made if it is not there; whoever still writes for a gate that has ended
    is waited for, which is logged at once. Who is cancelled meanwhile holds nothing.

    `patience` and what `rest` is told are seconds, and so is `clock`. Raises `TrailHeldError` at once when another
    gate has it, and after `patience` when its writer has; `sqlite3.Error` for no file.
    """
    gates = _open(path)
    try:
        _lock_as_gate(gates, path)
        writers = _open(path)
        try:
            await _lock_as_writer(writers, path, patience, clock, rest)
        except BaseException:  # closed, and raised again
            os.close(writers)
            raise
    except BaseException:  # likewise
        os.close(gates)
        raise
    return HeldTrail(writers, gates)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open the audit trail {path}: {error.strerror}") from error


def _lock_as_gate(descriptor: int, path: Path) -> None:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK_OF_THE_GATE)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as POSIX has it
        raise TrailHeldError(
            f"the audit trail {path} is being written by another gate",
            "a trail has one writer: give each gate an audit.path of its own",
        ) from None


async def _lock_as_writer(
    descriptor: int,
    path: Path,
    patience: float,
    clock: Callable[[], float],
    rest: Callable[[float], Awaitable[object]],
) -> None:
    begun, told = clock(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock() - begun >= patience:
                raise TrailHeldError(
                    f"what writes the audit trail {path} for a gate that has ended has not done so in {patience:g} s",
                    f"look whether the disk takes anything; `fuser {path}` names the process, which may be killed",
                ) from None
            if not told:
                told = True
                _log.warning(
                    "what writes the audit trail %s for a gate that has ended is still at it; waiting for up to %g s",
                    path,
                    patience,
                )
            await rest(_LOOK_SECONDS)
            continue
        if told:
            _log.info("the audit trail %s is free after %.1f s", path, clock() - begun)
        return
