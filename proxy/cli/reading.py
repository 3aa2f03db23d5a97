"""What people paste: an operation, a JSON-RPC request, a signature, call data. Told apart by its looks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.cli.options import fail
from proxy.errors import InvalidParams, Undecodable
from proxy.strict_json import Flawed, read_json
from proxy.userop.emissary import decode_emissary_envelope, without_emissary_prefix
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS, ENTRY_POINT_BY_VERSION, EntryPoint, EntryPointVersion
from proxy.userop.execution import EXECUTE, EXECUTE_USER_OP
from proxy.userop.primitives import Address, parse_address, parse_bytes
from proxy.userop.signature import SessionEnvelope, decode_session_envelope
from proxy.userop.user_operation import UserOperation, parse_user_operation

_DEPTH: Final = 64
_LARGEST_INPUT: Final = 16 * 1024 * 1024
_LONGEST_MODE: Final = 2  # 0, 1 and 2 are the modes a session envelope starts with


@dataclass(frozen=True, slots=True)
class PastedOperation:
    """An operation; `method` when it came inside a request. `written` is its JSON, for asking a gate about it."""

    op: UserOperation
    entry_point: EntryPoint
    method: str | None
    written: object


@dataclass(frozen=True, slots=True)
class PastedSignature:
    """The signature field of a session's operation, or an emissary's address and envelope."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PastedCallData:
    """The callData field of an operation."""

    data: bytes


Pasted = PastedOperation | PastedSignature | PastedCallData


def read_input(argument: str) -> str:
    """The argument itself, the file it names, or standard input for `-`."""
    if argument == "-":
        return sys.stdin.read(_LARGEST_INPUT)
    text = argument.strip()
    if text.startswith(("{", "[", "0x")):
        return text
    try:
        with Path(argument).open(encoding="utf-8") as file:
            return file.read(_LARGEST_INPUT)
    except (OSError, ValueError):
        fail(f"{argument[:80]!r} is neither JSON, nor 0x-hex, nor a file that can be read")


def read_pasted(text: str, entry_point: EntryPointVersion | None) -> list[Pasted]:
    """What `text` holds: one thing, or each element of a JSON-RPC batch.

    Raises `ParseError` and `InvalidParams` when it cannot be read.
    """
    text = text.strip()
    if text.startswith("0x"):
        data = parse_bytes(text, "hex")
        is_envelope = data and data[0] <= _LONGEST_MODE and not data.startswith((EXECUTE, EXECUTE_USER_OP))
        if is_envelope or without_emissary_prefix(data) is not None:
            return [PastedSignature(data)]
        return [PastedCallData(data)]
    value = read_json(text.encode(), max_depth=_DEPTH, max_elements=len(text))
    if isinstance(value, list) and value and all(isinstance(item, dict) and "method" in item for item in value):
        return [_read_value(item, entry_point) for item in value]
    return [_read_value(value, entry_point)]


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
    if isinstance(value, dict) and "params" in value:
        method = value.get("method")
        params = value["params"]
        return _read_params(params, "params", str(method) if isinstance(method, str) else None, entry_point)
    if isinstance(value, list):
        return _read_params(value, "params", None, entry_point)
    return _read_operation(value, _chosen(value, entry_point), "operation", None)


def _read_params(params: object, field: str, method: str | None, entry_point: EntryPointVersion | None) -> Pasted:
    if not isinstance(params, list) or not params:
        raise InvalidParams(field, "wanted [userOperation, entryPoint]")
    operation = params[0]
    if entry_point is None and len(params) > 1:
        address = parse_address(params[1], f"{field}[1]")
        known = ENTRY_POINT_BY_ADDRESS.get(address)
        if known is None:
            raise InvalidParams(f"{field}[1]", "no entry point this gate can read; choose with --entry-point")
        return _read_operation(operation, known, f"{field}[0]", method)
    return _read_operation(operation, _chosen(operation, entry_point), f"{field}[0]", method)


def _chosen(operation: object, version: EntryPointVersion | None) -> EntryPoint:
    """The entry point asked for, else the one that the operation's shape suggests: v0.6 or v0.7."""
    if version is None:
        old = isinstance(operation, dict) and "initCode" in operation
        version = EntryPointVersion.V06 if old else EntryPointVersion.V07
    return ENTRY_POINT_BY_VERSION[version]


def _read_operation(value: object, entry_point: EntryPoint, field: str, method: str | None) -> PastedOperation:
    op = parse_user_operation(value, entry_point.version, field=field, estimate=True)
    return PastedOperation(op, entry_point, method, value)
