"""One rig and one gate for all end-to-end tests; each flow runs once directly and once through the gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import Flow, run_flow
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig


@dataclass
class FlowRuns:
    """Runs flows when they are first asked for, and remembers how they ended."""

    rig: Rig
    gate: Gate
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    account_index: Iterator[int] = field(default_factory=lambda: count(100))

    def direct(self, flow: Flow) -> dict[str, Any]:
        """The steps by name, sent straight to the bundler."""
        return self._run(flow, f"{flow.name}-direct", f"{self.rig.recorder}/rundler")

    def gated(self, flow: Flow) -> dict[str, Any]:
        """The steps by name, sent through the gate."""
        return self._run(flow, f"{flow.name}-gated", self.gate.url)

    def asked_of_bundler(self, flow: Flow, step: str, method: str) -> int:
        """How often the bundler was asked `method` during one step of the gated run."""
        lines = self.rig.traffic(f"{flow.name}-gated")
        return sum(line["step"] == step and line["request"]["method"] == method for line in lines)

    def _run(self, flow: Flow, run: str, url: str) -> dict[str, Any]:
        if run not in self.steps:
            index = next(self.account_index)
            steps = run_flow(self.rig, flow, run=run, bundler_url=url, account_index=index)
            self.steps[run] = {step.pop("step"): step for step in steps}
        return self.steps[run]


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    running = Rig(tmp_path_factory.mktemp("rig")).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def gate(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    running = Gate.in_folder(tmp_path_factory.mktemp("gate")).start(rig)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def flows(rig: Rig, gate: Gate) -> FlowRuns:
    return FlowRuns(rig, gate)


@pytest.fixture
def own_gate(rig: Rig, tmp_path: Path) -> Iterator[Gate]:
    """A gate that is not shared and not yet started: a test may kill it."""
    gate = Gate.in_folder(tmp_path / "gate")
    yield gate
    gate.stop()
