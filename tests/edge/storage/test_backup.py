"""A copy made while the gate runs, as the README says to make one, is a ledger to start from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from proxy.edge.storage.store import Store
from proxy.session.freezes import Freeze
from tests.admission.builders import TWICE, known


async def test_a_backup_of_a_running_ledger_has_what_was_on_disk_and_takes_writes(tmp_path: Path) -> None:
    store, copy = Store(tmp_path / "gate.db"), tmp_path / "copy.db"
    freeze = Freeze(permission_id=TWICE.permission_id, since=1.0, note="lost phone")
    await store.save_session(known(TWICE))
    await store.save_freeze(freeze)
    with closing(sqlite3.connect(tmp_path / "gate.db")) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    await store.drop_freezes([freeze])
    store.close()
    restored = Store(copy)
    assert restored.freezes() == (freeze,)
    assert list(restored.sessions()) == [known(TWICE)]
    await restored.check_writable()
    restored.close()
