"""The operations behind the reservations: what a restart has to know of each, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from proxy.ledger.reservation import UNKNOWN_NONCE, Reservation
from proxy.record import record
from proxy.session.changes import Changes, SessionEnabled
from proxy.session.counters import HoldName
from proxy.userop.primitives import Hash32


class Stage(StrEnum):
    """How far an operation in flight has come.

    Before the first of them its reservation is held in memory only, and not a byte of it has been sent.
    """

    FORWARDED = "forwarded"  # on disk; sent, or about to be
    ACCEPTED = "accepted"  # the bundler answered with its hash
    UNKNOWN = "unknown"  # no answer came: it may be on its way
    UNMINED = "unmined"  # not found for so long that what the chain enforces itself is let go; its nonce is unused
    RELEASED = "released"  # an operator let go of it; its nonce is unused


class Cause(StrEnum):
    """Why an operation holds less than it charges, or nothing. A closed set, fit for a metric label."""

    MINED = "mined"
    NONCE_USED = "nonce_used"  # another operation was mined with its nonce
    GRANT_USED = "grant_nonce_used"  # its session's enable nonce was used by another grant
    EXPIRED = "expired"  # the chain is past its validity window
    REFUSED = "refused"  # no bundler took it: the answer means that (`proxy.bundler_answers`), or it was never sent
    RELEASED = "released"  # by an operator
    UNMINED = "unmined"  # those who can know have answered for `unmined_after` that it is not there


class Evidence(NamedTuple):
    """What shows an end. Which of it is there depends on the cause; an end without any does not come about.

    `block` and `block_hash` are where the chain showed it, `timestamp` that block's (unix seconds); `transaction`
    that of the operation that was mined, and `by` its hash where that is another one. `silent_seconds` is for how long
    it was answered that the operation is not there. `said` are an operator's or the bundler's words.
    """

    block: int | None = None
    block_hash: Hash32 | None = None
    timestamp: int | None = None
    transaction: Hash32 | None = None
    by: Hash32 | None = None
    silent_seconds: float | None = None
    said: str | None = None


@record(kw_only=True)
class AcceptedOperation:
    """An operation the bundler took, or may have taken: what it holds and what it will change once mined.

    `bundler` is the mark of the one that it is sent to first, empty where that was not known. `accepted_at` (unix
    seconds) is when it was about to be sent; `known_at` how many seconds its chain's settlement had been told of by
    then.
    """

    reservation: Reservation
    changes: Changes
    accepted_at: float
    known_at: float = 0.0
    bundler: str = ""

    @property
    def user_op_hash(self) -> Hash32:
        """The operation's name everywhere."""
        return self.reservation.user_op_hash

    @property
    def name(self) -> HoldName:
        """The same with the claim under which it came."""
        return self.reservation.name

    def with_its_grant(self) -> AcceptedOperation:
        """The same; of one that was kept before grants were told apart, with the enable nonce that it uses."""
        if self.reservation.grant is not None or self.reservation.session is None:
            return self
        for change in self.changes.at_validation:
            if isinstance(change, SessionEnabled):
                grant = UNKNOWN_NONCE if change.nonce is None else change.nonce
                return replace(self, reservation=replace(self.reservation, grant=grant))
        return self


@record(kw_only=True)
class InFlight:
    """An operation as a restart finds it. `silent_seconds` is for how long it was answered that it is not there."""

    operation: AcceptedOperation
    stage: Stage
    silent_seconds: float = 0.0


class Mined(NamedTuple):
    """What the chain, or a bundler's receipt, says. `success` is that of the execution; validation has always
    succeeded.

    What is `None` was not told. Amounts are in gas and wei, `timestamp` in unix seconds. `permission_ids` are the
    sessions' claims under which the bundle carries the operation, and `enables` says whether it brings a grant along.
    """

    user_op_hash: Hash32
    success: bool
    block: int | None
    block_hash: Hash32 | None = None
    timestamp: int | None = None
    transaction: Hash32 | None = None
    gas_used: int | None = None
    gas_cost: int | None = None
    base_fee: int | None = None
    revert_reason: bytes | None = None
    permission_ids: tuple[Hash32, ...] | None = None
    enables: bool | None = None


class Ended(NamedTuple):
    """An operation that is not in flight any more, as long as a reorganisation of the chain could bring it back.

    `mined` is there for the one that was. `added` says whether its charges were added to what was known of its
    session; otherwise a reading of the chain had them already. `counted_at` (unix seconds) is the moment at which it
    was counted in the windows of rules. `stage` is how far it had come; `restated`: it counted for more than
    it held when it began.
    """

    operation: AcceptedOperation
    ended_at: float  # unix seconds
    mined: Mined | None
    cause: Cause = Cause.NONCE_USED
    evidence: Evidence = Evidence()
    added: bool = False
    counted_at: int | None = None
    stage: Stage = Stage.ACCEPTED
    restated: bool = False

    @property
    def name(self) -> HoldName:
        """The operation and its claim."""
        return self.operation.reservation.name


class EndedName(NamedTuple):
    """The little of an ended operation that is kept at hand; the rest is read back when the chain takes it back."""

    name: HoldName
    chain_id: int
    ended_at: float  # unix seconds
    cause: Cause
    block: int | None
    block_hash: Hash32 | None
