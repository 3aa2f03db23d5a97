"""A bundler that hangs in one kind of question is left with that kind, tried again later; no operation is at two."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.edge.http.bundler_health import DOUBT_SECONDS, Breaker, Placement, Placements, QuestionKind, Sign
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address

ENTRY_POINT = Address(b"\xee" * 20)
ALICE, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)


def slot(sequence: int, key: int = 0, sender: Address = ALICE) -> NonceSlot:
    return NonceSlot(1, ENTRY_POINT, sender, key << 64 | sequence)


# --- breaker --------------------------------------------------------------------------------------------------


def noted(breaker: Breaker, signs: Iterable[Sign], now: float = 0) -> Breaker:
    for sign in signs:
        breaker.note(sign, now)
    return breaker


def test_one_send_without_an_answer_is_enough() -> None:
    assert noted(Breaker(QuestionKind.SEND), [Sign.SILENT]).is_resting(0)


def test_other_failures_count_three_in_a_row() -> None:
    for kind, sign in (
        (QuestionKind.SEND, Sign.FAILED),
        (QuestionKind.READ, Sign.FAILED),
        (QuestionKind.READ, Sign.SILENT),
    ):
        assert not noted(Breaker(kind), [sign] * 2).is_resting(0)
        assert not noted(Breaker(kind), [sign, sign, Sign.ANSWERED, sign, sign]).is_resting(0)
        assert noted(Breaker(kind), [sign] * 3).is_resting(0)


def test_after_its_rest_one_question_is_tried_and_the_others_wait_for_it() -> None:
    breaker = noted(Breaker(QuestionKind.SEND), [Sign.SILENT])
    assert breaker.is_resting(4.9)
    assert not breaker.is_resting(5)
    assert breaker.begin(5)
    assert breaker.is_resting(5)
    assert not breaker.begin(5)
    breaker.note(Sign.ANSWERED, 6)
    assert not breaker.is_resting(6)
    assert not breaker.begin(6)


def test_a_trial_that_fails_doubles_the_rest_up_to_five_minutes() -> None:
    breaker = noted(Breaker(QuestionKind.SEND), [Sign.SILENT])
    now, rests = 0.0, []
    for _ in range(8):
        assert breaker.rests_until is not None
        rests.append(breaker.rests_until - now)
        now = breaker.rests_until
        assert breaker.begin(now)
        breaker.note(Sign.FAILED, now)
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_trial_whose_caller_left_is_tried_again() -> None:
    breaker = noted(Breaker(QuestionKind.SEND), [Sign.SILENT])
    assert breaker.begin(5)
    breaker.given_up()
    assert breaker.begin(5)


def test_questions_asked_before_the_rest_do_not_lengthen_it() -> None:
    breaker = noted(Breaker(QuestionKind.SEND), [Sign.SILENT] * 50)
    assert breaker.rests_until == 5


def test_one_question_that_fails_again_and_again_says_nothing_of_a_bundler() -> None:
    breaker = Breaker(QuestionKind.SEND)
    for _ in range(50):
        breaker.note(Sign.FAILED, 0, of=slot(1))
    assert not breaker.is_resting(0)
    breaker.note(Sign.FAILED, 0, of=slot(2))
    assert breaker.is_resting(0)


def test_a_question_that_fails_while_what_came_after_it_is_answered_says_nothing_of_a_bundler() -> None:
    for kind, sign in ((QuestionKind.SEND, Sign.SILENT), (QuestionKind.READ, Sign.FAILED)):
        breaker = Breaker(kind, answers=7)
        for number in range(50):
            breaker.note(sign, 0, of=slot(number), answers=6)
        assert not breaker.is_resting(0)
        breaker.note(Sign.SILENT, 0, of=slot(50), answers=7)
        assert breaker.is_resting(0) is (kind is QuestionKind.SEND)


def test_on_trial_is_another_question_than_those_that_failed() -> None:
    breaker = Breaker(QuestionKind.SEND)
    breaker.note(Sign.SILENT, 0, of=slot(1))
    assert not breaker.begin(5, of=slot(1))
    breaker.note(Sign.SILENT, 5, of=slot(1))
    assert breaker.rests_until == 5
    assert breaker.begin(5, of=slot(2))
    breaker.note(Sign.SILENT, 6, of=slot(1))
    assert breaker.on_trial
    breaker.note(Sign.ANSWERED, 7, of=slot(2))
    assert not breaker.is_resting(7)


@given(
    st.lists(st.tuples(st.sampled_from([*Sign, None]), st.floats(0, 400)), max_size=40), st.sampled_from(QuestionKind)
)
def test_a_breaker_never_rests_for_good_and_has_one_trial_at_most(
    steps: list[tuple[Sign | None, float]], kind: QuestionKind
) -> None:
    breaker, now = Breaker(kind), 0.0
    for sign, later in steps:
        now += later
        resting = breaker.is_resting(now)
        on_trial = breaker.begin(now)
        assert not (resting and on_trial)
        if sign is None:
            if on_trial:
                breaker.given_up()
        else:
            breaker.note(sign, now)
        assert not breaker.on_trial
        assert not breaker.is_resting(now + 300)


# --- placements -----------------------------------------------------------------------------------------------


def test_what_follows_on_a_nonce_key_goes_where_the_first_is_in_flight() -> None:
    held = {slot(1)}
    placements = Placements(held.__contains__)
    placements.answered(slot(1), placements.sent(slot(1), 1, now=0))
    assert placements.bundler_of_key(slot(2), 0) == 1
    assert placements.bundler_of_key(slot(2, key=7), 0) is None
    assert placements.bundler_of_key(slot(2, sender=BOB), 0) is None
    held.clear()
    assert placements.bundler_of_key(slot(2), 0) is None
    assert len(placements) == 0


def test_what_nobody_holds_is_there_as_long_as_it_is_in_doubt() -> None:
    placements = Placements(lambda _slot: False)
    placements.sent(slot(1), 0, now=0)
    assert placements.bundler_of(slot(1), DOUBT_SECONDS - 1) == 0
    assert placements.bundler_of(slot(1), DOUBT_SECONDS) is None


def test_what_never_left_is_nowhere() -> None:
    placements = Placements(lambda _slot: True)
    placements.not_there(slot(1), placements.sent(slot(1), 0, now=0))
    assert placements.bundler_of(slot(1), 0) is None
    assert placements.bundler_of_key(slot(2), 0) is None


def test_what_was_sent_beside_one_that_never_left_is_where_it_was_sent() -> None:
    placements = Placements(lambda _slot: True)
    one, other = placements.sent(slot(1), 0, now=0), placements.sent(slot(1), 0, now=0)
    placements.not_there(slot(1), one)
    assert placements.bundler_of(slot(1), 0) == 0
    placements.not_there(slot(1), other)
    assert placements.bundler_of(slot(1), 0) is None


def test_what_never_left_before_all_in_its_place_had_ended_says_nothing_of_what_came_after() -> None:
    held = {slot(1)}
    placements = Placements(held.__contains__)
    early = placements.sent(slot(1), 0, now=0)
    held.clear()
    assert placements.bundler_of_key(slot(2), 0) is None
    held.add(slot(1))
    placements.sent(slot(1), 0, now=0)
    placements.not_there(slot(1), early)
    assert placements.bundler_of(slot(1), 0) == 0


class Sending(RuleBasedStateMachine):
    """Against a model that remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.held: set[NonceSlot] = set()
        self.alone: set[NonceSlot] = set()  # what a bundler took that was alone, and is held
        self.at: dict[NonceSlot, tuple[int, float]] = {}
        self.sends: dict[NonceSlot, list[Placement]] = {}  # what may be there, of what was sent since all had ended
        self.placements = Placements(self.held.__contains__)

    places = st.builds(slot, st.integers(0, 2), st.integers(0, 1), st.sampled_from([ALICE, BOB]))

    def is_there(self, where: NonceSlot) -> bool:
        if where in self.alone:
            return True
        if not self.sends.get(where):
            return False
        return where in self.held or self.now < self.at[where][1]

    @precondition(lambda self: not any(self.is_there(where) for where, (bundler, _) in self.at.items() if bundler))
    @rule(where=places)
    def take_alone(self, where: NonceSlot) -> None:
        if not self.is_there(where):
            self.sends[where] = []
        self.held.add(where)
        self.placements.taken(where, 0)
        self.alone.add(where)
        self.at[where] = (0, 0.0)

    @rule(where=places, bundler=st.integers(0, 1), held=st.booleans())
    def send(self, where: NonceSlot, bundler: int, held: bool) -> None:
        there = self.placements.bundler_of(where, self.now)
        if self.is_there(where):
            assert there == self.at[where][0]
        else:  # whether what had ended was there is not looked at
            assert there in (None, self.at.get(where, (None, 0.0))[0])
            self.sends[where] = []
        goes_to = bundler if there is None else there
        if held:
            self.held.add(where)
        self.sends[where].append(self.placements.sent(where, goes_to, self.now))
        self.at[where] = (goes_to, 0.0 if where in self.held else self.now + DOUBT_SECONDS)

    @rule(where=places)
    def answer(self, where: NonceSlot) -> None:
        if sends := self.sends.get(where):
            self.placements.answered(where, sends[-1])
            self.at[where] = (self.at[where][0], 0.0)

    @rule(where=places, chosen=st.integers(0, 5))
    def turn_out_to_be_nowhere(self, where: NonceSlot, chosen: int) -> None:
        if sends := self.sends.get(where):
            self.placements.not_there(where, sends.pop(chosen % len(sends)))

    @rule(where=places)
    def end(self, where: NonceSlot) -> None:
        if where in self.held:
            self.held.discard(where)
            self.alone.discard(where)
            self.placements.free(where)

    @rule(seconds=st.sampled_from([1.0, 300.0, DOUBT_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def only_what_was_sent_is_remembered(self) -> None:
        assert len(self.placements) <= 4 + len(self.alone)

    @invariant()
    def a_bundler_that_has_something_is_known_to(self) -> None:
        for where, (bundler, _) in self.at.items():
            assert self.placements.has(bundler) or not self.is_there(where)

    @invariant()
    def what_ended_is_not_remembered(self) -> None:
        sent = {where for where in self.at if self.sends.get(where) and (where in self.held or self.at[where][1])}
        assert {slot for lane in self.placements._lanes.values() for slot in lane} <= sent | self.alone
        assert self.placements._taken_alone.keys() <= self.alone


TestSending = Sending.TestCase


def test_ten_thousand_nonce_keys_that_ended_are_not_kept() -> None:
    held: set[NonceSlot] = set()
    placements = Placements(held.__contains__)
    for key in range(10_000):
        held.add(slot(0, key))
        placements.answered(slot(0, key), placements.sent(slot(0, key), 0, now=float(key)))
        held.clear()
        placements.free(slot(0, key))
    assert len(placements) == 0
    assert not placements.has(0)


def test_ten_thousand_that_nobody_holds_are_kept_no_longer_than_they_are_in_doubt() -> None:
    placements = Placements(lambda _slot: False)
    for key in range(10_000):
        placements.sent(slot(0, key), 0, now=float(key))
    assert len(placements) <= DOUBT_SECONDS + 1
    for key in range(10_000, 10_100):
        placements.answered(slot(0, key), placements.sent(slot(0, key), 1, now=10_000.0))
    assert not placements.has(1)


def test_what_a_bundler_took_while_it_was_alone_is_there_as_long_as_it_is_held() -> None:
    held = {slot(20), slot(7, key=1)}
    placements = Placements(held.__contains__)
    placements.taken(slot(20), 3)
    placements.taken(slot(1), 3)  # which was mined before the answer came
    assert (placements.bundler_of(slot(20), 0), placements.bundler_of(slot(1), 0)) == (3, None)
    assert [placements.bundler_of_key(slot(sequence), 0) for sequence in (3, 4, 20, 21, 36, 37)] == [
        None,
        *[3] * 4,
        None,
    ]
    assert placements.bundler_of_key(slot(21, key=1), 0) is None
    placements.sent(slot(7, key=1), 4, 0)  # there are others by now
    held.clear()
    assert placements.bundler_of(slot(20), 0) is None
    assert placements.has(3)
    for each in (slot(20), slot(7, key=1)):
        placements.free(each)
    assert not placements.has(3)
    assert len(placements) == 0


def test_of_two_that_were_alone_each_has_what_it_took() -> None:
    held = {slot(1), slot(1, key=1)}
    placements = Placements(held.__contains__)
    placements.taken(slot(1), 1)
    placements.taken(slot(1, key=1), 2)
    assert [placements.bundler_of(each, 0) for each in (slot(1), slot(1, key=1))] == [1, 2]
    assert [placements.bundler_of_key(each, 0) for each in (slot(2), slot(2, key=1))] == [1, 2]


def test_what_is_in_doubt_is_there_whatever_else_was_held_in_its_slot_and_ended() -> None:
    held = set[NonceSlot]()
    placements = Placements(held.__contains__)
    placements.sent(slot(1), 0, now=0)
    placements.free(slot(1))
    assert placements.bundler_of(slot(1), DOUBT_SECONDS - 1) == 0
    held.add(slot(1))
    placements.taken(slot(1), 0)
    held.clear()
    placements.free(slot(1))
    assert placements.bundler_of(slot(1), 0) is None


def test_a_crowded_nonce_key_costs_no_more_than_an_empty_one() -> None:
    asked: list[NonceSlot] = []

    def in_flight(where: NonceSlot) -> bool:
        asked.append(where)
        return True

    placements = Placements(in_flight)
    for sequence in range(5_000):
        placements.answered(slot(sequence), placements.sent(slot(sequence), 0, now=0))
    asked.clear()
    placements.bundler_of_key(slot(5_000), 0)
    placements.bundler_of(slot(4_000), 0)
    placements.sent(slot(5_000), 0, now=0)
    assert len(asked) < 5
