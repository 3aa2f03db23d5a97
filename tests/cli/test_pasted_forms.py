"""Operations in the forms in which people find them: read on the command line as the request they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.literals import read_literal
from proxy.cli.reading import PastedHash, PastedOperation, read_pasted
from proxy.errors import InvalidParams, RpcError
from proxy.strict_json import NumberLiteral
from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation, parse_user_operation, print_user_operation
from tests.cli.conftest import Run
from tests.cli.test_decode import OPERATION, V07
from tests.edge.recording_bundler import Answer, RecordingBundler

V06, _, V08, V09 = (print_checksummed(ENTRY_POINT_BY_VERSION[version].address) for version in EntryPointVersion)
SPLIT = {
    **OPERATION,
    "callGasLimit": "0xc350",
    "verificationGasLimit": "0x186a0",
    "maxFeePerGas": "0x3b9aca00",
    "factory": "0x" + "fa" * 20,
    "factoryData": "0x0102",
    "paymaster": "0x" + "22" * 20,
    "paymasterVerificationGasLimit": "0x100",
    "paymasterPostOpGasLimit": "0x200",
    "paymasterData": "0xaabb",
}
OLD = {**OPERATION, "nonce": "0x1", "initCode": "0x" + "fa" * 20, "paymasterAndData": "0x"}
READ = parse_user_operation(SPLIT, EntryPointVersion.V07)
GAS = ("callGasLimit", "verificationGasLimit", "preVerificationGas", "maxFeePerGas", "maxPriorityFeePerGas")
UINTS = ("nonce", *GAS, "paymasterVerificationGasLimit", "paymasterPostOpGasLimit")


def packed(op: dict[str, Any]) -> dict[str, Any]:
    """As the entry point has it: PackedUserOperation."""
    read = parse_user_operation(op, EntryPointVersion.V07)
    words = {
        "accountGasLimits": (read.verification_gas_limit or 0) << 128 | (read.call_gas_limit or 0),
        "gasFees": (read.max_priority_fee_per_gas or 0) << 128 | (read.max_fee_per_gas or 0),
    }
    return {
        **{key: op[key] for key in ("sender", "nonce", "callData", "preVerificationGas", "signature")},
        **{key: "0x" + word.to_bytes(32, "big").hex() for key, word in words.items()},
        "initCode": print_bytes(read.packed_init_code()),
        "paymasterAndData": print_bytes(read.packed_paymaster_and_data()),
    }


def read_one(pasted: object, version: EntryPointVersion | None = None) -> PastedOperation:
    text = pasted if isinstance(pasted, str) else json.dumps(pasted)
    (found,) = read_pasted(text, version)
    assert isinstance(found, PastedOperation)
    return found


BY_HASH = {"userOperation": SPLIT, "entryPoint": V07, "blockNumber": "0x1", "blockHash": None, "transactionHash": "0x"}


@pytest.mark.parametrize(
    "pasted",
    [
        pytest.param(BY_HASH, id="the result of eth_getUserOperationByHash"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": BY_HASH}, id="its answer"),
        pytest.param([{"jsonrpc": "2.0", "id": 1, "result": BY_HASH}], id="a batch of answers"),
        pytest.param(packed(SPLIT), id="PackedUserOperation"),
        pytest.param({**packed(SPLIT), "entryPoint": V07, "userOpHash": "0x" + "ab" * 32}, id="with its hash"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {**BY_HASH, "userOperation": packed(SPLIT)}}, id="packed"),
        pytest.param({**SPLIT, **{key: int(SPLIT[key], 16) for key in UINTS}}, id="decimal numbers"),
        pytest.param({**SPLIT, **{key: str(int(SPLIT[key], 16)) for key in UINTS}}, id="decimal texts"),
        pytest.param(
            {**SPLIT, **{key: {"type": "BigNumber", "hex": SPLIT[key]} for key in UINTS}}, id="ethers' BigNumber"
        ),
        pytest.param({**SPLIT, "chainId": 1946, "hash": "0x" + "ab" * 32, "eip7702Auth": None}, id="things around it"),
        pytest.param({**SPLIT, "initCode": "0x", "paymasterAndData": "0x"}, id="both shapes, one empty"),
        pytest.param({"userOp": SPLIT, "entryPoint": V07}, id="what an SDK hands to its bundler"),
        pytest.param({**SPLIT, "nonce": f"{int(SPLIT['nonce'], 16)}#__bigint"}, id="a tagged bigint"),
        pytest.param(
            {
                "method": "zd_sponsorUserOperation",
                "params": [{"chainId": 1946, "userOp": SPLIT, "entryPointAddress": V07}],
            },
            id="a vendor's request for a paymaster",
        ),
        pytest.param(json.dumps(json.dumps(SPLIT)), id="JSON as a text in JSON"),
    ],
)
def test_reads_every_form_as_the_request_it_stands_for(pasted: object) -> None:
    found = read_one(pasted)
    assert (found.op, found.entry_point.version) == (READ, EntryPointVersion.V07)
    assert found.written == print_user_operation(READ) or print_user_operation(READ) == print_user_operation(
        parse_user_operation(found.written, EntryPointVersion.V07)
    )


def test_says_what_was_converted_and_nothing_of_a_request() -> None:
    assert read_one(SPLIT).converted == ()
    assert read_one({**SPLIT, "nonce": 5}).converted == ("nonce: 5 read as 0x5",)
    assert "a PackedUserOperation" in read_one(packed(SPLIT)).converted
    assert read_one({**SPLIT, "chainId": "0x1"}).converted == ("chainId: stands beside the operation",)


STRUCT = (
    *("sender", "nonce", "initCode", "callData", "accountGasLimits", "preVerificationGas", "gasFees"),
    *("paymasterAndData", "signature"),
)


def test_reads_a_struct_without_the_names_of_its_members() -> None:
    whole = packed(SPLIT)
    assert read_one([whole[key] for key in STRUCT]).op == READ
    # as cast prints one: large numbers with their order of magnitude beside them
    members = (whole[key] if key not in UINTS else f"{int(whole[key], 16)} [1.23e4]" for key in STRUCT)
    assert read_one(f"({', '.join(members)})").op == READ


PACKED = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)


def member(value: str, key: str) -> object:
    return int(value, 16) if key in ("nonce", "preVerificationGas") else bytes.fromhex(value[2:])


@pytest.mark.parametrize("name", ["handleOps", "getUserOpHash", "handleAggregatedOps"])
@pytest.mark.parametrize("count", [1, 3])
def test_reads_the_operations_in_what_the_entry_point_is_called_with(name: str, count: int) -> None:
    whole = packed(SPLIT)
    values = [member(whole[key], key) for key in STRUCT]
    beneficiary = b"\xbe" * 20
    if name == "getUserOpHash":
        count = 1
        data = selector(f"{name}({PACKED.name})") + abi.encode(abi.tuple_of(PACKED), [values])
    elif name == "handleOps":
        types = abi.tuple_of(abi.list_of(PACKED), abi.ADDRESS)
        data = selector(f"{name}({PACKED.name}[],address)") + abi.encode(types, [[values] * count, beneficiary])
    else:
        group = abi.tuple_of(abi.list_of(PACKED), abi.ADDRESS, abi.BYTES)
        data = selector(f"{name}(({PACKED.name}[],address,bytes)[],address)") + abi.encode(
            abi.tuple_of(abi.list_of(group), abi.ADDRESS), [[([values], beneficiary, b"")] * count, beneficiary]
        )
    found = read_pasted(print_bytes(data), None)
    assert [each.op for each in found if isinstance(each, PastedOperation)] == [READ] * count


@pytest.mark.parametrize("name", ["input", "data"])
@pytest.mark.parametrize("around", ["transaction", "answer", "request"])
def test_reads_the_operations_in_a_transaction_to_the_entry_point(name: str, around: str) -> None:
    whole = packed(SPLIT)
    values = [[member(whole[key], key) for key in STRUCT]] * 2
    types = abi.tuple_of(abi.list_of(PACKED), abi.ADDRESS)
    data = selector(f"handleOps({PACKED.name}[],address)") + abi.encode(types, [values, b"\xbe" * 20])
    transaction = {"from": "0x" + "be" * 20, "to": V07, name: "0x" + data.hex()}
    pasted = {
        "transaction": transaction,
        "answer": {"jsonrpc": "2.0", "id": 1, "result": transaction},
        "request": {"method": "eth_call", "params": [transaction, "latest"]},
    }
    found = read_pasted(json.dumps(pasted[around]), None)
    assert [each.op for each in found if isinstance(each, PastedOperation)] == [READ, READ]


def test_the_release_that_is_asked_for_decides_how_a_packed_one_is_read() -> None:
    signed = {**SPLIT, "paymasterSignature": "0xccdd"}
    op = parse_user_operation(signed, EntryPointVersion.V09)
    tail = op.packed_paymaster_and_data() + b"\xcc\xdd" + b"\x00\x02" + bytes.fromhex("22e325a297439656")
    whole = {**packed(SPLIT), "paymasterAndData": print_bytes(tail)}
    assert read_one(whole, EntryPointVersion.V09).op == op
    assert read_one({**whole, "entryPoint": V09}).op == op
    assert read_one(whole).op.paymaster_data == tail[52:]


def test_reads_the_old_shape_with_decimals_and_the_marker_of_delegated_accounts() -> None:
    old = read_one({"userOperation": {**OLD, "nonce": 1}, "entryPoint": V06})
    assert old.op == parse_user_operation(OLD, EntryPointVersion.V06)
    marked = {**packed(SPLIT), "initCode": "0x7702" + "00" * 18 + "0102"}
    assert read_one({**marked, "entryPoint": V08}).op.factory == b"\x77\x02"


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "-1"},
        {"nonce": 1.5},
        {"nonce": "1e"},
        {"nonce": True},
        {"callData": "0x1"},
        {"sender": "0x11"},
        {"nonce": {"hex": "5"}},
        {"call_data": "0x", "callData": "0x"},
        {"aggregator": "0x" + "11" * 20},
    ],
)
def test_refuses_what_has_no_single_meaning(change: dict[str, Any]) -> None:
    with pytest.raises(RpcError):
        read_pasted(json.dumps({**SPLIT, **change}), None)


@pytest.mark.parametrize("key", ["accountGasLimits", "gasFees", "initCode", "paymasterAndData"])
def test_refuses_a_packed_operation_with_a_part_cut(key: str) -> None:
    with pytest.raises(InvalidParams):
        read_pasted(json.dumps({**packed(SPLIT), key: "0x0102"}), None)


AUTHORIZATION = {"chainId": "0x79a", "address": "0x" + "de" * 20, "nonce": "0x5", "yParity": "0x1"} | {
    key: "0x" + digits * 32 for key, digits in (("r", "0a"), ("s", "0b"))
}
DELEGATED = {**SPLIT, "eip7702Auth": AUTHORIZATION}
TUPLE = f"chain_id: 0x79a, address: {AUTHORIZATION['address']}, nonce: 5"
SIGNED = f"r: {AUTHORIZATION['r']}, s: {AUTHORIZATION['s']}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            f"SignedAuthorization {{ inner: Authorization {{ {TUPLE} }}, y_parity: 1, {SIGNED} }}", id="alloy"
        ),
        pytest.param(f"{{ {TUPLE}, signature: Signature {{ {SIGNED}, yParity: 1, networkV: null }} }}", id="ethers"),
        pytest.param(f"{{ {TUPLE}, v: 28n, {SIGNED} }}", id="viem, v alone"),
        pytest.param(
            f"{{ {TUPLE}, yParity: 1, r: {list(bytes.fromhex('0a' * 32))}, s: Buffer.from('{AUTHORIZATION['s']}') }}",
            id="bytes",
        ),
    ],
)
def test_reads_an_authorization_as_libraries_print_it(text: str) -> None:
    whole = f"{repr(SPLIT)[:-1]}, eip7702Auth: {text}}}"
    assert read_one(whole).op == parse_user_operation(DELEGATED, EntryPointVersion.V07)


@pytest.mark.parametrize("inside", [{"nonce": 6}, {"chain_id": 1946}, {"r": "0x01"}])
def test_an_authorization_that_says_something_twice_is_refused(inside: dict[str, object]) -> None:
    with pytest.raises(InvalidParams, match="given twice"):
        read_one({**SPLIT, "eip7702Auth": {**AUTHORIZATION, "inner": inside}})


@pytest.mark.parametrize("data", [[1, 256], [1, -1], [1, None], {"type": "Buffer", "data": [300]}])
def test_a_list_that_is_no_bytes_is_not_read_as_fewer(data: object) -> None:
    with pytest.raises(InvalidParams):
        read_one({**SPLIT, "callData": data})


# what programs print

SHORT = {key: SPLIT[key] for key in (*OPERATION, "paymaster", "paymasterData")} | {
    "paymasterVerificationGasLimit": "0x100",
    "paymasterPostOpGasLimit": "0x200",
    "factory": SPLIT["factory"],
    "factoryData": SPLIT["factoryData"],
}


def console(op: dict[str, str], *, quote: str = "'", number: str = "n") -> str:
    """As console.log of Node prints an SDK's object."""
    lines = [
        f"  {key}: {int(value, 16)}{number}," if key in UINTS else f"  {key}: {quote}{value}{quote},"
        for key, value in op.items()
    ]
    return "\n".join(["{", *lines, "  eip7702Auth: undefined,", "}"])


def rust(op: dict[str, str]) -> str:
    names = {key: "".join(f"_{each.lower()}" if each.isupper() else each for each in key) for key in op}
    return "UserOperation { " + ", ".join(f"{names[key]}: {value}" for key, value in op.items()) + " }"


def viem(op: dict[str, str]) -> str:
    def shown(key: str, value: str) -> str:
        if key in ("maxFeePerGas", "maxPriorityFeePerGas"):
            return f"{int(value, 16) / 10**9:.9f}".rstrip("0").rstrip(".") + " gwei"
        return str(int(value, 16)) if key in UINTS else value

    return "\n".join(f"  {key + ':':<32}{shown(key, value)}" for key, value in op.items())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(console(SHORT), id="console.log"),
        pytest.param(console(SHORT, quote="`"), id="template strings"),
        pytest.param(f"```js\n{console(SHORT)}\n```", id="in a fence"),
        pytest.param(f"```json\n{json.dumps(SPLIT)}\n```", id="JSON in a fence"),
        pytest.param(repr(SPLIT), id="Python's dict"),
        pytest.param(repr({**SPLIT, "eip7702Auth": None}), id="Python's dict with None"),
        pytest.param(
            repr({**SPLIT, **{key: bytes.fromhex(SPLIT[key][2:]) for key in ("callData", "signature")}}),
            id="Python's bytes",
        ),
        pytest.param(rust(SHORT), id="Rust's debug print"),
        pytest.param(viem(SHORT), id="viem's error message"),
        pytest.param(json.dumps(SPLIT)[:-1] + ",}", id="JSON with a comma too many"),
        pytest.param("{userOperation: " + console(SHORT) + f", entryPoint: '{V07}'" + "}", id="an answer, printed"),
        pytest.param("{sender: new_HexBytes('" + SPLIT["sender"] + "'), " + console(
            {key: value for key, value in SHORT.items() if key != "sender"})[1:], id="constructors"),
    ],
)  # fmt: skip
def test_reads_what_programs_print(text: str) -> None:
    assert print_user_operation(read_one(text).op) == print_user_operation(READ)


REQUEST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_sendUserOperation", "params": [SPLIT, V07]})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"curl https://b.example/rpc -H 'content-type: application/json' -d '{REQUEST}'", id="curl"),
        pytest.param(f"const userOp: UserOperation = {console(SHORT)};\nawait send(userOp)", id="a line of a program"),
        pytest.param(f"[12:00:01] INFO [rpc] eth_sendUserOperation {json.dumps([SPLIT, V07])}", id="a line of a log"),
        pytest.param(
            f"UserOperationExecutionError: reverted.\n\nRequest Arguments:\n{viem(SHORT)}\n\nDetails: AA24\n"
            "Version: viem@2.57.0",
            id="all of viem's error",
        ),
    ],
)
def test_finds_an_operation_inside_of_other_text_and_says_so(text: str) -> None:
    found = read_one(text)
    assert print_user_operation(found.op) == print_user_operation(READ)
    assert "it stood inside of other text" in found.converted


def test_text_that_holds_two_operations_is_not_guessed_at() -> None:
    with pytest.raises(InvalidParams):
        read_pasted(f"first {json.dumps(SPLIT)} then {json.dumps({**SPLIT, 'nonce': '0x1'})}", None)


def test_says_that_the_console_cut_a_value_off() -> None:
    cut = console(SHORT).replace(f"'{SHORT['callData']}'", f"'{SHORT['callData'][:20]}'... 300 more characters")
    with pytest.raises(InvalidParams, match="cut a value off"):
        read_pasted(cut, None)


@given(st.text(alphabet="{}[]():,='\"`n0x12ab \n_.", max_size=60))
def test_answers_any_text_with_a_value_or_a_refusal(text: str) -> None:
    try:
        read_literal(text)
    except InvalidParams:
        return


def test_reads_numbers_constants_and_names() -> None:
    assert read_literal("{a: 1_000n, b: [true, None, undefined], c: BigInt('5')}") == {
        "a": NumberLiteral("1000"),
        "b": [True, None, None],
        "c": "5",
    }


# hashes, and the commands

HASH = "0x" + "5a" * 32


def test_32_bytes_are_a_hash() -> None:
    assert read_pasted(HASH, None) == [PastedHash(bytes.fromhex(HASH[2:]))]  # type: ignore[arg-type]  # 32 bytes


@pytest.mark.parametrize("command", [["decode"], ["explain", "--offline"], ["lint"]])
def test_a_hash_without_settings_is_told_who_would_be_asked(run: Run, command: list[str], tmp_path: Path) -> None:
    result = run(*command, HASH, "--config", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2


def test_a_hash_is_asked_at_the_bundler(run: Run, bundler: RecordingBundler) -> None:
    bundler.answers["eth_getUserOperationByHash"] = Answer(result=BY_HASH)
    result = run("decode", HASH, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kind"] == "session operation"
    assert [request.params for request in bundler.requests if "ByHash" in request.method] == [[HASH]]
    assert run("explain", HASH, "--offline").exit_code in (0, 1)
    assert run("lint", HASH).exit_code == 1  # it grants nothing
    assert len(bundler.requests) == 3


@pytest.mark.parametrize("answer", [Answer(result=None), Answer(error={"code": -32602, "message": "no such method"})])
def test_a_hash_that_the_bundler_does_not_know_is_said(run: Run, bundler: RecordingBundler, answer: Answer) -> None:
    bundler.answers["eth_getUserOperationByHash"] = answer
    for command in (["decode"], ["explain", "--offline"], ["lint"]):
        result = run(*command, HASH)
        assert result.exit_code == 1
        assert HASH in result.stderr


def test_the_commands_say_on_stderr_what_was_converted(run: Run) -> None:
    result = run("decode", json.dumps({**OPERATION, "nonce": int(OPERATION["nonce"], 16)}), "--json")
    assert result.exit_code == 0
    assert "nonce" in result.stderr
    assert json.loads(result.stdout)["converted"]


def test_the_wire_stays_strict() -> None:
    for form in (BY_HASH, packed(SPLIT), {**SPLIT, "nonce": "5"}, {**SPLIT, "chainId": "0x1"}):
        with pytest.raises(InvalidParams):
            parse_user_operation(form, EntryPointVersion.V07)
    assert isinstance(READ, UserOperation)
