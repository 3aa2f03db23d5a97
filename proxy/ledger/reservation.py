"""What is held for an operation in flight, and the interface every ledger answers.

Effective use of a limit = used on chain + what is in flight here. The chain counts at validation, so a mined
operation has used its charges even when its execution reverted; one that was dropped has used nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from proxy.errors import Code, Reason
from proxy.judge.counts import CountKey, Counts, History, Lesson, RuleCharge
from proxy.judge.rule import Window
from proxy.judge.windows import BucketRow, MarkRow
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.declared import DECLARED_POLICY
from proxy.userop.primitives import Address, Hash32, print_bytes


def is_on_chain(counter: Counter) -> bool:
    """Whether a policy contract keeps this counter; otherwise it is counted here alone."""
    return counter.policy != DECLARED_POLICY


class NonceSlot(NamedTuple):
    """The one place on chain that an operation takes: of all operations with the same slot at most one is mined.

    The nonce is the entry point's, key and sequence together (ERC-4337, NonceManager).
    """

    chain_id: int
    entry_point: Address
    sender: Address
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What one operation will use of its session's counters when it is mined.

    `session` is `None` and `charges` empty for an operation that no session signed. `valid_until` (unix seconds,
    inclusive) is the end of the operation's validity window, `None` when it has none: past it, it cannot be mined.
    `rule_charges` are what it adds to the windows of rules, `lessons` what their histories learn from it.
    """

    user_op_hash: Hash32
    slot: NonceSlot
    session: SessionKey | None
    charges: tuple[Charge, ...]
    valid_until: int | None
    rule_charges: tuple[RuleCharge, ...] = ()
    lessons: tuple[Lesson, ...] = ()

    def amounts(self) -> dict[Counter, int]:
        """How much each counter grows: the charges of a batch added up."""
        total: dict[Counter, int] = {}
        for charge in self.charges:
            total[charge.counter] = total.get(charge.counter, 0) + charge.amount
        return total


@dataclass(frozen=True, slots=True)
class Held:
    """The reservation stands. `again` when this operation held it already; `replaces` names the operations with
    the same slot that it will displace once the bundler accepts it. `reservation` is what is held: without the charges
    of rules that refuse nobody and would have."""

    reservation: Reservation
    again: bool = False
    replaces: tuple[Hash32, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A counter would pass its limit: `used` on chain, `in_flight` by other operations, `wanted` by this one."""

    counter: Counter
    limit: int
    used: int
    in_flight: int
    wanted: int

    def reason(self) -> Reason:
        """The refusal in words; amounts in the counter's base units. Retryable while something is in flight."""
        left = max(self.limit - self.used - self.in_flight, 0)
        policy = print_bytes(self.counter.policy)
        in_flight = f"; {self.in_flight} of it in flight" if self.in_flight else ""
        return Reason(
            code=Code.LIMIT_EXCEEDED,
            sentence=f"policy {policy} allows {left} more of {self.limit} in this session{in_flight}",
            remedy="wait until the operations in flight are mined, or ask for less"
            if self.in_flight
            else "ask for less, or have the account's owner grant a new session",
            policy=policy,
            wanted=f"at most {left}",
            got=str(self.wanted),
            retryable=self.in_flight > 0 and self.used + self.wanted <= self.limit,
        )


@dataclass(frozen=True, slots=True)
class RuleRefusal:
    """A rule's count would pass its limit: `used` in the window, `in_flight` by other operations, `wanted` by this
    one. Of different things `in_flight` and `wanted` are those that are not among the others."""

    key: CountKey
    limit: int
    used: int
    in_flight: int
    wanted: int


class HistoryRow(NamedTuple):
    """A history for the store, and when it learnt last (unix seconds); `None` when it is to be forgotten."""

    key: CountKey
    history: History | None
    updated: float


class RuleRows(NamedTuple):
    """Counts and histories of rules as they stand, for the store."""

    buckets: tuple[BucketRow, ...] = ()
    marks: tuple[MarkRow, ...] = ()
    histories: tuple[HistoryRow, ...] = ()


NO_ROWS: Final = RuleRows()


class Concluded(NamedTuple):
    """At which moment a mined operation was counted in the windows of rules, and what that changed."""

    at: int  # unix seconds
    rows: RuleRows


class Ledger(Protocol):
    """Reservations of operations in flight. Each call is one atomic step.

    An attempt to send begins with `reserve` and ends with `accept`, `doubt` or `release`; an operation that was, or
    may have been, accepted ends with `settle` or `expire`.
    """

    def reserve(
        self, reservation: Reservation, used: Callable[[Counter], int], now: float
    ) -> Held | Refusal | RuleRefusal:
        """Check every charge against its limit, those of the chain's counters first, and hold all of them, or none.

        Of a rule whose charges are not binding none is held when one of them passes its limit; the operation is held
        without them. `used` gives what the chain has counted so far.

        The same hash again is the same reservation. Another hash in the same slot is held beside the standing one
        (the larger of both counts, for only one can be mined) until `accept` or `release` says which of them stands.
        """

    def occupied(self, place: NonceSlot) -> bool:
        """Whether an operation in this place is held."""

    def in_flight(self, counter: Counter) -> int:
        """How much of `counter` operations in flight will use, at most."""

    def in_flight_beside(self, slot: NonceSlot) -> Callable[[Counter], int]:
        """`in_flight` without what the operations in `slot` hold: the view for judging an operation in it."""

    def accept(self, user_op_hash: Hash32) -> tuple[Reservation, ...]:
        """The bundler took the operation, or may have: its reservation stays and displaces the others that were
        accepted in its slot, which are returned."""

    def doubt(self, user_op_hash: Hash32) -> None:
        """No answer came to an attempt: its reservation stays, beside those of the others in its slot."""

    def release(self, user_op_hash: Hash32) -> Reservation | None:
        """One attempt to send failed. The reservation goes, and is returned, unless another attempt of the same
        operation is under way or was accepted."""

    def settle(self, user_op_hash: Hash32) -> tuple[Reservation, ...]:
        """The operation was mined: nothing in its slot is in flight any more. Returns what was held there."""

    def expire(self, user_op_hash: Hash32) -> Reservation | None:
        """The operation was dropped or can no longer be mined: it holds nothing."""

    def restore(self, reservation: Reservation) -> None:
        """Hold again what may be mined, whatever the limits say: after a restart, or when the chain went back."""

    # what a reading of the chain has counted already

    def of_session(self, session: SessionKey) -> tuple[Reservation, ...]:
        """What operations of one session hold, oldest first."""

    def count(self, place: NonceSlot, block: int) -> None:
        """The slot's nonce was used at `block`, at which the session was read: the use of its policies' counters is
        in that reading and not in flight any more. What is counted here alone stays in flight until `settle`."""

    def uncount(self, session: SessionKey) -> None:
        """The reading on which `count` rested is not good any more: all of the session's is in flight again."""

    def is_counted(self, user_op_hash: Hash32) -> bool | None:
        """Whether what is known of the session has the operation's use already; `None` when the ledger cannot tell,
        because the operation was restored after that was read."""

    # what rules count

    def counts(self, slot: NonceSlot, now: float) -> Counts:
        """What rules have counted, as an operation in `slot` is judged by it at this time."""

    def rate(self, key: CountKey, window: Window, amount: int, limit: int, now: float) -> bool:
        """Count a request at once, whatever becomes of it. Whether it fits; one that does not is not counted."""

    def learn_now(self, lesson: Lesson, now: float, *, success: bool) -> None:
        """A history learns at once, of what never comes to a receipt."""

    def conclude(self, reservation: Reservation, now: float, *, success: bool) -> Concluded:
        """The operation was mined: its rule charges go into their windows, of one that reverted only those that
        last and the different things it brought, and histories learn from it. Goes with `settle`, in one step."""

    def reopen(self, reservation: Reservation, at: int, *, success: bool) -> RuleRows:
        """The chain took back what `conclude` has counted at that moment. Histories stay learnt."""

    def rows_now(self, rows: RuleRows) -> RuleRows:
        """These rows as they stand now."""

    def keep_only(self, identities: Collection[bytes]) -> None:
        """Only rules of these identities count from now on: forget what others have counted and learnt."""
