"""What a bundler's answer to a send means: refused only in words that mean refusal, and never by an attacker's text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.bundler_answers import TABLE, TOOK_NOTHING, Meaning, meaning_of_answer, meaning_of_error
from proxy.jsonrpc import read_reply

ADDRESS = "0x" + "aB" * 20
HASH = "0x" + "ab" * 32
PRESENT_BUT_OTHER = (
    "AA25 invalid account nonce: User operation already present in mempool, bump the gas price by minimum 10%"
)
UNDERPRICED = "Replacement UserOperation must have higher maxPriorityFeePerGas (old={old} new={new}) "
_BUSY_NONCE = "a UserOperation with nonce 0x1f is already in the mempool for sender"
VOLTAIRE_BEGINS = f"invalid UserOperation struct/fields: {_BUSY_NONCE} {ADDRESS} "
VOLTAIRE = f"{VOLTAIRE_BEGINS}(maxFeePerGas: 0x1, maxPriorityFeePerGas: 0x1). Wait for it to be included."

# code, message, HTTP status
IT_IS_THERE = [
    (-32602, "already known", 200),  # rundler
    (-32602, "Already known", 200),  # alto
    (-32602, "Invalid fields, reason: Already known", 200),  # alto behind a gateway
    (-32602, "already known", 500),
    (-32602, "Already known", 429),
]
NOBODY_CAN_TELL = [
    (None, "Timed out while waiting for transaction with hash to be confirmed.", 500),  # alto, the bundle being out
    (None, "Timed out while waiting for transaction with hash to be confirmed.", 200),
    (None, None, 200),
    (-32603, "Internal error", 200),
    (-32603, "unexpected response from pool server", 200),  # rundler
    (-32000, "already known", 200),  # an execution client's words, of a transaction
    (-32000, "execution reverted", 200),
    (-32000, "upstream timed out", 504),
    (-32700, "parse error", 502),
    (-32600, "invalid request", 500),
    (-32005, "limit exceeded", 200),
    (-32602, "unhandled error during bundle submission", 200),  # alto: it may be in the mempool
    (-32602, UNDERPRICED.format(old=5, new=5), 200),  # eth-infinitism: perhaps itself
    (-32602, "Replacement UserOperation must have higher maxFeePerGas (old=7 new=7)", 200),
    (-32602, "Replacement UserOperation must have higher gas", 200),
    (-32602, "User op cannot be replaced: fee too low", 200),  # skandha: likewise
    (-32602, "invalid UserOperation struct/fields", 200),  # voltaire: likewise
    (-32602, "invalid UserOperation struct/fields (can't replace useroperation)", 200),
    (-32602, VOLTAIRE, 200),
    # in nobody's known words, and so not believed either way
    (-32602, "User operation already known", 200),
    (-32602, "ALREADY KNOWN", 200),
    (-32602, "Already known.", 500),
    (-32602, "UserOperation already in mempool", 200),
    (-32602, "Invalid params: op is already in the pool", 200),
    (-32602, "user operation already exists in the mempool", 200),
    (
        -32602,
        "pending ops: replacement op must increase maxFeePerGas and MaxPriorityFeePerGas by >= 10%",
        200,
    ),  # stackup
    (-32000, "precheck failed: maxFeePerGas is 1 but must be at least 2", 502),
]
IT_IS_REFUSED = [
    *((code, "AA23 reverted", status) for code in range(-32508, -32499) for status in (200, 400, 500)),
    (-32521, "execution reverted", 200),
    (-32500, "AA10 sender already constructed", 200),
    (-32602, "AA10 sender already constructed: Sender already has an inflight EIP-7702 authorization", 200),
    (-32500, "AA25 invalid account nonce", 200),
    (-32500, None, 200),
    (-32602, PRESENT_BUT_OTHER, 200),  # alto looked by hash before
    (-32602, "replacement underpriced", 200),  # rundler looked by hash before
    (-32602, UNDERPRICED.format(old=5, new=6), 200),  # another fee: another operation
    (-32602, "preVerificationGas is not enough, required: 5, got: 4", 200),
    (-32602, "operation rejected by mempool: discarded on insert", 200),
    (-32601, "the method eth_sendUserOperation does not exist", 200),
    (-32601, "method not found", 502),
    (-32600, "Invalid Entrypoint", 200),
    (-32700, "parse error", 200),
    (-32000, f"precheck failed: sender {ADDRESS} is not a contract and initCode is empty", 200),
    (-32000, "precheck failed: maxFeePerGas is 1 but must be at least 2", 200),
    (-32000, "precheck failed: paymaster deposit is 0 but must be at least 9 to pay for this operation", 200),
    (None, "maxFeePerGas and maxPriorityFeePerGas must be 0 for a boosted user operation", 200),
    *((code, "too many requests", status) for code in (None, -32603, 429) for status in (401, 403, 429)),
]
CASES = [
    *((*each, Meaning.ACCEPTED) for each in IT_IS_THERE),
    *((*each, Meaning.UNKNOWN) for each in NOBODY_CAN_TELL),
    *((*each, Meaning.REFUSED) for each in IT_IS_REFUSED),
]


@pytest.mark.parametrize(("code", "message", "status", "meaning"), CASES)
def test_each_known_answer_means_what_its_bundler_means_by_it(
    code: int | None, message: str | None, status: int, meaning: Meaning
) -> None:
    assert meaning_of_error(code, message, status) is meaning


def test_every_line_of_the_table_decides_some_known_answer() -> None:
    decisive = {
        next((index for index, row in enumerate(TABLE) if row.matches(code, message, status)), None)
        for code, message, status, _ in CASES
    }
    prechecks = {index for index, row in enumerate(TABLE) if row.codes == {-32000}}
    boosts = {index for index, row in enumerate(TABLE) if row.codes == {None}}
    # of two families one member stands for all
    assert decisive - {None} >= set(range(len(TABLE))) - prechecks - boosts
    assert decisive & prechecks
    assert decisive & boosts


WORDS = [message for _, message, _, _ in CASES if message] + ["already known", "mempool", "AA25", "refused"]
ATTACKER = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("; ".join),
    st.sampled_from(WORDS),
)
REVERTS_UNDER = [*range(-32508, -32499), -32521]


@given(code=st.sampled_from(REVERTS_UNDER), text=ATTACKER, status=st.sampled_from([200, 400, 401, 429, 500, 502]))
def test_whatever_a_contract_says_in_its_revert_the_refusal_stays_one(code: int, text: str, status: int) -> None:
    assert meaning_of_error(code, text, status) is Meaning.REFUSED


@given(
    template=st.sampled_from(["AA23 reverted: {}", "UserOperation reverted during simulation with reason: {}", "{} "]),
    text=ATTACKER,
)
def test_a_revert_quoted_among_invalid_fields_is_refused_as_without_it(template: str, text: str) -> None:
    said = template.format(text)
    if said.startswith(VOLTAIRE_BEGINS):  # how that line ends is not known for sure: in doubt it is held
        assert meaning_of_error(-32602, said, 200) is not Meaning.ACCEPTED
    elif said.strip() not in WORDS:
        assert meaning_of_error(-32602, said, 200) is Meaning.REFUSED


def test_a_line_whose_end_is_not_known_is_held_whatever_its_end() -> None:
    assert meaning_of_error(-32602, f"{VOLTAIRE_BEGINS}(more); already known", 200) is Meaning.UNKNOWN


@given(code=st.sampled_from([-32603, -32000, -32001, 3, None]), text=ATTACKER, status=st.sampled_from([500, 502, 504]))
def test_under_a_server_error_no_text_makes_a_refusal_of_what_is_unknown(
    code: int | None, text: str, status: int
) -> None:
    assert meaning_of_error(code, text, status) is Meaning.UNKNOWN


@given(code=st.one_of(st.none(), st.integers()), text=st.one_of(st.none(), ATTACKER), status=st.integers(100, 599))
def test_every_answer_has_one_meaning_and_only_listed_words_accept(
    code: int | None, text: str | None, status: int
) -> None:
    meaning = meaning_of_error(code, text, status)
    if meaning is Meaning.ACCEPTED:
        assert (code, text) in {(each, words) for each, words, _ in IT_IS_THERE}
    if code not in {each for row in TABLE for each in row.codes} and status not in TOOK_NOTHING:
        assert meaning is Meaning.UNKNOWN


@pytest.mark.parametrize(
    ("result", "meaning"),
    [
        (HASH, Meaning.ACCEPTED),
        ("0x" + "AB" * 32, Meaning.ACCEPTED),
        ({"userOpHash": HASH, "success": True}, Meaning.ACCEPTED),
        ({"userOpHash": "0x" + "cd" * 32, "success": True}, Meaning.UNKNOWN),
        ({}, Meaning.UNKNOWN),
        ("0x" + "cd" * 32, Meaning.UNKNOWN),
        (None, Meaning.UNKNOWN),
        (True, Meaning.UNKNOWN),
        ([HASH], Meaning.UNKNOWN),
    ],
)
def test_only_the_operations_own_hash_or_receipt_says_that_it_was_taken(result: object, meaning: Meaning) -> None:
    reply = read_reply(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode(), 1)
    assert meaning_of_answer(reply, 200, HASH) is meaning
