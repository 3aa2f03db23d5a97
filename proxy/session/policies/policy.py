"""What every on-chain policy has in common: how it is asked, and what it can answer.

A policy is pure. It is given its configuration and a meter over its counters, and answers with a value: `Passed` or
`Failed` (the contract returned validation data), `PolicyReverted` (it reverted), or `Asks` (a fact is not known here).
The charges of an answer are what the contract wrote; a module that reverts afterwards undoes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from proxy.errors import Code, Reason, TokenLimit
from proxy.record import record
from proxy.session.counters import Charge, ConfigKey, Meter, Usage
from proxy.session.revert import Revert
from proxy.userop.execution import Call, Execution
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_operation import UserOperation


class PolicyKind(StrEnum):
    """What a policy is consulted for; a contract says which by ERC-165 (`IPolicy.sol`)."""

    USER_OP = "user_op"
    ACTION = "action"
    ERC1271 = "erc1271"


class PolicyConfig:
    """The root of what policies store: frozen records of plain values, apart from the counters."""

    __slots__ = ()


@record()
class Initialised:
    """What initializeWithMultiplexer stored. Counters not named stand at zero; those left from before are cleared."""

    config: PolicyConfig
    used: Mapping[bytes, int] = field(default_factory=dict)  # slot -> use


@record()
class UserOpView:
    """What a user-operation policy sees. `execution` is the chain's reading of callData, or how it reverts on it."""

    op: UserOperation
    execution: Execution | Revert
    base_fee: int | None  # wei per gas of the block; None: not known


@record()
class SignedAction:
    """What an ERC-1271 policy sees: who asks, the hash, and the block's time in unix seconds."""

    request_sender: Address
    hash: Hash32
    now: int


@record()
class Passed:
    """Validation data whose low 160 bits are zero."""

    validation_data: int = 0
    charges: tuple[Charge, ...] = ()


@record()
class Failed:
    """Validation data 1. `charges` are writes that a caller who does not revert would keep."""

    reason: Reason
    charges: tuple[Charge, ...] = ()


@record()
class PolicyReverted:
    """The policy itself reverted."""

    revert: Revert
    reason: Reason


class Fact(StrEnum):
    """What a policy may need to know beyond its own counters."""

    BASE_FEE = "base_fee"
    TOKEN_LIMIT = "token_limit"  # noqa: S105  # a spending limit's token
    TARGET = "target"


@record()
class Asks:
    """The answer hangs on a fact that is not known: the base fee, or what is stored for `subject` (an address)."""

    fact: Fact
    subject: Address | None = None


Outcome = Passed | Failed | PolicyReverted | Asks
PASSED: Final = Passed()


class Policy(Protocol):
    """One policy contract's behaviour, in one generation."""

    @property
    def name(self) -> str:
        """The contract's own name, as reasons print it."""
        ...

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:
        """initializeWithMultiplexer(account, configId, initData)."""
        ...


class ActionPolicy(Policy, Protocol):
    """A policy that judges one call (IActionPolicy)."""

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:
        """checkAction(configId, account, target, value, data). `config` is None when never initialised."""
        ...


class UserOpPolicy(Policy, Protocol):
    """A policy that judges the whole operation (IUserOpPolicy)."""

    def check_user_op(self, config: PolicyConfig | None, view: UserOpView, meter: Meter, key: ConfigKey) -> Outcome:
        """checkUserOpPolicy(configId, userOp)."""
        ...


class Erc1271Policy(Policy, Protocol):
    """A policy that judges an off-chain signature (I1271Policy)."""

    def check_1271(self, config: PolicyConfig | None, signed: SignedAction, key: ConfigKey) -> bool | PolicyReverted:
        """check1271SignedAction(configId, requestSender, account, hash, signature)."""
        ...


def not_initialised(name: str, key: ConfigKey) -> PolicyReverted:
    """The revert of most policies that find no configuration."""
    return PolicyReverted(
        revert_not_initialised(key),
        Reason(
            code=Code.SESSION_SCOPE,
            sentence=f"{name} holds no configuration for this session, so every check of it reverts",
            remedy="grant the session again with init data for this policy, in the encoding of its generation",
            policy=name,
        ),
    )


def revert_not_initialised(key: ConfigKey) -> Revert:
    """PolicyNotInitialized(configId, multiplexer, account)."""
    return Revert("PolicyNotInitialized", (key.config_id, key.module, key.account))


def malformed(name: str, revert: Revert, problem: str, code: Code = Code.SESSION_SCOPE) -> PolicyReverted:
    """A policy that cannot read what it is asked to judge."""
    return PolicyReverted(
        revert,
        Reason(code=code, sentence=f"{name}: {problem}", remedy="encode the call as the policy reads it", policy=name),
    )


NATIVE_COIN: Final = Address(b"")
"""Where a token's address would stand, for an amount of the chain's own coin."""


class Spent(NamedTuple):
    """Of which token a limit is, and what would spend it: `transfer`, `approval`, `value`."""

    token: Address
    verb: str


def over_limit(
    name: str, what: str, amount: int, limit: int, *, usage: Usage, unit: str = "", spent: Spent | None = None
) -> Reason:
    """An exhausted counter, in words: what was asked, what is left, and how much of the use is in flight."""
    left = max(limit - usage.total, 0)
    of = f" {unit}" if unit else ""
    sentence = f"{what}, {left}{of} left of {limit} in this session"
    if usage.in_flight:
        sentence += f"; {usage.in_flight}{of} of it in flight"
    if usage.this_operation:
        sentence += f"; {usage.this_operation}{of} used by earlier calls of this operation"
    retryable = usage.in_flight > 0 and usage.on_chain + usage.this_operation + amount <= limit
    remedy = "ask for less, or have the owner grant the session again with a higher limit"
    if retryable:
        remedy = "wait until the operations in flight have settled, or ask for less"
    return Reason(
        code=Code.LIMIT_EXCEEDED,
        sentence=sentence,
        remedy=remedy,
        policy=name,
        wanted=f"at most {left}{of}",
        got=f"{amount}{of}",
        retryable=retryable,
        token_limit=None
        if spent is None
        else TokenLimit(
            token=spent.token,
            verb=spent.verb,
            amount=amount,
            left=left,
            limit=limit,
            in_flight=usage.in_flight,
            this_operation=usage.this_operation,
            said=sentence,
        ),
    )


def charge_one(meter: Meter, amount: int, limit: int, slot: bytes = b"") -> tuple[Charge, ...]:
    """The single charge of a policy with one counter to move."""
    return (Charge(meter.counter(slot), amount, limit),)
