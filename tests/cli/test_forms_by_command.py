"""Whatever form an operation is pasted in, each of the commands says of it what it says of the request."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.primitives import print_bytes
from proxy.userop.signature import SessionMode, encode_session_envelope
from proxy.userop.user_operation import parse_user_operation, print_user_operation
from tests.cli.conftest import Run
from tests.cli.test_decode import OPERATION, V07
from tests.cli.test_lint import LOOSE
from tests.cli.test_pasted_forms import BY_HASH, HASH, PACKED, STRUCT, UINTS, console, member, packed, viem
from tests.edge.recording_bundler import Answer, RecordingBundler
from tests.userop.builders import an_enable_envelope, an_enable_session

_ENVELOPE = an_enable_envelope(SessionMode.UNSAFE_ENABLE)._replace(
    enable=an_enable_session(session=LOOSE),
    permission_id=LOOSE.permission_id,
)
OP: dict[str, Any] = print_user_operation(
    replace(parse_user_operation(OPERATION, EntryPointVersion.V07), signature=encode_session_envelope(_ENVELOPE))
)
"""It grants a session and uses it, so that each command has something to say."""
REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendUserOperation", "params": [OP, V07]}
FOUND = {**BY_HASH, "userOperation": OP}


def handle_ops() -> str:
    whole = packed(OP)
    types = abi.tuple_of(abi.list_of(PACKED), abi.ADDRESS)
    values = [[[member(whole[key], key) for key in STRUCT]], b"\xbe" * 20]
    return print_bytes(selector(f"handleOps({PACKED.name}[],address)") + abi.encode(types, values))


def decimals(spell: Callable[[int], object]) -> str:
    return json.dumps({key: spell(int(value, 16)) if key in UINTS else value for key, value in OP.items()})


FORMS = {
    "the operation alone": json.dumps(OP),
    "what eth_getUserOperationByHash answers": json.dumps({"jsonrpc": "2.0", "id": 1, "result": FOUND}),
    "PackedUserOperation": json.dumps(packed(OP)),
    "the input of handleOps": handle_ops(),
    "decimal quantities": decimals(int),
    "decimal quantities as texts": decimals(str),
    "an SDK's object, printed": console(OP),
    "viem's error message": viem(OP),
    "its hash, asked at the bundler": HASH,
}
COMMANDS = (("decode",), ("explain", "--offline"), ("lint",))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_same_as_of_the_request(
    run: Run, bundler: RecordingBundler, form: str, command: tuple[str, ...]
) -> None:
    bundler.answers["eth_getUserOperationByHash"] = Answer(result=FOUND)
    of_request, of_form = (run(*command, text, "--json") for text in (json.dumps(REQUEST), FORMS[form]))
    assert of_form.exit_code == of_request.exit_code, of_form.output
    assert said(of_form.stdout) == said(of_request.stdout)


OF_THE_REQUEST = frozenset({"method", "converted", "decisionId", "time"})
"""What a form has not got, or what is made anew each time."""


def said(stdout: str) -> Any:
    return _without(json.loads(stdout))


def _without(told: Any) -> Any:
    if isinstance(told, list):
        return [_without(each) for each in told]
    if isinstance(told, dict):
        return {key: _without(each) for key, each in told.items() if key not in OF_THE_REQUEST}
    return told
