"""A ledger that lost what was once committed to it says so at its start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.storage.store import Store
from proxy.session.freezes import Freeze
from tests.admission.builders import TWICE

COMMITS = 40
CHILD = f"""
import asyncio, os, signal, sys
from pathlib import Path
from proxy.edge.storage.store import Store
from proxy.session.freezes import Freeze
store = Store(Path(sys.argv[1]))
async def write():
    for since in range({COMMITS}):
        await store.save_freeze(Freeze(permission_id={TWICE.permission_id!r}, since=float(since)))
asyncio.run(write())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger whose gate was killed: what it committed last is in the write-ahead log only."""
    path = tmp_path / "gate.db"
    with closing(Store(path)):
        pass
    done = subprocess.run([sys.executable, "-c", CHILD, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert log_of(path).stat().st_size > 0
    return path


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def missing(path: Path) -> int:
    with closing(Store(path)) as store:
        return store.missing


def is_unmarked(path: Path, *, held: bool = True) -> bool:
    with closing(Store(path, held=held)) as store:
        return store.is_unmarked


def mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-mark")


def test_after_a_kill_nothing_is_missing(path: Path) -> None:
    assert missing(path) == 0
    with closing(Store(path)) as store:
        (freeze,) = store.freezes()
        assert freeze.since == COMMITS - 1


def test_a_log_that_was_removed_is_told(path: Path) -> None:
    log_of(path).unlink()
    assert missing(path) == COMMITS


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.9])
def test_a_log_that_was_cut_short_is_told(path: Path, share: float) -> None:
    log = log_of(path)
    os.truncate(log, int(log.stat().st_size * share))
    assert 0 < missing(path) <= COMMITS


def test_a_log_that_was_damaged_is_told(path: Path) -> None:
    log = log_of(path)
    raw = bytearray(log.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    log.write_bytes(raw)
    assert 0 < missing(path) <= COMMITS


async def test_an_older_copy_is_told(tmp_path: Path) -> None:
    path, copy = tmp_path / "gate.db", tmp_path / "copy.db"
    with closing(Store(path)):
        pass
    shutil.copy(path, copy)
    with closing(Store(path)) as store:
        await store.save_freeze(Freeze(permission_id=TWICE.permission_id, since=1.0))
    copy.replace(path)
    assert missing(path) == 1


async def test_it_is_told_until_as_much_was_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "gate.db"
    with closing(Store(path)) as store:
        await store.check_writable()
        await store.check_writable()
    path.unlink()
    with closing(Store(path)) as store:
        assert store.missing == 2
        await store.check_writable()
    assert missing(path) == 0


@pytest.mark.parametrize("text", [b"", b"nonsense", b"-5", b"\xff" * 30, None])
async def test_without_a_mark_that_can_be_read_it_is_told_that_nobody_can_tell_until_a_gate_writes(
    path: Path, text: bytes | None
) -> None:
    mark = mark_of(path)
    if text is None:
        mark.unlink()
    else:
        mark.write_bytes(text)
    assert missing(path) == 0
    # a command that looks at it hides nothing, nor does a gate that ended before it wrote that down
    assert is_unmarked(path, held=False)
    assert is_unmarked(path)
    with closing(Store(path, held=True)) as store:
        await store.save_rewound(1.0)
    assert not is_unmarked(path)


def test_a_new_ledger_and_one_that_a_command_began_have_a_mark(tmp_path: Path) -> None:
    for held in (True, False):
        path = tmp_path / f"{held}.db"
        assert not is_unmarked(path, held=held)
        assert not is_unmarked(path)


def test_a_folder_that_takes_no_mark_is_no_reason_not_to_start(path: Path) -> None:
    mark = path.with_name(f"{path.name}-mark")
    mark.unlink()
    mark.mkdir()
    assert missing(path) == 0
