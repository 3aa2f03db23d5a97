"""Which operations in flight a reading of their session has counted already: made ready piece by piece, and put in the
place of what an earlier reading had counted in one step, as long for many operations as for one.

What a counting takes off the sums is kept with it, and follows what changes in its places meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from proxy.ledger.reservation import NonceSlot
from proxy.session.counters import Counter, HoldName, SessionKey

TakenOff = Callable[[NonceSlot, SessionKey], Mapping[Counter, int] | None]
"""What operations of a session hold in a place of the chain's counters beyond all others there; `None` where none of
the session is held."""


class Countings:
    """Those of all sessions of one chain. `place_of` tells where a claim is held."""

    def __init__(self, taken_off: TakenOff, place_of: Callable[[HoldName], NonceSlot | None]) -> None:
        self.off: dict[Counter, int] = {}
        """What is in readings, and not in flight any more."""
        self._taken_off = taken_off
        self._place_of = place_of
        self._unread: dict[SessionKey, set[HoldName]] = {}  # restored: no reading since says whether it has them
        self.begun: dict[SessionKey, list[PlacesCounted]] = {}
        """The one of each session that stands, and those that are made ready; mostly there is none at all."""

    def begin(self, session: SessionKey) -> PlacesCounted:
        """One that is made ready."""
        counting = PlacesCounted(self, session)
        self.begun.setdefault(session, []).append(counting)
        return counting

    def is_counted(self, name: HoldName) -> bool | None:
        """See `proxy.ledger.reservation.Ledger.is_counted`."""
        place, session = self._place_of(name), name.session
        if place is None or session is None or (self._unread and name in self._unread.get(session, ())):
            return None
        return self.has(place, session)

    def has(self, place: NonceSlot, session: SessionKey) -> bool:
        """Whether the newest reading of the session has counted what it holds there."""
        begun = self.begun.get(session)
        return begun is not None and any(each.stands and place in each.places for each in begun)

    def off_in(self, place: NonceSlot, sessions: Iterable[SessionKey], counter: Counter) -> int:
        """How much of `off` is of that place."""
        return sum(
            each.places[place].get(counter, 0)
            for session in sessions
            for each in self.begun.get(session, ())
            if each.stands and place in each.places
        )

    def restored(self, name: HoldName) -> None:
        """It is held again, and may have been mined before."""
        if name.session is not None:
            self._unread.setdefault(name.session, set()).add(name)

    def dropped(self, name: HoldName) -> None:
        """It is not held any more."""
        if not self._unread or name.session is None:  # nearly always
            return
        if (unread := self._unread.get(name.session)) is not None:
            unread.discard(name)
            if not unread:
                del self._unread[name.session]

    def changed(self, place: NonceSlot, sessions: Iterable[SessionKey]) -> None:
        """Something else is held there by these sessions."""
        for session in sessions:
            for each in tuple(self.begun.get(session, ())):
                if place in each.places:
                    self._put(each, place)

    def put(self, counting: PlacesCounted, places: Iterable[NonceSlot]) -> None:
        """It has these places too."""
        for place in places:
            self._put(counting, place)

    def stand(self, counting: PlacesCounted) -> None:
        """See `proxy.ledger.reservation.Counting`."""
        for each in tuple(self.begun[counting.session]):
            if each.stands:
                self.leave(each)
        counting.stands = True
        _add(self.off, counting.amounts, 1)
        self._unread.pop(counting.session, None)

    def leave(self, counting: PlacesCounted) -> None:
        """It is not needed any more."""
        if counting.stands:
            counting.stands = False
            _add(self.off, counting.amounts, -1)
        if (left := self.begun.get(counting.session)) is not None and counting in left:
            left.remove(counting)
            if not left:
                del self.begun[counting.session]

    def _put(self, counting: PlacesCounted, place: NonceSlot) -> None:
        before = counting.places.pop(place, None)
        after = self._taken_off(place, counting.session)
        for amounts in (counting.amounts, self.off) if counting.stands else (counting.amounts,):
            if before:
                _add(amounts, before, -1)
            if after:
                _add(amounts, after, 1)
        if after is not None:
            counting.places[place] = after
        elif counting.stands and not counting.places:
            self.leave(counting)  # the last of it has ended


class PlacesCounted:
    """See `proxy.ledger.reservation.Counting`. `amounts` are the sums of what is taken off in all `places`."""

    __slots__ = ("_countings", "amounts", "places", "session", "stands")

    def __init__(self, countings: Countings, session: SessionKey) -> None:
        self._countings = countings
        self.session = session
        self.stands = False
        self.places: dict[NonceSlot, Mapping[Counter, int]] = {}
        self.amounts: dict[Counter, int] = {}

    def __enter__(self) -> PlacesCounted:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self.stands or not self.places:
            self._countings.leave(self)

    def add(self, places: Iterable[NonceSlot]) -> None:
        self._countings.put(self, places)

    def stand(self) -> None:
        self._countings.stand(self)


def _add(sums: dict[Counter, int], amounts: Mapping[Counter, int], sign: int) -> None:
    for counter, amount in amounts.items():
        after = sums.get(counter, 0) + sign * amount
        if after:
            sums[counter] = after
        else:
            sums.pop(counter, None)
