"""ValueLimitPolicy: native value (wei) that the calls may carry in all."""

from __future__ import annotations

from proxy.errors import Code
from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import (
    NATIVE_COIN,
    PASSED,
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    Spent,
    UserOpView,
    charge_one,
    malformed,
    not_initialised,
    over_limit,
    revert_not_initialised,
)
from proxy.session.revert import BARE, OVERFLOW, Revert
from proxy.userop.execution import Call, CallType
from proxy.userop.primitives import UINT256_MAX


@record()
class ValueLimit(PolicyConfig):
    """Wei that may be sent in all."""

    limit: int


class ValueLimitPolicy:
    """erc7579/smartsessions `ValueLimitPolicy.sol`, the code of August 2025."""

    name = "ValueLimitPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:
        """32 bytes: uint256 limit, not zero; the rest is ignored."""
        if len(init_data) < 32:
            return BARE
        limit = int.from_bytes(init_data[:32], "big")
        return Initialised(ValueLimit(limit)) if limit else revert_not_initialised(key)

    @staticmethod
    def from_getters(limit: int, used: int) -> Initialised:
        """From getValueLimit and getUsed (configId, multiplexer, account), in wei."""
        return Initialised(ValueLimit(limit), {b"": used})

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # v1 names the key
        """Passes while used + value is within the limit. Never initialised: only value 0 passes."""
        return self._spend(config, call.value, meter)

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # v1 names the key
        """The value of all calls together; what is not `execute` is free. Try mode counts like any other."""
        value = self._value_of(view)
        return value if not isinstance(value, int) else self._spend(config, value, meter)

    def _value_of(self, view: UserOpView) -> int | Outcome:
        execution = view.execution
        if isinstance(execution, Revert):
            return malformed(self.name, execution, "the call data cannot be read", Code.UNDECODABLE)
        if execution.selector is None:
            return malformed(self.name, BARE, "fewer than four bytes of call data", Code.UNDECODABLE)
        if not execution.is_execute:
            return PASSED
        if execution.call_type not in (CallType.SINGLE, CallType.BATCH):
            return self._other_call_type(execution.call_type or 0)
        value = sum(call.value for call in execution.calls)
        return value if value <= UINT256_MAX else self._overflow()

    def _other_call_type(self, call_type: int) -> Outcome:
        return malformed(
            self.name,
            Revert("UnsupportedCallType", (bytes([call_type]),)),
            f"the value of call type 0x{call_type:02x} cannot be counted; single and batch calls can",
        )

    def _overflow(self) -> PolicyReverted:
        return malformed(self.name, OVERFLOW, "more value than 2^256 wei", Code.LIMIT_EXCEEDED)

    def _spend(self, config: PolicyConfig | None, value: int, meter: Meter) -> Outcome:
        limit = config.limit if isinstance(config, ValueLimit) else 0
        total = meter.used() + value
        if total > UINT256_MAX:
            return self._overflow()
        if total > limit:
            what, spent = f"sending {value} wei", Spent(NATIVE_COIN, "value")
            return Failed(over_limit(self.name, what, value, limit, usage=meter.usage(), unit="wei", spent=spent))
        return Passed(charges=charge_one(meter, value, limit)) if value else PASSED


class ValueLimitPolicyV1(ValueLimitPolicy):
    """The generation of October 2024: a limit of 0 initialises and then reverts; other call types are free."""

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # any limit is stored
        """32 bytes: uint256 limit; the rest is ignored."""
        if len(init_data) < 32:
            return BARE
        return Initialised(ValueLimit(int.from_bytes(init_data[:32], "big")))

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:
        """As v2, but never initialised or a limit of 0 reverts."""
        if not isinstance(config, ValueLimit) or not config.limit:
            return not_initialised(self.name, key)
        return self._spend(config, call.value, meter)

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:
        """As v2, but never initialised or a limit of 0 reverts."""
        value = self._value_of(view)
        if not isinstance(value, int):
            return value
        if not isinstance(config, ValueLimit) or not config.limit:
            return not_initialised(self.name, key)
        return self._spend(config, value, meter)

    def _other_call_type(self, call_type: int) -> Outcome:
        if call_type == CallType.DELEGATECALL:
            return PASSED
        return super()._other_call_type(call_type)
