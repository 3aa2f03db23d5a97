"""Which bundlers there are when the settings name others: the same ones are known as they were, the others are left."""

from __future__ import annotations

import pytest

from proxy.edge.http.bundler_health import QuestionKind, Sign
from proxy.edge.http.endpoints import Health
from proxy.edge.http.roster import Roster
from proxy.ledger.reservation import NonceSlot
from tests.edge.http.test_bundler_health import slot

FIRST, SECOND, THIRD = "https://a.example/rpc?key=one", "https://b.example/rpc", "https://c.example/rpc"
KINDS = (QuestionKind.READ, QuestionKind.SEND)


class House:
    """A roster, and what is in flight."""

    def __init__(self, *urls: str) -> None:
        self.held: set[NonceSlot] = set()
        self.roster = Roster("soneium", urls, self.held.__contains__)

    def send(self, where: NonceSlot, bundler: int) -> None:
        self.held.add(where)
        self.roster.placements.sent(where, self.roster.endpoints[bundler].number, 0)

    def asked(self, kind: QuestionKind = QuestionKind.SEND, where: NonceSlot | None = None) -> list[str]:
        return [str(each.url) for each in self.roster.order(kind, 0, where)]


def test_bundlers_are_asked_in_the_order_of_the_settings_once_these_have_changed() -> None:
    house = House(FIRST, SECOND)
    house.roster.take([THIRD, FIRST])
    assert [house.asked(kind) for kind in KINDS] == [[THIRD, FIRST]] * 2
    assert [each.name for each in house.roster.endpoints] == ["soneium#0", "soneium#1"]


def test_one_that_stays_is_known_as_it_was_wherever_it_stands_now() -> None:
    house = House(FIRST, SECOND)
    resting = house.roster.endpoints[1]
    resting.breakers[QuestionKind.SEND].note(Sign.SILENT, 0)
    house.roster.take([SECOND, THIRD])
    assert house.roster.endpoints[0] is resting
    assert house.asked() == [THIRD, SECOND]


def test_a_new_key_makes_no_new_bundler_and_is_looked_at_anew() -> None:
    house = House(FIRST, SECOND)
    before = house.roster.endpoints[0]
    before.health, before.problem = Health.MISCONFIGURED, "answers its probe with an error"
    house.send(slot(1), 0)
    changed = FIRST.replace("one", "two")
    house.roster.take([changed, SECOND])
    assert house.roster.endpoints[0] is before
    assert (before.health, before.problem) == (Health.UNKNOWN, None)
    assert house.asked(where=slot(1)) == [changed]
    assert house.roster.removed == ()


def test_what_is_in_flight_at_a_bundler_that_was_removed_is_replaced_there_and_nothing_else_is_sent_there() -> None:
    house = House(FIRST, SECOND)
    house.send(slot(1), 0)
    house.roster.take([SECOND])
    assert house.asked(where=slot(1)) == [FIRST]
    assert house.asked(where=slot(2)) == [SECOND]
    assert house.asked(where=slot(1, key=7)) == [SECOND]
    assert [each.name for each in house.roster.removed] == ["soneium#removed"]


def test_what_a_removed_bundler_had_is_there_again_when_the_chain_takes_it_back() -> None:
    house = House(FIRST, SECOND)
    house.send(slot(1), 0)
    house.send(slot(2), 0)
    mark = house.roster.endpoints[0].mark
    house.roster.take([SECOND])
    house.held.discard(slot(2))
    house.roster.placements.free(slot(2))
    house.held.add(slot(2))
    house.roster.placed(slot(2), mark)
    assert house.asked(where=slot(2)) == [FIRST]


def test_a_bundler_that_was_removed_is_forgotten_when_nothing_is_there_any_more_and_known_when_it_is_back() -> None:
    house = House(FIRST, SECOND)
    house.send(slot(1), 0)
    first = house.roster.endpoints[0]
    house.roster.take([SECOND])
    house.roster.take([SECOND, FIRST])
    assert house.roster.endpoints[1] is first
    assert house.asked(where=slot(1)) == [FIRST]
    house.roster.take([SECOND])
    house.held.clear()
    assert house.asked(where=slot(2)) == [SECOND]  # whoever asks about the nonce key finds that it has ended
    assert house.roster.removed == ()
    assert first not in house.roster.endpoints


def test_what_a_bundler_took_while_it_was_alone_is_replaced_there_and_followed_there() -> None:
    house = House(FIRST)
    assert house.roster.alone is house.roster.endpoints[0]
    house.held.add(slot(1))
    house.roster.placements.taken(slot(1), house.roster.endpoints[0].number)
    house.roster.take([SECOND, FIRST])
    assert house.roster.alone is None
    assert (house.asked(where=slot(1)), house.asked(where=slot(2))) == ([FIRST], [FIRST, SECOND])
    house.roster.take([SECOND])
    assert (house.asked(where=slot(1)), house.asked(where=slot(2))) == ([FIRST], [SECOND])
    assert house.roster.alone is None
    house.held.clear()
    house.roster.placements.free(slot(1))
    assert house.roster.alone is house.roster.endpoints[0]
    assert house.asked(where=slot(1)) == [SECOND]


def test_two_keys_at_one_host_are_two_bundlers() -> None:
    house = House(FIRST, FIRST.replace("one", "two"))
    numbers = [each.number for each in house.roster.endpoints]
    house.roster.take([FIRST.replace("one", "two"), FIRST])
    assert [each.number for each in house.roster.endpoints] == numbers[::-1]


def test_names_that_may_mean_others_are_told_apart() -> None:
    house = House(FIRST)
    before = house.roster.generation
    house.roster.take([SECOND])
    assert house.roster.generation != before


def test_a_roster_of_nobody_is_none() -> None:
    with pytest.raises(ValueError, match="soneium: no bundler"):
        Roster("soneium", [], lambda _slot: False)


def test_what_was_sent_before_a_restart_is_placed_at_the_bundler_it_went_to_whatever_its_key_is_now() -> None:
    before = House(FIRST, SECOND)
    after = House(SECOND, FIRST.replace("one", "two"))
    after.held |= {slot(1), slot(2)}
    after.roster.placed(slot(1), before.roster.endpoints[0].mark)
    after.roster.placed(slot(2), "of nobody here")
    assert after.asked(where=slot(1)) == [FIRST.replace("one", "two")]
    assert len(after.asked(where=slot(2))) == 2
    assert "a.example" not in before.roster.endpoints[0].mark
