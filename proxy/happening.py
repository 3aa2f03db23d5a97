"""A single happening that ops want to hear of at once, and what hears it.

What lasts is a series, and Prometheus' rules tell it; what happens once is a happening, and the gate tells it itself.
Whoever sees one makes the record and hands it over: no waiting, no error, no cost beyond a dictionary's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from proxy.session.lint.findings import Severity
from proxy.userop.primitives import Address, Hash32


class HappeningKind(StrEnum):
    """What happened. A closed set, fit for a metric label."""

    RULE_FIRED = "rule_fired"  # a rule in mode alert or enforce
    REJECTED = "rejected"  # a rejection of note: a revoked or frozen session was used
    WOULD_REJECT = "would_reject"  # in the gate's mode `alert`: let pass, enforcing would not have
    FAILED_OPEN = "failed_open"  # allowed although something could not be judged
    HOLD_RELEASED = "hold_released"  # by an operator: the chain did not say what became of it
    NEVER_MINED = "never_mined"  # accepted by the bundler and not seen on chain
    USE_PAST_GATE = "use_past_gate"  # a session used on chain by an operation that did not come through here
    GRANT_PAST_GATE = "grant_past_gate"  # a session granted on chain, likewise
    NONCE_GAP = "nonce_gap"  # an operation was sent that waits behind a gap in its key's nonces
    LEDGER_REWOUND = "ledger_rewound"  # the ledger is older than what it once held: restored from a copy
    CLOCK_JUMPED = "clock_jumped"  # this machine's time of day
    TEST = "test"  # `sessiongate alerts test`


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One happening. `what` says in a sentence who did what, how much of it and why; it holds no secret, no signature.

    `unix_time` in seconds. `notify` are names of sinks that hear it in place of those the settings route it to.
    `command` is what to type next; `None` for the one that its kind suggests.
    """

    kind: HappeningKind
    severity: Severity
    unix_time: float
    what: str
    chain: str | None = None
    client: str | None = None
    account: Address | None = None
    permission_id: Hash32 | None = None
    user_op_hash: Hash32 | None = None
    decision_id: str | None = None
    rule: str | None = None
    mode: str | None = None  # of the rule, under the gate's: alert | enforce
    tags: tuple[str, ...] = ()
    owner: str | None = None
    runbook: str | None = None
    notify: tuple[str, ...] = ()
    command: str | None = None


class Alerts(Protocol):
    """Whoever tells ops of single happenings."""

    def raise_(self, happening: Happening) -> None:
        """Tell it. Never waits, never raises, may be called for every operation."""


class Silence:
    """For a look at things that nobody is told of."""

    def raise_(self, happening: Happening) -> None:  # noqa: ARG002  # to forget is the point
        return None
