"""One database, one gate, whatever name it is called by; and a database that goes away under a gate is noticed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.storage.holding import HeldFile, hold
from proxy.edge.storage.store import Store
from proxy.errors import StateUnavailable
from proxy.ledger.daybook import open_daybook

OTHER_PROCESS = """
import sys
from pathlib import Path
from proxy.edge.storage.holding import hold
from proxy.errors import StateUnavailable
try:
    hold(Path(sys.argv[1]))
except StateUnavailable as error:
    sys.exit(error.what)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "gate.db"


@pytest.fixture
def held(path: Path) -> Iterator[HeldFile]:
    with closing(hold(path)) as file:
        yield file


@pytest.fixture
def store(held: HeldFile, path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
        yield opened


def refusal(path: Path) -> str:
    """What another gate is told that wants this database; empty when it may have it."""
    done = subprocess.run([sys.executable, "-c", OTHER_PROCESS, path], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def by_symbolic_link(path: Path) -> Path:
    link = path.with_name("link.db")
    link.symlink_to(path)
    return link


def by_a_linked_folder(path: Path) -> Path:
    (folder := path.parent.parent / "elsewhere").symlink_to(path.parent)
    return folder / path.name


def by_hard_link(path: Path) -> Path:
    link = path.with_name("hard.db")
    link.hardlink_to(path)
    return link


def as_it_is(path: Path) -> Path:
    return path


@pytest.mark.parametrize("name", [as_it_is, by_symbolic_link, by_a_linked_folder, by_hard_link])
def test_a_second_gate_is_refused_by_whatever_name(store: Store, path: Path, name: Callable[[Path], Path]) -> None:
    assert refusal(name(path)) == "another gate holds it"


def test_nothing_beside_the_database_can_be_removed_to_get_in(store: Store, path: Path) -> None:
    for other in path.parent.iterdir():
        if other != path:
            other.unlink()
    assert refusal(path) == "another gate holds it"


def test_connections_that_come_and_go_do_not_let_go_of_it(store: Store, path: Path) -> None:
    for _ in range(3):
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("SELECT count(*) FROM sessions").fetchone()
    assert refusal(path) == "another gate holds it"


def test_it_is_free_when_the_gate_has_ended(path: Path) -> None:
    for _ in range(2):
        with closing(hold(path)), closing(Store(path)):
            pass
    assert refusal(path) == ""


def test_the_databases_own_locks_are_left_alone(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=0)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", other, path], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr


def test_what_cannot_be_opened_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable, match=r"gate\.db cannot be opened: No such file or directory"):
        hold(tmp_path / "none" / "gate.db")


# --- where it was -----------------------------------------------------------------------------------------------


def test_a_database_in_its_place_is_no_trouble(store: Store, held: HeldFile) -> None:
    assert [held.trouble() for _ in range(3)] == [None] * 3


def test_one_that_was_never_opened_is_none_either(held: HeldFile) -> None:
    assert held.trouble() is None


@pytest.mark.parametrize("link", [as_it_is, by_symbolic_link])
def test_removed_renamed_or_replaced_is_noticed(tmp_path: Path, link: Callable[[Path], Path]) -> None:
    real = tmp_path / "gate.db"
    real.touch()
    with closing(hold(link(real))) as held, closing(Store(held.path)):
        assert held.trouble() is None
        away = real.rename(tmp_path / "away.db")
        assert held.trouble() == "it was removed or renamed"
        real.write_bytes(away.read_bytes())
        assert held.trouble() == "another file is in its place"
        away.replace(real)
        assert held.trouble() is None


def test_a_link_that_points_elsewhere_is_noticed(tmp_path: Path) -> None:
    (real := tmp_path / "gate.db").touch()
    (other := tmp_path / "other.db").touch()
    link = by_symbolic_link(real)
    with closing(hold(link)) as held, closing(Store(link)):
        link.unlink()
        link.symlink_to(other)
        assert held.trouble() == "another file is in its place"


def test_a_log_that_goes_away_is_noticed(store: Store, held: HeldFile, path: Path) -> None:
    assert held.trouble() is None
    log = path.with_name("gate.db-wal")
    log.rename(away := path.with_name("away"))
    assert held.trouble() == "its write-ahead log was removed or renamed"
    log.write_bytes(b"")
    assert held.trouble() == "another write-ahead log is in place of its own"
    away.replace(log)
    assert held.trouble() is None


async def test_while_it_is_displaced_nothing_new_is_held(store: Store) -> None:
    await store.check_writable()
    store.displaced("it was removed or renamed")
    with pytest.raises(StateUnavailable, match="not where it was: it was removed or renamed"):
        await store.check_writable()
    store.displaced(None)
    await store.check_writable()


def test_what_a_ledger_keeps_is_nobody_elses_to_read(path: Path, store: Store) -> None:
    """Accounts, call data and amounts stand in it: files made anew are of its owner and of the owner's group."""
    with os.fdopen(open_daybook(path)):
        files = sorted(file.name for file in path.parent.iterdir())
    assert [f"{path.name}{end}" for end in ("", "-daybook", "-mark")] == [
        name for name in files if not name.endswith(("-wal", "-shm"))
    ]
    assert [file.name for file in path.parent.iterdir() if file.stat().st_mode & 0o007] == []
