"""`gateError`, the snippet for dapps, takes the gate's words out of what client libraries wrap them in."""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import TWICE, known
from tests.app.builders import GOOD, OUTSIDE, audited
from tests.e2e.rig import HERE, install, node_binary
from tests.edge.recording_bundler import Answer
from tests.running_gate import SEND, RunningGate, running_gate, submission

LIBRARIES = ("viem", "bundler-client", "permissionless", "ethers", "fetch", "a wallet", "userop.js")
OURS = {
    "code": -32055,
    "message": "transfer of 10 USDC, 4 left of 100 in this session",
    "data": {"decisionId": "c8ba", "reason": "limit_exceeded", "retryable": False, "remedy": "ask for less"},
}
SOMEBODY_ELSES: list[dict[str, Any]] = [
    {"code": -32500, "message": "AA21 didn't pay prefund"},
    {"code": -32055, "message": "of another server", "data": {"reason": 7}},
    {"code": -32055, "message": "of another server"},
    {"code": "CALL_EXCEPTION", "message": "reverted", "data": "0x08c379a0", "reason": "limit_exceeded"},
    {"code": 4001, "message": "the user said no", "data": {"reason": "denied", "decisionId": "c8ba"}},
]


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


async def test_a_library_that_keeps_code_and_message_alone_tells_the_reason_by_the_code() -> None:
    install()
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        said = (await told(gate, "abstractionkit", OUTSIDE))["said"]
        assert (said["code"], said["reason"], said["decisionId"]) == (Code.SESSION_SCOPE, "session_scope", None)
        assert "is not among the session's actions" in said["message"]
        gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund"})
        assert (await told(gate, "abstractionkit", GOOD)) == {"said": None}


async def unwrapped(error: dict[str, Any]) -> dict[str, Any]:
    command = (node_binary(), "dapp/wrapped.mjs", json.dumps(error))
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    found: dict[str, Any] = json.loads(output)
    return found


async def test_a_refusal_is_found_however_deep_and_in_whatever_form_it_was_kept() -> None:
    install()
    for name, said in (await unwrapped(OURS)).items():
        assert said is not None, name
        assert said["code"] == (None if name == "web3.js 1" else OURS["code"]), name
        assert {key: said[key] for key in ("reason", "remedy", "retryable", "decisionId", "data")} == {
            **{key: OURS["data"][key] for key in ("reason", "remedy", "retryable", "decisionId")},
            "data": OURS["data"],
        }, name


@pytest.mark.parametrize("error", SOMEBODY_ELSES, ids=lambda error: str(error["message"]))
async def test_what_somebody_else_refuses_is_not_taken_for_the_gates_in_whatever_form(error: dict[str, Any]) -> None:
    install()
    found = await unwrapped(error)
    # web3.js 1 loses the code, by which alone some of them differ
    assert {name for name, said in found.items() if said is not None} <= {"web3.js 1"}


def test_the_snippet_knows_every_code_of_the_gate_by_its_name() -> None:
    snippet = (HERE.parents[1] / "dapps" / "gate-error.mjs").read_text()
    named = dict(re.findall(r'"(-320[0-9]{2})": "([a-z_]+)"', snippet))
    assert named == {str(int(code)): code.name.lower() for code in Code if -32059 <= code <= -32050}


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_bundlers_own_error_is_not_taken_for_the_gates(library: str) -> None:
    install()
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        gate.bundler.answers[SEND] = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund"})
        assert (await told(gate, library, GOOD)) == {"said": None}
