"""Whoever only looks at what a gate has written needs none of its secrets."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.audit.writer import AuditWriter
from proxy.edge.storage.store import Store
from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from tests.cli.conftest import DECLARED, SECRETS, Run
from tests.edge.audit.trails import begin, record
from tests.edge.builders import ACCOUNT, NOW, PERMISSION, decision

RULES = "rules:\n  - {id: quiet, description: Watches., mode: shadow, match: {session: true}}\n"


@pytest.fixture
def unset(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same command where no secret is set; the gate has run before."""
    for name in SECRETS:
        monkeypatch.delenv(name)
    with closing(Store(tmp_path / "ledger.db")) as store:
        key = SessionKey(1868, SMART_SESSION, ACCOUNT, PERMISSION)
        asyncio.run(
            store.save_session(KnownSession(key=key, status=Status.IN_FORCE, source=Source.NODE, updated_at=NOW))
        )
        writer = AuditWriter(tmp_path / "ledger.audit.db")
        begin(writer)
        record(writer, decision("a"))
        writer.stop()
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(settings.read_text(encoding="utf-8") + "rules: [rules.yaml]\n", encoding="utf-8")
    return run


@pytest.mark.parametrize(
    "command",
    [
        ["sessions", "list"],
        ["sessions", "list", "--status", "in_force", "--json"],
        ["sessions", "show", "0x" + PERMISSION.hex()],
        ["sessions", "show", "0x" + DECLARED],
        ["audit"],
        ["audit", "--session", "0x" + PERMISSION.hex()],
        ["audit", "--decision-id", "a"],
        ["audit", "verify"],
        ["rules", "check"],
        ["rules", "explain", "quiet"],
        ["rules", "coverage"],
        ["ledger", "verify"],
        ["ledger", "show"],
    ],
)
def test_looking_needs_no_secrets(unset: Run, command: list[str]) -> None:
    result = unset(*command)
    assert result.exit_code == 0, result.output
    if command[:2] == ["sessions", "show"]:
        assert command[2] in result.stdout


def test_what_talks_to_the_gate_or_runs_it_needs_them(unset: Run) -> None:
    for command in (["check"], ["rules", "list"]):
        result = unset(*command)
        assert result.exit_code != 0
        assert "ADMIN_TOKEN is not set" in result.output


def test_a_trail_is_verified_with_its_own_key_and_no_other_secret(unset: Run, tmp_path: Path) -> None:
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(settings.read_text(encoding="utf-8") + "audit: {key: $" + "{AUDIT_KEY}}\n", encoding="utf-8")
    result = unset("audit", "verify")
    assert result.exit_code != 0
    assert "AUDIT_KEY is not set" in result.output
    assert "ADMIN_TOKEN" not in result.output
    assert "intact" not in result.output
    assert unset("audit", "--decision-id", "a").exit_code == 0


def test_a_decision_is_replayed_without_secrets(unset: Run) -> None:
    result = unset("audit", "replay", "a")
    assert "is not set" not in result.output
    assert "decision a" in result.output or "its facts were not kept" in result.output
