"""Whoever stands in for bundlers in tests is asked exactly as they are: no type checker reads the tests."""

from __future__ import annotations

import inspect

import pytest

from proxy.edge.http.upstream import HttpUpstream
from proxy.passage import DirectUpstream
from proxy.ports import Upstream
from tests.bypass_list.desk import Bundler
from tests.chaos.in_process import BundlerInProcess
from tests.gate_parts import FakeUpstream
from tests.test_passage import Direct


def asked_by(of: type, name: str) -> list[tuple[str, object, object]]:
    """How a method is called: its parameters, of which those that nobody looks at begin with an underscore."""
    parameters = inspect.signature(getattr(of, name)).parameters.values()
    return [(each.name.lstrip("_"), each.kind, each.default) for each in parameters]


@pytest.mark.parametrize(
    ("stand_in", "port"),
    [(BundlerInProcess, HttpUpstream), (FakeUpstream, Upstream), (Bundler, Upstream), (Direct, DirectUpstream)],
)
def test_a_stand_in_is_asked_as_what_it_stands_in_for(stand_in: type, port: type) -> None:
    names = [name for name, _ in inspect.getmembers(stand_in, inspect.isfunction) if not name.startswith("_")]
    assert names
    for name in names:
        assert asked_by(stand_in, name) == asked_by(port, name), name
