"""Nobody gets more than a ration, nobody less, and a refusal names the budget that is used up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.rations import BURST_SECONDS, Ration, Rations
from proxy.errors import Code, RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rations: Rations, a_second: float, *, client: str = "dapp", tries: int = 1) -> int:
    """How many of so many tries were let through."""
    through = 0
    for _ in range(tries):
        try:
            rations.take(client, Ration.OPERATIONS, a_second)
        except RateLimited:
            continue
        through += 1
    return through


def test_ten_seconds_worth_may_come_at_once_and_no_more() -> None:
    clock = Clock()
    rations = Rations(clock)
    assert taken(rations, 2.0, tries=100) == 20
    clock.now += 0.5
    assert taken(rations, 2.0, tries=100) == 1
    clock.now += 3600.0
    assert taken(rations, 2.0, tries=100) == 20


def test_a_client_does_not_use_what_is_anothers_or_another_kinds() -> None:
    rations = Rations(Clock())
    assert taken(rations, 0.1, tries=5) == 1
    assert taken(rations, 0.1, client="other") == 1
    rations.take("dapp", Ration.ESTIMATES, 0.1)


def test_the_refusal_names_the_budget_and_when_to_come_again() -> None:
    clock = Clock()
    rations = Rations(clock)
    taken(rations, 0.5, tries=5)
    with pytest.raises(RateLimited) as refused:
        rations.take("dapp", Ration.OPERATIONS, 0.5)
    assert refused.value.code is Code.RATE_LIMITED
    assert refused.value.message == "the budget clients.dapp.rates.operations is used up: at most 0.5 a second"
    assert refused.value.data is not None
    assert refused.value.data["budget"] == "clients.dapp.rates.operations"
    assert refused.value.data["retryable"] is True
    wait = refused.value.data["retryAfterMs"]
    assert wait == 2000
    clock.now += 2.0
    rations.take("dapp", Ration.OPERATIONS, 0.5)


def test_a_budget_that_is_lowered_holds_at_once() -> None:
    rations = Rations(Clock())
    assert taken(rations, 100.0) == 1
    assert taken(rations, 1.0, tries=100) == 10


@given(
    a_second=st.floats(0.01, 1000.0),
    pauses=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60),
)
def test_over_any_time_no_more_comes_through_than_the_rate_and_one_burst(a_second: float, pauses: list[float]) -> None:
    clock = Clock()
    rations = Rations(clock)
    began, through = clock.now, 0
    for pause in pauses:
        clock.now += pause
        through += taken(rations, a_second, tries=3)
    most = max(a_second * BURST_SECONDS, 1.0) + (clock.now - began) * a_second
    assert through <= most * (1 + 1e-9) + 1e-6
    # and who asks for less than the rate is never refused
    patient = Rations(clock)
    for _ in range(5):
        clock.now += 1.01 / a_second
        assert taken(patient, a_second) == 1
