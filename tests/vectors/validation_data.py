"""validation_data.json: ValidationDataLib.intersect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.session.validity import intersect
from tests.vectors.registry import Finding


def check_intersections(document: Mapping[str, Any]) -> Iterator[Finding]:
    for vector in document["vectors"]:
        got = intersect(int(vector["a"], 16), int(vector["b"], 16))
        yield vector["id"], got == int(vector["intersection"], 16), f"{got:#066x}"


CHECKERS = {"validation-data/1": check_intersections}
