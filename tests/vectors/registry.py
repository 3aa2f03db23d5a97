"""All checkers, and one file held against its own."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tests.vectors

Finding = tuple[str, bool, str]
Checker = Callable[[Mapping[str, Any]], Iterable[Finding]]

SHARED = Path(__file__).parents[3] / "shared" / "vectors"
"""The full set, beside the checkout; a fresh clone has only the sample."""
SAMPLE = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class FileReport:
    """What came of one file. `built` is false when no checker knows its format."""

    name: str
    agreed: int
    total: int
    misses: tuple[Finding, ...] = ()
    built: bool = True

    def __str__(self) -> str:
        if not self.built:
            return f"{self.name}: not built ({self.total} vectors)"
        return f"{self.name}: {self.agreed}/{self.total}"

    @property
    def passed(self) -> bool:
        return self.built and self.agreed == self.total > 0


@cache
def checkers() -> Mapping[str, Checker]:
    """Format name → checker, from every module of this package that has `CHECKERS`."""
    found: dict[str, Checker] = {}
    for module in pkgutil.iter_modules(tests.vectors.__path__):
        if not module.name.startswith("_"):
            found |= getattr(importlib.import_module(f"tests.vectors.{module.name}"), "CHECKERS", {})
    return found


def check_file(path: Path) -> FileReport:
    """Hold one file against the checker of its format."""
    document = json.loads(path.read_bytes())
    checker = checkers().get(document["format"])
    if checker is None:
        total = sum(len(value) for value in document.values() if isinstance(value, list))
        return FileReport(path.name, 0, total, built=False)
    findings = list(checker(document))
    misses = tuple(finding for finding in findings if not finding[1])
    return FileReport(path.name, len(findings) - len(misses), len(findings), misses)


def vector_files(directory: Path) -> list[Path]:
    """The vector files of a directory, by name."""
    return sorted(directory.glob("*.json"))
