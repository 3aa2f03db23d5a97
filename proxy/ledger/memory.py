"""The ledger of one process, in memory. Every call runs to its end without giving way, which makes it atomic."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from proxy.judge.counts import CountKey, Counts, Lesson
from proxy.judge.rule import Window
from proxy.ledger.countings import PlacesCounted
from proxy.ledger.hindrance import Caps, Hindered, Hindrance, Refusal, RuleRefusal
from proxy.ledger.reservation import Basis, Bringer, Concluded, Grip, Held, NonceSlot, Reservation, RuleRows, Standing
from proxy.ledger.rule_counts import RuleCounts
from proxy.ledger.rule_use import EVERYBODY, RuleUse, RuleUseView
from proxy.ledger.slot_counts import SlotCounts
from proxy.ledger.slots import NO_AMOUNTS, Hold, Slot, Slots
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.session.policies.simple_gas import COST_SLOT
from proxy.userop.primitives import Hash32

_made: Final = tuple.__new__  # makes a named tuple of all its values without asking for their names


class Sessions(Protocol):
    """What has to be so still when something is reserved; see `proxy.session.registry.Registry`."""

    def revision(self, key: SessionKey) -> int:
        """Grows whenever something changes of what is known of the session."""

    def is_frozen(self, key: SessionKey) -> bool:
        """Whether ops hold the session."""


class MemoryLedger:
    """See `proxy.ledger.reservation.Ledger` for the meaning of each call.

    `rules` are the counts that it shares with the ledgers of other chains; without, it has its own. Without `sessions`
    no reservation is ever out of date.
    """

    def __init__(
        self, rules: RuleCounts | None = None, *, sessions: Sessions | None = None, caps: Caps | None = None
    ) -> None:
        self._rules = RuleCounts() if rules is None else rules
        self._sessions = sessions
        self._caps = Caps() if caps is None else caps
        self._slots = Slots(self._rules)

    def take(self, caps: Caps) -> None:
        """Hold what comes from now on to these; what is in flight stays."""
        self._caps = caps

    def tell_of_free(self, told: Callable[[NonceSlot], None]) -> None:
        """Have somebody told of each slot in which nothing is held any more; see `occupied`."""
        self._slots.on_free = told

    def __len__(self) -> int:
        """How many operations are in flight, each under every claim."""
        return len(self._slots)

    def reserve(self, reservation: Reservation, basis: Basis, now: float) -> Held | Refusal | RuleRefusal | Hindered:
        standing = self._slots.find(reservation.name)
        if standing is not None and (settled := self._again(standing, reservation, basis)) is not None:
            return settled
        slot = self._slots.get(reservation.slot)
        hindered = self._outdated(reservation, basis)
        if hindered is None and reservation.grant is not None and (rival := self._slots.rival_of(reservation)):
            hindered = Hindered(Hindrance.GRANT_RIVAL, rival=rival)
        if hindered is None and standing is None:
            hindered = self._full(reservation, basis, slot)
        if hindered is not None:
            return hindered
        refusal, amounts = self._check(reservation, basis)
        if refusal is not None:
            return refusal
        if reservation.rule_charges:
            held = self._rules.check(reservation.rule_charges, _view(slot, basis.bringer), now)
            if isinstance(held, RuleRefusal):
                return held
            if len(held) != len(reservation.rule_charges):
                reservation = replace(reservation, rule_charges=held)
        if standing is not None:
            standing.attempts += 1
            if standing.grip is not Grip.ALL:
                self._slots.loosen(reservation.name, Grip.ALL)
            return Held(standing.reservation, again=True)
        replaces = () if slot is None else _others(slot, reservation)
        self._slots.put(Hold(reservation, amounts, attempts=1, accepted=False, bringer=basis.bringer))
        return _made(Held, (reservation, False, replaces))

    def _again(self, standing: Hold, reservation: Reservation, basis: Basis) -> Held | Hindered | None:
        """What is said to an operation that is held already, unless it has to be checked anew."""
        if (hindered := self._outdated(reservation, basis)) is not None:
            return hindered
        if reservation.grant is not None and _asks_more(reservation, standing.amounts):
            # another grant by the same enable nonce, and another use of what it grants: only one can be mined
            return Hindered(Hindrance.GRANT_RIVAL, rival=reservation.user_op_hash)
        if standing.restored or standing.grip is not Grip.ALL:
            return None
        # the same operation takes nothing more
        standing.attempts += 1
        return Held(standing.reservation, again=True)

    def occupied(self, place: NonceSlot) -> bool:
        return self._slots.get(place) is not None

    def in_flight(self, counter: Counter) -> int:
        return self._slots.in_flight(counter)

    def in_flight_beside(self, slot: NonceSlot) -> Callable[[Counter], int]:
        # looked up anew each time: the slot may have changed since the view was asked for
        return partial(self._slots.in_flight_beside, slot)

    def standing(self, slot: NonceSlot, session: SessionKey, user_op_hash: Hash32 | None) -> Standing | None:
        return self._slots.standing(slot, session, user_op_hash)

    def accept(self, name: HoldName, *, answered: bool = True) -> None:
        hold = self._slots.find(name)
        if hold is not None:
            hold.attempts = max(hold.attempts - 1, 0)
            hold.accepted = True
            if answered and hold.bringer is not None:
                self._slots.vouch(name)

    def release(self, name: HoldName) -> Reservation | None:
        hold = self._slots.find(name)
        if hold is None:
            return None
        hold.attempts = max(hold.attempts - 1, 0)
        return None if hold.attempts or hold.accepted else self._slots.drop(name)

    def held_in(self, slot: NonceSlot) -> tuple[Reservation, ...]:
        found = self._slots.get(slot)
        return () if found is None else tuple([hold.reservation for hold in found.holds])

    def settle(self, slot: NonceSlot) -> tuple[Reservation, ...]:
        held = self.held_in(slot)
        for reservation in held:
            self._slots.drop(reservation.name)
        return held

    def grants_beside(self, reservation: Reservation) -> tuple[HoldName, ...]:
        return self._slots.grants_beside(reservation)

    def grants_before(self, session: SessionKey, enable_nonce: int) -> tuple[HoldName, ...]:
        return self._slots.grants_before(session, enable_nonce)

    def expire(self, name: HoldName) -> Reservation | None:
        return None if self._slots.find(name) is None else self._slots.drop(name)

    def loosen(self, name: HoldName, grip: Grip) -> None:
        if self._slots.find(name) is not None:
            self._slots.loosen(name, grip)

    def restore(self, reservation: Reservation, grip: Grip = Grip.ALL) -> None:
        if self._slots.find(reservation.name) is None:
            amounts = reservation.amounts()
            self._slots.put(Hold(reservation, amounts, attempts=0, accepted=True, restored=True, grip=grip))

    def of_session(self, session: SessionKey) -> tuple[Reservation, ...]:
        return self._slots.of_session(session)

    def slots_of_session(self, session: SessionKey) -> frozenset[NonceSlot]:
        return self._slots.places_of(session)

    def oldest_of_session(self, session: SessionKey, most: int) -> tuple[HoldName, ...]:
        return self._slots.oldest_of_session(session, most)

    def number_of_session(self, session: SessionKey) -> int:
        return self._slots.number_of(session)

    def counting(self, session: SessionKey) -> PlacesCounted:
        return self._slots.countings.begin(session)

    def is_counted(self, name: HoldName) -> bool | None:
        return self._slots.countings.is_counted(name)

    # what rules count

    def counts(self, slot: NonceSlot, now: float, bringer: Bringer | None = None) -> Counts:
        return SlotCounts(self._rules, _view(self._slots.get(slot), bringer), now)

    def rate(
        self, key: CountKey, window: Window, amount: int, limit: int, now: float, *, bringer: Bringer | None = None
    ) -> bool:
        return self._rules.rate(key, window, amount, limit, now, bringer=bringer)

    def learn_now(self, lesson: Lesson, now: float, *, success: bool) -> None:
        self._rules.learn_now(lesson, now, success=success)

    def conclude(self, reservation: Reservation, now: float, *, success: bool, at: float | None = None) -> Concluded:
        return self._rules.conclude(reservation, now, success=success, at=at)

    def reopen(self, reservation: Reservation, at: int, *, success: bool) -> RuleRows:
        return self._rules.reopen(reservation, at, success=success)

    def rows_now(self, rows: RuleRows) -> RuleRows:
        return self._rules.rows_now(rows)

    def keep_only(self, identities: Collection[bytes]) -> None:
        for _ in self._rules.keep_only(identities):
            pass

    # what a reservation rests on

    def _outdated(self, reservation: Reservation, basis: Basis) -> Hindered | None:
        session = reservation.session
        if session is None or self._sessions is None:
            return None
        if self._sessions.is_frozen(session):
            return Hindered(Hindrance.FROZEN)
        if basis.revision is not None and basis.revision != self._sessions.revision(session):
            return Hindered(Hindrance.STALE)
        return None

    def _full(self, reservation: Reservation, basis: Basis, slot: Slot | None) -> Hindered | None:
        """Whether one more is one too many in flight."""
        caps, slots, session = self._caps, self._slots, reservation.session
        if session is not None and slots.number_of(session) >= caps.session:
            return Hindered(Hindrance.SESSION_FULL, caps.session)
        if basis.bringer is not None:
            if slots.number_of_bringer(basis.bringer) >= caps.bringer:
                return Hindered(Hindrance.BRINGER_FULL, caps.bringer)
        elif slots.number_in(reservation.slot.sender) >= caps.account:
            return Hindered(Hindrance.ACCOUNT_FULL, caps.account)
        if slot is not None and len(slot.holds) >= caps.nonce:
            return Hindered(Hindrance.NONCE_FULL, caps.nonce)
        return None

    def _check(self, reservation: Reservation, basis: Basis) -> tuple[Refusal | None, Mapping[Counter, int]]:
        if not reservation.charges:
            return None, NO_AMOUNTS
        in_flight = self.in_flight_beside(reservation.slot)
        amounts: dict[Counter, int] = {}
        for charge in reservation.charges:
            counter = charge.counter
            wanted = amounts[counter] = amounts.get(counter, 0) + charge.amount
            before, beside = basis.used.get(counter, 0), in_flight(counter)
            if before + beside + wanted > charge.limit:
                return Refusal(counter, charge.limit, before, beside, wanted), amounts
        return None, amounts


def _asks_more(reservation: Reservation, held: Mapping[Counter, int]) -> bool:
    """Whether more is asked of any counter than is held; but for a cost of gas, which follows the base fee."""
    wanted = reservation.amounts().items()
    return any(
        counter not in held or (amount > held[counter] and counter.slot != COST_SLOT) for counter, amount in wanted
    )


def _view(slot: Slot | None, bringer: Bringer | None) -> RuleUseView:
    if slot is None and bringer is None:
        return EVERYBODY
    own = () if slot is None else slot.rules
    brought = () if slot is None or bringer is None else slot.brought.get(bringer, ())
    return RuleUseView(RuleUse(own), bringer, RuleUse(brought))


def _others(slot: Slot, reservation: Reservation) -> tuple[Hash32, ...]:
    held = [hold.reservation.user_op_hash for hold in slot.holds]
    return tuple(dict.fromkeys([other for other in held if other != reservation.user_op_hash]))
