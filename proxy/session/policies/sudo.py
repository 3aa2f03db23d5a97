"""SudoPolicy: everything passes, initialised or not. The same in both generations."""

from __future__ import annotations

from typing import Literal

from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.policy import PASSED, Initialised, Outcome, PolicyConfig, SignedAction, UserOpView
from proxy.userop.execution import Call


@record()
class Sudo(PolicyConfig):
    """Nothing is stored."""


class SudoPolicy:
    """erc7579/smartsessions `SudoPolicy.sol`."""

    name = "SudoPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised:  # noqa: ARG002  # any init data is ignored
        """Any init data will do."""
        return Initialised(Sudo())

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # the contract looks at nothing
        """Always 0."""
        return PASSED

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:  # noqa: ARG002  # the contract looks at nothing
        """Always 0."""
        return PASSED

    def check_1271(self, config: PolicyConfig | None, signed: SignedAction, key: ConfigKey) -> Literal[True]:  # noqa: ARG002  # the contract looks at nothing
        """Always true."""
        return True
