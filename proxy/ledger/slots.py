"""What operations hold, by the nonce they compete for; and the sums of it, kept as they change and never counted anew.

Of all operations in one slot at most one is mined, so that a slot holds, of each counter, the most that any of them
takes. The same operation under another session is one more of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Final, TypeVar

from proxy.ledger.countings import Countings
from proxy.ledger.reservation import Bringer, Grip, NonceSlot, Reservation, Standing, is_on_chain
from proxy.ledger.rule_counts import RuleCounts
from proxy.ledger.rule_use import NOTHING, RuleUse
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.userop.nonce import nonce_key
from proxy.userop.primitives import Address, Hash32

_made: Final = tuple.__new__
_NO_AMOUNTS: Final[Mapping[Counter, int]] = MappingProxyType({})
_NOBODY: Final[Mapping[Bringer, RuleUse]] = MappingProxyType({})


@dataclass(slots=True)
class Hold:
    """One claim on one operation."""

    reservation: Reservation
    amounts: dict[Counter, int]
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
        self.holds: dict[HoldName, Hold] = {}
        self.amounts: Mapping[Counter, int] = _NO_AMOUNTS
        self.rules: RuleUse = NOTHING
        self.brought: Mapping[Bringer, RuleUse] = _NOBODY


@dataclass(slots=True)
class _OfSession:
    # oldest first; the first is found at once, however many were before it
    names: OrderedDict[HoldName, NonceSlot] = field(default_factory=OrderedDict)
    lanes: dict[int, int] = field(default_factory=dict)  # nonce key: how many of them
    grants: dict[int, dict[HoldName, None]] = field(default_factory=dict)  # by the enable nonce that they use


class Slots:
    """The slots of one chain with all sums."""

    def __init__(self, rules: RuleCounts) -> None:
        self._rules = rules
        self._slots: dict[NonceSlot, Slot] = {}
        self._names: dict[HoldName, NonceSlot] = {}
        self._in_flight: dict[Counter, int] = {}
        self.countings = Countings(self._taken_off, self._names)
        """What readings have of it already."""
        self._sessions: dict[SessionKey, _OfSession] = {}
        self._accounts: dict[Address, int] = {}
        self._bringers: dict[Bringer, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    # asking

    def get(self, place: NonceSlot) -> Slot | None:
        """What competes for a nonce."""
        return self._slots.get(place)

    def find(self, name: HoldName) -> tuple[Slot, Hold] | None:
        """What is held under a name, and where."""
        place = self._names.get(name)
        if place is None:
            return None
        slot = self._slots[place]
        return slot, slot.holds[name]

    def in_flight(self, counter: Counter) -> int:
        """The sum over all slots."""
        held = self._in_flight.get(counter, 0)
        return held - self.countings.off.get(counter, 0) if self.countings else held

    def in_flight_beside(self, place: NonceSlot, counter: Counter) -> int:
        """The same over all others."""
        held = self._in_flight.get(counter, 0)
        slot = self._slots.get(place)
        if slot is not None:
            held -= slot.amounts.get(counter, 0)
        if self.countings:
            held -= self.countings.off.get(counter, 0)
            if slot is not None:
                held += self.countings.off_in(place, _sessions_in(slot), counter)
        return held

    def of_session(self, session: SessionKey) -> tuple[Reservation, ...]:
        """Oldest first."""
        of_session = self._sessions.get(session)
        if of_session is None:
            return ()
        return tuple(self._slots[place].holds[name].reservation for name, place in of_session.names.items())

    def places_of(self, session: SessionKey) -> frozenset[NonceSlot]:
        """Where these are."""
        of_session = self._sessions.get(session)
        return frozenset() if of_session is None else frozenset(of_session.names.values())

    def oldest_of_session(self, session: SessionKey, most: int) -> tuple[HoldName, ...]:
        """The names of the oldest."""
        of_session = self._sessions.get(session)
        return () if of_session is None else tuple(islice(of_session.names, most))

    def number_of(self, session: SessionKey) -> int:
        """How many operations of a session are held."""
        of_session = self._sessions.get(session)
        return 0 if of_session is None else len(of_session.names)

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
        replaces = slot is not None and any(
            other.session == session and other.user_op_hash != user_op_hash for other in slot.holds
        )
        lanes = of_session.lanes
        return _made(Standing, (replaces, len(lanes) + (nonce_key(place.nonce) not in lanes)))

    def rival_of(self, reservation: Reservation) -> Hash32 | None:
        """Another operation in flight, under another nonce, that uses up the same enable nonce."""
        for name in self.grants_beside(reservation):
            if self._slots[self._names[name]].holds[name].grip is Grip.ALL:
                return name.user_op_hash
        return None

    def grants_beside(self, reservation: Reservation) -> tuple[HoldName, ...]:
        """See `Ledger.grants_beside`."""
        of_session = None if reservation.session is None else self._sessions.get(reservation.session)
        if of_session is None or reservation.grant is None:
            return ()
        turn = of_session.grants.get(reservation.grant, {})
        return tuple(name for name in turn if self._names[name] != reservation.slot)

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
            if not self.countings.has(self._names[name], session)
        )

    # changing

    def put(self, hold: Hold) -> None:
        """Hold this from now on."""
        reservation = hold.reservation
        name, place = reservation.name, reservation.slot
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = Slot()
        slot.holds[name] = hold
        self._names[name] = place
        self._add(hold, place, 1)
        if name.session is not None:
            of_session = self._sessions.get(name.session)
            if of_session is None:
                of_session = self._sessions[name.session] = _OfSession()
            of_session.names[name] = place
            lane = nonce_key(place.nonce)
            of_session.lanes[lane] = of_session.lanes.get(lane, 0) + 1
            if hold.restored:
                self.countings.restored(name)
            if reservation.grant is not None:
                of_session.grants.setdefault(reservation.grant, {})[name] = None
        self._recount(slot, place, name)

    def drop(self, name: HoldName) -> Reservation:
        """Hold it no more."""
        place = self._names.pop(name)
        slot = self._slots[place]
        hold = slot.holds.pop(name)
        self._add(hold, place, -1)
        self._drop_from_session(hold.reservation)
        self.countings.dropped(name)
        self._recount(slot, place, name)
        if not slot.holds:
            del self._slots[place]
        return hold.reservation

    def vouch(self, name: HoldName) -> None:
        """Somebody has checked its signature: it counts for everybody from now on."""
        place = self._names[name]
        slot = self._slots[place]
        hold = slot.holds[name]
        if hold.bringer is not None:
            self._add(hold, place, -1)
            hold.bringer = None
            self._add(hold, place, 1)
            self._recount_rules(slot)

    def loosen(self, name: HoldName, grip: Grip) -> None:
        """Hold less of it."""
        place = self._names[name]
        slot = self._slots[place]
        slot.holds[name].grip = grip
        self._recount(slot, place, name)

    def _taken_off(self, place: NonceSlot, session: SessionKey) -> Mapping[Counter, int] | None:
        slot = self._slots.get(place)
        if slot is None or not any(name.session == session for name in slot.holds):
            return None
        left = _most_of(slot, counted=session)
        if not left:
            return slot.amounts
        beyond = ((counter, amount - left.get(counter, 0)) for counter, amount in slot.amounts.items())
        return {counter: amount for counter, amount in beyond if amount}

    def _drop_from_session(self, reservation: Reservation) -> None:
        name, place = reservation.name, reservation.slot
        if name.session is None:
            return
        of_session = self._sessions[name.session]
        del of_session.names[name]
        if reservation.grant is not None:
            turn = of_session.grants[reservation.grant]
            del turn[name]
            if not turn:
                del of_session.grants[reservation.grant]
        lane = nonce_key(place.nonce)
        of_session.lanes[lane] -= 1
        if not of_session.lanes[lane]:
            del of_session.lanes[lane]
        if not of_session.names:
            del self._sessions[name.session]

    def _recount(self, slot: Slot, place: NonceSlot, name: HoldName) -> None:
        """The sums follow one slot, whose operations are few; that of this name is not as it was."""
        for counter, amount in slot.amounts.items():
            left = self._in_flight[counter] - amount
            if left:
                self._in_flight[counter] = left
            else:
                del self._in_flight[counter]
        slot.amounts = amounts = _most_of(slot)
        for counter, amount in amounts.items():
            self._in_flight[counter] = self._in_flight.get(counter, 0) + amount
        if self.countings:
            self.countings.changed(place, _sessions_in(slot, name))
        if slot.rules is not NOTHING or slot.brought:
            self._recount_rules(slot)
            return
        for hold in slot.holds.values():
            if hold.reservation.rule_charges:
                self._recount_rules(slot)
                return

    def _recount_rules(self, slot: Slot) -> None:
        use = NOTHING
        brought: dict[Bringer, RuleUse] = {}
        for hold in slot.holds.values():
            if not hold.reservation.rule_charges or hold.grip is Grip.NONE:
                continue
            if hold.bringer is not None:
                brought.setdefault(hold.bringer, RuleUse()).grow(hold.reservation.rule_charges)
                continue
            use = RuleUse() if use is NOTHING else use
            use.grow(hold.reservation.rule_charges)
        if (before_use := slot.rules) is not NOTHING:
            self._rules.held.let_go(before_use)
        if use is not NOTHING:
            self._rules.held.hold(use)
        slot.rules = use
        if brought or slot.brought:
            for bringer, before in slot.brought.items():
                self._rules.held.let_go(before, bringer)
            for bringer, after in brought.items():
                self._rules.held.hold(after, bringer)
            slot.brought = brought

    def _add(self, hold: Hold, place: NonceSlot, number: int) -> None:
        """One more, or one less, of its account or of its bringer."""
        if hold.bringer is None:
            _add_to(self._accounts, place.sender, number)
        else:
            _add_to(self._bringers, hold.bringer, number)


_Name = TypeVar("_Name")


def _add_to(numbers: dict[_Name, int], name: _Name, number: int) -> None:
    after = numbers.get(name, 0) + number
    if after:
        numbers[name] = after
    else:
        del numbers[name]


def _sessions_in(slot: Slot, *others: HoldName) -> set[SessionKey]:
    return {name.session for name in (*slot.holds, *others) if name.session is not None}


def _most_of(slot: Slot, counted: SessionKey | None = None) -> Mapping[Counter, int]:
    """The most that any of its operations takes of each counter; nothing of what none takes anything of. What a reading
    of the `counted` session has is left out."""
    if not slot.holds:
        return _NO_AMOUNTS
    if len(slot.holds) == 1 and counted is None:
        (hold,) = slot.holds.values()
        if hold.grip is Grip.ALL and 0 not in hold.amounts.values():
            return hold.amounts  # nearly always
    amounts: dict[Counter, int] = {}
    for name, hold in slot.holds.items():
        if hold.grip is Grip.NONE:
            continue
        local = hold.grip is Grip.LOCAL or (counted is not None and name.session == counted)
        for counter, amount in hold.amounts.items():
            if amount > amounts.get(counter, 0) and not (local and is_on_chain(counter)):
                amounts[counter] = amount
    return amounts
