from __future__ import annotations

import pytest

from proxy.errors import Code
from proxy.session.addresses import POLICIES, Generation
from proxy.session.counters import Counter
from proxy.session.policies.policy import Failed, Passed
from proxy.session.policies.usage_limit import UsageLimit, UsageLimitPolicy
from proxy.session.revert import BARE
from proxy.userop.session_data import PolicyData
from tests.session.builders import USAGE, call, usage
from tests.session.policies.builders import Deployed, deploy, error_of, key_of, passes, refused_init, view

USAGE_V1 = next(
    address
    for address, contract in POLICIES.items()
    if contract.name == "UsageLimitPolicy" and contract.generation is Generation.V1
)


@pytest.mark.parametrize("address", [USAGE, USAGE_V1])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_allows_exactly_as_many_uses_as_the_limit_and_not_one_more(address: bytes, limit: int) -> None:
    contract = deploy(usage(limit), at=USAGE if address == USAGE else USAGE_V1)
    for _ in range(limit):
        outcome, contract = contract.call(call())
        assert passes(outcome)
    outcome, contract = contract.call(call())
    assert isinstance(outcome, Failed)
    assert outcome.reason.code is Code.LIMIT_EXCEEDED


def test_action_and_user_operation_checks_of_one_configuration_share_the_counter() -> None:
    contract = deploy(usage(2))
    _, contract = contract.call(call())
    _, contract = contract.user_op(view(call()))
    assert contract.total() == 2
    assert not passes(contract.user_op(view(call()))[0])


def test_counts_a_refused_use_in_the_older_generation_only() -> None:
    _, after = deploy(usage(1)).call(call())
    assert after.call(call())[1].total() == 1
    _, after_v1 = deploy(usage(1), at=USAGE_V1).call(call())
    assert after_v1.call(call())[1].total() == 2


def test_refuses_a_limit_of_zero_at_once_or_in_the_older_generation_at_every_check() -> None:
    assert refused_init(usage(0)).error == "PolicyNotInitialized"
    assert error_of(deploy(usage(0), at=USAGE_V1).call(call())[0]) == "PolicyNotInitialized"
    assert error_of(deploy(usage(0), at=USAGE_V1).user_op(view(call()))[0]) == "PolicyNotInitialized"


def test_refuses_init_data_of_fifteen_bytes_and_ignores_what_follows_sixteen() -> None:
    assert refused_init(PolicyData(USAGE, bytes(15))) == BARE
    assert refused_init(PolicyData(USAGE, bytes(15)), at=USAGE_V1) == BARE
    assert deploy(PolicyData(USAGE, usage(3).init_data + b"\xff" * 9)).config == UsageLimit(3)


def test_never_initialised_allows_no_use() -> None:
    assert not passes(Deployed(USAGE).call(call())[0])


def test_counts_uses_in_flight_against_the_limit_and_says_so() -> None:
    contract = Deployed(USAGE, UsageLimit(3), in_flight=lambda counter: 2)
    assert passes(contract.call(call())[0])
    full = Deployed(USAGE, UsageLimit(3), {Counter(*key_of(USAGE)): 1}, in_flight=lambda counter: 2)
    outcome, _ = full.call(call())
    assert isinstance(outcome, Failed)
    assert outcome.reason.sentence == "one more use, 0 uses left of 3 in this session; 2 uses of it in flight"
    assert outcome.reason.retryable


def test_a_use_that_will_just_fit_once_nothing_is_in_flight_is_worth_a_retry() -> None:
    full = Deployed(USAGE, UsageLimit(3), {Counter(*key_of(USAGE)): 2}, in_flight=lambda counter: 1)
    outcome, _ = full.call(call())
    assert isinstance(outcome, Failed)
    assert outcome.reason.retryable


def test_a_use_that_the_chain_alone_refuses_is_not_worth_a_retry() -> None:
    full = Deployed(USAGE, UsageLimit(3), {Counter(*key_of(USAGE)): 3}, in_flight=lambda counter: 1)
    outcome, _ = full.call(call())
    assert isinstance(outcome, Failed)
    assert not outcome.reason.retryable


def test_reads_configuration_and_counter_from_the_getters() -> None:
    read = UsageLimitPolicy.from_getters(limit=5, used=4)
    assert read.config == UsageLimit(5)
    contract = Deployed(USAGE, read.config, {Counter(*key_of(USAGE)): read.used[b""]})
    outcome, contract = contract.call(call())
    assert isinstance(outcome, Passed)
    assert not passes(contract.call(call())[0])
