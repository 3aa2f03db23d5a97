"""UniActionPolicy: up to sixteen rules on the arguments of a call, all of which must hold. Both generations agree."""

from __future__ import annotations

from typing import Any, Final

from proxy.errors import Undecodable
from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.parameter_rules import RULE, ParameterRule, RuleRun, rules_from_members, value_over
from proxy.session.policies.policy import (
    PASSED,
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    not_initialised,
)
from proxy.session.policies.remembered import remembering
from proxy.session.revert import BARE, INDEX_OUT_OF_RANGE, Revert
from proxy.userop import abi
from proxy.userop.execution import Call

MAX_RULES: Final = 16
_RULES: Final = abi.tuple_of(abi.UINT256, abi.tuple_of(*(RULE,) * MAX_RULES))
_CONFIG: Final = abi.tuple_of(abi.UINT256, _RULES)


@record()
class ActionRules(PolicyConfig):
    """Wei per use, and the rules."""

    value_limit_per_use: int
    rules: tuple[ParameterRule, ...]


class UniActionPolicy:
    """erc7579/smartsessions `UniActionPolicy.sol`; for actions only."""

    name = "UniActionPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # the key is in no error of it
        """abi.encode of (uint256 valueLimitPerUse, (uint256 length, ParamRule[16])): 98 words, all slots checked."""
        return _read_init_data(init_data)

    @staticmethod
    def from_getters(action_configs: bytes) -> Initialised:
        """From the return data of actionConfigs(configId, multiplexer, account), laid out as the init data.

        Raises `Undecodable`.
        """
        members: tuple[Any, ...] = abi.decode(_CONFIG, action_configs, "actionConfigs")
        value_limit, (length, slots) = members
        rules, used = rules_from_members(slots)
        return _initialised(value_limit, rules[:length], used)

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:
        """Value per use, then every rule in order; the first that fails decides."""
        if not isinstance(config, ActionRules) or not config.rules:
            return not_initialised(self.name, key)
        limit = config.value_limit_per_use
        if call.value > limit:
            revert = Revert("ValueLimitExceeded", (key.config_id, call.value, limit))
            return PolicyReverted(revert, value_over(self.name, call.value, limit))
        run = RuleRun(self.name, config.rules, call, meter)
        for index in range(len(config.rules)):
            refusal = run.check(index)
            if isinstance(refusal, PolicyReverted):
                return refusal
            if refusal is not None:
                return Failed(refusal, run.charges())
        charges = run.charges()
        return Passed(charges=charges) if charges else PASSED


@remembering
def _read_init_data(init_data: bytes) -> Initialised | Revert:
    try:
        value_limit, (length, slots) = abi.decode(_CONFIG, init_data, "init data")
        rules, used = rules_from_members(slots)
    except Undecodable:
        return BARE
    if length > MAX_RULES:
        return INDEX_OUT_OF_RANGE
    return _initialised(value_limit, rules[:length], used)


def _initialised(value_limit: int, rules: tuple[ParameterRule, ...], used: tuple[int, ...]) -> Initialised:
    counters = {bytes([index]): used[index] for index, rule in enumerate(rules) if rule.is_limited}
    return Initialised(ActionRules(value_limit, rules), counters)
