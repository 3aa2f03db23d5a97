"""Recorded traffic is read as the bundler and the chain read it: the committed sample always, all of it where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.traffic.replay import SAMPLE, SHARED, replay_file, traffic_files

FILES = traffic_files(SAMPLE) + traffic_files(SHARED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_reads_every_recorded_operation_as_the_chain_did(path: Path) -> None:
    findings = replay_file(path)
    assert findings
    assert [finding for finding in findings if not finding[1]] == []


def _changed(tmp_path: Path, step: str, change: Any) -> list[str]:
    """Details of what disagrees after `change` was made to the records of one step."""
    lines = []
    for line in (SAMPLE / "startale.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["step"] == step and record["request"]["method"] == "eth_sendUserOperation":
            change(record)
        lines.append(json.dumps(record))
    path = tmp_path / "changed.jsonl"
    path.write_text("\n".join(lines))
    return [detail for _, agreed, detail in replay_file(path) if not agreed]


def test_notices_an_answer_with_another_hash(tmp_path: Path) -> None:
    misses = _changed(tmp_path, "use-single", lambda record: record["response"].update(result="0x" + "11" * 32))
    assert len(misses) == 1
    assert misses[0].startswith("another hash")


def test_notices_a_signature_the_chain_took_and_this_package_does_not(tmp_path: Path) -> None:
    def answer(record: dict[str, Any]) -> None:
        record["response"] = {"error": {"code": -32507, "message": "AA24 signature error"}}

    assert _changed(tmp_path, "use-single", answer) == ["signature refused by the chain, valid here"]


def test_notices_an_operation_refused_that_the_bundler_took(tmp_path: Path) -> None:
    def damage(record: dict[str, Any]) -> None:
        record["request"]["params"][0]["colour"] = "red"

    (miss,) = _changed(tmp_path, "use-single", damage)
    assert miss.startswith("refused what the bundler took")
