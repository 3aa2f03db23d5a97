"""What the SDKs sent in this run, read back: decoded, hashed as the bundler hashed it, printed field for field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import FlowRuns
from tests.e2e.flow import LANES, NEXUS, SAFE, STARTALE, Flow
from tests.traffic.replay import replay_file


@pytest.mark.parametrize("flow", [STARTALE, NEXUS, SAFE, LANES], ids=lambda flow: flow.name)
def test_every_operation_of_a_flow_is_read_as_the_bundler_read_it(flows: FlowRuns, flow: Flow, tmp_path: Path) -> None:
    flows.direct(flow)
    recorded = tmp_path / f"{flow.name}.jsonl"
    lines = flows.rig.traffic(f"{flow.name}-direct")
    recorded.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    findings = replay_file(recorded)
    assert findings
    assert [finding for finding in findings if not finding[1]] == []
