"""What must hold for any sequence of operations: nothing is ever overspent, and nothing is refused that fits."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.session.counters import Charge, Counter
from proxy.session.outcome import Accepted, Refused
from proxy.session.state import SessionState
from proxy.userop.execution import Call
from tests.session.builders import (
    APPROVE,
    FRIEND,
    TOKEN,
    TRANSFER,
    action,
    approve,
    arg,
    call,
    enabled,
    fallback,
    gas,
    judge,
    node,
    nothing_in_flight,
    rule,
    session,
    spending,
    transfer,
    uni_action,
    usage,
    value_limit,
)

LIMIT = 50
amounts = st.integers(0, LIMIT + 2)
calls = st.one_of(amounts.map(transfer), amounts.map(approve), amounts.map(lambda value: call(FRIEND, value=value)))
operations = st.lists(st.lists(calls, min_size=1, max_size=4), max_size=12)

EVERYTHING_LIMITED = enabled(
    session(
        action(TOKEN, TRANSFER, spending((TOKEN, LIMIT)), uni_action(rule(4, 32, 10**6, limit=LIMIT - 3))),
        action(TOKEN, APPROVE, arg([rule(4, 32, 10**6, limit=LIMIT)], [node("rule")]), usage(7)),
        fallback(value_limit(LIMIT)),
        user_op=[usage(9), gas(250_000 * 8, 10**9)],
    )
)


def limits_of(verdicts: list[Accepted]) -> dict[Counter, int]:
    return {charge.counter: charge.limit for verdict in verdicts for charge in verdict.charges}


def play(state: SessionState, sequence: list[list[Call]]) -> tuple[list[SessionState], list[Accepted]]:
    states, accepted = [state], []
    for each in sequence:
        verdict = judge(states[-1], *each)
        if isinstance(verdict, Accepted):
            accepted.append(verdict)
            states.append(verdict.state)
    return states, accepted


@given(operations)
def test_no_counter_ever_exceeds_its_limit_or_goes_back(sequence: list[list[Call]]) -> None:
    states, accepted = play(EVERYTHING_LIMITED, sequence)
    limits = limits_of(accepted)
    for before, after in pairwise(states):
        assert all(after.used.get(counter, 0) >= use for counter, use in before.used.items())
    assert all(use <= limits[counter] for counter, use in states[-1].used.items())


@given(operations)
def test_the_state_after_is_the_charges_and_nothing_else(sequence: list[list[Call]]) -> None:
    states, accepted = play(EVERYTHING_LIMITED, sequence)
    total: dict[Counter, int] = {}
    for verdict in accepted:
        for charge in verdict.charges:
            total[charge.counter] = total.get(charge.counter, 0) + charge.amount
    assert states[-1].used == total


@given(operations)
def test_in_flight_means_the_same_as_mined(sequence: list[list[Call]]) -> None:
    """Operations reserved one after the other get the verdicts they would get if each were mined first."""
    in_flight: dict[Counter, int] = {}
    state = EVERYTHING_LIMITED
    for each in sequence:
        mined = judge(state, *each)
        waiting = judge(EVERYTHING_LIMITED, *each, in_flight=lambda counter: in_flight.get(counter, 0))
        assert type(mined) is type(waiting)
        if isinstance(mined, Accepted) and isinstance(waiting, Accepted):
            assert mined.charges == waiting.charges
            state = mined.state
            for charge in waiting.charges:
                in_flight[charge.counter] = in_flight.get(charge.counter, 0) + charge.amount


@given(operations, st.data())
def test_what_fits_in_one_order_fits_in_every_order(sequence: list[list[Call]], data: st.DataObject) -> None:
    fitting, state = [], EVERYTHING_LIMITED
    for each in sequence:
        verdict = judge(state, *each)
        if isinstance(verdict, Accepted):
            fitting.append(each)
            state = verdict.state
    shuffled = data.draw(st.permutations(fitting))
    states, accepted = play(EVERYTHING_LIMITED, shuffled)
    assert len(accepted) == len(fitting)
    assert states[-1].used == state.used


@given(st.lists(calls, min_size=1, max_size=5))
def test_a_batch_counts_what_its_calls_count_one_by_one(batch: list[Call]) -> None:
    state = enabled(
        session(
            action(TOKEN, TRANSFER, spending((TOKEN, LIMIT))),
            action(TOKEN, APPROVE, spending((TOKEN, LIMIT))),
            fallback(value_limit(LIMIT)),
        )
    )
    whole = judge(state, *batch)
    states, accepted = play(state, [[each] for each in batch])
    assert isinstance(whole, Accepted) is (len(accepted) == len(batch))
    if isinstance(whole, Accepted):
        assert whole.state.used == states[-1].used


@given(operations)
def test_a_verdict_changes_nothing_that_it_was_given(sequence: list[list[Call]]) -> None:
    used, configs = dict(EVERYTHING_LIMITED.used), dict(EVERYTHING_LIMITED.configs)
    for each in sequence:
        assert isinstance(judge(EVERYTHING_LIMITED, *each), Accepted | Refused)
    assert EVERYTHING_LIMITED.used == used
    assert EVERYTHING_LIMITED.configs == configs


@given(amounts, amounts)
def test_more_in_flight_never_allows_more(amount: int, waiting: int) -> None:
    state = enabled(session(action(TOKEN, TRANSFER, spending((TOKEN, LIMIT)))))
    loaded = judge(state, transfer(amount), in_flight=lambda counter: waiting)
    assert isinstance(loaded, Accepted) is (amount == 0 or amount + waiting <= LIMIT)
    if isinstance(loaded, Accepted):
        assert isinstance(judge(state, transfer(amount), in_flight=nothing_in_flight), Accepted)
        assert all(isinstance(charge, Charge) for charge in loaded.charges)
