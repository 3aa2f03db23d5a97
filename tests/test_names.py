"""One name for one thing: whoever reads a class's name knows which class is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PROXY = Path(__file__).parent.parent / "proxy"


def test_no_two_public_classes_are_called_alike() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in sorted(PROXY.rglob("*.py")):
        for statement in ast.parse(file.read_text()).body:
            if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                places[statement.name].append(f"{file.relative_to(PROXY)}:{statement.lineno}")

    assert len(places) > 400, "the rooms were not looked at"
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
