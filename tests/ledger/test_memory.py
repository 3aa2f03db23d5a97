"""What the ledger promises about operations in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.errors import Code
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger.hindrance import Caps, Hindered, Hindrance, Refusal, RuleRefusal
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import UNKNOWN_NONCE, Basis, Grip, Held, Ledger, NonceSlot, Reservation, Standing, most_of
from proxy.session.counters import Charge, HoldName, SessionKey
from proxy.session.declared import DECLARED_POLICY
from proxy.userop.primitives import Hash32
from tests.ledger.builders import SESSION, counter, hold_name, operation_hash, reservation

SPEND = counter()


def reserve(ledger: Ledger, wanted: Reservation, on_chain: int = 0) -> Held | Refusal | RuleRefusal | Hindered:
    return ledger.reserve(wanted, basis(wanted, on_chain), 1_000.0)


def read(ledger: Ledger, *places: NonceSlot, session: SessionKey = SESSION) -> None:
    with ledger.counting(session) as counting:
        counting.add(places)
        counting.stand()


def basis(wanted: Reservation, on_chain: int, revision: int | None = None) -> Basis:
    return Basis(used={charge.counter: on_chain for charge in wanted.charges}, revision=revision)


def test_holds_exactly_the_limit() -> None:
    ledger = MemoryLedger()
    assert isinstance(reserve(ledger, reservation(1, 60)), Held)
    assert isinstance(reserve(ledger, reservation(2, 30), on_chain=10), Held)
    assert ledger.in_flight(SPEND) == 90


def test_refuses_one_above_the_limit_counting_what_is_in_flight() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 60))
    assert reserve(ledger, reservation(2, 31), on_chain=10) == Refusal(SPEND, 100, 10, 60, 31)
    assert ledger.in_flight(SPEND) == 60


def test_a_batch_counts_as_the_sum_of_its_charges() -> None:
    assert isinstance(reserve(MemoryLedger(), reservation(1, 50, 50)), Held)
    assert isinstance(reserve(MemoryLedger(), reservation(1, 50, 51)), Refusal)


def test_a_refused_operation_holds_none_of_its_counters() -> None:
    ledger = MemoryLedger()
    fits, over = reservation(1, 1, name=b"uses"), reservation(1, 101)
    both = Reservation(
        user_op_hash=fits.user_op_hash,
        slot=fits.slot,
        session=fits.session,
        charges=fits.charges + over.charges,
        valid_until=None,
    )
    assert isinstance(reserve(ledger, both), Refusal)
    assert ledger.in_flight(counter(b"uses")) == 0
    assert len(ledger) == 0


def test_counters_are_kept_apart() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 100))
    assert isinstance(reserve(ledger, reservation(2, 100, name=b"other")), Held)


def test_the_same_hash_again_is_the_same_reservation() -> None:
    ledger = MemoryLedger()
    first = reserve(ledger, reservation(1, 100))
    assert first == Held(reservation(1, 100))
    assert reserve(ledger, reservation(1, 100)) == Held(reservation(1, 100), again=True)
    assert ledger.in_flight(SPEND) == 100


def test_a_failed_second_attempt_leaves_the_accepted_first_standing() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 100))
    ledger.accept(hold_name(1))
    reserve(ledger, reservation(1, 100))
    assert ledger.release(hold_name(1)) is None
    assert ledger.in_flight(SPEND) == 100


def test_one_failed_attempt_of_two_under_way_holds_on_and_the_second_lets_go() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 100))
    reserve(ledger, reservation(1, 100))
    assert ledger.release(hold_name(1)) is None
    assert ledger.in_flight(SPEND) == 100
    assert ledger.release(hold_name(1)) == reservation(1, 100)
    assert ledger.in_flight(SPEND) == 0


def test_a_replacement_is_judged_without_what_it_replaces() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    replacement = reservation(2, 90, nonce=1)
    assert ledger.in_flight_beside(replacement.slot)(SPEND) == 0
    assert reserve(ledger, replacement) == Held(replacement, replaces=(operation_hash(1),))


def test_while_a_replacement_is_undecided_the_larger_of_both_counts() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    reserve(ledger, reservation(2, 90, nonce=1))
    assert ledger.in_flight(SPEND) == 90


def test_an_accepted_replacement_ends_nothing_and_the_larger_of_both_counts_until_the_nonce_is_used() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    reserve(ledger, reservation(2, 10, nonce=1))
    ledger.accept(hold_name(2))
    assert ledger.in_flight(SPEND) == 80
    assert len(ledger.settle(reservation(1).slot)) == 2
    assert ledger.in_flight(SPEND) == 0


def test_a_refused_replacement_leaves_the_first_standing() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    reserve(ledger, reservation(2, 90, nonce=1))
    assert ledger.release(hold_name(2)) == reservation(2, 90, nonce=1)
    assert ledger.in_flight(SPEND) == 80


def test_the_same_nonce_of_another_chain_is_another_slot() -> None:
    ledger = MemoryLedger()
    here = reservation(1, 80)
    there = Reservation(
        user_op_hash=operation_hash(2),
        slot=here.slot._replace(chain_id=1),
        session=None,
        charges=here.charges,
        valid_until=None,
    )
    reserve(ledger, here)
    assert reserve(ledger, there) == Refusal(SPEND, 100, 0, 80, 80)


def test_settling_one_operation_empties_its_slot_once() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    reserve(ledger, reservation(2, 90, nonce=1))
    assert ledger.settle(reservation(1).slot) == (reservation(1, 80), reservation(2, 90, nonce=1))
    assert ledger.settle(reservation(1).slot) == ()
    assert ledger.in_flight(SPEND) == 0


def test_an_expired_operation_holds_nothing_even_when_accepted() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    assert ledger.expire(hold_name(1)) == reservation(1, 80)
    assert ledger.expire(hold_name(1)) is None
    assert ledger.in_flight(SPEND) == 0


def test_answers_about_unknown_operations_are_empty() -> None:
    ledger = MemoryLedger()
    ledger.accept(hold_name(9))
    assert ledger.release(hold_name(9)) is None
    assert ledger.settle(reservation(9).slot) == ()
    assert ledger.in_flight(SPEND) == 0


def test_a_restored_operation_counts_as_accepted_whatever_the_limit() -> None:
    ledger = MemoryLedger()
    ledger.restore(reservation(1, 150))
    ledger.restore(reservation(1, 150))
    assert ledger.in_flight(SPEND) == 150
    assert ledger.release(hold_name(1)) is None
    assert ledger.in_flight(SPEND) == 150


def test_a_view_asked_for_early_sees_later_changes_of_its_own_slot() -> None:
    ledger = MemoryLedger()
    slot = reservation(1, 80).slot
    beside = ledger.in_flight_beside(slot)
    reserve(ledger, reservation(1, 80))
    assert beside(SPEND) == 0
    reserve(ledger, reservation(2, 20))
    assert beside(SPEND) == 20
    ledger.settle(reservation(1).slot)
    assert beside(SPEND) == 20


def test_a_refusal_says_what_is_left_and_may_be_retried_only_if_time_can_help() -> None:
    waits = Refusal(SPEND, 100, 10, 60, 31).reason()
    assert waits.code is Code.LIMIT_EXCEEDED
    assert (waits.got, waits.wanted, waits.retryable) == ("31", "at most 30", True)
    assert "60 of it in flight" in waits.sentence
    assert not Refusal(SPEND, 100, 70, 10, 31).reason().retryable
    assert not Refusal(SPEND, 100, 70, 0, 31).reason().retryable


class LedgerMachine(RuleBasedStateMachine):
    """Any order of attempts, answers, receipts and drops over a few nonces."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger()
        self.on_chain = 0
        self.open: dict[int, Reservation] = {}

    @rule(number=st.integers(1, 12), nonce=st.integers(1, 4), amounts=st.lists(st.integers(0, 60), max_size=3))
    def attempt(self, number: int, nonce: int, amounts: list[int]) -> None:
        wanted = self.open.get(number) or reservation(number, *amounts, nonce=nonce, limit=self.LIMIT)
        answer = self.ledger.reserve(wanted, basis(wanted, self.on_chain), 1_000.0)
        if isinstance(answer, Held):
            self.open[number] = answer.reservation

    @precondition(lambda self: self.open)
    @rule(data=st.data(), verb=st.sampled_from(["accept", "release", "expire"]))
    def answer(self, data: st.DataObject, verb: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        getattr(self.ledger, verb)(hold_name(number))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def mine(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        mined = operation_hash(number)
        for held in self.ledger.settle(self.open[number].slot):
            if held.user_op_hash == mined:
                self.on_chain += sum(charge.amount for charge in held.charges)

    @invariant()
    def never_promises_more_than_the_limit(self) -> None:
        assert self.ledger.in_flight(SPEND) >= 0
        assert self.on_chain + self.ledger.in_flight(SPEND) <= self.LIMIT

    @invariant()
    def holds_nothing_for_nobody(self) -> None:
        if len(self.ledger) == 0:
            assert self.ledger.in_flight(SPEND) == 0

    @invariant()
    def what_is_beside_a_slot_is_never_more_than_the_whole(self) -> None:
        for held in self.open.values():
            assert 0 <= self.ledger.in_flight_beside(held.slot)(SPEND) <= self.ledger.in_flight(SPEND)


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase


def test_an_attempt_that_was_never_answered_holds_on_and_displaces_nobody() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(hold_name(1))
    reserve(ledger, reservation(2, 10, nonce=1))
    ledger.accept(hold_name(2))
    assert ledger.in_flight(SPEND) == 80
    assert ledger.release(hold_name(2)) is None
    assert {each.user_op_hash for each in ledger.of_session(SESSION)} == {operation_hash(1), operation_hash(2)}


def test_what_a_reading_has_counted_is_not_in_flight_but_for_what_is_counted_here_alone() -> None:
    ledger = MemoryLedger()
    local = SPEND._replace(policy=DECLARED_POLICY)
    both = replace(reservation(1, 80), charges=(Charge(SPEND, 80, 100), Charge(local, 1, 3)))
    reserve(ledger, both)
    reserve(ledger, reservation(2, 5))
    assert ledger.is_counted(hold_name(1)) is False
    read(ledger, both.slot)
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == (5, 1)
    assert ledger.is_counted(hold_name(1)) is True
    read(ledger)
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == (85, 1)
    read(ledger, both.slot)
    ledger.settle(reservation(1).slot)
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == (5, 0)


def test_whether_a_restored_operation_is_counted_is_not_known_before_a_reading() -> None:
    ledger = MemoryLedger()
    ledger.restore(reservation(1, 80))
    assert ledger.is_counted(hold_name(1)) is None
    read(ledger)
    assert ledger.is_counted(hold_name(1)) is False
    assert ledger.is_counted(hold_name(9)) is None


def test_a_restored_operation_is_sent_again_only_if_it_fits_beside_the_others() -> None:
    ledger = MemoryLedger()
    ledger.restore(reservation(1, 50))
    ledger.restore(reservation(2, 10, nonce=1))  # one of the two has replaced the other
    ledger.restore(reservation(3, 60))
    assert isinstance(reserve(ledger, reservation(1, 50)), Refusal)
    assert reserve(ledger, reservation(2, 10, nonce=1)) == Held(reservation(2, 10, nonce=1), again=True)
    assert ledger.in_flight(SPEND) == 110


# the same operation under several sessions: its hash does not cover the signature

OTHER = SESSION._replace(permission_id=Hash32(b"\x1e" * 32))


def under(session: SessionKey, wanted: Reservation) -> Reservation:
    return replace(wanted, session=session)


def test_the_same_operation_under_another_session_is_charged_to_that_session_too() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 1, limit=1))
    other = under(OTHER, reservation(1, 1, limit=1, name=b"other"))
    assert reserve(ledger, other) == Held(other)
    assert ledger.in_flight(counter(b"other")) == 1
    ledger.settle(reservation(2, nonce=7).slot)
    assert isinstance(reserve(ledger, under(OTHER, reservation(2, 1, limit=1, name=b"other"))), Refusal)


def test_under_both_sessions_it_holds_the_most_that_either_takes() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 30))
    reserve(ledger, under(OTHER, reservation(1, 50)))
    assert ledger.in_flight(SPEND) == 50
    assert ledger.release(HoldName(operation_hash(1), OTHER)) is not None
    assert ledger.in_flight(SPEND) == 30


def test_a_session_whose_reading_has_the_use_says_nothing_of_the_other_one() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 30))
    reserve(ledger, under(OTHER, reservation(1, 50, name=b"other")))
    read(ledger, reservation(1).slot)
    assert (ledger.in_flight(SPEND), ledger.in_flight(counter(b"other"))) == (0, 50)


def test_where_nobody_can_tell_under_which_session_it_was_mined_rules_count_the_most_of_each() -> None:
    def spends(amount: int, group: bytes) -> WindowCharge:
        key = CountKey(b"r" * 16, group)
        return WindowCharge(key=key, window=Sliding(60), amount=amount, limit=99, binding=True, lasting=True)

    here = replace(reservation(1, 1), rule_charges=(spends(2, b"both"), spends(1, b"here")))
    there = replace(under(OTHER, here), rule_charges=(spends(5, b"both"), spends(4, b"there")))
    counted = {charge.key.group: charge.amount for charge in most_of((here, there)).rule_charges}  # type: ignore[union-attr]  # amounts
    assert counted == {b"both": 5, b"here": 1, b"there": 4}


# one enable nonce serves one grant


def granting(number: int, nonce: int, *, place: int | None = None) -> Reservation:
    return replace(reservation(number, 1, nonce=place), grant=nonce)


def test_one_operation_as_a_grant_and_as_a_use_is_held_as_both_and_each_ends_for_itself() -> None:
    for first, second in ((granting(1, 4), reservation(1, 30)), (reservation(1, 30), granting(1, 4))):
        ledger = MemoryLedger()
        assert reserve(ledger, first) == Held(first)
        assert reserve(ledger, second) == Held(second)
        assert ledger.in_flight(SPEND) == 30
        assert isinstance(reserve(ledger, granting(2, 4)), Hindered), "its enable nonce is taken"
        for over in ledger.grants_before(SESSION, 5):  # another grant has used it up
            ledger.expire(over)
        assert ledger.in_flight(SPEND) == 30
        assert isinstance(reserve(ledger, granting(2, 4)), Held)


def sent(ledger: MemoryLedger, wanted: Reservation) -> None:
    reserve(ledger, wanted)


def restored(ledger: MemoryLedger, wanted: Reservation) -> None:
    ledger.restore(wanted)


def let_go(ledger: MemoryLedger, wanted: Reservation) -> None:
    reserve(ledger, wanted)
    ledger.loosen(wanted.name, Grip.LOCAL)


@pytest.mark.parametrize("held", [sent, restored, let_go])
def test_another_grant_by_the_same_enable_nonce_in_one_operation_waits_where_it_asks_for_more(
    held: Callable[[MemoryLedger, Reservation], None],
) -> None:
    ledger = MemoryLedger()
    held(ledger, granting(1, 4))
    more = replace(granting(1, 4), charges=(*granting(1, 4).charges, Charge(counter(b"more"), 1, 9)))
    assert isinstance(reserve(ledger, more), Hindered)
    assert reserve(ledger, granting(1, 4)) == Held(granting(1, 4), again=True)


def test_of_two_grants_by_the_same_enable_nonce_the_second_is_told_to_wait() -> None:
    ledger = MemoryLedger()
    reserve(ledger, granting(1, 4))
    refused = reserve(ledger, granting(2, 4))
    assert refused == Hindered(Hindrance.GRANT_RIVAL, rival=operation_hash(1))
    assert (refused.reason().code, refused.reason().retryable) == (Code.SESSION_UNKNOWN, True)
    assert isinstance(reserve(ledger, granting(3, 5)), Held)
    assert isinstance(reserve(ledger, granting(4, UNKNOWN_NONCE)), Held)
    assert isinstance(reserve(ledger, granting(5, UNKNOWN_NONCE)), Hindered)


def test_a_replacement_in_the_same_nonce_is_no_rival_of_the_grant_it_replaces() -> None:
    ledger = MemoryLedger()
    reserve(ledger, granting(1, 4))
    assert isinstance(reserve(ledger, granting(2, 4, place=1)), Held)


def test_a_grant_that_is_over_or_let_go_leaves_its_turn_to_another() -> None:
    for finish in (
        lambda ledger: ledger.release(hold_name(1, 4)),
        lambda ledger: ledger.settle(reservation(1).slot),
        lambda ledger: ledger.loosen(hold_name(1, 4), Grip.LOCAL),
    ):
        ledger = MemoryLedger()
        reserve(ledger, granting(1, 4))
        finish(ledger)
        assert isinstance(reserve(ledger, granting(2, 4)), Held)


def test_grants_under_earlier_enable_nonces_are_named_unless_the_reading_has_them() -> None:
    ledger = MemoryLedger()
    for number, nonce in ((1, 3), (2, 4), (3, 5), (4, UNKNOWN_NONCE)):
        reserve(ledger, granting(number, nonce))
    assert set(ledger.grants_before(SESSION, 5)) == {hold_name(1, 3), hold_name(2, 4)}
    read(ledger, reservation(2).slot)
    assert ledger.grants_before(SESSION, 5) == (hold_name(1, 3),)


# what a verdict rests on


@dataclass
class Known:
    """A session as the ledger asks about it."""

    number: int = 7
    frozen: bool = False

    def revision(self, _key: SessionKey) -> int:
        return self.number

    def is_frozen(self, _key: SessionKey) -> bool:
        return self.frozen


def test_a_verdict_that_rests_on_what_has_changed_since_reserves_nothing() -> None:
    known = Known()
    ledger = MemoryLedger(sessions=known)
    wanted = reservation(1, 1)
    assert ledger.reserve(wanted, basis(wanted, 0, 6), 1_000.0) == Hindered(Hindrance.STALE)
    assert isinstance(ledger.reserve(wanted, basis(wanted, 0, 7), 1_000.0), Held)
    assert ledger.reserve(wanted, basis(wanted, 0, 6), 1_000.0) == Hindered(Hindrance.STALE)
    known.frozen = True
    assert ledger.reserve(reservation(2, 1), basis(wanted, 0, 7), 1_000.0) == Hindered(Hindrance.FROZEN)
    assert ledger.in_flight(SPEND) == 1


@pytest.mark.parametrize(
    ("caps", "by"),
    [
        (Caps(session=2), Hindrance.SESSION_FULL),
        (Caps(account=2), Hindrance.ACCOUNT_FULL),
        (Caps(nonce=2), Hindrance.NONCE_FULL),
    ],
)
def test_more_than_may_be_in_flight_at_once_is_refused_and_says_so(caps: Caps, by: Hindrance) -> None:
    ledger = MemoryLedger(caps=caps)
    reserve(ledger, reservation(1, 1, nonce=1))
    reserve(ledger, reservation(2, 1, nonce=1))
    ledger.loosen(hold_name(1), Grip.NONE)
    refused = reserve(ledger, reservation(3, 1, nonce=1))
    assert refused == Hindered(by, 2)
    assert "at most 2" in str(refused.reason().wanted)
    assert reserve(ledger, reservation(2, 1, nonce=1)) == Held(reservation(2, 1, nonce=1), again=True)


@pytest.mark.parametrize(("grip", "left"), [(Grip.ALL, (80, 1)), (Grip.LOCAL, (0, 1)), (Grip.NONE, (0, 0))])
def test_what_is_let_go_is_held_no_more_and_is_there_until_its_nonce_is_used(grip: Grip, left: tuple[int, int]) -> None:
    ledger = MemoryLedger()
    local = SPEND._replace(policy=DECLARED_POLICY)
    both = replace(reservation(1, 80), charges=(Charge(SPEND, 80, 100), Charge(local, 1, 3)))
    reserve(ledger, both)
    ledger.loosen(hold_name(1), grip)
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == left
    assert ledger.settle(both.slot) == (both,)


def test_what_was_let_go_and_is_sent_again_is_held_again_if_it_fits() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.loosen(hold_name(1), Grip.LOCAL)
    reserve(ledger, reservation(2, 30))
    assert isinstance(reserve(ledger, reservation(1, 80)), Refusal)
    ledger.settle(reservation(2).slot)
    assert isinstance(reserve(ledger, reservation(1, 80)), Held)
    assert ledger.in_flight(SPEND) == 80


def test_a_session_knows_its_lanes_and_whether_it_replaces_something() -> None:
    ledger = MemoryLedger()
    assert ledger.standing(reservation(1).slot, SESSION, operation_hash(1)) is None
    reserve(ledger, reservation(1, 1))
    reserve(ledger, reservation(2, 1, nonce=(1 << 64) + 5))
    assert ledger.standing(reservation(1).slot, SESSION, operation_hash(1)) == Standing(replaces=False, lanes=2)
    assert ledger.standing(reservation(1).slot, SESSION, operation_hash(9)) == Standing(replaces=True, lanes=2)
    third = reservation(3, nonce=2 << 64).slot
    assert ledger.standing(third, SESSION, None) == Standing(replaces=False, lanes=3)
    ledger.settle(reservation(2, nonce=(1 << 64) + 5).slot)
    assert ledger.standing(third, SESSION, None) == Standing(replaces=False, lanes=2)


def test_whoever_wants_to_know_hears_when_nothing_is_held_in_a_slot_any_more() -> None:
    ledger, freed = MemoryLedger(), list[NonceSlot]()
    ledger.tell_of_free(freed.append)
    one, other, rival = reservation(1, nonce=1), reservation(2, nonce=2), reservation(3, nonce=2)
    for each in (one, other, rival):
        reserve(ledger, each)
    ledger.release(other.name)
    assert freed == []
    ledger.settle(rival.slot)
    ledger.expire(one.name)
    assert freed == [rival.slot, one.slot]
    assert not any(map(ledger.occupied, freed))
