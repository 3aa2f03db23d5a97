"""The time that rules count by, as a gate sets it up: a gate that is killed goes on by the one that it followed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy.app import memory
from proxy.app.memory import counting_time_of
from proxy.app.settling import _counted_at
from proxy.chain.age import ChainAge
from proxy.chain.blocks.header import Header
from proxy.chain.settlement.outcome import Outcome, SettledUpTo
from proxy.chain.settlement.slices import BlockName
from proxy.edge.storage.store import Store
from proxy.ledger.counting_time import CountingTime, KeptTime
from proxy.userop.primitives import Hash32

DAY = 86_400.0


async def test_a_time_of_day_that_blocks_agree_with_is_on_disk_before_anything_counted_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, astray = time.time, [-DAY]
    monkeypatch.setattr(time, "time", lambda: real() + astray[0])
    store = Store(tmp_path / "ledger.db")
    try:
        counting = counting_time_of(store)
        assert counting.kept is not None
        store.note_time(counting.kept)
        astray[0] = 0.0
        counting.confirmed(real())
        await store.keep_only([])  # whatever is written next
        assert store.kept_time() == counting.kept
        assert abs(counting_time_of(store).now() - real()) < DAY / 2
    finally:
        store.close()


async def test_a_gate_on_a_machine_whose_clock_is_behind_its_settled_blocks_counts_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    store = Store(tmp_path / "ledger.db")
    try:
        for chain_id, ago in ((1, DAY), (2, 10.0)):
            block = BlockName(7, Hash32(bytes(32)))
            await store.keep(Outcome(cursor=SettledUpTo(chain_id, block, int(real() - ago), 0.0)))
        monkeypatch.setattr(time, "time", lambda: real() - DAY)
        assert abs(counting_time_of(store).now() - real()) < DAY / 2
    finally:
        store.close()


@pytest.mark.parametrize("readable", [True, False])
async def test_a_gate_that_cannot_tell_one_life_of_the_machine_from_another_says_what_that_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, readable: bool
) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(memory, "_BOOT", boot)
    if readable:
        boot.write_text("7b0c\n")
    store = Store(tmp_path / "ledger.db")
    try:
        assert counting_time_of(store).kept.boot == ("7b0c" if readable else "")
    finally:
        store.close()
    assert (f"{boot} cannot be read (No such file or directory): after a restart" in caplog.text) is not readable


@pytest.mark.parametrize("astray", [2 * DAY, -2 * DAY])
def test_what_missed_blocks_had_counts_before_a_new_block_comes_however_far_the_time_counted_by_is_from_theirs(
    astray: float,
) -> None:
    """A gate was started by a clock that was wrong, and goes on by that."""
    monotonic = 1_000.0
    head = Header(number=9, hash=Hash32(b"9" * 32), parent=Hash32(b"8" * 32), timestamp=1_700_000_000)
    kept = KeptTime("this one", head.timestamp + astray - monotonic)
    counting = CountingTime(lambda: float(head.timestamp), lambda: monotonic, boot="this one", kept=kept)
    age = ChainAge(lambda: monotonic, bound=None)
    assert not age.heard(head)
    assert _counted_at(age, counting, head.timestamp - 30) == counting.now() - 30
