"""ContractWhitelistPolicy: the targets that calls may go to."""

from __future__ import annotations

from proxy.errors import Code, Reason
from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import PASSED, Asks, Fact, Failed, Initialised, Outcome, PolicyConfig
from proxy.session.revert import Revert
from proxy.userop.execution import Call
from proxy.userop.primitives import ZERO_ADDRESS, Address, print_checksummed


@record()
class AllowedTargets(PolicyConfig):
    """The targets in the list. When seen through getters only, `refused` are those known not to be in it."""

    allowed: frozenset[Address]
    refused: frozenset[Address] = frozenset()
    complete: bool = True

    def with_target(self, target: Address, allowed: bool) -> AllowedTargets:
        """The same list with one more answer of isContractWhitelisted(configId, multiplexer, account, target)."""
        if allowed:
            return AllowedTargets(self.allowed | {target}, self.refused - {target}, self.complete)
        return AllowedTargets(self.allowed - {target}, self.refused | {target}, self.complete)


class ContractWhitelistPolicy:
    """erc7579/smartsessions `ContractWhitelistPolicy.sol`; for actions only."""

    name = "ContractWhitelistPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # the key is in no error of it
        """20-byte addresses one after the other, at least one, none of them zero."""
        targets = [Address(init_data[at : at + 20]) for at in range(0, len(init_data), 20)]
        if not targets or len(init_data) % 20 or ZERO_ADDRESS in targets:
            return Revert("InvalidInitData")
        return Initialised(AllowedTargets(frozenset(targets)))

    @staticmethod
    def from_getters(answers: dict[Address, bool]) -> Initialised:
        """From isContractWhitelisted for some targets; others stay unknown."""
        allowed = frozenset(target for target, listed in answers.items() if listed)
        return Initialised(AllowedTargets(allowed, frozenset(answers) - allowed, complete=False))

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # nothing is counted
        """Passes if the target is in the list; selector and value do not matter."""
        if isinstance(config, AllowedTargets):
            if call.target in config.allowed:
                return PASSED
            if not config.complete and call.target not in config.refused:
                return Asks(Fact.TARGET, call.target)
        return Failed(
            Reason(
                code=Code.SESSION_SCOPE,
                sentence=f"target {print_checksummed(call.target)} is not among the contracts this session may call",
                remedy="call one of the contracts in the grant, or have the owner grant this one",
                policy=self.name,
                got=print_checksummed(call.target),
            )
        )
