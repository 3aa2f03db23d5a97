"""How a bundler fares, by the kind of what it is asked, and where the operations of a nonce key are. Pure.

A bundler may answer its probes and hang in every send, so each kind has its own breaker. Seconds are monotonic.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from proxy.ledger.reservation import NonceSlot
from proxy.userop.nonce import nonce_key
from proxy.userop.primitives import Address


class QuestionKind(StrEnum):
    """What a bundler is asked; probes have their own word (`proxy.edge.http.upstream.Health`). Fit for a label."""

    READ = "read"
    SEND = "send"


class Sign(StrEnum):
    """How one exchange went."""

    ANSWERED = "answered"  # with a JSON-RPC reply, be it an error
    FAILED = "failed"  # broken off, no reply, or turned away by a gateway (401, 403, 429)
    SILENT = "silent"  # not answered in time


_MOST_FAILURES: Final = 3
_MOST_KNOWN: Final = 64
"""Questions that failed, of those in a row, that are known again."""
_FIRST_REST: Final = 5.0
_LONGEST_REST: Final = 300.0


@dataclass(slots=True)
class Breaker:
    """Lets a bundler rest from one kind of question after it failed three times in a row, or was silent to one send.

    After the rest one question goes to it on trial. Answered, all is well again; otherwise it rests twice as long, up
    to five minutes. A question that nobody can answer is no fault of a bundler's: asked again and again it counts once
    and is on no trial, and what was answered since it was asked speaks for the bundler. `of` tells questions apart.
    """

    kind: QuestionKind
    answers: int = 0
    """How many questions were answered so far."""
    failures: int = 0
    failed_with: set[int] = field(default_factory=set)
    rests_until: float | None = None
    rest_seconds: float = _FIRST_REST
    on_trial: bool = False

    @property
    def is_quiet(self) -> bool:
        """Whether the last question was answered, and nothing is to be told of the next one that is."""
        return self.rests_until is None and not self.failures

    def is_resting(self, now: float) -> bool:
        """Whether another bundler should be asked if there is one; not so when a trial is due."""
        return self.rests_until is not None and (self.on_trial or now < self.rests_until)

    def begin(self, now: float, of: Hashable = None) -> bool:
        """A question is about to be asked. Whether it is the one on trial."""
        if self.rests_until is None or self.is_resting(now) or hash(of) in self.failed_with:
            return False
        self.on_trial = True
        return True

    def given_up(self) -> None:
        """The question on trial was given up by who asked it, and told nothing."""
        self.on_trial = False

    def note(self, sign: Sign, now: float, of: Hashable = None, answers: int | None = None) -> None:
        """A question, on trial or not, went so. `answers` is how many had been answered when it was asked."""
        if sign is Sign.ANSWERED:
            self.failures, self.rests_until, self.rest_seconds, self.on_trial = 0, None, _FIRST_REST, False
            self.failed_with.clear()
            return
        if answers is not None and answers != self.answers and self.rests_until is None:
            return  # it was its own fault
        was_known = of is not None and hash(of) in self.failed_with
        if of is not None and len(self.failed_with) < _MOST_KNOWN:
            self.failed_with.add(hash(of))
        self.failures += 1
        if self.rests_until is not None:
            if not self.on_trial or was_known:
                return  # asked before the rest began, or for want of another
            self.rest_seconds = min(self.rest_seconds * 2, _LONGEST_REST)
        elif not (self.kind is QuestionKind.SEND and sign is Sign.SILENT) and (
            self.failures < _MOST_FAILURES or len(self.failed_with) == 1
        ):
            return
        self.on_trial = False
        self.rests_until = now + self.rest_seconds


@dataclass(slots=True)
class Placement:
    """That operations of one nonce were sent to the bundler of this number; `sends` of them may be there. What nobody
    held when it was sent is taken to be there until then."""

    bundler: int
    in_doubt_until: float = 0.0
    sends: int = 0


_LaneKey = tuple[Address, Address, int]  # entry point, sender, nonce key

DOUBT_SECONDS: Final = 600.0
_NEAR: Final = 16
"""So many nonces before one, and behind it, are looked for among those that went to a bundler that was alone."""


class Placements:
    """Which bundler has the operations of a nonce key. As long as one is in flight there, the others follow it.

    So no operation reaches two bundlers, a replacement reaches the mempool of what it replaces, and sequences arrive
    in one place. `in_flight` says whether anything in a slot is held, and whoever holds it tells when it is `free`;
    what nobody holds (an owner's operation) is taken to be there for ten minutes when nobody knows whether it arrived.
    Nothing is ever walked as a whole. As long as a bundler is alone no more is noted of what it took than that it did.
    """

    def __init__(self, in_flight: Callable[[NonceSlot], bool]) -> None:
        self._in_flight = in_flight
        self._lanes: dict[_LaneKey, dict[NonceSlot, Placement]] = {}  # of each nonce key the oldest first
        self._in_doubt: OrderedDict[NonceSlot, Placement] = OrderedDict()  # by the end of their doubt
        self._at: defaultdict[int, int] = defaultdict(int)
        self._alone = 0  # the number of the bundler that was alone last
        self._taken_alone: dict[NonceSlot, None] = {}  # what it took then, as long as that is held

    def has(self, bundler: int) -> bool:
        """Whether anything is remembered to be at the bundler of that number; it may have ended a moment ago."""
        return bundler in self._at or (bundler == self._alone and bool(self._taken_alone))

    def __len__(self) -> int:
        """How many nonce keys are remembered, and what a bundler took that was alone."""
        return len(self._lanes) + len(self._taken_alone)

    def bundler_of_key(self, slot: NonceSlot, now: float) -> int | None:
        """The number of the bundler that has something in flight on the same nonce key; `None` when none has."""
        if self._taken_alone and any(map(self._is_taken_alone, _near(slot))):
            return self._alone
        lane = self._lanes.get(_lane_of(slot))
        while lane:
            first, placed = next(iter(lane.items()))
            if self._is_there(first, placed, now):
                return placed.bundler
            self._forget(first)
        return None

    def bundler_of(self, slot: NonceSlot, now: float) -> int | None:
        """The number of the bundler that an operation with this very nonce was sent to and is in flight at."""
        placed = self._placed(slot)
        if placed is not None and self._is_there(slot, placed, now):
            return placed.bundler
        return self._alone if self._is_taken_alone(slot) else None

    def sent(self, slot: NonceSlot, bundler: int, now: float) -> Placement:
        """An operation is on its way to a bundler. Nobody knows yet whether it arrives, but whoever holds it."""
        placement = self._put(slot, bundler)
        if self._in_flight(slot):
            self._know(slot, placement)
        else:
            placement.in_doubt_until = now + DOUBT_SECONDS
            self._in_doubt[slot] = placement
            self._in_doubt.move_to_end(slot)
        self._look_at_doubts(now)
        return placement

    def taken(self, slot: NonceSlot, bundler: int) -> None:
        """A bundler that is alone took an operation, which is there as long as it is held."""
        if not self._in_flight(slot):
            return
        if not self._taken_alone:
            self._alone = bundler
        if bundler == self._alone and (not self._lanes or self._placed(slot) is None):
            self._taken_alone[slot] = None  # nearly always
        else:
            self._know(slot, self._put(slot, bundler))

    def answered(self, slot: NonceSlot, placement: Placement) -> None:
        """The bundler said what became of one that was sent: it is there as long as it is held, and no longer."""
        if self._placed(slot) is placement:
            self._know(slot, placement)
            if not self._in_flight(slot):
                self._forget(slot)

    def not_there(self, slot: NonceSlot, placement: Placement) -> None:
        """One that was sent is not there: no byte of it arrived, or the bundler does not take it. What else was sent in
        this slot may be there all the same."""
        placement.sends -= 1
        if not placement.sends and self._placed(slot) is placement:
            self._forget(slot)

    def free(self, slot: NonceSlot) -> None:
        """Nothing in this slot is held any more."""
        self._taken_alone.pop(slot, None)
        if not self._lanes:
            return  # nearly always
        key = _lane_of(slot)
        lane = self._lanes.get(key)
        if lane is not None and (placed := lane.get(slot)) is not None and not placed.in_doubt_until:
            del lane[slot]
            if not lane:
                del self._lanes[key]
            self._left(placed.bundler)

    def _put(self, slot: NonceSlot, bundler: int) -> Placement:
        lane = self._lanes.setdefault(_lane_of(slot), {})
        placement = lane.get(slot)
        if placement is None or placement.bundler != bundler:
            if placement is not None:
                self._know(slot, placement)
                self._left(placement.bundler)
            placement = lane[slot] = Placement(bundler)
            self._at[bundler] += 1
        placement.sends += 1
        return placement

    def _know(self, slot: NonceSlot, placement: Placement) -> None:
        """It is not in doubt where this is."""
        if placement.in_doubt_until:
            placement.in_doubt_until = 0.0
            self._in_doubt.pop(slot, None)

    def _look_at_doubts(self, now: float) -> None:
        """Forget those that have ended."""
        while self._in_doubt:
            slot, placement = next(iter(self._in_doubt.items()))
            if now < placement.in_doubt_until:
                return
            self._know(slot, placement)
            if not self._in_flight(slot):
                self._forget(slot)

    def _placed(self, slot: NonceSlot) -> Placement | None:
        lane = self._lanes.get(_lane_of(slot))
        return None if lane is None else lane.get(slot)

    def _forget(self, slot: NonceSlot) -> None:
        """What is remembered of this slot; with the last one goes its nonce key."""
        key = _lane_of(slot)
        lane = self._lanes[key]
        placed = lane.pop(slot)
        self._know(slot, placed)
        self._left(placed.bundler)
        if not lane:
            del self._lanes[key]

    def _left(self, bundler: int) -> None:
        left = self._at[bundler] - 1
        if left:
            self._at[bundler] = left
        else:
            del self._at[bundler]

    def _is_taken_alone(self, slot: NonceSlot) -> bool:
        return slot in self._taken_alone and self._in_flight(slot)

    def _is_there(self, slot: NonceSlot, placed: Placement, now: float) -> bool:
        return now < placed.in_doubt_until or self._in_flight(slot)


def _lane_of(slot: NonceSlot) -> _LaneKey:
    _, entry_point, sender, nonce = slot
    return entry_point, sender, nonce_key(nonce)


def _near(slot: NonceSlot) -> Iterator[NonceSlot]:
    """Itself, and those around it on its nonce key."""
    yield slot
    key, nonce = nonce_key(slot.nonce), slot.nonce
    for away in range(1, _NEAR + 1):
        for near in (nonce - away, nonce + away):
            if near >= 0 and nonce_key(near) == key:
                yield slot._replace(nonce=near)
