"""Whatever is ignored, and whatever is caught without asking what it is, says why beside it."""

from __future__ import annotations

import re
from pathlib import Path

PROXY = Path(__file__).parent.parent / "proxy"
LOOSE = re.compile(
    r"except (Base)?Exception\b|except BaseExceptionGroup|# type: ignore|# noqa|# nosec|# pragma: no cover"
)
REASON = re.compile(
    r"(type: ignore\[[^\]]+\]|noqa: [A-Z0-9, ]+?|nosec \S+|no cover|Exception\w*( as \w+)?:)\s+(#|-) .{4,}|"
    r"# .{4,}  # (noqa|type: ignore)"
)


def test_every_ignore_and_every_broad_except_carries_its_reason() -> None:
    loose = [
        (f"{file.relative_to(PROXY)}:{number}", line)
        for file in sorted(PROXY.rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if LOOSE.search(line)
    ]
    assert len(loose) > 100, "the rooms were not looked at"
    assert [place for place, line in loose if not REASON.search(line)] == []
