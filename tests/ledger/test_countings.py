"""However readings are made ready, stand and are given up while operations come and go, what is in flight is what a
count from the beginning finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NOTHING_USED, Counting, Grip, NonceSlot, Reservation, is_on_chain
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.session.declared import DECLARED_POLICY
from proxy.userop.primitives import Hash32
from tests.ledger.builders import SESSION, counter, reservation

OTHER = SESSION._replace(permission_id=Hash32(b"\x2e" * 32))
OWN = {SESSION: (counter(b"spend"), counter(b"uses")), OTHER: (counter(b"other"),)}
LOCAL = counter()._replace(policy=DECLARED_POLICY)
COUNTERS = (*OWN[SESSION], *OWN[OTHER], LOCAL)
PLACES = [reservation(1, nonce=nonce).slot for nonce in range(1, 5)]
SOME = st.sets(st.sampled_from(PLACES), min_size=1)
AMOUNTS = st.lists(st.integers(0, 9), min_size=3, max_size=3)


class Model:
    """What a reading has, place by place."""

    def __init__(self, session: SessionKey, counting: Counting) -> None:
        self.session, self.counting, self.places = session, counting, set[NonceSlot]()


class Readings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger()
        self.held: dict[HoldName, tuple[Reservation, Grip]] = {}
        self.unread: set[HoldName] = set()
        self.counted: dict[SessionKey, set[NonceSlot]] = {SESSION: set(), OTHER: set()}
        self.under_way: list[Model] = []

    @rule(
        number=st.integers(1, 9),
        nonce=st.integers(1, 4),
        session=st.sampled_from([SESSION, OTHER]),
        amounts=AMOUNTS,
        is_restored=st.booleans(),
    )
    def comes(self, number: int, nonce: int, session: SessionKey, amounts: list[int], is_restored: bool) -> None:
        charges = tuple(
            Charge(each, amount, 10**6) for each, amount in zip((*OWN[session], LOCAL), amounts, strict=False)
        )
        wanted = replace(reservation(number, nonce=nonce), session=session, charges=charges)
        if wanted.name in self.held or any(name.user_op_hash == wanted.user_op_hash for name in self.held):
            return
        if is_restored:
            self.ledger.restore(wanted)
            self.unread.add(wanted.name)
        else:
            self.ledger.reserve(wanted, NOTHING_USED, 1_000.0)
        self.held[wanted.name] = (wanted, Grip.ALL)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), grip=st.sampled_from(Grip))
    def is_held_otherwise(self, data: st.DataObject, grip: Grip) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.ledger.loosen(name, grip)
        self.held[name] = (self.held[name][0], grip)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.ledger.expire(name)
        gone, _ = self.held.pop(name)
        self.unread.discard(name)
        assert name.session is not None
        if gone.slot not in self._places_of(name.session):
            for places in (self.counted[name.session], *(each.places for each in self._of(name.session))):
                places.discard(gone.slot)

    @rule(session=st.sampled_from([SESSION, OTHER]), places=SOME)
    def a_reading_begins(self, session: SessionKey, places: set[NonceSlot]) -> None:
        self.under_way.append(Model(session, self.ledger.counting(session).__enter__()))
        self._add(self.under_way[-1], places)

    @rule(session=st.sampled_from([SESSION, OTHER]), places=SOME)
    def one_is_made_at_once(self, session: SessionKey, places: set[NonceSlot]) -> None:
        self.a_reading_begins(session, places)
        self._end(self.under_way[-1], stands=True)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), places=SOME)
    def some_more_is_in_it(self, data: st.DataObject, places: set[NonceSlot]) -> None:
        self._add(data.draw(st.sampled_from(self.under_way)), places)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), stands=st.booleans())
    def it_is_over(self, data: st.DataObject, stands: bool) -> None:
        self._end(data.draw(st.sampled_from(self.under_way)), stands=stands)

    def _add(self, reading: Model, places: set[NonceSlot]) -> None:
        reading.counting.add(places)
        reading.places |= places & self._places_of(reading.session)

    def _end(self, reading: Model, *, stands: bool) -> None:
        self.under_way.remove(reading)
        if stands:
            reading.counting.stand()
            self.counted[reading.session] = reading.places
            self.unread -= {name for name in self.unread if name.session == reading.session}
        reading.counting.__exit__(None, None, None)

    @invariant()
    def what_is_in_flight_is_what_a_count_finds(self) -> None:
        for each in COUNTERS:
            assert self.ledger.in_flight(each) == self._sum(each, PLACES)
            for place in PLACES:
                others = [other for other in PLACES if other != place]
                assert self.ledger.in_flight_beside(place)(each) == self._sum(each, others)

    @invariant()
    def of_each_it_is_known_whether_it_is_counted(self) -> None:
        for name, (held, _) in self.held.items():
            assert name.session is not None
            known = None if name in self.unread else held.slot in self.counted[name.session]
            assert self.ledger.is_counted(name) is known

    def teardown(self) -> None:
        for reading in self.under_way:
            reading.counting.__exit__(None, None, None)
        for name in self.held:
            self.ledger.expire(name)
        assert not self.ledger._slots.countings.begun, "nothing is kept of what is not in flight"

    def _sum(self, wanted: Counter, places: Iterable[NonceSlot]) -> int:
        return sum(max((self._takes(name, wanted) for name in self._in(place)), default=0) for place in places)

    def _takes(self, name: HoldName, wanted: Counter) -> int:
        held, grip = self.held[name]
        assert name.session is not None
        is_in_reading = held.slot in self.counted[name.session] or grip is Grip.LOCAL
        if grip is Grip.NONE or (is_on_chain(wanted) and is_in_reading):
            return 0
        return held.amounts().get(wanted, 0)

    def _in(self, place: NonceSlot) -> list[HoldName]:
        return [name for name, (held, _) in self.held.items() if held.slot == place]

    def _places_of(self, session: SessionKey) -> set[NonceSlot]:
        return {held.slot for held, _ in self.held.values() if held.session == session}

    def _of(self, session: SessionKey) -> list[Model]:
        return [each for each in self.under_way if each.session == session]


Readings.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReadings = Readings.TestCase
