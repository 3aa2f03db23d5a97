"""Every vector agrees: over the committed sample always, over the full set where it stands beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vectors.registry import SAMPLE, SHARED, check_file, checkers, vector_files

FILES = vector_files(SAMPLE) + vector_files(SHARED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_says_what_the_contracts_did_for_every_vector(path: Path) -> None:
    report = check_file(path)
    assert report.built, f"no checker for the format of {path.name}"
    assert report.misses == ()
    assert report.agreed == report.total > 0


def test_sample_has_a_file_for_every_format_that_is_checked() -> None:
    formats = {json.loads(path.read_bytes())["format"] for path in vector_files(SAMPLE)}
    assert set(checkers()) <= formats
    assert {path.name for path in vector_files(SHARED)} <= {path.name for path in vector_files(SAMPLE)}


def test_reports_a_vector_that_does_not_agree(tmp_path: Path) -> None:
    wrong = (SAMPLE / "validation_data.json").read_text().replace('"intersection": "0x', '"intersection": "0x7')
    path = tmp_path / "wrong.json"
    path.write_text(wrong)
    report = check_file(path)
    assert not report.passed
    assert report.agreed == 0
    assert str(report) == f"wrong.json: 0/{report.total}"


def test_reports_a_format_nobody_checks_as_not_built(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    path.write_text('{"format": "new/1", "vectors": [{}, {}]}')
    report = check_file(path)
    assert not report.passed
    assert str(report) == "new.json: not built (2 vectors)"
