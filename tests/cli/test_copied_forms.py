"""What browsers, shells, explorers and programs make of an operation is found inside of it, and read as one."""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cli.literals import read_literal
from proxy.cli.places import operations_within
from proxy.cli.reading import PastedHash, PastedOperation, read_pasted
from proxy.cli.session_json import sessions_in
from proxy.errors import InvalidParams, RpcError, Undecodable
from proxy.strict_json import NumberLiteral
from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import parse_user_operation, print_user_operation
from tests.cli.conftest import Run
from tests.cli.test_decode import OPERATION, V07
from tests.cli.test_lint import SOUND, printed
from tests.cli.test_pasted_forms import GAS, PACKED, READ, REQUEST, SPLIT, STRUCT, UINTS, member, packed, read_one
from tests.session.declared_modules import CREATE, CREATED, REVOKE, REVOKED, call_of
from tests.session.signing import SESSION_KEY

HASH = "0x" + "5a" * 32
BODY: dict[str, Any] = json.loads(REQUEST)


def har(*bodies: str) -> str:
    entries = [
        {
            "request": {"method": "POST", "url": "https://b.example", "postData": {"text": body}},
            "response": {"status": 200, "content": {"text": '{"jsonrpc":"2.0","id":1,"result":null}'}},
        }
        for body in bodies
    ]
    return json.dumps({"log": {"version": "1.2", "entries": entries}})


def tagged(name: str, **beside: str) -> str:
    """As a replacer for JSON writes bigints."""
    numbers = {key: {**beside, name: str(int(SPLIT[key], 16))} for key in UINTS}
    return json.dumps({**SPLIT, **numbers})


def struct() -> list[Any]:
    whole = packed(SPLIT)
    return [str(int(whole[key], 16)) if key in UINTS else whole[key] for key in STRUCT]


def handle_ops(count: int = 1) -> str:
    values = [[member(packed(SPLIT)[key], key) for key in STRUCT]] * count
    types = abi.tuple_of(abi.list_of(PACKED), abi.ADDRESS)
    data = selector(f"handleOps({PACKED.name}[],address)") + abi.encode(types, [values, b"\xbe" * 20])
    return print_bytes(data)


def by_words(data: str) -> str:
    digits = data[10:]
    words = [f"[{at // 64}]:  {digits[at : at + 64]}" for at in range(0, len(digits), 64)]
    return "\n".join(["Function: handleOps(tuple[] ops,address beneficiary) ***", "", f"MethodID: {data[:10]}", *words])


def rows() -> str:
    whole = packed(SPLIT)
    kinds = {"sender": "address", "nonce": "uint256", "preVerificationGas": "uint256"}
    lines = [f"0\tops.{key}\t{kinds.get(key, 'bytes')}\t{whole[key]}" for key in STRUCT]
    return "\n".join(["#\tName\tType\tData", *lines])


def typescript() -> str:
    quoted = {key: f'"{value}" as Hex' for key, value in SPLIT.items()}
    numbers = {
        "nonce": f'BigInt("{int(SPLIT["nonce"], 16)}")',
        "callGasLimit": "50_000n",
        "verificationGasLimit": "toHex(100_000) /* plenty */",
        "maxFeePerGas": 'parseGwei("1")',
        "maxPriorityFeePerGas": "parseUnits('0.000000001', 9),  // a wei",
    }
    members = ",\n".join(f"  {key}: {value}" for key, value in {**quoted, **numbers}.items())
    return f'const userOp: UserOperation<"0.7"> = {{\n{members},\n}}'.replace(",,", ",").replace("a wei,", "a wei")


COLOURED = "\x1b[32m" + json.dumps(SPLIT).replace(": ", ":\x1b[33m ") + "\x1b[39m"
CHAIN_ID = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
ESCAPED = REQUEST.replace('"', '\\"')
FOR_WINDOWS = ESCAPED.replace('\\"', '^\\^"').replace("{", "^{")
FOR_POWERSHELL = REQUEST.replace('"', '`"')
CELLS = "\n".join(f"│ {key:<30}│ {value!r:<20} │" for key, value in {**SPLIT, "eip7702Auth": None}.items())
TABLE = f"┌──────┬─────┐\n│ (index)  │ Values │\n├──────┼─────┤\n{CELLS}\n└──────┴─────┘"
PREPARED = f"<ref *1> {{ account: {{ sign: [AsyncFunction: sign], client: [Circular *1] }},{repr(SPLIT)[1:]}"
BLOCKSCOUT = {
    "sender": {"hash": SPLIT["sender"]},
    "call_data": "0x",
    "entry_point": {"hash": V07},
    "raw": packed(SPLIT),
}
ARGUMENTS = ", ".join(f"{key}={value!r}" for key, value in SPLIT.items())
SOLIDITY = json.dumps(SPLIT).replace(f'"{SPLIT["signature"]}"', f'hex"{SPLIT["signature"][2:]}"')
EXPLORED = {**packed(SPLIT), "userOpHash": HASH, "network": "base", "input": "0x"}


SPREADSHEET = ",".join(SPLIT) + "\n" + ",".join(SPLIT.values())
HTML = "".join(f"<tr><td><b>{key}</b></td><td class=v>{value}</td></tr>" for key, value in SPLIT.items())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(har(REQUEST), id="HAR"),
        pytest.param(har(CHAIN_ID, REQUEST, REQUEST), id="HAR asked again"),
        pytest.param(json.dumps({"request": {"body": REQUEST}}), id="JSON in JSON"),
        pytest.param(json.dumps({"level": "info", "message": f"sending {REQUEST}"}), id="in a log's message"),
        pytest.param(f"fetch('https://b.example', {{ 'body': {json.dumps(REQUEST)}, 'method': 'POST' }});", id="fetch"),
        pytest.param(f'curl https://b.example -d "{ESCAPED}"', id="curl with double quotes"),
        pytest.param(f'curl "https://b.example" ^\n --data-raw ^"{FOR_WINDOWS}^"', id="curl of Windows"),
        pytest.param(f'Invoke-WebRequest -Uri "https://b.example" -Body "{FOR_POWERSHELL}"', id="PowerShell"),
        pytest.param(COLOURED, id="a terminal's colours"),
        pytest.param(tagged("value", type="bigint"), id="bigint with its type"),
        pytest.param(tagged("$bigint"), id="bigint as a member"),
        pytest.param(tagged("__value", __type="bigint"), id="bigint with underscores"),
        pytest.param(json.dumps({"json": SPLIT, "meta": {"values": {"nonce": ["bigint"]}}}), id="superjson"),
        pytest.param(json.dumps({"ops": [packed(SPLIT)], "beneficiary": V07}), id="Tenderly's input"),
        pytest.param(
            json.dumps({"functionName": "handleOps", "args": [[packed(SPLIT)], V07]}), id="decodeFunctionData"
        ),
        pytest.param(json.dumps([[struct()], V07]), id="structs without names"),
        pytest.param(f"[({', '.join(struct())})]\n0x{'be' * 20}", id="cast"),
        pytest.param(json.dumps({"userOps": [EXPLORED]}), id="explorer"),
        pytest.param(json.dumps({"data": {"tx": {"input": handle_ops()}}}), id="a transaction inside of an answer"),
        pytest.param(by_words(handle_ops()), id="Etherscan's words"),
        pytest.param(rows(), id="Etherscan's table"),
        pytest.param(
            f"from                 {V07}\ninput                {handle_ops()}\nlogsBloom            0x00", id="cast tx"
        ),
        pytest.param(handle_ops()[2:], id="hex without 0x"),
        pytest.param(json.dumps({key[0].upper() + key[1:]: value for key, value in SPLIT.items()}), id="Go"),
        pytest.param("\n".join(f"{key}\t{value}" for key, value in SPLIT.items()), id="a table's columns"),
        pytest.param(f"UserOperation({ARGUMENTS})", id="a dataclass"),
        pytest.param(SOLIDITY, id="Solidity"),
        pytest.param(json.dumps({**SPLIT, "paymasterData": [0xAA, 0xBB]}), id="bytes as numbers"),
        pytest.param(json.dumps({**SPLIT, "paymasterData": {"0": 0xAA, "1": 0xBB}}), id="bytes by their places"),
        pytest.param(json.dumps(SPLIT).replace('"0xaabb"', "<Buffer aa bb>"), id="Node's buffer"),
        pytest.param(json.dumps(SPLIT).replace('"0xaabb"', "Uint8Array(2) [ 170, 187 ]"), id="Node's list of bytes"),
        pytest.param(json.dumps(SPLIT).replace("0xaabb", "0xaa' +\n  'bb").replace('"', "'"), id="a text in two"),
        pytest.param(TABLE, id="console.table"),
        pytest.param(PREPARED, id="what viem prepares, account and all"),
        pytest.param(json.dumps(BLOCKSCOUT), id="Blockscout"),
        pytest.param(repr(REQUEST.encode()), id="Python's bytes of a request"),
        pytest.param(SPREADSHEET, id="a spreadsheet's two rows"),
        pytest.param(SPREADSHEET.replace(",", ";"), id="a spreadsheet of another country"),
        pytest.param(HTML, id="a table of a web page"),
        pytest.param(f"https://tool.example/?op={urllib.parse.quote(json.dumps(SPLIT))}", id="in an address"),
        pytest.param(base64.b64encode(REQUEST.encode()).decode(), id="base64"),
        pytest.param(json.dumps({"params": json.dumps([SPLIT, V07])}), id="parameters as a text"),
        pytest.param(json.dumps(SPLIT).replace("0x", "0X"), id="hex with a capital X"),
        pytest.param(
            json.dumps(SPLIT).replace(f'"{SPLIT["nonce"]}"', f"<BN: {int(SPLIT['nonce'], 16):x}>"), id="bn.js"
        ),
        pytest.param(
            json.dumps({**SPLIT, **{key: f"#bigint.{int(SPLIT[key], 16)}" for key in UINTS}}), id="wagmi's bigint"
        ),
        pytest.param(
            "\n".join(
                f"{key}: {int(value, 16):,}" if key in UINTS else f"{key}: {value}" for key, value in SPLIT.items()
            ),
            id="numbers in groups of three",
        ),
        pytest.param("{ // mine\n /* all */" + json.dumps(SPLIT)[1:], id="comments"),
    ],
)
def test_finds_the_operation_in_whatever_was_copied(text: str) -> None:
    assert print_user_operation(read_one(text).op) == print_user_operation(READ)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(REQUEST.encode()).decode(),
        HTML,
        f"({', '.join(struct())})",
        json.dumps(SPLIT).replace("0x", "0X"),
    ],
    ids=["base64", "a web page", "a struct", "capital X"],
)
def test_what_is_an_argument_is_not_taken_for_the_name_of_a_file(run: Run, text: str) -> None:
    told = json.loads(run("decode", text, "--json").stdout)
    assert SPLIT["sender"] in json.dumps(told).lower()


def test_a_program_s_own_units_are_worked_out() -> None:
    assert read_one(typescript()).op == parse_user_operation(
        {
            **SPLIT,
            "callGasLimit": "0xc350",
            "verificationGasLimit": "0x186a0",
            "maxFeePerGas": hex(10**9),
            "maxPriorityFeePerGas": "0x1",
        },
        EntryPointVersion.V07,
    )
    assert read_literal("[parseEther('1.5'), to_wei(2, 'gwei'), new BigNumber('7')]") == [
        NumberLiteral(str(15 * 10**17)),
        NumberLiteral(str(2 * 10**9)),
        "7",
    ]


@pytest.mark.parametrize("call", ["keccak256('0x01')", "parseGwei('0.1234567891')", "parseGwei(x)", "concat(['0x01'])"])
def test_what_a_program_would_work_out_is_not_guessed_at(call: str) -> None:
    with pytest.raises(InvalidParams):
        read_literal(f"{{a: {call}}}")


@pytest.mark.parametrize("cut", ["<Buffer aa bb ... 12 more bytes>", "[ 170, ... 65 more items ]", "[Array]"])
def test_says_that_a_list_of_bytes_was_cut_off(cut: str) -> None:
    with pytest.raises(InvalidParams, match="cut a value off"):
        read_pasted(json.dumps(SPLIT).replace('"0xaabb"', cut), None)


def test_a_recording_shows_each_different_request_once_and_by_its_method() -> None:
    estimate = json.dumps({**BODY, "method": "eth_estimateUserOperationGas"})
    found = read_pasted(har(estimate, REQUEST, estimate), None)
    methods = [each.method for each in found if isinstance(each, PastedOperation)]
    assert methods == ["eth_estimateUserOperationGas", "eth_sendUserOperation"]


def test_a_bundle_inside_of_other_things_is_read_whole() -> None:
    other = {**SPLIT, "nonce": "0x1"}
    found = read_pasted(json.dumps({"ops": [packed(SPLIT), packed(other)], "beneficiary": V07}), None)
    assert [each.op.nonce for each in found if isinstance(each, PastedOperation)] == [READ.nonce, 1]


@pytest.mark.parametrize(
    "name", ["simulateValidation", "validateUserOp", "simulateHandleOp", "validatePaymasterUserOp"]
)
def test_reads_the_operation_that_an_account_or_a_simulation_is_called_with(name: str) -> None:
    more = {
        "simulateValidation": [],
        "validateUserOp": [(abi.BYTES32, bytes(32)), (abi.UINT256, 0)],
        "validatePaymasterUserOp": [(abi.BYTES32, bytes(32)), (abi.UINT256, 0)],
        "simulateHandleOp": [(abi.ADDRESS, bytes(20)), (abi.BYTES, b"")],
    }[name]
    types = [PACKED, *(kind for kind, _ in more)]
    values = [[member(packed(SPLIT)[key], key) for key in STRUCT], *(value for _, value in more)]
    data = selector(f"{name}({','.join(each.name for each in types)})") + abi.encode(abi.tuple_of(*types), values)
    assert read_one(print_bytes(data)).op == READ


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"https://jiffyscan.xyz/userOpHash/{HASH}?network=soneium", id="an explorer's address"),
        pytest.param(
            json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"userOpHash": HASH, "sender": V07, "nonce": "0x1"}}),
            id="a receipt",
        ),
        pytest.param(json.dumps({"status": "included", "userOpHash": HASH}), id="a status"),
        pytest.param(HASH[2:], id="without 0x"),
    ],
)
def test_what_names_an_operation_by_its_hash_is_asked_about(text: str) -> None:
    assert read_pasted(text, None) == [PastedHash(data=bytes.fromhex(HASH[2:]))]  # type: ignore[arg-type]  # 32 bytes


def test_what_a_request_has_too_much_is_not_left_out_unseen() -> None:
    with pytest.raises(InvalidParams, match="extra"):
        read_pasted(json.dumps({**SPLIT, "extra": "0x"}), None)
    with pytest.raises(InvalidParams, match="did you mean paymasterData"):
        read_pasted(json.dumps({**SPLIT, "paymasterdata": "0x", "userOpHash": HASH}), None)
    with pytest.raises(InvalidParams, match="aggregator"):
        read_pasted(json.dumps({**SPLIT, "aggregator": "0x" + "11" * 20, "userOpHash": HASH}), None)


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 5_000 + "n", "1" + "_1" * 5_000, "1" + ",000" * 2_000])
def test_a_number_that_no_field_can_hold_is_refused_by_its_name(number: str) -> None:
    for written in (json.dumps({**SPLIT, "nonce": number}), json.dumps(SPLIT).replace(f'"{SPLIT["nonce"]}"', number)):
        with pytest.raises(RpcError):
            read_pasted(written, None)


def test_a_text_that_is_too_long_to_be_looked_through_is_refused() -> None:
    with pytest.raises(InvalidParams, match="paste the operation alone"):
        read_pasted("a program " + "x" * (4 * 1024 * 1024) + REQUEST, None)


PIECES = r"""{ } [ ] ( ) , : = ' " 0x12 sender callData // /* */ \ + ^ `" new parseGwei 12n params method"""
OTHERS = ["\n", " as Hex", "<Buffer aa>", "... 3 more items", "\x1b[3m", "MethodID: 0x12345678", json.dumps(OPERATION)]
pieces = st.sampled_from([*PIECES.split(), *OTHERS])


@settings(max_examples=150)
@given(st.lists(pieces, max_size=14).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_pasted(text, None)
    except (RpcError, Undecodable):
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.just(NumberLiteral("5")) | st.just(SPLIT),
        lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.sampled_from([*GAS, "params", "a"]), inner),
        max_leaves=20,
    )
)
def test_whatever_is_looked_through_has_as_many_operations_as_were_put_there(value: Any) -> None:
    def count(item: Any) -> int:
        if item == SPLIT:
            return 1
        members = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        return sum(map(count, members))

    assert len(operations_within(value)) == count(value)


# sessions


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"const session: Session = {json.dumps(printed(SOUND))};", id="a line of a program"),
        pytest.param(json.dumps({"body": json.dumps({"session": printed(SOUND)})}), id="JSON in JSON"),
        pytest.param("\x1b[32m" + json.dumps(printed(SOUND)), id="colours"),
        pytest.param(f'curl -d "{json.dumps(printed(SOUND))}"'.replace('"', '\\"'), id="a command"),
    ],
)
def test_finds_the_session_in_whatever_was_copied(text: str) -> None:
    (found,) = sessions_in(text)
    assert found.session == SOUND


def test_reads_the_contents_that_module_sdk_prints_under_its_own_name() -> None:
    contents = [{"appDomainSeparator": "0x" + "01" * 32, "contentName": ["Permit(address owner)"]}]
    erc7739 = {"allowedERC7739Content": contents, "erc1271Policies": []}
    (found,) = sessions_in(json.dumps({**printed(SOUND), "erc7739Policies": erc7739}))
    assert found.session.erc7739_policies.contexts[0].content_names == ("Permit(address owner)",)


# modules of one's own

DECLARED = f"""\
    session_modules:
      - default
      - kind: declared
        address: 0x{"d1" * 20}
        grants:
          - {CREATE}
          - {CREATED}
        revokes: [{REVOKE}, {REVOKED!r}]
"""


@pytest.fixture
def declared(run: Run, tmp_path: Any) -> Run:
    path = tmp_path / "sessiongate.yaml"
    path.write_text(path.read_text().replace("sessions:\n", DECLARED + "sessions:\n", 1))
    return run


GRANT = call_of(CREATE, SESSION_KEY, b"\x22" * 20, b"\xa9\x05\x9c\xbb", 0, 2**48 - 1, 0)


def granting() -> dict[str, str]:
    inner = GRANT.target + bytes(32) + GRANT.data
    data = bytes.fromhex("e9ae5c53") + abi.encode(abi.tuple_of(abi.BYTES32, abi.BYTES), [bytes(32), inner])
    return {**OPERATION, "nonce": "0x1", "callData": print_bytes(data), "signature": "0x" + "11" * 65}


def test_decode_knows_the_modules_that_the_settings_declare(declared: Run) -> None:
    (act,) = json.loads(declared("decode", json.dumps(granting()), "--json").stdout)["acts"]
    assert (act["act"], act["sessionKey"]) == ("DeclaredGrant", print_checksummed(SESSION_KEY))
    use = {**OPERATION, "nonce": "0x" + (bytes(4) + GRANT.target + bytes(8)).hex(), "signature": "0x" + "5e" * 65}
    assert json.loads(declared("decode", json.dumps(use), "--json").stdout)["kind"] == "session operation"


def test_lint_reviews_a_grant_to_a_module_that_the_settings_declare(declared: Run) -> None:
    for pasted in ([json.dumps(granting())], [print_bytes(GRANT.data), "--module", print_checksummed(GRANT.target)]):
        (session,) = json.loads(declared("lint", *pasted, "--json").stdout)["sessions"]
        assert session["permissionId"] == "0x" + "00" * 12 + SESSION_KEY.hex()
        assert "token_uncapped" in {finding["id"] for finding in session["findings"]}


def test_faulty_settings_do_not_stop_decode_and_are_told(run: Run, tmp_path: Any) -> None:
    (tmp_path / "sessiongate.yaml").write_text("chains: 5\n")
    result = run("decode", json.dumps(OPERATION))
    assert (result.exit_code, "are not known here" in result.stderr) == (0, True)
