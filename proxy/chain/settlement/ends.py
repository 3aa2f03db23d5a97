"""The one end of every operation: what it does to registry and ledger, and how it is undone when the chain goes back.

Nothing here waits: whatever ends at once is gathered in a `OutcomeDraft`, and handed to the store as one outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from proxy.chain.settlement.draft import End, OutcomeDraft
from proxy.chain.settlement.flights import LET_GO, Flight, Flights
from proxy.chain.settlement.remembered import Remembered
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, EndedName, Evidence, InFlight, Mined, Stage
from proxy.ledger.reservation import (
    Grip,
    Ledger,
    NonceSlot,
    Reservation,
    is_on_chain,
    most_of,
    one_of_each_session,
)
from proxy.session.changes import Changes
from proxy.session.counters import Counter, HoldName, SessionKey
from proxy.session.granted import is_granted
from proxy.session.known import KnownSession, read_since
from proxy.session.policies.simple_gas import counted_at
from proxy.session.registry import Registry, adds_charges
from proxy.userop.primitives import Hash32

_CHARGES_AN_END: Final = 16
_made: Final = tuple.__new__


class Ends:
    """`clock` gives unix seconds. `flights` are those of one chain; what ends leaves them here."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        remembered: Remembered,
        flights: Flights,
        *,
        clock: Callable[[], float],
        unmined_grip: Grip,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._remembered = remembered
        self._flights = flights
        self._clock = clock
        self._unmined_grip = unmined_grip
        self.counted_at: Callable[[int], float] = float
        """When a block of this timestamp was, by the time that rules count by."""
        self.on_undone: Callable[[Collection[SessionKey]], None] = lambda _sessions: None
        """Hears of which sessions something was undone: what else was mined of them has to be in what is read now."""
        self.is_seconded = False
        """Whether another node can be asked before one node's word on another operation ends a hold."""
        self.readable = False
        """Whether there is a node: sessions can be read anew where the chain took something back, and its blocks say
        when a validity is over."""

    def mined(self, draft: OutcomeDraft, slot: NonceSlot, mined: Mined) -> bool:
        """An operation was mined in this slot. Whether it is one of ours; those that compete with it have ended too.

        It counts under the claims that its bundle shows; where that is not known, or shows none that came through
        here, under all that did, for each session once: with the most that its claims take.
        """
        held: Sequence[Reservation] = self._ledger.held_in(slot)
        if held and self._remembered.mined(mined.user_op_hash) is not None:
            # a question had shown it before its block was settled, and it is about to be sent again: it is counted
            held = [each for each in held if each.user_op_hash != mined.user_op_hash]
        if not held:
            return False
        if len(held) == 1 and held[0].user_op_hash == mined.user_op_hash and held[0].grant is None:
            self._mined_alone(draft, held[0], mined)  # nearly always
            return True
        ours = [each for each in held if each.user_op_hash == mined.user_op_hash]
        shown = [each for each in ours if _is_shown(each, mined)]
        may_be = shown or ours
        counted = one_of_each_session(may_be)
        evidence = _shown_by(mined, None if ours else mined.user_op_hash)
        if counted:
            self._count(draft, counted, mined, evidence)
        # of a claim that is counted for want of knowing nobody can say that it has used the enable nonce
        known = ours if mined.permission_ids is None and len(ours) == 1 else shown
        if len(counted) < len(may_be):
            known = []
            draft.to_read.update((each.session, mined.block or 0) for each in counted if each.session is not None)
        rivals = [rival for each in known if each.grant is not None for rival in self._ledger.grants_beside(each)]
        if len(held) > len(counted) or rivals:
            self._end_beside(draft, [*held, *rivals], counted, mined, evidence)
        if not ours:
            # nobody here knows what that other operation has used
            block = mined.block or 0
            draft.to_read.update((each.session, block) for each in held if each.session is not None)
        if ours and not shown:
            self._doubt_named(draft, ours, mined)
        return bool(ours)

    def _mined_alone(self, draft: OutcomeDraft, held: Reservation, mined: Mined) -> None:
        """The same of one that neither competes with anything nor has used an enable nonce."""
        now = self._clock()
        counted = held if held.gas_price is None else _as_counted(held, mined)
        counted_at = self._count_for_rules(draft, counted, mined, now)
        shown = _shown_by(mined, None)
        self._count_claim(draft, counted, mined, shown, now, counted_at=counted_at, told=counted)
        if mined.permission_ids and not _is_shown(held, mined):
            self._doubt_named(draft, (held,), mined)

    def _doubt_named(self, draft: OutcomeDraft, ours: Sequence[Reservation], mined: Mined) -> None:
        """The bundle names a session under which nothing of the operation is held: it and those that were charged in
        its place are to be read."""
        block = mined.block or 0
        for session in {each.session for each in ours if each.session is not None}:
            for permission_id in mined.permission_ids or ():
                named = session._replace(permission_id=permission_id)
                if self._registry.status_of(named) is not None:
                    self._registry.note_block(named, mined.block)
                    draft.to_read[named] = block
                draft.to_read[session] = block

    def _end_beside(
        self,
        draft: OutcomeDraft,
        beside: Sequence[Reservation | HoldName],
        counted: Sequence[Reservation],
        mined: Mined,
        evidence: Evidence,
    ) -> None:
        """What competed for the nonce, and the names of what did for the enable nonce: none of it can be mined."""
        names, shown = {each.name for each in counted}, evidence._replace(by=mined.user_op_hash)
        for each in beside:
            if isinstance(each, HoldName):
                self.end(draft, each, Cause.GRANT_USED, shown)
            elif each.name in names:
                continue
            elif self.is_seconded and each.user_op_hash != mined.user_op_hash:
                draft.unseconded[each.user_op_hash] = shown
            else:
                self.end(draft, each.name, Cause.NONCE_USED, shown)

    def end(self, draft: OutcomeDraft, name: HoldName, cause: Cause, evidence: Evidence) -> None:
        """The operation will not be mined under this claim: it holds nothing."""
        left = self._flights.leave(name)
        self._ledger.expire(name)
        if left is None:
            return
        operation, stage = left
        now = self._clock()
        self._changed(draft, self._registry.dropped(name, now))
        self._close(
            draft,
            Ended(operation=operation, ended_at=now, mined=None, cause=cause, evidence=evidence, stage=stage),
            stage,
        )

    def over(self, draft: OutcomeDraft, flight: Flight, evidence: Evidence) -> None:
        """The validity of every claim is over."""
        for name in tuple(flight.claims):
            self.end(draft, name, Cause.EXPIRED, evidence)

    def loosen(self, draft: OutcomeDraft, flight: Flight, cause: Cause, evidence: Evidence, grip: Grip) -> None:
        """Less is held for an operation whose nonce is still unused; what becomes of it counts all the same."""
        flight.stage = Stage.RELEASED if cause is Cause.RELEASED else Stage.UNMINED
        now = self._clock()
        for name, operation in flight.claims.items():
            self._ledger.loosen(name, grip)
            self._changed(draft, self._registry.dropped(name, now))
            draft.stages.append((name, flight.stage))
            ended = Ended(operation=operation, ended_at=now, mined=None, cause=cause, evidence=evidence)
            draft.told.append(End(ended=ended))

    def refused(self, operation: AcceptedOperation, evidence: Evidence) -> End:
        """What the bundler did not take, or what was never sent: it held until now, and nobody else knows of it."""
        cause, now = Cause.REFUSED, self._clock()
        return End(ended=Ended(operation=operation, ended_at=now, mined=None, cause=cause, evidence=evidence))

    def undo(self, draft: OutcomeDraft, back: Collection[Ended]) -> None:
        """What has ended holds again, and what it used is not used yet; sessions that can be are to be read anew
        before they are judged. Those it was undone of are `revived`."""
        now, undone = self._clock(), set[SessionKey]()
        for ended in back:
            operation, name = ended.operation, ended.name
            if self._remembered.take_out(name) is None:
                continue
            reservation = operation.reservation
            if ended.mined is not None:
                changed = self._registry.unmined(
                    operation.changes,
                    charges=reservation.charges,
                    session=reservation.session,
                    added=ended.added,
                    readable=self.readable,
                    now=now,
                )
                self._changed(draft, changed)
                draft.to_read.update((known.key, 0) for known in changed)
                undone.update(known.key for known in changed)
                if ended.counted_at is not None:
                    rows = self._ledger.reopen(reservation, ended.counted_at, success=ended.mined.success)
                    draft.rules.append(rows)
            stage = ended.stage
            if stage is Stage.FORWARDED and ended.mined is not None:
                stage = Stage.ACCEPTED  # a bundler had taken it: it ended before that was noted down
            self._ledger.restore(reservation, grip_of(stage, self._unmined_grip))
            if stage not in LET_GO:
                self._changed(draft, self._registry.expect(operation.changes, now, name))
            draft.uses |= self._local_uses(reservation)
            if name.session is not None:
                undone.add(name.session)
                self._registry.revise(name.session)  # a reading under way does not know which use to count it for
            draft.revived.append(InFlight(operation=operation, stage=stage))
        self.on_undone(undone)

    def _count(self, draft: OutcomeDraft, claims: Sequence[Reservation], mined: Mined, evidence: Evidence) -> None:
        """What the mined operation has used is counted, once."""
        now = self._clock()
        counted = [each if each.gas_price is None else _as_counted(each, mined) for each in claims]
        first = most_of(counted)
        counted_at = self._count_for_rules(draft, first, mined, now)
        for each in counted:
            if len(counted) > 1 and each.session is not None and each.name in self._flights:
                draft.to_read[each.session] = mined.block or 0  # only one of them has used anything
            told, at = (first, counted_at) if each.name == first.name else (each, None)
            self._count_claim(draft, each, mined, evidence, now, counted_at=at, told=told)

    def _count_for_rules(self, draft: OutcomeDraft, counted: Reservation, mined: Mined, now: float) -> int | None:
        """When rules count it, if any do."""
        if not (counted.rule_charges or counted.lessons):
            return None
        if (at := draft.moments.get(mined.timestamp)) is None and mined.timestamp is not None:
            at = draft.moments[mined.timestamp] = self.counted_at(mined.timestamp)
        counted_at, rows = self._ledger.conclude(counted, now, success=mined.success, at=at)
        draft.rules.append(rows)
        return counted_at

    def _count_claim(
        self,
        draft: OutcomeDraft,
        counted: Reservation,
        mined: Mined,
        evidence: Evidence,
        now: float,
        *,
        counted_at: int | None,
        told: Reservation,
    ) -> None:
        """What one claim has used is counted, and it is over; `told` is what is kept of it."""
        name, added = counted.name, False
        is_counted = self._ledger.is_counted(name) if counted.charges else None
        left = self._flights.leave(name)
        self._ledger.expire(name)
        if left is None:
            return
        operation, stage = left
        if counted.charges or operation.changes:
            added = self._charge(draft, counted, operation.changes, mined, now, is_counted=is_counted)
        else:
            self._registry.used(name)  # its session, which no policy counts: nearly always
        held, restated = operation.reservation, False
        if told is not held:
            operation = replace(operation, reservation=told)
            restated = (told.charges, told.rule_charges) != (held.charges, held.rule_charges)
        # in the order of the fields, made without asking for their names: there is one for every operation
        how = Cause.MINED, evidence, added, counted_at, stage, restated
        self._close(draft, _made(Ended, (operation, now, mined, *how)), stage)

    def _charge(
        self,
        draft: OutcomeDraft,
        counted: Reservation,
        changes: Changes,
        mined: Mined,
        now: float,
        *,
        is_counted: bool | None,
    ) -> bool:
        """What the operation changes is changed, and what it charges is charged; whether that was added to what was
        known of its session."""
        name, session = counted.name, counted.session
        self._registry.expect(changes, now, name)  # of what was let go, nothing is awaited any more
        before = None if session is None else self._registry.get(session)
        added = bool(counted.charges) and adds_charges(before, mined.block, counted=is_counted)
        changed = self._registry.mined(
            name, success=mined.success, charges=counted.charges, block=mined.block, counted=is_counted, now=now
        )
        self._changed(draft, changed)
        if counted.charges and not added and session is not None and (read := self._registry.get(session)) is not None:
            # the reading that has counted it may never have reached the disk: it goes there with the end
            draft.sessions[session] = read
        for charge in counted.charges:
            if not is_on_chain(charge.counter):
                draft.uses[charge.counter] = self._registry.declarations.uses(charge.counter)
        if added and before is not None and read_since(before, mined.block):
            self._doubt_twice(draft, before, counted)
        return added

    def _doubt_twice(self, draft: OutcomeDraft, read: KnownSession, counted: Reservation) -> None:
        """Held only since that reading, which is not older than the block that mined it: it may be counted there too,
        and no reading before that tells."""
        is_read = self.readable and read.state is not None and not is_granted(read.state)  # and not told by logs
        if is_read and any(is_on_chain(each.counter) for each in counted.charges):
            self._registry.forget_block(read.key)
            self._registry.note_block(read.key, read.block)
            draft.to_read[read.key] = read.block or 0

    def _close(self, draft: OutcomeDraft, ended: Ended, stage: Stage) -> None:
        draft.remembered.append(ended)
        draft.weight += weight_of(ended)
        self._remembered.remember(name_of(ended))
        draft.told.append(_made(End, (ended, stage in LET_GO)))

    def _changed(self, draft: OutcomeDraft, sessions: Collection[KnownSession]) -> None:
        draft.sessions.update((known.key, known) for known in sessions)

    def _local_uses(self, reservation: Reservation) -> dict[Counter, int]:
        counters = (charge.counter for charge in reservation.charges)
        return {counter: self._registry.declarations.uses(counter) for counter in counters if not is_on_chain(counter)}


def weight_of(ended: Ended) -> int:
    """How many ends of an operation that few rules count are as much work."""
    charges = ended.operation.reservation.rule_charges
    return 1 + len(charges) // _CHARGES_AN_END if charges else 1


def name_of(ended: Ended) -> EndedName:
    """What is kept at hand of it."""
    held, evidence = ended.operation.reservation, ended.evidence
    at = evidence.block, evidence.block_hash
    return _made(EndedName, (held.name, held.slot.chain_id, ended.ended_at, ended.cause, *at))


def grip_of(stage: Stage, unmined: Grip) -> Grip:
    """What is held of an operation that has come this far."""
    if stage is Stage.RELEASED:
        return Grip.NONE
    return unmined if stage is Stage.UNMINED else Grip.ALL


def _shown_by(mined: Mined, by: Hash32 | None) -> Evidence:
    shown = mined.block, mined.block_hash, mined.timestamp, mined.transaction
    return _made(Evidence, (*shown, by, None, None))


def _as_counted(reservation: Reservation, mined: Mined) -> Reservation:
    """What it has used, at the base fee of the block that mined it: it was judged, and held, by another block's."""
    price = reservation.gas_price
    if price is None or mined.base_fee is None:
        return reservation
    charges = counted_at(reservation.charges, price, mined.base_fee)
    return reservation if charges == reservation.charges else replace(reservation, charges=charges)


def _is_shown(reservation: Reservation, mined: Mined) -> bool:
    if mined.permission_ids is None:
        return False
    if reservation.session is None:
        return True
    is_of_kind = mined.enables is None or mined.enables == (reservation.grant is not None)
    return is_of_kind and reservation.session.permission_id in mined.permission_ids
