"""UsageLimitPolicy: a number of uses, counted per check."""

from __future__ import annotations

from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import (
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    UserOpView,
    charge_one,
    not_initialised,
    over_limit,
    revert_not_initialised,
)
from proxy.session.revert import BARE, Revert
from proxy.userop.execution import Call


@record()
class UsageLimit(PolicyConfig):
    """How many checks may pass (uint128)."""

    limit: int


class UsageLimitPolicy:
    """erc7579/smartsessions `UsageLimitPolicy.sol`, the code of August 2025."""

    name = "UsageLimitPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:
        """16 bytes: uint128 limit, not zero; the rest is ignored."""
        if len(init_data) < 16:
            return BARE
        limit = int.from_bytes(init_data[:16], "big")
        return Initialised(UsageLimit(limit)) if limit else revert_not_initialised(key)

    @staticmethod
    def from_getters(limit: int, used: int) -> Initialised:
        """From getUsageLimit and getUsed (configId, multiplexer, account)."""
        return Initialised(UsageLimit(limit), {b"": used})

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # a use is a use
        """Passes while used + 1 is within the limit, and counts. Never initialised: the limit is 0."""
        return self._check(config, meter)

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # a use is a use
        """The same, once for the operation."""
        return self._check(config, meter)

    def _check(self, config: PolicyConfig | None, meter: Meter) -> Outcome:
        limit = config.limit if isinstance(config, UsageLimit) else 0
        if meter.used() + 1 > limit:
            return Failed(over_limit(self.name, "one more use", 1, limit, usage=meter.usage(), unit="uses"))
        return Passed(charges=charge_one(meter, 1, limit))


class UsageLimitPolicyV1(UsageLimitPolicy):
    """The generation of October 2024: a limit of 0 initialises and then reverts; failed checks are counted too."""

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # any limit is stored
        """16 bytes: uint128 limit; the rest is ignored."""
        if len(init_data) < 16:
            return BARE
        return Initialised(UsageLimit(int.from_bytes(init_data[:16], "big")))

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # a use is a use
        """Counts, then passes if the use is within the limit."""
        return self._count(config, meter, key)

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # a use is a use
        """The same, once for the operation."""
        return self._count(config, meter, key)

    def _count(self, config: PolicyConfig | None, meter: Meter, key: ConfigKey) -> Outcome:
        if not isinstance(config, UsageLimit) or not config.limit:
            return not_initialised(self.name, key)
        outcome = self._check(config, meter)
        if isinstance(outcome, Failed):
            return Failed(outcome.reason, charge_one(meter, 1, config.limit))
        return outcome
