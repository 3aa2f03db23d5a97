from __future__ import annotations

import pytest

from proxy.session.addresses import POLICIES, Generation
from proxy.session.counters import Counter
from proxy.session.policies.policy import Failed
from proxy.session.policies.value_limit import ValueLimit, ValueLimitPolicy
from proxy.session.revert import BARE, Revert
from proxy.userop.execution import EXECUTE, CallType, Execution
from proxy.userop.primitives import UINT256_MAX, Selector
from proxy.userop.session_data import PolicyData
from tests.session.builders import VALUE, call, value_limit
from tests.session.policies.builders import Deployed, deploy, error_of, key_of, passes, reason_of, refused_init, view

VALUE_V1 = next(
    address
    for address, contract in POLICIES.items()
    if contract.name == "ValueLimitPolicy" and contract.generation is Generation.V1
)
BOTH = pytest.mark.parametrize("address", [VALUE, VALUE_V1], ids=["v2", "v1"])
LIMIT = 1_000


@BOTH
@pytest.mark.parametrize(("value", "allowed"), [(LIMIT - 1, True), (LIMIT, True), (LIMIT + 1, False)])
def test_allows_value_up_to_the_limit_and_not_a_wei_above(address: bytes, value: int, allowed: bool) -> None:
    contract = deploy(value_limit(LIMIT), at=VALUE if address == VALUE else VALUE_V1)
    assert passes(contract.call(call(value=value))[0]) is allowed
    assert passes(contract.user_op(view(call(value=value)))[0]) is allowed


def test_adds_up_over_calls_until_nothing_is_left() -> None:
    _, contract = deploy(value_limit(LIMIT)).call(call(value=LIMIT - 1))
    outcome, contract = contract.call(call(value=1))
    assert passes(outcome)
    outcome, _ = contract.call(call(value=1))
    assert reason_of(outcome) == f"sending 1 wei, 0 wei left of {LIMIT} in this session"
    assert passes(contract.call(call(value=0))[0])


@pytest.mark.parametrize(("values", "allowed"), [((400, 600), True), ((400, 601), False)])
def test_user_operations_count_the_sum_of_a_batch(values: tuple[int, ...], allowed: bool) -> None:
    outcome, after = deploy(value_limit(LIMIT)).user_op(view(*[call(value=value) for value in values]))
    assert passes(outcome) is allowed
    assert after.total() == (sum(values) if allowed else 0)


def test_try_mode_counts_like_any_other() -> None:
    execution = Execution(EXECUTE, CallType.SINGLE, 1, (call(value=LIMIT + 1),))
    assert isinstance(deploy(value_limit(LIMIT)).user_op(view(execution=execution))[0], Failed)


def test_operations_that_are_no_execute_are_free() -> None:
    outcome, after = deploy(value_limit(1)).user_op(view(execution=Execution(Selector(b"\x01\x02\x03\x04"))))
    assert passes(outcome)
    assert after.total() == 0


def test_refuses_other_call_types_and_the_older_generation_takes_delegatecall_for_free() -> None:
    delegate = view(execution=Execution(EXECUTE, CallType.DELEGATECALL, 0))
    assert error_of(deploy(value_limit(1)).user_op(delegate)[0]) == "UnsupportedCallType"
    assert passes(deploy(value_limit(1), at=VALUE_V1).user_op(delegate)[0])
    static = view(execution=Execution(EXECUTE, CallType.STATIC, 0))
    assert error_of(deploy(value_limit(1), at=VALUE_V1).user_op(static)[0]) == "UnsupportedCallType"


def test_reverts_on_call_data_it_cannot_read() -> None:
    contract = deploy(value_limit(1))
    assert error_of(contract.user_op(view(execution=Execution(None)))[0]) is None
    assert error_of(contract.user_op(view(execution=Revert("DecodingError")))[0]) == "DecodingError"


def test_overflow_is_a_panic_and_not_a_pass() -> None:
    _, contract = deploy(value_limit(UINT256_MAX)).call(call(value=UINT256_MAX))
    assert error_of(contract.call(call(value=1))[0]) == "Panic"
    both = view(call(value=UINT256_MAX), call(value=1))
    assert error_of(deploy(value_limit(UINT256_MAX)).user_op(both)[0]) == "Panic"


def test_a_batch_that_sums_to_the_greatest_number_is_no_overflow() -> None:
    batch = view(call(value=UINT256_MAX - 1), call(value=1))
    assert passes(deploy(value_limit(UINT256_MAX)).user_op(batch)[0])


def test_refuses_a_limit_of_zero_at_once_or_in_the_older_generation_at_every_check() -> None:
    assert refused_init(value_limit(0)).error == "PolicyNotInitialized"
    old = deploy(value_limit(0), at=VALUE_V1)
    assert error_of(old.call(call())[0]) == "PolicyNotInitialized"
    assert error_of(old.user_op(view(call()))[0]) == "PolicyNotInitialized"


def test_refuses_thirty_one_bytes() -> None:
    assert refused_init(PolicyData(VALUE, bytes(31))) == BARE
    assert refused_init(PolicyData(VALUE_V1, bytes(31))) == BARE


def test_never_initialised_allows_no_value() -> None:
    assert passes(Deployed(VALUE).call(call(value=0))[0])
    assert not passes(Deployed(VALUE).call(call(value=1))[0])


def test_reads_configuration_and_counter_from_the_getters() -> None:
    read = ValueLimitPolicy.from_getters(limit=LIMIT, used=LIMIT - 1)
    contract = Deployed(VALUE, read.config, {Counter(*key_of(VALUE)): read.used[b""]})
    assert contract.config == ValueLimit(LIMIT)
    assert passes(contract.call(call(value=1))[0])
    assert not passes(contract.call(call(value=2))[0])
