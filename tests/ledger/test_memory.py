"""What the ledger promises about operations in flight."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.errors import Code
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import Held, Ledger, Refusal, Reservation
from proxy.session.counters import Charge
from proxy.session.declared import DECLARED_POLICY
from tests.ledger.builders import SESSION, counter, operation_hash, reservation

SPEND = counter()


def reserve(ledger: Ledger, wanted: Reservation, on_chain: int = 0) -> Held | Refusal:
    return ledger.reserve(wanted, lambda _: on_chain, 1_000.0)


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
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(1, 100))
    assert ledger.release(operation_hash(1)) is None
    assert ledger.in_flight(SPEND) == 100


def test_one_failed_attempt_of_two_under_way_holds_on_and_the_second_lets_go() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 100))
    reserve(ledger, reservation(1, 100))
    assert ledger.release(operation_hash(1)) is None
    assert ledger.in_flight(SPEND) == 100
    assert ledger.release(operation_hash(1)) == reservation(1, 100)
    assert ledger.in_flight(SPEND) == 0


def test_a_replacement_is_judged_without_what_it_replaces() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(operation_hash(1))
    replacement = reservation(2, 90, nonce=1)
    assert ledger.in_flight_beside(replacement.slot)(SPEND) == 0
    assert reserve(ledger, replacement) == Held(replacement, replaces=(operation_hash(1),))


def test_while_a_replacement_is_undecided_the_larger_of_both_counts() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(2, 90, nonce=1))
    assert ledger.in_flight(SPEND) == 90


def test_an_accepted_replacement_displaces_the_first() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(2, 10, nonce=1))
    assert ledger.accept(operation_hash(2)) == (reservation(1, 80),)
    assert ledger.in_flight(SPEND) == 10


def test_a_refused_replacement_leaves_the_first_standing() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(2, 90, nonce=1))
    assert ledger.release(operation_hash(2)) == reservation(2, 90, nonce=1)
    assert ledger.in_flight(SPEND) == 80


def test_a_displaced_operation_still_being_sent_goes_when_that_attempt_fails() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(1, 80))
    reserve(ledger, reservation(2, 10, nonce=1))
    ledger.accept(operation_hash(2))
    assert ledger.in_flight(SPEND) == 80
    assert ledger.release(operation_hash(1)) == reservation(1, 80)
    assert ledger.in_flight(SPEND) == 10


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
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(2, 90, nonce=1))
    assert ledger.settle(operation_hash(1)) == (reservation(1, 80), reservation(2, 90, nonce=1))
    assert ledger.settle(operation_hash(1)) == ()
    assert ledger.in_flight(SPEND) == 0


def test_an_expired_operation_holds_nothing_even_when_accepted() -> None:
    ledger = MemoryLedger()
    reserve(ledger, reservation(1, 80))
    ledger.accept(operation_hash(1))
    assert ledger.expire(operation_hash(1)) == reservation(1, 80)
    assert ledger.expire(operation_hash(1)) is None
    assert ledger.in_flight(SPEND) == 0


def test_answers_about_unknown_operations_are_empty() -> None:
    ledger = MemoryLedger()
    assert ledger.accept(operation_hash(9)) == ()
    assert ledger.release(operation_hash(9)) is None
    assert ledger.settle(operation_hash(9)) == ()
    assert ledger.in_flight(SPEND) == 0


def test_a_restored_operation_counts_as_accepted_whatever_the_limit() -> None:
    ledger = MemoryLedger()
    ledger.restore(reservation(1, 150))
    ledger.restore(reservation(1, 150))
    assert ledger.in_flight(SPEND) == 150
    assert ledger.release(operation_hash(1)) is None
    assert ledger.in_flight(SPEND) == 150


def test_a_view_asked_for_early_sees_later_changes_of_its_own_slot() -> None:
    ledger = MemoryLedger()
    slot = reservation(1, 80).slot
    beside = ledger.in_flight_beside(slot)
    reserve(ledger, reservation(1, 80))
    assert beside(SPEND) == 0
    reserve(ledger, reservation(2, 20))
    assert beside(SPEND) == 20
    ledger.settle(operation_hash(1))
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
        answer = self.ledger.reserve(wanted, lambda _: self.on_chain, 1_000.0)
        if isinstance(answer, Held):
            self.open[number] = answer.reservation

    @precondition(lambda self: self.open)
    @rule(data=st.data(), verb=st.sampled_from(["accept", "release", "expire"]))
    def answer(self, data: st.DataObject, verb: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        getattr(self.ledger, verb)(operation_hash(number))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def mine(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        mined = operation_hash(number)
        for held in self.ledger.settle(mined):
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
    ledger.accept(operation_hash(1))
    reserve(ledger, reservation(2, 10, nonce=1))
    ledger.doubt(operation_hash(2))
    assert ledger.in_flight(SPEND) == 80
    assert ledger.release(operation_hash(2)) is None
    assert {each.user_op_hash for each in ledger.of_session(SESSION)} == {operation_hash(1), operation_hash(2)}


def test_what_a_reading_has_counted_is_not_in_flight_but_for_what_is_counted_here_alone() -> None:
    ledger = MemoryLedger()
    local = SPEND._replace(policy=DECLARED_POLICY)
    both = replace(reservation(1, 80), charges=(Charge(SPEND, 80, 100), Charge(local, 1, 3)))
    reserve(ledger, both)
    reserve(ledger, reservation(2, 5))
    assert ledger.is_counted(operation_hash(1)) is False
    ledger.count(both.slot, 7)
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == (5, 1)
    assert ledger.is_counted(operation_hash(1)) is True
    ledger.uncount(SESSION)
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == (85, 1)
    ledger.count(both.slot, 8)
    ledger.settle(operation_hash(1))
    assert (ledger.in_flight(SPEND), ledger.in_flight(local)) == (5, 0)


def test_whether_a_restored_operation_is_counted_is_not_known_before_a_reading() -> None:
    ledger = MemoryLedger()
    ledger.restore(reservation(1, 80))
    assert ledger.is_counted(operation_hash(1)) is None
    ledger.uncount(SESSION)
    assert ledger.is_counted(operation_hash(1)) is False
    assert ledger.is_counted(operation_hash(9)) is None


def test_a_restored_operation_is_sent_again_only_if_it_fits_beside_the_others() -> None:
    ledger = MemoryLedger()
    ledger.restore(reservation(1, 50))
    ledger.restore(reservation(2, 10, nonce=1))  # one of the two has replaced the other
    ledger.restore(reservation(3, 60))
    assert isinstance(reserve(ledger, reservation(1, 50)), Refusal)
    assert reserve(ledger, reservation(2, 10, nonce=1)) == Held(reservation(2, 10, nonce=1), again=True)
    assert ledger.in_flight(SPEND) == 110
