"""A ledger that is not there is not made in silence: a mistyped path would forget every freeze and hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running_gate import HonestBundler, running_gate

SAID = "begins with a new one and remembers nothing"


async def test_a_new_ledger_is_told_with_its_path_and_one_that_was_there_is_not(
    bundler: HonestBundler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = tmp_path / "mistyped" / "gate.db"
    async with running_gate(bundler=bundler, ledger=ledger):
        assert f"there is no ledger at {ledger} yet" in caplog.text
    caplog.clear()
    async with running_gate(bundler=bundler, ledger=ledger):
        assert SAID not in caplog.text
