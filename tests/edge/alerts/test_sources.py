"""Which decisions ops hear of at once, and in what words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.edge.alerts.sources import happening_of_end, happenings_of, is_of_note
from proxy.errors import Code, Reason
from proxy.happening import Happening, HappeningKind
from proxy.judge.decision import Decision
from proxy.judge.evaluate import Hit
from proxy.judge.rule import Rule
from proxy.judge.verdict import Allow, Mode, Reject
from proxy.ports import OperationEnd
from proxy.session.lint.findings import Severity
from proxy.session.outcome import Waived
from tests.edge.builders import ACCOUNT, OUT_OF_SCOPE, PERMISSION, REVOKED, USER_OP_HASH, decision
from tests.judge.parse.reading import ruleset

RULE = ruleset(
    """
rules:
  - id: burst
    description: Not so often.
    mode: enforce
    severity: low
    tags: [money]
    owner: treasury
    runbook: https://run.example/burst
    notify: [soc]
    match: {session: true}
"""
).rules[0]


def hit(mode: Mode = Mode.ENFORCE, **changes: Any) -> Hit:
    return Hit(rule=RULE, mode=mode, sentence="601 asked, 400 left", wanted="at most 400", got="601", **changes)


def told(of: Decision, rule: Rule | None = RULE) -> list[Happening]:
    found = list(happenings_of(of, lambda _: rule))
    assert not found or is_of_note(of)
    return found


def test_a_rule_that_rejects_is_heard_whatever_its_severity_with_all_that_it_says_of_itself() -> None:
    rejected = decision(verdict=Reject((hit().reason(),)), hits=(hit(),))
    (one,) = told(rejected)
    assert (one.kind, one.severity, one.rule, one.mode) == (
        HappeningKind.RULE_FIRED,
        Severity.LOW,
        "burst",
        "enforce",
    )
    assert (one.tags, one.owner, one.runbook, one.notify) == (
        ("money",),
        "treasury",
        "https://run.example/burst",
        ("soc",),
    )
    assert one.decision_id == "d-1"
    assert one.what == (
        "rule burst rejected an operation of session 0xb1b1b1b1…b1b1b1b1 for client trading-dapp: "
        "601 asked, 400 left (wanted at most 400, got 601)"
    )


def test_a_rule_that_only_alerts_says_that_it_fired_and_a_shadow_says_nothing() -> None:
    (one,) = told(decision(hits=(hit(Mode.ALERT),)))
    assert "fired on" in one.what
    assert told(decision(hits=(hit(Mode.SHADOW),))) == []


def test_a_rule_that_fires_for_want_of_a_fact_says_so() -> None:
    (one,) = told(decision(verdict=Reject((hit().reason(),)), hits=(hit(unknown=True),)))
    assert one.what.endswith("it lacked a fact and fails closed")


def test_an_operation_that_a_rule_let_pass_unjudged_is_named() -> None:
    (one,) = told(decision(opened=("burst",)))
    assert (one.kind, one.severity, one.decision_id) == (HappeningKind.FAILED_OPEN, Severity.CRITICAL, "d-1")
    assert "0xb1b1b1b1…b1b1b1b1" in one.what
    assert told(decision(opened=("burst",)), replace(RULE, mode=Mode.SHADOW)) == []


def test_a_pass_by_a_rule_that_a_reload_has_just_taken_away_is_told_all_the_same() -> None:
    (one,) = told(decision(opened=("gone",)), None)
    assert (one.kind, one.severity, one.rule) == (HappeningKind.FAILED_OPEN, Severity.CRITICAL, "gone")
    assert one.what.startswith("rule gone let an operation")


def test_an_operation_let_pass_by_a_setting_is_named_and_says_what_could_not_be_judged() -> None:
    (one,) = told(decision(verdict=Allow(("policy 0x12 is not mirrored here",), (Waived.POLICY,))))
    assert one.kind is HappeningKind.FAILED_OPEN
    assert "its policy could not be judged: policy 0x12 is not mirrored here" in one.what


@pytest.mark.parametrize(
    ("signed", "severity", "words"),
    [
        (True, Severity.CRITICAL, "its key signed"),
        (False, Severity.LOW, "its key did not sign"),
        (None, Severity.CRITICAL, "whether its key signed is not known"),
    ],
)
def test_a_revoked_session_used_says_whether_its_key_signed(
    signed: bool | None, severity: Severity, words: str
) -> None:
    reason = Reason(code=Code.SESSION_REVOKED, sentence="removed on chain", remedy="ask again", signed=signed)
    (one,) = told(decision(verdict=Reject((reason,))))
    assert (one.kind, one.severity) == (HappeningKind.REJECTED, severity)
    assert one.what.endswith(words)


def test_an_everyday_rejection_is_no_alert_unless_the_gate_is_there_to_alert() -> None:
    assert told(decision(verdict=OUT_OF_SCOPE)) == []
    (one,) = told(decision(verdict=OUT_OF_SCOPE, mode=Mode.ALERT))
    assert one.kind is HappeningKind.WOULD_REJECT
    assert "(session_scope)" in one.what


ESTIMATE = "eth_estimateUserOperationGas"


def test_a_revoked_session_that_is_estimated_with_is_told_and_weighs_less_as_nothing_was_handed_in() -> None:
    (one,) = told(decision(method=ESTIMATE, verdict=REVOKED))
    assert (one.kind, one.severity) == (HappeningKind.REJECTED, Severity.LOW)
    assert one.what.startswith("an estimate of session 0xb1b1b1b1")


def test_an_estimate_that_passes_without_a_fact_or_past_a_rule_is_told() -> None:
    (waived,) = told(decision(method=ESTIMATE, verdict=Allow((), (Waived.POLICY,))))
    assert (waived.kind, waived.severity) == (HappeningKind.FAILED_OPEN, Severity.LOW)
    (opened,) = told(decision(method=ESTIMATE, opened=("burst",)))
    assert "let an estimate of session" in opened.what


def test_a_rule_is_heard_on_estimates_it_asked_for_and_an_everyday_refusal_of_one_is_not() -> None:
    assert len(told(decision(method=ESTIMATE, verdict=OUT_OF_SCOPE, hits=(hit(Mode.ALERT),)))) == 1
    assert told(decision(method=ESTIMATE, verdict=OUT_OF_SCOPE, mode=Mode.ALERT)) == []


def test_an_allowed_operation_is_not_looked_at_twice() -> None:
    assert not is_of_note(decision())
    assert not is_of_note(decision(verdict=OUT_OF_SCOPE))


def test_no_call_data_and_no_signature_is_in_what_is_told() -> None:
    for each in (decision(hits=(hit(Mode.ALERT),)), decision(verdict=REVOKED)):
        assert "5e5e" not in repr(told(each))


@pytest.mark.parametrize(
    ("cause", "kind"),
    [("unmined", HappeningKind.NEVER_MINED), ("released", HappeningKind.HOLD_RELEASED)],
)
def test_an_operation_given_up_or_released_by_hand_is_told_with_its_session(cause: str, kind: HappeningKind) -> None:
    end = OperationEnd(
        chain="soneium",
        user_op_hash=USER_OP_HASH,
        cause=cause,
        account=ACCOUNT,
        permission_id=PERMISSION,
        seconds=601.0,
    )
    told_of = happening_of_end(end, 1_700_000_000.0)
    assert told_of is not None
    assert (told_of.kind, told_of.permission_id, told_of.user_op_hash) == (kind, PERMISSION, USER_OP_HASH)
    assert "601 s after it was accepted" in told_of.what


@pytest.mark.parametrize("cause", ["mined", "nonce_used", "expired", "refused", "anything"])
def test_an_end_that_is_nothing_special_is_not_told(cause: str) -> None:
    assert happening_of_end(OperationEnd(chain="soneium", user_op_hash=USER_OP_HASH, cause=cause), 1.0) is None
