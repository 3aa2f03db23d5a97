"""What @rhinestone/sdk, unmodified, sends where: of its two ways of sending one reaches a bundler, and so the gate.

In 0.5 its sessions were those of Smart Sessions and sent user operations; later ones sign intents.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.e2e.rig import HERE, install, node_binary
from tests.edge.recording_bundler import Answer, Recorded
from tests.running_gate import RECEIPT, HonestBundler, RunningGate, running_gate

TOKENS = HERE.parents[1] / "rules" / "tokens.yaml"


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


class Miner(HonestBundler):
    """A bundler whose paymaster pays for what it is asked to, and all of whose operations are mined at once."""

    def __init__(self) -> None:
        super().__init__()
        gas = {"paymasterVerificationGasLimit": "0x1", "paymasterPostOpGasLimit": "0x1"}
        paying = Answer(result={"paymaster": "0x" + "9a" * 20, "paymasterData": "0x", **gas})
        self.answers |= {"pm_getPaymasterStubData": paying, "pm_getPaymasterData": paying, RECEIPT: self._mined}

    async def _mined(self, recorded: Recorded) -> Answer:
        used = dict.fromkeys(("actualGasUsed", "actualGasCost", "nonce"), "0x1")
        block = {"blockNumber": "0xc8", "logs": [], "transactionHash": "0x" + "7e" * 32}
        return Answer(result={"userOpHash": recorded.params[0], "success": True, "logs": [], "receipt": block, **used})


async def test_the_trading_story_with_the_release_whose_sessions_send_user_operations() -> None:
    """0.5: a session of 100 USDC pays 10 USDC ten times, and the eleventh hears what is left."""
    install()
    # its OwnableValidator is of a release that is asked at the chain, which is not here
    chain = {"unknown_validator": "alert"}
    async with Miner() as bundler, running_gate(bundler=bundler, chain=chain, rules=[str(TOKENS)]) as gate:
        command = (node_binary(), "dapp/rhinestone-sdk-0.5.mjs", gate.url)
        process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        told = json.loads(output)
        granted, *paid = told["sent"]
        assert "result" in granted
        assert sum("result" in answer for answer in paid) == 10  # the eleventh may be refused before it is sent
        assert "transfer of 10 USDC, 0 left of 100 in this session" in told["problem"]
        (session,) = (await gate.look("/sessions"))["sessions"]
        assert session["status"] == "in_force"
