"""The operations behind the reservations: what a restart has to know of each, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.ledger.reservation import Reservation
from proxy.session.changes import Changes
from proxy.userop.primitives import Hash32


class Stage(StrEnum):
    """How far an operation in flight has come.

    Before the first of them its reservation is held in memory only, and not a byte of it has been sent.
    """

    FORWARDED = "forwarded"  # on disk; sent, or about to be
    ACCEPTED = "accepted"  # the bundler answered with its hash
    UNKNOWN = "unknown"  # no answer came: it may be on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedOperation:
    """An operation the bundler took, or may have taken: what it holds and what it will change once mined.

    `accepted_at` (unix seconds) is when it was about to be sent.
    """

    reservation: Reservation
    changes: Changes
    accepted_at: float

    @property
    def user_op_hash(self) -> Hash32:
        """The operation's name everywhere."""
        return self.reservation.user_op_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """What a receipt says. `success` is that of the execution; validation has always succeeded.

    `block` and `block_hash` are `None` where the receipt does not tell.
    """

    user_op_hash: Hash32
    success: bool
    block: int | None
    block_hash: Hash32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An operation that is not in flight any more, as long as a reorganisation of the chain could bring it back.

    `mined` is `None` for one that was dropped. `added` says whether its charges were added to what was known of its
    session; otherwise a reading of the chain had them already. `counted_at` (unix seconds) is the moment at which it
    was counted in the windows of rules.
    """

    operation: AcceptedOperation
    ended_at: float  # unix seconds
    mined: Mined | None
    added: bool = False
    counted_at: int | None = None
