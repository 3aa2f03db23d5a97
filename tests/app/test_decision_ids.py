"""Whatever becomes of an operation, who asked about it holds the id of the decision, and ops find it in the trail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.session.revert import Revert
from tests.app.builders import GOOD, OUTSIDE, audited, use_number
from tests.edge.recording_bundler import Answer
from tests.running_gate import ESTIMATE, SEND, RunningGate, request, submission
from tests.session.builders import USAGE

HEADER = "X-Sessiongate-Decision-Id"
PAGE = {"Origin": "https://dapp.example"}


async def asked(gate: RunningGate, body: object, **headers: str) -> tuple[Any, Any]:
    """The headers of an answer, and the answer."""
    sent = {"content-type": "application/json", **headers}
    async with gate.http.post(gate.url, data=json.dumps(body), headers=sent) as response:
        return response.headers, await response.json()


@pytest.mark.parametrize("method", [SEND, ESTIMATE])
async def test_an_allowed_operation_is_answered_with_the_id_of_its_decision(gate: RunningGate, method: str) -> None:
    headers, answer = await asked(gate, submission(GOOD, method))
    assert "result" in answer
    (row,) = await audited(gate, 1)
    assert headers[HEADER] == row["decisionId"]


async def test_a_refused_operation_bears_the_same_id_in_its_error_and_in_the_header(gate: RunningGate) -> None:
    headers, answer = await asked(gate, submission(OUTSIDE))
    assert headers[HEADER] == answer["error"]["data"]["decisionId"]


async def test_an_operation_that_the_bundler_refuses_bears_its_id_beside_the_bundlers_own_words(
    gate: RunningGate,
) -> None:
    error = {"code": -32500, "message": "AA21 didn't pay prefund"}
    gate.bundler.answers[SEND] = Answer(error=error)
    headers, answer = await asked(gate, submission(GOOD))
    assert answer["error"] == error
    (row,) = await audited(gate, 1)
    assert headers[HEADER] == row["decisionId"]
    looked_up = (await gate.look(f"/audit?decisionId={row['decisionId']}"))["audit"]
    assert [each["meaning"][:6] for each in looked_up] == ["AA21: "]


VIOLATION = Revert("PolicyViolation", (b"\xab" * 32, USAGE)).data
UNKNOWN = bytes.fromhex("12345678") + bytes(range(256)) * 3
ECHOED = GOOD.signature[33:]
"""The session key's own signature, as a contract gives it back that does not take it."""


@pytest.mark.parametrize(
    ("reverted", "in_words", "kept"),
    [
        (VIOLATION, "UsageLimitPolicy): a policy of the session refuses the operation", VIOLATION.hex()),
        (UNKNOWN, "AA23: the account's validation reverted", UNKNOWN.hex()),
        (UNKNOWN + ECHOED, "AA23: the account's validation reverted", "12345678…"),
    ],
    ids=["a known error", "an unknown one", "with the signature in it"],
)
@pytest.mark.parametrize("in_data", [False, True])
@pytest.mark.parametrize("method", [SEND, ESTIMATE])
async def test_what_a_contract_reverted_with_is_looked_up_whole_and_in_words_but_for_the_signature(
    gate: RunningGate, method: str, reverted: bytes, in_words: str, kept: str, *, in_data: bool
) -> None:
    shown = f"0x{reverted.hex()}"
    told = {"message": "AA23", "data": {"revertData": shown}} if in_data else {"message": f"AA23 reverted {shown}"}
    gate.bundler.answers[method] = Answer(error={"code": -32500, **told})
    headers, _ = await asked(gate, submission(GOOD, method))
    await audited(gate, 1)
    (looked_up,) = (await gate.look(f"/audit?decisionId={headers[HEADER]}"))["audit"]
    assert in_words in looked_up["meaning"]
    assert f"0x{kept}" in looked_up["upstream"]["error_data" if in_data else "error_message"]
    assert ECHOED.hex() not in json.dumps(looked_up)


async def test_an_operation_that_no_bundler_answered_bears_its_id(gate: RunningGate) -> None:
    gate.bundler.answers[SEND] = Answer(raw=b"<html>", status=502, content_type="text/html")
    headers, answer = await asked(gate, submission(GOOD))
    (row,) = await audited(gate, 1)
    assert headers[HEADER] == answer["error"]["data"]["decisionId"] == row["decisionId"]


async def test_a_batch_names_its_decisions_in_the_order_of_its_answers(gate: RunningGate) -> None:
    batch = [submission(use_number(1)), request("eth_chainId"), submission(OUTSIDE)]
    headers, answers = await asked(gate, batch)
    first, read, refused = headers[HEADER].split(", ")
    assert read == "-"
    assert refused == answers[2]["error"]["data"]["decisionId"]
    assert {first, refused} == {row["decisionId"] for row in await audited(gate, 2)}


async def test_what_carries_no_operation_has_no_decision(gate: RunningGate) -> None:
    headers, _ = await asked(gate, request("eth_chainId"))
    assert HEADER not in headers
    headers, _ = await asked(gate, [request("eth_chainId")])
    assert HEADER not in headers


async def test_a_page_may_read_the_id(gate: RunningGate) -> None:
    headers, _ = await asked(gate, submission(GOOD), **PAGE)
    assert HEADER in headers["Access-Control-Expose-Headers"]


async def test_over_a_websocket_a_refusal_bears_its_id_and_what_was_allowed_is_found_by_its_hash(
    gate: RunningGate,
) -> None:
    async with gate.http.ws_connect(gate.url.replace("http", "ws")) as socket:
        await socket.send_json([submission(GOOD), submission(OUTSIDE, request_id=2)])
        allowed, refused = await socket.receive_json()
    by_id = {row["decisionId"]: row for row in await audited(gate, 2)}
    assert by_id[refused["error"]["data"]["decisionId"]]["verdict"] == "reject"
    (found,) = (await gate.look(f"/audit?userOpHash={allowed['result']}"))["audit"]
    assert (found["verdict"], found["decisionId"] in by_id) == ("allow", True)
