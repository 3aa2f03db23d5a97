"""Every promise that SECURITY.md makes has its test."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_each_promise_names_a_test_that_exists() -> None:
    text = (_ROOT / "SECURITY.md").read_text()
    promises = [
        line for line in text.partition("## What is promised")[2].partition("\n## ")[0].splitlines() if "|" in line
    ][2:]
    sources = "\n".join(
        path.read_text() for path in (_ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts
    )
    assert len(promises) > 10
    for promise in promises:
        named = re.findall(r"`(test_\w+)`", promise.rpartition("|")[0].rpartition("|")[2] or promise)
        assert named, promise
        for name in named:
            assert f"def {name}(" in sources, name
