"""What operations hold, by the nonce they compete for; and the sums of it, kept as they change and never counted anew.

Of all operations in one slot at most one is mined, so that a slot holds, of each counter, the most that any of them
takes. The same operation under another session is one more of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from proxy.ledger.countings import Countings
from proxy.ledger.reservation import (
    Bringer,
    Charges,
    Grip,
    NonceSlot,
    Reservation,
    Standing,
    is_on_chain,
    most_charged,
)
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.userop.primitives import Address, Hash32

_made: Final = tuple.__new__
_ALL: Final = Grip.ALL  # looked up once, not of every operation
NO_AMOUNTS: Final[Mapping[Counter, int]] = MappingProxyType({})
_NOBODY: Final[Mapping[Bringer, Charges]] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Hold:
    """One claim on one operation. `amounts` are never changed."""

    reservation: Reservation
    amounts: Mapping[Counter, int]
    attempts: int  # sends under way whose answer is not known
    accepted: bool
    restored: bool = False  # held without a check: it may have been replaced since
    grip: Grip = Grip.ALL
    bringer: Bringer | None = None  # who brought it, as long as nobody has checked a signature


class Slot:
    """The operations that compete for one nonce, and the most that any of them takes of each counter, whatever readings
    have counted of it.

    `brought` is what nobody checked a signature for. All but `holds` is replaced and never changed: nearly every slot
    shares it with others, or with what it holds.
    """

    __slots__ = ("amounts", "brought", "holds", "rules")

    def __init__(self) -> None:
        self.holds: list[Hold] = []
        self.amounts: Mapping[Counter, int] = NO_AMOUNTS
        self.rules: Charges = ()
        self.brought: Mapping[Bringer, Charges] = _NOBODY


@dataclass(slots=True)
class _OfSession:
    # oldest first; the first is found at once, however many were before it
    holds: OrderedDict[HoldName, Hold] = field(default_factory=OrderedDict)
    lanes: dict[int, int] = field(default_factory=dict)  # nonce key: how many of them
    grants: dict[int, dict[HoldName, None]] = field(default_factory=dict)  # by the enable nonce that they use


class Slots:
    """The slots of one chain with all sums."""

    def __init__(self, rules: RuleCounts) -> None:
        self._rules = rules
        self._slots: dict[NonceSlot, Slot] = {}
        self._holds: dict[HoldName, Hold] = {}
        # the dictionaries' own, as each operation asks several times
        self.get: Callable[[NonceSlot], Slot | None] = self._slots.get
        """What competes for a nonce."""
        self.find: Callable[[HoldName], Hold | None] = self._holds.get
        """What is held under a name."""
        self._in_flight: dict[Counter, int] = {}
        self.countings = Countings(self._taken_off, self._place_of)
        """What readings have of it already."""
        self._sessions: dict[SessionKey, _OfSession] = {}
        self._accounts: dict[Address, int] = {}
        self._bringers: dict[Bringer, int] = {}
        self.on_free: Callable[[NonceSlot], None] = lambda _place: None
        """Hears of each slot that nothing competes for any more."""

    def __len__(self) -> int:
        return len(self._holds)

    # asking

    def _place_of(self, name: HoldName) -> NonceSlot | None:
        hold = self._holds.get(name)
        return None if hold is None else hold.reservation.slot

    def in_flight(self, counter: Counter) -> int:
        """The sum over all slots."""
        held = self._in_flight.get(counter, 0)
        return held - self.countings.off.get(counter, 0) if self.countings.begun else held

    def in_flight_beside(self, place: NonceSlot, counter: Counter) -> int:
        """The same over all others."""
        held = self._in_flight.get(counter, 0)
        slot = self._slots.get(place)
        if slot is not None:
            held -= slot.amounts.get(counter, 0)
        if self.countings.begun:
            held -= self.countings.off.get(counter, 0)
            if slot is not None:
                held += self.countings.off_in(place, _sessions_in(slot), counter)
        return held

    def of_session(self, session: SessionKey) -> tuple[Reservation, ...]:
        """Oldest first."""
        of_session = self._sessions.get(session)
        if of_session is None:
            return ()
        return tuple([hold.reservation for hold in of_session.holds.values()])

    def places_of(self, session: SessionKey) -> frozenset[NonceSlot]:
        """Where these are."""
        of_session = self._sessions.get(session)
        return frozenset() if of_session is None else frozenset([e.reservation.slot for e in of_session.holds.values()])

    def oldest_of_session(self, session: SessionKey, most: int) -> tuple[HoldName, ...]:
        """The names of the oldest."""
        of_session = self._sessions.get(session)
        return () if of_session is None else tuple(islice(of_session.holds, most))

    def number_of(self, session: SessionKey) -> int:
        """How many operations of a session are held."""
        of_session = self._sessions.get(session)
        return 0 if of_session is None else len(of_session.holds)

    def number_in(self, account: Address) -> int:
        """The same of an account, without what nobody checked a signature for."""
        return self._accounts.get(account, 0)

    def number_of_bringer(self, bringer: Bringer) -> int:
        """How many operations are held that nobody checked a signature for, of those that one has brought."""
        return self._bringers.get(bringer, 0)

    def standing(self, place: NonceSlot, session: SessionKey, user_op_hash: Hash32 | None) -> Standing | None:
        """See `Ledger.standing`."""
        of_session = self._sessions.get(session)
        if of_session is None:
            return None
        slot = self._slots.get(place)
        replaces = slot is not None and _has_other(slot, session, user_op_hash)
        lanes = of_session.lanes
        return _made(Standing, (replaces, len(lanes) + (place.nonce >> 64 not in lanes)))

    def rival_of(self, reservation: Reservation) -> Hash32 | None:
        """Another operation in flight, under another nonce, that uses up the same enable nonce."""
        for name in self.grants_beside(reservation):
            if self._holds[name].grip is Grip.ALL:
                return name.user_op_hash
        return None

    def grants_beside(self, reservation: Reservation) -> tuple[HoldName, ...]:
        """See `Ledger.grants_beside`."""
        of_session = None if reservation.session is None else self._sessions.get(reservation.session)
        if of_session is None or reservation.grant is None:
            return ()
        turn = of_session.grants.get(reservation.grant, {})
        return tuple(name for name in turn if self._holds[name].reservation.slot != reservation.slot)

    def grants_before(self, session: SessionKey, enable_nonce: int) -> tuple[HoldName, ...]:
        """See `Ledger.grants_before`."""
        of_session = self._sessions.get(session)
        if of_session is None:
            return ()
        return tuple(
            name
            for nonce, turn in of_session.grants.items()
            if 0 <= nonce < enable_nonce
            for name in turn
            if not self.countings.has(self._holds[name].reservation.slot, session)
        )

    # changing

    def put(self, hold: Hold) -> None:
        """Hold this from now on."""
        reservation = hold.reservation
        name, place = reservation.name, reservation.slot
        self._holds[name] = hold
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = Slot()
        slot.holds.append(hold)
        self._count(hold, 1)
        if name.session is not None:
            of_session = self._sessions.get(name.session)
            if of_session is None:
                of_session = self._sessions[name.session] = _OfSession()
            of_session.holds[name] = hold
            lane = place.nonce >> 64
            of_session.lanes[lane] = of_session.lanes.get(lane, 0) + 1
            if hold.restored:
                self.countings.restored(name)
            if reservation.grant is not None:
                of_session.grants.setdefault(reservation.grant, {})[name] = None
        self._recount(slot, hold)

    def drop(self, name: HoldName) -> Reservation:
        """Hold it no more."""
        hold = self._holds.pop(name)
        reservation = hold.reservation
        place = reservation.slot
        slot = self._slots[place]
        slot.holds.remove(hold)
        self._count(hold, -1)
        if name.session is not None:
            self._drop_from_session(name.session, reservation)
            self.countings.dropped(name)
        self._recount(slot, hold)
        if not slot.holds:
            del self._slots[place]
            self.on_free(place)
        return reservation

    def vouch(self, name: HoldName) -> None:
        """Somebody has checked its signature: it counts for everybody from now on."""
        hold = self._holds[name]
        if hold.bringer is not None:
            self._count(hold, -1)
            hold.bringer = None
            self._count(hold, 1)
            self._recount_rules(self._slots[hold.reservation.slot])

    def loosen(self, name: HoldName, grip: Grip) -> None:
        """Hold less of it."""
        hold = self._holds[name]
        hold.grip = grip
        self._recount(self._slots[hold.reservation.slot], hold)

    def _taken_off(self, place: NonceSlot, session: SessionKey) -> Mapping[Counter, int] | None:
        slot = self._slots.get(place)
        if slot is None or not any(hold.reservation.session == session for hold in slot.holds):
            return None
        left = _most_of(slot, counted=session)
        if not left:
            return slot.amounts
        beyond = ((counter, amount - left.get(counter, 0)) for counter, amount in slot.amounts.items())
        return {counter: amount for counter, amount in beyond if amount}

    def _drop_from_session(self, session: SessionKey, reservation: Reservation) -> None:
        name, lane = reservation.name, reservation.slot.nonce >> 64
        of_session = self._sessions[session]
        del of_session.holds[name]
        if not of_session.holds:
            del self._sessions[session]
            return
        if left := of_session.lanes[lane] - 1:
            of_session.lanes[lane] = left
        else:
            del of_session.lanes[lane]
        if reservation.grant is not None:
            turn = of_session.grants[reservation.grant]
            del turn[name]
            if not turn:
                del of_session.grants[reservation.grant]

    def _recount(self, slot: Slot, changed: Hold) -> None:
        """The sums follow one slot, whose operations are few; this one of them has come, has gone, or is held less."""
        before, after = slot.amounts, _most_of(slot)
        if before or after:
            self._put_in_place(before, after)
            slot.amounts = after
        reservation = changed.reservation
        if self.countings.begun:
            self.countings.changed(reservation.slot, _sessions_in(slot, reservation.session))
        if reservation.rule_charges:
            self._recount_rules(slot)

    def _put_in_place(self, before: Mapping[Counter, int], after: Mapping[Counter, int]) -> None:
        in_flight = self._in_flight
        for counter, amount in before.items():
            if left := in_flight[counter] - amount:
                in_flight[counter] = left
            else:
                del in_flight[counter]
        for counter, amount in after.items():
            in_flight[counter] = in_flight.get(counter, 0) + amount

    def _recount_rules(self, slot: Slot) -> None:
        held: list[Charges] = []
        brought: dict[Bringer, list[Charges]] = {}
        for hold in slot.holds:
            if hold.reservation.rule_charges and hold.grip is not Grip.NONE:
                of_bringer = held if hold.bringer is None else brought.setdefault(hold.bringer, [])
                of_bringer.append(hold.reservation.rule_charges)
        in_flight = self._rules.held
        if slot.rules:
            in_flight.let_go(slot.rules)
        slot.rules = charges = most_charged(held) if held else ()
        if charges:
            in_flight.hold(charges)
        if brought or slot.brought:
            for bringer, before in slot.brought.items():
                in_flight.let_go(before, bringer)
            slot.brought = {bringer: most_charged(claims) for bringer, claims in brought.items()}
            for bringer, after in slot.brought.items():
                in_flight.hold(after, bringer)

    def _count(self, hold: Hold, number: int) -> None:
        """One more, or one less, of its account or of its bringer."""
        numbers: dict[Any, int] = self._accounts  # Any: names of either kind
        name: object = hold.reservation.slot.sender
        if hold.bringer is not None:
            numbers, name = self._bringers, hold.bringer
        if after := numbers.get(name, 0) + number:
            numbers[name] = after
        else:
            del numbers[name]


def _has_other(slot: Slot, session: SessionKey, user_op_hash: Hash32 | None) -> bool:
    """Whether another operation of the session is held there."""
    held = [hold.reservation for hold in slot.holds]
    return any(other.session == session and other.user_op_hash != user_op_hash for other in held)


def _sessions_in(slot: Slot, *others: SessionKey | None) -> set[SessionKey]:
    sessions = (*(hold.reservation.session for hold in slot.holds), *others)
    return {session for session in sessions if session is not None}


def _most_of(slot: Slot, counted: SessionKey | None = None) -> Mapping[Counter, int]:
    """The most that any of its operations takes of each counter; nothing of what none takes anything of. What a reading
    of the `counted` session has is left out."""
    if not slot.holds:
        return NO_AMOUNTS
    if len(slot.holds) == 1 and counted is None:
        (hold,) = slot.holds
        if hold.grip is _ALL and 0 not in hold.amounts.values():
            return hold.amounts  # nearly always
    amounts: dict[Counter, int] = {}
    for hold in slot.holds:
        if hold.grip is Grip.NONE:
            continue
        local = hold.grip is Grip.LOCAL or (counted is not None and hold.reservation.session == counted)
        for counter, amount in hold.amounts.items():
            if amount > amounts.get(counter, 0) and not (local and is_on_chain(counter)):
                amounts[counter] = amount
    return amounts
