"""What is held for an operation in flight, and the interface every ledger answers.

Effective use of a limit = used on chain + what is in flight here. The chain counts at validation, so a mined
operation has used its charges even when its execution reverted; one that was dropped has used nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from itertools import chain
from types import TracebackType
from typing import Final, NamedTuple, Protocol

from proxy.judge.counts import CountKey, Counts, DistinctCharge, History, Lesson, RuleCharge, WindowCharge
from proxy.judge.rule import Window
from proxy.judge.windows import BucketRow, MarkRow
from proxy.ledger.hindrance import Hindered, Refusal, RuleRefusal
from proxy.record import record
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.session.declared import DECLARED_POLICY
from proxy.session.policies.simple_gas import GasPrice
from proxy.userop.primitives import Address, Hash32

_made: Final = tuple.__new__

Charges = tuple[RuleCharge, ...]
"""What one operation adds to counts of rules, or a nonce slot at most."""


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


@record()
class Reservation:
    """What one operation will use of its session's counters when it is mined.

    `session` is `None` and `charges` empty for an operation that no session signed. `valid_until` (unix seconds,
    inclusive) is the end of the operation's validity window, `None` when it has none: past it, it cannot be mined.
    `rule_charges` are what it adds to the windows of rules, `lessons` what their histories learn from it. `grant` is
    the session's enable nonce that it uses up, `UNKNOWN_NONCE` where that is not known, `None` when it grants nothing
    by its signature. `gas_price` is there where a cost of gas is among the charges.
    """

    user_op_hash: Hash32
    slot: NonceSlot
    session: SessionKey | None
    charges: tuple[Charge, ...]
    valid_until: int | None
    rule_charges: tuple[RuleCharge, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    grant: int | None = None
    gas_price: GasPrice | None = None
    name: HoldName = field(init=False, repr=False, compare=False)
    """What this is held under."""

    def __post_init__(self) -> None:
        # asked for again and again, by all that looks something up
        object.__setattr__(self, "name", _made(HoldName, (self.user_op_hash, self.session, self.grant)))

    def amounts(self) -> dict[Counter, int]:
        """How much each counter grows: the charges of a batch added up."""
        total: dict[Counter, int] = {}
        for charge in self.charges:
            total[charge.counter] = total.get(charge.counter, 0) + charge.amount
        return total


class Bringer(NamedTuple):
    """Who brought an operation that nobody's signature was checked for: a client's name and the peer's address."""

    client: str
    peer: str


@record(kw_only=True)
class Basis:
    """What a verdict rests on: how much was `used` so far of each counter that is charged, and at which `revision` of
    what is known of its session that was so; `None` where no session is concerned, and where nothing has given way
    since. `bringer` is `None` where a key
    was seen to have signed."""

    used: Mapping[Counter, int] = field(default_factory=dict)
    revision: int | None = None
    bringer: Bringer | None = None


NOTHING_USED: Final = Basis()


class Grip(StrEnum):
    """How much of what an operation charges is still held for it, while its nonce is unused."""

    ALL = "all"
    LOCAL = "local"  # what nobody but this gate counts: rules, declared limits. The chain enforces the rest itself
    NONE = "none"  # nothing; what becomes of it is told all the same


class Held(NamedTuple):
    """The reservation stands. `again` when it was held already; `replaces` names the other operations in the same
    slot, of which at most one is mined. `reservation` is what is held: without the charges of rules that refuse nobody
    and would have."""

    reservation: Reservation
    again: bool = False
    replaces: tuple[Hash32, ...] = ()


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

    @classmethod
    def joined(cls, parts: Sequence[RuleRows]) -> RuleRows:
        """All of them, in this order."""
        return cls(
            tuple(chain.from_iterable([each.buckets for each in parts])),
            tuple(chain.from_iterable([each.marks for each in parts])),
            tuple(chain.from_iterable([each.histories for each in parts])),
        )


NO_ROWS: Final = RuleRows()


class Concluded(NamedTuple):
    """At which moment a mined operation was counted in the windows of rules, and what that changed."""

    at: int  # unix seconds
    rows: RuleRows


class Standing(NamedTuple):
    """What a session has in flight, as seen by one operation."""

    replaces: bool  # another operation of the session has the same nonce
    lanes: int  # different nonce keys, its own included


class Counting(Protocol):
    """Which operations in flight one reading of a session has counted already. It is made ready piece by piece, while
    it is entered; what happens meanwhile to what is in flight is seen to."""

    def __enter__(self) -> Counting:
        """It is made ready."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Nothing is changed where it does not stand by now."""

    def add(self, places: Iterable[NonceSlot]) -> None:
        """The nonces of these places had been used when the session was read. Of what is not held any more nothing
        is noted."""

    def stand(self) -> None:
        """From now on, in place of what an earlier reading had counted, and in one step however much that is: the use
        of its policies' counters is in the reading and not in flight any more. What is counted here alone stays in
        flight until `settle`."""


class Ledger(Protocol):
    """Reservations of operations in flight. Each call is one atomic step, and none takes longer for what else is held.

    An attempt to send begins with `reserve` and ends with `accept` or `release`. What was, or may have been, accepted
    is held until its nonce is used or its end is known otherwise: `settle`, `expire`, `loosen`.
    """

    def reserve(self, reservation: Reservation, basis: Basis, now: float) -> Held | Refusal | RuleRefusal | Hindered:
        """Check all that the verdict rests on, the chain's counters first, and hold every charge, or none.

        Of a rule whose charges are not binding none is held when one of them passes its limit; the operation is held
        without them.

        The same hash under the same claim again is the same reservation. Another hash in the same slot, and the same
        hash under another session or with another grant, is held beside what stands there: of each counter the slot
        holds the most that any of them takes, for only one can be mined.
        """

    def occupied(self, place: NonceSlot) -> bool:
        """Whether an operation in this place is held."""

    def in_flight(self, counter: Counter) -> int:
        """How much of `counter` operations in flight will use, at most."""

    def in_flight_beside(self, slot: NonceSlot) -> Callable[[Counter], int]:
        """`in_flight` without what the operations in `slot` hold: the view for judging an operation in it."""

    def standing(self, slot: NonceSlot, session: SessionKey, user_op_hash: Hash32 | None) -> Standing | None:
        """What the session has in flight, seen by an operation in `slot`; `None` when that is nothing."""

    def accept(self, name: HoldName, *, answered: bool = True) -> None:
        """The bundler took the operation, or, where it has not `answered`, may have: what it holds stays, beside that
        of the others in its slot. A bundler checks signatures, so that what it took counts for everybody."""

    def release(self, name: HoldName) -> Reservation | None:
        """One attempt to send failed. The reservation goes, and is returned, unless another attempt of the same
        operation is under way or was, or may have been, accepted."""

    def held_in(self, slot: NonceSlot) -> tuple[Reservation, ...]:
        """What the operations that compete for a nonce hold."""

    def settle(self, slot: NonceSlot) -> tuple[Reservation, ...]:
        """The nonce was used: nothing in its slot is in flight any more. Returns what was held there."""

    def grants_beside(self, reservation: Reservation) -> tuple[HoldName, ...]:
        """What else, under other nonces, uses the enable nonce that this reservation uses."""

    def grants_before(self, session: SessionKey, enable_nonce: int) -> tuple[HoldName, ...]:
        """What uses an earlier enable nonce of the session than this one, and is not in what was read of it."""

    def expire(self, name: HoldName) -> Reservation | None:
        """The operation can no longer be mined under this claim: it holds nothing."""

    def loosen(self, name: HoldName, grip: Grip) -> None:
        """Less is held from now on for an operation whose nonce is still unused."""

    def restore(self, reservation: Reservation, grip: Grip = Grip.ALL) -> None:
        """Hold again what may be mined, whatever the limits say: after a restart, or when the chain went back."""

    # what a reading of the chain has counted already

    def of_session(self, session: SessionKey) -> tuple[Reservation, ...]:
        """What operations of one session hold, oldest first."""

    def slots_of_session(self, session: SessionKey) -> frozenset[NonceSlot]:
        """The slots that these are in. Cheap, where there are many."""

    def oldest_of_session(self, session: SessionKey, most: int) -> tuple[HoldName, ...]:
        """The names of the first of these."""

    def number_of_session(self, session: SessionKey) -> int:
        """How many these are."""

    def counting(self, session: SessionKey) -> Counting:
        """For a reading that is under way of what the chain has used of the session."""

    def is_counted(self, name: HoldName) -> bool | None:
        """Whether what is known of the session has the operation's use already; `None` when the ledger cannot tell,
        because the operation was restored after that was read."""

    # what rules count

    def counts(self, slot: NonceSlot, now: float, bringer: Bringer | None = None) -> Counts:
        """What rules have counted, as an operation in `slot` is judged by it at this time; one that nobody's signature
        was checked for, with what its `bringer` brought before."""

    def rate(
        self, key: CountKey, window: Window, amount: int, limit: int, now: float, *, bringer: Bringer | None = None
    ) -> bool:
        """Count a request at once, whatever becomes of it, for its `bringer` alone where nobody's signature was
        checked. Whether it fits; one that does not is not counted."""

    def learn_now(self, lesson: Lesson, now: float, *, success: bool) -> None:
        """A history learns at once, of what never comes to a receipt."""

    def conclude(self, reservation: Reservation, now: float, *, success: bool, at: float | None = None) -> Concluded:
        """The operation was mined: its rule charges go into their windows, of one that reverted only those that
        last and the different things it brought, and histories learn from it. Goes with `settle`, in one step.

        `at` is the time of the block, where it is known; both are of the time that rules count by."""

    def reopen(self, reservation: Reservation, at: int, *, success: bool) -> RuleRows:
        """The chain took back what `conclude` has counted at that moment. Histories stay learnt."""

    def rows_now(self, rows: RuleRows) -> RuleRows:
        """These rows as they stand now."""

    def keep_only(self, identities: Collection[bytes]) -> None:
        """Only rules of these identities count from now on: forget what others have counted and learnt."""


UNKNOWN_NONCE: Final = -1


def most_of(reservations: Sequence[Reservation]) -> Reservation:
    """The first of several claims on one operation, with the most that any of them takes of each rule's count: for
    when nobody can tell under which of them it was mined."""
    first = reservations[0]
    if len(reservations) == 1:
        return first
    return replace(first, rule_charges=most_charged([each.rule_charges for each in reservations]))


def most_charged(claims: Sequence[Charges]) -> Charges:
    """What those charge at most of which only one is mined: of each rule's count the larger amount, and all marks."""
    if len(claims) == 1:
        return claims[0]
    by_key: dict[CountKey, list[WindowCharge]] = {}
    marks: dict[tuple[CountKey, bytes], DistinctCharge] = {}
    for charges in claims:
        of_claim: dict[CountKey, list[WindowCharge]] = {}
        for charge in charges:
            if isinstance(charge, WindowCharge):
                of_claim.setdefault(charge.key, []).append(charge)
            else:
                marks[charge.key, charge.mark] = charge
        for key, of_key in of_claim.items():
            if _amount(of_key) > _amount(by_key.get(key, ())):
                by_key[key] = of_key
    return *chain.from_iterable(by_key.values()), *marks.values()


def one_of_each_session(claims: Sequence[Reservation]) -> Sequence[Reservation]:
    """Of the claims on one operation under one session, a grant and a use, one alone with the most that any of them
    takes of everything: one that grants nothing, where there is one. For when nobody can tell them apart."""
    if len(claims) == 1:
        return claims
    by_session: dict[SessionKey | None, list[Reservation]] = {}
    for each in claims:
        by_session.setdefault(each.session, []).append(each)
    return [_widest(of_session) for of_session in by_session.values()]


def _widest(claims: list[Reservation]) -> Reservation:
    if len(claims) == 1:
        return claims[0]
    claims.sort(key=lambda each: each.grant is not None)
    limits = {charge.counter: charge.limit for each in reversed(claims) for charge in each.charges}
    amounts = [each.amounts() for each in claims]
    most = {counter: max(of_claim.get(counter, 0) for of_claim in amounts) for counter in limits}
    charges = tuple(Charge(counter, amount, limits[counter]) for counter, amount in most.items())
    return replace(most_of(claims), charges=charges)


def _amount(charges: Iterable[WindowCharge]) -> int:
    return sum(charge.amount for charge in charges)
