"""Whatever is posted, the answer is JSON-RPC, and nothing reaches the bundler but whole operations that were judged."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.admission import Judgement
from proxy.judge.verdict import Allow
from proxy.methods import METHODS, MethodClass
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.primitives import parse_address, print_bytes
from proxy.userop.user_operation import parse_user_operation, print_user_operation
from tests.admission.builders import Room, enabling, granting, known
from tests.bypass_list.desk import V07, a_session, single, use
from tests.edge.recording_bundler import Recorded
from tests.properties.conftest import Line
from tests.running_gate import submission
from tests.session.builders import TOKEN, TRANSFER, action, sudo, transfer

FREE = a_session(action(TOKEN, TRANSFER, sudo), salt=77)
"""A session whose transfers are not limited, so that no example is refused for those before it."""
OPERATIONS = [
    use(FREE, single(transfer(1))),
    enabling(FREE, single(transfer(2))),
    granting(FREE),
]
_CARRYING = (MethodClass.SUBMIT, MethodClass.PREVIEW)
CARRYING = sorted(name for name, method in METHODS.items() if method.method_class in _CARRYING)
SUBMITTING = frozenset(name for name, method in METHODS.items() if method.method_class is MethodClass.SUBMIT)

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0x", "0x00", "0x1", "2.0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def post(line: Line, body: bytes) -> list[Recorded]:
    """Post it, check that the answer is one, and give back what reached the bundler meanwhile."""
    line.gate.running.registry.put(known(FREE))  # as new: an example may have moved its enable nonce on
    before = len(line.gate.bundler.requests)
    status, raw = line(line.gate.post, body)
    if raw:
        assert status == 200
        answer = json.loads(raw)
        for each in answer if isinstance(answer, list) else [answer]:
            assert_is_an_answer(each)
    else:
        assert status == 204
    reached = [request for request in line.gate.bundler.requests[before:] if request.method in CARRYING]
    for request in reached:
        assert_was_judged(request)
    return reached


def assert_is_an_answer(answer: Any) -> None:
    assert isinstance(answer, dict)
    assert answer["jsonrpc"] == "2.0"
    assert answer.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    if "error" in answer:
        assert isinstance(answer["error"]["code"], int)
        assert answer["error"]["code"] != -32603, answer
        assert isinstance(answer["error"]["message"], str)


def assert_was_judged(request: Recorded) -> None:
    """It is our own print of one whole operation, and a second gate would allow it too."""
    entry_point = ENTRY_POINT_BY_ADDRESS[parse_address(request.params[1], "params[1]")]
    is_preview = request.method not in SUBMITTING
    op = parse_user_operation(request.params[0], entry_point.version, estimate=is_preview)
    params = [print_user_operation(op), print_bytes(entry_point.address), *request.params[2:]]
    envelope = {"jsonrpc": "2.0", "id": request.json["id"], "method": request.method, "params": params}
    assert is_preview or len(params) == 2
    assert request.body == json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()
    if not is_preview:
        judgement: Judgement = asyncio.run(Room(FREE).judge(op, entry_point))
        assert isinstance(judgement.verdict, Allow)


@quick
@given(st.binary(max_size=200))
@example(b"")
@example(b"[]")
@example(b"[[]]")
@example(b"null")
@example(b"[" * 10_000)
@example(b'{"jsonrpc":"2.0","id":1,"method":"\\ud800","params":[]}')
def test_any_bytes_are_answered(line: Line, body: bytes) -> None:
    post(line, body)


@quick
@given(json_values)
def test_any_json_is_answered(line: Line, value: object) -> None:
    post(line, json.dumps(value).encode())


@quick
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.just("2.0") | json_values,
            "id": json_values,
            "method": st.sampled_from(sorted(METHODS)) | st.text(max_size=30),
            "params": st.lists(json_values, max_size=4) | json_values,
        },
    )
)
def test_anything_shaped_like_a_request_is_answered(line: Line, request: dict[str, object]) -> None:
    post(line, json.dumps(request).encode())
    post(line, json.dumps([request, request]).encode())


@st.composite
def near_misses(draw: st.DrawFn) -> bytes:
    """A good submission with one thing about it changed."""
    op = draw(st.sampled_from(OPERATIONS))
    body: Any = submission(op, draw(st.sampled_from(CARRYING)))
    part: Any = body if draw(st.booleans()) else body["params"][0]
    key = draw(
        st.sampled_from(sorted(part)) | st.text(max_size=20) | st.sampled_from(["initCode", "factory", "paymaster"])
    )
    how = draw(st.sampled_from(["drop", "replace", "hex", "twice"]))
    if how == "drop":
        part.pop(key, None)
    elif how == "hex":
        part[key] = "0x" + draw(st.binary(max_size=90)).hex()
    else:
        part[key] = draw(json_values)
    raw = json.dumps(body)
    if how == "twice" and raw.count("{") == 2:
        raw = raw.replace("{", f'{{{json.dumps(key)}:"0x1",', 2)
    return raw.encode()


@settings(quick, max_examples=250)
@given(near_misses())
def test_a_submission_with_one_thing_wrong_is_answered_and_only_judged_wholes_go_on(line: Line, body: bytes) -> None:
    post(line, body)


@settings(quick, max_examples=150)
@given(st.sampled_from(OPERATIONS), st.data())
def test_a_submission_with_one_byte_wrong_is_answered_and_only_judged_wholes_go_on(
    line: Line, operation: Any, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(submission(operation)).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    post(line, bytes(body))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("method", CARRYING)
def test_what_the_examples_start_from_does_reach_the_bundler(line: Line, operation: Any, method: str) -> None:
    (reached,) = post(line, json.dumps(submission(operation, method)).encode())
    assert parse_user_operation(reached.params[0], V07.version, estimate=True) == operation
