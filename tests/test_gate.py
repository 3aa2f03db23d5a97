"""The life of one request: what is judged is what is sent, in every mode, under every id."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.errors import Code
from proxy.gate import GateSettings
from proxy.jsonrpc import NumberLiteral, Request
from proxy.judge.verdict import Mode, Reject
from proxy.methods import METHODS, MethodClass
from proxy.ports import RequestOutcome
from proxy.userop.primitives import print_bytes, print_checksummed
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.admission.builders import TWICE, lane
from tests.bypass_list.desk import V08, V09, batch, reading, use
from tests.gate_parts import (
    CONTEXT,
    ENTRY_POINT,
    ESTIMATE,
    GOOD,
    HASH,
    OUTSIDE,
    SEND,
    STUB,
    Answered,
    error,
    result,
    scene,
)
from tests.session.builders import ACCOUNT, STRANGER, transfer

SUBMITS = [name for name, method in METHODS.items() if method.method_class is MethodClass.SUBMIT]
PREVIEWS = [name for name, method in METHODS.items() if method.method_class is MethodClass.PREVIEW]
PASSES = [name for name, method in METHODS.items() if method.method_class is MethodClass.PASS]

# what was judged is what is sent


@pytest.mark.parametrize("method", SUBMITS)
async def test_every_method_that_submits_is_judged(method: str) -> None:
    gate = scene()
    refused = await gate.send(OUTSIDE, method)
    assert refused["error"]["code"] == Code.SESSION_SCOPE
    assert not gate.upstream.sent
    assert (await gate.send(GOOD, method))["result"] == HASH
    assert [(sent.method, sent.submission is not None) for sent in gate.upstream.sent] == [(method, True)]


@pytest.mark.parametrize("method", PREVIEWS)
async def test_every_preview_is_judged_and_submits_nothing(method: str) -> None:
    gate = scene()
    assert (await gate.send(OUTSIDE, method))["error"]["code"] == Code.SESSION_SCOPE
    assert "result" in await gate.send(GOOD, method)
    assert [(sent.method, sent.submission is not None) for sent in gate.upstream.sent] == [(method, False)]
    assert not gate.follower.accepted_
    assert len(gate.room.ledger) == 0


@pytest.mark.parametrize("mode", list(Mode))
async def test_what_is_sent_is_our_own_print_whatever_the_spelling(mode: Mode) -> None:
    odd = dict(reversed(print_user_operation(GOOD).items()))
    odd["callData"] = "0x" + str(odd["callData"])[2:].upper()
    odd["sender"] = print_checksummed(ACCOUNT)
    odd["maxFeePerGas"] = "0x0000" + str(odd["maxFeePerGas"])[2:]
    odd |= {"factory": None, "paymaster": None, "paymasterVerificationGasLimit": None}
    gate = scene(mode=mode)
    assert (await gate.ask(SEND, odd, ENTRY_POINT.lower()))["result"] == HASH
    (sent,) = gate.upstream.sent
    canonical = [print_user_operation(GOOD), ENTRY_POINT.lower()]
    assert sent.params == json.dumps(canonical, separators=(",", ":")).encode()


@pytest.mark.parametrize("method", SUBMITS)
@pytest.mark.parametrize("mode", list(Mode))
async def test_no_third_parameter_of_a_submission_goes_up(method: str, mode: Mode) -> None:
    gate = scene(mode=mode)
    answer = await gate.ask(method, print_user_operation(GOOD), ENTRY_POINT, {"trusted": True})
    assert answer["error"]["code"] == Code.INVALID_PARAMS
    assert answer["error"]["data"]["field"] == "params[2]"
    assert not gate.upstream.sent


@pytest.mark.parametrize("method", SUBMITS)
@pytest.mark.parametrize("options", [None, {"simulation_type": "validation"}])
async def test_a_third_parameter_that_says_nothing_is_left_out(method: str, options: object) -> None:
    gate = scene()
    assert "result" in await gate.ask(method, print_user_operation(GOOD), ENTRY_POINT, options)
    (sent,) = gate.upstream.sent
    assert len(json.loads(sent.params)) == 2
    for more in ({"simulation_type": "validation", "trusted": True}, {}, [], "trusted"):
        answer = await gate.ask(method, print_user_operation(GOOD), ENTRY_POINT, more)
        assert answer["error"]["data"]["field"] == "params[2]"
    assert len(gate.upstream.sent) == 1


async def test_the_state_overrides_of_an_estimate_go_up_as_they_came() -> None:
    gate = scene()
    overrides = {print_checksummed(STRANGER): {"balance": "0x1", "nonce": NumberLiteral("18446744073709551616")}}
    await gate.ask(ESTIMATE, print_user_operation(GOOD), ENTRY_POINT, overrides)
    (sent,) = gate.upstream.sent
    assert b'"nonce":18446744073709551616' in sent.params


async def test_a_relayed_method_goes_up_with_its_params_and_comes_back_untouched() -> None:
    gate = scene()
    body = b'{"jsonrpc":"2.0","id":1,"result":{"x": 1.50, "y":18446744073709551616}}'
    gate.upstream.answers = [Answered(replace(result(None).reply, body=body, id_start=22, id_end=23), status=200)]
    answer = await gate.gate.answer(Request('"a"', "eth_getUserOperationByHash", ["0x1"]), CONTEXT)
    assert answer is not None
    assert answer.body == body.replace(b'"id":1', b'"id":"a"')
    assert gate.upstream.sent[0].params == b'["0x1"]'


@pytest.mark.parametrize("request_id", ['"abc"', "7", "null", "1.50", "-0", "18446744073709551616123", "1e400"])
@pytest.mark.parametrize("operation", [GOOD, OUTSIDE])
async def test_every_answer_has_the_id_it_was_asked_under(request_id: str, operation: UserOperation) -> None:
    request = Request(request_id, SEND, [print_user_operation(operation), ENTRY_POINT])
    answer = await scene().gate.answer(request, CONTEXT)
    assert answer is not None
    assert f'"id":{request_id},'.encode() in answer.body


async def test_the_upstreams_http_status_is_passed_on() -> None:
    gate = scene()
    gate.upstream.answers = [error(-32500, "AA24 signature error", status=400)]
    answer = await gate.gate.answer(Request("1", SEND, [print_user_operation(GOOD), ENTRY_POINT]), CONTEXT)
    assert answer is not None
    assert answer.http_status == 400
    assert b"AA24 signature error" in answer.body


# what is not served


@pytest.mark.parametrize("method", ["eth_sendTransaction", "debug_bundler_sendBundleNow", "ETH_SENDUSEROPERATION", ""])
async def test_what_is_not_in_the_table_is_denied_and_goes_nowhere(method: str) -> None:
    gate = scene()
    answer = await gate.ask(method, print_user_operation(GOOD), ENTRY_POINT)
    assert answer["error"]["code"] == Code.METHOD_NOT_FOUND
    assert not gate.upstream.sent
    assert gate.recorder.outcomes == [RequestOutcome.DENIED]


async def test_a_method_the_settings_allow_is_relayed() -> None:
    gate = scene(allow_methods=frozenset({"eth_blockNumber"}))
    await gate.ask("eth_blockNumber")
    assert [sent.method for sent in gate.upstream.sent] == ["eth_blockNumber"]
    assert gate.recorder.outcomes == [RequestOutcome.ANSWERED]


@pytest.mark.parametrize("params", [[], [print_user_operation(GOOD)], [{}, ENTRY_POINT], [[], ENTRY_POINT], [1, 2]])
async def test_a_submission_that_cannot_be_read_is_invalid(params: list[object]) -> None:
    gate = scene()
    assert (await gate.ask(SEND, *params))["error"]["code"] == Code.INVALID_PARAMS
    assert gate.recorder.outcomes == [RequestOutcome.INVALID]
    assert not gate.upstream.sent


async def test_an_entry_point_that_is_not_served_is_named_with_those_that_are() -> None:
    gate = scene()
    answer = await gate.ask(SEND, print_user_operation(GOOD), print_checksummed(V08.address))
    assert answer["error"]["data"]["field"] == "params[1]"
    assert print_checksummed(V09.address) in answer["error"]["message"]
    assert "add v0.8 to the chain's `entry_points`" in answer["error"]["message"]
    assert not gate.upstream.sent


async def test_a_contract_that_is_no_entry_point_is_not_said_to_be_one_that_settings_could_name() -> None:
    answer = await scene().ask(SEND, print_user_operation(GOOD), "0x" + "12" * 20)
    assert "is not served here" in answer["error"]["message"]
    assert "entry_points" not in answer["error"]["message"]


async def test_a_submission_without_an_id_is_refused_and_not_sent() -> None:
    gate = scene()
    params = (print_user_operation(GOOD), ENTRY_POINT)
    answer = await gate.ask(SEND, *params, request_id=None)
    assert (answer["id"], answer["error"]["code"]) == (None, Code.INVALID_REQUEST)
    assert gate.recorder.outcomes == [RequestOutcome.INVALID]
    assert not gate.upstream.sent


@pytest.mark.parametrize("method", [ESTIMATE, "eth_chainId", "eth_unheardOf"])
async def test_another_request_without_an_id_is_dropped_and_counted(method: str) -> None:
    gate = scene()
    assert await gate.ask(method, request_id=None) is None
    assert gate.recorder.outcomes == [RequestOutcome.DENIED]
    assert not gate.upstream.sent


# modes


async def test_a_rejection_tells_all_a_program_needs() -> None:
    gate = scene()
    refused = (await gate.send(OUTSIDE))["error"]
    assert refused["data"].keys() >= {
        *("decisionId", "reason", "permissionId", "account", "userOpHash", "call", "retryable", "remedy")
    }
    assert refused["data"]["decisionId"] == "d-1"
    assert refused["data"]["permissionId"] == print_bytes(TWICE.permission_id)
    assert refused["data"]["account"] == print_checksummed(ACCOUNT)
    assert refused["data"]["userOpHash"] == print_bytes(reading(OUTSIDE).user_op_hash)
    (decision, forwarding) = gate.recorder.decisions[0]
    assert (decision.decision_id, forwarding) == ("d-1", False)
    assert (decision.chain, decision.client, decision.method, decision.mode, decision.session_mode) == (
        *("soneium", "trading-dapp", SEND),
        *(Mode.ENFORCE, "use"),
    )
    assert decision.calls == reading(OUTSIDE).calls
    assert gate.recorder.outcomes == [RequestOutcome.REJECTED]


async def test_a_rejection_for_a_limit_tells_what_was_wanted_and_what_is_left() -> None:
    gate = scene()
    await gate.send(GOOD)
    refused = (await gate.send(use(TWICE, batch(transfer(1), transfer(1)), nonce=lane(1))))["error"]
    assert refused["code"] == Code.LIMIT_EXCEEDED
    assert refused["data"]["wanted"]
    assert refused["data"]["got"]
    assert refused["data"]["policy"]


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.ALERT])
@pytest.mark.parametrize("method", [SEND, ESTIMATE])
async def test_below_enforce_everything_is_forwarded_and_what_would_be_rejected_is_on_record(
    mode: Mode, method: str
) -> None:
    gate = scene(mode=mode)
    assert (await gate.send(OUTSIDE, method))["result"] == HASH
    ((decision, forwarding),) = gate.recorder.decisions
    assert isinstance(decision.verdict, Reject)
    assert (decision.mode, forwarding) == (mode, True)
    assert len(gate.upstream.sent) == 1
    assert len(gate.room.ledger) == 0


async def test_a_would_be_rejection_that_cannot_even_be_read_is_forwarded_below_enforce() -> None:
    gate = scene(mode=Mode.SHADOW)
    await gate.send(replace(GOOD, signature=b"\x07"))
    assert len(gate.upstream.sent) == 1
    assert not gate.follower.accepted_


async def test_what_is_forwarded_in_shadow_is_followed_all_the_same() -> None:
    gate = scene(mode=Mode.SHADOW)
    await gate.send(GOOD)
    ((operation, reservation, _),) = gate.follower.accepted_
    assert operation.op == GOOD
    assert reservation is not None


async def test_in_mode_off_nothing_is_judged_and_all_is_still_read_strictly() -> None:
    gate = scene(mode=Mode.OFF)
    await gate.send(OUTSIDE)
    assert len(gate.upstream.sent) == 1
    assert not gate.recorder.decisions
    assert (await gate.ask(SEND, {**print_user_operation(GOOD), "x": "0x"}, ENTRY_POINT))["error"]["code"] == (
        Code.INVALID_PARAMS
    )
    assert len(gate.upstream.sent) == 1


async def test_previews_that_pass_are_forwarded_unjudged() -> None:
    gate = scene(judge_previews=False)
    await gate.send(OUTSIDE, ESTIMATE)
    assert len(gate.upstream.sent) == 1
    assert not gate.recorder.decisions
    assert (await gate.send(OUTSIDE))["error"]["code"] == Code.SESSION_SCOPE


async def test_a_stub_signature_is_not_held_against_an_estimate() -> None:
    gate = scene()
    assert "result" in await gate.send(STUB, ESTIMATE)
    assert (await gate.send(STUB))["error"]["code"] == Code.SESSION_SCOPE


async def test_an_estimate_may_leave_gas_out_and_a_submission_may_not() -> None:
    gate = scene()
    bare = {key: value for key, value in print_user_operation(STUB).items() if "Gas" not in key}
    assert "result" in await gate.ask(ESTIMATE, bare, ENTRY_POINT)
    assert gate.upstream.sent[0].operation == bare
    assert (await gate.ask(SEND, bare, ENTRY_POINT))["error"]["code"] == Code.INVALID_PARAMS


# dialects

PRICE, STATUS = "pimlico_getUserOperationGasPrice", "pimlico_getUserOperationStatus"


async def test_a_method_of_another_bundlers_dialect_is_answered_by_whoever_knows_it() -> None:
    async def status(method: str, params: list[object], client: str) -> object:
        return {"status": method, "of": params, "for": client}

    gate = scene(dialects={STATUS: status}, translated=frozenset({STATUS}))
    answer = await gate.ask(STATUS, HASH, request_id='"x"')
    told = {"status": STATUS, "of": [HASH], "for": CONTEXT.client}
    assert answer == {"jsonrpc": "2.0", "id": "x", "result": told}
    assert gate.recorder.outcomes == [RequestOutcome.ANSWERED]
    assert not gate.upstream.sent


async def test_a_method_of_a_dialect_that_the_bundler_knows_is_answered_in_its_words() -> None:
    async def fees(_method: str, _params: list[object], _client: str) -> object:
        return error(-32000, "too busy")

    gate = scene(dialects={PRICE: fees}, translated=frozenset({PRICE}))
    answer = await gate.ask(PRICE)
    assert answer["error"] == {"code": -32000, "message": "too busy"}
    assert gate.recorder.outcomes == [RequestOutcome.UPSTREAM_ERROR]


async def test_settings_put_in_force_turn_translation_off_and_on_again() -> None:
    async def fees(_method: str, _params: list[object], _client: str) -> object:
        return "made here"

    gate = scene(dialects={PRICE: fees})
    gate.upstream.answers = [result("the bundler's")]
    assert (await gate.ask(PRICE))["result"] == "the bundler's"
    gate.gate.take(
        GateSettings(mode=Mode.ENFORCE, judge_previews=True, entry_points={}, chain_id=1, translated=frozenset({PRICE}))
    )
    assert (await gate.ask(PRICE))["result"] == "made here"
