"""Each answer to a send again with its case, numbers, status and ends changed, and with a stranger's words in it, asked
of a whole gate: what may be there is held, what was refused in words that mean it is not, whoever wrote what beside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.errors import Code
from tests.admission.builders import known, lane
from tests.app.builders import ONCE
from tests.app.test_answers import ONE_A_DAY, TIMED_OUT_WAITING, error
from tests.bypass_list.desk import a_session, use
from tests.edge.recording_bundler import Answer
from tests.running_gate import SEND, RunningGate, running_gate, submission
from tests.session.builders import TOKEN, TRANSFER, action, usage

ADDRESS = "0x" + "aB" * 20
BUMP = "AA25 invalid account nonce: User operation already present in mempool, bump the gas price by minimum {}%"
FIELDS = -32602
OTHER = -32000
STRANGERS_WORDS = (
    "already known",
    "Invalid fields, reason: Already known",
    "Timed out while waiting for transaction with hash to be confirmed.",
    "User op cannot be replaced: fee too low",
    "unhandled error during bundle submission",
)
LOW_FEE = "precheck failed: maxFeePerGas is {} but must be at least {}"


def raw(body: str, status: int = 200) -> Answer:
    """A reply as it stands; `{id}` is the request's."""
    return Answer(raw=body.encode(), status=status)


HELD: dict[str, list[Answer]] = {
    "rundler has it": [
        error(FIELDS, "already known"),
        error(FIELDS, "already known", 400),
        error(FIELDS, "already known", 503),
        error(FIELDS, "ALREADY KNOWN"),
        error(FIELDS, "already known."),
    ],
    "alto has it": [
        error(FIELDS, "Already known", 400),
        error(FIELDS, "Already known", 429),
        error(FIELDS, "invalid fields, reason: already known"),
        error(FIELDS, "Invalid fields, reason: Already known", 500),
    ],
    "alto waited in vain": [
        Answer(raw=TIMED_OUT_WAITING, status=500),
        Answer(raw=TIMED_OUT_WAITING, status=200),
        raw('{"jsonrpc":"2.0","id":{id},"error":{"message":"Already known"}}', 500),
        raw('{"jsonrpc":"2.0","id":{id},"error":{}}', 500),
        raw('{"jsonrpc":"2.0","id":{id},"error":"AA23 reverted"}', 500),
        raw('{"error":{"message":"AA23 reverted"},"id":{id},"jsonrpc":"2.0"}', 503),
        raw('{"jsonrpc":"2.0","id":{id},"error":{"code":"-32500","message":"AA23 reverted"}}', 500),
        error(FIELDS, "unhandled error during bundle submission"),
    ],
    "an internal error, whatever it says": [
        *(error(-32603, words, status) for words in ("Internal error", "AA23 reverted", "") for status in (200, 500)),
        error(-32603, LOW_FEE.format(1, 2)),
    ],
    "the same nonce, perhaps itself": [
        error(FIELDS, "User op cannot be replaced: fee too low", 400),
        error(FIELDS, f"Replacement UserOperation must have higher maxFeePerGas (old={10**18} new={10**18}) "),
        error(FIELDS, "Replacement UserOperation must have higher maxPriorityFeePerGas (old=0 new=0) "),
        error(FIELDS, "Replacement UserOperation must have higher gas"),
        error(FIELDS, "invalid UserOperation struct/fields"),
    ],
    "prechecks that are not rundler's to the letter": [
        error(OTHER, "Precheck failed: maxFeePerGas is 1 but must be at least 2"),
        error(OTHER, LOW_FEE.format(1, 2) + "."),
        error(OTHER, LOW_FEE.format(1, "0x2")),
        error(OTHER, "execution reverted: " + LOW_FEE.format(1, 2)),
        error(OTHER, LOW_FEE.format(1, 2), 502),
        error(OTHER, f"precheck failed: sender {ADDRESS}00 is not a contract and initCode is empty"),
    ],
    "a node's words, and codes nobody knows": [
        *(error(OTHER, words) for words in ("already known", "nonce too low", "replacement transaction underpriced")),
        *(error(code, "limit exceeded") for code in (-32005, -32001, -32099, -32509, -32520, -32522, 3, 0, 4001)),
        error(-32600, "invalid request", 502),
        error(-32700, "parse error", 504),
    ],
    "no answer at all": [
        Answer(raw=b"<html>AA23 reverted</html>", status=status, content_type="text/html")
        for status in (200, 404, 413, 500, 503, 504)
    ]
    + [
        Answer(raw=b"", status=502, content_type="text/plain"),
        raw('{"jsonrpc":"2.0","id":{id},"error":{"code":-32500,"message":"AA2'),
        raw('{"jsonrpc":"2.0","id":{id}9,"error":{"code":-32500,"message":"AA23 reverted"}}'),
        raw('{"jsonrpc":"1.0","id":{id},"error":{"code":-32500,"message":"AA23 reverted"}}'),
        raw('[{"jsonrpc":"2.0","id":{id},"error":{"code":-32500,"message":"AA23 reverted"}}]'),
        Answer(result=None),
        Answer(result={"success": False}),
        Answer(result="0x" + "cd" * 32),
    ],
}
RELEASED: dict[str, list[Answer]] = {
    "a code of ERC-7769, whatever a stranger wrote": [
        *(error(code, words) for code in (-32500, -32521) for words in STRANGERS_WORDS),
        *(error(code, STRANGERS_WORDS[0], 500) for code in range(-32508, -32499)),
        error(-32500, "", 504),
    ],
    "a revert quoted among invalid fields": [
        *(error(FIELDS, f"AA23 reverted: {words}") for words in STRANGERS_WORDS),
        *(error(FIELDS, f"execution reverted: {words}", 400) for words in STRANGERS_WORDS),
    ],
    "invalid fields, another operation in the nonce": [
        *(error(FIELDS, BUMP.format(percent), status) for percent in (10, 15, 100) for status in (200, 500)),
        error(FIELDS, "replacement underpriced"),
        error(FIELDS, "Replacement Underpriced", 400),
        error(FIELDS, "Replacement UserOperation must have higher maxFeePerGas (old=7 new=70) "),
        error(FIELDS, "AA10 sender already constructed"),
        error(FIELDS, f"preVerificationGas is not enough, required: {2**256 - 1}, got: 0"),
        raw('{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Invalid fields, reason: sender"}}', 400),
        raw('{"jsonrpc":"2.0","id":"null","error":{"code":-32602,"message":"invalid sender"}}'),
    ],
    "never read, or no such method": [
        error(-32700, "parse error"),
        error(-32600, "Invalid Entrypoint", 400),
        *(error(-32601, "the method eth_sendUserOperation does not exist", status) for status in (200, 404, 500, 504)),
    ],
    "rundler's prechecks": [
        *(error(OTHER, LOW_FEE.format(*numbers)) for numbers in ((0, 1), (10**9, 10**18), (2**256 - 1, 2**256 - 1))),
        error(OTHER, LOW_FEE.format(1, 2), 400),
        error(OTHER, f"precheck failed: sender {ADDRESS.lower()} is not a contract and initCode is empty"),
        error(OTHER, f"precheck failed: initCode indicates factory with no code: {ADDRESS}"),
        error(OTHER, "precheck failed: total gas limit is 1 but must be at most 0"),
        error(OTHER, "precheck failed: paymaster deposit is 0 but must be at least 9 to pay for this operation"),
    ],
    "a gateway turned it away": [
        *(error(code, "Already taken", status) for code in (-32603, OTHER, 429, 1015) for status in (401, 403, 429)),
        *(
            Answer(raw=b"<html>already known</html>", status=status, content_type="text/html")
            for status in (401, 403, 429)
        ),
        Answer(raw=b"", status=403, content_type="text/plain"),
        raw('{"message":"Invalid API key"}', 401),
    ],
}


CASES = [(HELD[group], True) for group in HELD] + [(RELEASED[group], False) for group in RELEASED]


async def is_held_after(gate: RunningGate, answer: Answer, number: int) -> bool:
    """Whether a session's one operation a day is used up after the bundler answered so."""
    grant = a_session(action(TOKEN, TRANSFER, usage(100)), salt=number + 1)
    gate.running.registry.put(known(grant))
    take, gate.bundler.answers[SEND] = gate.bundler.answers[SEND], answer
    await gate.post(submission(use(grant, ONCE, nonce=lane(2 * number))))
    gate.bundler.answers[SEND] = take
    _, body = await gate.post(submission(use(grant, ONCE, nonce=lane(2 * number + 1))))
    heard = json.loads(body)
    assert "result" in heard or heard["error"]["code"] == Code.RULE_REJECTED, heard
    return "error" in heard


@pytest.mark.parametrize(("answers", "held"), CASES, ids=[*HELD, *RELEASED])
async def test_what_an_answer_means_does_not_hang_on_what_stands_around_its_words(
    answers: list[Answer], held: bool, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(ONE_A_DAY)
    async with running_gate(rules=[str(tmp_path / "own.yaml")]) as gate:
        for number, answer in enumerate(answers):
            assert await is_held_after(gate, answer, number) is held, answer
