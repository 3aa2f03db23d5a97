from __future__ import annotations

from typing import Any

import pytest

from proxy.errors import Code
from proxy.session.policies.policy import Asks, Fact, Failed, Passed
from proxy.session.policies.simple_gas import COST_SLOT, GAS_SLOT, GasLimits, SimpleGasPolicy, declared_gas
from proxy.userop.primitives import UINT256_MAX
from proxy.userop.session_data import PolicyData
from tests.session.builders import GAS, PAYMASTER, call, gas
from tests.session.policies.builders import Deployed, deploy, error_of, passes, reason_of, refused_init, view

PLENTY = 10**30


def declaring(units: int, *, fee: int = 1, priority: int | None = None, base_fee: int | None = 0, **more: Any) -> Any:
    fees = {"max_fee_per_gas": fee, "max_priority_fee_per_gas": fee if priority is None else priority}
    return view(call(), base_fee=base_fee, call_gas_limit=units, **fees, **more)


@pytest.mark.parametrize(("units", "allowed"), [(999, True), (1000, True), (1001, False)])
def test_allows_gas_up_to_the_limit_and_not_a_unit_above(units: int, allowed: bool) -> None:
    outcome, after = deploy(gas(1000, PLENTY)).user_op(declaring(units))
    assert passes(outcome) is allowed
    assert after.total(GAS_SLOT) == (units if allowed else 0)


@pytest.mark.parametrize(("limit", "allowed"), [(6_999, False), (7_000, True), (7_001, True)])
def test_allows_cost_up_to_the_limit_and_not_a_wei_above(limit: int, allowed: bool) -> None:
    outcome, after = deploy(gas(PLENTY, limit)).user_op(declaring(1000, fee=7))
    assert passes(outcome) is allowed
    assert after.total(COST_SLOT) == (7_000 if allowed else 0)


def test_counts_every_declared_limit_and_those_of_a_paymaster() -> None:
    fields = {"call_gas_limit": 1, "verification_gas_limit": 10, "pre_verification_gas": 100}
    assert declared_gas(view(call(), **fields).op) == 111
    paymaster = {"paymaster_verification_gas_limit": 1_000, "paymaster_post_op_gas_limit": 10_000}
    assert declared_gas(view(call(), **fields, paymaster=PAYMASTER, **paymaster).op) == 11_111


def test_paymaster_data_of_fifty_one_bytes_declares_no_gas() -> None:
    packed = PAYMASTER + b"\x00" * 15 + b"\x01" + b"\x00" * 15
    assert declared_gas(view(call(), init_code=b"", paymaster_and_data=packed).op) == 0
    assert declared_gas(view(call(), init_code=b"", paymaster_and_data=packed + b"\x02").op) == 3


@pytest.mark.parametrize(
    ("priority", "base_fee", "price"), [(10, 0, 10), (3, 4, 7), (3, 6, 9), (3, 7, 10), (3, 8, 10), (11, 99, 10)]
)
def test_price_is_the_lesser_of_the_fee_and_what_the_block_asks(priority: int, base_fee: int, price: int) -> None:
    _, after = deploy(gas(PLENTY, PLENTY)).user_op(declaring(100, fee=10, priority=priority, base_fee=base_fee))
    assert after.total(COST_SLOT) == 100 * price


def test_asks_for_the_base_fee_only_when_the_price_hangs_on_it() -> None:
    contract = deploy(gas(1000, PLENTY))
    assert contract.user_op(declaring(1000, fee=10, priority=3, base_fee=None))[0] == Asks(Fact.BASE_FEE)
    assert passes(contract.user_op(declaring(1000, fee=10, priority=10, base_fee=None))[0])


def test_refuses_gas_over_the_limit_at_any_price() -> None:
    outcome, _ = deploy(gas(1000, PLENTY)).user_op(declaring(1001, fee=10, priority=3, base_fee=None))
    assert isinstance(outcome, Failed)
    assert outcome.reason.code is Code.LIMIT_EXCEEDED


def test_overflow_is_a_panic_even_where_the_gas_alone_is_over_the_limit() -> None:
    outcome, _ = deploy(gas(1, 1)).user_op(declaring(0, fee=2, pre_verification_gas=UINT256_MAX))
    assert error_of(outcome) == "Panic"
    _, used = deploy(gas(PLENTY, PLENTY)).user_op(declaring(5))
    assert error_of(used.user_op(declaring(0, fee=1, pre_verification_gas=UINT256_MAX))[0]) == "Panic"


def test_the_greatest_number_is_over_the_limit_and_no_overflow() -> None:
    outcome, _ = deploy(gas(1, 1)).user_op(declaring(0, fee=1, pre_verification_gas=UINT256_MAX))
    assert isinstance(outcome, Failed)


def test_neither_limit_may_be_zero_nor_the_init_data_short() -> None:
    for init_data in (gas(0, 1).init_data, gas(1, 0).init_data, gas(1, 1).init_data[:31], b""):
        assert refused_init(PolicyData(GAS, init_data)).error == "PolicyNotInitialized"
    assert deploy(PolicyData(GAS, gas(1, 2).init_data + b"\xff")).config == GasLimits(1, 2)


def test_never_initialised_reverts() -> None:
    assert error_of(Deployed(GAS).user_op(declaring(1))[0]) == "PolicyNotInitialized"


def test_says_what_is_left_of_the_cost() -> None:
    _, contract = deploy(gas(PLENTY, 100)).user_op(declaring(60))
    assert reason_of(contract.user_op(declaring(41))[0]) == (
        "gas that may cost 41 wei, 40 wei left of 100 in this session"
    )


def test_reads_both_counters_from_the_getter() -> None:
    read = SimpleGasPolicy.from_getters(10, 4, 20, 5)
    assert read.config == GasLimits(10, 20)
    assert read.used == {GAS_SLOT: 4, COST_SLOT: 5}
    assert isinstance(deploy(gas(10, 20)).user_op(declaring(10))[0], Passed)
