"""What is made ready of a session says what its policies say when each is looked up anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session import enforce as enforcing
from proxy.session.bound import bound_terms
from proxy.session.outcome import Accepted, Verdict
from proxy.session.policies.policy import Initialised
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.revert import Revert
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED, Contracts, enable
from proxy.userop.budget import UNITS, Budget
from proxy.userop.execution import Call
from proxy.userop.session_data import PolicyData, SessionData, action_id_of
from tests.session.builders import (
    APPROVE,
    FRIEND,
    NOW,
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    USAGE,
    action,
    approve,
    arg,
    call,
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
    value_limit,
)
from tests.session.plain_run import PlainRun

MOMENTS = st.sampled_from([0, 1, NOW - 1, NOW, NOW + 1, 2**48 - 1])
FRAMES = st.builds(time_frame, MOMENTS, MOMENTS).filter(lambda each: not isinstance(_after(each), Revert))
EITHER = st.one_of(
    FRAMES,
    st.just(sudo),
    st.builds(usage, st.integers(1, 4)),
    st.builds(value_limit, st.integers(1, 60)),
    st.just(PolicyData(UNKNOWN_POLICY, b"")),
)
OF_ACTIONS = st.one_of(
    EITHER,
    st.builds(lambda limit: spending((TOKEN, limit)), st.integers(1, 60)),
    st.builds(lambda limit: uni_action(rule(4, 32, 40, limit=limit), value=3), st.integers(1, 60)),
    st.builds(lambda limit: arg([rule(4, 32, 40, limit=limit)], [node("rule")]), st.integers(1, 60)),
    st.just(only(TOKEN)),
)
OF_OPERATIONS = st.one_of(EITHER, st.builds(gas, st.integers(1, 10**6), st.integers(1, 10**6)))


def _after(frame: PolicyData) -> object:
    return enable(SessionState(key=enabled(session()).key), session(action(TOKEN, TRANSFER, frame)))


def _different(policies: st.SearchStrategy[PolicyData]) -> st.SearchStrategy[list[PolicyData]]:
    return st.lists(policies, min_size=1, max_size=4, unique_by=lambda each: each.policy)


ACTIONS = st.lists(
    st.one_of(
        st.builds(lambda each: action(TOKEN, TRANSFER, *each), _different(OF_ACTIONS)),
        st.builds(lambda each: action(TOKEN, APPROVE, *each), _different(OF_ACTIONS)),
        st.builds(lambda each: fallback(*each), _different(OF_ACTIONS)),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda each: (each.target, each.selector),
)
GRANTS = st.builds(
    lambda actions, of_operation: session(*actions, user_op=of_operation),
    ACTIONS,
    st.one_of(st.just([]), _different(OF_OPERATIONS)),
)
AMOUNTS = st.integers(0, 45)
CALLS = st.one_of(
    AMOUNTS.map(transfer), AMOUNTS.map(approve), AMOUNTS.map(lambda value: call(FRIEND, value=value)), st.just(call())
)
ROUNDS = st.lists(st.lists(CALLS, min_size=1, max_size=3), min_size=1, max_size=4)


def plainly(state: SessionState, *calls: Call, **options: object) -> Verdict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enforcing, "PolicyRun", PlainRun)
        patch.setattr(enforcing, "accept_plain_use", lambda *_, **__: None)
        return judge(replace(state), *calls, **options)  # type: ignore[arg-type]  # named as `judge` has them


@given(
    grant=GRANTS,
    more=GRANTS,
    rounds=ROUNDS,
    unread=st.booleans(),
    fee=st.sampled_from([None, 0]),
    doubt=st.sampled_from(["ask", "alert", "reject"]),
    units=st.sampled_from([UNITS, UNITS, 12]),
)
def test_the_verdicts_are_those_of_policies_that_are_looked_up_one_by_one(
    *,
    grant: SessionData,
    more: SessionData,
    rounds: list[list[Call]],
    unread: bool,
    fee: int | None,
    doubt: str,
    units: int,
) -> None:
    state = enabled(grant)
    if unread:
        state = state.without_policy_knowledge()
    for place, calls in enumerate(rounds):
        spent, plainly_spent = Budget(units), Budget(units)
        options = {"base_fee": fee, "options": {"unknown_policy": doubt, "budget": spent}}
        verdict = judge(state, *calls, **options)  # type: ignore[arg-type]  # named as `judge` has them
        options["options"] = {"unknown_policy": doubt, "budget": plainly_spent}
        assert verdict == plainly(state, *calls, **options)
        assert spent.left == plainly_spent.left
        if isinstance(verdict, Accepted):
            state = verdict.state
        if place == 1:  # what was made ready of it does not count for what is granted on top
            after = enable(state, replace(more, salt=grant.salt))
            assert isinstance(after, SessionState)
            state = after


TWICE = enabled(session(action(TOKEN, TRANSFER, usage(2)), user_op=[usage(9)]))


def test_a_state_that_differs_in_what_was_used_only_has_nothing_made_ready_again() -> None:
    verdict = judge(TWICE, transfer(1))
    assert isinstance(verdict, Accepted)
    ready = bound_terms(TWICE, PUBLISHED)
    assert bound_terms(verdict.state, PUBLISHED) is ready
    assert bound_terms(verdict.state.without_charges(verdict.charges), PUBLISHED) is ready


def test_a_state_whose_terms_have_changed_is_judged_by_the_new_ones() -> None:
    assert isinstance(judge(TWICE, transfer(1)), Accepted)
    transfers = TWICE.action_config_id(action_id_of(TOKEN, TRANSFER))
    once = TWICE.with_policy_config(USAGE, transfers, Initialised(UsageLimit(1), {b"": 1}))
    assert not isinstance(judge(once, transfer(1)), Accepted)
    none = replace(TWICE, actions={})
    assert not isinstance(judge(none, transfer(1)), Accepted)
    removed = replace(TWICE, user_op_policies=(UNKNOWN_POLICY,))
    assert not isinstance(judge(removed, transfer(1), options={"unknown_policy": "reject"}), Accepted)


def test_contracts_of_another_address_book_are_looked_up_in_it() -> None:
    assert isinstance(judge(TWICE, transfer(1)), Accepted)
    nobody = {"contracts": Contracts({}), "unknown_policy": "reject"}
    assert not isinstance(judge(TWICE, transfer(1), options=nobody), Accepted)
    assert isinstance(judge(TWICE, transfer(1)), Accepted)


def test_what_is_made_ready_is_no_part_of_a_state() -> None:
    fresh = enabled(session(action(TOKEN, TRANSFER, usage(2)), user_op=[usage(9)]))
    assert isinstance(judge(TWICE, transfer(1)), Accepted)
    assert (fresh, hash(fresh.key), repr(fresh)) == (TWICE, hash(TWICE.key), repr(TWICE))
    assert replace(TWICE).bound is None
