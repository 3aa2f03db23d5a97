"""What the SDKs of vendors ask, byte for byte as their unmodified packages sent it, is answered by a gate with default
settings before a bundler of another vendor. The packages weigh a gigabyte; their requests are kept instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.edge.recording_bundler import Answer
from tests.running_gate import HonestBundler, RunningGate, running_gate

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vendor_requests.json").read_text())
FEES = {
    # what each SDK reads of the answer
    "thirdweb_getUserOperationGasPrice": ("maxFeePerGas", "maxPriorityFeePerGas"),
    "skandha_getGasPrice": ("maxFeePerGas", "maxPriorityFeePerGas"),
    "biconomy_getGasFeeValues": ("maxFeePerGas", "maxPriorityFeePerGas", "slow", "standard", "fast"),
}
V06 = "0x5FF137D4b0FDCD49DcA30c7CF57E578a026d2789"
TIER = {"maxFeePerGas": "0x10", "maxPriorityFeePerGas": "0x1"}
SPONSORED = ("pm_sponsorUserOperation", "pm_getFeeQuoteOrData", "alchemy_requestGasAndPaymasterAndData")
OF_ALTO = {"pimlico_getUserOperationGasPrice": Answer(result=dict.fromkeys(("slow", "standard", "fast"), TIER))}
OF_VENDORS = dict.fromkeys((*SPONSORED, "alchemy_simulateUserOperationAssetChanges"), Answer(result={"asked": True}))


def named(recorded: dict[str, Any]) -> str:
    return f"{recorded['sdk']} {recorded['request']['method']}"


async def answered(gate: RunningGate, request: dict[str, Any]) -> Any:
    answer = await gate.ask(request)
    assert answer["id"] == request["id"]
    assert "error" not in answer, answer
    return answer["result"]


async def test_every_request_of_every_vendor_is_answered_with_what_its_sdk_reads() -> None:
    async with HonestBundler() as bundler:
        bundler.answers |= OF_ALTO | OF_VENDORS
        # accounts of thirdweb and of Biconomy's older SDK are of the first entry point
        async with running_gate(bundler=bundler, chain={"entry_points": ["v0.7", "v0.6"]}) as gate:
            for recorded in RECORDED:
                request = recorded["request"]
                method = request["method"]
                result = await answered(gate, request)
                if method in FEES:
                    assert set(FEES[method]) <= result.keys(), named(recorded)
                elif method == "rundler_maxPriorityFeePerGas":
                    assert result == TIER["maxPriorityFeePerGas"]
                elif method == "biconomy_getUserOperationStatus":
                    assert result["state"] == "NOT_FOUND"
                elif method in OF_VENDORS:
                    assert result == {"asked": True}
                elif method == "eth_sendUserOperation":
                    assert len(result) == 66, named(recorded)
    handed_in = [recorded for recorded in RECORDED if recorded["request"]["method"] == "eth_sendUserOperation"]
    assert len(bundler.sent) == len(handed_in) >= 4


async def test_an_sdk_of_the_first_entry_point_hears_which_setting_would_serve_it() -> None:
    of_the_first = [each["request"] for each in RECORDED if V06 in each["request"]["params"]]
    assert {request["method"] for request in of_the_first} >= {"eth_sendUserOperation", "eth_estimateUserOperationGas"}
    async with HonestBundler() as bundler, running_gate(bundler=bundler) as gate:
        for request in of_the_first:
            error = (await gate.ask(request))["error"]
            assert error["code"] == -32602
            assert "add v0.6 to the chain's `entry_points`" in error["message"]
    assert not bundler.sent


@pytest.mark.parametrize("sdk", ["thirdweb", "@etherspot/modular-sdk", "@biconomy/account", "@account-kit/infra"])
def test_each_vendor_is_among_them(sdk: str) -> None:
    assert any(recorded["sdk"].startswith(sdk) for recorded in RECORDED)
