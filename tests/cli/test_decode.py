"""`sessiongate decode` reads whatever people paste, says what it means, and refuses what it cannot read exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from proxy.cli import application
from proxy.userop import fastlz
from proxy.userop.entry_point import ENTRY_POINTS
from proxy.userop.execution import EXECUTE
from proxy.userop.primitives import Address, Hash32, Selector, print_bytes, print_checksummed
from proxy.userop.session_abi import encode_sessions
from proxy.userop.session_data import ActionData, EnableSession, PolicyData, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from tests.cli.conftest import Run
from tests.vectors.registry import SAMPLE

MODULE = Address(bytes.fromhex("00000000008bdaba73cd9815d79069c247eb4bda"))
ACCOUNT = Address(b"\x11" * 20)
TOKEN = Address(b"\x22" * 20)
TRANSFER = Selector(bytes.fromhex("a9059cbb"))
V07 = "0x0000000071727De22E5E9d8BAf0edAc6f37da032"
SESSION = SessionData(
    session_validator=Address(bytes.fromhex("000000000013fdb5234e4e3162a810f54d9f7e98")),
    session_validator_init_data=b"",
    salt=Hash32(bytes(32)),
    user_op_policies=(PolicyData(Address(bytes.fromhex("0000000000d30f611fa3bf652ac6879428586930")), b"\0" * 12),),
    actions=(ActionData(TRANSFER, TOKEN, (PolicyData(Address(b"\x99" * 20), b"\x01"),)),),
)
SIGNATURE = "5e" * 65


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def execute_single(target: Address, value: int, data: bytes) -> bytes:
    inner = target + word(value) + data
    return EXECUTE + bytes(32) + word(64) + word(len(inner)) + inner + bytes(-len(inner) % 32)


CALL_DATA = execute_single(TOKEN, 0, TRANSFER + word(0x33) + word(1_000_000))
USE = "0x00" + "ab" * 32 + SIGNATURE
OPERATION = {
    "sender": print_checksummed(ACCOUNT),
    "nonce": "0x" + (bytes(4) + MODULE + bytes(7) + b"\x05").hex(),
    "callData": print_bytes(CALL_DATA),
    "signature": USE,
    "callGasLimit": "0x5208",
    "verificationGasLimit": "0x5208",
    "preVerificationGas": "0x5208",
    "maxFeePerGas": "0x1",
    "maxPriorityFeePerGas": "0x1",
}
REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendUserOperation", "params": [OPERATION, V07]}


def enable_signature() -> str:
    enable = EnableSession(
        chain_digest_index=0, digests=(), session=SESSION, permission_enable_signature=bytes.fromhex(SIGNATURE)
    )
    envelope = SessionEnvelope(
        mode=SessionMode.ENABLE,
        permission_id=SESSION.permission_id,
        signature=bytes.fromhex(SIGNATURE),
        enable=enable,
    )
    return print_bytes(encode_session_envelope(envelope))


def decoded(run: Run, pasted: object, *options: str) -> dict[str, object]:
    text = pasted if isinstance(pasted, str) else json.dumps(pasted)
    result = run("decode", text, "--json", *options)
    assert result.exit_code == 0, result.stderr
    # the signature itself is nobody's business
    assert SIGNATURE not in result.output
    printed: dict[str, object] = json.loads(result.stdout)
    return printed


def test_decodes_a_request(run: Run) -> None:
    printed = decoded(run, REQUEST, "--chain-id", "1868")
    assert printed["kind"] == "session operation"
    assert printed["method"] == "eth_sendUserOperation"
    assert printed["session"] == {
        "module": print_checksummed(MODULE),
        "moduleKind": "v2",
        "nonceLayout": "nexus",
        "mode": "use",
        "permissionId": "0x" + "ab" * 32,
        "sessionKeySignature": "65 bytes",
        "enable": None,
        "before": None,
    }
    assert printed["calls"] == [
        {
            "name": "transfer(address,uint256)",
            "target": print_checksummed(TOKEN),
            "value": "0",
            "selector": "0xa9059cbb",
            "arguments": [print_checksummed(Address(bytes(19) + b"\x33")), "1000000"],
            "data": "68 bytes",
        }
    ]
    (movement,) = printed["movements"]  # type: ignore[misc]  # JSON
    assert (movement["kind"], movement["amount"]) == ("spend", "1000000")
    assert printed["nonce"]["sequence"] == 5  # type: ignore[index]  # JSON


def test_the_hash_is_told_only_when_its_chain_is(run: Run) -> None:
    assert decoded(run, REQUEST)["userOpHash"] is None
    one, other = (decoded(run, REQUEST, "--chain-id", chain)["userOpHash"] for chain in ("1", "2"))
    assert one != other


@pytest.mark.parametrize("pasted", [OPERATION, [OPERATION, V07], [OPERATION], {"params": [OPERATION, V07]}])
def test_decodes_an_operation_with_or_without_its_request(run: Run, pasted: object) -> None:
    expected = decoded(run, REQUEST, "--chain-id", "1")
    assert {**decoded(run, pasted, "--chain-id", "1"), "method": "eth_sendUserOperation"} == expected


def test_decodes_from_a_file_and_from_standard_input(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(REQUEST), encoding="utf-8")
    from_file = run("decode", str(path), "--json").stdout
    assert from_file == run("decode", "-", "--json", stdin=json.dumps(REQUEST)).stdout
    assert json.loads(from_file) == decoded(run, REQUEST)


def test_decodes_each_request_of_a_batch(run: Run) -> None:
    result = run("decode", json.dumps([REQUEST, REQUEST]), "--json")
    assert [item["kind"] for item in json.loads(result.stdout)] == ["session operation"] * 2


@pytest.mark.parametrize("entry_point", ENTRY_POINTS[1:], ids=lambda entry_point: entry_point.version)
def test_the_entry_point_decides_the_hash(run: Run, entry_point: object) -> None:
    version, address = entry_point.version, print_checksummed(entry_point.address)  # type: ignore[attr-defined]  # parametrize gives object
    chosen = decoded(run, OPERATION, "--chain-id", "1", "--entry-point", version)
    named = decoded(run, [OPERATION, address], "--chain-id", "1")
    assert chosen["userOpHash"] == named["userOpHash"]
    assert str(chosen["entryPoint"]).startswith(version)


def test_the_old_shape_is_known_by_its_fields(run: Run) -> None:
    old = {**OPERATION, "initCode": "0x", "paymasterAndData": "0x", "nonce": "0x1"}
    assert str(decoded(run, old)["entryPoint"]).startswith("v0.6")


def test_decodes_a_bare_session_signature(run: Run) -> None:
    assert decoded(run, USE) == {
        "kind": "session signature",
        "mode": "use",
        "permissionId": "0x" + "ab" * 32,
        "sessionKeySignature": "65 bytes",
        "enable": None,
    }


def test_decodes_what_an_enable_signature_grants(run: Run) -> None:
    printed = decoded(run, enable_signature())
    assert printed["permissionId"] == print_bytes(SESSION.permission_id)
    session = printed["enable"]["session"]  # type: ignore[index]  # JSON
    assert session["userOpPolicies"][0]["name"] == "TimeFramePolicy"
    assert session["actions"][0]["name"] == "transfer(address,uint256)"
    assert session["actions"][0]["policies"] == [
        {"name": "unknown policy", "policy": print_checksummed(b"\x99" * 20), "initData": "0x01"}
    ]


EMISSARY_VECTORS = json.loads((SAMPLE / "emissary.json").read_bytes())["vectors"]


def of_the_emissary(kind: str) -> dict[str, Any]:
    vector: dict[str, Any] = next(each for each in EMISSARY_VECTORS if each["kind"] == kind)
    return vector


@pytest.mark.parametrize("kind", ["enable", "prefixed"])
def test_decodes_what_a_signature_for_the_emissary_grants(run: Run, kind: str) -> None:
    vector = of_the_emissary(kind)
    printed = decoded(run, vector["packed"])
    assert (printed["moduleKind"], printed["mode"]) == ("emissary", "enable")
    assert printed["permissionId"] == vector["expected"]["permissionId"]
    enable = printed["enable"]
    assert isinstance(enable, dict)
    assert enable["config"]["permissionId"] == printed["permissionId"]
    assert enable["userSignature"] == "65 bytes"
    assert enable["session"]["permissionId"] == printed["permissionId"]


def test_decodes_a_signature_on_a_claim(run: Run) -> None:
    vector = [each for each in EMISSARY_VECTORS if each["kind"] == "notarized"][1]
    printed = decoded(run, vector["module"] + vector["packed"][2:])
    assert printed["permissionId"] == vector["expected"]["permissionId"]
    assert printed["sessionKeySignature"] == "65 bytes"
    assert printed["claimPolicyData"] == "52 bytes"


def test_decodes_an_operation_of_a_session_of_the_emissary(run: Run) -> None:
    vector = of_the_emissary("enable")
    nonce = vector["module"] + bytes(4).hex() + bytes(8).hex()
    printed = decoded(run, {**OPERATION, "nonce": nonce, "signature": vector["packed"]})
    session = printed["session"]
    assert isinstance(session, dict)
    assert (session["moduleKind"], session["permissionId"]) == ("emissary", vector["expected"]["permissionId"])


def test_names_published_policies_whose_behaviour_is_not_known(run: Run) -> None:
    vector = next(each for each in EMISSARY_VECTORS if each["kind"] == "enable" and "scoped" in each["note"])
    (fallback,) = [
        action
        for action in decoded(run, vector["packed"])["enable"]["session"]["actions"]  # type: ignore[index]  # JSON
        if action["selector"] == "0x00000001"
    ]
    assert [policy["name"] for policy in fallback["policies"]] == ["IntentExecutionPolicy"]


@pytest.mark.parametrize(
    ("kind", "act"), [("setConfig", "EmissaryConfigSet"), ("removeConfig", "EmissaryConfigRemoved")]
)
def test_finds_sessions_of_the_emissary_in_call_data(run: Run, kind: str, act: str) -> None:
    vector = of_the_emissary(kind)
    call_data = execute_single(Address(bytes.fromhex(vector["module"][2:])), 0, bytes.fromhex(vector["data"][2:]))
    (found,) = decoded(run, print_bytes(call_data))["acts"]  # type: ignore[misc]  # JSON
    assert found["act"] == act
    assert vector["expected"]["permissionId"] in json.dumps(found)


def test_decodes_bare_call_data_and_finds_grants_in_it(run: Run) -> None:
    enable_sessions = bytes.fromhex("21712407") + encode_sessions([SESSION])
    printed = decoded(run, print_bytes(execute_single(MODULE, 0, enable_sessions)))
    assert printed["kind"] == "call data"
    (act,) = printed["acts"]  # type: ignore[misc]  # JSON
    assert act["act"] == "SessionsEnabled"
    assert act["sessions"][0]["permissionId"] == print_bytes(SESSION.permission_id)


def test_a_module_of_ones_own_can_be_named(run: Run) -> None:
    own = {**OPERATION, "nonce": "0x" + (bytes(4) + TOKEN + bytes(8)).hex()}
    assert decoded(run, own)["kind"] == "owner or foreign operation"
    assert decoded(run, own, "--module", print_checksummed(TOKEN))["kind"] == "session operation"


def test_people_see_a_tree_with_whole_ids(run: Run) -> None:
    printed = run("decode", json.dumps(REQUEST)).stdout
    assert "permission id: 0x" + "ab" * 32 in printed
    assert "0: transfer(address,uint256)" in printed


@pytest.mark.parametrize(
    "pasted",
    [
        "{",
        "[]",
        "{}",
        "[1]",
        "0xabc",
        "0x00ab",
        "0x01" + "ff" * 10,
        json.dumps({**OPERATION, "nonce": 1.5}),
        json.dumps({**OPERATION, "extra": "0x"}),
        json.dumps([OPERATION, "0x" + "11" * 20]),
        json.dumps({"method": "eth_chainId", "params": []}),
        json.dumps(REQUEST).replace('"nonce"', '"sender": "0x", "nonce"'),
    ],
)
def test_what_cannot_be_read_exactly_is_exit_code_1(run: Run, pasted: str) -> None:
    result = run("decode", pasted)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("not readable: ")


@given(
    st.one_of(
        (st.binary(max_size=80) | st.binary(min_size=32, max_size=32)).map(print_bytes),
        st.binary(max_size=80).map(lambda data: print_bytes(b"\x01" + fastlz.deflate(data))),
        st.binary(max_size=80).map(lambda data: print_bytes(EXECUTE + data)),
        st.text(max_size=40).map(lambda text: "{" + text),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*OPERATION, "params", "method"]), inner, max_size=9)
            ),
            max_leaves=9,
        ).map(lambda value: json.dumps([value])),
    )
)
def test_anything_pasted_is_read_or_refused_and_nothing_else(pasted: str) -> None:
    result = CliRunner().invoke(application, ["decode", pasted, "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    # 32 bytes may be the hash of an operation, and there is no bundler here that could be asked
    may_be_hash = "looks like the hash of an operation" in result.stderr
    assert result.exit_code in ((2,) if may_be_hash else (0, 1))
    assert not may_be_hash or len(pasted) == 66
