from __future__ import annotations

from proxy.session.counters import Charge, ConfigKey, Counter, Meter, Usage, merge_charges
from proxy.userop.primitives import Hash32
from tests.session.builders import ACCOUNT, FRIEND, STRANGER, USAGE

KEY = ConfigKey(FRIEND, ACCOUNT, USAGE, Hash32(bytes(32)))
COUNTER = Counter(*KEY, b"slot")
ANOTHER = Counter(*KEY, b"other")


def test_use_is_what_the_chain_counted_and_what_is_in_flight_and_what_this_operation_did() -> None:
    meter = Meter(KEY, {COUNTER: 1}, {COUNTER: 10}, lambda counter: 100 if counter == COUNTER else 0)
    assert meter.used(b"slot") == 111
    assert meter.usage(b"slot") == Usage(on_chain=1, in_flight=100, this_operation=10)
    assert meter.usage(b"slot").total == 111
    assert meter.used(b"other") == 0


def test_the_same_counter_without_what_is_in_flight() -> None:
    meter = Meter(KEY, {COUNTER: 1}, {COUNTER: 10}, lambda counter: 100)
    assert meter.settled().used(b"slot") == 11


def test_counters_of_another_account_policy_or_slot_are_others() -> None:
    assert len({COUNTER, ANOTHER, COUNTER._replace(account=STRANGER), COUNTER._replace(policy=STRANGER)}) == 4


def test_charges_on_one_counter_become_one_with_the_sum() -> None:
    charges = [Charge(COUNTER, 1, 9), Charge(ANOTHER, 5, 7), Charge(COUNTER, 2, 9)]
    assert merge_charges(charges) == (Charge(COUNTER, 3, 9), Charge(ANOTHER, 5, 7))
    assert merge_charges([charges[0], charges[2]]) == (Charge(COUNTER, 3, 9),)
    assert merge_charges(charges[:1]) == (Charge(COUNTER, 1, 9),)
    assert merge_charges([]) == ()
