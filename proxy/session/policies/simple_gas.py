"""SimpleGasPolicy: gas units and gas cost (wei) that operations may declare in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from proxy.errors import Code
from proxy.record import record
from proxy.session.counters import Charge, ConfigKey, Meter
from proxy.session.policies.policy import (
    NATIVE_COIN,
    Asks,
    Fact,
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    Spent,
    UserOpView,
    malformed,
    not_initialised,
    over_limit,
    revert_not_initialised,
)
from proxy.session.revert import OVERFLOW, Revert
from proxy.userop.primitives import UINT256_MAX
from proxy.userop.user_operation import UserOperation

GAS_SLOT = b"gas"
COST_SLOT = b"cost"


class GasPrice(NamedTuple):
    """What an operation offers for a unit of gas, in wei: at most, and beyond the base fee."""

    highest: int
    priority: int

    def at(self, base_fee: int) -> int:
        """What it costs in a block of this base fee."""
        # equal fees, or a higher priority: the sum cannot be less
        return self.highest if self.priority >= self.highest else min(self.highest, self.priority + base_fee)


def price_of(op: UserOperation) -> GasPrice:
    """As the operation says."""
    return GasPrice(op.max_fee_per_gas or 0, op.max_priority_fee_per_gas or 0)


def moves_cost(charges: Sequence[Charge]) -> bool:
    """Whether a cost of gas is among the charges."""
    return any(charge.counter.slot == COST_SLOT for charge in charges)


def counted_at(charges: tuple[Charge, ...], price: GasPrice, base_fee: int) -> tuple[Charge, ...]:
    """The charges as the policy counts them in a block of this base fee: of the same gas, at its price there."""
    gas = {
        charge.counter._replace(slot=COST_SLOT): charge.amount for charge in charges if charge.counter.slot == GAS_SLOT
    }
    return tuple(
        replace(charge, amount=gas[charge.counter] * price.at(base_fee)) if charge.counter in gas else charge
        for charge in charges
    )


@record()
class GasLimits(PolicyConfig):
    """Gas units and wei (uint128 each)."""

    gas_limit: int
    cost_limit: int


def declared_gas(op: UserOperation) -> int:
    """Gas an operation declares: verification + call + pre-verification, and both paymaster limits if there are any.

    Not what it uses: the policy counts promises.
    """
    gas = (op.verification_gas_limit or 0) + (op.call_gas_limit or 0) + (op.pre_verification_gas or 0)
    paymaster_and_data = op.packed_paymaster_and_data()
    if len(paymaster_and_data) >= 52:
        gas += int.from_bytes(paymaster_and_data[20:36], "big") + int.from_bytes(paymaster_and_data[36:52], "big")
    return gas


class SimpleGasPolicy:
    """erc7579/smartsessions `SimpleGasPolicy.sol`; for user operations only."""

    name = "SimpleGasPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:
        """32 bytes: uint128 gasLimit ‖ uint128 costLimit, neither zero; the rest is ignored."""
        gas_limit, cost_limit = int.from_bytes(init_data[:16], "big"), int.from_bytes(init_data[16:32], "big")
        if len(init_data) < 32 or not gas_limit or not cost_limit:
            return revert_not_initialised(key)
        return Initialised(GasLimits(gas_limit, cost_limit))

    @staticmethod
    def from_getters(gas_limit: int, gas_used: int, cost_limit: int, cost_used: int) -> Initialised:
        """From getGasConfig(configId, multiplexer, account), in the order it returns them."""
        return Initialised(GasLimits(gas_limit, cost_limit), {GAS_SLOT: gas_used, COST_SLOT: cost_used})

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:
        """Passes while both counters stay within their limits, and moves both.

        The price is min(maxFee, maxPriorityFee + base fee of the block), maxFee alone if the two fees are equal.
        """
        if not isinstance(config, GasLimits):
            return not_initialised(self.name, key)
        gas = declared_gas(view.op)
        price = _price(view)
        if price is None:
            # units over the limit are refused at any price
            over = meter.used(GAS_SLOT) + gas > config.gas_limit
            return self._over_gas(gas, config, meter) if over else Asks(Fact.BASE_FEE)
        cost = gas * price
        if gas > UINT256_MAX or cost > UINT256_MAX or meter.used(GAS_SLOT) + gas > UINT256_MAX:
            return malformed(self.name, OVERFLOW, "the declared gas or its cost exceeds 2^256", Code.LIMIT_EXCEEDED)
        if meter.used(GAS_SLOT) + gas > config.gas_limit:
            return self._over_gas(gas, config, meter)
        if meter.used(COST_SLOT) + cost > UINT256_MAX:
            return malformed(self.name, OVERFLOW, "the cost counted exceeds 2^256", Code.LIMIT_EXCEEDED)
        if meter.used(COST_SLOT) + cost > config.cost_limit:
            usage = meter.usage(COST_SLOT)
            what, spent = f"gas that may cost {cost} wei", Spent(NATIVE_COIN, "gas cost")
            return Failed(over_limit(self.name, what, cost, config.cost_limit, usage=usage, unit="wei", spent=spent))
        return Passed(
            charges=(
                Charge(meter.counter(GAS_SLOT), gas, config.gas_limit),
                Charge(meter.counter(COST_SLOT), cost, config.cost_limit),
            )
        )

    def _over_gas(self, gas: int, config: GasLimits, meter: Meter) -> Failed:
        usage = meter.usage(GAS_SLOT)
        return Failed(over_limit(self.name, f"declaring {gas} gas", gas, config.gas_limit, usage=usage, unit="gas"))


def _price(view: UserOpView) -> int | None:
    price = price_of(view.op)
    if price.priority >= price.highest:
        return price.highest  # whatever the base fee
    return None if view.base_fee is None else price.at(view.base_fee)
