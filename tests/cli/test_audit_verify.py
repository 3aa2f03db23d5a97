"""`sessiongate audit verify` says whether anybody changed the trail, where, and what it cannot know."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.audit.chain import chain_key
from proxy.edge.audit.writer import WriterSettings
from tests.cli.conftest import Run
from tests.edge.audit.trails import record, writing
from tests.edge.builders import decision

SECRET = "hush, a key of some length"


@pytest.fixture
def trail(run: Run, tmp_path: Path) -> Path:
    """A trail with a key that the settings name; `run` sees to it that no secret is printed."""
    del run
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(settings.read_text() + f"audit: {{key: ${{file:{tmp_path}/key}}}}\n")
    (tmp_path / "key").write_text(SECRET)
    path = tmp_path / "ledger.audit.db"
    with writing(path, settings=WriterSettings(key=chain_key(SECRET))) as writer:
        for number in range(5):
            record(writer, decision(f"d-{number}"))
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_an_intact_trail_says_so_and_what_would_not_show(run: Run, trail: Path) -> None:
    assert trail.exists()
    result = run("audit", "verify")
    assert result.exit_code == 0
    assert "intact: 7 records, 1 to 7\n" in result.stdout
    assert "held against no head told elsewhere" in result.stdout
    assert "without a key" not in result.stdout


def test_an_edit_is_named_and_fails_the_command(run: Run, trail: Path) -> None:
    change(trail, "UPDATE records SET client = 'nobody' WHERE id = 3")
    result = run("audit", "verify")
    assert result.exit_code == 1
    assert "edit: record 3: it is not what its hash was made of\n" in result.stdout
    assert "CHANGED: 7 records" in result.stdout


def test_heads_told_elsewhere_show_what_was_cut_off(run: Run, trail: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(trail)) as connection:
        head_id, head_hash = connection.execute("SELECT id, hash FROM head").fetchone()
    told = {"time": 1.0, "id": head_id + 2, "hash": head_hash.hex(), "key": "k"}
    (tmp_path / "heads.jsonl").write_text(json.dumps(told) + "\n")
    result = run("audit", "verify", "--heads", "heads.jsonl", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["intact"], found["heads"]) == (1, False, 1)
    assert [(each["what"], each["first"], each["last"]) for each in found["remarks"]] == [("truncation", 8, 9)]
    assert run("audit", "verify", "--head", f"{head_id}:{head_hash.hex()}").exit_code == 0


@pytest.mark.parametrize("arguments", [["--head", "7"], ["--heads", "nowhere"], ["--file", "sessiongate.yaml"]])
def test_what_cannot_be_read_ends_the_command(run: Run, trail: Path, arguments: list[str]) -> None:
    assert trail.exists()
    assert run("audit", "verify", *arguments).exit_code == 2


def test_a_key_that_was_in_use_before_may_be_given(run: Run, trail: Path, tmp_path: Path) -> None:
    assert trail.exists()
    (tmp_path / "old-key").write_text((tmp_path / "key").read_text() + "\n")
    (tmp_path / "key").write_text("hush, another key of some length")
    result = run("audit", "verify")
    assert (result.exit_code, "needs the key" in result.stdout) == (1, True)
    # nobody can say that it was changed, nor that it was not
    assert "NOT KNOWN: 7 records" in result.stdout
    assert "--earlier-key FILE" in result.stdout
    assert "CHANGED" not in result.stdout
    assert "truncation" not in result.stdout
    assert run("audit", "verify", "--earlier-key", "old-key").exit_code == 0
