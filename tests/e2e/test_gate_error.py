"""`gateError`, the snippet for dapps, takes the gate's words out of what client libraries wrap them in."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, audited
from tests.e2e.rig import HERE, install, node_binary
from tests.edge.recording_bundler import Answer
from tests.running_gate import SEND, RunningGate, running_gate, submission

LIBRARIES = ("viem", "bundler-client", "permissionless", "ethers", "fetch")


async def told(gate: RunningGate, library: str, op: UserOperation) -> Any:
    """What the snippet makes of the answer to an operation."""
    operation, entry_point = submission(op)["params"]
    command = (node_binary(), "dapp/send.mjs", library, gate.url, json.dumps(operation), entry_point)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=HERE, env={**os.environ, "CHAIN_ID": "1"}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return json.loads(output)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_refusal_is_found_in_whatever_a_library_throws(library: str) -> None:
    install()
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        said = (await told(gate, library, OUTSIDE))["said"]
        assert (said["code"], said["reason"]) == (Code.SESSION_SCOPE, "session_scope")
        assert "is not among the session's actions" in said["message"]
        assert said["remedy"]
        assert said["retryable"] is said["mayHaveBeenSent"] is False
        (row,) = await audited(gate, 1)
        assert said["decisionId"] == row["decisionId"]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_bundlers_own_error_is_not_taken_for_the_gates(library: str) -> None:
    install()
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund"})
        assert (await told(gate, library, GOOD)) == {"said": None}
