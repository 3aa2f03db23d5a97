"""The past under two sets of rules: who would be refused newly, who no longer, and how many alerts a day."""

from __future__ import annotations

from dataclasses import replace

from proxy.judge.verdict import Mode
from proxy.rehearsal.backtest import Recorded, SetComparison, backtest
from proxy.rehearsal.case import Ending
from proxy.rehearsal.coverage import coverage_of_cases, coverage_of_past
from proxy.userop.primitives import Hash32
from tests.rehearsal.builders import DAILY, DAILY_CASES, cases, facts, rules

NONE = "rules: []\n"
ALERT = DAILY.replace("mode: enforce", "mode: alert")
DAY = 86_400


def past(*amounts: int, verdict: str = "allow") -> list[Recorded]:
    """One payment an hour of so many USDC each."""
    return [
        Recorded(
            facts=facts(f"spend: {amount} USDC")._replace(
                unix_time=1_772_442_000.0 + 3_600 * index,
                nonce=index,
                user_op_hash=Hash32(bytes([index]) * 32),
                verdict=verdict,
            )
        )
        for index, amount in enumerate(amounts)
    ]


def rejected(found: SetComparison) -> list[int]:
    return [change.user_op_hash[0] for change in found.newly_rejected]


def test_who_the_new_set_refuses_is_newly_rejected_with_rule_and_reason() -> None:
    found = backtest(rules(NONE), rules(DAILY), past(400, 100, 1))
    assert rejected(found) == [2]
    (change,) = found.newly_rejected
    assert (change.rules, change.permission_id, found.newly_allowed) == (("daily",), facts().permission_id, [])


def test_the_other_way_round_it_is_newly_allowed() -> None:
    found = backtest(rules(DAILY), rules(NONE), past(400, 100, 1))
    assert ([change.user_op_hash[0] for change in found.newly_allowed], rejected(found)) == ([2], [])


def test_two_equal_sets_change_nothing() -> None:
    found = backtest(rules(DAILY), rules(DAILY), past(400, 200, 100, 300))
    assert (found.newly_rejected, found.newly_allowed, found.operations) == ([], [], 4)


def test_what_a_set_refuses_is_not_counted_by_it() -> None:
    assert rejected(backtest(rules(NONE), rules(DAILY), past(400, 200, 100, 1))) == [1, 3]


def test_what_the_chain_refused_stays_refused_and_uses_nothing() -> None:
    stream = past(500, verdict="session_scope") + past(0, 500)[1:]
    found = backtest(rules(NONE), rules(DAILY), stream)
    assert (found.refused, rejected(found)) == (1, [])


def test_what_the_bundler_refused_uses_nothing() -> None:
    first, second = past(500, 500)
    assert rejected(backtest(rules(NONE), rules(DAILY), [replace(first, ending=Ending.REFUSED), second])) == []
    assert rejected(backtest(rules(NONE), rules(DAILY), [first, second])) == [1]


def test_an_operation_sent_again_after_it_was_mined_counts_once() -> None:
    first, second = past(300, 200)
    assert rejected(backtest(rules(NONE), rules(DAILY), [first, first, second])) == []


def test_alerts_are_counted_by_day_and_rule_and_refuse_nobody() -> None:
    late = [
        replace(each, facts=each.facts._replace(unix_time=each.facts.unix_time + 2 * DAY)) for each in past(501, 502)
    ]
    found = backtest(rules(NONE), rules(ALERT), past(501) + late)
    assert rejected(found) == []
    assert {day: dict(each.alerts_after) for day, each in found.days.items()} == {
        "2026-03-02": {"daily": 1},
        "2026-03-04": {"daily": 2},
    }


def test_the_ceiling_of_the_gate_holds_in_a_backtest() -> None:
    assert rejected(backtest(rules(NONE), rules(DAILY), past(501), ceiling=Mode.ALERT)) == []


def test_progress_is_told_once_an_operation() -> None:
    heard: list[None] = []
    backtest(rules(NONE), rules(NONE), past(1, 2, 3), heard=lambda: heard.append(None))
    assert len(heard) == 3


def test_coverage_tells_how_often_a_rule_fired_and_when() -> None:
    (covered,) = coverage_of_past(rules(ALERT), past(501, 1, 502))
    # an alert counts what it lets out, so the second is over the limit as well
    assert (covered.fired, covered.first, covered.last) == (3, 1_772_442_000.0, 1_772_449_200.0)
    (covered,) = coverage_of_past(rules(ALERT.replace("alert", "off")), past(501))
    assert (covered.fired, covered.first) == (0, None)


def test_coverage_of_cases_judges_a_rule_that_is_off_as_if_it_enforced() -> None:
    (covered,) = coverage_of_cases(rules(ALERT.replace("alert", "off")), cases(DAILY_CASES))
    assert covered.fired == 1
