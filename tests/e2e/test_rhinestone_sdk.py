"""What @rhinestone/sdk, unmodified, sends where: of its two ways of sending one reaches a bundler, and so the gate."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.e2e.rig import HERE, install, node_binary
from tests.running_gate import RunningGate, running_gate


async def sent(gate: RunningGate, how: str, who: str = "owner") -> Any:
    """Whom the SDK asked, and how it ended."""
    command = (node_binary(), "dapp/rhinestone-sdk.mjs", how, who, gate.url)
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return json.loads(output)


async def test_send_user_operation_reaches_the_gate_and_is_judged() -> None:
    install()
    async with running_gate() as gate:
        told = await sent(gate, "sendUserOperation")
        assert told["problem"] is None
        assert ["gate", "eth_sendUserOperation"] in told["asked"]
        assert {to for to, _ in told["asked"]} == {"node", "gate"}
        rows = (await gate.look("/audit"))["audit"]
        assert [row["verdict"] for row in rows if row["method"] == "eth_sendUserOperation"] == ["allow"]


async def test_send_transaction_posts_to_the_orchestrator_and_the_gate_sees_nothing() -> None:
    install()
    async with running_gate() as gate:
        told = await sent(gate, "sendTransaction")
        assert "gate" not in {to for to, _ in told["asked"]}
        assert any("orchestrator" in to for to, _ in told["asked"])
        assert (await gate.look("/audit"))["audit"] == []


async def test_a_session_of_its_own_sends_no_user_operation_and_asks_the_orchestrator_alone() -> None:
    """Where the trading story ends with this SDK: its sessions sign intents. Owners' operations come by here."""
    install()
    async with running_gate() as gate:
        told = await sent(gate, "sendUserOperation", "session")
        assert told["problem"] == "No validator account found"
        assert "gate" not in {to for to, _ in told["asked"]}
        told = await sent(gate, "sendTransaction", "session")
        assert "gate" not in {to for to, _ in told["asked"]}
        assert any("orchestrator" in to for to, _ in told["asked"])
        assert (await gate.look("/audit"))["audit"] == []
