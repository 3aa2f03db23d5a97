"""Operations in tables, lists, logs and prints of languages that nobody wrote a reader for: read by the names of their
fields, or not at all."""

from __future__ import annotations

import html
import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cli.reading import PastedOperation, read_pasted
from proxy.cli.scattered import read_scattered
from proxy.errors import InvalidParams, RpcError, Undecodable
from proxy.userop.entry_point import EntryPoint
from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.cli.conftest import Run
from tests.cli.test_any_form import members, operations, same
from tests.cli.test_pasted_forms import READ, REQUEST, SPLIT, V07, read_one

Members = dict[str, Any]
Show = Callable[[Members], str]


def hexed(value: Any) -> str:
    return hex(value) if isinstance(value, int) else print_bytes(value)


def plain(value: Any) -> str:
    return str(value) if isinstance(value, int) else print_bytes(value)


def each(line: str, *, between: str, first: str = "", last: str = "", spell: Callable[[Any], str] = hexed) -> Show:
    """`line` for each member, its `KEY`, `Key` and `VALUE` filled in."""

    def show(op: Members) -> str:
        filled = (
            line.replace("KEY", key).replace("Key", key[0].upper() + key[1:]).replace("VALUE", spell(value))
            for key, value in op.items()
        )
        return first + between.join(filled) + last

    return show


def of_go(value: Any) -> str:
    if isinstance(value, int):
        return f"+{value}"
    return print_bytes(value) if len(value) == 20 else f"[{' '.join(map(str, value))}]"


def php_dump(op: Members) -> str:
    lines = (f'  ["{key}"]=>\n  string({len(hexed(value))}) "{hexed(value)}"' for key, value in op.items())
    return f"array({len(op)}) {{\n" + "\n".join(lines) + "\n}"


FORMS: dict[str, Show] = {
    "Markdown's table": each("| KEY | VALUE |", between="\n", first="| field | value |\n|---|---|\n"),
    "Markdown's table of code": each("| `KEY` | `VALUE` |", between="\n", first="| field | value |\n|---|---|\n"),
    "Markdown's list": each("- **KEY**: `VALUE`", between="\n", spell=plain),
    "a numbered list": each("1. KEY: VALUE", between="\n"),
    "a log": each("KEY=VALUE", between=" ", first="2026-01-01T00:00:00Z DEBUG rpc: ", spell=plain),
    "a log with quotes": each('KEY="VALUE"', between=" ", first='level=debug msg="user op" '),
    "one line": each("KEY: VALUE", between="; "),
    "names and values": each("KEY VALUE", between="\n"),
    "assignments": each('userOp.KEY = "VALUE";', between="\n"),
    "assignments of a dictionary": each('user_op["KEY"] = "VALUE"', between="\n"),
    "Go's struct": each("Key:VALUE", between=" ", first="&{", last="}", spell=of_go),
    "Go's struct with its name": each("Key:VALUE", between=" ", first="&userop.UserOperation{", last="}", spell=of_go),
    "Java's record": each("KEY=VALUE", between=", ", first="UserOperation[", last="]", spell=plain),
    "Swift's struct": each('KEY: "VALUE"', between=", ", first="UserOperation(", last=")"),
    "Swift's dictionary": each('"KEY": "VALUE"', between=", ", first="[", last="]"),
    "PHP's array": each("'KEY' => 'VALUE'", between=", ", first="[", last="]"),
    "PHP's older array": each("'KEY' => 'VALUE'", between=", ", first="array(", last=")"),
    "PHP's dump": php_dump,
    "Ruby's symbols": each(':KEY=>"VALUE"', between=", ", first="{", last="}"),
    "PowerShell's table": each('  KEY = "VALUE"', between="\n", first="@{\n", last="\n}"),
    "XML": each("<KEY>VALUE</KEY>", between="", first="<userOp>", last="</userOp>"),
    "httpie": each("KEY=VALUE", between=" ", first="http POST b.example "),
}


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=12)
@given(drawn=operations().filter(lambda each: each[0].eip7702_auth is None))
def test_an_operation_in_any_of_these_is_read_as_itself(name: str, drawn: tuple[UserOperation, EntryPoint]) -> None:
    op, entry = drawn
    text = FORMS[name](members(op))
    (found,) = read_pasted(text, entry.version)
    assert isinstance(found, PastedOperation)
    assert same(found, op, entry), text


WHOLE = members(READ)
LOG, TABLE = FORMS["a log"], FORMS["Markdown's table"]


def test_says_that_only_the_names_were_understood() -> None:
    assert any("by the names of its fields" in note for note in read_one(TABLE(WHOLE)).converted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(print_bytes(READ.call_data), print_bytes(READ.call_data)[:20] + "…"),
        lambda text: text.replace(print_bytes(READ.call_data), print_bytes(READ.call_data)[:20] + "..." + "ab"),
        lambda text: text.replace("callData", "callDat").replace("CallData", "CallDat"),
        lambda text: f"{text}\nnonce = 0x77\n",
        lambda text: f"{text}\npaymasterData = see above\n",
        lambda text: f"{text}\neip7702Auth = {{ address: 0x{'de' * 20} }}\n",
        lambda text: text + "\n" + text.replace(f"0x{'11' * 20}", f"0x{'12' * 20}"),
    ],
)
def test_what_is_cut_off_missing_said_twice_or_not_understood_is_not_guessed_at(
    form: str, change: Callable[[str], str]
) -> None:
    text = FORMS[form](WHOLE)
    changed = change(text)
    if changed == text:  # Go has no hex that could be cut
        return
    with pytest.raises((RpcError, Undecodable)):
        read_pasted(changed, None)


OPERATIONS = ("5 + 1", "5+1", "5 * 2", "5 ** 2", "5n << 64n", "1 << 64", "uint256(1) << 64", "5 - 1", "5 / 2", "5 % 2")
UNITS = ("1 gwei", "5 wei", "1 ether", "5,000", "5.5", "1e9", "-5", "~5")
CALLED = ("5 ? 1 : 2", "BigInt(5)", "parseGwei('5')", "a.nonce", "'5' + '0'")


@pytest.mark.parametrize("number", [*OPERATIONS, *UNITS, *CALLED])
@pytest.mark.parametrize("line", ["{}: {}", "{} = {};", "- **{}**: {}", "{}={} ", "'{}' => {},"])
@pytest.mark.parametrize("name", ["nonce", "maxFeePerGas", "preVerificationGas"])
def test_what_a_program_would_have_to_work_out_is_not_read_as_its_first_number(
    line: str, name: str, number: str
) -> None:
    lines = [line.format(key, plain(value)) for key, value in WHOLE.items() if key != name]
    assert read_scattered("\n".join([*lines, line.format(name, "5")])) is not None
    assert read_scattered("\n".join([*lines, line.format(name, number)])) is None
    assert read_scattered("\n".join([line.format(name, number), *lines])) is None


def test_a_list_that_is_no_bytes_is_none() -> None:
    assert read_scattered(FORMS["Go's struct"](WHOLE).replace("CallData:[", "CallData:[300 ")) is None


def test_members_that_are_said_to_be_absent_are_absent() -> None:
    without = {key: value for key, value in WHOLE.items() if "aymaster" not in key}
    text = LOG(without) + " paymaster=null paymasterData=None paymasterVerificationGasLimit=undefined eip7702Auth=nil"
    assert read_one(text).op.paymaster is None


def quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(urllib.parse.quote(json.dumps(SPLIT)), id="in an address"),
        pytest.param(urllib.parse.quote_plus(json.dumps(SPLIT)), id="in a form"),
        pytest.param(html.escape(json.dumps(SPLIT)), id="in a page's source"),
        pytest.param(html.escape(REQUEST), id="a request in a page's source"),
        pytest.param(quoted(json.dumps(SPLIT, indent=2)), id="quoted in a thread"),
        pytest.param("{" + ", ".join(f"“{key}”: “{value}”" for key, value in SPLIT.items()) + "}", id="a blog"),
        pytest.param(json.dumps(SPLIT).replace('": "', '":\u200b "'), id="spaces without width"),
        pytest.param(json.dumps(SPLIT, indent=2).replace("  ", "\u00a0\u00a0"), id="spaces that do not break"),
        pytest.param("\ufeff" + json.dumps(SPLIT).replace(", ", ",\r\n"), id="a file of Windows"),
        pytest.param(
            json.dumps({key: value[2:] if "ata" in key else value for key, value in SPLIT.items()}),
            id="bytes without 0x",
        ),
        pytest.param(
            "UserOperation { " + ", ".join(f"{key}: {value}" for key, value in SPLIT.items()).replace(
                f"nonce: {SPLIT['nonce']}", f"nonce: {int(SPLIT['nonce'], 16)}_U256") + " }", id="Rust's wide numbers"
        ),
    ],
)  # fmt: skip
def test_what_pages_threads_and_files_make_of_json_is_undone(text: str) -> None:
    assert print_user_operation(read_one(text).op) == print_user_operation(READ)


def test_requests_that_stand_a_line_each_are_each_read() -> None:
    other = json.dumps({**json.loads(REQUEST), "params": [{**SPLIT, "nonce": "0x1"}, V07]})
    assert len(read_pasted(f"{REQUEST}\n\n{other}\n", None)) == 2
    with pytest.raises(RpcError):
        read_pasted(f"{REQUEST}\n{other[:-4]}", None)


@given(st.lists(st.sampled_from([*SPLIT, "0x", "0x12ab", ":", " = ", "|", "\n", "5", "…", "null", "[1 2]", "x"])))
def test_any_text_of_names_and_values_is_read_or_not(parts: list[str]) -> None:
    read_scattered("".join(parts))


def test_a_line_of_a_log_is_no_file(run: Run) -> None:
    result = run("decode", LOG(WHOLE), "--json")
    assert result.exit_code == 0, result.output
    with pytest.raises(InvalidParams):
        read_one("callData nowhere")
