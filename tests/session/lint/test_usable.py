"""A session that can never be used says so before anything else, whatever it is that makes it useless."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.lint import Finding, Severity, lint
from proxy.session.outcome import Accepted
from proxy.session.policies.parameter_rules import Condition
from proxy.userop.session_data import FLAG_TARGET, PolicyData, SessionData
from tests.session.builders import (
    APPROVE,
    NOW,
    OTHER_TOKEN,
    TOKEN,
    TRANSFER,
    action,
    arg,
    enabled,
    fallback,
    gas,
    judge,
    node,
    only,
    rule,
    session,
    spending,
    sudo,
    time_frame,
    transfer,
    uni_action,
    usage,
)

EQUAL, _, LESS, AT_LEAST, AT_MOST, _, IN_RANGE = Condition
AMOUNT = 32
DAY = 86_400
EITHER = [node("rule", index=1), node("rule"), node("or", left=0, right=1)]
FRAME = time_frame(NOW + DAY, NOW - DAY)


def granted(*policies: PolicyData, user_op: Sequence[PolicyData] = (FRAME,)) -> SessionData:
    return session(action(TOKEN, TRANSFER, *policies), user_op=user_op)


def first(grant: SessionData) -> Finding:
    return lint(grant, now=NOW)[0]


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        ((uni_action(rule(LESS, AMOUNT, 0)),), "no arguments satisfy the rules"),
        ((uni_action(rule(IN_RANGE, AMOUNT, 9 << 128 | 3)),), "no arguments satisfy the rules"),
        ((uni_action(rule(EQUAL, AMOUNT, 5), rule(EQUAL, AMOUNT, 6)),), "no arguments satisfy the rules"),
        ((uni_action(rule(AT_LEAST, AMOUNT, 6), rule(AT_MOST, AMOUNT, 5)),), "no arguments satisfy the rules"),
        ((uni_action(rule(AT_LEAST, AMOUNT, 6, limit=5)),), "no arguments satisfy the rules"),
        ((uni_action(rule(EQUAL, AMOUNT, 6, limit=5)),), "no arguments satisfy the rules"),
        ((arg([rule(LESS, AMOUNT, 0)], [node("rule")]),), "no arguments satisfy the rules"),
        (
            (
                uni_action(rule(EQUAL, AMOUNT, 5)),
                arg([rule(EQUAL, AMOUNT, 6)], [node("rule")]),
            ),
            "no arguments satisfy all the rules",
        ),
        ((uni_action(rule(EQUAL, 2**64 - 1, 5)),), "further back than call data can be"),
        ((uni_action(rule(AT_LEAST, 0, 0), rule(EQUAL, 2**40, 5)),), "further back than call data can be"),
        ((arg([rule(EQUAL, 2**63, 5)], [node("rule"), node("not", left=0)], root=1),), "further back than"),
        ((only(OTHER_TOKEN),), "does not list 0x7070"),
        ((sudo, only(OTHER_TOKEN)), "does not list 0x7070"),
        ((uni_action(rule(AT_LEAST, AMOUNT, 10)), spending((TOKEN, 9))), "at least 10, and the spending limit is 9"),
    ],
)
def test_rules_and_lists_that_no_call_of_the_only_action_satisfies_are_told_first(
    policies: tuple[PolicyData, ...], why: str
) -> None:
    found = first(granted(*policies))
    assert (found.id, found.severity) == ("never_usable", Severity.CRITICAL)
    assert why in found.sentence


@pytest.mark.parametrize(
    "policies",
    [
        (uni_action(rule(LESS, AMOUNT, 1)),),
        (uni_action(rule(IN_RANGE, AMOUNT, 3 << 128 | 3)),),
        (uni_action(rule(AT_LEAST, AMOUNT, 6, limit=6)),),
        (uni_action(rule(EQUAL, 2**20, 5)),),
        (arg([rule(EQUAL, 2**63, 5), rule(AT_LEAST, 0, 0)], EITHER, root=2),),
        (only(TOKEN),),
        (only(OTHER_TOKEN, TOKEN),),
        (uni_action(rule(AT_LEAST, AMOUNT, 9)), spending((TOKEN, 9))),
    ],
)
def test_what_one_call_satisfies_is_usable(policies: tuple[PolicyData, ...]) -> None:
    assert "never_usable" not in {each.id for each in lint(granted(*policies), now=NOW)}


def test_one_action_that_can_be_used_makes_the_session_usable() -> None:
    useless = action(TOKEN, TRANSFER, only(OTHER_TOKEN))
    for other in (action(TOKEN, APPROVE, usage(1)), fallback(only(OTHER_TOKEN))):
        assert first(session(useless, other, user_op=(FRAME,))).id != "never_usable"


@pytest.mark.parametrize("frame", [time_frame((NOW + DAY) * 1000, NOW * 1000), time_frame(0, NOW * 1000)])
def test_a_time_frame_in_milliseconds_is_never_begun(frame: PolicyData) -> None:
    for grant in (granted(usage(1), user_op=(frame,)), granted(usage(1), frame, user_op=())):
        assert first(grant).id == "never_usable"
        assert "milliseconds" in first(grant).sentence
    assert first(granted(usage(1), user_op=(time_frame((NOW + DAY) * 1000, NOW),))).id != "never_usable"


def test_a_time_frame_that_ends_in_milliseconds_is_told_to_be_in_seconds() -> None:
    (far,) = (each for each in lint(granted(usage(1), user_op=(time_frame((NOW + DAY) * 1000, NOW),)), now=NOW)
              if each.id == "far_expiry")  # fmt: skip
    assert "milliseconds" in far.remedy


@pytest.mark.parametrize(("limit", "usable"), [(1, False), (20_999, False), (21_000, True)])
def test_a_gas_limit_below_what_validating_takes_makes_a_session_useless(limit: int, usable: bool) -> None:
    told = first(granted(usage(1), user_op=(FRAME, gas(limit, 10**18))))
    assert (told.id != "never_usable") is usable
    assert usable or f"{limit} gas in all" in told.sentence


def test_an_action_on_the_address_that_only_marks_special_ones_can_never_be_used() -> None:
    marked = action(FLAG_TARGET, TRANSFER, sudo)
    told = first(session(marked, user_op=(FRAME,)))
    assert told.id == "never_usable"
    assert "no call may go to" in told.sentence
    assert "sudo_action" not in {each.id for each in lint(session(marked, user_op=(FRAME,)), now=NOW)}
    assert first(session(marked, action(TOKEN, TRANSFER, usage(1)), user_op=(FRAME,))).id != "never_usable"


COMPARED = st.builds(
    lambda condition, reference, limit: rule(condition, AMOUNT, reference, limit=limit),
    st.sampled_from([each for each in Condition if each is not Condition.IN_RANGE]),
    st.integers(0, 12),
    st.none() | st.integers(0, 12),
)
RANGES = st.builds(lambda low, high: rule(IN_RANGE, AMOUNT, low << 128 | high), st.integers(0, 9), st.integers(0, 9))
POLICIES = st.one_of(
    st.lists(COMPARED | RANGES, min_size=1, max_size=3).map(lambda rules: uni_action(*rules)),
    st.builds(
        lambda rules, kind: arg(rules, [node("rule"), node("rule", index=1), node(kind, left=0, right=1)], root=2),
        st.tuples(COMPARED | RANGES, COMPARED | RANGES),
        st.sampled_from(["and", "or", "not"]),
    ),
    st.sampled_from([only(TOKEN), only(OTHER_TOKEN), usage(1), spending((TOKEN, 4)), spending((OTHER_TOKEN, 4))]),
)


@given(st.lists(POLICIES, min_size=1, max_size=3, unique_by=lambda each: each.policy))
def test_of_a_session_that_is_said_to_be_useless_no_call_that_does_anything_is_taken(
    policies: list[PolicyData],
) -> None:
    grant = granted(*policies)
    if first(grant).id == "never_usable":
        state = enabled(grant)
        amounts = [*range(1, 15), 2**128, 2**256 - 1]  # a transfer of nothing costs nothing of any token
        assert not any(isinstance(judge(state, transfer(amount)), Accepted) for amount in amounts)
