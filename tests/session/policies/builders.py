"""One configuration of one policy, and what the contract would answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from proxy.session.addresses import POLICIES
from proxy.session.counters import ConfigKey, Counter, Meter
from proxy.session.policies.policy import (
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    UserOpView,
)
from proxy.session.revert import Revert
from proxy.userop.execution import EXECUTE, Call, CallType, Execution
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import PolicyData
from proxy.userop.user_operation import UserOperation
from tests.session.builders import ACCOUNT

MODULE = Address(b"\x5e" * 20)
CONFIG_ID = Hash32(b"\xc0" * 32)


def key_of(policy: Address) -> ConfigKey:
    return ConfigKey(MODULE, ACCOUNT, policy, CONFIG_ID)


@dataclass(frozen=True)
class Deployed:
    """A policy contract with one configuration; each check gives the outcome and the contract after it."""

    address: Address
    config: PolicyConfig | None = None
    used: Mapping[Counter, int] = field(default_factory=dict)
    in_flight: Callable[[Counter], int] | None = None

    @property
    def meter(self) -> Meter:
        return Meter(key_of(self.address), self.used, in_flight=self.in_flight)

    def call(self, call: Call) -> tuple[Outcome, Deployed]:
        policy = POLICIES[self.address].action
        assert policy is not None
        return self._after(policy.check_action(self.config, call, self.meter, key_of(self.address)))

    def user_op(self, view: UserOpView) -> tuple[Outcome, Deployed]:
        policy = POLICIES[self.address].user_op
        assert policy is not None
        return self._after(policy.check_user_op(self.config, view, self.meter, key_of(self.address)))

    def _after(self, outcome: Outcome) -> tuple[Outcome, Deployed]:
        used = dict(self.used)
        if isinstance(outcome, Passed | Failed):
            for charge in outcome.charges:
                used[charge.counter] = used.get(charge.counter, 0) + charge.amount
        return outcome, replace(self, used=used)

    def total(self, slot: bytes = b"") -> int:
        return self.meter.used(slot)


def deploy(data: PolicyData, *, at: Address | None = None) -> Deployed:
    """The contract of `data.policy` (or another one at `at`), initialised."""
    address = at or data.policy
    initialised = POLICIES[address].policy.initialise(data.init_data, key_of(address))
    assert isinstance(initialised, Initialised), initialised
    used = {Counter(*key_of(address), slot): use for slot, use in initialised.used.items()}
    return Deployed(address, initialised.config, used)


def refused_init(data: PolicyData, *, at: Address | None = None) -> Revert:
    address = at or data.policy
    outcome = POLICIES[address].policy.initialise(data.init_data, key_of(address))
    assert isinstance(outcome, Revert), outcome
    return outcome


def view(
    *calls: Call, base_fee: int | None = 0, execution: Execution | Revert | None = None, **fields: object
) -> UserOpView:
    """An operation as a user-operation policy sees it."""
    if execution is None:
        execution = Execution(EXECUTE, CallType.SINGLE if len(calls) == 1 else CallType.BATCH, 0, calls)
    op = UserOperation(sender=ACCOUNT, nonce=0, call_data=b"", signature=b"", **fields)  # type: ignore[arg-type]
    return UserOpView(op, execution, base_fee)


def passes(outcome: Outcome) -> bool:
    return isinstance(outcome, Passed)


def reason_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed | PolicyReverted), outcome
    return outcome.reason.sentence


def error_of(outcome: Outcome) -> str | None:
    assert isinstance(outcome, PolicyReverted), outcome
    return outcome.revert.error
