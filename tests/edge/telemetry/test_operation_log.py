"""The log has a line of what ops want to see, and strangers do not decide how long it grows."""

from __future__ import annotations

import logging

import pytest

from proxy.config.service import LoggedOperations
from proxy.edge.telemetry.logs import OperationLog
from proxy.errors import Code, Reason
from proxy.judge.verdict import Allow, Reject
from proxy.session.outcome import Waived
from tests.edge.builders import OUT_OF_SCOPE, decision


@pytest.mark.parametrize("which", [LoggedOperations.NOTABLE, LoggedOperations.ALL])
def test_past_a_rate_refusals_of_a_client_have_no_line_and_are_counted(
    which: LoggedOperations, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    log = OperationLog(which, lambda: now)
    for number in range(5_000):
        log.decided(decision(str(number), verdict=OUT_OF_SCOPE), 0.0)
    assert len(caplog.records) == 200
    now = 1.0
    log.decided(decision("later", verdict=OUT_OF_SCOPE), 0.0)
    assert caplog.records[-1].fields["refusedWithoutLine"] == 4_800  # type: ignore[attr-defined]  # of our own line


def test_what_a_stranger_is_refused_hides_nothing_of_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = OperationLog(LoggedOperations.ALL, lambda: 0.0)
    for number in range(1_000):
        log.decided(decision(str(number), verdict=OUT_OF_SCOPE), 0.0)
    caplog.clear()
    over = Reject((Reason(code=Code.LIMIT_EXCEEDED, sentence="600 left", remedy="ask for less"),))
    another = decision("c", verdict=OUT_OF_SCOPE)._replace(client="another")
    for each in (decision("b"), another, decision("d", verdict=over)):
        log.decided(each, 0.0)
    assert [record.fields["decision"] for record in caplog.records] == ["b", "c", "d"]  # type: ignore[attr-defined]  # likewise


def test_what_passed_without_a_fact_or_a_rule_is_named_and_so_is_whether_a_revoked_sessions_key_signed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    log = OperationLog(LoggedOperations.NOTABLE, lambda: 0.0)
    log.decided(decision("waived", verdict=Allow((), (Waived.POLICY, Waived.STATE))), 0.0)
    log.decided(decision("opened", opened=("burst",)), 0.0)
    for signed in (True, False, None):
        revoked = Reason(code=Code.SESSION_REVOKED, sentence="removed", remedy="ask again", signed=signed)
        log.decided(decision(f"revoked {signed}", verdict=Reject((revoked,))), 0.0)
    lines = [record.fields for record in caplog.records]  # type: ignore[attr-defined]  # of our own line
    names = ("decision", "passedWithout", "passedWithoutRules", "keySigned")
    assert [[line.get(name) for name in names] for line in lines] == [
        ["waived", "policy,state", None, None],
        ["opened", None, "burst", None],
        ["revoked True", None, None, True],
        ["revoked False", None, None, False],
        ["revoked None", None, None, None],
    ]
    whose = {"chain", "client", "account", "session", "userOpHash"}
    assert all(whose <= line.keys() for line in lines)
