"""One ledger, one gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.ledger_file import sole_holder
from proxy.errors import StateUnavailable


def test_a_ledger_is_held_by_one_gate_and_free_when_that_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "gate.db"
    with sole_holder(path), pytest.raises(StateUnavailable, match="another gate"), sole_holder(path):
        pytest.fail("two gates hold one ledger")
    with sole_holder(path):
        assert not path.exists()


def test_a_ledger_in_memory_is_held_by_nobody() -> None:
    with sole_holder(None), sole_holder(None):
        pass
