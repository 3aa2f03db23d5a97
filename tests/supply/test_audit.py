"""What the audit says: faults as faults, and what nobody could be asked about as not audited."""

from __future__ import annotations

from pathlib import Path

from tests.supply.audit import EXCUSED, ROOT, summary, without_reason


def test_a_package_that_nobody_could_be_asked_about_is_not_clean() -> None:
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]},
            {"name": "unheard", "skip_reason": "not found"},
        ]
    }
    assert summary(report) == (["bad 2: PYSEC-1, mended in 3"], ["unheard"])


def test_a_finding_needs_a_reason_of_its_own_number(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("assert x  # noqa: S101 - ours\nassert y\nrun(z)  # noqa: S608 - ours\n")
    finding = {"filename": "a.py", "issue_text": "told", "test_id": "B101"}
    results = [{**finding, "line_number": line, "line_range": [line]} for line in (1, 3)]
    assert without_reason(results, tmp_path) == ["a.py:3: B101 told"]


def test_what_is_excused_is_still_there() -> None:
    for (path, _), reason in EXCUSED.items():
        assert (ROOT / path).is_file(), path
        assert reason
