"""What people paste: an operation, a request, an answer, a signature, call data, a hash. Told apart by its looks.

The forms that a request does not have are converted, and what was converted is told (`forms`, `literals`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from proxy.cli.copied import bare_hex, hash_in_address, input_of_transaction, unquoted, unwrapped, without_colours
from proxy.cli.forms import WrittenOperation, as_request, in_answer, in_entry_point_call, in_transaction
from proxy.cli.literals import read_embedded, read_literal
from proxy.cli.options import fail
from proxy.cli.places import FoundOperation, hashes_within, is_carrying, operations_within
from proxy.cli.scattered import read_scattered
from proxy.errors import InvalidParams, ParseError, Undecodable
from proxy.strict_json import Flawed, read_json
from proxy.userop.emissary import decode_emissary_envelope, without_emissary_prefix
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, EntryPoint, EntryPointVersion
from proxy.userop.execution import EXECUTE, EXECUTE_USER_OP
from proxy.userop.primitives import Address, Hash32, parse_address, parse_bytes, parse_hash
from proxy.userop.signature import SessionEnvelope, decode_session_envelope
from proxy.userop.user_operation import UserOperation, parse_user_operation

_DEPTH: Final = 64
_LARGEST_INPUT: Final = 16 * 1024 * 1024
_HASH: Final = 32
_LONGEST_PARAMS: Final = 3
_JSON_OF_REQUEST: Final = ('{"jsonrpc"', '[{"jsonrpc"')
_INSIDE: Final = "it stood inside of other text"
_BY_NAMES: Final = "read by the names of its fields: nothing else of the text was understood"
_NO_PATH: Final = ("{", "\n", "callData", "call_data", "CallData")
_HAS_OPERATION: Final = frozenset({"sender", "params", "userOperation", "userOp"})
_MOST_OPERATIONS: Final = 100
_LONGEST_MODE: Final = 2  # 0, 1 and 2 are the modes a session envelope starts with


@dataclass(frozen=True, slots=True)
class PastedOperation:
    """An operation; `method` when it came inside a request. `written` is its JSON, for asking a gate about it.

    `converted` says what had to be turned into the form of a request.
    """

    op: UserOperation
    entry_point: EntryPoint
    method: str | None
    written: object
    converted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PastedSignature:
    """The signature field of a session's operation, or an emissary's address and envelope."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PastedCallData:
    """The callData field of an operation."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PastedHash:
    """32 bytes: the hash of an operation, which its bundler knows."""

    data: Hash32


Pasted = PastedOperation | PastedSignature | PastedCallData | PastedHash


def read_input(argument: str) -> str:
    """The argument itself, the file it names, or standard input for `-`."""
    if argument == "-":
        return sys.stdin.read(_LARGEST_INPUT)
    text = argument.strip()
    if text.startswith(("{", "[", "(0x", "<", "0x", "`", "%", "http://", "https://")) or any(
        mark in text for mark in _NO_PATH
    ):
        return text
    try:
        with Path(argument).open(encoding="utf-8") as file:
            return file.read(_LARGEST_INPUT)
    except (OSError, ValueError):
        if bare_hex(text) is not None or unwrapped(text) != text:
            return text
        fail(f"{argument[:80]!r} is neither JSON, nor 0x-hex, nor a file that can be read")


def read_pasted(text: str, entry_point: EntryPointVersion | None) -> list[Pasted]:
    """What `text` holds: one thing, or each element of a JSON-RPC batch, of a bundle, of a recording.

    Raises `ParseError`, `InvalidParams` and `Undecodable` when it cannot be read.
    """
    text = unwrapped(without_colours(text))
    data = bare_hex(text) or hash_in_address(text) or input_of_transaction(text)
    if data is not None or text.startswith("0x"):
        return _read_hex(parse_bytes(data or text, "hex"), entry_point)
    try:
        value = read_text(text)
    except InvalidParams as problem:
        return _read_embedded(text, entry_point, problem)
    return _read_values(value, entry_point)


def _read_embedded(text: str, entry_point: EntryPointVersion | None, problem: InvalidParams) -> list[Pasted]:
    """The one thing in a text that is not all of it. Raises `problem` where nothing or more is in it."""
    for variant in unquoted(text):
        standing = [each for found in read_embedded(variant) for each in operations_within(found)]
        if standing:
            found = _read_standing(standing, entry_point)
            if len({each.value for each in standing if isinstance(each.value, str)}) == 1 or len(found) == 1:
                return [_noted(each, _INSIDE) for each in found]
            raise problem
    try:
        return [_noted(_read_operation(read_scattered(text), None, entry_point, "operation", None), _BY_NAMES)]
    except InvalidParams:
        raise problem from None


def _read_values(value: object, entry_point: EntryPointVersion | None) -> list[Pasted]:
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = read_text(value)
    if (data := in_transaction(value)) is not None:
        return _read_hex(parse_bytes(data, "input"), entry_point)
    if isinstance(value, list) and value and all(isinstance(item, dict) and _is_message(item) for item in value):
        if all(_is_plain(item) for item in value):
            return [_read_value(item, entry_point) for item in value]
    elif _is_plain(value):
        return [_read_value(value, entry_point)]
    if standing := operations_within(value):
        return _read_standing(standing, entry_point)
    if (named := _only_hash(value)) is not None:
        return [named]
    return [_read_value(value, entry_point)]


def _only_hash(value: object) -> PastedHash | None:
    hashes = hashes_within(value)
    return PastedHash(parse_hash(hashes.pop(), "userOpHash")) if len(hashes) == 1 else None


def _is_plain(value: object) -> bool:
    """Whether it is what a request or an answer is about, so that what is wrong with it can be told by its place."""
    value = in_answer(value)
    if _only_hash(value) is not None and not is_carrying(value):
        return False
    if isinstance(value, list):
        return len(value) <= _LONGEST_PARAMS and bool(value) and is_carrying(value[0]) and not is_carrying(value[-1])
    return not isinstance(value, Mapping) or is_carrying(value) or not _HAS_OPERATION.isdisjoint(value)


def _read_standing(standing: Sequence[FoundOperation], version: EntryPointVersion | None) -> list[Pasted]:
    """Each once, in the order in which they came: recordings have what was asked again."""
    found: list[Pasted] = []
    for value, beside in standing:
        if isinstance(value, str):
            read = _read_hex(parse_bytes(value, "input"), version)
        elif isinstance(value, Mapping) and "params" in value:
            read = [_read_value(value, version)]
        else:
            entry_point = None if beside is None else ENTRY_POINT_BY_ADDRESS.get(parse_address(beside, "entryPoint"))
            read = [_read_operation(value, entry_point, version, "operation", None)]
        found += [each for each in read if not _is_among(each, found)]
        if len(found) > _MOST_OPERATIONS:
            raise InvalidParams("input", f"holds more than {_MOST_OPERATIONS} operations")
    return found


def _is_among(pasted: Pasted, found: Sequence[Pasted]) -> bool:
    if not isinstance(pasted, PastedOperation):
        return pasted in found
    return any(
        isinstance(each, PastedOperation) and (each.op, each.entry_point, each.method) == _same(pasted)
        for each in found
    )


def _same(pasted: PastedOperation) -> tuple[object, ...]:
    return pasted.op, pasted.entry_point, pasted.method


def _noted(pasted: Pasted, note: str) -> Pasted:
    if isinstance(pasted, PastedOperation):
        return replace(pasted, converted=(note, *pasted.converted))
    return pasted


def read_answer(result: object, entry_point: EntryPointVersion | None) -> PastedOperation:
    """The operation in a bundler's answer to eth_getUserOperationByHash. Raises `InvalidParams`."""
    return _read_operation(result, None, entry_point, "result", None)


def _read_hex(data: bytes, entry_point: EntryPointVersion | None) -> list[Pasted]:
    if len(data) == _HASH:
        return [PastedHash(Hash32(data))]
    if (bundle := in_entry_point_call(data, entry_point)) is not None:
        return [_as_pasted(each, "operation", None) for each in bundle]
    is_envelope = data and data[0] <= _LONGEST_MODE and not data.startswith((EXECUTE, EXECUTE_USER_OP))
    if is_envelope or without_emissary_prefix(data) is not None:
        return [PastedSignature(data)]
    return [PastedCallData(data)]


def read_text(text: str) -> object:
    """JSON, or an object as a program prints it. Raises `ParseError` and `InvalidParams`."""
    try:
        return read_json(text.encode(), max_depth=_DEPTH, max_elements=len(text))
    except ParseError:
        if text.startswith(_JSON_OF_REQUEST):
            return _read_lines(text)
        return read_literal(text)


def _read_lines(text: str) -> object:
    """JSON, a value a line. Raises `ParseError`."""
    lines = [line for line in text.splitlines() if line.strip()]
    values = [read_json(line.encode(), max_depth=_DEPTH, max_elements=len(line)) for line in lines]
    return values if len(values) > 1 else values[0]


def _is_message(value: Mapping[str, object]) -> bool:
    return "method" in value or "result" in value


def read_envelope(data: bytes) -> tuple[SessionEnvelope, Address | None]:
    """The envelope in a pasted signature, and the module that it is for where the signature tells.

    A signature cut out of an operation names no module: it is read as the Smart Sessions module does, and as the
    emissary does only if the former cannot read it. Raises `Undecodable`.
    """
    if (prefixed := without_emissary_prefix(data)) is not None:
        emissary, envelope = prefixed
        return decode_emissary_envelope(envelope), emissary
    try:
        return decode_session_envelope(data), None
    except Undecodable as problem:
        try:
            return decode_emissary_envelope(data), EMISSARY
        except Undecodable:
            raise problem from None


def _read_value(value: object, entry_point: EntryPointVersion | None) -> Pasted:
    if isinstance(value, Flawed):
        raise InvalidParams(value.path or "input", value.problem)
    value = in_answer(value)
    if isinstance(value, dict) and "params" in value:
        method = value.get("method")
        params = value["params"]
        if isinstance(params, str) and params.startswith("["):
            params = read_text(params)
        return _read_params(params, "params", str(method) if isinstance(method, str) else None, entry_point)
    if isinstance(value, list) and len(value) <= _LONGEST_PARAMS:
        return _read_params(value, "params", None, entry_point)
    if isinstance(value, str) and value.startswith("0x"):
        (pasted, *more) = _read_hex(parse_bytes(value, "hex"), entry_point)
        if more:
            raise InvalidParams("input", f"holds {len(more) + 1} operations; paste them by themselves")
        return pasted
    return _read_operation(value, None, entry_point, "operation", None)


def _read_params(params: object, field: str, method: str | None, version: EntryPointVersion | None) -> PastedOperation:
    if not isinstance(params, list) or not params:
        raise InvalidParams(field, "wanted [userOperation, entryPoint]")
    entry_point = None
    if version is None and len(params) > 1:
        address = parse_address(params[1], f"{field}[1]")
        entry_point = ENTRY_POINT_BY_ADDRESS.get(address)
        if entry_point is None:
            raise InvalidParams(f"{field}[1]", "no entry point this gate can read; choose with --entry-point")
    return _read_operation(params[0], entry_point, version, f"{field}[0]", method)


def _read_operation(
    value: object, entry_point: EntryPoint | None, version: EntryPointVersion | None, field: str, method: str | None
) -> PastedOperation:
    return _as_pasted(as_request(value, entry_point, version), field, method)


def _as_pasted(written: WrittenOperation, field: str, method: str | None) -> PastedOperation:
    op = parse_user_operation(written.operation, written.entry_point.version, field=field, estimate=True)
    return PastedOperation(op, written.entry_point, method, written.operation, written.converted)
