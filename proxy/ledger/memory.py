"""The ledger of one process, in memory. Every call runs to its end without giving way, which makes it atomic."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from proxy.judge.counts import CountKey, Counts, Lesson
from proxy.judge.rule import Window
from proxy.ledger.reservation import (
    Concluded,
    Held,
    NonceSlot,
    Refusal,
    Reservation,
    RuleRefusal,
    RuleRows,
    is_on_chain,
)
from proxy.ledger.rule_counts import NOTHING, RuleCounts, RuleUse, SlotCounts
from proxy.session.counters import Counter, SessionKey
from proxy.userop.primitives import Hash32


@dataclass(slots=True)
class _Hold:
    reservation: Reservation
    amounts: dict[Counter, int]
    attempts: int  # sends under way whose answer is not known
    accepted: bool
    restored: bool = False  # held without a check: it may have been replaced since
    unread: bool = False  # and no reading has told since whether the chain has counted it


@dataclass(slots=True)
class _Slot:
    """The operations that compete for one nonce, and the most that any of them takes of each counter.

    `counted` is the block at which the chain was found to have counted one of them.
    """

    holds: dict[Hash32, _Hold] = field(default_factory=dict)
    amounts: dict[Counter, int] = field(default_factory=dict)
    counted: int | None = None
    rules: RuleUse = NOTHING


class MemoryLedger:
    """See `proxy.ledger.reservation.Ledger` for the meaning of each call.

    `rules` are the counts that it shares with the ledgers of other chains; without, it has its own.
    """

    def __init__(self, rules: RuleCounts | None = None) -> None:
        self._rules = RuleCounts() if rules is None else rules
        self._slots: dict[NonceSlot, _Slot] = {}
        self._slot_of: dict[Hash32, NonceSlot] = {}
        self._in_flight: dict[Counter, int] = {}
        self._by_session: dict[SessionKey, dict[Hash32, None]] = {}

    def __len__(self) -> int:
        """How many operations are in flight."""
        return len(self._slot_of)

    def reserve(
        self, reservation: Reservation, used: Callable[[Counter], int], now: float
    ) -> Held | Refusal | RuleRefusal:
        slot = self._slots.get(reservation.slot)
        standing = None if slot is None else slot.holds.get(reservation.user_op_hash)
        if standing is not None and not standing.restored:
            standing.attempts += 1
            return Held(standing.reservation, again=True)
        refusal, amounts = self._check(reservation, used)
        if refusal is not None:
            return refusal
        if reservation.rule_charges:
            held = self._rules.check(reservation.rule_charges, NOTHING if slot is None else slot.rules, now)
            if isinstance(held, RuleRefusal):
                return held
            if len(held) != len(reservation.rule_charges):
                reservation = replace(reservation, rule_charges=held)
        if standing is not None:
            standing.attempts += 1
            return Held(standing.reservation, again=True)
        replaces = () if slot is None else tuple(slot.holds)
        self._hold(_Hold(reservation, amounts, attempts=1, accepted=False))
        return Held(reservation, replaces=replaces)

    def occupied(self, place: NonceSlot) -> bool:
        return place in self._slots

    def in_flight(self, counter: Counter) -> int:
        return self._in_flight.get(counter, 0)

    def in_flight_beside(self, slot: NonceSlot) -> Callable[[Counter], int]:
        def beside(counter: Counter) -> int:
            # looked up anew each time: the slot may have changed since the view was asked for
            own = self._slots.get(slot)
            held = self._in_flight.get(counter, 0)
            return held if own is None else held - own.amounts.get(counter, 0)

        return beside

    def accept(self, user_op_hash: Hash32) -> tuple[Reservation, ...]:
        slot = self._find(user_op_hash)
        if slot is None:
            return ()
        hold = slot.holds[user_op_hash]
        hold.attempts = max(hold.attempts - 1, 0)
        hold.accepted = True
        displaced = [other for other in slot.holds.values() if other is not hold and other.accepted]
        for other in displaced:
            other.accepted = False
            if not other.attempts:
                self._drop(other.reservation.user_op_hash)
        return tuple(other.reservation for other in displaced)

    def doubt(self, user_op_hash: Hash32) -> None:
        slot = self._find(user_op_hash)
        if slot is not None:
            hold = slot.holds[user_op_hash]
            hold.attempts = max(hold.attempts - 1, 0)
            hold.accepted = True

    def release(self, user_op_hash: Hash32) -> Reservation | None:
        slot = self._find(user_op_hash)
        if slot is None:
            return None
        hold = slot.holds[user_op_hash]
        hold.attempts = max(hold.attempts - 1, 0)
        if hold.attempts or hold.accepted:
            return None
        return self._drop(user_op_hash)

    def settle(self, user_op_hash: Hash32) -> tuple[Reservation, ...]:
        slot = self._find(user_op_hash)
        if slot is None:
            return ()
        held = tuple(hold.reservation for hold in slot.holds.values())
        for reservation in held:
            self._drop(reservation.user_op_hash)
        return held

    def expire(self, user_op_hash: Hash32) -> Reservation | None:
        return self._drop(user_op_hash) if user_op_hash in self._slot_of else None

    def restore(self, reservation: Reservation) -> None:
        if reservation.user_op_hash not in self._slot_of:
            self._hold(_Hold(reservation, reservation.amounts(), attempts=0, accepted=True, restored=True, unread=True))

    def of_session(self, session: SessionKey) -> tuple[Reservation, ...]:
        return tuple(
            self._slots[self._slot_of[each]].holds[each].reservation for each in self._by_session.get(session, ())
        )

    def count(self, place: NonceSlot, block: int) -> None:
        slot = self._slots.get(place)
        if slot is not None:
            slot.counted = block
            self._recount(slot)

    def uncount(self, session: SessionKey) -> None:
        for reservation in self.of_session(session):
            slot = self._slots[reservation.slot]
            if slot.counted is not None:
                slot.counted = None
                self._recount(slot)
            for hold in slot.holds.values():
                hold.unread = False

    def is_counted(self, user_op_hash: Hash32) -> bool | None:
        slot = self._find(user_op_hash)
        if slot is None or slot.holds[user_op_hash].unread:
            return None
        return slot.counted is not None

    # what rules count

    def counts(self, slot: NonceSlot, now: float) -> Counts:
        return SlotCounts(self._rules, lambda: self._rules_in(slot), now)

    def rate(self, key: CountKey, window: Window, amount: int, limit: int, now: float) -> bool:
        return self._rules.rate(key, window, amount, limit, now)

    def learn_now(self, lesson: Lesson, now: float, *, success: bool) -> None:
        self._rules.learn_now(lesson, now, success=success)

    def conclude(self, reservation: Reservation, now: float, *, success: bool) -> Concluded:
        return self._rules.conclude(reservation, now, success=success)

    def reopen(self, reservation: Reservation, at: int, *, success: bool) -> RuleRows:
        return self._rules.reopen(reservation, at, success=success)

    def rows_now(self, rows: RuleRows) -> RuleRows:
        return self._rules.rows_now(rows)

    def keep_only(self, identities: Collection[bytes]) -> None:
        self._rules.keep_only(identities)

    def _rules_in(self, place: NonceSlot) -> RuleUse:
        slot = self._slots.get(place)
        return NOTHING if slot is None else slot.rules

    def _check(
        self, reservation: Reservation, used: Callable[[Counter], int]
    ) -> tuple[Refusal | None, dict[Counter, int]]:
        in_flight = self.in_flight_beside(reservation.slot)
        amounts: dict[Counter, int] = {}
        for charge in reservation.charges:
            counter = charge.counter
            wanted = amounts[counter] = amounts.get(counter, 0) + charge.amount
            before, beside = used(counter), in_flight(counter)
            if before + beside + wanted > charge.limit:
                return Refusal(counter, charge.limit, before, beside, wanted), amounts
        return None, amounts

    def _find(self, user_op_hash: Hash32) -> _Slot | None:
        place = self._slot_of.get(user_op_hash)
        return None if place is None else self._slots[place]

    def _hold(self, hold: _Hold) -> None:
        place = hold.reservation.slot
        slot = self._slots.setdefault(place, _Slot())
        slot.holds[hold.reservation.user_op_hash] = hold
        self._slot_of[hold.reservation.user_op_hash] = place
        if (session := hold.reservation.session) is not None:
            self._by_session.setdefault(session, {})[hold.reservation.user_op_hash] = None
        self._recount(slot)

    def _drop(self, user_op_hash: Hash32) -> Reservation:
        place = self._slot_of.pop(user_op_hash)
        slot = self._slots[place]
        hold = slot.holds.pop(user_op_hash)
        if (session := hold.reservation.session) is not None:
            of_session = self._by_session[session]
            del of_session[user_op_hash]
            if not of_session:
                del self._by_session[session]
        self._recount(slot)
        if not slot.holds:
            del self._slots[place]
        return hold.reservation

    def _recount(self, slot: _Slot) -> None:
        for counter, amount in slot.amounts.items():
            left = self._in_flight[counter] - amount
            if left:
                self._in_flight[counter] = left
            else:
                del self._in_flight[counter]
        amounts: dict[Counter, int] = {}
        for hold in slot.holds.values():
            for counter, amount in hold.amounts.items():
                if amount > amounts.get(counter, 0) and not (slot.counted is not None and is_on_chain(counter)):
                    amounts[counter] = amount
        slot.amounts = amounts
        for counter, amount in amounts.items():
            self._in_flight[counter] = self._in_flight.get(counter, 0) + amount
        self._recount_rules(slot)

    def _recount_rules(self, slot: _Slot) -> None:
        use = NOTHING
        for hold in slot.holds.values():
            if hold.reservation.rule_charges:
                use = RuleUse() if use is NOTHING else use
                use.grow(hold.reservation.rule_charges)
        if use is NOTHING and slot.rules is NOTHING:
            return
        self._rules.let_go(slot.rules)
        self._rules.hold(use)
        slot.rules = use
