"""One gate at a time has a trail: another one is told so at once, and waits for the writer of one that is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.audit.holding import WRITER_SECONDS, HeldTrail, TrailHeldError, hold_trail
from proxy.edge.audit.schema import open_trail
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import AuditWriter
from tests.chaos.gates import ROOT
from tests.edge.audit.trails import begin, writing
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


async def never(_seconds: float) -> None:
    pytest.fail("nobody is waited for")


class Rests:
    """A clock that goes on by what is rested, and nothing else."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def clock(self) -> float:
        return self.now

    async def rest(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def outlived(path: Path) -> HeldTrail:
    """A trail whose gate has gone, and whose writer has not."""
    held = asyncio.run(hold_trail(path))
    os.close(held.gates)
    return held


def test_two_gates_cannot_write_one_trail(path: Path) -> None:
    with writing(path), pytest.raises(sqlite3.OperationalError, match="written by another gate"):
        begin(AuditWriter(path))
    with writing(path):
        pass
    assert verify_trail(path).remarks == []


async def test_another_gate_that_lives_is_not_waited_for(path: Path) -> None:
    held = await hold_trail(path)
    with pytest.raises(TrailHeldError, match="being written by another gate") as told:
        await hold_trail(path, rest=never)
    assert "give each gate an audit.path of its own" in told.value.cure
    held.let_go()
    (await hold_trail(path, rest=never)).let_go()


async def test_who_comes_second_does_not_wait_behind_who_waits_for_the_writer_of_a_gate_that_is_gone(
    path: Path, outlived: HeldTrail
) -> None:
    waits = asyncio.Event()

    async def rest(seconds: float) -> None:
        waits.set()
        await asyncio.sleep(seconds)

    waiting = asyncio.create_task(hold_trail(path, PATIENCE_SECONDS, rest=rest))
    await waits.wait()
    with pytest.raises(TrailHeldError, match="another gate"):
        await hold_trail(path, rest=never)
    assert not waiting.done()
    os.close(outlived.writers)
    (await waiting).let_go()


async def test_who_does_not_wait_to_the_end_holds_nothing(path: Path, outlived: HeldTrail) -> None:
    waits = asyncio.Event()

    async def rest(_seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(hold_trail(path, rest=rest))
    await waits.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.close(outlived.writers)
    (await hold_trail(path, rest=never)).let_go()


async def test_the_writer_of_a_gate_that_is_gone_is_waited_for_and_that_is_told_before(
    path: Path, outlived: HeldTrail, caplog: pytest.LogCaptureFixture
) -> None:
    rests, told = Rests(), list[str]()

    async def rest(seconds: float) -> None:
        if not told:
            told.extend(caplog.messages)
        await rests.rest(seconds)
        if rests.now >= 1_000.0 + WRITER_SECONDS - 1:
            os.close(outlived.writers)

    caplog.set_level(logging.INFO)
    (await hold_trail(path, clock=rests.clock, rest=rest)).let_go()
    expected = f"what writes the audit trail {path} for a gate that has ended is still at it; waiting for up to 60 s"
    assert told == [expected]
    assert caplog.messages == [expected, f"the audit trail {path} is free after 59.0 s"]


async def test_a_writer_that_never_ends_is_waited_for_so_long_and_told_with_what_to_do(
    path: Path, outlived: HeldTrail
) -> None:
    rests = Rests()
    with pytest.raises(TrailHeldError, match="for a gate that has ended has not done so in 60 s") as told:
        await hold_trail(path, clock=rests.clock, rest=rests.rest)
    assert rests.now - 1_000.0 == pytest.approx(WRITER_SECONDS, abs=0.1)
    assert f"`fuser {path}` names the process" in told.value.cure
    os.close(outlived.writers)
    (await hold_trail(path, rest=never)).let_go()


async def test_what_is_read_and_written_in_the_file_meanwhile_lets_nobody_else_in(path: Path) -> None:
    held = await hold_trail(path)
    for _ in range(2):
        with closing(open_trail(path)) as connection:
            connection.execute("SELECT * FROM records").fetchall()
        with path.open("rb") as reader:  # closing it drops every lock of SQLite's kind that this process has
            reader.read()
        with pytest.raises(TrailHeldError, match="another gate"):
            await hold_trail(path, rest=never)
    held.let_go()


async def test_a_trail_in_no_folder_is_told_as_one_that_cannot_be_opened(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open the audit trail"):
        await hold_trail(path / "audit.db")


_A_GATE = """
import asyncio, os, signal, sys, time
from pathlib import Path
from proxy.edge.audit.apart import ScribeApart
from proxy.edge.audit.holding import hold_trail
from proxy.edge.audit.scribe import TrailSettings

path = Path(sys.argv[1])
hand = ScribeApart(path, TrailSettings(), earlier=None, clock=time.time)
held = asyncio.run(hold_trail(path))
if sys.argv[2] == "starting":
    def tell_who_still_imports(self, *message):
        os.kill(self.pid, signal.SIGSTOP)
        self._line.send(*message)
    ScribeApart._ask = tell_who_still_imports
hand.open(held.writers)
os.kill(hand.pid, signal.SIGSTOP)
print(hand.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("when", ["starting", "running"])
def test_the_writer_of_a_gate_that_was_killed_lets_go_by_itself_and_leaves_a_trail_in_order(
    path: Path, when: str
) -> None:
    command = [sys.executable, "-c", _A_GATE, str(path), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as gate:
        assert gate.stdout is not None
        writer = int(gate.stdout.readline())
        gate.kill()
        gate.wait()
        with pytest.raises(TrailHeldError, match="for a gate that has ended"):
            asyncio.run(hold_trail(path, 0))
        os.kill(writer, signal.SIGCONT)
        asyncio.run(hold_trail(path, PATIENCE_SECONDS)).let_go()
    with closing(sqlite3.connect(path)) as reader:
        begun = reader.execute("SELECT 1 FROM sqlite_master").fetchall() != []
    assert begun is (when == "running")
