"""Rules may ask for how long a session is known; a restart does not make it young again."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.edge.storage.store import Store
from proxy.errors import Code
from proxy.session.known import Status
from proxy.session.registry import Registry
from tests.admission.builders import TWICE, known
from tests.app.builders import use_number
from tests.running_gate import HonestBundler, running_gate

YOUNG = """\
rules:
  - id: young
    description: A session that is known for less than a day.
    mode: enforce
    match: {session: true}
    when: op.session_age < 1d
"""


async def test_a_session_is_as_old_as_the_gate_has_known_it_after_a_restart_too(
    bundler: HonestBundler, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(YOUNG)
    settings: dict[str, Any] = {"rules": [str(tmp_path / "*.yaml")], "ledger": tmp_path / "gate.db"}
    session = known(TWICE, updated_at=time.time())
    async with running_gate(bundler=bundler, **settings) as gate:
        gate.running.registry.put(session)
        error = (await gate.send(use_number(1)))["error"]
        assert (error["code"], error["data"]["rule"]) == (Code.RULE_REJECTED, "young")
    with closing(Store(tmp_path / "gate.db")) as store:
        await store.save_session(replace(session, since=session.updated_at - 90_000))
        # a later writing that does not say since when leaves it as it was
        await store.save_session(replace(session, since=None))
    async with running_gate(bundler=bundler, **settings) as gate:
        assert "result" in await gate.send(use_number(1))


def test_a_session_granted_again_after_its_removal_begins_anew() -> None:
    registry = Registry()
    session = known(TWICE, updated_at=100.0)
    for put in (session, replace(session, updated_at=200.0)):
        registry.put(put)
    first = registry.get(session.key)
    registry.put(replace(session, status=Status.REMOVED, updated_at=300.0))
    registry.put(replace(session, updated_at=400.0))
    again = registry.get(session.key)
    assert first is not None
    assert again is not None
    assert (first.since, again.since) == (100.0, 400.0)
