"""`make audit`: known faults of what the gate is built from, and what bandit says of the gate's own code.

Ignorance is no clean bill: what nobody could be asked about is told, and counts as not audited.
Exit code 1 for a finding, 2 where nothing was found and not everything could be looked at.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = ("requirements.lock", "requirements-tracing.lock", "requirements-dev.lock")
_AUDIT: Final = ("pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
_BANDIT: Final = ("bandit", "--quiet", "--recursive", "proxy", "--format", "json")
EXCUSED: Final = {
    ("proxy/cli/rules/test.py", "B405"): "it writes XML and reads none",
    ("proxy/edge/audit/apart.py", "B404"): "it starts this very program, and nothing that anybody names",
    ("proxy/ledger/session_uses.py", "B608"): "names of our own columns; whatever is a value is bound",
    ("proxy/edge/http/lean/pool.py", "B105"): "a URL's password held against none",
    ("proxy/session/lint/findings.py", "B105"): "words about tokens that are money",
}
"""Findings that ruff does not have, so that no `noqa` stands there; each with its reason."""


def summary(report: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The known faults in a report of pip-audit, a line each, and the packages that nobody could be asked about."""
    known: list[str] = []
    unasked: list[str] = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unasked.append(package["name"])
        for fault in package.get("vulns", ()):
            cure = ", ".join(fault["fix_versions"]) or "no release"
            known.append(f"{package['name']} {package['version']}: {fault['id']}, mended in {cure}")
    return known, unasked


def without_reason(results: Sequence[Mapping[str, Any]], root: Path = ROOT) -> list[str]:
    """Findings of bandit on whose lines no `noqa` of the same number stands, which is where we give our reasons."""
    found = []
    for result in results:
        lines = (root / result["filename"]).read_text(encoding="utf-8").splitlines()
        first, last = min(result["line_range"]), max(result["line_range"])
        number = result["test_id"].removeprefix("B")
        if (result["filename"].removeprefix("./"), result["test_id"]) in EXCUSED:
            continue
        if not any(re.search(rf"noqa:.*\bS{number}\b", line) for line in lines[first - 1 : last + 1]):
            found.append(f"{result['filename']}:{result['line_number']}: {result['test_id']} {result['issue_text']}")
    return found


def main(tools: Path) -> int:
    """Run both with the programs in `tools`."""
    findings: list[str] = []
    unasked: set[str] = set()
    for lock in LOCKS:
        ran = subprocess.run([tools / _AUDIT[0], *_AUDIT[1:], "-r", lock], cwd=ROOT, capture_output=True, check=False)
        try:
            known, skipped = summary(json.loads(ran.stdout))
        except ValueError:
            print(f"{lock}: not audited, no advisories can be had from here (offline?)")
            unasked.add(lock)
            continue
        findings += known
        unasked |= set(skipped)
        if skipped:
            print(f"{lock}: nobody could be asked about {len(skipped)} packages (offline?)")
    ran = subprocess.run([tools / _BANDIT[0], *_BANDIT[1:]], cwd=ROOT, capture_output=True, check=False)
    findings += without_reason(json.loads(ran.stdout)["results"])
    print("\n".join(findings) or "bandit: each finding in the gate's own code has its reason beside it")
    if findings:
        return 1
    return 2 if unasked else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
