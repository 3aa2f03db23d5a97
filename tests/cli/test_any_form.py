"""The same operation in any form, however spelt and whatever stands around it, is read as the same operation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cli.reading import PastedOperation, read_pasted
from proxy.cli.session_json import sessions_in
from proxy.errors import InvalidParams
from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPoint, EntryPointVersion
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed
from proxy.userop.session_data import SessionData
from proxy.userop.user_op_hash import PAYMASTER_SIGNATURE_MAGIC
from proxy.userop.user_operation import Authorization, UserOperation, parse_user_operation, print_user_operation
from tests.cli.test_lint import printed
from tests.session.builders import action, session, spending, sudo, time_frame, usage

OLD = abi.tuple_of(*(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES), *(abi.UINT256,) * 5, *(abi.BYTES, abi.BYTES))
PACKED = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)
SINCE_V07 = (EntryPointVersion.V07, EntryPointVersion.V08, EntryPointVersion.V09)
BENEFICIARY = b"\xbe" * 20

Node = Any
"""An object as programs have it: `int` for quantities, `bytes` for bytes, texts, lists, mappings, `None`."""


# operations

ADDRESSES = st.binary(min_size=20, max_size=20).filter(any).map(Address)
WORDS = st.one_of(st.integers(0, 255), st.integers(0, 2**128 - 1))
NONCES = st.one_of(st.integers(0, 9), st.integers(0, 2**256 - 1))
DATA = st.one_of(st.just(b""), st.binary(max_size=40))
WORD_FIELDS = ("call_gas_limit", "verification_gas_limit", "max_fee_per_gas", "max_priority_fee_per_gas")
GAS = {**dict.fromkeys(WORD_FIELDS, WORDS), "pre_verification_gas": NONCES}
COMMON = {"sender": ADDRESSES, "nonce": NONCES, "call_data": DATA, "signature": DATA, **GAS}
AUTHORIZATIONS = st.builds(
    Authorization,
    chain_id=st.integers(0, 2**32),
    address=ADDRESSES,
    nonce=st.integers(0, 2**32),
    y_parity=st.integers(0, 1),
    r=st.binary(min_size=32, max_size=32).map(Hash32),
    s=st.binary(min_size=32, max_size=32).map(Hash32),
)


@st.composite
def operations(draw: st.DrawFn) -> tuple[UserOperation, EntryPoint]:
    version = draw(st.sampled_from(list(EntryPointVersion)))
    fields: dict[str, Any] = {name: draw(strategy) for name, strategy in COMMON.items()}
    if version is EntryPointVersion.V06:
        fields["init_code"] = draw(st.one_of(st.just(b""), st.binary(min_size=20, max_size=40)))
        fields["paymaster_and_data"] = draw(st.one_of(st.just(b""), st.binary(min_size=20, max_size=60)))
    else:
        if draw(st.booleans()):
            fields |= {"factory": draw(ADDRESSES), "factory_data": draw(DATA)}
        if draw(st.booleans()):
            fields["paymaster"] = draw(ADDRESSES)
            fields["paymaster_verification_gas_limit"] = draw(WORDS)
            fields["paymaster_post_op_gas_limit"] = draw(WORDS)
            fields["paymaster_data"] = draw(DATA)
            if version is EntryPointVersion.V09 and draw(st.booleans()):
                fields["paymaster_signature"] = draw(st.binary(min_size=1, max_size=40))
        if draw(st.booleans()):
            fields["eip7702_auth"] = draw(AUTHORIZATIONS)
    return UserOperation(**fields), ENTRY_POINT_BY_VERSION[version]


def members(op: UserOperation) -> dict[str, Node]:
    """By the names of requests."""
    written = print_user_operation(op)
    auth: Any = written.pop("eip7702Auth", None)
    quantities = {"nonce", *(key for key in written if "Gas" in key)}
    found: dict[str, Node] = {
        key: int(str(value), 16) if key in quantities else bytes.fromhex(str(value)[2:])
        for key, value in written.items()
    }
    if auth is not None:
        numbers = {key: int(auth[key], 16) for key in ("chainId", "nonce", "yParity")}
        found["eip7702Auth"] = {**numbers, **{key: bytes.fromhex(auth[key][2:]) for key in ("address", "r", "s")}}
    return found


def packed_members(op: UserOperation) -> dict[str, Node]:
    """As the entry point has it; of v0.9 with the paymaster's signature at the end."""
    sponsor = op.packed_paymaster_and_data()
    if op.paymaster_signature is not None:
        length = len(op.paymaster_signature).to_bytes(2, "big")
        sponsor += op.paymaster_signature + length + PAYMASTER_SIGNATURE_MAGIC
    return {
        "sender": op.sender,
        "nonce": op.nonce,
        "initCode": op.packed_init_code(),
        "callData": op.call_data,
        "accountGasLimits": two(op.verification_gas_limit, op.call_gas_limit),
        "preVerificationGas": op.pre_verification_gas,
        "gasFees": two(op.max_priority_fee_per_gas, op.max_fee_per_gas),
        "paymasterAndData": sponsor,
        "signature": op.signature,
    }


def two(high: int | None, low: int | None) -> bytes:
    return ((high or 0) << 128 | (low or 0)).to_bytes(32, "big")


# how values and objects are spelt


def of_json(draw: st.DrawFn) -> Callable[[Node], str]:
    indent = draw(st.sampled_from([None, 2, "\t"]))
    spell = spelling(draw, "hex", "number", "text", "BigNumber", "tagged")
    plain = {"hex": "hex", "upper": "upper", "checksummed": "checksummed", "buffer": "buffer", "places": "places"}
    spell_bytes = draw(st.sampled_from(sorted(plain)))
    return lambda value: json.dumps(as_json(value, spell, spell_bytes), indent=indent)


def spelling(draw: st.DrawFn, *names: str) -> str:
    return draw(st.sampled_from(names))


def as_json(value: Node, spell: str, spell_bytes: str) -> Any:
    if isinstance(value, dict):
        return {key: as_json(item, spell, spell_bytes) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item, spell, spell_bytes) for item in value]
    if isinstance(value, bytes):
        return json_bytes(value, spell_bytes)
    if isinstance(value, int) and not isinstance(value, bool):
        return {
            "hex": hex(value),
            "number": value,
            "text": str(value),
            "BigNumber": {"type": "BigNumber", "hex": hex(value)},
            "tagged": f"{value}#__bigint",
        }[spell]
    return value


def json_bytes(value: bytes, spell: str) -> Any:
    if spell == "buffer" and len(value) != 20:
        return {"type": "Buffer", "data": list(value)}
    if spell == "places" and value and len(value) != 20:
        return {str(place): each for place, each in enumerate(value)}
    return hexed(value, spell)


def hexed(value: bytes, spell: str) -> str:
    if spell == "checksummed" and len(value) == 20:
        return print_checksummed(Address(value))
    return "0x" + value.hex().upper() if spell == "upper" else print_bytes(value)


def of_javascript(draw: st.DrawFn) -> Callable[[Node], str]:
    """An object literal, or what a console shows of one."""
    quote, number = spelling(draw, "'", '"', "`"), spelling(draw, "n", "", "hex", "BigInt")
    quoted_keys, last_comma = draw(st.booleans()), draw(st.booleans())
    line, array = draw(st.sampled_from(["\n  ", " "])), draw(st.booleans())
    comment = draw(st.sampled_from(["", " // as granted\n", " /* as granted */"])) if line == "\n  " else ""

    def shown(value: Node) -> str:
        if isinstance(value, dict):
            inside = [f"{quote * quoted_keys}{key}{quote * quoted_keys}: {shown(item)}" for key, item in value.items()]
            return "{" + line + f",{comment}{line}".join(inside) + "," * last_comma + line + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(shown, value)) + "]"
        if isinstance(value, bytes):
            if array and len(value) not in (0, 20):
                return f"Uint8Array({len(value)}) [ {', '.join(map(str, value))} ]"
            return quote + print_bytes(value) + quote
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return {"n": f"{value}n", "": str(value), "hex": hex(value), "BigInt": f"BigInt('{value}')"}[number]
        return "undefined" if value is None else quote + str(value) + quote

    return shown


def of_python(draw: st.DrawFn) -> Callable[[Node], str]:
    as_bytes, as_hex = draw(st.booleans()), draw(st.booleans())

    def plain(value: Node) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, bytes):
            return value if as_bytes and len(value) != 20 else print_bytes(value)
        return hex(value) if as_hex and isinstance(value, int) and not isinstance(value, bool) else value

    return lambda value: repr(plain(value))


def of_rust(draw: st.DrawFn, *, snake: bool = True) -> Callable[[Node], str]:
    """Rust's debug print."""
    name, wrapped = spelling(draw, "UserOperation", "Session", ""), draw(st.booleans())

    def renamed(key: str) -> str:
        return "".join(f"_{each.lower()}" if snake and each.isupper() else each for each in key)

    def shown(value: Node) -> str:
        if isinstance(value, dict):
            return f"{name} {{ " + ", ".join(f"{renamed(key)}: {shown(item)}" for key, item in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(map(shown, value)) + "]"
        if isinstance(value, bytes):
            return f"Bytes({print_bytes(value)})" if wrapped else print_bytes(value)
        return str(value) if isinstance(value, int) else "None" if value is None else f'"{value}"'

    return shown


def of_alloy(draw: st.DrawFn) -> Callable[[Node], str]:
    """The same of types that were made of Solidity's: they keep its names."""
    return of_rust(draw, snake=False)


SYNTAXES = (of_json, of_javascript, of_python, of_rust, of_alloy)


# what stands around it


def by_hash(value: Node, entry: EntryPoint) -> Node:
    beside = {"entryPoint": entry.address, "blockNumber": 5, "transactionHash": b"\x11" * 32}
    return {"userOperation": value, **beside}


def around(draw: st.DrawFn, value: Mapping[str, Node], entry: EntryPoint) -> tuple[Node, bool]:
    """The operation as some program hands it on; whether that says which entry point it is for."""
    shapes: dict[str, tuple[Node, bool]] = {
        "alone": (value, False),
        "with its entry point": ({**value, "entryPoint": entry.address}, True),
        "request": ({"jsonrpc": "2.0", "method": "eth_sendUserOperation", "params": [value, entry.address]}, True),
        "params": ([value, entry.address], True),
        "answer": ({"jsonrpc": "2.0", "result": by_hash(value, entry)}, True),
        "by hash": (by_hash(value, entry), True),
        "an SDK's": ({"userOp": value, "entryPoint": entry.address}, True),
        "deep": ({"level": "info", "context": [{"sending": {"userOp": value, "entryPoint": entry.address}}]}, True),
    }
    return shapes[draw(st.sampled_from(sorted(shapes)))]


def outside(draw: st.DrawFn, text: str) -> str:
    return draw(
        st.sampled_from(
            [
                text,
                f"\n  {text}\n",
                f"```js\n{text}\n```",
                f"const userOp = {text};",
                f"[12:00:01] INFO sending {text}",
                f"\x1b[32m{text}\x1b[39m",
            ]
        )
    )


def read_one(text: str, version: EntryPointVersion | None) -> PastedOperation:
    (found,) = read_pasted(text, version)
    assert isinstance(found, PastedOperation), text
    return found


def same(found: PastedOperation, op: UserOperation, entry: EntryPoint) -> bool:
    """Whether they are printed alike for a bundler: what is absent and what is empty are one."""
    again = parse_user_operation(print_user_operation(op), entry.version)
    return print_user_operation(found.op) == print_user_operation(again) and found.entry_point == entry


@given(st.data())
@settings(max_examples=250)
def test_an_operation_is_read_as_itself_in_any_spelling_syntax_and_shape(data: st.DataObject) -> None:
    op, entry = data.draw(operations())
    pack = entry.version is not EntryPointVersion.V06 and op.eip7702_auth is None and data.draw(st.booleans())
    written, named = around(data.draw, packed_members(op) if pack else members(op), entry)
    show = data.draw(st.sampled_from(SYNTAXES))(data.draw)
    text = outside(data.draw, show(written))
    assert same(read_one(text, None if named else entry.version), op, entry), text


@given(st.data())
@settings(max_examples=80)
def test_an_operation_is_read_as_itself_in_what_an_entry_point_is_called_with(data: st.DataObject) -> None:
    op, entry = data.draw(operations().filter(lambda each: each[0].eip7702_auth is None))
    old = entry.version is EntryPointVersion.V06
    struct, values = (OLD, list(old_struct(op))) if old else (PACKED, list(packed_members(op).values()))
    call = handle_ops(struct, values)
    transaction = {"from": print_bytes(BENEFICIARY), "to": print_bytes(entry.address), "input": print_bytes(call)}
    shapes = [print_bytes(call), call.hex(), transaction, {"jsonrpc": "2.0", "id": 1, "result": transaction}]
    shape = data.draw(st.sampled_from(shapes))
    text = shape if isinstance(shape, str) else json.dumps(shape)
    assert same(read_one(text, entry.version), op, entry), text


def old_struct(op: UserOperation) -> tuple[object, ...]:
    gas = (op.call_gas_limit, op.verification_gas_limit, op.pre_verification_gas, op.max_fee_per_gas)
    ends = (op.max_priority_fee_per_gas, op.paymaster_and_data, op.signature)
    return (op.sender, op.nonce, op.init_code, op.call_data, *gas, *ends)


def handle_ops(struct: abi.AbiType, values: list[Any]) -> bytes:
    types = abi.tuple_of(abi.list_of(struct), abi.ADDRESS)
    return selector(f"handleOps({struct.name}[],address)") + abi.encode(types, [[values], BENEFICIARY])


# sessions

POLICIES = st.sampled_from([sudo, usage(5), time_frame(2**33, 7), spending((Address(b"\x70" * 20), 9))])
SESSIONS = st.builds(
    lambda targets, user_op, paymaster: session(
        *(action(target, selector("transfer(address,uint256)"), *policies) for target, policies in targets),
        user_op=user_op,
        paymaster=paymaster,
    ),
    st.lists(st.tuples(ADDRESSES, st.lists(POLICIES, min_size=1, max_size=2)), max_size=2),
    st.lists(POLICIES, max_size=2),
    st.booleans(),
)


def with_bytes(value: Node) -> Node:
    """What an SDK printed as hex, as the bytes that it stands for."""
    if isinstance(value, dict):
        return {key: with_bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_bytes(item) for item in value]
    return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value


def respelt(value: Node, spell: Callable[[str], str]) -> Node:
    if isinstance(value, dict):
        return {spell(key): respelt(item, spell) for key, item in value.items()}
    return [respelt(item, spell) for item in value] if isinstance(value, list) else value


def snake(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]+", lambda match: f"_{match[0].lower()}", key)


def without_names(value: Node) -> Node:
    """As contracts have structs: members in their order."""
    if isinstance(value, dict):
        return [without_names(item) for item in value.values()]
    return [without_names(item) for item in value] if isinstance(value, list) else value


SHAPES: Mapping[str, Callable[[Node], Node]] = {
    "snake case": lambda value: respelt(value, snake),
    "Go's capitals": lambda value: respelt(value, lambda key: key[0].upper() + key[1:]),
    "a struct": without_names,
    "an argument": lambda value: {"functionName": "enableSessions", "args": [[without_names(value)]]},
    "several": lambda value: [without_names(value)],
}


@pytest.mark.parametrize("shape", SHAPES)
@given(grant=SESSIONS, data=st.data())
@settings(max_examples=20)
def test_a_session_is_read_as_itself_whatever_its_members_are_called(
    shape: str, grant: SessionData, data: st.DataObject
) -> None:
    whole = {key: item for key, item in printed(grant).items() if key != "chainId"}
    show = data.draw(st.sampled_from((of_json, of_javascript, of_python)))(data.draw)
    text = outside(data.draw, show(with_bytes(SHAPES[shape](whole))))
    (found,) = sessions_in(text)
    assert found.session == grant, text


def test_a_member_that_is_given_in_two_spellings_is_not_guessed_at() -> None:
    whole = printed(session())
    with pytest.raises(InvalidParams, match="in two spellings"):
        sessions_in(json.dumps({**whole, "session_validator": whole["sessionValidator"]}))


@given(SESSIONS, st.data())
@settings(max_examples=80)
def test_a_session_is_read_as_itself_in_any_syntax(grant: SessionData, data: st.DataObject) -> None:
    show = data.draw(st.sampled_from((of_json, of_javascript, of_python, of_alloy)))(data.draw)
    text = outside(data.draw, show(with_bytes(printed(grant))))
    (found,) = sessions_in(text)
    assert found.session == grant, text
