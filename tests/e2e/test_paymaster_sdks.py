"""SDKs, unmodified, ask a chain's paymaster through the gate in shapes of their own: what a session may do is relayed,
what it could never do is refused, whoever asks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import TWICE, known
from tests.app.test_paymaster import PAYABLE, Paid, before, stub
from tests.bypass_list.desk import CHAIN_ID
from tests.e2e.rig import HERE, install, node_binary
from tests.edge.recording_bundler import Answer, RecordingBundler
from tests.running_gate import ENTRY_POINT

PAID = {
    "paymaster": "0x" + "9a" * 20,
    "paymasterData": "0x5e",
    "paymasterAndData": "0x5e",
    "paymasterVerificationGasLimit": "0x5208",
    "paymasterPostOpGasLimit": "0x1",
    "callGasLimit": "0x1",
    "verificationGasLimit": "0x2",
    "preVerificationGas": "0x3",
}
METHODS = {
    "viem stub": "pm_getPaymasterStubData",
    "viem data": "pm_getPaymasterData",
    "permissionless sponsor": "pm_sponsorUserOperation",
    "permissionless policies": "pm_validateSponsorshipPolicies",
    "zerodev sponsor": "zd_sponsorUserOperation",
    "startale quotes": "pm_getFeeQuotes",
    "biconomy quotes": "pm_getFeeQuoteOrData",
    "abstractionkit data": "pm_getPaymasterData",
    "userop.js sponsor": "pm_sponsorUserOperation",
}
UNSIGNED = {"startale quotes", "biconomy quotes"}
"""These ask what it would cost before anybody, or a stub, has signed: of which session it is nobody can tell."""


async def told(paid: Paid, op: UserOperation) -> dict[str, Any]:
    """What each SDK made of the answer."""
    written = json.dumps(print_user_operation(op))
    command = (node_binary(), "dapp/paymasters.mjs", paid.gate.url, str(CHAIN_ID), written, ENTRY_POINT)
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    answers: dict[str, Any] = json.loads(output)
    return answers


async def test_each_sdk_is_answered_where_the_session_may_and_told_why_where_it_never_could() -> None:
    install()
    answers = {method: Answer(result=PAID) for method in METHODS.values()} | {
        "pm_chainId": Answer(result=hex(CHAIN_ID))
    }
    async with RecordingBundler(chain_id=CHAIN_ID, answers=answers) as paymaster, before(paymaster) as paid:
        paid.gate.running.registry.put(known(TWICE))
        answered = await told(paid, stub(PAYABLE))
        assert {name: each.get("error") for name, each in answered.items()} == dict.fromkeys(METHODS)
        heard = [each.method for each in paid.heard if each.method not in ("pm_chainId", "eth_chainId")]
        assert heard == list(METHODS.values())
        refused = await told(paid, stub(TWICE))
        said = {name for name, each in refused.items() if "does not permit" in each.get("error", "")}
        assert said == METHODS.keys() - UNSIGNED, refused
        assert sum(each.method in METHODS.values() for each in paid.heard) == len(METHODS) + len(UNSIGNED)
        refusals = await paid.gate.metric("verdicts_total", chain="soneium", code="session_scope", mode="enforce")
        assert refusals == len(said)
