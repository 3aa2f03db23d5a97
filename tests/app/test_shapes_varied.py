"""Operations of delegated EOAs and of Kernel accounts, and with fields that say nothing, in each spelling of clients,
at every entry point, by every method, without a node: what is read goes on in one spelling, what is not is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.entry_point import ENTRY_POINTS, EntryPoint, EntryPointVersion
from proxy.userop.primitives import print_checksummed
from tests.admission.builders import TWICE, known
from tests.app.builders import ONCE
from tests.bypass_list.desk import use
from tests.edge.recording_bundler import Answer
from tests.running_gate import ESTIMATE, GAS, SEND, HonestBundler, RunningGate, request, running_gate
from tests.session.builders import SMART_SESSION

NAME = "0x" + "5a" * 32
FOREIGN = {
    "sender": "0x" + "a1" * 20,
    "nonce": "0x3",
    "callData": "0xb61d27f6" + "b2" * 20,
    "signature": "0x" + "33" * 65,
    "callGasLimit": "0xc350",
    "verificationGasLimit": "0x186a0",
    "preVerificationGas": "0xc350",
    "maxFeePerGas": "0x3b9aca00",
    "maxPriorityFeePerGas": "0x3b9aca00",
}
PADDED = "0x7702" + "00" * 18
SHORT, WHOLE = "0x" + "f" * 63, "0x0" + "f" * 63
AUTH = {
    "chainId": "0x74c",
    "address": "0x" + "de" * 20,
    "nonce": "0x1",
    "yParity": "0x01",
    "r": "0x" + "11" * 32,
    "s": "0x" + "22" * 32,
}
PAYS = {
    "paymaster": "0x" + "99" * 20,
    "paymasterData": "0x",
    "paymasterVerificationGasLimit": "0x1",
    "paymasterPostOpGasLimit": "0x0",
}

Fields = dict[str, Any]
READ: dict[str, tuple[Fields, Fields]] = {
    # what is written; what goes on
    "the marker alone": ({"factory": "0x7702"}, {"factory": "0x7702"}),
    "the marker with no data": ({"factory": "0x7702", "factoryData": None}, {"factory": "0x7702"}),
    "the marker with empty data": ({"factory": "0x7702", "factoryData": "0x"},) * 2,
    "the marker with data": ({"factory": "0x7702", "factoryData": "0xdeadbeef"},) * 2,
    "the marker and no authorization": ({"factory": "0x7702", "eip7702Auth": None}, {"factory": "0x7702"}),
    "the padded marker": ({"factory": PADDED},) * 2,
    "the padded marker with data": ({"factory": PADDED, "factoryData": "0xdead"},) * 2,
    "the marker and an authorization": ({"factory": "0x7702", "eip7702Auth": AUTH},) * 2,
    "an authorization alone": ({"eip7702Auth": AUTH},) * 2,
    "a short r": ({"eip7702Auth": {**AUTH, "r": SHORT}}, {"eip7702Auth": {**AUTH, "r": WHOLE}}),
    "a short s": ({"eip7702Auth": {**AUTH, "s": SHORT}}, {"eip7702Auth": {**AUTH, "s": WHOLE}}),
    "r and s of one digit": (
        {"eip7702Auth": {**AUTH, "r": "0x1", "s": "0x2"}},
        {"eip7702Auth": {**AUTH, "r": "0x" + "1".rjust(64, "0"), "s": "0x" + "2".rjust(64, "0")}},
    ),
    "the parity's twin": ({"eip7702Auth": {**AUTH, "v": "0x1c"}}, {"eip7702Auth": AUTH}),
    "members that nobody knows and say nothing": (
        {"aggregator": None, "eip7702Auth": {**AUTH, "contractAddress": None, "type": None}},
        {"eip7702Auth": AUTH},
    ),
    "empty data and no factory": ({"factoryData": "0x"}, {}),
    "empty data and null for a factory": ({"factory": None, "factoryData": "0x"}, {}),
    "null for all of the factory": ({"factory": None, "factoryData": None}, {}),
    "empty data and null for a factory beside a paymaster": ({"factory": None, "factoryData": "0x", **PAYS}, PAYS),
    "null for what the first entry point had": ({"initCode": None, "paymasterAndData": None}, {}),
}
REFUSED: dict[str, tuple[Fields, str]] = {
    # what is written; the field that is named
    "data without a factory": ({"factoryData": "0x00"}, "params[0].factoryData"),
    "data and null for a factory": ({"factory": None, "factoryData": "0xdead"}, "params[0].factoryData"),
    "an empty factory": ({"factory": "0x", "factoryData": "0x"}, "params[0].factory"),
    "data in capitals": ({"factoryData": "0X"}, "params[0].factoryData"),
    "r of 65 digits": ({"eip7702Auth": {**AUTH, "r": "0x0" + "f" * 64}}, "params[0].eip7702Auth.r"),
    "s without a digit": ({"eip7702Auth": {**AUTH, "s": "0x"}}, "params[0].eip7702Auth.s"),
    "a member that nobody knows and says something": ({"eip7702Auth": {**AUTH, "a": 1}}, "params[0].eip7702Auth.a"),
    "a field of the first entry point": ({"initCode": "0x"}, "params[0].initCode"),
}
METHODS = (SEND, ESTIMATE, "boost_sendUserOperation", "pimlico_sendUserOperationNow")
VERSIONS = [entry_point for entry_point in ENTRY_POINTS if entry_point.version is not EntryPointVersion.V06]


def a_bundler() -> HonestBundler:
    """It gives every operation the same name: it knows delegates that nobody told, we do not."""
    bundler = HonestBundler()
    bundler.answers |= dict.fromkeys(METHODS, Answer(result=NAME)) | {ESTIMATE: Answer(result=GAS)}
    return bundler


async def ask(gate: RunningGate, method: str, written: Fields, entry_point: str) -> Any:
    return await gate.ask(request(method, {**FOREIGN, **written}, entry_point))


@pytest.mark.parametrize("version", VERSIONS, ids=lambda entry_point: str(entry_point.version))
async def test_every_spelling_is_read_and_goes_on_in_one_or_is_refused_by_its_name(version: EntryPoint) -> None:
    entry_point = print_checksummed(version.address)
    served = {"entry_points": [str(version.version)]}
    async with a_bundler() as bundler, running_gate(bundler=bundler, chain=served) as gate:
        for method in METHODS:
            for spelling, (written, goes_on) in READ.items():
                answer = await ask(gate, method, written, entry_point)
                assert "error" not in answer, (method, spelling, answer)
                asked = [each for each in bundler.requests if each.method == method][-1]
                assert asked.params[0] == {**FOREIGN, **goes_on}, (method, spelling)
            reached = len(bundler.requests)
            for spelling, (written, named) in REFUSED.items():
                error = (await ask(gate, method, written, entry_point))["error"]
                assert error["code"] == Code.INVALID_PARAMS, (method, spelling)
                assert error["message"].startswith(f"{named}: "), (method, spelling, error)
            assert len([each for each in bundler.requests[reached:] if each.method == method]) == 0


def kernel_nonce(mode: int, kind: int, sequence: int = 0) -> int:
    return int.from_bytes(bytes((mode, kind)) + SMART_SESSION + bytes(2) + sequence.to_bytes(8, "big"), "big")


@pytest.mark.parametrize("mode", [0, 1, 2, 0xFF])
async def test_a_kernel_nonce_whose_type_cannot_be_the_session_module_is_told_so_whoever_signed(mode: int) -> None:
    meant = {0: "reads as its root validator", 2: "reads as a permission of its own", 3: "does not know"}
    async with running_gate() as gate:
        gate.running.registry.put(known(TWICE))
        for kind in (0, 2, 3, 0x77, 0xFF):
            named = use(TWICE, ONCE, nonce=kernel_nonce(mode, kind))
            for signature in (named.signature, b"\x99" * 65, b""):
                for method in METHODS:
                    error = (await gate.send(replace(named, signature=signature), method))["error"]
                    assert error["code"] == Code.UNDECODABLE
                    assert f"under type {kind:02x}, which Kernel {meant.get(kind, meant[3])}" in error["message"]
                    assert "01" in error["data"]["remedy"]
        assert gate.bundler.sent == []
        if mode == 0:
            assert "result" in await gate.send(use(TWICE, ONCE, nonce=kernel_nonce(mode, 1)))
