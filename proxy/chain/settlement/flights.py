"""The operations of one chain in flight, and when something of each is due: kept as they change, never looked
through.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from typing import Final

from proxy.chain.settlement.due import DueHeap
from proxy.chain.settlement.patience import Patience
from proxy.ledger.operations import AcceptedOperation, Stage
from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import HoldName
from proxy.userop.primitives import Address, Hash32

LET_GO: Final = frozenset({Stage.UNMINED, Stage.RELEASED})
"""Of operations that have come so far, something is held no more."""


@dataclass(slots=True)
class Flight:
    """An operation in flight, with every claim under which it came. `silent_seconds` is for how long it was answered
    that it is not there."""

    claims: dict[HoldName, AcceptedOperation]
    stage: Stage
    silent_seconds: float = 0.0

    @property
    def user_op_hash(self) -> Hash32:
        """Its name."""
        return next(iter(self.claims)).user_op_hash

    @property
    def known_at(self) -> float:
        """How many seconds its chain's settlement had been told of when it was first sent."""
        return min(each.known_at for each in self.claims.values())

    @property
    def accepted_at(self) -> float:
        """When it was sent first, in unix seconds."""
        return min(each.accepted_at for each in self.claims.values())

    @property
    def slot(self) -> NonceSlot:
        """What it competes for, whatever its claim."""
        return next(iter(self.claims.values())).reservation.slot


def as_sent(stage: Stage) -> Stage:
    """What was about to be sent before a restart may have been."""
    return Stage.UNKNOWN if stage is Stage.FORWARDED else stage


class Flights:
    """By hash. `on_gone` hears of each that is in flight no more."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._flights: OrderedDict[Hash32, Flight] = OrderedDict()  # nothing of these was let go; as they were sent
        self._let_go: dict[Hash32, Flight] = {}
        self._back: DueHeap[Hash32] = DueHeap()  # when those were sent that came back, and stand behind younger ones
        self._any_back = False
        self._senders: dict[Address, int] = {}
        self.unmined: DueHeap[Hash32] = DueHeap()
        """By the seconds known at which something is let go."""
        self._over: DueHeap[Hash32] = DueHeap()  # by the end of validity of a claim, in unix seconds
        self.on_gone: Callable[[Hash32], None] = _nobody

    def __len__(self) -> int:
        return len(self._flights) + len(self._let_go)

    def __contains__(self, name: object) -> bool:
        """Whether an operation is in flight under this claim."""
        return isinstance(name, HoldName) and self.claim(name) is not None

    def get(self, user_op_hash: Hash32) -> Flight | None:
        """What is known of an operation in flight."""
        return self._flights.get(user_op_hash) or self._let_go.get(user_op_hash)

    def claim(self, name: HoldName) -> AcceptedOperation | None:
        """The operation under this claim."""
        flight = self.get(name.user_op_hash)
        return None if flight is None else flight.claims.get(name)

    @property
    def oldest_at(self) -> float | None:
        """When that one was sent, in unix seconds, of which nothing was let go and which waits for longest; `None` when
        there is none."""
        oldest, back = next(iter(self._flights.values()), None), self._back.first()
        if oldest is None:
            return None
        return oldest.accepted_at if back is None else min(oldest.accepted_at, back)

    @property
    def let_go_now(self) -> int:
        """How many are remembered, something of theirs let go, while their nonces are unused."""
        return len(self._let_go)

    def hashes(self) -> tuple[Hash32, ...]:
        """All of them. Takes as long as there are many: for a chain that begins anew."""
        return (*self._flights, *self._let_go)

    def senders(self) -> Set[Address]:
        """Whose they are: a view of what is so at any time."""
        return self._senders.keys()

    def begin(self, operation: AcceptedOperation, stage: Stage, silent_seconds: float = 0.0) -> Flight:
        """In flight from now on, under this claim too."""
        reservation = operation.reservation
        user_op_hash, sender = reservation.user_op_hash, reservation.slot.sender
        flight = self._flights.get(user_op_hash) or self._let_go.get(user_op_hash)
        if flight is not None:
            flight.claims.setdefault(reservation.name, operation)
        else:
            flight = Flight({reservation.name: operation}, stage, silent_seconds)
            self._senders[sender] = self._senders.get(sender, 0) + 1
            if stage in LET_GO:
                self._let_go[user_op_hash] = flight
            else:
                self._flights[user_op_hash] = flight
                self.unmined.put(user_op_hash, operation.known_at + self._patience.unmined_after - silent_seconds)
        if reservation.valid_until is not None and user_op_hash not in self._over:
            self._over.put(user_op_hash, self._past(reservation.valid_until))
        return flight

    def move(self, name: HoldName, bundler: str) -> None:
        """Under this claim it goes to the bundler of that mark, if it is in flight still."""
        flight, operation = self.get(name.user_op_hash), self.claim(name)
        if flight is not None and operation is not None:
            flight.claims[name] = replace(operation, bundler=bundler)

    def let_go(self, user_op_hash: Hash32) -> None:
        """Something of it is held no more: it is not waited for, and remembered."""
        self.unmined.discard(user_op_hash)
        flight = self._flights.pop(user_op_hash, None)
        if flight is not None:
            self._let_go[user_op_hash] = flight
            self._not_back(user_op_hash)

    def hold_again(self, flight: Flight, stage: Stage, known_seconds: float) -> None:
        """All of it is held again, and waited for from then on, in seconds known."""
        user_op_hash = flight.user_op_hash
        flight.silent_seconds, flight.stage = 0.0, stage
        self.unmined.put(user_op_hash, known_seconds + self._patience.unmined_after)
        self._let_go.pop(user_op_hash, None)
        self._flights[user_op_hash] = flight
        self.came_back(user_op_hash)

    def came_back(self, user_op_hash: Hash32) -> None:
        """It is waited for once more, and may be older than those that were sent meanwhile."""
        flight = self._flights.get(user_op_hash)
        if flight is not None:
            self._back.put(user_op_hash, flight.accepted_at)
            self._any_back = True

    def _not_back(self, user_op_hash: Hash32) -> None:
        self._back.discard(user_op_hash)
        self._any_back = len(self._back) > 0

    def leave(self, name: HoldName) -> tuple[AcceptedOperation, Stage] | None:
        """The claim is over, and with the last one its operation is in flight no more. The operation and how far it had
        come; `None` where it is not in flight under this claim."""
        user_op_hash = name.user_op_hash
        flight = self._flights.get(user_op_hash) or self._let_go.get(user_op_hash)
        operation = None if flight is None else flight.claims.pop(name, None)
        if flight is None or operation is None:
            return None
        if flight.claims:
            return operation, flight.stage
        if self._flights.pop(user_op_hash, None) is None:
            del self._let_go[user_op_hash]
        sender = operation.reservation.slot.sender
        if left := self._senders[sender] - 1:
            self._senders[sender] = left
        else:
            del self._senders[sender]
        self.unmined.discard(user_op_hash)
        self._over.discard(user_op_hash)
        if self._any_back:
            self._not_back(user_op_hash)
        self.on_gone(user_op_hash)
        return operation, flight.stage

    def is_over(self, flight: Flight, now: float) -> bool:
        """Whether the validity of every claim has ended by then (unix seconds), and a margin."""
        ends = [each.reservation.valid_until for each in flight.claims.values()]
        return all(end is not None and now >= self._past(end) for end in ends)

    def is_unmined(self, user_op_hash: Hash32) -> bool:
        """Whether an operation has been absent from the blocks for long enough for something to be let go."""
        flight = self.get(user_op_hash)
        return flight is not None and flight.stage not in LET_GO and user_op_hash not in self.unmined

    def pop_over(self, now: float) -> Iterator[Flight]:
        """Those for which that has come to be so."""
        for user_op_hash in self._over.pop_due(now):
            flight = self._flights.get(user_op_hash) or self._let_go[user_op_hash]
            if self.is_over(flight, now):
                yield flight
                continue
            # it is valid for longer under another claim
            ends = [each.reservation.valid_until for each in flight.claims.values()]
            later = [past for end in ends if end is not None and (past := self._past(end)) > now]
            if later:
                self._over.put(user_op_hash, min(later))

    def look_later(self, flight: Flight, moment: float) -> None:
        """Whether its validity is over is to be asked again then (unix seconds)."""
        self._over.put(flight.user_op_hash, moment)

    def _past(self, valid_until: int) -> float:
        return valid_until + self._patience.margin + 1


def _nobody(_user_op_hash: Hash32) -> None:
    return None
