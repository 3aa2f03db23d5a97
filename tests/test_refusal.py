"""What a refused caller is told: every member that is known, none that is not, and whether to try again."""

from __future__ import annotations

import pytest

from proxy.errors import Code, Reason, UpstreamUnavailable
from proxy.jsonrpc import print_error
from proxy.refusal import error_of_reason, error_of_upstream, internal_error
from proxy.userop.primitives import print_checksummed
from tests.edge.builders import ACCOUNT, PERMISSION, USER_OP_HASH, decision

LIMIT = Reason(
    code=Code.LIMIT_EXCEEDED,
    sentence="policy allows 1 more",
    remedy="ask for less",
    policy="spending limit",
    rule="usdc-per-day",
    call=0,
    wanted="2",
    got="1",
    retryable=True,
)


def test_everything_that_is_known_is_told() -> None:
    code, message, data = error_of_reason(LIMIT, decision())
    assert (code, message) == (Code.LIMIT_EXCEEDED, LIMIT.sentence)
    assert data == {
        "decisionId": "d-1",
        "reason": "limit_exceeded",
        "rule": "usdc-per-day",
        "policy": "spending limit",
        "permissionId": "0x" + PERMISSION.hex(),
        "account": print_checksummed(ACCOUNT),
        "userOpHash": "0x" + USER_OP_HASH.hex(),
        "call": 0,
        "wanted": "2",
        "got": "1",
        "retryable": True,
        "remedy": "ask for less",
    }


def test_what_is_not_known_is_left_out() -> None:
    reason = Reason(code=Code.UNDECODABLE, sentence="cannot be read", remedy="use the SDK")
    _, _, data = error_of_reason(reason, decision(account=None, permission_id=None, user_op_hash=None))
    assert data.keys() == {"decisionId", "reason", "retryable", "remedy"}
    assert data["retryable"] is False


def test_the_first_call_is_named_although_its_index_is_zero() -> None:
    assert error_of_reason(LIMIT.at_call(0), decision())[2]["call"] == 0


@pytest.mark.parametrize("sent", [True, False])
def test_after_a_submission_nobody_answered_the_caller_learns_whether_it_may_be_on_its_way(sent: bool) -> None:
    gone = UpstreamUnavailable("soneium#0 is gone", may_have_been_sent=sent)
    code, message, data = error_of_upstream(gone, submit=True)
    assert code is Code.UPSTREAM_UNAVAILABLE
    assert "soneium#0 is gone" in message
    assert data["mayHaveBeenSent"] is sent
    assert ("receipt" in str(data["remedy"])) is sent


def test_a_read_nobody_answered_submitted_nothing() -> None:
    _, _, data = error_of_upstream(UpstreamUnavailable("gone", may_have_been_sent=True), submit=False)
    assert "mayHaveBeenSent" not in data
    assert data["retryable"] is True


@pytest.mark.parametrize(
    ("sent", "submit", "told"),
    [
        (True, True, Code.UPSTREAM_UNAVAILABLE),
        (False, True, Code.STATE_UNAVAILABLE),
        (False, False, Code.INTERNAL_ERROR),
    ],
)
def test_an_internal_error_tells_nothing_but_whether_something_was_sent(sent: bool, submit: bool, told: Code) -> None:
    code, message, data = internal_error("d-7", submit=submit, may_have_been_sent=sent)
    assert code is told
    assert data["decisionId"] == "d-7"
    assert data.get("mayHaveBeenSent", False) is sent
    assert data["reason"] == told.label, "gateError knows an error of the gate by its reason"
    assert data["remedy"]
    assert ("submitted nothing" in message) is not sent


def test_a_refusal_can_be_printed() -> None:
    assert b'"code":-32055' in print_error("1", *error_of_reason(LIMIT, decision()))
