"""Whatever breaks, the caller is answered, the request is counted, and nothing secret is told."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from proxy.errors import Code, InvalidParams
from proxy.judge.verdict import Allow, Reject
from proxy.methods import METHODS, MethodClass
from proxy.ports import RequestOutcome
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import TWICE, Room, key_of
from tests.bypass_list.desk import STRANGERS_KEY, V08, use
from tests.gate_parts import (
    CONTEXT,
    ENTRY_POINT,
    GOOD,
    HASH,
    OUTSIDE,
    TIMED_OUT,
    Scene,
    result,
    scene,
)
from tests.session.builders import NOW

SUBMITS = [name for name, method in METHODS.items() if method.method_class is MethodClass.SUBMIT]
PREVIEWS = [name for name, method in METHODS.items() if method.method_class is MethodClass.PREVIEW]
PASSES = [name for name, method in METHODS.items() if method.method_class is MethodClass.PASS]

# whatever happens


@pytest.mark.parametrize("method", PASSES)
async def test_every_relayed_method_is_counted_once(method: str) -> None:
    gate = scene()
    await gate.ask(method, *[{}] * METHODS[method].min_params)
    assert gate.recorder.ends == [(CONTEXT, MethodClass.PASS, RequestOutcome.ANSWERED)]


def broken(**parts: Exception) -> Scene:
    gate = scene()
    for name, fault in parts.items():
        getattr(gate, name).broken = fault
    return gate


class _Broken(Exception):
    """A fault of ours that quotes what it was given."""


FAULT = _Broken(f"could not read {GOOD.signature.hex()} of https://bundler.example/?apikey=hush")


def assert_nothing_leaks(text: str) -> None:
    assert "hush" not in text
    assert GOOD.signature.hex() not in text
    assert print_bytes(GOOD.call_data)[2:] not in text


async def test_a_fault_before_sending_is_an_internal_error_and_nothing_is_sent_or_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = broken(recorder=FAULT)
    answer = await gate.send(GOOD)
    assert answer["error"]["code"] == Code.STATE_UNAVAILABLE
    assert "submitted nothing" in answer["error"]["message"]
    assert not gate.upstream.sent
    assert len(gate.room.ledger) == 0
    assert gate.recorder.outcomes == [RequestOutcome.INTERNAL_ERROR]
    assert answer["error"]["data"]["decisionId"] in caplog.text
    assert "_Broken" in caplog.text
    assert "decided" in caplog.text  # where it broke
    assert_nothing_leaks(caplog.text + json.dumps(answer))


async def test_a_fault_in_judging_is_an_internal_error_and_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(sessions={key_of(TWICE): FAULT})
    gate = Scene(room)
    answer = await gate.send(GOOD)
    assert answer["error"]["code"] == Code.STATE_UNAVAILABLE
    assert not gate.upstream.sent
    assert_nothing_leaks(caplog.text + json.dumps(answer))


@pytest.mark.parametrize("where", ["upstream", "follower", "follower after silence"])
async def test_a_fault_once_it_may_be_on_its_way_keeps_what_is_held_and_says_so(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = scene() if where == "upstream" else broken(follower=FAULT)
    if where != "follower":
        gate.upstream.answers = [FAULT if where == "upstream" else TIMED_OUT]
    answer = await gate.send(GOOD)
    assert answer["error"]["code"] == Code.UPSTREAM_UNAVAILABLE
    assert answer["error"]["data"]["mayHaveBeenSent"] is True
    assert len(gate.room.ledger) == 1
    assert gate.recorder.outcomes == [RequestOutcome.INTERNAL_ERROR]
    assert "_Broken" in caplog.text
    assert_nothing_leaks(caplog.text + json.dumps(answer))


async def test_a_fault_in_relaying_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    gate = broken(follower=FAULT)
    gate.upstream.answers = [result({"userOpHash": HASH})]
    answer = await gate.ask("eth_getUserOperationReceipt", HASH)
    assert answer["error"]["code"] == Code.INTERNAL_ERROR
    assert gate.recorder.outcomes == [RequestOutcome.INTERNAL_ERROR]
    assert_nothing_leaks(caplog.text)


async def test_a_submission_cut_off_by_the_gates_end_keeps_what_it_holds() -> None:
    gate = scene()
    gate.upstream.answers = [asyncio.CancelledError()]
    with pytest.raises(asyncio.CancelledError):
        await gate.send(GOOD)
    assert len(gate.follower.accepted_) == 1
    assert len(gate.room.ledger) == 1


async def test_nothing_of_an_operation_is_logged_when_all_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gate = scene()
    await gate.send(GOOD)
    await gate.send(OUTSIDE)
    assert_nothing_leaks(caplog.text)


# explain


async def test_explain_says_what_a_submission_would_hear_and_leaves_no_trace() -> None:
    gate = scene()
    allowed = await gate.gate.explain("soneium", print_user_operation(GOOD), ENTRY_POINT)
    assert allowed.verdict == Allow()
    refused = await gate.gate.explain("soneium", print_user_operation(replace_key(GOOD)), ENTRY_POINT)
    assert isinstance(refused.verdict, Reject)
    assert (refused.method, refused.client, refused.unix_time) == ("explain", "explain", NOW)
    assert not gate.upstream.sent
    assert not gate.recorder.decisions
    assert len(gate.room.ledger) == 0


def replace_key(op: UserOperation) -> UserOperation:
    return use(TWICE, op.call_data, key=STRANGERS_KEY)


async def test_explain_names_its_own_fields() -> None:
    with pytest.raises(InvalidParams) as raised:
        await scene().gate.explain("soneium", print_user_operation(GOOD), print_checksummed(V08.address))
    assert raised.value.field == "entryPoint"
    with pytest.raises(InvalidParams) as raised:
        await scene().gate.explain("soneium", {}, ENTRY_POINT)
    assert raised.value.field == "operation.sender"
