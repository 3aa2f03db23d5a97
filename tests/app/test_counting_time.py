"""The time that rules count by, as a gate sets it up: a gate that is killed goes on by the one that it followed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy.app.memory import counting_time_of
from proxy.edge.storage.store import Store

DAY = 86_400.0


async def test_a_time_of_day_that_blocks_agree_with_is_on_disk_before_anything_counted_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, astray = time.time, [-DAY]
    monkeypatch.setattr(time, "time", lambda: real() + astray[0])
    store = Store(tmp_path / "ledger.db")
    try:
        counting = counting_time_of(store)
        store.note_time(counting.kept)
        astray[0] = 0.0
        counting.confirmed(real())
        await store.keep_only([])  # whatever is written next
        assert store.kept_time() == counting.kept
        assert abs(counting_time_of(store).now() - real()) < DAY / 2
    finally:
        store.close()
